"""The shape of every comparison of two distributions by a critic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

Elementwise = Callable[[Tensor], Tensor]


class Sides(NamedTuple):
    """A loss E_p[target(s)] + E_q[model(s)] of the critic's scores s, as its two integrands.

    Each maps scores `(*)` to losses `(*)`; None stands for a side that adds nothing, and is not scored.
    """

    target: Elementwise | None
    model: Elementwise | None


def identity(t: Tensor) -> Tensor:
    """t: the `log_ratio` of a critic whose score is log p/q itself."""
    return t


@dataclass(frozen=True)
class Negative:
    """u ↦ -function(u). Equal where the functions are."""

    function: Elementwise

    def __call__(self, u: Tensor) -> Tensor:
        return -self.function(u)


@dataclass(frozen=True)
class Composed:
    """u ↦ outer(inner(u)). Equal where both are."""

    outer: Elementwise
    inner: Elementwise

    def __call__(self, u: Tensor) -> Tensor:
        return self.outer(self.inner(u))


@dataclass(frozen=True)
class Comparison:
    """A critic's loss, by which it tells the target p from the model q, and the generator loss of the model.

    Args:
        name: its name in code and on the command line.
        symbol: its symbol in equations, as in `D[q ‖ p]`.
        critic: what the critic minimises, in nats where the comparison is a log score.
        generator: what encoder and decoder minimise.
        log_ratio: the map from the optimal critic's score to log p/q; None where the optimum holds no ratio.
        reference: where it comes from.
        target_first: whether it is a divergence of the target from the model and printed so, as in `KL[p ‖ q]`.
    """

    name: str
    symbol: str
    critic: Sides
    generator: Sides
    log_ratio: Elementwise | None
    reference: str
    target_first: bool = False

    def equation(self, model: str, target: str) -> str:
        """The comparison of two distributions, as it is printed.

        >>> from distmatch.objectives.comparisons import F_KL, WASSERSTEIN
        >>> WASSERSTEIN.equation("p(x̃)", "p*(x)")
        'W₁[p(x̃), p*(x)]'
        >>> F_KL.equation("p(x̃)", "p*(x)")
        'KL[p*(x) ‖ p(x̃)]'
        """
        separator = ", " if self.symbol.startswith("W") else " ‖ "
        first, second = (target, model) if self.target_first else (model, target)
        return f"{self.symbol}[{first}{separator}{second}]"
