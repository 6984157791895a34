"""From one number per seed to a verdict: holds, fails or inconclusive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Literal

from distmatch.diagnostics.seeds import reach
from distmatch.errors import BadInput

Outcome = Literal["holds", "fails", "inconclusive"]


@dataclass(frozen=True)
class Verdict:
    """What a claim's measurement came to: the mean over `n` seeds with its interval, and the outcome."""

    outcome: Outcome
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Expected:
    """The claim that a mean over seeds lies between `low` and `high`.

    It holds where the whole 95 % interval of the mean does (Student's t over seeds), fails where the whole interval
    lies outside, and is inconclusive otherwise, as with a single seed. A claim on what no seed touches is `exact`: the
    number itself is judged.

    >>> Expected(low=0).judge([1.0, 1.2, 0.9]).outcome, Expected(low=0).judge([-1.0, 1.2, 0.9]).outcome
    ('holds', 'inconclusive')
    >>> Expected(high=0).judge([1.0, 1.2, 0.9]).outcome, Expected(low=0).judge([1.0]).outcome
    ('fails', 'inconclusive')
    >>> Expected(low=0).judge([0.0, 0.0, 0.0]).outcome  # nothing is more than nothing
    'fails'
    >>> print(Expected(low=10), "|", Expected(low=0.9, high=1.1), "|", Expected(high=0, unit="nats"))
    > 10 | 0.9 to 1.1 | < 0 nats
    """

    low: float = -math.inf
    high: float = math.inf
    unit: str = ""
    exact: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise BadInput(f"expected between {self.low:g} and {self.high:g}: no number is")

    def judge(self, values: Sequence[float]) -> Verdict:
        """The verdict on one value for each seed. A value that is not finite leaves the claim inconclusive."""
        n = len(values)
        if not n or not all(map(math.isfinite, values)):
            return Verdict("inconclusive", math.nan, -math.inf, math.inf, n)
        value, half = fmean(values), 0.0 if self.exact else reach(values)
        low, high = value - half, value + half
        if self.low < low and high < self.high:
            return Verdict("holds", value, low, high, n)
        if high <= self.low or low >= self.high:
            return Verdict("fails", value, low, high, n)
        return Verdict("inconclusive", value, low, high, n)

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        if math.isinf(self.high):
            return f"> {self.low:g}{unit}"
        if math.isinf(self.low):
            return f"< {self.high:g}{unit}"
        return f"{self.low:g} to {self.high:g}{unit}"
