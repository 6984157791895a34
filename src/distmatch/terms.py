"""The terms that objectives are made of."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from torch import Tensor

from distmatch.comparisons import NON_SATURATING, Comparison, GeneratorLoss, Sides, cross
from distmatch.distributions import DensityAt, kl_divergence_to_standard_normal, log_likelihood
from distmatch.errors import BadInput
from distmatch.noise import Noise
from distmatch.objective import PLAYERS, Critics, Term
from distmatch.penalties import Penalty, number_text
from distmatch.schedules import Ramp, now
from distmatch.variables import X_GEN, X_REC, Z_CODE, Z_MARGINAL, Draws, Variable, X, copied, with_parents

__all__ = ["IWAE", "KL", "NLL", "Distance", "Match", "TargetRate", "log_prior"]

Joint = Variable | tuple[Variable, ...]
CRITIC_NAMES = {"x": "data", "z": "code", "xz": "joint"}


@dataclass(frozen=True)
class NLL(Term):
    """E[-log p(x|ẑ)], ẑ ~ q(z|x), in nats per example: the distortion. Of `X_GEN`: E[-log p(x)].

    The decoder must be explicit (have a density); an implicit one raises `BadInput`. p(x) itself is known of flows
    and autoregressive nets alone.
    Quantised data are dequantised with noise inside the term.

    Args:
        model: `X_REC` for p(x|ẑ), `X_GEN` for p(x).
    """

    model: Variable = field(default=X_REC, metadata={"quiet": True})

    variables = (X,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model not in (X_REC, X_GEN):
            raise BadInput(
                f"a likelihood is of x_rec, p(x|code), or of x_gen, p(x); {self.model.name} has none"
            )

    @property
    def name(self) -> str:
        """`nll`, or `nll(x_gen)`."""
        return "nll" if self.model == X_REC else f"nll({self.model.name})"

    @property
    def laws(self) -> tuple[Variable, ...]:
        """The decoder's."""
        return (self.model,)

    def equation(self) -> str:
        """As it is printed."""
        return "E[-log p(x|ẑ)]" if self.model == X_REC else "E[-log p(x)]"

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """-log p(x|ẑ) or -log p(x), `(B,)`."""
        return -log_likelihood(draws.laws[self.model.name], draws[X], draws.noise.get("dequantise"))


@dataclass(frozen=True)
class KL(Term):
    """E KL[q(z|x) ‖ p(z)] in nats per example: the rate. p(z) = N(0, I), or a learned m(z).

    ½Σ(μ² + σ² - 1 - log σ²) in closed form for a diagonal Gaussian against N(0, I) (Kingma and Welling 2013,
    arXiv:1312.6114); log q(ẑ|x) - log p(ẑ) at one draw otherwise, which is the same in expectation.

    Args:
        prior: `"standard"` for N(0, I), `"learned"` for m(z), the net `prior`.
    """

    prior: Literal["standard", "learned"] = "standard"

    name = "kl"
    variables = (Z_CODE,)
    scores_codes = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.prior not in ("standard", "learned"):
            raise BadInput(f"the prior of kl is standard or learned, not {self.prior!r}")

    @property
    def laws(self) -> tuple[Variable, ...]:
        """q(z|x), and m(z)."""
        return (Z_CODE, Z_MARGINAL) if self.prior == "learned" else (Z_CODE,)

    def equation(self) -> str:
        """As it is printed."""
        return f"E KL[q(z|x) ‖ {'m' if self.prior == 'learned' else 'p'}(z)]"

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """KL[q(z|x) ‖ p(z)], or its estimate at one draw, `(B,)`."""
        q = draws.laws["z_code"]
        if self.prior == "standard" and not isinstance(q, DensityAt):
            return kl_divergence_to_standard_normal(q)
        return q.log_prob(draws[Z_CODE]) - log_prior(draws, self.prior)


def log_prior(draws: Draws, prior: Literal["standard", "learned"]) -> Tensor:
    """log p(ẑ) of N(0, I), or log m(ẑ), in nats, `(B,)`."""
    z = draws[Z_CODE]
    if prior == "learned":
        return draws.laws["z_marginal"].log_prob(z)
    return -0.5 * (z.square() + math.log(2 * math.pi)).sum(-1)


@dataclass(frozen=True)
class TargetRate(Term):
    """|R - R*|, R = E KL[q(z|x) ‖ p(z)] over the minibatch, in nats: holds the rate where it is wanted.

    A decoder that is strong enough to do without the code leaves R at 0 under the ELBO; this does not let it
    (Alemi et al. 2018, arXiv:1711.00464, who ask for a rate instead of weighting it).

    >>> print(TargetRate(8.0))
    |E KL[q(z|x) ‖ p(z)] - 8|
    """

    target: float | Tensor | Ramp
    prior: Literal["standard", "learned"] = "standard"

    name = "target_rate"
    variables = (Z_CODE,)
    scores_codes = True
    per_sample = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = self.rate
        if isinstance(self.target, Tensor | Ramp):
            return
        if not 0 <= self.target < math.inf:
            raise BadInput(f"a target rate is {self.target:g}; give a finite number of nats, 0 or above")
        object.__setattr__(self, "target", float(self.target))

    @property
    def rate(self) -> KL:
        """The rate that it looks at."""
        return KL(prior=self.prior)

    @property
    def laws(self) -> tuple[Variable, ...]:
        """Those of the rate."""
        return self.rate.laws

    def equation(self) -> str:
        """As it is printed."""
        return f"|{self.rate.equation()} - {number_text(self.target)}|"

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """|R - R*|, a scalar."""
        return (self.rate.loss(draws, critics).mean() - now(self.target)).abs()


@dataclass(frozen=True)
class IWAE(Term):
    """-E log 1/K Σ_k p(x|ẑ_k) p(ẑ_k) / q(ẑ_k|x), ẑ_k ~ q(z|x), in nats: a bound on -log p(x) that K makes tighter.

    At K = 1 it is the negative ELBO. Burda, Grosse and Salakhutdinov 2015, arXiv:1509.00519.

    Args:
        samples: K.
        prior: `"standard"` or `"learned"`, as for `KL`.

    >>> print(IWAE(5))
    -E log 1/5 Σₖ p(x|ẑₖ) p(ẑₖ) / q(ẑₖ|x)
    """

    samples: int = 5
    prior: Literal["standard", "learned"] = "standard"

    name = "iwae"
    scores_codes = True
    variables = (X, Z_CODE)

    def __post_init__(self) -> None:
        super().__post_init__()
        _ = KL(prior=self.prior)
        if self.samples < 2:
            raise BadInput(f"iwae has {self.samples} samples; give at least 2, or write nll + kl for one")

    @property
    def laws(self) -> tuple[Variable, ...]:
        """q(z|x), p(x|ẑ), and m(z)."""
        return (Z_CODE, X_REC, *((Z_MARGINAL,) if self.prior == "learned" else ()))

    def equation(self) -> str:
        """As it is printed."""
        marginal = "m" if self.prior == "learned" else "p"
        return f"-E log 1/{self.samples} Σₖ p(x|ẑₖ) {marginal}(ẑₖ) / q(ẑₖ|x)"

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """-log 1/K Σ_k w_k, `(B,)`."""
        x, u = copied(draws[X], self.samples), draws.noise.get("dequantise")
        log_p = log_likelihood(draws.laws["x_rec"], x, None if u is None else copied(u, self.samples))
        log_w = log_p + log_prior(draws, self.prior) - draws.laws["z_code"].log_prob(draws[Z_CODE])
        return math.log(self.samples) - log_w.unflatten(0, (self.samples, -1)).logsumexp(0)


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
class Match(Term):
    """D[model ‖ target] by a critic: the players bring the model's law to the target's.

    Its penalty and instance noise are in the units of the critic's input: of [-1, 1] where a built-in critic sees
    pictures, and of what it is given where the critic is the user's own.

    Args:
        model: q, a draw or a joint of several.
        target: p, of the same spaces.
        by: the comparison.
        critic: its name; terms that name the same critic share it, and it minimises the sum of their losses.
            By default `"data"`, `"code"` or `"joint"`, after the space.
        penalty: what keeps the critic smooth.
        generator: what the players minimise instead of the comparison's own, as a function of the log-ratio that
            the critic estimates (`GENERATOR_LOSSES`).
        pack: the critic is given this many independent samples at once (PacGAN: Lin et al. 2018, arXiv:1712.04086).
        instance_noise: σ of the noise N(0, σ²I) that is added to all that the critic sees, on both sides
            (Sønderby et al. 2017, arXiv:1610.04490); a `Ramp` lets it fade.
        teach: whether the critic learns from this term; if not, the players only ask for its verdict.

    >>> from distmatch.variables import X_GEN, Z_PRIOR
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
        """What critic and players minimise."""
        return self.by if self.generator is None else cross(self.by, self.generator)

    @property
    def rule(self) -> Sides | None:
        """What its critic minimises."""
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
        """What its penalty needs, and instance noise for each argument of the critic."""
        blurred = () if self.instance_noise is None else (*self.q, *self.p)
        found = {f"{self._own_noise}/{i}": Noise("normal", _shape(v)) for i, v in enumerate(blurred)}
        if self.penalty is not None and self.penalty.needs_noise:
            law, own = self.penalty.noise, f"penalty/{self.name}"
            found |= (
                {own: law}
                if law.shape == "each"
                else {f"{own}/{i}": Noise(law.law, _shape(v)) for i, v in enumerate(self.p)}
            )
        return found

    @property
    def _own_noise(self) -> str:
        """Where its instance noise lies; one draw has fresh noise at each place where the critic sees it."""
        return f"instance/{self.critic}/{self.name}"

    @property
    def players(self) -> tuple[str, ...]:
        """Who can move the sides that the players' loss scores."""
        sides = self.comparison.players
        moved = {p for v in (self.q if sides.model else ()) for p in v.players}
        moved |= {p for v in (self.p if sides.target else ()) for p in v.players}
        return tuple(p for p in PLAYERS if p in moved and (not self.only or p in self.only))

    def equation(self) -> str:
        """As it is printed."""
        return self.comparison.equation(_law(self.q), _law(self.p))

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """Return the players' loss on both sides, `(B,)`. A side that none of them moves is not scored, but by
        critics that have looked ahead: their weights depend on the players, and so does their every score."""
        moved = set(self.players)
        sides = [
            integrand(self._score(draws, critics, variables))
            for integrand, variables in zip(self.comparison.players, (self.p, self.q), strict=True)
            if integrand is not None
            and (critics.unrolled or any(moved.intersection(v.players) for v in variables))
        ]
        return sum(sides[1:], sides[0])

    def critic_losses(self, draws: Draws, critics: Critics) -> dict[str, Tensor]:
        """What the critic minimises, in parts `(B,)`: on the target, on the model, and its penalty."""
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


def _law(variables: tuple[Variable, ...]) -> str:
    """p*(x), q(z), p(x̃); for a joint q(...) where a code takes part and p(...) otherwise; p*(x)p(z) for draws of two
    sources, which are independent."""
    sources = [with_parents([v])[0] for v in variables]
    return "".join(
        _joint_law([v for v, s in zip(variables, sources, strict=True) if s == source])
        for source in dict.fromkeys(sources)
    )


def _joint_law(variables: list[Variable]) -> str:
    if len(variables) == 1:
        return variables[0].law
    letter = "q" if any("encoder" in v.players for v in variables) else "p"
    letter += "*" if set(variables) == {X} else ""
    return f"{letter}({', '.join(map(str, variables))})"
