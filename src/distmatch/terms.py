"""The terms that objectives are made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from torch import Tensor

from distmatch.comparisons import NON_SATURATING, Comparison, Sides
from distmatch.distributions import kl_divergence_to_standard_normal, log_likelihood
from distmatch.errors import BadInput
from distmatch.objective import PLAYERS, Critics, Term
from distmatch.penalties import Penalty
from distmatch.variables import X_REC, Z_CODE, Draws, Variable, X

__all__ = ["KL", "NLL", "Distance", "Match"]

Joint = Variable | tuple[Variable, ...]
CRITIC_NAMES = {"x": "data", "z": "code", "xz": "joint"}


@dataclass(frozen=True)
class NLL(Term):
    """E_q(z|x)[-log p(x|z)] in nats per example: the distortion.

    The decoder must be explicit (have a density); an implicit one raises `BadInput`.
    Quantised data are dequantised with noise inside the term.
    """

    name = "nll"
    variables = (X,)
    laws = (X_REC,)

    def equation(self) -> str:
        """As it is printed."""
        return "E[-log p(x|ẑ)]"

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """-log p(x|ẑ), `(B,)`."""
        return -log_likelihood(draws.laws["x_rec"], draws[X], draws.noise.get("dequantise"))


@dataclass(frozen=True)
class KL(Term):
    """E KL[q(z|x) ‖ p(z)] in nats per example, in closed form: the rate. p(z) = N(0, I).

    ½Σ(μ² + σ² - 1 - log σ²) for a diagonal Gaussian (Kingma and Welling 2013, arXiv:1312.6114).
    """

    name = "kl"
    variables = ()
    laws = (Z_CODE,)

    def equation(self) -> str:
        """As it is printed."""
        return "E KL[q(z|x) ‖ p(z)]"

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """KL[q(z|x) ‖ p(z)], `(B,)`."""
        return kl_divergence_to_standard_normal(draws.laws["z_code"])


@dataclass(frozen=True)
class Distance(Term):
    """E‖a - b‖₁, or E‖a - b‖₂² at order 2.

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
        each = difference.abs() if self.order == 1 else difference.square()
        return each.sum(1) if self.reduction == "sum" else each.mean(1)


@dataclass(frozen=True)
class Match(Term):
    """D[model ‖ target] by a critic: the players bring the model's law to the target's.

    Args:
        model: q, a draw or a joint of several.
        target: p, of the same spaces.
        by: the comparison.
        critic: its name; terms that name the same critic share it, and it minimises the sum of their losses.
            By default `"data"`, `"code"` or `"joint"`, after the space.
        penalty: what keeps the critic smooth.

    >>> from distmatch.variables import X_GEN, Z_PRIOR
    >>> print(Match((X, Z_CODE), (X_GEN, Z_PRIOR)))
    D[q(x, ẑ) ‖ p(x̃, z)]
    """

    model: Joint
    target: Joint
    by: Comparison = NON_SATURATING
    critic: str = ""
    penalty: Penalty | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "model", _joint(self.model))
        object.__setattr__(self, "target", _joint(self.target))
        spaces = "".join(v.space for v in self.q)
        if not spaces or spaces != "".join(v.space for v in self.p):
            raise BadInput(
                f"cannot match {_names(self.q)} with {_names(self.p)}: "
                "they must hold draws of the same spaces, in order"
            )
        object.__setattr__(self, "critic", self.critic or CRITIC_NAMES.get(spaces, spaces))

    @property
    def q(self) -> tuple[Variable, ...]:
        """The model as a joint."""
        return _joint(self.model)

    @property
    def p(self) -> tuple[Variable, ...]:
        """The target as a joint."""
        return _joint(self.target)

    @property
    def name(self) -> str:
        """E.g. `match(x_gen, x)`."""
        return f"match({_names(self.q)}, {_names(self.p)})"

    @property
    def rule(self) -> Sides:
        """What its critic minimises."""
        return self.by.critic

    @property
    def variables(self) -> tuple[Variable, ...]:
        """All of both joints."""
        return (*self.q, *self.p)

    @property
    def critics(self) -> dict[str, tuple[str, ...]]:
        """Its one critic."""
        return {self.critic: tuple(v.space for v in self.q)}

    @property
    def noise(self) -> tuple[str, ...]:
        """What its penalty needs."""
        return (f"penalty/{self.name}",) if self.penalty is not None and self.penalty.needs_noise else ()

    @property
    def players(self) -> tuple[str, ...]:
        """Who can move the sides that the players' loss scores; REVERSE_KL, for one, scores the model's alone."""
        sides = self.by.players
        moved = {p for v in (self.q if sides.model else ()) for p in v.players}
        moved |= {p for v in (self.p if sides.target else ()) for p in v.players}
        return tuple(p for p in PLAYERS if p in moved and (not self.only or p in self.only))

    def equation(self) -> str:
        """As it is printed."""
        return self.by.equation(_law(self.q), _law(self.p))

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """What the players minimise on both sides, `(B,)`. A side that they cannot move is not scored."""
        sides = []
        for integrand, variables in zip(self.by.players, (self.p, self.q), strict=True):
            if integrand is not None and any(v.players for v in variables):
                sides.append(integrand(critics.score(self.critic, variables)))
        return sum(sides[1:], sides[0])

    def critic_losses(self, draws: Draws, critics: Critics) -> dict[str, Tensor]:
        """What the critic minimises, in parts `(B,)`: on the target, on the model, and its penalty."""
        losses = {}
        for part, integrand, variables in zip(
            ("target", "model"), self.by.critic, (self.p, self.q), strict=True
        ):
            if integrand is not None:
                losses[part] = integrand(critics.score(self.critic, variables))
        if self.penalty is not None:
            paid = self.penalty(
                partial(critics.at, self.critic),
                [draws[v] for v in self.p],
                [draws[v] for v in self.q],
                draws.noise.get(f"penalty/{self.name}"),
            )
            if paid is not None:
                losses["penalty"] = paid
        return losses


def _joint(variables: Joint) -> tuple[Variable, ...]:
    return (variables,) if isinstance(variables, Variable) else tuple(variables)


def _names(variables: tuple[Variable, ...]) -> str:
    names = ", ".join(v.name for v in variables)
    return names if len(variables) == 1 else f"({names})"


def _law(variables: tuple[Variable, ...]) -> str:
    """p*(x), q(z), p(x̃), and for joints q(...) where a code takes part and p(...) otherwise."""
    if len(variables) == 1:
        return variables[0].law
    letter = "q" if any("encoder" in v.players for v in variables) else "p"
    return f"{letter}({', '.join(map(str, variables))})"
