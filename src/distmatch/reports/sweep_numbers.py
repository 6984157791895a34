"""Summary of a sweep's table: its settings over seeds, the best of each system, the effect of each hyperparameter."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean
from typing import Any

import numpy as np

from distmatch.metrics.seeds import simultaneous

Row = Mapping[str, Any]
MOST = 8  # metrics that are shown
MANY = 8  # different numbers of a hyperparameter, above which they are put into BINS ranges
BINS = 4
LONGEST = 48  # characters of a label
LIKELIHOOD = "nll"  # the one loss that says by itself which way is better
SIGNS = {"lower": 1, "higher": -1, "": 0}


@dataclass(frozen=True)
class Metric:
    """A number of a run that is shown.

    Args:
        name: the key of a metric's result, or of a loss in the log.
        sign: 1 where less is better, -1 where more is, 0 where neither is known.
        assumed: whether `sign` is the metric's own, and not the sweep file's.
        loss: whether it is the last logged value of a loss.
        unit: as it was measured.
    """

    name: str
    sign: int
    assumed: bool = True
    loss: bool = False
    unit: str = ""

    def of(self, row: Row) -> float | None:
        """Its value in a finished run; None if there is none."""
        if row["state"] != "finished":
            return None
        value = row["losses"].get(self.name) if self.loss else row["metrics"].get(self.name, {}).get("value")
        return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


@dataclass(frozen=True)
class Setting:
    """Runs that differ in the seed alone.

    Args:
        system: its name, or the terms.
        settings: path -> value, of what varies besides the seed.
        rows: the runs.
    """

    system: str
    settings: dict[str, Any]
    rows: list[Row]

    def values(self, metric: Metric) -> list[float]:
        """Values of the metric, one for each seed that has it."""
        return [value for row in self.rows if (value := metric.of(row)) is not None]

    def mean(self, metric: Metric) -> float | None:
        """Mean over seeds; None without any value, and where one diverged: the rest would flatter the setting."""
        values = self.values(metric)
        return fmean(values) if values and not self.diverged() else None

    def diverged(self) -> list[Any]:
        """The seeds that diverged."""
        return [row["seed"] for row in self.rows if row["state"] == "diverged"]

    def whole(self, metric: Metric) -> bool:
        """True where all of its seeds have the metric."""
        return not self.without(metric)

    def without(self, metric: Metric) -> list[str]:
        """The seeds that lack it, and what became of them, such as "seed 2 diverged"."""
        return [f"seed {row['seed']} {row['state']}" for row in self.rows if metric.of(row) is None]


@dataclass(frozen=True)
class Level:
    """Means of a metric at a hyperparameter's value, or range of values.

    Args:
        label: the value.
        by_seed: seed -> mean over the other settings.
        runs: how many there are in it.
    """

    label: str
    by_seed: dict[Any, float]
    runs: int

    @property
    def mean(self) -> float:
        """Mean over seeds."""
        return fmean(self.by_seed.values())


@dataclass(frozen=True)
class Effect:
    """The effect of a hyperparameter on a metric.

    Args:
        path: of the setting.
        levels: by its values, in order.
        balanced: whether every level is over the same other settings and seeds.
        ordered: whether the values are numbers, and not names.
        diverged: how many of its runs did, which are in no mean.
    """

    path: str
    levels: list[Level]
    balanced: bool
    ordered: bool
    diverged: int = 0

    def largest(self) -> Largest:
        """The largest difference of two levels over the seeds of both, among pairs that share two if there are any.

        Its interval is one of those of all pairs of levels, which hold at once, as the pair was chosen by its value.
        """
        every = [Largest.of(a, b, len(self.levels)) for a, b in combinations(self.levels, 2)]
        most = min(2, max(len(pair.differences) for pair in every))
        return max((p for p in every if len(p.differences) >= most), key=lambda p: p.difference)


@dataclass(frozen=True)
class Largest:
    """Two levels and their differences.

    Args:
        low, high: of the lesser and the greater mean over the seeds of both, or over each one's own if they share none.
        differences: high less low, for each seed of both.
        levels: how many there were to choose two from.
    """

    low: Level
    high: Level
    differences: list[float]
    levels: int

    @staticmethod
    def of(a: Level, b: Level, levels: int) -> Largest:
        """The difference of two levels, given in either order."""
        both = [b.by_seed[s] - a.by_seed[s] for s in a.by_seed if s in b.by_seed]
        rises = fmean(both) >= 0 if both else b.mean >= a.mean
        return Largest(a, b, both, levels) if rises else Largest(b, a, [-d for d in both], levels)

    @property
    def difference(self) -> float:
        """Mean difference over the seeds of both; that of the means if they share none."""
        return fmean(self.differences) if self.differences else self.high.mean - self.low.mean

    @property
    def reach(self) -> float:
        """Half its interval; the intervals of all pairs of levels hold at once in 95 % of cases."""
        return simultaneous(self.differences, math.comb(self.levels, 2))


def metrics_of(table: Mapping[str, Any]) -> tuple[list[Metric], list[str]]:
    """Metrics that are shown, and names of those left out: those that were measured, else the last logged losses.

    The direction of a metric is that of the sweep file ([optuna], [halving]), else the one that it was measured with.

    >>> runs = [{"state": "finished", "losses": {"nll": 2.0, "validation/nll": 3.0}, "metrics": {}}]
    >>> shown, _ = metrics_of({"metrics": [], "losses": ["nll", "validation/nll"], "runs": runs})
    >>> [(m.name, m.sign) for m in shown]
    [('validation/nll', 1), ('nll', 1)]
    """
    judged = {
        part["metric"]: -1 if str(part.get("direction", "")).startswith("max") else 1
        for key in ("halving", "optuna")
        if (part := table.get(key)) and "metric" in part
    }
    loss = not table["metrics"]
    names = list(table["losses"] if loss else table["metrics"])
    metrics = []
    for name in names:
        about: Mapping[str, Any] = next((m for row in table["runs"] if (m := row["metrics"].get(name))), {})
        way = "lower" if name.removeprefix("validation/") == LIKELIHOOD else about.get("better", "")
        metric = Metric(name, judged.get(name, SIGNS[way]), name not in judged, loss, about.get("unit", ""))
        if not name.endswith("_data") and any(metric.of(row) is not None for row in table["runs"]):
            metrics.append(metric)

    def rank(metric: Metric) -> tuple[bool, bool, bool, bool]:
        head = metric.name.partition("/")[0]
        return metric.assumed, head in ("critic", "lr"), head != "validation" and loss, not metric.sign

    metrics.sort(key=rank)
    return metrics[:MOST], [metric.name for metric in metrics[MOST:]]


def settings_of(table: Mapping[str, Any]) -> list[Setting]:
    """The runs of a table by setting."""
    by_key: dict[str, Setting] = {}
    for row in table["runs"]:
        settings = {path: value for path, value in row["settings"].items() if path != "seed"}
        setting = Setting(short(str(row["system"])), settings, [])
        by_key.setdefault(repr((setting.system, settings)), setting).rows.append(row)
    return list(by_key.values())


def systems_of(settings: Sequence[Setting]) -> list[str]:
    """Systems of the settings, in the order of the sweep."""
    return list(dict.fromkeys(setting.system for setting in settings))


def hyperparameters(table: Mapping[str, Any]) -> list[str]:
    """Settings that vary besides the seed, and have more than one value."""
    values = {path: {repr(row["settings"].get(path)) for row in table["runs"]} for path in table["varied"]}
    return [path for path in table["varied"] if path != "seed" and len(values[path]) > 1]


def second_grouping(table: Mapping[str, Any]) -> str | None:
    """The setting that divides the boxes of a system: the latent size, else a hyperparameter of all with few values."""
    fit = []
    for path in hyperparameters(table):
        values = [row["settings"].get(path) for row in table["runs"]]
        if path not in ("system", "terms") and None not in values and len({repr(v) for v in values}) <= 5:
            fit.append(path)
    return next((path for path in fit if path.endswith("latent")), fit[0] if fit else None)


@dataclass(frozen=True)
class Winner:
    """The setting of the best mean over seeds.

    Args:
        setting: the setting itself.
        values: its metric, for each seed that has it.
        tried: how many settings it was chosen from.
        whole: whether all of its seeds have the metric.
    """

    setting: Setting
    values: list[float]
    tried: int
    whole: bool

    @property
    def reach(self) -> float:
        """Half the interval of its mean, corrected for its choice: those of all that were tried hold at once.

        Infinite where a seed is missing: the seeds that are left are then not a random choice.
        """
        return simultaneous(self.values, self.tried) if self.whole else math.inf


def best_of(settings: Sequence[Setting], metric: Metric) -> Winner | None:
    """The best setting, of those of which all seeds have the metric, or else of those of which none diverged."""
    means = {k: mean for k, s in enumerate(settings) if (mean := s.mean(metric)) is not None}
    there = [k for k in means if settings[k].whole(metric)] or list(means)
    if not there or not metric.sign:
        return None
    best = settings[min(there, key=lambda k: metric.sign * means[k])]
    return Winner(best, best.values(metric), len(there), best.whole(metric))


def effect(settings: Sequence[Setting], path: str, metric: Metric) -> Effect | None:
    """The mean of a metric at each value of a setting over the others, for each seed.

    Where runs with all values of it and otherwise the same settings and seed have the metric, only these are used, so
    that a run that diverged at one value does not flatter that value. Otherwise, as in a random search, all are used.
    """
    values = [s.settings[path] for s in settings if path in s.settings]
    label = labels(values)
    ordered = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    runs: dict[tuple[str, Any], dict[str, list[float]]] = {}  # all else, and seed -> level -> values
    for setting in settings:
        if path not in setting.settings:
            continue
        others = {k: v for k, v in setting.settings.items() if k != path}
        key = repr(others) if path in ("system", "terms") else repr((setting.system, others))
        for row in setting.rows:
            value = metric.of(row)
            if value is not None:
                block = runs.setdefault((key, row["seed"]), {})
                block.setdefault(label(setting.settings[path]), []).append(value)
    every = dict.fromkeys(name for block in runs.values() for name in block)
    if len(every) < 2:
        return None
    each = label is text_of  # and not ranges, within which the values differ
    full = {place: block for place, block in runs.items() if each and len(block) == len(every)}
    levels = []
    for name in every:
        by_seed: dict[Any, list[float]] = {}
        for (_, seed), block in (full or runs).items():
            if name in block:
                by_seed.setdefault(seed, []).extend(block[name])
        means = {seed: fmean(values) for seed, values in by_seed.items()}
        levels.append(Level(name, means, sum(map(len, by_seed.values()))))
    order = list(dict.fromkeys(label(v) for v in sorted_values([s.settings.get(path) for s in settings])))
    diverged = sum(len(s.diverged()) for s in settings if path in s.settings)
    return Effect(path, sorted(levels, key=lambda v: order.index(v.label)), bool(full), ordered, diverged)


def diverged_by_value(table: Mapping[str, Any]) -> list[tuple[str, str, int, int]]:
    """Path, value, how many of its runs diverged, and how many there are; only where some did."""
    counts = []
    for path in hyperparameters(table):
        rows = [row for row in table["runs"] if path in row["settings"]]
        label = labels([row["settings"][path] for row in rows])
        for name in dict.fromkeys(label(v) for v in sorted_values([r["settings"][path] for r in rows])):
            there = [row["state"] == "diverged" for row in rows if label(row["settings"][path]) == name]
            counts.append((path, name, sum(there), len(there)))
    return [part for part in counts if any(other[2] for other in counts if other[0] == part[0])]


def labels(values: Sequence[Any]) -> Callable[[Any], str]:
    """Labels of values: as they are, or many numbers as ranges of about equally many runs.

    >>> labels([0.1, 0.2])(0.1), labels(list(range(101)))(30)
    ('0.1', '25 to 50')
    """
    numbers = [v for v in values if is_number(v)]
    if len(numbers) < len(values) or len(set(numbers)) <= MANY:
        return text_of
    edges = np.quantile(numbers, np.linspace(0, 1, BINS + 1), method="inverted_cdf")

    def range_of(value: Any) -> str:
        k = int(np.searchsorted(edges[1:-1], value, side="right"))
        return f"{edges[k]:.3g} to {edges[k + 1]:.3g}"

    return range_of


def sorted_values(values: Sequence[Any]) -> list[Any]:
    """Values in order where all are numbers; else as they come."""
    there = [v for v in values if v is not None]
    return sorted(there) if all(map(is_number, there)) else there


def is_number(value: Any) -> bool:
    """True where a value is a number, and not a choice."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def text_of(value: Any) -> str:
    """A setting's value as text.

    >>> text_of(1e-4), text_of([0.5, 0.9]), text_of("vae")
    ('0.0001', '0.5, 0.9', 'vae')
    """
    if isinstance(value, list | tuple):
        return ", ".join(map(text_of, value))
    return short(f"{value:.6g}" if isinstance(value, float) else str(value))


def short(text: str) -> str:
    """A label, cut where it is too long."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
