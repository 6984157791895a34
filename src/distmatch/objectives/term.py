"""A term of an objective: which draws it compares, and so which nets it moves."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from torch import Tensor

from distmatch.errors import BadInput
from distmatch.objectives.noise import Noise
from distmatch.objectives.variables import (
    Draws,
    Variable,
    units_of,
)
from distmatch.schedules import Ramp

if TYPE_CHECKING:
    from distmatch.objectives.objective import Objective

Weight = float | Tensor | Ramp
MODEL_NETS = ("encoder", "decoder", "prior", "lens")


class Critics:
    """The critics at work on one record of draws. Each tuple of draws is scored once per critic, and its features,
    where they are asked for, are computed once.

    Args:
        nets: critic's name -> a callable from inputs `(B, ...)` (and labels) to scores `(B,)`.
        draws: what they score.
        unrolled: whether their weights depend on the draws, as those of critics do that have looked ahead; a score
            of the data then has a gradient too.
    """

    def __init__(
        self, nets: Mapping[str, Callable[..., Tensor]], draws: Draws, unrolled: bool = False
    ) -> None:
        self.nets = nets
        self.draws = draws
        self.unrolled = unrolled
        self._scores: dict[tuple[str, tuple[Variable, ...]], Tensor] = {}
        self._features: dict[tuple[str, tuple[Variable, ...]], Tensor] = {}

    def score(self, name: str, variables: tuple[Variable, ...]) -> Tensor:
        """The scores `(B,)` of a critic on a tuple of draws."""
        key = (name, variables)
        if key not in self._scores:
            self._scores[key] = self.at(name, *(self.draws[v] for v in variables))
        return self._scores[key]

    def features(self, name: str, variables: tuple[Variable, ...]) -> Tensor:
        """Return a critic's features of a tuple of draws, the output of its last hidden layer, `(B, F)`."""
        key = (name, variables)
        if key not in self._features:
            labels: dict[str, Any] = {} if self.draws.y is None else {"y": self.draws.y}
            inputs = (self.draws[v] for v in variables)
            self._features[key] = self.nets[name](*inputs, hidden=True, **labels)
        return self._features[key]

    def seen(self) -> list[tuple[tuple[str, tuple[Variable, ...]], Tensor]]:
        """All scores so far: (critic, draws) -> scores `(B,)`."""
        return list(self._scores.items())

    def units(self, name: str) -> float:
        """Return the units of the critic's input in one unit of x: 2 for a built-in critic of pictures in [0, 1]."""
        return units_of(self.nets.get(name))

    def at(self, name: str, *inputs: Tensor) -> Tensor:
        """The scores `(B,)` of a critic at any other place."""
        labels = {} if self.draws.y is None else {"y": self.draws.y}
        return self.nets[name](*inputs, **labels)


@dataclass(frozen=True, kw_only=True)
class Term(ABC):
    """One comparison in the sum, to be minimised.

    Args:
        weight: the coefficient of the model's loss. What a critic minimises is not weighted.
        only: names of the nets that it may move; empty for all that its draws depend on.

    >>> from distmatch.objectives.terms.likelihood import NLL
    >>> NLL().nets
    ('encoder', 'decoder')
    """

    weight: Weight = 1.0
    only: tuple[str, ...] = ()

    scores_codes = False  # whether it evaluates q(z|x), so that a posterior without a density will not do
    assumes_normal_prior = False  # whether it takes z for a draw of N(0, I)
    wants_whole_batches = False  # whether its critic must see a batch as a whole
    per_sample = (
        True  # whether its losses are means over the examples of a batch, so that ranks can share one
    )

    def __post_init__(self) -> None:
        if isinstance(self.weight, Tensor | Ramp):
            return
        if not 0 <= self.weight < math.inf:
            raise BadInput(f"a term's weight is {self.weight:g}; give a finite number, 0 or above")
        object.__setattr__(self, "weight", float(self.weight))

    @property
    @abstractmethod
    def name(self) -> str:
        """Its name in the log and on the command line, e.g. `match(x_gen, x)`."""

    @property
    @abstractmethod
    def variables(self) -> tuple[Variable, ...]:
        """The draws whose values it compares."""

    @abstractmethod
    def equation(self) -> str:
        """The term in mathematical notation, without its weight."""

    @abstractmethod
    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """Return what the model minimises, without its weight: `(B,)`, or a scalar."""

    def critic_losses(self, draws: Draws, critics: Critics) -> dict[str, Tensor]:
        """Return the critic's losses, in parts that are logged apart: each `(B,)`, or a scalar."""
        return {}

    @property
    def critics(self) -> dict[str, tuple[str, ...]]:
        """The critics that it asks for: name -> the spaces of their arguments."""
        return {}

    @property
    def rule(self) -> Any:
        """The critic's loss; None for a term that only asks the critic. Terms that share a critic must agree."""
        return None

    @property
    def noise(self) -> Mapping[str, Noise]:
        """The noise that it takes from `draws.noise`, by name."""
        return {}

    @property
    def samples(self) -> int:
        """Number of codes that it needs for each datum."""
        return 1

    @property
    def clauses(self) -> tuple[str, ...]:
        """What its critic has beside the comparison, in words and equations: the equation does not show it."""
        return ()

    @property
    def pack(self) -> int:
        """Number of examples that its critic is given at once."""
        return 1

    @property
    def distributions(self) -> tuple[Variable, ...]:
        """Draws whose distribution it evaluates: its density, or a closed form. An implicit distribution has none."""
        return ()

    @property
    def nets(self) -> tuple[str, ...]:
        """Names of the nets that minimise it."""
        moved = {p for v in (*self.variables, *self.distributions) for p in v.nets}
        return tuple(p for p in MODEL_NETS if p in moved and (not self.only or p in self.only))

    @property
    def restricted(self) -> bool:
        """True where it leaves a net alone on which it depends."""
        return bool(self.only) and self.nets != replace(self, only=()).nets

    def to(self, *nets: str) -> Self:
        """The same term, minimised by these nets alone.

        >>> from distmatch.objectives.terms.distance import Distance
        >>> Distance().to("decoder").nets
        ('decoder',)
        """
        for p in nets:
            if p not in replace(self, only=()).nets:
                raise BadInput(f"{self.name} does not depend on {p!r}, so it cannot be minimised by it alone")
        return replace(self, only=nets)

    def __rmul__(self, weight: Any) -> Self:
        return replace(self, weight=weight * self.weight)

    def __add__(self, other: Term | Objective) -> Objective:
        from distmatch.objectives.objective import Objective  # a sum of terms: defined by this class

        return Objective(self) + other

    def __str__(self) -> str:
        return _weighted(self.weight) + self.equation()


def _weighted(weight: Weight) -> str:
    if isinstance(weight, Ramp):
        return "λ(step)·"
    if isinstance(weight, Tensor):
        return "λ·"
    return "" if weight == 1 else f"{weight:g}·"
