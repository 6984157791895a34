"""The largest of several linear pieces, as an activation."""

from __future__ import annotations

from torch import Tensor, nn


class Maxout(nn.Module):
    """max over k pieces: feature j of the output is the largest of features jk, ..., jk + k - 1 of the input.

    Arguments:
        pieces: k.

    Reference: Goodfellow et al. 2013, arXiv:1302.4389.

    >>> import torch
    >>> Maxout(2)(torch.tensor([[1.0, -1.0, 0.0, 3.0]]))
    tensor([[1., 3.]])
    """

    def __init__(self, pieces: int) -> None:
        super().__init__()
        self.pieces = pieces

    def forward(self, h: Tensor) -> Tensor:
        """`(B, F·k)` to `(B, F)`."""
        return h.unflatten(-1, (h.shape[-1] // self.pieces, self.pieces)).amax(-1)
