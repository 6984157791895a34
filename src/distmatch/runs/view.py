"""Runs as pages and tables: what the report room shows of a run folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from rich.table import Table

from distmatch.errors import BadInput
from distmatch.metrics import by_key
from distmatch.objectives.objective import Objective
from distmatch.reports.html import RunView, write_report
from distmatch.reports.table import comparison_table
from distmatch.runs.build import objective_of
from distmatch.runs.folder import RunFolder
from distmatch.runs.layers import layer_of
from distmatch.runs.pictures import newest_samples


def terms_of(objective: Objective) -> list[tuple[str, str, str]]:
    """For each term: its text, who minimises it, and its critic (or nothing).

    >>> from distmatch.systems import vgh
    >>> terms_of(vgh())[1]
    ('D[p(x̂) ‖ p*(x)]', 'decoder', 'data')
    """
    return [(str(t), " and ".join(t.nets), ", ".join(t.critics)) for t in objective.terms]


def view_of(path: Path) -> RunView:
    """All that the page shows of a run folder."""
    folder = RunFolder.open(path)
    about = folder.about()
    config = folder.config()
    objective = objective_of(config)
    measured = folder.results() or {}
    pictures: dict[str, bytes] = {}
    figures: dict[str, str] = {}
    newest = newest_samples(folder)
    if newest is not None:
        caption = f"Samples at step {int(newest.stem.removeprefix('step-'))}"
        if newest.suffix == ".png":
            pictures[caption] = newest.read_bytes()
        else:
            figures[caption] = newest.read_text(encoding="utf-8")
    reconstructions = path / "reconstructions.png"
    if reconstructions.exists():
        pictures["Test images, each above its reconstruction"] = reconstructions.read_bytes()
    return RunView(
        name=path.resolve().name,
        system=config.system or "terms",
        equation=str(objective),
        terms=terms_of(objective),
        config=layer_of(config),
        environment={**about.get("environment", {}), "seed": config.seed, "data": measured.get("data", "")},
        log=folder.read_log(),
        metrics=measured.get("metrics", {}),
        skipped=measured.get("skipped", {}),
        missing=by_key(measured.get("skipped", {})),
        pictures=pictures,
        figures=figures,
        plots=saved_plots(path, measured.get("plots", {})),
        timing=folder.read_json("timing.json") or {},
        status=folder.status(),
    )


def saved_plots(
    path: Path, saved: Mapping[str, list[dict[str, str]]]
) -> dict[str, list[tuple[str, bytes | str]]]:
    """Return each metric's plots, read from the run's folder; a picture that is gone is left out."""
    plots: dict[str, list[tuple[str, bytes | str]]] = {}
    for name, entries in saved.items():
        for entry in entries:
            file = path / entry["file"]
            if file.is_file():
                content = file.read_text(encoding="utf-8") if file.suffix == ".svg" else file.read_bytes()
                plots.setdefault(name, []).append((entry["caption"], content))
    return plots


def report(paths: Sequence[Path], out: Path | None = None) -> Path:
    """Write the page of one run into its folder, or of several side by side to `out`."""
    if not paths:
        raise BadInput("no run is named; give at least one run folder")
    target = out or (paths[0] / "report.html" if len(paths) == 1 else Path("report.html"))
    write_report(target, [view_of(p) for p in paths])
    return target


def measured(paths: Sequence[Path]) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, str]]]:
    """Metrics by run, and by run the metrics that were not run, with the reason.

    Raises:
        BadInput: a run has not been evaluated.
    """
    metrics: dict[str, dict[str, Any]] = {}
    skipped: dict[str, dict[str, str]] = {}
    for path in paths:
        results = RunFolder.open(path).results()
        if results is None:
            raise BadInput(
                f"{path} has not been measured yet; run `distmatch evaluate {quote(str(path))}` first"
            )
        name = str(path) if any(p != path and p.name == path.name for p in paths) else path.resolve().name
        metrics[name], skipped[name] = results.get("metrics", {}), results.get("skipped", {})
    return metrics, skipped


def comparison(paths: Sequence[Path]) -> Table:
    """The metrics of several runs side by side, for the terminal."""
    metrics, skipped = measured(paths)
    return comparison_table(metrics, {run: by_key(reasons) for run, reasons in skipped.items()})
