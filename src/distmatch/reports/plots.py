"""A metric's plots as pictures: PNG for images, SVG for figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distmatch.metrics.plots import (
    Barcode,
    Bars,
    Histograms,
    Lines,
    Pictures,
    Plot,
    RatePlane,
    Scatter,
)
from distmatch.reports.grids import image_grid, png_bytes
from distmatch.reports.style import (
    COLOURS,
    GREY,
    INK,
    figure_to_svg,
    legend,
    new_figure,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SIZE = (4.2, 2.8)
BINS = 50
FEW = 20  # bars beside one another at most
MANY = 300  # points above this number are drawn as pixels


def drawn(plot: Plot) -> bytes | str:
    """The bytes of a PNG file, or the text of an SVG one.

    >>> import torch
    >>> drawn(Bars("holes", {"data": torch.tensor([0.2, 0.8])}, "holes", "share"))[:5]
    '<svg '
    >>> drawn(Pictures("closest pairs", torch.zeros(2, 1, 4, 4)))[:4]
    b'\\x89PNG'
    """
    if isinstance(plot, Pictures):
        return png_bytes(image_grid(plot.images.clamp(0, 1), columns=plot.columns))
    return figure_to_svg(figure_of(plot))


@styled
def figure_of(plot: Plot) -> Figure:
    """Every plot but `Pictures`, as a figure."""
    return FIGURES[type(plot)](plot)


def _histograms(plot: Histograms) -> Figure:
    """Steps over shared bins, as densities, so that populations of different sizes compare; a lone value as a line."""
    figure, [axes] = new_figure(1, 1, SIZE)
    series = {name: _array(values) for name, values in plot.series.items()}
    edges = _edges(np.concatenate([v for v in series.values() if len(v) > 1] or list(series.values())))
    for k, (name, values) in enumerate(series.items()):
        if len(values) == 1:
            axes.axvline(values[0], color=_colour(k), label=f"{name}: {values[0]:.4g}")
            continue
        counts, _ = np.histogram(np.clip(values, edges[0], edges[-1]), edges)
        height = counts / len(values) / np.diff(edges)
        axes.stairs(height, edges, color=_colour(k), label=f"{name} (n = {len(values)})", linewidth=1.3)
        axes.stairs(height, edges, color=_colour(k), fill=True, alpha=0.12)
    axes.set(xlabel=plot.label, ylabel="density")
    if plot.log:
        axes.set_yscale("log")
    _legend(axes, 2)
    return figure


def _edges(values: NDArray[Any]) -> NDArray[Any]:
    """Bins over what lies between the outer half percents; the outermost bins take the rest."""
    low, high = np.quantile(values, [0.005, 0.995])
    if not high > low:
        low, high = low - 0.5, high + 0.5
    return np.linspace(low, high, BINS + 1)


def _lines(plot: Lines) -> Figure:
    figure, [axes] = new_figure(1, 1, SIZE)
    for k, (name, values) in enumerate(plot.series.items()):
        x = _array(plot.x[name] if isinstance(plot.x, Mapping) else plot.x)
        y, marker = _array(values), "o" if len(values) < 30 else ""
        axes.plot(x, y, color=_colour(k), label=name, marker=marker, markersize=3)
        if name in plot.errors:
            spread = 2 * _array(plot.errors[name])
            axes.fill_between(x, y - spread, y + spread, color=_colour(k), alpha=0.18, linewidth=0)
    for k, (words, value) in enumerate(plot.marks.items()):
        axes.axhline(value, color=INK, linewidth=0.8, linestyle=("--", ":", "-.")[k % 3], label=words)
    axes.set(xlabel=plot.x_label, ylabel=plot.y_label)
    axes.set_xscale("log" if "x" in plot.log else "linear")
    axes.set_yscale("log" if "y" in plot.log else "linear")
    _legend(axes, len(plot.series) + len(plot.marks))
    return figure


def _bars(plot: Bars) -> Figure:
    """Bars side by side; as steps with bands where they are many. What is nearly zero at the far end is left out."""
    figure, [axes] = new_figure(1, 1, SIZE)
    series = {name: _array(values) for name, values in plot.series.items()}
    errors = {name: 2 * _array(values) for name, values in plot.errors.items()}
    shown = 1 + max(int(np.flatnonzero(height > 1e-3).max(initial=0)) for height in series.values())
    width = 0.8 / len(series)
    for k, (name, heights) in enumerate(series.items()):
        height, spread = heights[:shown], errors[name][:shown] if name in errors else None
        place = np.arange(len(height))
        if shown > FEW:
            axes.step(place, height, color=_colour(k), label=name, where="mid")
            if spread is not None:
                low, high = np.maximum(height - spread, 0), height + spread
                axes.fill_between(place, low, high, color=_colour(k), alpha=0.18, linewidth=0, step="mid")
        else:
            beside = place + (k - (len(series) - 1) / 2) * width
            axes.bar(
                beside, height, width, yerr=spread, color=_colour(k), label=name, error_kw={"elinewidth": 1}
            )
    axes.set(xlabel=plot.x_label, ylabel=plot.y_label)
    axes.locator_params(axis="x", integer=True)
    axes.grid(axis="x", visible=False)
    _legend(axes, len(series))
    return figure


def _barcode(plot: Barcode) -> Figure:
    figure, axes = new_figure(len(plot.series), 1, (SIZE[0], 1.6))
    high = max(float(_array(v).max(initial=0.0)) for v in plot.series.values())
    for k, (name, intervals) in enumerate(plot.series.items()):
        bars = _array(intervals).reshape(-1, 2)
        bars = bars[np.argsort(bars[:, 0])]
        axes[k].hlines(np.arange(len(bars)), bars[:, 0], bars[:, 1], color=_colour(k), linewidth=1.2)
        axes[k].set(ylabel=name, yticks=[], xlim=(0, high * 1.02 or 1))
    axes[-1].set_xlabel(plot.x_label)
    return figure


def _scatter(plot: Scatter) -> Figure:
    figure, [axes] = new_figure(1, 1, (SIZE[0], SIZE[0]))
    total = sum(len(points) for points in plot.groups.values())
    for k, (name, points) in enumerate(plot.groups.items()):
        x, y = _array(points).T
        label = f"{name} (n = {len(x)})"
        axes.scatter(
            x, y, s=5, color=_colour(k), alpha=0.6, linewidths=0, rasterized=total > MANY, label=label
        )
    axes.set(xlabel=plot.x_label, ylabel=plot.y_label)
    _legend(axes, 2)
    return figure


def _rate_plane(plot: RatePlane) -> Figure:
    """Points with their intervals, lines of equal ELBO, and the region below D + R = H in grey."""
    figure, [axes] = new_figure(1, 1, (SIZE[0], 3.4))
    rates = np.array([rate.value for rate, _ in plot.points.values()])
    distortions = np.array([distortion.value for _, distortion in plot.points.values()])
    entropy = plot.entropy.value if plot.entropy is not None else None
    right = 1.25 * max(rates.max(), 1.0)
    sums = rates + distortions
    base = sums.min() if entropy is None else min(entropy, sums.min())
    axes.set(
        xlim=(0, right), ylim=(min(distortions.min(), base - right) - 2, max(distortions.max(), base) * 1.08)
    )
    line = np.array([0.0, right])
    for value in np.unique(np.round(sums, 0)):
        axes.plot(line, value - line, color=GREY, linewidth=0.6, linestyle=":")
    if entropy is not None:
        axes.fill_between(line, axes.get_ylim()[0], entropy - line, color=GREY, alpha=0.25, linewidth=0)
        axes.plot(
            line, entropy - line, color=INK, linewidth=0.9, label=f"D + R = {entropy:.1f} nats, best known"
        )
    for k, (name, (rate, distortion)) in enumerate(plot.points.items()):
        axes.errorbar(rate.value, distortion.value, xerr=2 * rate.standard_error, yerr=2 * distortion.standard_error,
                      fmt="o", color=_colour(k), markersize=4, elinewidth=1, label=name)  # fmt: skip
    axes.set(xlabel="rate R (nats)", ylabel="distortion D (nats)")
    _legend(axes, 2)
    return figure


FIGURES: dict[type, Callable[[Any], Figure]] = {
    Histograms: _histograms,
    Lines: _lines,
    Bars: _bars,
    Barcode: _barcode,
    Scatter: _scatter,
    RatePlane: _rate_plane,
}


def _legend(axes: Any, entries: int) -> None:
    if entries > 1:
        legend(axes)


def _colour(k: int) -> str:
    return COLOURS[k % len(COLOURS)]


def _array(values: Any) -> NDArray[Any]:
    return values.detach().cpu().double().numpy() if hasattr(values, "detach") else np.asarray(values, float)
