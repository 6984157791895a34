"""From one number per seed to a verdict: holds, fails, tied or inconclusive."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import Literal, get_args

from distmatch.errors import BadInput
from distmatch.metrics.seeds import simultaneous

Outcome = Literal["holds", "fails", "tied", "inconclusive"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
FALSE = 0.05  # the share of verdicts that may be false
LEVEL = 0.99  # of Student's interval: at 0.95 an exponential's mean is above it in 11 % of cases


@dataclass(frozen=True)
class Verdict:
    """The outcome of a claim's measurement: the mean or median over `n` seeds, its interval, and the outcome."""

    outcome: Outcome
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Expected:
    """The claim that the mean, or the median, over seeds lies between `low` and `high`.

    It holds where the whole interval of the mean does, fails where the whole interval lies outside, and is
    inconclusive otherwise, as with a single seed. Of values as in the simulations of the tests (normal, skewed,
    discrete and tied ones) at most one verdict in twenty is false:

    - of a mean, by Student's 99 % interval: it allows for skewed values, as those of an exponential distribution.
      Where more than half of the values are one number, such as 8 of 8 modes for two seeds of three, their deviation
      says nothing about seeds that are not there, and there is no interval.
    - of a median, which suits counts and shares, by order statistics, whatever the distribution: with five seeds, all
      of them must lie on one side (P = 1/32 where the median does not), with fewer there is no interval. Both
      thresholds of a range together need six.

    No rule knows what no seed has met: means of values that fall into two tight clusters, or of which one in ten is
    twenty times the others, are misjudged more often.

    Args:
        low, high: the thresholds.
        unit: of both.
        exact: no seed touches the value: the number itself is judged.
        of: what of the values over seeds is judged.
        margin: differences from a threshold below it count as a tie: where the whole interval is within it, the
            verdict is tied, and the claim neither holds nor fails. 0 for claims that state none.

    Raises:
        BadInput: no number lies between the thresholds, a negative margin.

    >>> Expected(low=0).judge([1.0, 1.2, 0.9]).outcome, Expected(low=0).judge([-1.0, 1.2, 0.9]).outcome
    ('holds', 'inconclusive')
    >>> Expected(high=0).judge([1.0, 1.2, 0.9]).outcome, Expected(low=0).judge([1.0]).outcome
    ('fails', 'inconclusive')
    >>> Expected(low=7.5).judge([8, 8, 8]).outcome, Expected(low=7.5, of="median").judge([8, 8, 8, 8, 8]).outcome
    ('inconclusive', 'holds')
    >>> Expected(low=0, of="median", margin=0.5).judge([0, 0, 0, 0, 0]).outcome
    'tied'
    >>> print(Expected(low=10), "|", Expected(low=0.9, high=1.1), "|", Expected(high=0, unit="nats"))
    > 10 | 0.9 to 1.1 | < 0 nats
    >>> print(Expected(low=0, of="median", margin=0.5))
    median > 0, tied within 0.5
    """

    low: float = -math.inf
    high: float = math.inf
    unit: str = ""
    exact: bool = False
    of: Literal["mean", "median"] = "mean"
    margin: float = 0.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise BadInput(f"expected between {self.low:g} and {self.high:g}: no number is")
        if not 0 <= self.margin < math.inf:
            raise BadInput(f"margin is {self.margin:g}; it must be 0 or above, and finite")

    def judge(self, values: Sequence[float]) -> Verdict:
        """The verdict on one value for each seed. A value that is not finite leaves the claim inconclusive."""
        if not values or not all(map(math.isfinite, values)):
            return Verdict("inconclusive", math.nan, -math.inf, math.inf, len(values))
        value, low, high = self._interval(values)
        return Verdict(self._outcome(low, high), value, low, high, len(values))

    @property
    def thresholds(self) -> list[float]:
        """The finite ones of `low` and `high`."""
        return [end for end in (self.low, self.high) if math.isfinite(end)]

    def _interval(self, values: Sequence[float]) -> tuple[float, float, float]:
        """The number that is judged, and the ends of its interval."""
        if self.of == "median":
            value, ordered = float(median(values)), sorted(map(float, values))
            k = _rank(len(values), FALSE / max(1, len(self.thresholds)))
            low, high = (ordered[k - 1], ordered[-k]) if k else (-math.inf, math.inf)
        else:
            value = fmean(values)
            half = simultaneous(values, level=LEVEL)
            low, high = value - half, value + half
        return (value, value, value) if self.exact else (value, low, high)

    def _outcome(self, low: float, high: float) -> Outcome:
        if any(end - self.margin < low and high < end + self.margin for end in self.thresholds):
            return "tied"
        if self.low < low and high < self.high:
            return "holds"
        if self.exact or high < self.low or low > self.high:
            return "fails"
        return "inconclusive"

    def __str__(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        head = "median " if self.of == "median" else ""
        tie = f", tied within {self.margin:g}{unit}" if self.margin else ""
        if math.isinf(self.high):
            return f"{head}> {self.low:g}{unit}{tie}"
        if math.isinf(self.low):
            return f"{head}< {self.high:g}{unit}{tie}"
        return f"{head}{self.low:g} to {self.high:g}{unit}{tie}"


def _rank(n: int, error: float) -> int:
    """The largest k for which the k-th least of n values lies above the median with P ≤ `error`; 0 if there is none.

    >>> _rank(4, 0.05), _rank(5, 0.05), _rank(10, 0.05), _rank(5, 0.025)
    (0, 1, 2, 0)
    """
    k, below = 0, 0.5**n
    while below <= error:
        k += 1
        below += math.comb(n, k) * 0.5**n
    return k
