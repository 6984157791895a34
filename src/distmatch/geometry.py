"""Terms of angles and slopes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, relu

from distmatch.errors import BadInput
from distmatch.objective import Critics, Term
from distmatch.penalties import number_text
from distmatch.schedules import Ramp, now
from distmatch.variables import X_GEN, X_NEAR, Z_PRIOR, Z_REC, Draws, Variable

__all__ = ["Clamp", "CosineDistance"]


@dataclass(frozen=True)
class CosineDistance(Term):
    """E[1 - cos(a, b)], cos(a, b) = a·b / (‖a‖‖b‖): between 0 and 2; of pictures as vectors of the data's own values.

    Args:
        first: a.
        second: b, of the same space.
        reduction: `"sum"`, or `"mean"` for the distance over dim, as a mean over coordinates gives it.

    >>> print(CosineDistance())
    E[1 - cos(z, z̃)]
    """

    first: Variable = Z_PRIOR
    second: Variable = Z_REC
    reduction: Literal["sum", "mean"] = "sum"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first.space != self.second.space:
            raise BadInput(
                f"no angle between {self.first.name} and {self.second.name}: they live in different spaces"
            )
        if self.reduction not in ("sum", "mean"):
            raise BadInput(f"the reduction of cosine_distance is sum or mean, not {self.reduction!r}")

    @property
    def name(self) -> str:
        """E.g. `cosine_distance(z_prior, z_rec)`."""
        return f"cosine_distance({self.first.name}, {self.second.name})"

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Both."""
        return (self.first, self.second)

    def equation(self) -> str:
        """As it is printed."""
        text = f"E[1 - cos({self.first}, {self.second})]"
        return text if self.reduction == "sum" else f"{text}/dim({self.first.space})"

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """1 - cos of each pair, `(B,)`."""
        first, second = draws[self.first].flatten(1), draws[self.second].flatten(1)
        distance = 1 - cosine_similarity(first, second, dim=1)
        return distance if self.reduction == "sum" else distance / first.shape[1]


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
        """How far each slope is outside, squared, `(B,)`. Where two samples coincide the gradient is 0."""
        square = draws.units(X_GEN) ** 2 * (draws[X_GEN] - draws[X_NEAR]).flatten(1).square().sum(1)
        slope = square.clamp_min(torch.finfo(square.dtype).tiny).sqrt()
        return relu(slope - now(self.high)).square() + relu(now(self.low) - slope).square()
