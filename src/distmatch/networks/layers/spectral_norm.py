"""Layers whose weight is divided by an estimate of its largest singular value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def power_iteration(weight: Tensor, u: Tensor) -> Tensor:
    """The next estimate of the first left singular vector: v = W'u/‖W'u‖, then Wv/‖Wv‖; constant for gradients.

    Arguments:
        weight: W, `(out, *rest)`, taken as a matrix of `out` rows.
        u: the last estimate, `(out,)`.

    >>> power_iteration(torch.diag(torch.tensor([3.0, 0.0])), torch.tensor([0.6, 0.8]))
    tensor([1., 0.])
    """
    w, u = weight.detach().flatten(1), u.detach()
    return F.normalize((w * _right(w, u)).sum(1), dim=0)


def spectrally_normalised(weight: Tensor, u: Tensor) -> Tensor:
    """W/σ, σ = u'Wv, v = W'u/‖W'u‖; of the shape of W. Gradients go through W alone: u and v are constants.

    σ is at most the largest singular value, and equal to it where u is the first left singular vector.

    Arguments:
        weight: W, `(out, *rest)`, taken as a matrix of `out` rows.
        u: of length 1, `(out,)`.

    Reference: Miyato et al., arXiv:1802.05957, algorithm 1.

    >>> spectrally_normalised(torch.diag(torch.tensor([4.0, 2.0])), torch.tensor([1.0, 0.0]))
    tensor([[1.0000, 0.0000],
            [0.0000, 0.5000]])
    """
    w, u = weight.flatten(1), u.detach()
    return weight / (u[:, None] * w * _right(w.detach(), u)).sum()


def _right(w: Tensor, u: Tensor) -> Tensor:
    """W'u/‖W'u‖, written without a product of matrices, which autocast would do in half precision."""
    return F.normalize((u[:, None] * w).sum(0), dim=0)


class _PowerIterated(nn.Module):
    """A layer whose buffer `u` forward only reads.

    One power iteration per training step is `evolve`, whose result takes the place of the buffers named in `evolving`.
    """

    evolving: ClassVar[tuple[str, ...]] = ("u",)
    weight: Tensor
    u: Tensor

    def evolve(self, at: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
        """The buffers after one power iteration, at the present weight and `u` or at others; a pure function."""
        weight, u = (self.weight, self.u) if at is None else (at["weight"], at["u"])
        return {"u": power_iteration(weight, u)}


class SpectralLinear(_PowerIterated, nn.Linear):
    """h W'/σ(W) + b: `torch.nn.Linear` with another weight.

    Reference: Miyato et al., arXiv:1802.05957.

    >>> layer = SpectralLinear(3, 2)
    >>> layer.evolve()["u"].shape
    torch.Size([2])
    """

    def __init__(self, features: int, out: int, bias: bool = True) -> None:
        super().__init__(features, out, bias)
        self.register_buffer("u", F.normalize(torch.randn(out), dim=0))

    def forward(self, h: Tensor) -> Tensor:
        """`(*, in)` to `(*, out)`."""
        return F.linear(h, spectrally_normalised(self.weight, self.u), self.bias)


class SpectralConv2d(_PowerIterated, nn.Conv2d):
    """A convolution by W/σ(W), W as a matrix `(out, in·height·width)`: `torch.nn.Conv2d` with another weight.

    Reference: Miyato et al., arXiv:1802.05957.

    >>> SpectralConv2d(3, 8, 4, 2, 1)(torch.zeros(1, 3, 6, 6)).shape
    torch.Size([1, 8, 3, 3])
    """

    def __init__(
        self, channels: int, out: int, kernel: int, stride: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        super().__init__(channels, out, kernel, stride, padding, bias=bias)
        self.register_buffer("u", F.normalize(torch.randn(out), dim=0))

    def forward(self, h: Tensor) -> Tensor:
        """`(B, in, H, W)` to `(B, out, H', W')`."""
        weight = spectrally_normalised(self.weight, self.u)
        return F.conv2d(h, weight, self.bias, self.stride, self.padding)
