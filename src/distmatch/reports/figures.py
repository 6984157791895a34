"""Figures from plain data: the curves of a log, samples and codes in the plane, metrics of several runs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distmatch.errors import BadInput
from distmatch.reports.curves import loss_curves, panel_figures
from distmatch.reports.style import COLOURS, GREY, figure_to_svg, legend, new_figure, styled
from distmatch.reports.table import interval_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["figure_to_svg", "latent_scatter", "loss_curves", "metric_bars", "panel_figures", "scatter_2d"]


@styled
def scatter_2d(samples: Any, data: Any = None, modes: Any = None) -> Figure:
    """Samples of a two-dimensional toy over the data (grey), with the modes' centres as crosses.

    Arguments:
        samples, data, modes: tensors or arrays (n, 2).

    >>> len(scatter_2d(np.zeros((5, 2)), data=np.ones((7, 2))).axes[0].collections)
    2
    """
    figure, [axes] = new_figure(1, 1, (3.5, 3.5))
    samples = _pairs("samples", samples)
    total = len(samples) + (0 if data is None else len(data))
    if data is not None:
        _points(axes, _pairs("data", data), total, color=GREY, alpha=0.5, label=f"data ({len(data)})")
    _points(axes, samples, total, color=COLOURS[0], alpha=0.7, label=f"samples ({len(samples)})")
    if modes is not None:
        x, y = _pairs("modes", modes).T
        axes.scatter(x, y, marker="x", s=36, color=COLOURS[1], linewidths=1.4, label=f"modes ({len(x)})")
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xlabel="x₁", ylabel="x₂")
    legend(axes)
    return figure


@styled
def latent_scatter(codes2d: Any, labels: Any = None) -> Figure:
    """Codes in the plane, one colour per label, each label written at the median of its codes.

    Arguments:
        codes2d: tensor or array (n, 2).
        labels: (n,) of whole numbers or names.

    >>> [t.get_text() for t in latent_scatter(np.zeros((4, 2)), [0, 0, 1, 1]).axes[0].texts]
    ['0', '1']
    """
    from matplotlib.patheffects import withStroke

    codes = _pairs("codes", codes2d)
    names = np.asarray(_array(labels) if labels is not None else [""] * len(codes))
    if len(names) != len(codes):
        raise BadInput(f"{len(codes)} codes have {len(names)} labels; give one label per code")
    figure, [axes] = new_figure(1, 1, (3.5, 3.5))
    for k, name in enumerate(np.unique(names)):
        group, colour = codes[names == name], COLOURS[k % len(COLOURS)]
        _points(axes, group, len(codes), color=colour, alpha=0.6)
        if labels is not None:
            outline = [withStroke(linewidth=3, foreground="white")]
            x, y = np.median(group, axis=0)
            axes.text(x, y, str(name), color=colour, weight="bold", size=11.5, ha="center", va="center",
                      path_effects=outline)  # fmt: skip
    axes.set_aspect("equal", adjustable="datalim")
    axes.set(xlabel="z₁", ylabel="z₂")
    return figure


@styled
def metric_bars(columns: Mapping[str, Mapping[str, Mapping[str, Any]]], per_row: int = 4) -> Figure:
    """Small multiples: per metric, each run's value with its interval (± 2 standard errors, or its own limits).

    Points, not filled bars, since the axes do not start at zero.

    Arguments:
        columns: run -> metric -> {"value", "standard_error", "unit", ...}; what is missing stays empty.

    >>> run = {"nll": {"value": 97.9, "standard_error": 0.3, "unit": "nats"}}
    >>> [ax.get_title(loc="left") for ax in metric_bars({"a": run, "b": run}).axes]
    ['nll']
    """
    runs, names = list(columns), list(dict.fromkeys(name for metrics in columns.values() for name in metrics))
    if not names:
        raise BadInput("no metric to draw; give at least one run with a metric")
    width = min(per_row, len(names))
    size = (2.6, 0.75 + 0.24 * len(runs))
    figure, axes = new_figure(math.ceil(len(names) / width), width, size, used=len(names))
    for i, (name, ax) in enumerate(zip(names, axes, strict=True)):
        unit = ""
        for k, run in enumerate(runs):
            entry = columns[run].get(name) or {}
            unit = unit or entry.get("unit") or ""
            value, ends = _number(entry.get("value")), interval_of(entry)
            if math.isfinite(value):
                sides = ends and [[abs(value - end) if math.isfinite(end) else 0.0] for end in ends]
                ax.errorbar(value, k, xerr=sides, fmt="o", ms=4.5,
                            color=COLOURS[k % len(COLOURS)], capsize=2.5, elinewidth=1.3)  # fmt: skip
        ax.set_ylim(len(runs) - 0.5, -0.5)
        ax.set_yticks(range(len(runs)), [_short(r) for r in runs] if i % width == 0 else [""] * len(runs))
        ax.locator_params(axis="x", nbins=4)
        ax.grid(axis="y", visible=False)
        ax.tick_params(axis="y", length=0)
        ax.set_title(_short(name, 34))
        ax.set_xlabel(unit)
    return figure


def _points(axes: Axes, points: NDArray[Any], total: int, **style: Any) -> None:
    """Points of one colour, of `total` in the figure: many are drawn smaller, and as pixels."""
    size = 7 if total < 2000 else 3
    axes.scatter(points[:, 0], points[:, 1], s=size, linewidths=0, rasterized=total > 300, **style)


def _pairs(name: str, points: Any) -> NDArray[Any]:
    array = _array(points)
    if array.ndim != 2 or array.shape[1] != 2:
        raise BadInput(f"{name} have shape {tuple(array.shape)}; give points in the plane, as (n, 2)")
    return array


def _array(values: Any) -> NDArray[Any]:
    return values.detach().cpu().numpy() if hasattr(values, "detach") else np.asarray(values)


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _short(text: str, limit: int = 22) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
