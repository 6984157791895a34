"""Means over seeds with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev


def reach(values: Sequence[float], level: float = 0.95) -> float:
    """Half the interval of the mean of independent values, t·s/√n with Student's t; infinite for fewer than two.

    >>> round(reach([1.0, 2.0, 3.0]), 2), round(reach([1.0, 2.0, 3.0], 0.99), 2), reach([1.0])
    (2.48, 5.73, inf)
    """
    from scipy.special import stdtrit

    n = len(values)
    return float(stdtrit(n - 1, (1 + level) / 2)) * stdev(values) / math.sqrt(n) if n > 1 else math.inf


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean of what is finite, and how far its 95 % interval reaches, as figures show them: 0 for one value.

    >>> interval([1.0]), round(interval([0.0, 1.0, 2.0])[1], 2)
    ((1.0, 0.0), 2.48)
    """
    kept = [float(v) for v in values if math.isfinite(v)]
    return (fmean(kept) if kept else math.nan), (reach(kept) if len(kept) > 1 else 0.0)
