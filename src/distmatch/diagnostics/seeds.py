"""Means over seeds with their intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import stdev


def reach(values: Sequence[float]) -> float:
    """Half the 95 % interval of the mean of independent values, t·s/√n with Student's t; infinite for fewer than two.

    >>> round(reach([1.0, 2.0, 3.0]), 2), reach([1.0])
    (2.48, inf)
    """
    from scipy.special import stdtrit

    n = len(values)
    return float(stdtrit(n - 1, 0.975)) * stdev(values) / math.sqrt(n) if n > 1 else math.inf
