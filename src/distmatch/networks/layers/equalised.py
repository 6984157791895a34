"""Layers of progressive growing: equalised learning rates, pixel norm, and images made larger and smaller."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GAIN = math.sqrt(2)  # He's, for the rectifier after it


class EqualLinear(nn.Module):
    """h (c W)' + b, c = gain/√fan_in, W ~ N(0, 1) and b = 0 at first, so that all weights learn at one rate.

    Reference: Karras et al., arXiv:1710.10196, section 4.1.

    >>> EqualLinear(3, 2)(torch.zeros(1, 3))
    tensor([[0., 0.]], grad_fn=<AddmmBackward0>)
    """

    def __init__(self, features: int, out: int, gain: float = GAIN) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(out, features)), nn.Parameter(torch.zeros(out))
        self.scale = gain / math.sqrt(features)

    def forward(self, h: Tensor) -> Tensor:
        """`(B, F)` to `(B, out)`."""
        return F.linear(h, self.weight * self.scale, self.bias)


class EqualConv2d(nn.Module):
    """The same for a convolution of odd kernel k that keeps the size; fan_in = channels·k².

    Reference: Karras et al., arXiv:1710.10196, section 4.1.

    >>> EqualConv2d(3, 2, 3)(torch.zeros(1, 3, 4, 4)).shape
    torch.Size([1, 2, 4, 4])
    """

    def __init__(self, channels: int, out: int, kernel: int, gain: float = GAIN) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(out, channels, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(out))
        self.scale, self.padding = gain / (kernel * math.sqrt(channels)), kernel // 2

    def forward(self, h: Tensor) -> Tensor:
        """`(B, C, H, W)` to `(B, out, H, W)`."""
        return F.conv2d(h, self.weight * self.scale, self.bias, padding=self.padding)


class PixelNorm(nn.Module):
    """h/√(mean_c h² + 1e-8), over the channels of each sample and place.

    Reference: Karras et al., arXiv:1710.10196, section 4.2.

    >>> PixelNorm()(torch.tensor([[3.0, 3.0]]))
    tensor([[1., 1.]])
    """

    def forward(self, h: Tensor) -> Tensor:
        """Of the shape of `h`."""
        return h * (h.square().mean(1, keepdim=True) + 1e-8).rsqrt()


def enlarge(h: Tensor, factor: int) -> Tensor:
    """`(B, C, H, W)` to `(B, C, factor·H, factor·W)`, each place repeated.

    >>> enlarge(torch.tensor([[[[1.0, 2.0]]]]), 2)
    tensor([[[[1., 1., 2., 2.],
              [1., 1., 2., 2.]]]])
    """
    rows, channels, height, width = h.shape
    wide = h[:, :, :, None, :, None].expand(rows, channels, height, factor, width, factor)
    return wide.reshape(rows, channels, height * factor, width * factor)


def shrink(h: Tensor, factor: int) -> Tensor:
    """`(B, C, H, W)` to `(B, C, H/factor, W/factor)`, the mean of each square.

    >>> shrink(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]]), 2)
    tensor([[[[2.5000]]]])
    """
    return F.avg_pool2d(h, factor) if factor > 1 else h
