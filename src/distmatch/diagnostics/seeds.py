"""Means over seeds with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean, stdev


def reach(values: Sequence[float]) -> float:
    """Half the 95 % interval of the mean of independent values, t·s/√n with Student's t; infinite for fewer than two.

    >>> round(reach([1.0, 2.0, 3.0]), 2), reach([1.0])
    (2.48, inf)
    """
    from scipy.special import stdtrit

    n = len(values)
    return float(stdtrit(n - 1, 0.975)) * stdev(values) / math.sqrt(n) if n > 1 else math.inf


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
