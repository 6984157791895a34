"""Successive halving: at each rung, all runs that came so far are ranked, and the best go on.

What is decided follows from the logs alone, so a sweep that was killed decides the same again.
Jamieson and Talwalkar 2016, arXiv:1502.07943.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from distmatch.errors import BadInput
from distmatch.runs.config import RunConfig
from distmatch.runs.folder import RunFolder
from distmatch.runs.layers import layer_of
from distmatch.sweeps.plan import Run, check_metric
from distmatch.sweeps.search import Halving


def check_halving(halving: Halving, runs: Sequence[Run]) -> None:
    """Raise `BadInput` where a run has no such metric, or has none by the first rung."""
    looked_at = dict.fromkeys((run.structure, run.config.training.steps) for run in runs)
    for run in runs:
        if (key := (run.structure, run.config.training.steps)) not in looked_at:
            continue
        del looked_at[key]
        check_metric(halving.metric, run.config, "halving", of_log=True)
        training = run.config.training
        every = training.checkpoint_every if halving.metric.startswith("validation/") else training.log_every
        assert every is not None
        assert training.steps is not None
        name = "checkpoint_every" if halving.metric.startswith("validation/") else "log_every"
        if training.steps > halving.first < every:
            raise BadInput(
                f"the run {run.name}: {halving.metric} is first logged at step {every}, after the first rung "
                f"at step {halving.first}; set training.{name}={halving.first}, or [halving] first to {every} or more"
            )
        for path in halving.within:
            if path not in layer_of(run.config):
                raise BadInput(
                    f"[halving] within names {path!r}, which is not a setting of the run {run.name}"
                )


def rungs_of(halving: Halving, runs: Sequence[Run]) -> list[int]:
    """The rungs of a sweep."""
    return halving.rungs(max(steps_of(run.config) for run in runs))


def survivors(
    halving: Halving, runs: Sequence[Run], folder: Path, rung: int
) -> tuple[list[Run], dict[str, str]]:
    """Return the runs that go on after a rung.

    Args:
        halving: how.
        runs: those that came to the rung.
        folder: of the sweep.
        rung: its step.

    Returns:
        The runs that go on, in their order; and why each of the others stops, by name. Diverged ones are the worst,
        and are not told twice. Where two are equal, the earlier of the sweep is better.
    """
    groups: dict[tuple[Any, ...], list[Run]] = {}
    for run in runs:
        layer = layer_of(run.config)
        groups.setdefault(tuple(str(layer.get(path)) for path in halving.within), []).append(run)
    going, told = set(), dict[str, str]()
    for group in groups.values():
        values = {run.name: metric_at(folder / "runs" / run.name, halving.metric, rung) for run in group}
        badness = {
            name: _badness(value, -1.0 if halving.maximises else 1.0) for name, value in values.items()
        }
        order = sorted(group, key=lambda run: badness[run.name])
        kept = math.ceil(len(group) / halving.eta)
        for place, run in enumerate(order, 1):
            value = values[run.name]
            if place <= kept and value is not None:
                going.add(run.name)
            elif value is not None:
                told[run.name] = (
                    f"{halving.metric} is {value:.6g}, number {place} of {len(group)}, of which {kept} went on"
                )
    return [run for run in runs if run.name in going], told


def metric_at(path: Path, metric: str, step: int) -> float | None:
    """The last value of a loss in a run's log up to a step; None if it is not finite, or the run diverged by then."""
    folder = RunFolder(path)
    status = str((folder.read_json("status.json") or {}).get("status", ""))
    diverged = re.match(r"diverged at step (\d+)", status)
    if diverged and int(diverged[1]) <= step:
        return None
    lines = [line for line in folder.read_log() if line["step"] <= step]
    for line in reversed(lines):
        if metric in line:
            value = float(line[metric])
            return value if math.isfinite(value) else None
    return None


def stop(folder: Path, run: Run, rung: int, why: str) -> None:
    """Say in a run's folder that it was stopped; `distmatch resume` goes on with it by hand."""
    folder_of_run = RunFolder(folder / "runs" / run.name)
    status = str((folder_of_run.read_json("status.json") or {}).get("status", ""))
    if not status.startswith(("finished", "diverged", "stopped")):
        folder_of_run.write_json("status.json", {"status": f"stopped at step {rung}: {why}"})


def _badness(value: float | None, sign: float) -> float:
    return math.inf if value is None else sign * value


def steps_of(config: RunConfig) -> int:
    """Number of steps that a resolved run takes."""
    assert config.training.steps is not None
    return config.training.steps
