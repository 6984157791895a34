"""The numbers that lanes have of their own: `(K,)` where they differ, and plain numbers where they do not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from distmatch.schedules import Ramp
from distmatch.training.optimisers import Number
from distmatch.training.step import Settings
from distmatch.training.trainer import Trainer

SIDES = ("model", "critics")


class LaneNumbers:
    """Learning rates, and numbers of the objective, of trainers that are alike.

    Args:
        trainers: one for each lane.
    """

    def __init__(self, trainers: Sequence[Trainer]) -> None:
        self.trainers = list(trainers)
        lead = self.trainers[0]
        held = [p for params in lead.state.params.values() for p in params.values()]
        self.dtype = held[0].dtype if held else torch.float32
        self.device = lead.feed.device
        paths = [*lead.objective.numbers(), *lead.objective.ramps]
        values = {path: [_value(t, path) for t in self.trainers] for path in paths}
        changing = {path: v for path, v in values.items() if any(isinstance(one, Ramp) for one in v)}
        self._shared = {path: v[0] for path, v in changing.items() if all(one == v[0] for one in v)}
        self.changing = [path for path in changing if path not in self._shared]
        self._fixed = {p: self._of(v) for p, v in values.items() if p not in changing and len(set(v)) > 1}
        rates = {side: [_rate(t, side) for t in self.trainers] for side in SIDES}
        self._rates = {side: self._of(r) for side, r in rates.items() if len(set(r)) > 1}

    def settings(self, settings: Settings) -> Settings:
        """The settings of one lane, with the learning rates of all."""
        rates = {side: replace(getattr(settings, side), lr=rate) for side, rate in self._rates.items()}
        return replace(settings, lanes=True, **rates)

    def show(self, lanes: Sequence[int]) -> None:
        """Give each lane the numbers of this trainer from now on; tensors stay in their place."""
        shown = [self.trainers[lane] for lane in lanes]
        for path, held in self._fixed.items():
            held.copy_(self._of([_value(t, path) for t in shown]))
        for side, held in self._rates.items():
            held.copy_(self._of([_rate(t, side) for t in shown]))

    def at(self, step: int) -> dict[str, float]:
        """Those that change with time, after this many steps; lane by lane where lanes do not share them."""
        numbers = {path: ramp.at(step) for path, ramp in self._shared.items() if isinstance(ramp, Ramp)}
        for path in self.changing:
            for k, trainer in enumerate(self.trainers):
                value = _value(trainer, path)
                numbers[f"{path}@{k}"] = value.at(step) if isinstance(value, Ramp) else value
        return numbers

    def of_lanes(self, now: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All that are not the same plain number in all lanes, `(K,)` each; `now`: what `at` said, as tensors."""
        lanes = range(len(self.trainers))
        shared = {path: now[path].to(self.dtype).expand(len(lanes)) for path in self._shared}
        own = {p: torch.stack([now[f"{p}@{k}"] for k in lanes]).to(self.dtype) for p in self.changing}
        return {**self._fixed, **shared, **own}

    def _of(self, values: Sequence[float | Ramp]) -> Tensor:
        return torch.tensor(values, dtype=self.dtype, device=self.device)


def _value(trainer: Trainer, path: str) -> float | Ramp:
    """A number of the objective; a ramp where it changes with time."""
    if path in trainer.objective.ramps:
        return trainer.objective.ramps[path]
    return float(trainer.objective.numbers()[path])


def _rate(trainer: Trainer, side: str) -> float:
    lr: Number = getattr(trainer.settings, side).lr
    return float(lr)
