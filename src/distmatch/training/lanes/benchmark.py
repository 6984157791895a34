"""Benchmark of lanes: the time of a step of a pack, and the memory that a run needs."""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from distmatch.training.engine.cuda_graphs import WARM_UP
from distmatch.training.lanes.lanes import Lanes, Loop, Pack
from distmatch.training.lanes.stacking import size
from distmatch.training.trainer import Trainer

ENOUGH = 2.0  # seconds for one measurement


@dataclass(frozen=True)
class Pace:
    """Seconds for one step of all of some trainers, as lanes and one after the other."""

    lanes: float
    loop: float

    @property
    def ratio(self) -> float:
        """Ratio of the time of runs alone to that of lanes."""
        return self.loop / self.lanes

    @property
    def pack(self) -> type[Lanes] | type[Loop]:
        """The faster of both.

        >>> Pace(lanes=1.0, loop=3.0).pack.__name__
        'Lanes'
        """
        return Lanes if self.lanes < self.loop else Loop


def faster(trainers: Sequence[Trainer], steps: int = 5) -> Pace:
    """Measure lanes against a loop over the same trainers; then all is as it was before, to the last bit of noise.

    Each takes a few steps first that are not counted, more where steps are recorded. Times are medians over steps, so a
    pause of the machine does not decide. Lanes that do not fit into the device's memory take for ever.

    Args:
        trainers: that are in no pack, or were released.
        steps: how many are measured of each.

    Raises:
        BadInput: the trainers cannot share lanes.
    """
    kept = [_copied(t) for t in trainers]
    try:
        lanes = Lanes(trainers)
        try:
            together = seconds(lanes, steps)
        except torch.OutOfMemoryError:
            together = float("inf")
        lanes.release()
        return Pace(together, seconds(Loop(trainers), steps))
    finally:
        for trainer, (tensors, info) in zip(trainers, kept, strict=True):
            trainer.restore(tensors, info)


def seconds(pack: Pack, steps: int = 5) -> float:
    """The median time of a step of a pack, after those in which it warms up.

    Where nothing is recorded, and steps are so long that a few of them say it, it is told from at least two.
    """
    device = pack.trainers[0].feed.device
    taken: list[float] = []
    while len(taken) < WARM_UP + 1 + steps:
        start = time.perf_counter()
        pack.advance()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        taken.append(time.perf_counter() - start)
        if device.type == "cpu" and len(taken) > 2 and sum(taken) > ENOUGH:
            break
    return statistics.median(taken[1:][-steps:])


@dataclass(frozen=True)
class Memory:
    """Bytes that a run takes.

    Args:
        state: what it holds all the time: its nets' own weights, and the state, of which lanes make one stack.
        step: what a step holds at most beside that: batch, activations, gradients.
    """

    state: int
    step: int

    def lanes(self, room: int) -> int:
        """Number of lanes that fit into so many bytes; at least one.

        >>> Memory(state=100, step=300).lanes(room=1000)
        2
        """
        return max(1, room // max(1, self.state + self.step))


def memory(trainer: Trainer) -> Memory:
    """Measure a run's memory by one step of it, which is then undone.

    Lanes take as much each. Every tensor that the step makes is followed until it is freed, on a CPU as on CUDA; what
    libraries take inside an operation (work space of convolutions, the recording of a CUDA graph) is not seen, nor are
    the data. So leave room.

    Args:
        trainer: that is in no pack, or was released.
    """
    tensors, info = _copied(trainer)
    trainer.rehoused()  # a recording of the step would hide what it makes
    own = [t for net in trainer.nets.values() for t in (*net.parameters(), *net.buffers())]
    try:
        with _Peak() as peak:
            trainer.advance()
    finally:
        trainer.restore(tensors, info)
    return Memory(size(trainer.state) + sum(t.numel() * t.element_size() for t in own), peak.most)


class _Peak(TorchDispatchMode):
    """The most bytes that tensors made inside the block held at once."""

    def __init__(self) -> None:
        super().__init__()
        self.most = self.now = 0
        self._held: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)}
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, Tensor) and tensor.untyped_storage()._cdata not in given:
                self._follow(tensor.untyped_storage())
        return made

    def _follow(self, storage: torch.UntypedStorage) -> None:
        """Count a storage that is new, until nothing holds it any more."""
        key, held = storage._cdata, storage.nbytes()
        if key not in self._held:
            self._held.add(key)
            self.now += held
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self._freed, key, held)

    def _freed(self, key: int, held: int) -> None:
        self._held.discard(key)
        self.now -= held


def _copied(trainer: Trainer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A snapshot with memory of its own."""
    tensors, info = trainer.snapshot()
    return {k: t.clone() for k, t in tensors.items()}, info
