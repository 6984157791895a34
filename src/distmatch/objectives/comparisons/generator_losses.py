"""The critic's loss and the generator loss chosen apart: any estimate of log p/q serves any loss of it.

A divergence D_f(p ‖ q) = E_q f(r) is lowered by E_p[f'(r)] + E_q[f(r) - r f'(r)]: with r = p/q held still, as it is
while the model steps, this has the value of D_f and, for the nets of both sides, its gradient. E_q[f(r)] has the
value alone. For KL(p ‖ q) its integrand r log r rises with r, and its gradient drives the model away from p.

`reverse_kl`, the one that is used most, is E_q[-log r] + E_p[1 - 1/r], and `kl` is E_p[log r] + E_q[1 - r]: the first
part alone has the value, so that it is right too where nobody moves the other side, which is then not scored.

Reference: Mohamed and Lakshminarayanan 2016, arXiv:1610.03483, section 3 ("ratio loss" and "generative loss").
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch.nn.functional import softplus

from distmatch.errors import BadInput, unknown
from distmatch.objectives.comparisons.class_probability import MINIMAX, NON_SATURATING, REVERSE_KL
from distmatch.objectives.comparisons.comparison import Comparison, Composed, Elementwise, Sides, identity

LOG_2 = math.log(2)


@dataclass(frozen=True)
class GeneratorLoss:
    """A generator loss: integrands of t = log p/q.

    Args:
        name: its name.
        symbol: its symbol in equations.
        sides: the integrands, of t.
        target_first: whether it is a divergence of p from q.
    """

    name: str
    symbol: str
    sides: Sides
    target_first: bool = False


GENERATOR_LOSSES: dict[str, GeneratorLoss] = {
    g.name: g
    for g in (
        GeneratorLoss("minimax", "JS", MINIMAX.generator),
        GeneratorLoss("non_saturating", "D", NON_SATURATING.generator),
        GeneratorLoss("reverse_kl", "KL", REVERSE_KL.generator),
        GeneratorLoss("kl", "KL", Sides(identity, lambda t: -torch.expm1(t)), target_first=True),
        GeneratorLoss(
            "pearson",
            "χ²",
            Sides(lambda t: 2 * torch.expm1(t), lambda t: -torch.expm1(2 * t)),
            target_first=True,
        ),
        GeneratorLoss("neyman", "χ²", Sides(lambda t: -torch.expm1(-2 * t), lambda t: 2 * torch.expm1(-t))),
        GeneratorLoss(
            "hellinger", "H²", Sides(lambda t: -torch.expm1(-t / 2), lambda t: -torch.expm1(t / 2))
        ),
        GeneratorLoss(
            "jensen_shannon", "2JS", Sides(lambda t: LOG_2 - softplus(-t), lambda t: LOG_2 - softplus(t))
        ),
        GeneratorLoss("jeffreys", "J", Sides(lambda t: 1 + t - (-t).exp(), lambda t: -torch.expm1(t) - t)),
    )
}


def cross(comparison: Comparison, generator: str | GeneratorLoss) -> Comparison:
    """Return the comparison with another generator loss: `generator` of the log-ratio that its critic holds.

    Args:
        comparison: whose critic is trained.
        generator: a name in `GENERATOR_LOSSES`, hyphens as good as underscores, or a loss of one's own.

    Raises `BadInput` where the comparison's critic holds no ratio, or where the name is not known. Equal arguments
    make equal comparisons.

    >>> from distmatch.objectives.comparisons import LSIF
    >>> by = cross(LSIF, "kl")
    >>> by.name, by.equation("p(x̃)", "p*(x)")
    ('lsif/kl', 'KL_lsif[p*(x) ‖ p(x̃)]')
    """
    if isinstance(generator, str):
        key = generator.replace("-", "_")
        if key not in GENERATOR_LOSSES:
            raise unknown("generator loss", generator, GENERATOR_LOSSES)
        generator = GENERATOR_LOSSES[key]
    if comparison.log_ratio is None:
        raise BadInput(
            f"the critic of {comparison.name} holds no density ratio for the generator loss {generator.name}; "
            "give a comparison that does, such as non_saturating or lsif"
        )
    return Comparison(
        name=f"{comparison.name}/{generator.name}",
        symbol=f"{generator.symbol}_{comparison.name}",
        critic=comparison.critic,
        generator=Sides(*(_after(comparison.log_ratio, side) for side in generator.sides)),
        log_ratio=comparison.log_ratio,
        reference=f"{comparison.reference}; crossed as in Mohamed and Lakshminarayanan 2016, arXiv:1610.03483",
        target_first=generator.target_first,
    )


def _after(log_ratio: Elementwise, side: Elementwise | None) -> Elementwise | None:
    return None if side is None else Composed(side, log_ratio)
