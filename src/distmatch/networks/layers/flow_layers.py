"""Invertible layers between data and code, each with the log-determinant of both directions.

`inverse` takes data towards the code (x → z), `forward` a code towards data (z → x); each returns the value and
the log|det| of the Jacobian of its own direction, in nats, `(B,)`. All are pure functions of parameters and inputs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

DIAGONALS = (0, 3, 1, 2)  # of a 2×2 square read by rows: one diagonal, then the other
ROUNDING = 4  # times the dtype's epsilon: how far rounding may put a draw beyond its bound


class Bijection(nn.Module):
    """A map and its inverse; the identity until a subclass says otherwise."""

    def inverse(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z, and log|det ∂z/∂x| `(B,)`, of x `(B, *shape)` and labels y `(B,)`."""
        return x, x.new_zeros(x.shape[0])

    def forward(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x, and log|det ∂x/∂z| `(B,)`, of z and labels y `(B,)`."""
        return z, z.new_zeros(z.shape[0])


class Chain(Bijection):
    """Bijections one after another, listed from the data to the code.

    >>> chain = Chain([Logit(0.05), Flatten((1, 2, 2))])
    >>> chain.inverse(torch.full((1, 1, 2, 2), 0.5))[0]
    tensor([[0., 0., 0., 0.]])
    """

    def __init__(self, steps: Sequence[Bijection]) -> None:
        super().__init__()
        self.steps = nn.ModuleList(steps)

    def inverse(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Through all steps; log-determinants add up."""
        total = x.new_zeros(x.shape[0])
        for step in self.steps:
            assert isinstance(step, Bijection)
            x, log_det = step.inverse(x, y)
            total = total + log_det
        return x, total

    def forward(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Back through all steps; log-determinants add up."""
        total = z.new_zeros(z.shape[0])
        for step in reversed(self.steps):
            z, log_det = step(z, y)
            total = total + log_det
        return z, total


class Logit(Bijection):
    """z = logit s of s = α + (1 - 2α) x: from [0, 1] to the line, and to all of it from (-α, 1-α) / (1-2α).

    dz/dx = (1 - 2α) / (s (1 - s)). The paper prints logit(α + (1-α) x), which has no bound as x goes to 1;
    its authors' program has this form, which treats black and white alike and keeps |z| ≤ logit(1-α).
    So a draw may lie outside [0, 1] by up to α / (1-2α), 0.056 at α = 0.05. The distribution's mass there is
    counted: the density on [0, 1] is exact, and the bits per dimension that follow are still a bound. Outside the
    map's domain the density is 0 (log-determinant -∞); within rounding of its ends, where a saturated draw lies, it
    is that of the last number inside.

    Reference: Dinh, Sohl-Dickstein and Bengio, arXiv:1605.08803, section 4.1.

    >>> z, log_det = Logit(0.05).inverse(torch.tensor([[0.5]]))
    >>> z, log_det.exp()
    (tensor([[0.]]), tensor([3.6000]))
    """

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha, self.width = alpha, 1 - 2 * alpha

    def inverse(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """From data to the line."""
        raw, eps = self.alpha + self.width * x, torch.finfo(x.dtype).eps
        s = raw.clamp(eps, 1 - eps)
        left, right = s.log(), (-s).log1p()
        outside = (raw - s).abs() > ROUNDING * eps
        log_slope = (math.log(self.width) - left - right).masked_fill(outside, -math.inf)
        return left - right, log_slope.flatten(1).sum(1)

    def forward(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """From the line to data."""
        log_slope = -F.softplus(z) - F.softplus(-z) - math.log(self.width)
        return (z.sigmoid() - self.alpha) / self.width, log_slope.flatten(1).sum(1)


class Flatten(Bijection):
    """`(B, *shape)` to `(B, size)`."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.shape = shape

    def inverse(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """To a vector."""
        return super().inverse(x.flatten(1), y)

    def forward(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """From a vector."""
        return super().forward(z.reshape(z.shape[0], *self.shape), y)


class Squeeze(Bijection):
    """`(B, C, H, W)` to `(B, 4C, H/2, W/2)`: squares of 2×2 pixels become channels, first one diagonal's 2C.

    >>> Squeeze().inverse(torch.arange(4.0).reshape(1, 1, 2, 2))[0].flatten()
    tensor([0., 3., 1., 2.])
    """

    def inverse(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Fewer pixels, more channels."""
        c, h, w = x.shape[1:]
        squares = x.reshape(x.shape[0], c, h // 2, 2, w // 2, 2).permute(0, 3, 5, 1, 2, 4)
        places = squares.reshape(x.shape[0], 4, c, h // 2, w // 2)
        return super().inverse(torch.cat([places[:, i] for i in DIAGONALS], 1), y)

    def forward(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """More pixels, fewer channels."""
        c, h, w = z.shape[1] // 4, z.shape[2], z.shape[3]
        parts = dict(zip(DIAGONALS, z.chunk(4, 1), strict=True))
        squares = torch.stack([parts[i] for i in range(4)], 1).reshape(z.shape[0], 2, 2, c, h, w)
        return super().forward(squares.permute(0, 3, 4, 1, 5, 2).reshape(z.shape[0], c, 2 * h, 2 * w), y)


class FactorOut(Bijection):
    """The second half of the channels becomes code at once; `rest` makes code of the first half.

    Arguments:
        shape: `(C, H, W)` of what comes in, C even.
        rest: from `(B, C/2, H, W)` to `(B, C·H·W/2)`.
    """

    def __init__(self, shape: tuple[int, ...], rest: Bijection) -> None:
        super().__init__()
        self.leaving = (shape[0] // 2, *shape[1:])
        self.rest = rest

    def inverse(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The code: the half that left, then the rest's."""
        stay, leave = x.chunk(2, 1)
        z, log_det = self.rest.inverse(stay, y)
        return torch.cat([leave.flatten(1), z], 1), log_det

    def forward(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Both halves as channels."""
        leave, other = z.chunk(2, 1)
        stay, log_det = self.rest(other, y)
        return torch.cat([stay, leave.reshape(z.shape[0], *self.leaving)], 1), log_det
