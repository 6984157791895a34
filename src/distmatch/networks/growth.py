"""When a growing net grows: its level and the blend of its newest layers, as functions of the step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Stage(NamedTuple):
    """Where a growing net stands: its level, and the share in [0, 1] that the level's layers have."""

    level: int
    share: float


@dataclass(frozen=True)
class Growth:
    """Level 0 for `stable` steps; then each level in turn fades in over `fade` steps and trains for `stable`.

    Arguments:
        top: the last level.
        stable: steps per level at share 1.
        fade: steps in which the share of a new level goes from 0 to 1.

    Reference: Karras et al., arXiv:1710.10196, section 2.

    >>> grows = Growth(top=2, stable=10, fade=4)
    >>> grows.stage(9), grows.stage(10), grows.stage(11), grows.stage(14)
    (Stage(level=0, share=1.0), Stage(level=1, share=0.0), Stage(level=1, share=0.25), Stage(level=1, share=1.0))
    """

    top: int
    stable: int
    fade: int

    def stage(self, step: int) -> Stage:
        """The stage after `step` steps."""
        level = min(max(0, (step - self.stable) // (self.stable + self.fade) + 1), self.top)
        return Stage(level, self._share(step, level))

    def starts(self, step: int) -> bool:
        """Whether the step after `step` steps is the first of a new level.

        >>> [step for step in range(100) if Growth(top=2, stable=10, fade=4).starts(step)]
        [10, 24]
        """
        return step > 0 and self.stage(step).level != self.stage(step - 1).level

    def _share(self, step: int, level: int) -> float:
        into = step - level * (self.stable + self.fade) + self.fade
        return 1.0 if level == 0 or into >= self.fade else into / self.fade


class Growing(nn.Module):
    """A net that grows. It is born fully grown; `at` sets it back to where it is after a number of steps.

    Level and share are functions of that number alone, so nothing of them need be kept with the parameters. The
    share is a tensor that stays in its place, so a compiled net is compiled anew twice per level and not at each step.

    Arguments:
        growth: the times.
    """

    share: Tensor

    def __init__(self, growth: Growth) -> None:
        super().__init__()
        self.growth = growth
        self.level, self.fading = growth.top, False
        self.register_buffer("share", torch.ones(()), persistent=False)

    def at(self, step: int) -> None:
        """Set level and share as they are after `step` steps; called before each step, outside the forward."""
        self.level, share = self.growth.stage(step)
        self.fading = share < 1
        self.share.fill_(share)

    def resets_at(self, step: int) -> bool:
        """Whether the optimisers start anew before the step that follows `step` steps, as a level begins."""
        return self.growth.starts(step)
