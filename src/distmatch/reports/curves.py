"""The curves of a run, drawn so that a million points stay light and a first spike hides nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distmatch.reports.panels import Panel, panels
from distmatch.reports.style import COLOURS, GREY, INK, legend, new_figure, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MANY = 400  # points of a line, above which it is drawn as its running median within its range
PANEL = (3.5, 2.2)  # inches


def panel_figures(log: Sequence[Mapping[str, Any]]) -> dict[str, Figure]:
    """One small figure per group of curves (see `panels`), without a title: its key is the caption.

    >>> list(panel_figures([{"step": 0, "nll": 2.0}, {"step": 1, "nll": 1.0}]))
    ['nll']
    """
    figures = {}
    for panel in panels(log):
        figures[panel.title] = _panel_figure(panel)
    return figures


@styled
def _panel_figure(panel: Panel) -> Figure:
    figure, [axes] = new_figure(1, 1, PANEL)
    _draw(axes, panel)
    return figure


@styled
def loss_curves(log: Sequence[Mapping[str, Any]], columns: int = 3) -> Figure:
    """All curves of a log in one figure: the model's terms, each critic, gradient norms, others.

    >>> len(loss_curves([{"step": 0, "nll": 2.0, "kl": 0.1}, {"step": 1, "nll": 1.0, "kl": 0.2}]).axes)
    2
    """
    groups = panels(log)
    count = max(1, len(groups))
    columns = min(columns, count)
    figure, axes = new_figure(math.ceil(count / columns), columns, PANEL, used=count)
    if not groups:
        axes[0].set_axis_off()
        axes[0].text(0.5, 0.5, "nothing logged", ha="center", va="center", color=GREY)
    for panel, ax in zip(groups, axes, strict=False):
        _draw(ax, panel)
        ax.set_title(panel.title, pad=6 + 12 * (len(panel.lines) > 1))
    return figure


def _draw(axes: Axes, panel: Panel) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    shown = []
    for k, (label, (steps, values)) in enumerate(panel.lines.items()):
        finite, colour = np.isfinite(values), COLOURS[k] if k < len(COLOURS) else GREY
        if not finite.all():
            first = steps[~finite][0]
            axes.axvline(first, color=INK, linewidth=0.8, linestyle=":")
            note, where = f"{values[~finite][0]} at {first:g} ", axes.get_xaxis_transform()
            axes.text(first, 0.98, note, transform=where, ha="right", va="top", size=7.5)
        steps, values = steps[finite], values[finite]
        if len(values) > MANY:
            steps, low, values, high = _summary(steps, values)
            axes.fill_between(steps, low, high, color=colour, alpha=0.18, linewidth=0)
        marker = "o" if len(values) < 12 else ""
        axes.plot(steps, values, color=colour, marker=marker, markersize=3, label=label)
        shown.append(values)
    _limits(axes, np.concatenate(shown), panel.log_scale)
    axes.set(xlabel="step", ylabel=panel.unit)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    if len(panel.lines) > 1:
        legend(axes)


def _summary(steps: NDArray[Any], values: NDArray[Any], bins: int = 120) -> tuple[NDArray[Any], ...]:
    """Per bin of consecutive points: middle step, least, median and greatest value."""
    parts = np.array_split(values, bins)
    centres = np.array([part.mean() for part in np.array_split(steps, bins)])
    low, middle, high = (np.array([f(part) for part in parts]) for f in (np.min, np.median, np.max))
    return centres, low, middle, high


def _limits(axes: Axes, values: NDArray[Any], log_scale: bool) -> None:
    """Set limits that a few outliers, mostly of the first steps, do not stretch; a note says if any are cut off."""
    if log_scale and len(values) and values.min() > 0:
        axes.set_yscale("log")
        return
    if len(values) < 20:
        return
    low, high = np.percentile(values, [2, 98])
    if high > low and np.ptp(values) > 4 * (high - low):
        margin = 0.1 * (high - low)
        axes.set_ylim(low - margin, high + margin)
        axes.annotate(
            "outliers cut off", (1, 1), xycoords="axes fraction", ha="right", va="top", size=7, color=GREY
        )
