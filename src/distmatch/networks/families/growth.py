"""Growth of a net: its level and the blend of its newest layers, as functions of the step."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor, nn

from distmatch.errors import BadInput
from distmatch.schedules import Share

Time = int | Share | None
"""Steps; a share of a run; or, if None, as long as every other phase of the run."""


class Stage(NamedTuple):
    """The state of a growing net: its level, and the share in [0, 1] that the level's layers have."""

    level: int
    share: float


@dataclass(frozen=True)
class Growth:
    """Level 0 for `stable` steps; then each level in turn fades in over `fade` steps and trains for `stable`.

    Arguments:
        top: the last level.
        stable: how long each level trains at share 1.
        fade: how long the share of a new level takes from 0 to 1.

    Both are in steps, or as `Time` says until `over` tells how long the run is.

    Reference: Karras et al., arXiv:1710.10196, section 2.

    >>> grows = Growth(top=2, stable=10, fade=4)
    >>> grows.stage(9), grows.stage(10), grows.stage(11), grows.stage(14)
    (Stage(level=0, share=1.0), Stage(level=1, share=0.0), Stage(level=1, share=0.25), Stage(level=1, share=1.0))
    """

    top: int
    stable: Time
    fade: Time

    def over(self, steps: int) -> Growth:
        """The same times in steps of a run of so many: the last level is trained alone before it ends.

        >>> Growth(top=2, stable=None, fade=Share(0.1)).over(1000)
        Growth(top=2, stable=200, fade=100)
        """

        def of(time: Time) -> int:
            if time is None:
                return max(1, steps // (2 * self.top + 1))
            return time if isinstance(time, int) else time.of(steps)

        return replace(self, stable=of(self.stable), fade=of(self.fade))

    @property
    def whole(self) -> int:
        """The step from which on the last level has share 1."""
        stable, fade = self._steps()
        return self.top * (stable + fade)

    def stage(self, step: int) -> Stage:
        """The stage after `step` steps."""
        stable, fade = self._steps()
        level = min(max(0, (step - stable) // (stable + fade) + 1), self.top)
        into = step - level * (stable + fade) + fade
        return Stage(level, 1.0 if level == 0 or into >= fade else into / fade)

    def starts(self, step: int) -> bool:
        """True where the step after `step` steps is the first of a new level.

        >>> [step for step in range(100) if Growth(top=2, stable=10, fade=4).starts(step)]
        [10, 24]
        """
        return step > 0 and self.stage(step).level != self.stage(step - 1).level

    def _steps(self) -> tuple[int, int]:
        """Both times. Raises `BadInput` where they are shares of a run whose length is not known."""
        if not isinstance(self.stable, int) or not isinstance(self.fade, int):
            raise BadInput(
                "a net grows over shares of a run, and nobody said how many steps the run has: "
                "give ProgressiveOptions.over(shapes, steps), or stable and fade in steps"
            )
        return self.stable, self.fade


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
        """True where the optimisers start anew before the step that follows `step` steps, as a level begins."""
        return self.growth.starts(step)
