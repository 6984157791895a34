"""Layers that treat the rows of a batch alike: permuting the rows in permutes the rows out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from torch import Tensor, nn


class Symmetric(nn.Module):
    """h'_i = A h_i + B·mean_j h_j + c, a linear map that commutes with permutations of the batch.

    A and B are two layers of one kind: matrices, or convolutions, for which the mean is of maps, pixel by pixel.

    Arguments:
        layer: makes A (with c) and B (without a bias), such as `nn.Linear` or `nn.Conv2d`.
        sizes: of the layer, in its order.
        bias: whether there is a c.

    Reference: Lucas et al., arXiv:1806.07185; Zaheer et al., arXiv:1703.06114.

    >>> import torch
    >>> layer, h = Symmetric(nn.Linear, 3, 2), torch.randn(5, 3)
    >>> torch.allclose(layer(h.flip(0)), layer(h).flip(0), atol=1e-6)
    True
    >>> Symmetric(nn.Conv2d, 3, 8, 4, 2, 1)(torch.zeros(5, 3, 6, 6)).shape
    torch.Size([5, 8, 3, 3])
    """

    mixes_batch: ClassVar[bool] = True

    def __init__(self, layer: Callable[..., nn.Module], *sizes: Any, bias: bool = True) -> None:
        super().__init__()
        self.own = layer(*sizes, bias=bias)
        self.mean = layer(*sizes, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        """`(B, ...)`, as the layer takes it."""
        own: Tensor = self.own(h)
        return own + self.mean(h.mean(0, keepdim=True))
