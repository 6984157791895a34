"""Progress of a sweep: bars where somebody watches, a line for each run that ends where nobody does.

How far a run is, is read from the end of its log, whoever trains it and wherever.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from distmatch.runs.terminal import say
from distmatch.sweeps.sweep import Watch
from distmatch.sweeps.table import state_of

if TYPE_CHECKING:
    from rich.console import Console

    from distmatch.sweeps.plan import Run
    from distmatch.sweeps.pool.worker import Task

TAIL = 4096  # bytes of a log in which its last line is looked for
OVER = ("finished", "diverged", "stopped")


@contextmanager
def watching(console: Console, folder: Path) -> Iterator[Watch]:
    """Show how a sweep goes."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[more]}", style="dim", markup=False),
    )
    over: dict[str, int] = {}
    with Progress(*columns, console=console, disable=not console.is_terminal) as bars:
        steps = bars.add_task("steps", total=None, more="", visible=False)

        def watch(runs: Sequence[Run], task: Task | None, at_work: Sequence[Task]) -> None:
            for run in task.runs if task is not None else ():
                state, status = state_of(run.path)
                if state in OVER and run.path.name not in over:
                    over[run.path.name] = 0
                    if not console.is_terminal:
                        say(console, f"{run.path.name}: {status}")
            if console.is_terminal:
                done, total = _steps(folder, runs, over)
                lanes = sum(len(task.runs) for task in at_work)
                ended = sum(run.name in over for run in runs)
                shown = f"{ended} of {len(runs)} runs done, {lanes} at work"
                bars.update(steps, completed=done, total=total, more=shown, visible=True)

        yield watch


def _steps(folder: Path, runs: Sequence[Run], over: dict[str, int]) -> tuple[int, int]:
    """Steps done by all runs, and to be done; a run that has ended takes no more."""
    done = total = 0
    for run in runs:
        path = folder / "runs" / run.name
        if run.name in over:
            over[run.name] = over[run.name] or last_step(path)
            done, total = done + over[run.name], total + over[run.name]
        else:
            done, total = done + last_step(path), total + (run.config.training.steps or 0)
    return done, total


def last_step(path: Path) -> int:
    """The last step in a run's log; 0 where there is none yet."""
    try:
        with (path / "log.jsonl").open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return 0
    for line in reversed(lines):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue
    return 0
