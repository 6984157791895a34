"""Class probability estimation: the critic classifies target (1) against model (0).

With s(u) = log(1 + eᵘ) the critic minimises E_p[s(-t)] + E_q[s(t)], a Bernoulli log score in nats. Its optimum
is t* = log p/q, so that every function of t* estimates a functional of the density ratio. There the minimax generator
loss is 2·JSD(p, q) - 2 log 2 and the reverse-KL one KL(q ‖ p): with r = p/q held still, E_q[-log r] has the
gradient of KL(q ‖ p) in q, and E_p[1 - 1/r] has its gradient in p and the value 0. A target that nobody moves, such
as the data, is not scored.

Brier's score of D = σ(t) is as proper, with the same optimum t*; least squares is that score of a linear d instead,
with optimum d* = p/(p + q).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import softplus

from distmatch.objectives.comparisons.comparison import Comparison, Sides, identity


def _minus_log_d(t: Tensor) -> Tensor:
    """-log D with D = σ(t), the critic's probability that a sample is the target's."""
    return softplus(-t)


def _minus_log_not_d(t: Tensor) -> Tensor:
    """-log(1 - D)."""
    return softplus(t)


def _finite_logit(d: Tensor) -> Tensor:
    """log d/(1 - d), finite for every score: d is held inside (0, 1) by the dtype's rounding error."""
    eps = torch.finfo(d.dtype).eps
    d = d.clamp(eps, 1 - eps)
    return d.log() - torch.log1p(-d)


_BERNOULLI_SCORE = Sides(target=_minus_log_d, model=_minus_log_not_d)

NON_SATURATING = Comparison(
    name="non_saturating",
    symbol="D",
    critic=_BERNOULLI_SCORE,
    generator=Sides(target=_minus_log_not_d, model=_minus_log_d),
    log_ratio=identity,
    reference="Goodfellow et al. 2014, arXiv:1406.2661, section 3",
)

MINIMAX = Comparison(
    name="minimax",
    symbol="JS",
    critic=_BERNOULLI_SCORE,
    generator=Sides(target=lambda t: -softplus(-t), model=lambda t: -softplus(t)),
    log_ratio=identity,
    reference="Goodfellow et al. 2014, arXiv:1406.2661, equation 1",
)

REVERSE_KL = Comparison(
    name="reverse_kl",
    symbol="KL",
    critic=_BERNOULLI_SCORE,
    generator=Sides(target=lambda t: -torch.expm1(-t), model=lambda t: -t),
    log_ratio=identity,
    reference="Mescheder et al. 2017, arXiv:1701.04722; Mohamed and Lakshminarayanan 2016, arXiv:1610.03483",
)

BRIER = Comparison(
    name="brier",
    symbol="KL_brier",
    critic=Sides(target=lambda t: torch.sigmoid(-t).square(), model=lambda t: torch.sigmoid(t).square()),
    generator=REVERSE_KL.generator,
    log_ratio=identity,
    reference="Mohamed and Lakshminarayanan 2016, arXiv:1610.03483, section 3.1; generator loss: KL(q ‖ p)",
)

LEAST_SQUARES = Comparison(
    name="least_squares",
    symbol="LS",
    critic=Sides(target=lambda d: 0.5 * (d - 1.0) ** 2, model=lambda d: 0.5 * d**2),
    generator=Sides(target=lambda d: 0.5 * d**2, model=lambda d: 0.5 * (d - 1.0) ** 2),
    log_ratio=_finite_logit,
    reference="Mao et al. 2017, arXiv:1611.04076, targets (a, b, c) = (0, 1, 1), on both sides",
)
