"""Parts of the comparisons of systems: the best and the spread of a sweep, paired by seed, and figures of them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING

from distmatch.metrics import BETTER
from distmatch.metrics.seeds import interval, named
from distmatch.reports.style import COLOURS, new_figure, styled
from distmatch.reproduction.framework.experiment import Results

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Value = Callable[[Results], Sequence[float]]
"""One number for each seed."""
KEYS = {"inception": "inception_score"}
"""Experiments' own names of metrics -> the metrics' keys."""


def higher(name: str) -> bool:
    """True where more of a number is better; less is where the metric does not say.

    >>> higher("inception"), higher("modes"), higher("kl")
    (True, True, False)
    """
    return BETTER.get(KEYS.get(name, name)) == "higher"


def over_sweep(results: Results, name: str, **where: str | int | float) -> list[list[float]]:
    """A number at every setting of a sweep, for each seed. A run without it counts as the worst possible.

    >>> from distmatch.reproduction.framework.experiment import Numbers, Record
    >>> runs = [Record({"lr": lr}, s, Numbers({"kl": lr + s}), 0.0) for lr in (1.0, 2.0) for s in (0, 1)]
    >>> over_sweep(Results(runs), "kl"), best(Results(runs), "kl"), worst_to_best(Results(runs), "kl")
    ([[1.0, 2.0], [2.0, 3.0]], [1.0, 2.0], [1.0, 1.0])
    """
    worst = 0.0 if higher(name) else math.inf
    settings = [results.of(**cell) for cell in results.cells(**where)]
    return [[run.numbers.values.get(name, worst) for run in runs] for runs in zip(*settings, strict=True)]


def best(results: Results, name: str, **where: str | int | float) -> list[float]:
    """The best of a sweep, for each seed."""
    choose = max if higher(name) else min
    return [choose(values) for values in over_sweep(results, name, **where)]


def best_where_defined(results: Results, name: str, **where: str | int | float) -> list[float]:
    """The best of a sweep, for each seed; empty where runs that did not diverge lack the number: it is not defined."""
    runs = [run.numbers.values for cell in results.cells(**where) for run in results.of(**cell)]
    defined = any(name in values or values.get("diverged") for values in runs)
    return best(results, name, **where) if defined else []


def worst_to_best(results: Results, name: str, **where: str | int | float) -> list[float]:
    """Distance of the worst of a sweep from its best, for each seed."""
    return [max(values) - min(values) for values in over_sweep(results, name, **where)]


def best_of(name: str, *systems: str, **where: str) -> Value:
    """The best of all settings of several systems."""
    choose = max if higher(name) else min

    def value(results: Results) -> list[float]:
        each = [best(results, name, system=s, **where) for s in systems]
        return [choose(values) for values in zip(*each, strict=True)]

    return value


def difference(first: Value, second: Value) -> Value:
    """The difference of two values, paired by seed."""
    return lambda results: [a - b for a, b in zip(first(results), second(results), strict=True)]


def mean_of(*parts: Value) -> Value:
    """The mean of several values, paired by seed."""
    return lambda results: [fmean(values) for values in zip(*(part(results) for part in parts), strict=True)]


def draw_rows(
    axes: Axes,
    values: Mapping[str, Sequence[float]],
    colours: Mapping[str, str],
    xlabel: str,
    marks: Mapping[str, Sequence[float]] | None = None,
) -> None:
    """A row for each label: every seed as a dot, their mean and 95 % interval; crosses where numbers were published.

    Where a seed diverged there is no mean, and the label says how many did.
    """
    for place, (name, numbers) in enumerate(values.items()):
        finite = [v for v in numbers if math.isfinite(v)]
        middle, half = interval(numbers)
        colour = colours.get(name, COLOURS[0])
        axes.plot(finite, [place] * len(finite), ".", color=colour, alpha=0.45, markersize=5)
        axes.errorbar([middle], [place], xerr=[half], fmt="o", color=colour, markersize=4.5, capsize=2.5)
        if marks and name in marks:
            axes.plot(marks[name], [place] * len(marks[name]), "x", color="#000000", markersize=5)
    axes.set_yticks(range(len(values)), [named(*row) for row in values.items()])
    axes.set_ylim(len(values) - 0.5, -0.5)
    axes.set_xlabel(xlabel)


@styled
def rows_figure(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    colours: Mapping[str, str],
    marks: Mapping[str, Mapping[str, Sequence[float]]] | None = None,
    log: Sequence[str] = (),
) -> Figure:
    """Panels side by side, of the same rows.

    Args:
        panels: label of the x-axis -> row -> a number for each seed.
        colours: of rows.
        marks: label of the x-axis -> row -> what was published.
        log: the labels of x-axes that are logarithmic.
    """
    most = max(len(values) for values in panels.values())
    figure, axes = new_figure(1, len(panels), (2.7, 0.8 + 0.2 * most))
    for panel, (xlabel, values) in zip(axes, panels.items(), strict=True):
        draw_rows(panel, values, colours, xlabel, (marks or {}).get(xlabel))
        if xlabel in log:
            panel.set_xscale("log")
    first, *others = [[label.get_text() for label in panel.get_yticklabels()] for panel in axes]
    for panel, labels in zip(axes[1:], others, strict=True):
        if labels == first:
            panel.set_yticklabels([])
    return figure
