"""The table of a sweep, derived from its run folders: `table.json`, and the same flat as `table.csv`.

`table.json` is one object:

- `format`: 1; `sweep`: the sweep folder's name;
- `varied`: the paths of the settings that vary, in the order of the sweep file (`"seed"` among them, if it does);
- `metrics`: the names of all metrics that some run has; `losses`: of all losses in the logs' last lines;
- `halving`, `optuna`: these sections of the sweep file, or null;
- `runs`: one object for each run, in the order of the sweep:
    - `name`: of the folder under `runs/`;
    - `settings`: path -> value, of those in `varied` that this run has (a system may have some of its own);
    - `config`: path -> value, every setting, resolved;
    - `system`: its name, or the terms as text; `seed`; `revision`: of the source that began it;
    - `state`: waiting (not begun), running, interrupted, finished, diverged, or stopped (by halving);
    - `status`: the same as a sentence, with the step;
    - `step`: the last logged step; `steps`: how many it is to take;
    - `why`: of a diverged run, what was not finite and when, or of a stopped one, its place; else null;
    - `losses`: name -> number, of the last line of the log that has it; of a diverged run, the last finite ones;
    - `metrics`: name -> {`value`, `standard_error`, `n`, `unit`, `how`}, where it was evaluated;
    - `not_measured`: metric -> the reason, of those asked for;
    - `seconds`: that were spent training it; where it shared its clock with other lanes, its share of it.

Numbers that are not finite are null. `table.csv` has a column for each of `varied`, then state, step, steps, seconds,
the losses as `loss/<name>`, the metrics as `<name>` and `<name>/error`, and why.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distmatch.errors import BadInput
from distmatch.files import put
from distmatch.runs.config import RunConfig
from distmatch.runs.folder import RunFolder
from distmatch.runs.layers import layer_of
from distmatch.sweeps.plan import Run
from distmatch.sweeps.pool.worker import MEASURED

FORMAT = 1
EXTRA = ("gradient_norm/", "score/")
NO_LOSS = ("step", "epoch")


def write_table(folder: Path, runs: Sequence[Run], varied: Sequence[str], **about: Any) -> dict[str, Any]:
    """Write `table.json` and `table.csv` of a sweep's folder, and return the former."""
    rows = [row_of(folder / "runs" / run.name, run) for run in runs]
    table = {
        "format": FORMAT,
        "sweep": folder.resolve().name,
        "varied": list(varied),
        "metrics": _names(row["metrics"] for row in rows),
        "losses": _names(row["losses"] for row in rows),
        **about,
        "runs": rows,
    }
    put(folder / "table.json", (json.dumps(table, indent=1, ensure_ascii=False) + "\n").encode())
    put(folder / "table.csv", flat(table).encode())
    return table


def row_of(path: Path, run: Run) -> dict[str, Any]:
    """One run, as its folder tells."""
    folder = RunFolder(path)
    begun = (path / "config.json").exists()
    config: RunConfig = run.config
    environment: dict[str, Any] = {}
    if begun:
        config = folder.config()
        environment = folder.about().get("environment", {})
    state, status = state_of(path)
    lines = folder.read_log()
    losses: dict[str, float] = {}
    for line in lines:
        losses |= {k: v for k, v in line.items() if k not in NO_LOSS and not k.startswith(EXTRA)}
    measured = _read(folder, "metrics.json") if state == "finished" else {}
    refused = _read(folder, MEASURED).get("not_measured", {}) if state == "finished" else {}
    newest = folder.newest_step()
    steps = {k: v.get("step", measured.get("step", newest)) for k, v in measured.get("metrics", {}).items()}
    stale = {k: f"measured at step {step} of {newest}" for k, step in steps.items() if step != newest}
    clock = _read(folder, "timing.json")
    seconds = clock.get("seconds")
    return {
        "name": run.name,
        "settings": run.settings,
        "config": layer_of(config),
        "system": config.system or config.terms,
        "seed": config.seed,
        "revision": environment.get("revision"),
        "state": state,
        "status": status,
        "step": lines[-1]["step"] if lines else 0,
        "steps": config.training.steps,
        "why": status.partition(": ")[2] or None if state in ("diverged", "stopped") else None,
        "losses": {k: _finite(v) for k, v in losses.items()},
        "metrics": {
            name: {k: _finite(v) for k, v in estimate.items()}
            for name, estimate in measured.get("metrics", {}).items()
            if name not in stale
        },
        "not_measured": {**refused, **stale},
        "seconds": None if seconds is None else round(seconds / clock.get("lanes", 1), 3),
    }


def state_of(path: Path) -> tuple[str, str]:
    """A run's state and status. The folder's lock is not tried, which a worker may want this moment."""
    if not (path / "config.json").exists():
        return "waiting", "waiting"
    status = str(_read(RunFolder(path), "status.json").get("status", "running"))
    word = re.split(r"\W", status)[0]
    return (word if word in ("finished", "diverged", "stopped", "interrupted") else "running"), status


def flat(table: Mapping[str, Any]) -> str:
    """The same as CSV."""
    varied, metrics, losses = table["varied"], table["metrics"], table["losses"]
    heads = ["name", *varied, "state", "step", "steps", "seconds", *(f"loss/{name}" for name in losses)]
    heads += [head for name in metrics for head in (name, f"{name}/error")] + ["why"]
    text = io.StringIO()
    out = csv.writer(text, lineterminator="\n")
    out.writerow(heads)
    for row in table["runs"]:
        cells = [row["name"], *(row["settings"].get(path) for path in varied)]
        cells += [row[key] for key in ("state", "step", "steps", "seconds")]
        cells += [row["losses"].get(name) for name in losses]
        for name in metrics:
            estimate = row["metrics"].get(name, {})
            cells += [estimate.get("value"), estimate.get("standard_error")]
        out.writerow(["" if cell is None else cell for cell in (*cells, row["why"])])
    return text.getvalue()


def value_of(row: Mapping[str, Any], metric: str) -> float | None:
    """A row's metric, or the last value of a loss of this name."""
    estimate = row["metrics"].get(metric)
    return estimate["value"] if estimate is not None else row["losses"].get(metric)


def _read(folder: RunFolder, name: str) -> dict[str, Any]:
    """A JSON file; what is damaged is as good as not there."""
    try:
        return folder.read_json(name) or {}
    except BadInput:
        return {}


def _names(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
