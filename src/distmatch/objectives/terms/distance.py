"""Terms of distances between two draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn.functional import cosine_similarity

from distmatch.errors import BadInput
from distmatch.objectives.term import Critics, Term
from distmatch.objectives.variables import (
    X_REC,
    Z_PRIOR,
    Z_REC,
    Draws,
    Variable,
    X,
)


@dataclass(frozen=True)
class Distance(Term):
    """E‖a - b‖₁, or E‖a - b‖₂² at order 2; of pictures in the units of [-1, 1] (`Draws.units`).

    Args:
        first: a.
        second: b, of the same space.
        order: 1 or 2.
        reduction: over the coordinates of one example: their `"sum"`, or their `"mean"`, the norm over dim.

    >>> print(10.0 * Distance(X, X_REC, order=1))
    10·E‖x - x̂‖₁
    """

    first: Variable = X
    second: Variable = X_REC
    order: Literal[1, 2] = 1
    reduction: Literal["sum", "mean"] = "sum"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first.space != self.second.space:
            raise BadInput(
                f"no distance between {self.first.name} and {self.second.name}: they live in different spaces"
            )
        if self.order not in (1, 2):
            raise BadInput(f"a distance has order 1 or 2, not {self.order}")
        if self.reduction not in ("sum", "mean"):
            raise BadInput(f"a distance's reduction is sum or mean, not {self.reduction!r}")

    @property
    def name(self) -> str:
        """E.g. `distance(x, x_rec)`."""
        return f"distance({self.first.name}, {self.second.name})"

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Both."""
        return (self.first, self.second)

    def equation(self) -> str:
        """As it is printed."""
        norm = f"E‖{self.first} - {self.second}‖" + ("₁" if self.order == 1 else "₂²")
        return norm if self.reduction == "sum" else f"{norm}/dim({self.first.space})"

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """The distance of each pair, `(B,)`."""
        difference = (draws[self.first] - draws[self.second]).flatten(1)
        if (units := draws.units(self.first, self.second)) != 1:
            difference = units * difference
        each = difference.abs() if self.order == 1 else difference.square()
        return each.sum(1) if self.reduction == "sum" else each.mean(1)


@dataclass(frozen=True)
class CosineDistance(Term):
    """E[1 - cos(a, b)], cos(a, b) = a·b / (‖a‖‖b‖): between 0 and 2; of pictures as vectors of the data's own values.

    Args:
        first: a.
        second: b, of the same space.
        reduction: `"sum"`, or `"mean"` for the distance over dim, as a mean over coordinates gives it.

    >>> print(CosineDistance())
    E[1 - cos(z, z̃)]
    """

    first: Variable = Z_PRIOR
    second: Variable = Z_REC
    reduction: Literal["sum", "mean"] = "sum"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first.space != self.second.space:
            raise BadInput(
                f"no angle between {self.first.name} and {self.second.name}: they live in different spaces"
            )
        if self.reduction not in ("sum", "mean"):
            raise BadInput(f"the reduction of cosine_distance is sum or mean, not {self.reduction!r}")

    @property
    def name(self) -> str:
        """E.g. `cosine_distance(z_prior, z_rec)`."""
        return f"cosine_distance({self.first.name}, {self.second.name})"

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Both."""
        return (self.first, self.second)

    def equation(self) -> str:
        """As it is printed."""
        text = f"E[1 - cos({self.first}, {self.second})]"
        return text if self.reduction == "sum" else f"{text}/dim({self.first.space})"

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """1 - cos of each pair, `(B,)`."""
        first, second = draws[self.first].flatten(1), draws[self.second].flatten(1)
        distance = 1 - cosine_similarity(first, second, dim=1)
        return distance if self.reduction == "sum" else distance / first.shape[1]
