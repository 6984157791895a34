"""Layers that treat the rows of a batch alike: permuting the rows in permutes the rows out."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn


class Symmetric(nn.Module):
    """h'_i = A h_i + B·mean_j h_j + c, the linear map that commutes with permutations of the batch.

    Arguments:
        features: the size of h.
        out: the size of h'.
        linear: makes A (with c) and B.

    Reference: Lucas et al., arXiv:1806.07185; Zaheer et al., arXiv:1703.06114.

    >>> import torch
    >>> layer, h = Symmetric(3, 2), torch.randn(5, 3)
    >>> torch.allclose(layer(h.flip(0)), layer(h).flip(0), atol=1e-6)
    True
    """

    mixes_batch: ClassVar[bool] = True

    def __init__(self, features: int, out: int, linear: Callable[..., nn.Linear] = nn.Linear) -> None:
        super().__init__()
        self.own = linear(features, out)
        self.mean = linear(features, out, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        """`(B, F)` to `(B, out)`."""
        return self.own(h) + self.mean(h.mean(0, keepdim=True))
