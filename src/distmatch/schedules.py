"""Numbers that change while training goes on: annealed weights, fading noise, a lens that opens.

How long a change takes is a share of the run, or a number of steps where one is asked for. A share becomes steps when
the run starts (`over`), and these are what is stored: a run that is made longer later rescales nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass, replace
from decimal import Decimal
from typing import Any, Literal, Self, TypeVar

from torch import Tensor

from distmatch.errors import BadInput

SHAPES: dict[str, Callable[[float, float, float], float]] = {
    "linear": lambda a, b, u: a + (b - a) * u,
    "sine": lambda a, b, u: a + (b - a) * math.sin(math.pi * u / 2),
    "cosine": lambda a, b, u: a + (b - a) * (1 - math.cos(math.pi * u)) / 2,
    "exponential": lambda a, b, u: a ** (1 - u) * b**u,
}
"""How a ramp goes from a to b as u goes from 0 to 1."""


@dataclass(frozen=True)
class Share:
    """A length of time as a share of a run, written `50%`.

    Args:
        value: above 0, and at most 1.

    Raises:
        BadInput: another value.

    >>> Share(0.5).of(1000), str(Share(0.125)), Share.read("12.5%") == Share(0.125)
    (500, '12.5%', True)
    """

    value: float

    def __post_init__(self) -> None:
        if isinstance(self.value, bool) or not isinstance(self.value, int | float):
            raise BadInput(f"a share of a run is {self.value!r}; give a number, such as 0.5 for half of it")
        if not 0 < self.value <= 1:
            raise BadInput(f"a share of a run is {100 * self.value:g}%; give one above 0% and at most 100%")
        object.__setattr__(self, "value", float(self.value))

    def of(self, steps: int) -> int:
        """The steps that it is of so many: to the nearest, and at least 1."""
        return max(1, round(self.value * steps))

    @classmethod
    def read(cls, text: str) -> Self:
        """The share that `str` wrote, to the bit: the decimal point is moved, and nothing divided.

        Raises:
            BadInput: the text is none.
        """
        try:
            number = Decimal(text.removesuffix("%").strip()).scaleb(-2) if text.endswith("%") else None
        except ArithmeticError:
            number = None
        if number is None:
            raise BadInput(f"a share of a run is written as 50%, not {text!r}")
        return cls(float(number))

    def __str__(self) -> str:
        return f"{Decimal(repr(self.value)).scaleb(2).normalize():f}%"


@dataclass(frozen=True)
class Ramp:
    """A number that goes from `start` to `end` in T steps and stays there.

    After t < T steps it is start + (end - start)·s(t/T), or start·(end/start)^(t/T) where it is exponential.

    Args:
        start: the value at the first step.
        end: the value from step T on.
        steps: T, in steps of the model, or as a share of a run (see `over`).
        shape: linear, sine (fast first), cosine (slow at both ends) or exponential.

    Raises:
        BadInput: a number that is not finite, or below 0, or for an exponential ramp 0; fewer than one step.

    >>> 2 * Ramp(0, 1, 100)
    Ramp(start=0.0, end=2.0, steps=100, shape='linear')
    >>> over(Ramp(2, 0.02, Share(1.0), "exponential"), 1000).at(500)
    0.2
    """

    start: float
    end: float
    steps: int | Share
    shape: Literal["linear", "sine", "cosine", "exponential"] = "linear"

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            known = "linear, sine, cosine or exponential"
            raise BadInput(f"a ramp's shape is {known}, not {self.shape!r}")
        for name in ("start", "end"):
            value = float(getattr(self, name))
            if not 0 <= value < math.inf:
                raise BadInput(f"the {name} of a ramp is {value:g}; give a finite number, 0 or above")
            if value == 0 and self.shape == "exponential":
                raise BadInput(f"the {name} of an exponential ramp is 0; give a number above 0, or be linear")
            object.__setattr__(self, name, value)
        if not isinstance(self.steps, Share):
            whole = isinstance(self.steps, int) and not isinstance(self.steps, bool)
            if not whole or self.steps < 1:
                raise BadInput(
                    f"a ramp takes {self.steps!r} steps; give a whole number, at least 1, or Share(0.5) of the run"
                )

    def at(self, step: int) -> float:
        """The value after this many steps.

        Raises:
            BadInput: the ramp is over a share of a run whose length it was not told.

        >>> Ramp(1, 0, 10, "sine").at(5).__round__(4), Ramp(0, 4, 10).at(99)
        (0.2929, 4.0)
        """
        if isinstance(self.steps, Share):
            raise BadInput(
                f"a ramp takes {self.steps} of a run, and nobody said how many steps the run has: "
                "take objective.over(steps)"
            )
        if step >= self.steps:
            return self.end
        return SHAPES[self.shape](self.start, self.end, step / self.steps)

    def __rmul__(self, factor: float) -> Ramp:
        if not isinstance(factor, int | float):
            return NotImplemented
        return replace(self, start=factor * self.start, end=factor * self.end)

    __mul__ = __rmul__


T = TypeVar("T")


def over(value: T, steps: int) -> T:
    """The same for a run of this many steps: every share of it in a ramp, a penalty or a term becomes steps.

    >>> over(Ramp(0, 4, Share(0.25)), 1000)
    Ramp(start=0.0, end=4.0, steps=250, shape='linear')
    """
    if not is_dataclass(value) or isinstance(value, type):
        return value
    held = {f.name: getattr(value, f.name) for f in fields(value)}
    now: dict[str, Any] = {
        name: item.of(steps) if isinstance(item, Share) else over(item, steps) for name, item in held.items()
    }
    changed = {name: item for name, item in now.items() if item is not held[name]}
    return replace(value, **changed) if changed else value


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
