"""Couplings of a flow: a part of the variables says how the other part is scaled and shifted."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distmatch.networks.inputs import full
from distmatch.networks.layers.flow_layers import DIAGONALS, Bijection
from distmatch.networks.shapes import append_labels

NEAR_IDENTITY = 0.1  # times torch's default: how the last layer of a sum of layers starts


class ActNorm(Bijection):
    """z = exp(a) x + b, with a and b learned per channel (per coordinate of points), both 0 at the start.

    The published layer is batch normalisation, which mixes the rows of a batch, so that log p(x) depends on the
    other rows, and needs running statistics to draw from the model. This one has the same freedom, as parameters.

    Arguments:
        shape: of one datum.
    """

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(per_channel(shape)))
        self.shift = nn.Parameter(torch.zeros(per_channel(shape)))
        self.repeats = math.prod(shape[1:])

    def inverse(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """exp(a) x + b."""
        return x * self.log_scale.exp() + self.shift, self._log_det(x)

    def forward(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(z - b) exp(-a)."""
        return (z - self.shift) * (-self.log_scale).exp(), -self._log_det(z)

    def _log_det(self, rows: Tensor) -> Tensor:
        return (self.repeats * self.log_scale.sum()).expand(rows.shape[0])


class Coupling(Bijection):
    """z_a = x_a; z_b = x_b exp(s(x_a, y)) + t(x_a, y), with s = w tanh(·) and a learned w per channel.

    log|det ∂z/∂x| = Σ_b s. The net sees x with part b at zero, and gives raw s and t.

    Arguments:
        keep: True on part a, broadcast against one datum.
        net: from `(B, C + num_classes, H, W)` to `(B, 2C, H, W)`, or the same of points.
        shape: of one datum.
        num_classes: the number of classes.
    """

    keep: Tensor

    def __init__(self, keep: Tensor, net: nn.Module, shape: tuple[int, ...], num_classes: int = 0) -> None:
        super().__init__()
        self.register_buffer("keep", keep, persistent=False)
        self.net, self.num_classes = net, num_classes
        self.scale = nn.Parameter(torch.ones(per_channel(shape)))

    def inverse(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x_b exp(s) + t."""
        s, t = self._scale_and_shift(x, y)
        return x * s.exp() + t, s.flatten(1).sum(1)

    def forward(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(z_b - t) exp(-s)."""
        s, t = self._scale_and_shift(z, y)
        return (z - t) * (-s).exp(), -s.flatten(1).sum(1)

    def _scale_and_shift(self, v: Tensor, y: Tensor | None) -> tuple[Tensor, Tensor]:
        """s and t, both zero on part a."""
        s, t = full(self.net(append_labels(v * self.keep, y, self.num_classes))).chunk(2, 1)
        change = ~self.keep
        return change * self.scale * s.tanh(), change * t


class Residual(nn.Module):
    """h + second(ReLU(first(ReLU(h))))."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first, self.second = first, second

    def forward(self, h: Tensor) -> Tensor:
        """Of the shape of `h`."""
        return h + self.second(F.relu(self.first(F.relu(h))))


def coupling_net(inputs: int, outputs: int, width: int, blocks: int, image: bool) -> nn.Sequential:
    """A residual net of 3×3 convolutions (1×1 at the end), or of linear layers: `inputs` to `outputs` channels.

    The last layer of each block and of the net starts at a tenth of torch's default: the coupling is near the
    identity, yet every parameter has a gradient. No normalisation is needed so, and rows do not mix.

    >>> sum(p.numel() for p in coupling_net(2, 4, width=8, blocks=1, image=False).parameters())
    204
    """
    layer: Callable[[int, int, int], nn.Module] = _conv if image else _linear
    residuals = [Residual(layer(width, width, 3), shrunk(layer(width, width, 3))) for _ in range(blocks)]
    return nn.Sequential(layer(inputs, width, 3), *residuals, nn.ReLU(), shrunk(layer(width, outputs, 1)))


def _conv(a: int, b: int, kernel: int) -> nn.Module:
    return nn.Conv2d(a, b, kernel, padding=kernel // 2)


def _linear(a: int, b: int, kernel: int) -> nn.Module:
    return nn.Linear(a, b)


def shrunk(layer: nn.Module) -> nn.Module:
    """The layer, its parameters made a tenth in place."""
    with torch.no_grad():
        for p in layer.parameters():
            p.mul_(NEAR_IDENTITY)
    return layer


def per_channel(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of one number per channel.

    >>> per_channel((3, 8, 8)), per_channel((2,))
    ((3, 1, 1), (2,))
    """
    return (shape[0], *(1 for _ in shape[1:]))


def checkerboard(shape: tuple[int, ...], odd: bool = False) -> Tensor:
    """True where the sum of the coordinates (but for the channel) is even; where odd, if `odd`.

    >>> checkerboard((1, 2, 3)).int().tolist()
    [[[1, 0, 1], [0, 1, 0]]]
    >>> checkerboard((3,)).int().tolist()
    [1, 0, 1]
    """
    if len(shape) == 1:
        return torch.arange(shape[0]) % 2 == int(odd)
    return (torch.arange(shape[1])[:, None] + torch.arange(shape[2]))[None] % 2 == int(odd)


def rows_of_squares(channels: int, odd: bool = False) -> Tensor:
    """After `Squeeze` to `channels`: True on the upper pixels of each 2×2 square; on the lower ones, if `odd`.

    The diagonals would be the checkerboard once more.

    >>> rows_of_squares(4).int().flatten().tolist()
    [1, 0, 1, 0]
    """
    upper = torch.tensor([place < 2 for place in DIAGONALS]).repeat_interleave(channels // 4)
    return (upper != odd)[:, None, None]
