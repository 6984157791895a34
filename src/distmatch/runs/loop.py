"""Training into a folder: log, checkpoints, samples; stopped by Ctrl-C, by divergence, or by the end."""

from __future__ import annotations

import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from distmatch.runs.assemble import Assembly, assemble, feed_of
from distmatch.runs.config import RunConfig
from distmatch.runs.folder import RunFolder
from distmatch.runs.pictures import save_samples
from distmatch.training import Diverged, checkpoint

Progress = Callable[[int, int, dict[str, float]], None]
"""Called after each logged step with (step, steps, losses)."""

VALIDATION_BATCHES = 10
VALIDATION_SEED = 20_180_219  # its noise is the same at every look, so that curves are comparable


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; the run is saved and can be resumed."""


@dataclass(frozen=True)
class Outcome:
    """How training ended: the folder, the steps done, and what to tell the user besides."""

    folder: RunFolder
    steps: int
    notes: tuple[str, ...] = ()


def train(config: RunConfig, path: Path, progress: Progress | None = None) -> Outcome:
    """A new run, from its configuration to a finished folder.

    Raises:
        BadInput: the configuration cannot be run; no folder is left behind.
        Diverged: a loss or weight is not finite; the last good checkpoint is kept.
        Interrupted: Ctrl-C; a checkpoint is written first.
    """
    if (path / "config.json").exists():
        RunFolder.create(path, config, "")  # refuses, before any work is done
    assembly = assemble(config)
    folder = RunFolder.create(path, assembly.config, str(assembly.objective))
    return _run(assembly, folder, progress)


def resume(path: Path, progress: Progress | None = None) -> Outcome:
    """Go on with a run from its newest good checkpoint, or from the start if it has none yet.

    On a CPU, with the number of threads it had, the result has the bits of a run that was never interrupted.
    """
    folder = RunFolder.open(path)
    assembly = assemble(folder.config())
    notes: list[str] = []
    if checkpoint.steps(folder.checkpoints):
        tensors, info, notes = checkpoint.read_latest(folder.checkpoints)
        assembly.trainer.restore(tensors, info)
    done = assembly.trainer.steps_done
    checkpoint.drop_after(folder.checkpoints, done)
    folder.cut_log(done)
    outcome = _run(assembly, folder, progress)
    return Outcome(outcome.folder, outcome.steps, tuple(notes))


def _run(assembly: Assembly, folder: RunFolder, progress: Progress | None) -> Outcome:
    config, trainer = assembly.config, assembly.trainer
    steps = config.training.steps
    assert steps is not None
    (folder.path / "status.json").unlink(missing_ok=True)
    timing = _Timing(folder, trainer.steps_done)
    try:
        with _interruptible() as interrupted:
            while trainer.steps_done < steps and not interrupted():
                _one_step(assembly, folder, steps, progress)
            if interrupted() and trainer.steps_done < steps:
                _save(assembly, folder)
                timing.write(trainer.steps_done)
                folder.write_json("status.json", {"status": f"interrupted at step {trainer.steps_done}"})
                raise Interrupted
    except Diverged as error:
        timing.write(trainer.steps_done)
        folder.write_json("status.json", {"status": str(error)})
        raise
    timing.write(trainer.steps_done)
    folder.write_json("status.json", {"status": "finished"})
    return Outcome(folder, steps)


def _one_step(assembly: Assembly, folder: RunFolder, steps: int, progress: Progress | None) -> None:
    training, trainer = assembly.config.training, assembly.trainer
    assert training.log_every and training.checkpoint_every and training.sample_every
    done = trainer.steps_done + 1
    logged = done % training.log_every == 0 or done == steps
    logs = trainer.advance(norms=logged)
    if logged:
        losses = trainer.collect()
        extra = {k: logs[k].item() for k in logs if k.startswith(("gradient_norm/", "score/"))}
        line: dict[str, float] = {"step": done, "epoch": trainer.feed.epoch, **losses, **extra}
        if done % training.checkpoint_every == 0 or done == steps:
            line |= _validation(assembly)
        folder.append_log(line)
        if progress is not None:
            progress(done, steps, losses)
    if done % training.checkpoint_every == 0 or done == steps:
        _save(assembly, folder)
    if done % training.sample_every == 0 or done == steps:
        save_samples(assembly, folder, done)


def _validation(assembly: Assembly) -> dict[str, float]:
    if not len(assembly.data.validation):
        return {}
    feed = feed_of(assembly.config, assembly.objective, assembly.data, "validation", VALIDATION_SEED)
    batches = min(VALIDATION_BATCHES, feed.batches_per_epoch)
    return {f"validation/{k}": v for k, v in assembly.trainer.losses(feed, batches).items()}


def _save(assembly: Assembly, folder: RunFolder) -> None:
    assembly.trainer.check()
    tensors, info = assembly.trainer.snapshot()
    checkpoint.write(folder.checkpoints, assembly.trainer.steps_done, tensors, info)


class _Timing:
    """`timing.json`: seconds and steps over all sessions of a run, and the peak of memory."""

    def __init__(self, folder: RunFolder, done: int) -> None:
        self.folder, self.first, self.start = folder, done, time.perf_counter()
        self.before = folder.read_json("timing.json") or {}

    def write(self, done: int) -> None:
        seconds = self.before.get("seconds", 0.0) + time.perf_counter() - self.start
        taken = self.before.get("steps", 0) + done - self.first
        unit = 2**20 if sys.platform == "darwin" else 2**10
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
        self.folder.write_json(
            "timing.json",
            {
                "seconds": round(seconds, 3),
                "steps": taken,
                "steps_per_second": round(taken / seconds, 3) if seconds else None,
                "milliseconds_per_step": round(1e3 * seconds / taken, 4) if taken else None,
                "peak_memory_mb": round(max(peak, self.before.get("peak_memory_mb", 0.0)), 1),
            },
        )


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM asked for, not obeyed at once: the step is finished first. A second one is obeyed."""
    asked = False

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


