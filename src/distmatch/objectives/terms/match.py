"""The term that matches two distributions by a critic."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from torch import Tensor

from distmatch.errors import BadInput
from distmatch.objectives.comparisons import NON_SATURATING, Comparison, GeneratorLoss, Sides, cross
from distmatch.objectives.noise import Noise
from distmatch.objectives.penalties import Penalty, number_text
from distmatch.objectives.term import MODEL_NETS, Critics, Term
from distmatch.objectives.variables import (
    Draws,
    Variable,
    X,
    with_parents,
)
from distmatch.schedules import Ramp, now

Joint = Variable | tuple[Variable, ...]
CRITIC_NAMES = {"x": "data", "z": "code", "xz": "joint"}


@dataclass(frozen=True)
class Match(Term):
    """D[model ‖ target] by a critic: its nets bring the model's distribution to the target's.

    Its penalty and instance noise are in the units of the critic's input: of [-1, 1] where a built-in critic sees
    pictures, and of what it is given where the critic is the user's own.

    Args:
        model: q, a draw or a joint of several.
        target: p, of the same spaces.
        by: the comparison.
        critic: its name; terms that name the same critic share it, and it minimises the sum of their losses.
            By default `"data"`, `"code"` or `"joint"`, after the space.
        penalty: what keeps the critic smooth.
        generator: what the model minimises instead of the comparison's own, as a function of the log-ratio that
            the critic estimates (`GENERATOR_LOSSES`).
        pack: the critic is given this many independent samples at once (PacGAN: Lin et al. 2018, arXiv:1712.04086).
        instance_noise: σ of the noise N(0, σ²I) that is added to all that the critic sees, on both sides
            (Sønderby et al. 2017, arXiv:1610.04490); a `Ramp` lets it fade.
        teach: whether the critic learns from this term; if not, the model only asks for its verdict.

    >>> from distmatch.objectives.variables import X_GEN, Z_CODE, Z_PRIOR
    >>> print(Match((X, Z_CODE), (X_GEN, Z_PRIOR)))
    D[q(x, ẑ) ‖ p(x̃, z)]
    """

    model: Joint
    target: Joint
    by: Comparison = NON_SATURATING
    critic: str = ""
    penalty: Penalty | None = None
    generator: GeneratorLoss | None = None
    pack: int = field(default=1, metadata={"quiet": True})
    instance_noise: float | Tensor | Ramp | None = None
    teach: bool = True

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
        if self.q == self.p:
            raise BadInput(
                f"{_names(self.q)} is matched with itself, which is always a match; name two distributions"
            )
        object.__setattr__(self, "critic", self.critic or CRITIC_NAMES.get(spaces, spaces))
        if self.pack < 1:
            raise BadInput(f"a critic is given {self.pack} samples at once; give pack at least 1")
        if self.penalty is not None and not self.teach:
            raise BadInput(
                f"{self.name} does not teach its critic, so it cannot penalise it: leave the penalty out"
            )
        if isinstance(self.instance_noise, int | float):
            if not 0 <= self.instance_noise < math.inf:
                raise BadInput(f"instance noise is {self.instance_noise:g}; give a finite number, 0 or above")
            object.__setattr__(self, "instance_noise", float(self.instance_noise))
        _ = self.comparison

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
    def comparison(self) -> Comparison:
        """The losses of critic and model."""
        return self.by if self.generator is None else cross(self.by, self.generator)

    @property
    def rule(self) -> Sides | None:
        """The critic's loss."""
        return self.by.critic if self.teach else None

    @property
    def variables(self) -> tuple[Variable, ...]:
        """All of both joints."""
        return (*self.q, *self.p)

    @property
    def critics(self) -> dict[str, tuple[str, ...]]:
        """Its one critic."""
        return {self.critic: tuple(v.space for v in self.q) * self.pack}

    @property
    def noise(self) -> Mapping[str, Noise]:
        """The noise of its penalty, and instance noise for each argument of the critic."""
        blurred = () if self.instance_noise is None else (*self.q, *self.p)
        noise = {f"{self._own_noise}/{i}": Noise("normal", _shape(v)) for i, v in enumerate(blurred)}
        if self.penalty is not None and self.penalty.needs_noise:
            distribution, own = self.penalty.noise, f"penalty/{self.name}"
            noise |= (
                {own: distribution}
                if distribution.shape == "each"
                else {f"{own}/{i}": Noise(distribution.distribution, _shape(v)) for i, v in enumerate(self.p)}
            )
        return noise

    @property
    def clauses(self) -> tuple[str, ...]:
        """The penalty, the instance noise, and the size of packs, where there are any."""
        noise = self.instance_noise
        return (
            *(() if self.penalty is None else (f"penalty {self.penalty.equation()}",)),
            *(() if noise is None else (f"noise of σ = {number_text(noise)}",)),
            *(() if self.pack == 1 else (f"packs of {self.pack}",)),
        )

    @property
    def _own_noise(self) -> str:
        """The name of its instance noise; one draw has fresh noise at each place where the critic sees it."""
        return f"instance/{self.critic}/{self.name}"

    @property
    def nets(self) -> tuple[str, ...]:
        """Names of the nets that can move the sides which the generator loss scores."""
        sides = self.comparison.generator
        moved = {p for v in (self.q if sides.model else ()) for p in v.nets}
        moved |= {p for v in (self.p if sides.target else ()) for p in v.nets}
        return tuple(p for p in MODEL_NETS if p in moved and (not self.only or p in self.only))

    def equation(self) -> str:
        """As it is printed."""
        return self.comparison.equation(_symbol(self.q), _symbol(self.p))

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """Return the generator loss on both sides, `(B,)`. A side that none of them moves is not scored, but by
        critics that have looked ahead: their weights depend on the model, and so does their every score."""
        moved = set(self.nets)
        sides = [
            integrand(self._score(draws, critics, variables))
            for integrand, variables in zip(self.comparison.generator, (self.p, self.q), strict=True)
            if integrand is not None
            and (critics.unrolled or any(moved.intersection(v.nets) for v in variables))
        ]
        return sum(sides[1:], sides[0])

    def critic_losses(self, draws: Draws, critics: Critics) -> dict[str, Tensor]:
        """Return the critic's losses, in parts `(B,)`: on the target, on the model, and its penalty."""
        losses: dict[str, Tensor] = {}
        if not self.teach:
            return losses
        for part, integrand, variables in zip(
            ("target", "model"), self.by.critic, (self.p, self.q), strict=True
        ):
            if integrand is not None:
                losses[part] = integrand(self._score(draws, critics, variables))
        if self.penalty is not None:
            paid = self.penalty(
                partial(self._at, critics),
                self._seen(draws, critics, self.p),
                self._seen(draws, critics, self.q),
                self._penalty_noise(draws),
            )
            if paid is not None:
                losses["penalty"] = paid
        return losses

    def _score(self, draws: Draws, critics: Critics, variables: tuple[Variable, ...]) -> Tensor:
        """The critic's scores `(B,)`, or `(B/pack,)` of packs."""
        if self.pack == 1 and self.instance_noise is None:
            return critics.score(self.critic, variables)
        return self._at(critics, *self._seen(draws, critics, variables))

    def _at(self, critics: Critics, *seen: Tensor) -> Tensor:
        """The critic's scores of what it sees, in its own units."""
        units = critics.units(self.critic)
        if units != 1:
            spaces = self.critics[self.critic]
            seen = tuple(u / units if s == "x" else u for u, s in zip(seen, spaces, strict=True))
        return critics.at(self.critic, *seen)

    def _seen(self, draws: Draws, critics: Critics, variables: tuple[Variable, ...]) -> list[Tensor]:
        """Return the critic's inputs, in its own units: draws, with instance noise, in packs."""
        units = critics.units(self.critic)
        seen = [units * draws[v] if units != 1 and v.space == "x" else draws[v] for v in variables]
        if self.instance_noise is not None:
            first = 0 if variables == self.q else len(self.q)
            noise = [draws.noise[f"{self._own_noise}/{first + i}"] for i in range(len(seen))]
            seen = [u + now(self.instance_noise) * e for u, e in zip(seen, noise, strict=True)]
        packs = [_packs(u, self.pack) for u in seen]
        return [u for members in zip(*packs, strict=True) for u in members]

    def _penalty_noise(self, draws: Draws) -> Tensor | list[Tensor] | None:
        assert self.penalty is not None
        own = f"penalty/{self.name}"
        if not self.penalty.needs_noise:
            return None
        if self.penalty.noise.shape == "each":
            return _packs(draws.noise[own], self.pack)[0]
        packs = [_packs(draws.noise[f"{own}/{i}"], self.pack) for i in range(len(self.p))]
        return [u for members in zip(*packs, strict=True) for u in members]


def _packs(u: Tensor, pack: int) -> list[Tensor]:
    """The rows in `pack` equal parts, the i-th rows of which make one pack; what is left over is left out."""
    size = len(u) // pack
    return [u[i * size : (i + 1) * size] for i in range(pack)] if pack > 1 else [u]


def _shape(variable: Variable) -> Literal["x", "z"]:
    return "x" if variable.space == "x" else "z"


def _joint(variables: Joint) -> tuple[Variable, ...]:
    return (variables,) if isinstance(variables, Variable) else tuple(variables)


def _names(variables: tuple[Variable, ...]) -> str:
    names = ", ".join(v.name for v in variables)
    return names if len(variables) == 1 else f"({names})"


def _symbol(variables: tuple[Variable, ...]) -> str:
    """p*(x), q(z), p(x̃); for a joint q(...) where a code takes part and p(...) otherwise; p*(x)p(z) for draws of two
    sources, which are independent."""
    sources = [with_parents([v])[0] for v in variables]
    return "".join(
        _joint_symbol([v for v, s in zip(variables, sources, strict=True) if s == source])
        for source in dict.fromkeys(sources)
    )


def _joint_symbol(variables: list[Variable]) -> str:
    if len(variables) == 1:
        return variables[0].distribution
    letter = "q" if any("encoder" in v.nets for v in variables) else "p"
    letter += "*" if set(variables) == {X} else ""
    return f"{letter}({', '.join(map(str, variables))})"
