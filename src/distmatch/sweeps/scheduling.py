"""Tasks through an engine: given out, taken back, given again when a worker is lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from distmatch.errors import BadInput
from distmatch.sweeps.pool.engine import Engine, Lost
from distmatch.sweeps.pool.worker import Ended, Task

RETRIES = 3
LOOK = 0.5  # seconds between looks at how far the runs are

Told = Callable[[Task | None, Sequence[Task]], None]
"""Told of a task that has ended, or of None at each look, and of the tasks at work."""


class Broken(RuntimeError):
    """A worker met an error that no input should cause; its text is the worker's traceback."""


def through(engine: Engine, tasks: Sequence[Task], told: Told) -> None:
    """Perform all tasks.

    A task whose worker is lost is given again, up to `RETRIES` times; one that found no memory, with half the lanes.

    Raises:
        BadInput: a task could not be performed; what was done until then is in the run folders.
        Broken: a worker met an error.
    """
    waiting, at_work = list(tasks), list[Task]()
    losses: dict[int, int] = {}
    while waiting or at_work:
        while waiting and len(at_work) < engine.slots:
            task = waiting.pop(0)
            engine.submit(task)
            at_work.append(task)
        for task, ended in engine.ended(LOOK):
            at_work.remove(task)
            again = _again(task, ended, losses)
            if again is None:
                told(task, at_work)
            else:
                waiting.insert(0, again)
        told(None, at_work)


def _again(task: Task, ended: Ended | Lost, losses: dict[int, int]) -> Task | None:
    """The task to give out anew, if any."""
    names = ", ".join(run.path.name for run in task.runs[:3]) + (" and others" if len(task.runs) > 3 else "")
    if isinstance(ended, Lost) or ended.kind == "interrupted":
        why = ended.why if isinstance(ended, Lost) else "was asked to stop, not by this sweep"
        times = losses[id(task)] = losses.get(id(task), 0) + 1
        if times > RETRIES:
            raise BadInput(
                f"the worker of {names} {why}, for the {times}th time; "
                "if memory is short, give smaller --lanes or fewer --jobs"
            )
        return task
    if ended.kind == "memory":
        if task.lanes == 1:
            raise BadInput(f"there is not enough memory for {names} ({ended.text}); give fewer --jobs")
        return replace(task, lanes=task.lanes // 2)
    if ended.kind == "bad":
        raise BadInput(ended.text)
    if ended.kind == "error":
        raise Broken(f"a worker failed at {names}:\n{ended.text}")
    return None
