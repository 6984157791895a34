"""Ratio matching: the critic's score is t = log r, and it brings r to p/q by a Bregman divergence.

For a convex f the critic minimises E_q[r f'(r) - f(r)] - E_p[f'(r)] with r = eᵗ, which is the f-divergence's bound
negated: the least it reaches is -D_f(p ‖ q), at t = log p/q. The score being log r keeps r positive.

The ratio serves any generator loss (see `cross`); by default it is KL(q ‖ p), as of `REVERSE_KL`.

Reference: Sugiyama, Suzuki and Kanamori 2012, "Density-ratio matching under the Bregman divergence", Annals of the
Institute of Statistical Mathematics 64; Mohamed and Lakshminarayanan 2016, arXiv:1610.03483, section 3.3.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from distmatch.objectives.comparisons.class_probability import REVERSE_KL
from distmatch.objectives.comparisons.comparison import (
    Comparison,
    Composed,
    Elementwise,
    Negative,
    Sides,
    identity,
)

_REFERENCE = "Sugiyama et al. 2012; Mohamed and Lakshminarayanan 2016, arXiv:1610.03483, section 3.3"


def _exp(t: Tensor) -> Tensor:
    return t.exp()


@dataclass(frozen=True)
class _Conjugate:
    """u ↦ u f'(u) - f(u)."""

    f: Elementwise
    derivative: Elementwise

    def __call__(self, u: Tensor) -> Tensor:
        return u * self.derivative(u) - self.f(u)


def bregman(
    name: str,
    f: Elementwise,
    derivative: Elementwise,
    generator: Sides = REVERSE_KL.generator,
    symbol: str = "",
    reference: str = _REFERENCE,
) -> Comparison:
    """The comparison that fits r = eᵗ to p/q by the Bregman divergence of any convex f.

    Args:
        name: its name.
        f: f(u) for u > 0, elementwise.
        derivative: f'(u).
        generator: what the model minimises, of t = log r; KL(q ‖ p) by default.
        symbol: its symbol in equations; `KL_` and the name by default, which is true of the default generator loss.
        reference: where it comes from.

    Equal arguments make equal comparisons. The critic's losses are computed from eᵗ as they stand: in float32 they
    overflow at |t| above 40 or so; LSIF and KLIEP below are written out.

    >>> itakura_saito = bregman("itakura_saito", lambda u: -u.log(), lambda u: -1 / u)
    >>> itakura_saito.equation("p(x̃)", "p*(x)")
    'KL_itakura_saito[p(x̃) ‖ p*(x)]'
    """
    return Comparison(
        name=name,
        symbol=symbol or f"KL_{name}",
        critic=Sides(
            target=Negative(Composed(derivative, _exp)), model=Composed(_Conjugate(f, derivative), _exp)
        ),
        generator=generator,
        log_ratio=identity,
        reference=reference,
    )


# f = ½(u - 1)², without its constant: ½E_q[r²] - E_p[r]
LSIF = Comparison(
    name="lsif",
    symbol="KL_lsif",
    critic=Sides(target=lambda t: -t.exp(), model=lambda t: 0.5 * (2 * t).exp()),
    generator=REVERSE_KL.generator,
    log_ratio=identity,
    reference="Kanamori et al. 2009, JMLR 10; arXiv:1610.03483, section 3.3; generator loss: KL(q ‖ p)",
)

# f = u log u - u: E_q[r] - E_p[log r]
KLIEP = Comparison(
    name="kliep",
    symbol="KL_kliep",
    critic=Sides(target=lambda t: -t, model=_exp),
    generator=REVERSE_KL.generator,
    log_ratio=identity,
    reference="Sugiyama et al. 2008, NIPS 20; arXiv:1610.03483, section 3.3; generator loss: KL(q ‖ p)",
)
