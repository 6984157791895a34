"""Gated layers of PixelCNN, and the maps of a code that condition them."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from distmatch.networks.layers.masked import ColumnConv, RowConv, colour_groups


def gate(h: Tensor) -> Tensor:
    """tanh(a) σ(b) of the two halves a, b of the maps (dimension 1).

    >>> gate(torch.tensor([[0.0, 9.0]]))
    tensor([[0.]])
    """
    a, b = h.chunk(2, 1)
    return torch.tanh(a) * torch.sigmoid(b)


class GatedLayer(nn.Module):
    """One layer: the vertical stack v sees the rows above, the horizontal stack h its own row and v.

    v̂ = column(v) + V s,  v' = gate(v̂);  h' = h + out(gate(row(h) + W v̂ + U s)), where s is the context made of
    z and y; the first layer, whose v and h are x, adds no h.

    Arguments:
        first: mask A.
        colours: of x.
        width: maps of v' and of h'.
        kernel: side of the convolutions before masking.
        context: maps of s; 0 for none.

    Reference: van den Oord, Kalchbrenner, Vinyals et al., Conditional image generation with PixelCNN decoders,
    arXiv:1606.05328, figure 2 and equations 4 and 5.
    """

    def __init__(self, first: bool, colours: int, width: int, kernel: int, context: int) -> None:
        super().__init__()
        self.first, reach = first, kernel // 2
        inputs = colours if first else width
        groups = colour_groups(width, colours)
        self.column = ColumnConv(inputs, 2 * width, reach, own=not first)
        self.across = nn.Conv2d(2 * width, 2 * width, 1, bias=False)
        self.row = RowConv(colour_groups(inputs, colours), groups.repeat(2), reach, own=not first)
        self.out = RowConv(groups, groups, 0, own=True)
        self.context = nn.Conv2d(context, 4 * width, 1, bias=False) if context else None

    def vertical(self, raw: Tensor, s: Tensor | None) -> tuple[Tensor, Tensor]:
        """v' `(B, width, ...)`, and what h gets beside its own row `(B, 2 width, ...)`, from column(v) and s."""
        if self.context is None or s is None:
            return gate(raw), self.across(raw)
        for_v, for_h = self.context(s).chunk(2, 1)
        raw = raw + for_v
        return gate(raw), self.across(raw) + for_h

    def forward(self, v: Tensor, h: Tensor, s: Tensor | None) -> tuple[Tensor, Tensor]:
        """v' and h', `(B, width, H, W)`."""
        new_v, beside = self.vertical(self.column(v), s)
        new_h = self.out(gate(self.row(h) + beside))
        return new_v, new_h if self.first else h + new_h


class SpatialMap(nn.Module):
    """Codes to maps of the image's size: a linear layer to a quarter of its side, two transposed convolutions.

    Arguments:
        inputs: the size of a code, labels included.
        maps: of the result.
        size: (H, W).

    >>> SpatialMap(3, 4, (7, 5))(torch.zeros(2, 3)).shape
    torch.Size([2, 4, 7, 5])
    """

    def __init__(self, inputs: int, maps: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size
        small = torch.Size((maps, math.ceil(size[0] / 4), math.ceil(size[1] / 4)))
        self.body = nn.Sequential(
            nn.Linear(inputs, small.numel()),
            nn.Unflatten(1, small),
            nn.ReLU(),
            nn.ConvTranspose2d(maps, maps, 4, 2, 1),
            nn.ReLU(),
            nn.ConvTranspose2d(maps, maps, 4, 2, 1),
            nn.ReLU(),
        )

    def forward(self, code: Tensor) -> Tensor:
        """`(B, inputs)` to `(B, maps, H, W)`."""
        return self.body(code)[:, :, : self.size[0], : self.size[1]]


class PointMap(nn.Module):
    """Codes as maps of one pixel, which count for all pixels: `(B, F)` to `(B, F, 1, 1)`.

    >>> PointMap()(torch.zeros(2, 3)).shape
    torch.Size([2, 3, 1, 1])
    """

    def forward(self, code: Tensor) -> Tensor:
        """`(B, F)` to `(B, F, 1, 1)`."""
        return code[:, :, None, None]
