"""One self-contained HTML page for a sweep, from its `table.json`: nothing here trains or measures."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from statistics import fmean
from typing import Any

from distmatch.errors import BadInput
from distmatch.files import put
from distmatch.reports.html import Picture, page_template, svg_picture
from distmatch.reports.style import figure_to_svg
from distmatch.reports.sweep_figures import boxes, parallel, sensitivity
from distmatch.reports.sweep_numbers import (
    Effect,
    Largest,
    Metric,
    Setting,
    best_of,
    diverged_by_value,
    effect,
    hyperparameters,
    metrics_of,
    second_grouping,
    settings_of,
    systems_of,
    text_of,
)
from distmatch.reports.table import MISSING, format_estimate
from distmatch.reports.words import count

DIRECTIONS = {1: "less is better", -1: "more is better", 0: "no direction is known"}


@dataclass(frozen=True)
class Best:
    """The best setting of a system by one metric.

    Args:
        system: its name.
        settings: as text.
        value: the mean over seeds with its interval, corrected for the choice among `tried` settings.
        seeds: how many, and what became of others.
        folder: of the run that is the best of these seeds; `own`: its value.
        again: the command that trains it again; `fresh`: the one that trains the setting with seeds that chose nothing.
    """

    system: str
    settings: str
    value: str
    tried: int
    seeds: str
    folder: str
    own: str
    again: str
    fresh: str


@dataclass(frozen=True)
class Part:
    """All that the page shows of one metric."""

    metric: Metric
    direction: str
    boxes: Picture
    best: list[Best]
    undecided: list[str]
    diverged: int
    parallel: Picture | None
    sensitivity: Picture | None
    effects: list[tuple[str, str, str, str, str]]


def is_sweep(path: Path) -> bool:
    """True where a folder is that of a sweep."""
    return (path / "sweep.json").is_file()


def report_sweep(folder: Path, out: Path | None = None) -> Path:
    """Write the page of a sweep, by default to `report.html` in its folder.

    Raises:
        BadInput: the folder has no table, or it cannot be read.
    """
    target = out or folder / "report.html"
    put(target, render_sweep(read_table(folder), folder).encode("utf-8"))
    return target


def read_table(folder: Path) -> dict[str, Any]:
    """A sweep's `table.json`.

    Raises:
        BadInput: there is none, or it is damaged.
    """
    path, again = folder / "table.json", f"`distmatch sweep {quote(str(folder))}` writes it"
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{folder} has no table.json yet; {again}") from error
    except ValueError as error:
        raise BadInput(f"{path} is damaged; {again} again") from error
    if not isinstance(table, dict) or table.get("format") != 1 or not table.get("runs"):
        raise BadInput(f"{path} holds no runs of a sweep; {again} again")
    return table


def render_sweep(table: Mapping[str, Any], folder: Path) -> str:
    """The page as text.

    Args:
        table: as in `table.json`.
        folder: of the sweep, as commands should name it.
    """
    settings, paths = settings_of(table), hyperparameters(table)
    shown, left_out = metrics_of(table)
    by = second_grouping(table)
    unused = 1 + max((row["seed"] for row in table["runs"] if isinstance(row["seed"], int)), default=0)
    return page_template("sweep.html.jinja").render(
        title=f"Sweep {table['sweep']}",
        summary=_summary(table, settings),
        cards=[],
        parts=[_part(settings, metric, paths, by, folder, unused) for metric in shown],
        left_out=left_out,
        losses=not table["metrics"],
        boxes_over=_boxes_over(settings, by),
        diverged=[
            (row["name"], _system(row), _step(row), row["why"] or row["status"])
            for row in table["runs"]
            if row["state"] == "diverged"
        ],
        diverged_by=diverged_by_value(table),
        others=[
            (row["name"], _system(row), f"{row['step']} of {row['steps']}", row["why"] or row["status"])
            for row in table["runs"]
            if row["state"] not in ("diverged", "finished")
        ],
        not_measured=_not_measured(table),
    )


def _summary(table: Mapping[str, Any], settings: Sequence[Setting]) -> str:
    """One sentence on what the page holds."""
    states = Counter(row["state"] for row in table["runs"])
    seeds = {row["seed"] for row in table["runs"]}
    systems = len(systems_of(settings))
    how = ", ".join(f"{number} {state}" for state, number in states.most_common())
    over = f"{count(len(settings), 'setting')} of {count(systems, 'system')}, {count(len(seeds), 'seed')}"
    return f"{count(len(table['runs']), 'run')}: {over}; {how}."


def _boxes_over(settings: Sequence[Setting], by: str | None) -> str:
    groups = Counter((s.system, repr(s.settings.get(by)) if by else "") for s in settings)
    return "runs, one for each seed" if max(groups.values()) < 2 else "settings, each the mean over its seeds"


def _part(
    settings: Sequence[Setting],
    metric: Metric,
    paths: Sequence[str],
    by: str | None,
    folder: Path,
    unused: int,
) -> Part:
    direction = DIRECTIONS[metric.sign]
    if metric.sign:
        direction += "" if metric.assumed else ", as the sweep file says"
    effects = [e for path in paths if (e := effect(settings, path, metric)) is not None]
    drawn = [figure for figure in effects if len(figure.levels) > 1]
    best = _best(settings, metric, folder, unused)
    return Part(
        metric,
        direction,
        svg_picture(f"{metric.name} by system", figure_to_svg(boxes(settings, metric, by))),
        best,
        [s for s in systems_of(settings) if metric.sign and s not in {row.system for row in best}],
        sum(1 for s in settings if s.diverged()),
        svg_picture(f"{metric.name}: every setting", figure_to_svg(parallel(settings, metric, paths)))
        if paths
        else None,
        svg_picture(f"{metric.name} by each setting", figure_to_svg(sensitivity(drawn, metric)))
        if drawn
        else None,
        [_effect_row(e) for e in effects],
    )


def _best(settings: Sequence[Setting], metric: Metric, folder: Path, unused: int) -> list[Best]:
    best_by_system = []
    for system in systems_of(settings):
        winner = best_of([s for s in settings if s.system == system], metric)
        if winner is None:
            continue
        best = winner.setting
        rows = [row for row in best.rows if metric.of(row) is not None]
        row = min(rows, key=lambda r: metric.sign * (metric.of(r) or 0.0))
        run = folder / "runs" / row["name"]
        config, again = quote(str(run / "config.json")), quote(f"{run}-again")
        seeds = " ".join(str(unused + k) for k in range(max(3, len(best.rows))))
        out = f'{quote(f"{run}-fresh")}-"$seed"'
        measure = "" if metric.loss else f" && distmatch evaluate {out}"
        best_by_system.append(
            Best(
                system,
                ", ".join(f"{k}={text_of(v)}" for k, v in best.settings.items() if k != "system") or MISSING,
                over_seeds(fmean(winner.values), winner.reach),
                winner.tried,
                _seeds(best, metric),
                str(run),
                format_estimate(metric.of(row)),
                f"distmatch train --config {config} --out {again}",
                f"for seed in {seeds}; do distmatch train --config {config} --seed $seed --out {out}{measure}; done",
            )
        )
    return best_by_system


def _seeds(setting: Setting, metric: Metric) -> str:
    """Number of seeds that have the metric; of how many, and what became of the others, where some lack it."""
    lost = setting.without(metric)
    there = len(setting.rows) - len(lost)
    return f"{there} of {len(setting.rows)}: {', '.join(lost)}" if lost else str(there)


def over_seeds(mean: float, half: float) -> str:
    """A mean with its interval, or alone where the seeds give none.

    >>> over_seeds(1.0, 0.25), over_seeds(1.0, float("inf"))
    ('1.00 ± 0.25', '1')
    """
    return format_estimate(mean, None if math.isinf(half) else half)


def _effect_row(effect: Effect) -> tuple[str, str, str, str, str]:
    """Setting, its value of the least mean, that of the greatest, their difference, and over what."""
    pair = effect.largest()
    runs = sum(level.runs for level in effect.levels)
    over = f"{count(runs, 'run')}, {'the same others at each value' if effect.balanced else 'others differ'}"
    if effect.diverged:
        over += f"; without {effect.diverged} that diverged"
    return (
        effect.path,
        f"{pair.low.label} ({pair.low.mean:.4g})",
        f"{pair.high.label} ({pair.high.mean:.4g})",
        _difference(pair),
        over,
    )


def _difference(pair: Largest) -> str:
    """A difference with its interval, or why there is none."""
    shared, text = len(pair.differences), over_seeds(pair.difference, pair.reach)
    if shared < 2:
        return f"{text} ({'one seed' if shared else 'no seed'} in common: no interval)"
    return f"{text} (most seeds agree exactly: no interval)" if math.isinf(pair.reach) else text


def _system(row: Mapping[str, Any]) -> str:
    return text_of(row["system"])


def _step(row: Mapping[str, Any]) -> str:
    """The step at which a run diverged, as its status says, or the last that was logged."""
    words = str(row["status"]).partition(":")[0].split()
    return words[-1] if words and words[-1].isdecimal() else str(row["step"])


def _not_measured(table: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    """Metric, why it was not run, and on how many runs."""
    counts = Counter((name, why) for row in table["runs"] for name, why in row["not_measured"].items())
    return [(name, why, number) for (name, why), number in counts.items()]
