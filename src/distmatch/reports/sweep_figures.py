"""The figures of a sweep: boxes over hyperparameters, parallel coordinates, and the effect of each hyperparameter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np

from distmatch.metrics.seeds import simultaneous
from distmatch.reports.style import COLOURS, GREY, INK, legend, new_figure, styled
from distmatch.reports.sweep_numbers import (
    Effect,
    Metric,
    Setting,
    best_of,
    is_number,
    sorted_values,
    systems_of,
    text_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

HEIGHT = 2.6  # inches
FAR = 30  # times the least number, above which a scale is logarithmic
MANY = 400  # lines or dots above this number are drawn as pixels
TALL = 12  # characters of a label, above which it is turned
ABSENT = -0.12  # where a setting that a run does not have is drawn, under the axes' 0 to 1


@styled
def boxes(settings: Sequence[Setting], metric: Metric, by: str | None) -> Figure:
    """A box for each system, and each value of `by` in it, over settings (means over seeds), and the best of these.

    Where nothing but the seed varies within the boxes, they are over the runs. Whiskers end at the last value within
    1.5 times the box; every value is a dot. The best has an interval that allows for its choice.
    """
    systems = systems_of(settings)
    values = (
        list(dict.fromkeys(map(repr, sorted_values([s.settings.get(by) for s in settings])))) if by else [""]
    )
    groups = {
        (system, value): [
            s for s in settings if s.system == system and (by is None or repr(s.settings.get(by)) == value)
        ]
        for system in systems
        for value in values
    }
    alone = all(len(group) < 2 for group in groups.values())
    figure, [axes] = new_figure(1, 1, (max(3.6, min(11.0, 1.2 + 0.55 * len(groups))), HEIGHT))
    width = 0.8 / len(values)
    every: list[float] = []
    for (system, value), group in groups.items():
        k = values.index(value)
        place = systems.index(system) + (k - (len(values) - 1) / 2) * width
        drawn = [v for s in group for v in (s.values(metric) if alone else [s.mean(metric)]) if v is not None]
        if not drawn:
            continue
        every += drawn
        colour = COLOURS[k % len(COLOURS)]
        _box(axes, drawn, place, 0.72 * width, colour)
        best = best_of(group, metric)
        if best is not None:
            _mean(axes, place, best.values, best.reach, INK)
    _scale(axes, every)
    for k, value in enumerate(values):
        if by is not None:
            shown = next(s.settings[by] for s in settings if repr(s.settings.get(by)) == value)
            axes.plot([], [], "s", color=COLOURS[k % len(COLOURS)], label=f"{by} = {text_of(shown)}")
    if by is not None:
        legend(axes)
    _ticks(axes, systems)
    axes.set(xlim=(-0.55, len(systems) - 0.45), ylabel=_name(metric))
    axes.grid(axis="x", visible=False)
    return figure


def _box(axes: Axes, values: Sequence[float], place: float, width: float, colour: str) -> None:
    look = {"color": colour, "linewidth": 1.1}
    if len(values) > 1:
        axes.boxplot(
            [list(values)], positions=[place], widths=[width], showfliers=False, patch_artist=True,
            manage_ticks=False, boxprops={"facecolor": colour + "30", "edgecolor": colour}, whiskerprops=look,
            capprops=look, medianprops={"color": colour, "linewidth": 2},
        )  # fmt: skip
    jitter = width * 0.32 * np.sin(2.4 * np.arange(len(values)))
    axes.plot(
        place + jitter, values, ".", color=colour, alpha=0.5, markersize=3.5, markeredgewidth=0,
        rasterized=len(values) > MANY,
    )  # fmt: skip


def _mean(axes: Axes, place: float, values: Sequence[float], half: float, colour: str) -> None:
    """A mean over seeds, with its interval where there is one."""
    ends = None if math.isinf(half) else [[half], [half]]
    axes.errorbar(
        [place], [fmean(values)], yerr=ends, fmt="D", color=colour, markersize=4, markerfacecolor="white",
        capsize=2.5, linewidth=1, zorder=5,
    )  # fmt: skip


@styled
def parallel(settings: Sequence[Setting], metric: Metric, paths: Sequence[str]) -> Figure:
    """A line for each setting, through its values and its mean over seeds, which also colours it; the best are on top.

    Settings without a mean, such as those of which a seed diverged, are grey and broken, and end before the metric.
    """
    from matplotlib import colormaps
    from matplotlib.collections import LineCollection

    size = (max(4.5, min(11.0, 1.3 * (len(paths) + 1))), 3.0)
    figure, [axes] = new_figure(1, 1, size)
    means = [s.mean(metric) for s in settings]
    scales = [_Axis([s.settings[p] for s in settings if p in s.settings]) for p in paths]
    last = _Axis([m for m in means if m is not None])
    rows: list[tuple[float, list[tuple[float, float]]]] = []
    lost: list[list[tuple[float, float]]] = []
    for number, (setting, mean) in enumerate(zip(settings, means, strict=True)):
        line = [
            (float(k), scale.place(setting.settings[path], number) if path in setting.settings else ABSENT)
            for k, (path, scale) in enumerate(zip(paths, scales, strict=True))
        ]
        if mean is None:
            lost.append(line)
        else:
            rows.append((mean, [*line, (float(len(paths)), last.place(mean))]))
    rows.sort(key=lambda row: row[0], reverse=metric.sign >= 0)
    colours = colormaps["viridis"]
    shade = [colours(0.95 * last.place(mean)) for mean, _ in rows]
    raster = len(settings) > MANY
    broken = LineCollection(lost, colors=GREY, linewidths=0.8, linestyles="dashed", rasterized=raster)
    solid = LineCollection(
        [line for _, line in rows], colors=shade, linewidths=1.1, alpha=0.85, rasterized=raster
    )
    axes.add_collection(broken)
    axes.add_collection(solid)
    for k, scale in enumerate([*scales, last]):
        axes.plot([k, k], [0, 1], color=INK, linewidth=0.8, zorder=4)
        for place, text in scale.ticks():
            axes.text(
                k + 0.03, place, text, va="center", size=7.5, zorder=6,
                bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6},
            )  # fmt: skip
        if k < len(paths) and any(paths[k] not in s.settings for s in settings):
            axes.text(k + 0.03, ABSENT, "not in it", va="center", size=7, color=GREY, zorder=6)
    axes.set_xticks(range(len(paths) + 1), [*(path.replace(".", ".\n") for path in paths), _name(metric)])
    axes.set(xlim=(-0.1, len(paths) + 0.55), ylim=(ABSENT - 0.08, 1.06), yticks=[])
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.grid(visible=False)
    return figure


class _Axis:
    """Positions of values between 0 and 1: numbers to scale, logarithmic where they span much, others evenly."""

    def __init__(self, values: Sequence[Any]) -> None:
        numbers = sorted({float(v) for v in values if is_number(v)})
        self.names = (
            [] if values and all(map(is_number, values)) else list(dict.fromkeys(map(text_of, values)))
        )
        self.numbers = numbers
        self.log = bool(numbers) and numbers[0] > 0 and numbers[-1] > FAR * numbers[0]

    def place(self, value: Any, number: int = 0) -> float:
        """Position between 0 and 1; names are spread a little by `number`, so that lines do not hide one another."""
        if self.names:
            steps = max(1, len(self.names) - 1)
            middle = self.names.index(text_of(value)) / steps if len(self.names) > 1 else 0.5
            return middle + 0.02 * math.sin(2.4 * number)
        low, high, at = (math.log(v) if self.log else v for v in (self.numbers[0], self.numbers[-1], value))
        return (at - low) / (high - low) if high > low else 0.5

    def ticks(self) -> list[tuple[float, str]]:
        """Each value where they are few; else five places on the scale."""
        if self.names:
            return [
                (k / max(1, len(self.names) - 1) if len(self.names) > 1 else 0.5, n)
                for k, n in enumerate(self.names)
            ]
        if not self.numbers:
            return []
        values = self.numbers
        if len(values) > 6:
            spaced = np.geomspace if self.log else np.linspace
            values = [float(v) for v in spaced(self.numbers[0], self.numbers[-1], 5)]
        return [(self.place(v), f"{v:.3g}") for v in values]


@styled
def sensitivity(effects: Sequence[Effect], metric: Metric) -> Figure:
    """A panel for each hyperparameter: the mean at each value over the others, with intervals over seeds.

    The intervals of a panel hold at once in 95 % of cases. A line joins the means of numbers, and none those of names.
    """
    columns = min(4, len(effects))
    figure, panels = new_figure(math.ceil(len(effects) / columns), columns, (2.6, 2.2), used=len(effects))
    low, high = math.inf, -math.inf
    for axes, effect in zip(panels, effects, strict=True):
        for k, level in enumerate(effect.levels):
            seeds = list(level.by_seed.values())
            axes.plot([k] * len(seeds), seeds, ".", color=COLOURS[0], alpha=0.35, markersize=4)
            half = simultaneous(seeds, len(effect.levels))
            _mean(axes, k, seeds, half, COLOURS[0])
            half = 0.0 if math.isinf(half) else half
            low, high = min(low, level.mean - half, *seeds), max(high, level.mean + half, *seeds)
        if effect.ordered:
            means = [v.mean for v in effect.levels]
            axes.plot(range(len(means)), means, color=COLOURS[0], linewidth=0.8)
        _ticks(axes, [level.label for level in effect.levels])
        axes.set(xlim=(-0.4, len(effect.levels) - 0.6))
        axes.set_title(effect.path)
    margin = 0.05 * (high - low) or 1.0
    for k, axes in enumerate(panels):
        axes.set_ylim(low - margin, high + margin)
        if k % columns == 0:
            axes.set_ylabel(_name(metric))
    return figure


def _ticks(axes: Axes, names: Sequence[str]) -> None:
    """Names under an axis, turned where they would not fit."""
    turned: dict[str, Any] = {}
    if sum(map(len, names)) > 3 * TALL or max(map(len, names)) > TALL:
        turned = {"rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(len(names)), list(names), **turned)


def _scale(axes: Axes, values: Sequence[float]) -> None:
    if values and min(values) > 0 and max(values) > FAR * min(values):
        axes.set_yscale("log")


def _name(metric: Metric) -> str:
    return f"{metric.name} ({metric.unit})" if metric.unit else metric.name
