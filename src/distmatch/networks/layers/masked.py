"""Convolutions that keep the order of the sub-pixels: row by row, in a row from the left, in a pixel by colour."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def colour_groups(maps: int, colours: int) -> Tensor:
    """The colour that each map belongs to: `colours` blocks, as equal as can be, in order. `(maps,)`.

    >>> colour_groups(4, 3).tolist(), colour_groups(6, 3).tolist()
    ([0, 0, 1, 2], [0, 0, 1, 1, 2, 2])
    """
    return torch.arange(maps) * colours // maps


def row_mask(inputs: Tensor, outputs: Tensor, reach: int, own: bool) -> Tensor:
    """Return the mask of a convolution over the `reach` pixels to the left and the pixel itself.

    Everything of the pixels to the left. In the pixel itself, maps of an earlier colour, and those of the same
    colour only where they hold no value of it (mask B; mask A, `own` False, is for x itself).

    Arguments:
        inputs, outputs: the colour of each map.
        reach: pixels to the left.
        own: mask B.

    Returns:
        Ones and zeros, `(outputs, inputs, 1, reach + 1)`.

    >>> row_mask(torch.tensor([0, 1]), torch.tensor([0, 1]), 0, own=False).flatten(1).tolist()
    [[0.0, 0.0], [1.0, 0.0]]
    """
    earlier = inputs[None, :] <= outputs[:, None] if own else inputs[None, :] < outputs[:, None]
    left = torch.ones(len(outputs), len(inputs), 1, reach)
    return torch.cat([left, earlier[:, :, None, None].to(left.dtype)], -1)


class RowConv(nn.Conv2d):
    """A convolution along a row, over `reach` pixels to the left and the pixel itself, times its mask.

    Arguments:
        inputs, outputs: the colour of each map, as of `colour_groups`.
        reach: pixels to the left; 0 for a 1×1 convolution.
        own: a pixel's maps may use those of the same colour in it (mask B), or earlier colours alone (mask A).

    Reference: van den Oord, Kalchbrenner and Kavukcuoglu, arXiv:1601.06759, section 3.4 (masks A and B).

    >>> RowConv(torch.zeros(2), torch.zeros(3), reach=2, own=True)(torch.zeros(1, 2, 4, 5)).shape
    torch.Size([1, 3, 4, 5])
    """

    mask: Tensor

    def __init__(self, inputs: Tensor, outputs: Tensor, reach: int, own: bool) -> None:
        super().__init__(len(inputs), len(outputs), (1, reach + 1))
        self.reach = reach
        self.register_buffer("mask", row_mask(inputs, outputs, reach, own), persistent=False)

    @property
    def masked_weight(self) -> Tensor:
        """The weights in use, `(outputs, inputs, 1, reach + 1)`."""
        return self.weight * self.mask

    def one_pixel(self) -> tuple[Tensor, Tensor | None]:
        """The same for one pixel: `(outputs, (reach + 1) · inputs)` for the pixels up to it side by side, and bias."""
        return self.masked_weight[:, :, 0].movedim(2, 1).flatten(1), self.bias

    def forward(self, h: Tensor) -> Tensor:
        """`(B, inputs, H, W)` to `(B, outputs, H, W)`."""
        padded = F.pad(h, (self.reach, 0)) if self.reach else h
        return F.conv2d(padded, self.masked_weight, self.bias)


class ColumnConv(nn.Conv2d):
    """A convolution over whole pieces of rows: `reach` to the left and right, `reach` above, and its own or not.

    Arguments:
        inputs, outputs: maps.
        reach: pixels in each direction.
        own: it uses its own row (whose maps know x in the rows above alone), or, on x itself, does not.

    >>> ColumnConv(1, 2, reach=1, own=False)(torch.zeros(1, 1, 4, 5)).shape
    torch.Size([1, 2, 4, 5])
    """

    def __init__(self, inputs: int, outputs: int, reach: int, own: bool) -> None:
        super().__init__(inputs, outputs, (reach + own, 2 * reach + 1))
        self.reach, self.own = reach, own

    def forward(self, h: Tensor) -> Tensor:
        """`(B, inputs, H, W)` to `(B, outputs, H, W)`."""
        padded = F.pad(h, (self.reach, self.reach, self.reach, 0 if self.own else -1))
        return super().forward(padded)

    def row(self, rows: Tensor) -> Tensor:
        """One row of the result, `(B, outputs, 1, W)`, from what it sees: `(B, inputs, reach + own, W + 2 reach)`."""
        return super().forward(rows)
