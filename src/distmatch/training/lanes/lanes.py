"""Many runs as one program: K trainers of one structure, whose tensors are lanes of one stack.

What a lane computes is what its run would have computed alone, to rounding: it has its own weights, moments, batches,
noise, learning rates and numbers of the objective. Lanes share nothing, so one that diverges spoils no other.

One program is faster than its runs one after the other where these are too small to fill the machine, and slower where
they are not: `pace.faster` measures it. `Loop` is the same from outside, and takes the steps one run after the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from torch import Tensor

from distmatch.distributions.checks import unvalidated
from distmatch.errors import BadInput
from distmatch.training.engine.cuda_graphs import CudaGraphs, Stepper, losses_of, pure_step
from distmatch.training.engine.precision import numerics
from distmatch.training.lanes.batches import LaneFeed
from distmatch.training.lanes.compatibility import alike
from distmatch.training.lanes.numbers import LaneNumbers
from distmatch.training.lanes.stacking import join, overwrite, part
from distmatch.training.step import Logs, State
from distmatch.training.trainer import Trainer

__all__ = ["Lanes", "Loop", "Pack", "alike"]

SPARE = 0.25  # of a compiled stack that may be idle before it is compiled anew without it


class Pack(Protocol):
    """Trainers that take their steps together, however it is done; `alive`: those that still move, by position."""

    trainers: list[Trainer]
    alive: list[int]

    def advance(self, norms: bool = False, most: int = 1) -> list[dict[str, Tensor]]:
        """One step of every lane that still moves: its logs, which are empty for the others.

        Args:
            norms: log gradient norms and mean scores too.
            most: the steps that may be taken before anything is looked at (`Trainer.advance`).
        """

    def freeze(self, lane: int) -> None:
        """This lane no longer moves: its trainer stays as it is, in memory of its own, and may go on by itself."""

    def release(self) -> None:
        """Freeze every lane, so that the trainers can be packed otherwise."""


class Lanes:
    """K trainers as one vmapped program: a `Pack`.

    After each `advance` every trainer is what it would be had it advanced alone: `state` (views of the stack), `feed`,
    `steps_done`, `keys` and `pending` are its own. So it can be logged, saved, restored (to the step that the others
    are at), evaluated and drawn by itself.

    Args:
        trainers: of one structure (`alike`), all at the same step.
        spare: the share of the stack that frozen lanes may take before the rest is stacked without them, which copies
            all states, and records or compiles the program anew. By default a quarter where it is compiled, else none.

    Raises:
        BadInput: they cannot share lanes; it says why.

    >>> import torch
    >>> from distmatch.networks import Shapes, build
    >>> from distmatch.systems import gan
    >>> from distmatch.training import Adam, Feed, Settings
    >>> shapes = Shapes(x=(2,), latent=2, bounded=False)
    >>> def trainer(seed, lr):
    ...     nets = {"decoder": build("mlp", "decoder", shapes, likelihood="implicit", options={"width": 8}),
    ...             "data": build("mlp", "critic", shapes, options={"width": 8})}
    ...     feed = Feed(gan(), torch.randn(100, 2), latent=2, batch_size=10, seed=seed)
    ...     return Trainer(gan(), nets, feed, Settings(model=Adam(lr), critics=Adam(lr)))
    >>> lanes = Lanes([trainer(0, 1e-3), trainer(1, 1e-3), trainer(0, 1e-2)])
    >>> for _ in range(5):
    ...     logs = lanes.advance()
    >>> lanes.freeze(1)
    >>> logs = lanes.advance()
    >>> [t.steps_done for t in lanes.trainers], len(logs[0]), len(logs[1])
    ([6, 5, 6], 3, 0)
    """

    def __init__(self, trainers: Sequence[Trainer], spare: float | None = None) -> None:
        _check(trainers)
        self.trainers = list(trainers)
        self.alive = list(range(len(self.trainers)))
        self.spare = spare if spare is not None else SPARE if self.trainers[0].engine == "compiled" else 0.0
        self._stack()

    def advance(self, norms: bool = False, most: int = 1) -> list[dict[str, Tensor]]:
        """One step of every lane that still moves (`Pack.advance`).

        Raises:
            BadInput: a trainer has moved by itself, or was restored to another step than the others'.
        """
        losses: list[dict[str, Tensor]] = [{} for _ in self.trainers]
        if not self.alive:
            return losses
        if self._stale:
            self._tidy()
        moving = [self.trainers[lane] for lane in self.alive]
        lead, done = moving[0], _step_of(moving)
        count = self._stepper.fits(most, norms)
        places = [self._feed.places() for _ in range(count * lead.critic_steps)]
        numbers = [self._numbers.at(done + i) for i in range(count)]
        lead.tell_nets()
        for trainer in moving if lead.changing else ():
            trainer.reset_moments()
        with unvalidated(), numerics(lead.settings.precision):
            logs, rows = self._stepper.steps(places, numbers, norms)
        own, apart = [row.unbind(-1) for row in rows], {name: log.unbind(-1) for name, log in logs.items()}
        for lane in self.alive:
            trainer, slot = self.trainers[lane], self._slots[lane]
            trainer.steps_done += count
            trainer.keys = trainer.keys or losses_of(list(logs))
            trainer.pending.extend(row[slot] for row in own)
            losses[lane] = {name: of_each[slot] for name, of_each in apart.items()}
        return losses

    def freeze(self, lane: int) -> None:
        """This lane no longer moves (`Pack.freeze`)."""
        trainer = _of(self.trainers, lane)
        if lane in self.alive:
            part(trainer.state)
            self.alive.remove(lane)
            self._stale = True
        if not self.alive:
            self._state = State({}, {})  # nothing moves any more

    def release(self) -> None:
        """Freeze every lane (`Pack.release`)."""
        for lane in tuple(self.alive):
            self.freeze(lane)

    def _stack(self) -> None:
        """The stack and the program of those that move."""
        moving = [self.trainers[lane] for lane in self.alive]
        lead, _ = moving[0], _step_of(moving)
        self._slots = {lane: slot for slot, lane in enumerate(self.alive)}
        self._feed, self._numbers = LaneFeed([t.feed for t in moving]), LaneNumbers(moving)
        self._state = State({}, {})  # an old stack is given up as the new one is made
        self._state = join([t.state for t in moving])
        for trainer in moving:
            trainer.rehoused()
        compiled = lead.engine == "compiled"
        settings = self._numbers.settings(lead.settings)
        settings = replace(settings, functional=compiled or settings.functional)
        self._steps = {
            norms: pure_step(lead.objective, lead.nets, replace(settings, norms=norms), compiled)
            for norms in (settings.norms, True)
        }
        self._start()

    def _start(self) -> None:
        """Take steps from here on, recorded where the trainers' own are."""
        lead = self.trainers[self.alive[0]]
        shown = [self._feed.feeds[k] for k in dict.fromkeys(self._feed.shown)]
        self._stepper = Stepper(self._take, CudaGraphs(*shown) if lead.records else None)
        self._stale = False

    def _take(self, places: Sequence[Tensor], numbers: Mapping[str, Tensor], norms: bool) -> Logs:
        batches = [self._feed.batch(index) for index in places]
        take = self._steps[norms or False not in self._steps]
        self._state, logs = take(self._state, batches, self._numbers.of_lanes(numbers))
        return logs

    def _tidy(self) -> None:
        """Stack the moving lanes without the frozen ones, if these are many; else idle slots repeat a lane that moves.

        What was in them, perhaps not finite, goes; what they compute nobody looks at.
        """
        size = len(self._feed.shown)
        if size - len(self.alive) > self.spare * size:
            self._stack()
            return
        kept = self._slots[self.alive[0]]
        taken = {self._slots[lane] for lane in self.alive}
        for slot in set(range(size)) - taken:
            overwrite(self._state, slot, kept)
        shown = [slot if slot in taken else kept for slot in range(size)]
        self._feed.show(shown)
        self._numbers.show(shown)
        self._start()


class Loop:
    """Trainers one after the other: a `Pack` for those that gain nothing as lanes, or that are not alike."""

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        if not trainers:
            raise BadInput("there are no trainers to run; give at least one")
        self.trainers = list(trainers)
        self.alive = list(range(len(self.trainers)))

    def advance(self, norms: bool = False, most: int = 1) -> list[dict[str, Tensor]]:
        """One step of every lane that still moves (`Pack.advance`); all take as many as the first."""
        losses: list[dict[str, Tensor]] = [{} for _ in self.trainers]
        count = 0
        for lane in self.alive:
            trainer = self.trainers[lane]
            end = trainer.steps_done + count
            while not count or trainer.steps_done < end:
                before = trainer.steps_done
                losses[lane] = trainer.advance(norms, end - before if count else most)
                if not count:
                    count, end = trainer.steps_done - before, trainer.steps_done
        return losses

    def freeze(self, lane: int) -> None:
        """This lane no longer moves (`Pack.freeze`)."""
        _of(self.trainers, lane)
        self.alive = [other for other in self.alive if other != lane]

    def release(self) -> None:
        """Freeze every lane (`Pack.release`)."""
        self.alive = []


def _check(trainers: Sequence[Trainer]) -> None:
    if not trainers:
        raise BadInput("there are no trainers to make lanes of; give at least one")
    if len({id(t) for t in trainers}) < len(trainers):
        raise BadInput(
            "one trainer is given twice, and a lane is a run of its own; make another with the same seed"
        )
    if trainers[0].feed.ranks is not None:
        raise BadInput(
            "lanes are of one process, and this run is shared by several ranks; start it without torchrun"
        )
    for k, other in enumerate(trainers[1:], 1):
        if why := alike(trainers[0], other):
            raise BadInput(f"runs 0 and {k} cannot share lanes: {why}; pack them apart")


def _step_of(trainers: Sequence[Trainer]) -> int:
    steps = {t.steps_done for t in trainers}
    if len(steps) > 1:
        raise BadInput(
            f"lanes take their steps together, and these are at steps {', '.join(map(str, sorted(steps)))}; "
            "restore them to one step, or pack them apart"
        )
    return steps.pop()


def _of(trainers: Sequence[Trainer], lane: int) -> Trainer:
    if not 0 <= lane < len(trainers):
        raise BadInput(f"there is no lane {lane} among {len(trainers)}, which are counted from 0")
    return trainers[lane]
