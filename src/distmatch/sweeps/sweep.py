"""A sweep from its file to its table. The run folders are the only truth: kill it at any moment, and start it again."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from shlex import quote
from typing import Any

import torch

from distmatch.runs.folder import RunFolder
from distmatch.runs.train import Interrupted
from distmatch.sweeps.calibration import Cost, calibrate
from distmatch.sweeps.folder import Sweep, make_folder
from distmatch.sweeps.halving import rungs_of, steps_of, stop, survivors
from distmatch.sweeps.packing import How, packed
from distmatch.sweeps.plan import Run, Structure
from distmatch.sweeps.pool.engine import Engine
from distmatch.sweeps.pool.worker import Task, is_finished, is_measured
from distmatch.sweeps.scheduling import through
from distmatch.sweeps.table import state_of
from distmatch.training import checkpoint

TABLE_EVERY = 5.0  # seconds between tables, while runs are trained
Watch = Callable[[Sequence[Run], Task | None, Sequence[Task]], None]
"""Told of all runs so far, of a task that has ended, if any, and of the tasks at work."""


@dataclass(frozen=True)
class Machine:
    """The machine and the way in which a sweep is trained; nothing of it changes the results, but for rounding.

    Args:
        jobs: workers here; None for one on each processor that this process may use, or one for a GPU.
        lanes: runs that are one program at most; None to measure what is best.
        engine: makes what runs the tasks, from the number of jobs.
    """

    jobs: int | None = None
    lanes: int | None = None
    engine: Callable[[int], Engine] | None = None


def perform(sweep: Sweep, machine: Machine, watch: Watch | None = None) -> dict[str, Any]:
    """Train all runs that have steps to take, measure those that are finished, and write the table.

    Raises:
        BadInput: a task cannot be performed, or somebody else performs this sweep.
        Interrupted: Ctrl-C; all runs are saved.
    """
    make_folder(sweep)
    with RunFolder(sweep.folder).locked():
        engine: Engine | None = None
        try:
            if sweep.trials is not None:
                sweep.trials.open()
            jobs = jobs_of(sweep, machine)
            engine = machine.engine(jobs) if machine.engine is not None else _pool(jobs)
            _phases(sweep, engine, _how(sweep, machine, engine.slots), watch or _silent)
        except KeyboardInterrupt:
            if engine is not None:
                engine.stop()
                engine = None
            sweep.table()
            again = f"`distmatch sweep {quote(str(sweep.folder))}` goes on"
            raise Interrupted(f"the sweep was interrupted, and its runs are saved; {again}") from None
        finally:
            if engine is not None:
                engine.stop()
        return sweep.table()


def costs_of(sweep: Sweep, machine: Machine) -> dict[Structure, Cost]:
    """Return the cost of each structure on this machine."""
    jobs = jobs_of(sweep, machine)
    return {s: calibrate(runs, jobs, machine.lanes) for s, runs in sweep.examples.items()}


def jobs_of(sweep: Sweep, machine: Machine) -> int:
    """Workers at a time."""
    if machine.jobs is not None:
        return machine.jobs
    examples = [runs[0] for runs in sweep.examples.values()]
    on_gpu = torch.cuda.is_available() and any(run.asked.device != "cpu" for run in examples)
    return 1 if on_gpu else max(1, len(os.sched_getaffinity(0)))


def counts(table: Mapping[str, Any]) -> Counter[str]:
    """Return the number of runs in each state."""
    return Counter(row["state"] for row in table["runs"])


def _phases(sweep: Sweep, engine: Engine, how: How, watch: Watch) -> None:
    """All runs to the end; or rung by rung; or batch by batch."""
    if sweep.trials is not None:
        while sweep.trials.more():
            batch = sweep.trials.batch()
            _train(sweep, [run for _, _, runs in batch for run in runs], engine, how, watch)
            for cell, trial, runs in batch:
                sweep.trials.tell(cell, trial, runs)
        return
    going = list(sweep.runs)
    halving = sweep.file.halving
    for rung in rungs_of(halving, going) if halving is not None else ():
        assert halving is not None
        short = [run for run in going if steps_of(run.config) <= rung]
        contenders = [run for run in going if run not in short]
        _train(sweep, contenders, engine, how, watch, rung)
        kept, why = survivors(halving, contenders, sweep.folder, rung)
        for run in contenders:
            if run.name in why:
                stop(sweep.folder, run, rung, why[run.name])
        going = [run for run in going if run in short or run in kept]
    _train(sweep, going, engine, how, watch)


def _train(
    sweep: Sweep, runs: Sequence[Run], engine: Engine, how: How, watch: Watch, until: int | None = None
) -> None:
    """Train those of these runs that have steps left to take, or are not measured yet."""
    left = [run for run in runs if not _done(sweep, run, until)]
    if left:
        known = sweep.runs if sweep.trials is None else sweep.trials.known()

        due = 0.0

        def told(task: Task | None, at_work: Sequence[Task]) -> None:
            nonlocal due
            watch(known, task, at_work)
            begin = time.monotonic()
            if task is not None and begin >= due:
                sweep.table()
                due = time.monotonic() + max(TABLE_EVERY, 20 * (time.monotonic() - begin))

        through(engine, packed(left, sweep.folder, how, until), told)


def _done(sweep: Sweep, run: Run, until: int | None) -> bool:
    path = sweep.folder / "runs" / run.name
    state, _ = state_of(path)
    if state == "finished":
        return (
            until is not None or is_measured(path, sweep.evaluate, sweep.file.samples) or not sweep.evaluate
        )
    reached = max(checkpoint.steps(path / "checkpoints"), default=0)
    return state == "diverged" or (until is not None and reached >= until and not is_finished(path))


def _how(sweep: Sweep, machine: Machine, slots: int) -> How:
    lanes = dict.fromkeys(sweep.examples, machine.lanes or 1)
    if machine.lanes is None:  # where every run has a worker of its own there is nothing to measure
        several = {s: runs for s, runs in sweep.examples.items() if len(runs) > slots}
        lanes |= {s: calibrate(runs, slots).best for s, runs in several.items()}
    other, spread = machine.lanes or 1, machine.lanes is None
    return How(slots, lanes, sweep.evaluate, sweep.file.samples, other=other, spread=spread)


def _pool(jobs: int) -> Engine:
    from distmatch.sweeps.pool.local import LocalPool

    return LocalPool(jobs)


def _silent(runs: Sequence[Run], task: Task | None, at_work: Sequence[Task]) -> None:
    """Nobody watches."""
