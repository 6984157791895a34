"""One self-contained HTML page for one run, or for several side by side.

Everything is in the file: styles, pictures and figures as data URIs, no script, nothing fetched. Text is
escaped, and figures are shown as images, in which a script cannot run.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distmatch.errors import BadInput
from distmatch.files import put
from distmatch.metrics import Estimate
from distmatch.metrics.plots import RatePlane
from distmatch.reports.table import Cell, comparison_rows, warnings_of
from distmatch.reports.words import count, differences, distinct, facts, flatten

if TYPE_CHECKING:
    from jinja2 import Template

MOODS = {
    "finished": "good",
    "measured": "good",
    "interrupted": "fair",
    "running": "fair",
}  # by the status's first word
PNG = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class RunView:
    """Contents of the page of a run, as plain data; any part may be empty.

    Arguments:
        name: of the run; `system`: such as "vgh++", or "terms".
        equation: the objective, in unicode.
        terms: (term, the nets that minimise it, its critic or "").
        config: by path, resolved; `environment`: versions, seed, git revision, device, threads.
        log: parsed lines of `log.jsonl`.
        metrics: name -> {"value", "standard_error", "n", "unit", "how"[, "better": "lower" or "higher"]}.
        skipped: metric -> why it was not run; `missing`: metric -> why there is no value.
        pictures: caption -> PNG bytes; `figures`: caption -> SVG text.
        plots: metric -> what it shows, each as a caption with PNG bytes or SVG text.
        timing: steps_per_second, seconds, peak_memory_mb, ...
        status: "finished", "interrupted", "diverged at step 1200: nll is nan", ...
    """

    name: str
    system: str = ""
    equation: str = ""
    terms: list[tuple[str, str, str]] = dataclasses.field(default_factory=list)
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    environment: dict[str, Any] = dataclasses.field(default_factory=dict)
    log: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    metrics: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    skipped: dict[str, str] = dataclasses.field(default_factory=dict)
    missing: dict[str, str] = dataclasses.field(default_factory=dict)
    pictures: dict[str, bytes] = dataclasses.field(default_factory=dict)
    figures: dict[str, str] = dataclasses.field(default_factory=dict)
    plots: dict[str, list[tuple[str, bytes | str]]] = dataclasses.field(default_factory=dict)
    timing: dict[str, Any] = dataclasses.field(default_factory=dict)
    status: str = "finished"


@dataclass(frozen=True)
class Picture:
    """An image in the page: caption, data URI, and its size in CSS pixels where it is known."""

    caption: str
    uri: str
    width: int | None = None
    height: int | None = None


@dataclass(frozen=True)
class Card:
    """One run, ready for the template."""

    run: RunView
    mood: str
    facts: dict[str, str]
    metrics: dict[str, Cell]
    pictures: list[Picture]
    figures: list[Picture]
    curves: list[Picture]
    plots: list[Picture]
    config: dict[str, str]
    environment: dict[str, str]


def render(runs: Sequence[RunView], title: str | None = None) -> str:
    """The page as text. Curves are drawn from each run's log; several runs are compared first.

    >>> page = render([RunView(name="<script>alert(1)</script>")])
    >>> "<script" in page, page.count("<article")
    (False, 1)
    """
    if not runs:
        raise BadInput("no run to report; give at least one")
    names = distinct([run.name for run in runs])
    runs = [dataclasses.replace(run, name=name) for run, name in zip(runs, names, strict=True)]
    several = len(runs) > 1
    metrics = {run.name: run.metrics for run in runs}
    rows = comparison_rows(metrics, {run.name: run.missing for run in runs}) if several else {}
    return page_template("template.html.jinja").render(
        title=title or (runs[0].name if not several else " · ".join(names)),
        summary=_summary(runs),
        names=names,
        rows=rows,
        warnings=warnings_of(rows, names),
        bars=_bars(metrics) if several else None,
        plane=_plane(metrics) if several else None,
        differences=differences([run.config for run in runs]) if several else {},
        cards=[_card(run) for run in runs],
    )


def page_template(name: str) -> Template:
    """One of the templates beside this file; what it shows is escaped, and nothing may be missing."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("distmatch", "reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)


def write_report(path: str | os.PathLike[str], runs: Sequence[RunView], title: str | None = None) -> None:
    """Render the page, then write it; a failure leaves the old file, or none."""
    put(Path(path), render(runs, title).encode("utf-8"))


def _card(run: RunView) -> Card:
    from distmatch.reports.figures import figure_to_svg, panel_figures

    drawn = {caption: figure_to_svg(figure) for caption, figure in panel_figures(run.log).items()}
    rows = comparison_rows({run.name: run.metrics})
    return Card(
        run=run,
        mood=MOODS.get(run.status.partition(" ")[0].rstrip(",:;"), "bad"),
        facts=facts(run.log, run.timing, run.environment),
        metrics={name: cell for name, [cell] in rows.items()},
        pictures=[_png(caption, data) for caption, data in run.pictures.items()],
        figures=[svg_picture(caption, svg) for caption, svg in run.figures.items()],
        curves=[svg_picture(caption, svg) for caption, svg in drawn.items() if caption not in run.figures],
        plots=[_shown(f"{name}: {c}", shown) for name, entries in run.plots.items() for c, shown in entries],
        config=flatten(run.config),
        environment=flatten(run.environment),
    )


def _summary(runs: Sequence[RunView]) -> str:
    """One sentence on what the page holds."""
    if len(runs) == 1:
        [run] = runs
        known = facts(run.log, run.timing, run.environment)
        parts = [f"{run.system or run.name}, {run.status}"]
        parts += [f"after {known['steps']} steps"] if "steps" in known and ":" not in run.status else []
        parts += [f"in {known['time']}"] if "time" in known and ":" not in run.status else []
        measured = f"; {count(len(run.metrics), 'metric')} measured"
        measured += f", {len(run.skipped)} skipped" if run.skipped else ""
        return " ".join(parts) + measured + "."
    metrics = {name for run in runs for name in run.metrics}
    unfinished = [run.name for run in runs if run.status != "finished"]
    state = f"all finished but {', '.join(unfinished)}" if unfinished else "all finished"
    return f"{len(runs)} runs side by side on {count(len(metrics), 'metric')}; {state}."


def _bars(metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Picture | None:
    """Metrics that at least two runs have, as small multiples."""
    from distmatch.reports.figures import figure_to_svg, metric_bars

    names = dict.fromkeys(name for row in metrics.values() for name in row)
    shared = [name for name in names if sum(name in row for row in metrics.values()) > 1]
    if not shared:
        return None
    columns = {run: {name: row[name] for name in shared if name in row} for run, row in metrics.items()}
    return svg_picture("Metrics with ± 2 standard errors", figure_to_svg(metric_bars(columns)))


def _plane(metrics: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Picture | None:
    """The runs that have a rate and a distortion, in their plane; the best -log p(x) known among them bounds H."""
    from distmatch.reports.plots import drawn

    def estimate(run: str, name: str, sign: float = 1.0) -> Estimate:
        entry = metrics[run][name]
        return Estimate(sign * entry["value"], entry["standard_error"], entry["n"], "nats")

    placed = [run for run, row in metrics.items() if {"rate", "distortion"} <= row.keys()]
    if len(placed) < 2:
        return None
    bounds = [estimate(r, n, -1.0) for r in placed for n in ("elbo", "log_likelihood") if n in metrics[r]]
    best = min(bounds, key=lambda bound: bound.value, default=None)
    points = {run: (estimate(run, "rate"), estimate(run, "distortion")) for run in placed}
    caption = "Rate and distortion; on a dotted line the ELBO is the same"
    return _shown(caption, drawn(RatePlane(caption, points, best)))


def _shown(caption: str, content: bytes | str) -> Picture:
    return svg_picture(caption, content) if isinstance(content, str) else _png(caption, content)


def _png(caption: str, data: bytes) -> Picture:
    if not data.startswith(PNG) or len(data) < 24:
        raise BadInput(
            f"picture {caption!r} is not a PNG file; give the bytes of one (see report.grids.png_bytes)"
        )
    width, height = struct.unpack(">II", data[16:24])
    return Picture(caption, _uri("image/png", data), width, height)


def svg_picture(caption: str, text: str) -> Picture:
    """An SVG figure as an image in the page."""
    return Picture(caption, _uri("image/svg+xml", text.encode("utf-8")))


def _uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
