"""Means over seeds with their spread, as figures show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from distmatch.diagnostics.seeds import reach

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean and the ends of its 95 % interval over seeds (Student's t); of one seed, the value thrice.

    >>> [round(v, 2) for v in mean_interval([1.0, 2.0, 3.0])]
    [2.0, -0.48, 4.48]
    """
    found = np.asarray(values, dtype=float)
    mean = float(found.mean())
    if len(found) < 2:
        return mean, mean, mean
    half = reach([float(value) for value in found])
    return mean, mean - half, mean + half


def dots(axes: Axes, place: float, values: Sequence[float], colour: str, **look: Any) -> None:
    """The mean over seeds as a dot at x = `place` with its interval, and every seed as a faint dot."""
    mean, low, high = mean_interval(values)
    axes.plot([place] * len(values), list(values), ".", color=colour, alpha=0.35, ms=4)
    ends = [[mean - low], [high - mean]]
    axes.errorbar([place], [mean], yerr=ends, fmt="o", color=colour, ms=4.5, capsize=2.5, lw=1, **look)


def band(
    axes: Axes, x: Sequence[float], curves: Sequence[Sequence[float]], colour: str, label: str, **look: Any
) -> None:
    """The median over seeds of curves over x, and the range of the seeds."""
    found = np.asarray(curves, dtype=float)
    axes.plot(x, np.median(found, 0), color=colour, label=label, **look)
    if len(found) > 1:
        axes.fill_between(x, found.min(0), found.max(0), color=colour, alpha=0.15, lw=0)
