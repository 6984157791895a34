"""Training into a folder: log, checkpoints, samples; stopped by Ctrl-C, by divergence, or by the end."""

from __future__ import annotations

import logging
import math
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.runs.build import Assembly, feed_of
from distmatch.runs.config import RunConfig, TrainingConfig
from distmatch.runs.folder import RunFolder, refuse_taken
from distmatch.runs.pictures import save_samples
from distmatch.runs.sharing import assemble_share, same_config, start_alike
from distmatch.runs.timing import Timing
from distmatch.training import Diverged, checkpoint
from distmatch.training.distributed.ranks import Lost, Ranks

Progress = Callable[[int, int, dict[str, float]], None]
"""Called after each logged step with (step, steps, losses)."""

VALIDATION_BATCHES = 10
VALIDATION_SEED = 20_180_219  # its noise is the same at every look, so that curves are comparable


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; the message says how to go on."""


@dataclass(frozen=True)
class Outcome:
    """The end of a training: the folder, the steps done, and notes for the user."""

    folder: RunFolder
    steps: int
    notes: tuple[str, ...] = ()


def train(
    config: RunConfig, path: Path, progress: Progress | None = None, ranks: Ranks | None = None
) -> Outcome:
    """A new run, from its configuration to a finished folder. What there is to know of it is logged at its start.

    Args:
        config: the run.
        path: its folder.
        progress: told of each logged step.
        ranks: who trains it together; each calls this, and the one that leads writes the folder.

    Raises:
        BadInput: the configuration cannot be run; no folder is left behind. Or the disk is full later, or a rank is
            lost.
        Diverged: a loss or weight is not finite; the last good checkpoint is kept.
        Interrupted: Ctrl-C; a checkpoint is written first.
    """
    if ranks is not None and not ranks.leads:
        return _follow(config, path, ranks)
    refuse_taken(path)  # before any work is done
    assembly = assemble_share(config, ranks)
    count = 1 if ranks is None else ranks.count
    folder = RunFolder.create(path, assembly.config, str(assembly.objective), count, assembly.notes)
    for text in assembly.notes:
        logging.getLogger(__name__).warning("note: %s", text)
    with folder.locked():
        try:
            return _run(assembly, folder, progress, ranks)
        except BadInput as error:
            if not checkpoint.steps(folder.checkpoints) and not isinstance(error, Lost):
                shutil.rmtree(folder.path, ignore_errors=True)
            raise


def resume(path: Path, progress: Progress | None = None, ranks: Ranks | None = None) -> Outcome:
    """Go on with a run from its newest good checkpoint, or from the start if it has none yet.

    On a CPU, with the number of threads and of ranks it had, the result has the bits of a run that was never
    interrupted.

    Raises:
        BadInput: no run, one that is being trained, one that diverged (it would again, at the same step), or one
            whose checkpoints are all damaged. Or a rank is lost.
        Diverged, Interrupted: as for `train`.
    """
    if ranks is not None and not ranks.leads:
        return _follow(same_config(None, ranks), path, ranks)
    folder = RunFolder.open(path)
    with folder.locked():
        if (status := folder.status()).startswith("diverged"):
            raise BadInput(
                f"{path} {status}, and would again from its last checkpoint; {_slower(path, folder.config())}"
            )
        config = folder.config()
        assembly = assemble_share(config if ranks is None else same_config(config, ranks), ranks)
        notes = take_up(assembly, folder, 1 if ranks is None else ranks.count)
        outcome = _run(assembly, folder, progress, ranks)
    return Outcome(outcome.folder, outcome.steps, tuple(notes))


def _follow(config: RunConfig, path: Path, ranks: Ranks) -> Outcome:
    """Train with the rank that leads, and leave the folder to it."""
    return _run(assemble_share(config, ranks), RunFolder(path), None, ranks)


def take_up(assembly: Assembly, folder: RunFolder, ranks: int = 1) -> list[str]:
    """Bring trainer and folder to the newest good checkpoint; what to tell the user."""
    path, trainer = folder.path, assembly.trainer
    notes: list[str] = []
    if checkpoint.steps(folder.checkpoints):
        try:
            tensors, info, notes = checkpoint.read_latest(folder.checkpoints)
        except BadInput as error:
            raise BadInput(f"{error}; {_another(path)}") from error
        trainer.restore(tensors, info)
    started = folder.about().get("environment", {})
    for what, before, now in (
        ("threads", started.get("threads"), torch.get_num_threads()),
        ("ranks", started.get("ranks", 1), ranks),
    ):
        if before not in (None, now):
            notes.append(
                f"{path} was started with {before} {what} and goes on with {now}: "
                "last bits may differ from an uninterrupted run's"
            )
    if trainer.steps_done == assembly.config.training.steps:
        notes.append(f"{path} had done all of its {trainer.steps_done} steps already")
    else:
        folder.note_revision()
    checkpoint.drop_after(folder.checkpoints, trainer.steps_done)
    folder.cut_log(trainer.steps_done)
    folder.tidy()
    return notes


def _another(path: Path, settings: str = "") -> str:
    """Return the command that starts a run like this one from its beginning."""
    config, out = quote(str(path / "config.json")), quote(f"{path}-2")
    return f"start another run, e.g. `distmatch train --config {config} {settings}--out {out}`"


def _slower(path: Path, config: RunConfig) -> str:
    """The same with learning rates of a tenth, for a run that diverged."""
    rates = {"training.lr": config.training.lr, "training.critic_lr": config.training.critic_lr}
    return _another(path, "".join(f"--set {k}={v / 10:g} " for k, v in rates.items() if v is not None))


def _run(
    assembly: Assembly, folder: RunFolder, progress: Progress | None, ranks: Ranks | None = None
) -> Outcome:
    trainer, steps = assembly.trainer, assembly.config.training.steps
    assert steps is not None
    if ranks is not None:
        start_alike(assembly, ranks)
    timing = Timing(folder, trainer.steps_done)
    recorder = RunRecorder(assembly, folder, timing, progress, writes=ranks is None or ranks.leads)
    recorder.note(None)
    resuming = f"`distmatch resume {quote(str(folder.path))}` goes on"
    try:
        with interruptible(several=ranks is not None) as interrupted:
            stops = interrupted if ranks is None else ranks.agree_on(interrupted)
            while trainer.steps_done < steps:
                recorder.enter(trainer.advance(norms=recorder.logs_next(), most=recorder.free()))
                if stops() and trainer.steps_done < steps:
                    recorder.save()
                    recorder.note(f"interrupted at step {trainer.steps_done}")
                    if ranks is not None:
                        ranks.told(b"saved")
                    raise Interrupted(
                        f"interrupted at step {trainer.steps_done} of {steps}, and saved; {resuming}"
                    )
        recorder.close("finished")
    except Diverged as error:
        recorder.close(str(error))
        raise Diverged(error.step, error.term, error.value, what_is_kept(folder, assembly.config)) from None
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted(f"stopped at once; {resuming} from the last checkpoint") from None
    except Lost as error:
        at = f"at step {trainer.steps_done} of {steps}"
        start = " from the last checkpoint" if checkpoint.steps(folder.checkpoints) else ""
        raise Lost(f"stopped {at}: {error}; {resuming}{start}") from error
    except BadInput as error:
        if not checkpoint.steps(folder.checkpoints):
            raise
        raise BadInput(f"{error}; then {resuming} from the last checkpoint") from error
    return Outcome(folder, steps)


def what_is_kept(folder: RunFolder, config: RunConfig) -> str:
    """Return a sentence on what a diverged run leaves, and what to do."""
    good = checkpoint.steps(folder.checkpoints)
    kept = (
        f"the last good checkpoint, of step {good[-1]}, is kept in {folder.checkpoints}"
        if good
        else ("there was no checkpoint yet")
    )
    return f"{kept}; {_slower(folder.path, config)}"


@dataclass(frozen=True)
class RunRecorder:
    """Writer of a run's log, samples and checkpoints while it trains, each when it is due.

    Args:
        assembly: the run.
        folder: where all of it goes.
        timing: the run's clocks.
        progress: told of each logged step.
        writes: whether this process is the one that writes; of several ranks, the others look at the same numbers
            and so stop at the same step.
    """

    assembly: Assembly
    folder: RunFolder
    timing: Timing
    progress: Progress | None = None
    writes: bool = True

    def logs_next(self) -> bool:
        """True where the coming step is logged, and so needs its gradient norms."""
        done = self.assembly.trainer.steps_done + 1
        return self._due(done, self._training.log_every) or self._due(done, self._training.checkpoint_every)

    def free(self) -> int:
        """Number of steps that may be taken at once before the next of which something is kept; at least 1."""
        done, t = self.assembly.trainer.steps_done, self._training
        every = [e for e in (t.steps, t.log_every, t.checkpoint_every, t.sample_every) if e is not None]
        return max(1, min((done // e + 1) * e for e in every) - 1 - done)

    def enter(self, logs: Mapping[str, Tensor]) -> None:
        """After a step with these logs: a line of the log, samples, and last, a checkpoint, as far as they are due.

        Raises:
            Diverged: a loss, a norm or a weight is not finite.
        """
        assembly, trainer = self.assembly, self.assembly.trainer
        done = trainer.steps_done
        saved = self._due(done, self._training.checkpoint_every)
        if saved or self._due(done, self._training.log_every):
            losses = trainer.collect()
            line = {"step": done, "epoch": trainer.feed.epoch, **losses, **_extra(logs, done)}
            if self.writes:
                self.folder.append_log(line | (_validation(assembly) if saved else {}))
            if self.progress is not None:
                assert self._training.steps is not None
                self.progress(done, self._training.steps, losses)
        if self.writes and self._due(done, self._training.sample_every):
            save_samples(assembly, self.folder, done)
        if saved:
            self.save()

    def save(self) -> None:
        """A checkpoint of where the run is now.

        Raises:
            Diverged: such a state is not worth keeping.
        """
        trainer = self.assembly.trainer
        trainer.check()
        if not self.writes:
            return
        tensors, info = trainer.snapshot()
        self.folder.sync_log()
        checkpoint.write(self.folder.checkpoints, trainer.steps_done, tensors, info)
        self.timing.write(trainer.steps_done)

    def note(self, status: str | None) -> None:
        """The folder's note on the run; None while it is being trained."""
        if not self.writes:
            return
        if status is None:
            (self.folder.path / "status.json").unlink(missing_ok=True)
        else:
            self.folder.write_json("status.json", {"status": status})

    def close(self, status: str) -> None:
        """Stop the clocks, and say how the run ended."""
        if self.writes:
            self.timing.write(self.assembly.trainer.steps_done)
            self.note(status)

    @property
    def _training(self) -> TrainingConfig:
        return self.assembly.config.training

    def _due(self, done: int, every: int | None) -> bool:
        assert every is not None
        return done == self._training.steps or done % every == 0


def _extra(logs: Mapping[str, Tensor], step: int) -> dict[str, float]:
    """Gradient norms and mean scores; one that is not finite has spoilt the weights already."""
    extra = {k: v.item() for k, v in logs.items() if k.startswith(("gradient_norm/", "score/"))}
    for name, value in extra.items():
        if not math.isfinite(value):
            raise Diverged(step, name, value)
    return extra


def _validation(assembly: Assembly) -> dict[str, float]:
    if not len(assembly.data.validation):
        return {}
    feed = feed_of(assembly.config, assembly.objective, assembly.data, "validation", VALIDATION_SEED)
    batches = min(VALIDATION_BATCHES, feed.batches_per_epoch)
    return {f"validation/{k}": v for k, v in assembly.trainer.losses(feed, batches).items()}


@contextmanager
def interruptible(several: bool = False) -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM asked for, not obeyed at once: the step is finished first. A second one is obeyed.

    As soon as one rank of `several` has gone, torchrun ends the others by SIGTERM, which may be the second one of the
    same cause: it never ends them at once, and is ignored when training has ended, so that there is time to say why.
    """
    asked = False

    def ask(number: int, frame: object) -> None:
        nonlocal asked
        if asked and not (several and number == signal.SIGTERM):
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
            signal.signal(s, signal.SIG_IGN if several and s == signal.SIGTERM else handler)
