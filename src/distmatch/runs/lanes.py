"""Several run folders trained together: as lanes of one program, or in turn; the data are loaded once.

Each run keeps what it would keep alone: its own log, checkpoints, samples and status. A lane that diverges is frozen
and says so in its folder; the others go on. Ctrl-C saves them all. A group that was killed goes on from the newest
step that all of its lanes have kept; where there is none, lanes at one step go together, one step after the other.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Tensor

from distmatch.data import DataSet
from distmatch.errors import BadInput
from distmatch.runs.build import Assembly, assemble, data_of
from distmatch.runs.config import RunConfig
from distmatch.runs.folder import RunFolder
from distmatch.runs.timing import Timing
from distmatch.runs.train import Interrupted, RunRecorder, interruptible, take_up, what_is_kept
from distmatch.training import Diverged, Trainer, checkpoint
from distmatch.training.lanes.lanes import Lanes, Loop, Pack, alike

SAME_FOR_ALL_SEEDS = frozenset({"digits", "mnist", "fashion-mnist", "cifar10", "celeba", "folder"})
PATIENCE = 60.0  # seconds that a run is waited for which another process is about to save


class Shared:
    """Data sets that the runs of one process have in common: each is loaded once, and on CUDA lies there once."""

    def __init__(self) -> None:
        self._data: dict[tuple[object, ...], DataSet] = {}
        self._resident: dict[tuple[object, ...], Tensor] = {}

    def data(self, config: RunConfig) -> DataSet:
        """The data that a configuration names."""
        key = _data_key(config)
        if key not in self._data:
            self._data[key] = data_of(config)
        return self._data[key]

    def assembly(self, config: RunConfig) -> Assembly:
        """`assemble`, with these data."""
        key = (*_data_key(config), config.device)
        made = assemble(config, self.data(config), self._resident.get(key))
        if made.trainer.feed.x.is_cuda:
            self._resident[key] = made.trainer.feed.x
        return made

    def keep(self, configs: Sequence[RunConfig]) -> None:
        """Let go of all data but those of these runs."""
        wanted = {_data_key(c) for c in configs}
        self._data = {k: v for k, v in self._data.items() if k in wanted}
        self._resident = {k: v for k, v in self._resident.items() if k[:-1] in wanted}


@dataclass(frozen=True)
class RunPlan:
    """A run to be trained or taken up: its folder, there or not, and its configuration."""

    path: Path
    config: RunConfig


def pack(trainers: Sequence[Trainer]) -> Pack:
    """Lanes of several trainers; of one alone, that one as it is."""
    return Lanes(trainers) if len(trainers) > 1 else Loop(trainers)


def train_together(
    runs: Sequence[RunPlan], *, lanes: int, until: int | None = None, shared: Shared | None = None
) -> None:
    """Train runs into their folders, `lanes` of them at a time; those that were begun go on.

    Args:
        runs: of one structure (`training.lanes.alike`); those that are not alike do not share lanes.
        lanes: how many are one program; 1 trains one after the other.
        until: stop at this step, and save; the runs can be gone on with.
        shared: data that are loaded already.

    Raises:
        BadInput: a run cannot be assembled or taken up, or the disk is full.
        Interrupted: Ctrl-C or SIGTERM; all that was being trained is saved.
    """
    shared = shared or Shared()
    shared.keep([run.config for run in runs])
    try:
        for first in range(0, len(runs), max(1, lanes)):
            part = runs[first : first + max(1, lanes)]
            with ExitStack() as held:
                _train(_taken_up(part, until, shared, held))
    except Interrupted:
        raise
    except KeyboardInterrupt:
        raise Interrupted("stopped at once; the runs go on from their last checkpoints") from None


@dataclass(eq=False)
class _Lane:
    """One run at work."""

    assembly: Assembly
    folder: RunFolder
    until: int | None
    recorder: RunRecorder = field(init=False)

    @property
    def trainer(self) -> Trainer:
        return self.assembly.trainer

    @property
    def end(self) -> int:
        """The step at which it stops for now."""
        steps = self.assembly.config.training.steps
        assert steps is not None
        return steps if self.until is None else min(self.until, steps)

    def begin(self, lanes: int) -> None:
        """Its recorder starts, and its clock, which `lanes` runs share."""
        timing = Timing(self.folder, self.trainer.steps_done, lanes)
        self.recorder = RunRecorder(self.assembly, self.folder, timing)
        self.recorder.note(None)

    def free(self) -> int:
        """Number of steps that may be taken at once."""
        return max(1, min(self.recorder.free(), self.end - self.trainer.steps_done))

    def entered(self, logs: dict[str, Tensor]) -> bool:
        """Enter a step's logs; whether the run goes on."""
        try:
            self.recorder.enter(logs)
        except Diverged as error:
            self._diverged(error)
            return False
        if self.trainer.steps_done < self.end:
            return True
        self.ended()
        return False

    def ended(self) -> None:
        """It has taken its steps, or those until it is to wait."""
        if self.end == self.assembly.config.training.steps:
            self.recorder.close("finished")
        else:
            self.save()

    def save(self) -> None:
        """A checkpoint, unless there is one of this step; the status says where the run was left."""
        done = self.trainer.steps_done
        try:
            if done not in checkpoint.steps(self.folder.checkpoints):
                self.recorder.save()
        except Diverged as error:
            self._diverged(error)
        else:
            self.recorder.note(f"interrupted at step {done}")

    def _diverged(self, error: Diverged) -> None:
        kept = what_is_kept(self.folder, self.assembly.config)
        self.recorder.close(str(Diverged(error.step, error.term, error.value, kept)))


def _taken_up(runs: Sequence[RunPlan], until: int | None, shared: Shared, held: ExitStack) -> list[_Lane]:
    """The runs that have steps to take, each locked and at the newest step that all of them have kept, if any."""
    begun: dict[Path, RunFolder] = {}
    for run in runs:
        if (run.path / "config.json").exists():
            begun[run.path] = RunFolder.open(run.path)
            held.enter_context(_locked(begun[run.path]))
    left = [run for run in runs if run.path not in begun or _goes_on(run, until)]
    back_to = _newest_common([run.path for run in left])
    lanes = []
    for run in left:
        if run.path in begun:
            folder = begun[run.path]
            if back_to:
                checkpoint.drop_after(folder.checkpoints, back_to)
            assembly = shared.assembly(folder.config())
            take_up(assembly, folder)
        else:
            assembly = shared.assembly(run.config)
            folder = RunFolder.create(
                run.path, assembly.config, str(assembly.objective), notes=assembly.notes
            )
            held.enter_context(_locked(folder))
        lanes.append(_Lane(assembly, folder, until))
    return lanes


def _goes_on(run: RunPlan, until: int | None) -> bool:
    """True where a run that was begun has steps left to take."""
    steps = RunFolder.open(run.path).config().training.steps
    assert steps is not None
    end = steps if until is None else min(until, steps)
    status = str((RunFolder(run.path).read_json("status.json") or {}).get("status", ""))
    if status == "finished" or status.startswith("diverged"):
        return False
    kept = checkpoint.steps(run.path / "checkpoints")
    return not kept or kept[-1] < end or end == steps


def _newest_common(paths: Sequence[Path]) -> int:
    """The newest step of which all runs keep a checkpoint; 0 if there is none."""
    kept = [set(checkpoint.steps(path / "checkpoints")) for path in paths]
    return max(set.intersection(*kept), default=0) if kept else 0


def _locked(folder: RunFolder) -> ExitStack:
    """The folder's lock; a process that is being stopped is waited for."""
    patience = time.monotonic() + PATIENCE
    while True:
        held = ExitStack()
        try:
            held.enter_context(folder.locked())
            return held
        except BadInput:
            if time.monotonic() > patience:
                raise
            time.sleep(0.2)


def _train(members: Sequence[_Lane]) -> None:
    with interruptible() as interrupted:
        for lanes in _groups(members):
            for lane in lanes:
                lane.begin(len(lanes))
            together = pack([lane.trainer for lane in lanes])
            going = dict(enumerate(lanes))

            def leaves(i: int, pack: Pack = together, going: dict[int, _Lane] = going) -> None:
                pack.freeze(i)
                del going[i]

            for i, lane in list(going.items()):  # taken up at its end: killed before it could say so
                if lane.trainer.steps_done >= lane.end:
                    lane.ended()
                    leaves(i)
            while going:
                norms = any(lane.recorder.logs_next() for lane in going.values())
                logs = together.advance(norms, min(lane.free() for lane in going.values()))
                for i, lane in list(going.items()):
                    if not lane.entered(logs[i]):
                        leaves(i)
                if interrupted():
                    for lane in going.values():
                        lane.save()
                    raise Interrupted("interrupted, and saved")


def _groups(members: Sequence[_Lane]) -> Iterator[list[_Lane]]:
    """Those that can be lanes of one program: alike, and at one step."""
    left = list(members)
    while left:
        first = left[0].trainer
        same = [
            lane
            for lane in left
            if lane.trainer.steps_done == first.steps_done
            and (lane is left[0] or alike(first, lane.trainer) is None)
        ]
        left = [lane for lane in left if lane not in same]
        yield same


def _data_key(config: RunConfig) -> tuple[object, ...]:
    """Return the settings that fix the data of a run."""
    seed = None if config.data.name in SAME_FOR_ALL_SEEDS else config.seed
    return (replace(config.data, binarise="auto"), seed)
