"""Runs into tasks: packs of lanes, of one structure, and about as far as each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distmatch.metrics import Options
from distmatch.runs.lanes import RunPlan
from distmatch.sweeps.plan import Run, Structure, by_structure
from distmatch.sweeps.pool.worker import Task
from distmatch.training import checkpoint


@dataclass(frozen=True)
class How:
    """Settings by which tasks are made.

    Args:
        slots: how many are performed at a time.
        lanes: for each structure, how many runs are one program at most.
        evaluate: metrics of finished runs.
        samples: for these.
        threads: of torch in each worker.
        other: the same for structures that were not foreseen, such as those of trials.
        spread: whether packs are made smaller than that where else a worker would have nothing to do.
    """

    slots: int
    lanes: Mapping[Structure, int]
    evaluate: tuple[str, ...] = ()
    samples: int = Options.samples
    threads: int = 1
    other: int = 1
    spread: bool = True


def packed(runs: Sequence[Run], folder: Path, how: How, until: int | None = None) -> list[Task]:
    """The tasks of these runs, the longest first.

    Each structure's runs are cut into even packs of at most its lanes.
    """
    groups = by_structure(runs)
    at_least = math.ceil(how.slots / max(1, len(groups))) if how.spread else 1
    tasks = []
    for structure, members in groups.items():
        members = sorted(members, key=lambda run: -_step(folder / "runs" / run.name))
        for pack in even(
            members, min(how.lanes.get(structure, how.other), math.ceil(len(members) / at_least))
        ):
            plans = tuple(RunPlan(folder / "runs" / run.name, run.asked) for run in pack)
            tasks.append(Task(plans, len(pack), until, how.evaluate, how.samples, how.threads))
    return sorted(tasks, key=lambda task: -len(task.runs))


def even(members: Sequence[Run], most: int) -> list[list[Run]]:
    """As few packs of at most `most` as there can be, of sizes that differ by one at most.

    >>> [len(pack) for pack in even(list(range(10)), 4)]
    [4, 3, 3]
    """
    count = math.ceil(len(members) / max(1, most))
    size, more = divmod(len(members), max(1, count))
    packs, at = [], 0
    for number in range(count):
        end = at + size + (number < more)
        packs.append(list(members[at:end]))
        at = end
    return packs


def _step(path: Path) -> int:
    """The step from which a run goes on."""
    return max(checkpoint.steps(path / "checkpoints"), default=0)
