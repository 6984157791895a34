"""Means over seeds with their intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from statistics import fmean, stdev

SAME = 9  # digits that two values share if they count as one


def reach(values: Sequence[float], level: float = 0.95) -> float:
    """Half the interval of the mean of independent values, t·s/√n with Student's t; infinite for fewer than two.

    >>> round(reach([1.0, 2.0, 3.0]), 2), round(reach([1.0, 2.0, 3.0], 0.99), 2), reach([1.0])
    (2.48, 5.73, inf)
    """
    from scipy.special import stdtrit

    n = len(values)
    return float(stdtrit(n - 1, (1 + level) / 2)) * stdev(values) / math.sqrt(n) if n > 1 else math.inf


def simultaneous(values: Sequence[float], comparisons: int = 1, level: float = 0.95) -> float:
    """Half the interval of a mean that is one of several: all of them hold at once with `level` (Bonferroni).

    So the interval of one that was chosen by its value holds too, whichever that is. Infinite for fewer than two
    values, and where more than half of them are one number, for their deviation then says nothing about others.

    >>> round(simultaneous([1.0, 2.0, 3.0]), 2), round(simultaneous([1.0, 2.0, 3.0], 6), 2)
    (2.48, 6.28)
    >>> simultaneous([8.0, 8.0, 7.0])
    inf
    """
    return math.inf if one_prevails(values) else reach(values, 1 - (1 - level) / comparisons)


def one_prevails(values: Sequence[float]) -> bool:
    """True where more than half of the values are the same number, to nine digits of the largest.

    >>> one_prevails([0.3, 0.1 + 0.2, 1.0]), one_prevails([1.0, 1.0, 2.0, 2.0])
    (True, False)
    """
    size = max(map(abs, values), default=0.0) or 1.0
    same = Counter(round(value / size, SAME) for value in values)
    return 2 * max(same.values(), default=0) > len(values)


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean, and how far its 95 % interval reaches, as figures show them: 0 for one value.

    Both are NaN where a seed diverged and has no finite value, for the mean of the others is one of the lucky ones:
    `named` says how many.

    >>> interval([1.0]), round(interval([0.0, 1.0, 2.0])[1], 2), interval([1.0, math.inf])
    ((1.0, 0.0), 2.48, (nan, nan))
    """
    if not values or not all(map(math.isfinite, values)):
        return math.nan, math.nan
    return fmean(values), (reach(values) if len(values) > 1 else 0.0)


def named(label: str, values: Sequence[float]) -> str:
    """The label, with how many of the seeds diverged where some did.

    >>> named("gan", [1.0, 2.0]), named("wgan", [1.0, math.nan, 2.0])
    ('gan', 'wgan (1 of 3 diverged)')
    """
    lost = sum(not math.isfinite(v) for v in values)
    return f"{label} ({lost} of {len(values)} diverged)" if lost else label
