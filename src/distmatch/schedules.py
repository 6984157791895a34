"""Numbers that change while training goes on: annealed weights, fading noise, a lens that opens."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from distmatch.errors import BadInput

SHAPES: dict[str, Callable[[float], float]] = {
    "linear": lambda u: u,
    "sine": lambda u: math.sin(math.pi * u / 2),
    "cosine": lambda u: (1 - math.cos(math.pi * u)) / 2,
}
"""How a ramp goes from 0 to 1 as u does."""


@dataclass(frozen=True)
class Ramp:
    """start + (end - start)·s(t/T) after t of T steps, and `end` from then on.

    Args:
        start: the value at the first step.
        end: the value from step T on.
        steps: T, in the players' steps.
        shape: s; linear, sine (fast first) or cosine (slow at both ends).

    Raises:
        BadInput: a number that is not finite, or below 0; fewer than one step.

    >>> 2 * Ramp(0, 1, 100)
    Ramp(start=0.0, end=2.0, steps=100, shape='linear')
    """

    start: float
    end: float
    steps: int
    shape: Literal["linear", "sine", "cosine"] = "linear"

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            value = float(getattr(self, name))
            if not 0 <= value < math.inf:
                raise BadInput(f"the {name} of a ramp is {value:g}; give a finite number, 0 or above")
            object.__setattr__(self, name, value)
        if self.steps < 1:
            raise BadInput(f"a ramp takes {self.steps} steps; give at least 1")
        if self.shape not in SHAPES:
            raise BadInput(f"a ramp's shape is linear, sine or cosine, not {self.shape!r}")

    def at(self, step: int) -> float:
        """The value after this many steps.

        >>> Ramp(1, 0, 10, "sine").at(5).__round__(4), Ramp(0, 4, 10).at(99)
        (0.2929, 4.0)
        """
        if step >= self.steps:
            return self.end
        return self.start + (self.end - self.start) * SHAPES[self.shape](step / self.steps)

    def __rmul__(self, factor: float) -> Ramp:
        if not isinstance(factor, int | float):
            return NotImplemented
        return replace(self, start=factor * self.start, end=factor * self.end)

    __mul__ = __rmul__


def now(value: float | Tensor | Ramp) -> float | Tensor:
    """A number that a loss may use; raises `BadInput` for a ramp that nobody evaluated.

    >>> now(2.0)
    2.0
    """
    if isinstance(value, Ramp):
        raise BadInput(
            f"{value} has no value by itself: replace it by its value at a step (Objective.with_numbers)"
        )
    return value
