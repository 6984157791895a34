"""Terms of densities: negative log-likelihood, rate, a target rate, and the importance-weighted bound."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor

from distmatch.distributions.dequantised import log_likelihood
from distmatch.distributions.functions import kl_divergence_to_standard_normal
from distmatch.distributions.points import DensityAt
from distmatch.errors import BadInput
from distmatch.objectives.penalties import number_text
from distmatch.objectives.term import Critics, Term
from distmatch.objectives.variables import (
    X_GEN,
    X_REC,
    Z_CODE,
    Z_MARGINAL,
    Draws,
    Variable,
    X,
    copied,
)
from distmatch.schedules import Ramp, now


@dataclass(frozen=True)
class NLL(Term):
    """E[-log p(x|ẑ)], ẑ ~ q(z|x), in nats per example: the distortion. Of `X_GEN`: E[-log p(x)].

    The decoder must be explicit (have a density); an implicit one raises `BadInput`. p(x) itself is known of flows
    and autoregressive nets alone.
    Quantised data are dequantised with noise inside the term.

    Args:
        model: `X_REC` for p(x|ẑ), `X_GEN` for p(x).

    >>> print(NLL())
    E[-log p(x|ẑ)]
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
    def distributions(self) -> tuple[Variable, ...]:
        """The decoder's."""
        return (self.model,)

    def equation(self) -> str:
        """As it is printed."""
        return "E[-log p(x|ẑ)]" if self.model == X_REC else "E[-log p(x)]"

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """-log p(x|ẑ) or -log p(x), `(B,)`."""
        return -log_likelihood(draws.distributions[self.model.name], draws[X], draws.noise.get("dequantise"))


@dataclass(frozen=True)
class KL(Term):
    """E KL[q(z|x) ‖ p(z)] in nats per example: the rate. p(z) = N(0, I), or a learned m(z).

    ½Σ(μ² + σ² - 1 - log σ²) in closed form for a diagonal Gaussian against N(0, I) (Kingma and Welling 2013,
    arXiv:1312.6114); log q(ẑ|x) - log p(ẑ) at one draw otherwise, which is the same in expectation.

    Args:
        prior: `"standard"` for N(0, I), `"learned"` for m(z), the net `prior`.

    >>> print(0.5 * KL())
    0.5·E KL[q(z|x) ‖ p(z)]
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
    def distributions(self) -> tuple[Variable, ...]:
        """q(z|x), and m(z)."""
        return (Z_CODE, Z_MARGINAL) if self.prior == "learned" else (Z_CODE,)

    def equation(self) -> str:
        """As it is printed."""
        return f"E KL[q(z|x) ‖ {'m' if self.prior == 'learned' else 'p'}(z)]"

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """KL[q(z|x) ‖ p(z)], or its estimate at one draw, `(B,)`."""
        q = draws.distributions["z_code"]
        if self.prior == "standard" and not isinstance(q, DensityAt):
            return kl_divergence_to_standard_normal(q)
        return q.log_prob(draws[Z_CODE]) - log_prior(draws, self.prior)


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
    def distributions(self) -> tuple[Variable, ...]:
        """q(z|x), p(x|ẑ), and m(z)."""
        return (Z_CODE, X_REC, *((Z_MARGINAL,) if self.prior == "learned" else ()))

    def equation(self) -> str:
        """As it is printed."""
        marginal = "m" if self.prior == "learned" else "p"
        return f"-E log 1/{self.samples} Σₖ p(x|ẑₖ) {marginal}(ẑₖ) / q(ẑₖ|x)"

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """-log 1/K Σ_k w_k, `(B,)`."""
        x, u = copied(draws[X], self.samples), draws.noise.get("dequantise")
        log_p = log_likelihood(
            draws.distributions["x_rec"], x, None if u is None else copied(u, self.samples)
        )
        log_w = log_p + log_prior(draws, self.prior) - draws.distributions["z_code"].log_prob(draws[Z_CODE])
        return math.log(self.samples) - log_w.unflatten(0, (self.samples, -1)).logsumexp(0)


def log_prior(draws: Draws, prior: Literal["standard", "learned"]) -> Tensor:
    """log p(ẑ) of N(0, I), or log m(ẑ), in nats, `(B,)`."""
    z = draws[Z_CODE]
    if prior == "learned":
        return draws.distributions["z_marginal"].log_prob(z)
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
    def distributions(self) -> tuple[Variable, ...]:
        """Those of the rate."""
        return self.rate.distributions

    def equation(self) -> str:
        """As it is printed."""
        return f"|{self.rate.equation()} - {number_text(self.target)}|"

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """|R - R*|, a scalar."""
        return (self.rate.loss(draws, critics).mean() - now(self.target)).abs()
