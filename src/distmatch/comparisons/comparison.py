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


@dataclass(frozen=True)
class Comparison:
    """How a critic tells the target p from the model q, and what the players do about it.

    Args:
        name: its name in code and on the command line.
        symbol: its symbol in equations, as in `D[q ‖ p]`.
        critic: what the critic minimises, in nats where the comparison is a log score.
        players: what encoder and decoder minimise.
        log_ratio: the map from the optimal critic's score to log p/q; None where the optimum holds no ratio.
        reference: where it comes from.
    """

    name: str
    symbol: str
    critic: Sides
    players: Sides
    log_ratio: Elementwise | None
    reference: str

    def equation(self, model: str, target: str) -> str:
        """The comparison of two laws, as it is printed.

        >>> from distmatch.comparisons import WASSERSTEIN
        >>> WASSERSTEIN.equation("p(x̃)", "p*(x)")
        'W₁[p(x̃), p*(x)]'
        """
        separator = ", " if self.symbol.startswith("W") else " ‖ "
        return f"{self.symbol}[{model}{separator}{target}]"
