"""The work of one worker, wherever it is: train a pack of runs, and measure those that are finished.

All that it leaves is in the run folders; what it returns only says how it ended. A task may be given again at any
time, after a kill or a success: what is done is not done again.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from threadpoolctl import threadpool_limits

from distmatch.errors import BadInput
from distmatch.metrics import Options
from distmatch.runs.evaluation import evaluate
from distmatch.runs.folder import RunFolder
from distmatch.runs.lanes import RunPlan, Shared, train_together
from distmatch.training import checkpoint

MEASURED = "asked.json"  # in a run's folder: which metrics a sweep has asked for, and those that do not apply


@dataclass(frozen=True)
class Task:
    """A pack of runs of one structure.

    Args:
        runs: their folders and configurations.
        lanes: how many are trained as one program.
        until: the step to stop at for now; None for the end.
        evaluate: metrics for those that are finished.
        samples: for these.
        threads: of torch.
    """

    runs: tuple[RunPlan, ...]
    lanes: int
    until: int | None = None
    evaluate: tuple[str, ...] = ()
    samples: int = Options.samples
    threads: int = 1


@dataclass(frozen=True)
class Ended:
    """The end of a task: done; interrupted; out of memory; bad input; or an error, with its text."""

    kind: Literal["done", "interrupted", "memory", "bad", "error"]
    text: str = ""


@cache
def _shared() -> Shared:
    """The data of this process, which its next task is likely to need too."""
    return Shared()


def perform(task: Task) -> Ended:
    """Train and measure what of a task is not done."""
    torch.set_num_threads(task.threads)
    threadpool_limits(task.threads)
    try:
        train_together(task.runs, lanes=task.lanes, until=task.until, shared=_shared())
        if task.until is None and task.evaluate:
            for run in task.runs:
                measure(run.path, task.evaluate, task.samples, _shared())
    except KeyboardInterrupt:
        return Ended("interrupted")
    except BadInput as error:
        return Ended("bad", str(error))
    except (MemoryError, torch.OutOfMemoryError) as error:
        return Ended("memory", str(error))
    except Exception:
        return Ended("error", traceback.format_exc())
    return Ended("done")


def measure(path: Path, names: Iterable[str], samples: int, shared: Shared) -> None:
    """Run metrics on a finished run, once; what does not apply to it is kept with the reason."""
    folder = RunFolder(path)
    if is_measured(path, names, samples) or not is_finished(path):
        return
    refused: dict[str, str] = {}
    data = shared.data(folder.config())
    try:
        evaluate(path, names, samples, data=data)
    except BadInput:
        for name in names:
            try:
                evaluate(path, [name], samples, data=data)
            except BadInput as error:
                refused[name] = str(error).removeprefix(f"{name} ")
    step = checkpoint.steps(folder.checkpoints)[-1]
    folder.write_json(
        MEASURED, {"metrics": list(names), "samples": samples, "step": step, "not_measured": refused}
    )


def is_finished(path: Path) -> bool:
    """True where a run has taken all of its steps."""
    return (RunFolder(path).read_json("status.json") or {}).get("status") == "finished"


def is_measured(path: Path, names: Iterable[str], samples: int) -> bool:
    """True where these metrics have been measured on a run, or do not apply."""
    asked = RunFolder(path).read_json(MEASURED) or {}
    return set(names) <= set(asked.get("metrics", ())) and asked.get("samples") == samples
