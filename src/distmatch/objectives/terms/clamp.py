"""The term that keeps a decoder's slope within bounds."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import relu

from distmatch.errors import BadInput
from distmatch.objectives.penalties import number_text
from distmatch.objectives.term import Critics, Term
from distmatch.objectives.variables import X_GEN, X_NEAR, Draws
from distmatch.schedules import Ramp, now


@dataclass(frozen=True)
class Clamp(Term):
    """E[(max(Q, b) - b)² + (min(Q, a) - a)²], Q = ‖G(z) - G(z′)‖ / ‖z - z′‖, ‖z - z′‖ = 1: Jacobian clamping.

    The slope Q of pictures is in the units of [-1, 1] (`Draws.units`).
    Odena et al. 2018, arXiv:1802.08768. (A public implementation prints the term and never adds it.)

    Args:
        low: a, the least slope that goes free.
        high: b, the greatest.

    >>> print(Clamp())
    E[(1 ≤ ‖x̃ - x̃′‖ ≤ 20)²]
    """

    low: float | Tensor | Ramp = 1.0
    high: float | Tensor | Ramp = 20.0

    name = "clamp"
    variables = (X_GEN, X_NEAR)

    def __post_init__(self) -> None:
        super().__post_init__()
        for side in ("low", "high"):
            value = getattr(self, side)
            if isinstance(value, Tensor | Ramp):
                continue
            if not 0 <= value < math.inf:
                raise BadInput(f"the {side} end of clamp is {value:g}; give a finite number, 0 or above")
            object.__setattr__(self, side, float(value))
        if isinstance(self.low, float) and isinstance(self.high, float) and self.low > self.high:
            raise BadInput(f"clamp's low end {self.low:g} is above its high end {self.high:g}; exchange them")

    def equation(self) -> str:
        """As it is printed."""
        return f"E[({number_text(self.low)} ≤ ‖{X_GEN} - {X_NEAR}‖ ≤ {number_text(self.high)})²]"

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """Return each slope's squared distance from the band, `(B,)`. Where two samples coincide the gradient is 0."""
        square = draws.units(X_GEN) ** 2 * (draws[X_GEN] - draws[X_NEAR]).flatten(1).square().sum(1)
        slope = square.clamp_min(torch.finfo(square.dtype).tiny).sqrt()
        return relu(slope - now(self.high)).square() + relu(now(self.low) - slope).square()
