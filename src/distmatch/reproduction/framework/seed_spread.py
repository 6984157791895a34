"""Means over seeds with their spread, as figures show them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from distmatch.metrics.seeds import interval, named

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def dots(axes: Axes, place: float, values: Sequence[float], colour: str, **look: Any) -> None:
    """The mean over seeds as a dot at x = `place` with its interval, and every seed as a faint dot.

    Where a seed diverged there is no mean, and a note says how many did.
    """
    mean, half = interval(values)
    axes.plot([place] * len(values), list(values), ".", color=colour, alpha=0.35, ms=4)
    say_lost(axes, place, values)
    axes.errorbar([place], [mean], yerr=half, fmt="o", color=colour, ms=4.5, capsize=2.5, lw=1, **look)


def say_lost(axes: Axes, place: float, values: Sequence[float]) -> None:
    """Write the number of seeds that diverged in small letters above x = `place`; nothing where none did."""
    at = (place, 0.02)
    axes.annotate(
        named("", values).strip(" ()"),
        at,
        xycoords=axes.get_xaxis_transform(),
        size=6,
        rotation=90,
        ha="center",
    )


def median_curve(
    axes: Axes, x: Sequence[float], curves: Sequence[Sequence[float]], colour: str, label: str, **look: Any
) -> None:
    """The median over seeds of curves over x, and the range of the seeds."""
    values = np.asarray(curves, dtype=float)
    axes.plot(x, np.median(values, 0), color=colour, label=label, **look)
    if len(values) > 1:
        axes.fill_between(x, values.min(0), values.max(0), color=colour, alpha=0.15, lw=0)
