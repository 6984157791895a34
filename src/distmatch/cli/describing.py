"""Commands that describe, and the smallest game."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

from distmatch.runs.options import PLAIN, Count, Name, Real, one_of, option

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class List:
    """List systems, data sets, metrics or networks."""

    what: Positional[Literal["systems", "data", "metrics", "networks"]]
    """Which."""

    def run(self, console: Console) -> None:
        """List."""
        from distmatch.runs.catalogue import list_of

        console.print(list_of(self.what))


@dataclass(frozen=True)
class Show:
    """Show a system: equation, nets of each term, critics, nets, defaults, reference."""

    system: Annotated[Positional[str], arg(metavar="SYSTEM|TERMS")]
    """A named system, or an objective as text."""

    def run(self, console: Console) -> None:
        """Show."""
        from distmatch.runs.catalogue import description_of, printed

        if (shown := description_of(self.system)) is None:
            from distmatch.runs import listing

            shown = printed(listing.description_of(self.system))
        console.print(shown)


@dataclass(frozen=True)
class Dirac:
    """Show how methods move in the smallest game: one data point, one model point, a critic of one slope.

    Prints the distance from the equilibrium after all rounds and the eigenvalues there, and draws the phase portrait.
    """

    method: Annotated[Positional[str | None], arg(metavar="METHOD", help_behavior_hint="")] = None
    """gan, ns-gan, wgan, wgan-gp, instance-noise, r1, r1-critical, consensus or ns-r1; all without it."""
    by: Name = None
    """Instead of a method: a comparison, whose field is derived (wasserstein, f-kl, lsif/kl, ...)."""
    penalty: Name = None
    """A penalty that goes with --by, as in an objective: "gp(0.35, centre=1)", "r1(0.3)", "clip(1)"."""
    noise: Real = None
    """The standard deviation of instance noise that goes with --by (0)."""
    order: Annotated[str | None, one_of("simultaneous", "alternating"), PLAIN] = None
    """Of the updates; without it, simultaneous, alternating and alternating with five critic steps."""
    critic_steps: Count = None
    """The critic's steps in a round of alternating updates (1)."""
    first: Annotated[str | None, one_of("generator", "critic"), PLAIN] = None
    """Who moves first in a round of alternating updates (generator)."""
    steps: Annotated[int, option("N", int, "a whole number")] = 500
    """Rounds."""
    h: Annotated[float, option("X", float, "a number")] = 0.2
    """The size of a step."""
    out: Annotated[Path, option("PATH", Path, "a path")] = Path("dirac.svg")
    """The figure."""

    def run(self, console: Console) -> None:
        """Dirac."""
        from distmatch.runs.dirac import draw, methods_of, schedules_of
        from distmatch.runs.terminal import say

        methods = methods_of(self.method, self.by, self.penalty, self.noise)
        schedules = schedules_of(self.order, self.critic_steps, self.first)
        console.print(draw(methods, schedules, self.h, self.steps, self.out.expanduser()))
        say(console, f"figure: {self.out}")
