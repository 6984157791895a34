"""The search space of a sweep: ranges and lists of values, by paths of a run's configuration."""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distmatch.errors import BadInput, unknown

Value = bool | int | float | str | None | list[Any]


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; whole ones where both are.

    Args:
        low: the least.
        high: the greatest.
        log: even in the logarithm.
    """

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        """True where only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def draw(self, source: random.Random) -> float:
        """One of them, at random.

        >>> Range(1, 3).draw(random.Random(0)) in (1, 2, 3), Range(1, 3).whole
        (True, True)
        """
        if self.whole and not self.log:
            return source.randint(int(self.low), int(self.high))
        if self.log:
            number = math.exp(source.uniform(math.log(self.low), math.log(self.high)))
        else:
            number = source.uniform(self.low, self.high)
        number = min(max(number, self.low), self.high)
        return round(number) if self.whole else significant(number)


@dataclass(frozen=True)
class Choice:
    """One of several values."""

    values: tuple[Value, ...]

    def draw(self, source: random.Random) -> Value:
        """One of them, at random."""
        return source.choice(self.values)


Axis = Range | Choice
Space = dict[str, Axis]


def significant(number: float, digits: int = 6) -> float:
    """Return a number to so many significant digits.

    >>> significant(0.00012345678), significant(1234567.0)
    (0.000123457, 1234570.0)
    """
    return round(number, digits - 1 - math.floor(math.log10(abs(number)))) if number else number


def read_space(section: str, content: Mapping[str, Any]) -> Space:
    """The axes of a section, by path: a list of values, or a table with low, high and perhaps log.

    >>> read_space("random", {"training.lr": {"low": 1e-4, "high": 1e-2, "log": True}})
    {'training.lr': Range(low=0.0001, high=0.01, log=True)}
    """
    space: Space = {}
    for path, value in content.items():
        where = f"[{section}] {path}"
        if isinstance(value, list):
            space[path] = Choice(tuple(values_of(where, value)))
        elif isinstance(value, Mapping):
            space[path] = _range(where, value)
        else:
            raise BadInput(
                f"{where} is {value!r}; give a list of values or a range, such as "
                "{low = 1e-4, high = 1e-2, log = true}, and put a single value under [base]"
            )
    return space


def values_of(where: str, values: Any) -> list[Value]:
    """The values of a list, which must have some and name none twice."""
    if not isinstance(values, list) or not values:
        raise BadInput(f"{where} is {values!r}; give a list of at least one value, such as [1e-4, 1e-3]")
    for i, value in enumerate(values):
        if value in values[:i]:
            raise BadInput(f"{where} names {value!r} twice; leave one out")
    return values


def draws(space: Space, count: int, seed: int) -> list[dict[str, Value]]:
    """Values at random, `count` times; those of a path depend on nothing but `seed` and the path.

    >>> draws({"a": Range(0, 9)}, 3, 0) == [{"a": d["a"]} for d in draws({"a": Range(0, 9), "b": Choice((1, 2))}, 3, 0)]
    True
    """
    sources = {path: random.Random(_digest(f"{seed} {path}")) for path in space}
    return [{path: axis.draw(sources[path]) for path, axis in space.items()} for _ in range(count)]


def _range(where: str, content: Mapping[str, Any]) -> Range:
    for key in content:
        if key not in ("low", "high", "log"):
            raise unknown(f"part of the range {where}", key, ("low", "high", "log"))
    low, high, log = content.get("low"), content.get("high"), content.get("log", False)
    for name, number in (("low", low), ("high", high)):
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise BadInput(f"{where}: {name} is {number!r}; give a finite number")
    if not isinstance(log, bool):
        raise BadInput(f"{where}: log is {log!r}; give true or false")
    assert low is not None
    assert high is not None
    if low >= high:
        raise BadInput(f"{where} goes from {low:g} to {high:g}; give a low that is less than its high")
    if log and low <= 0:
        raise BadInput(f"{where} is logarithmic from {low:g}; give a low above 0, or leave log out")
    return Range(low, high, log)


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8])
