"""Systems that compare codes with the prior, and the hybrids of auto-encoders and GANs."""

from __future__ import annotations

from distmatch.objective import Objective
from distmatch.terms import NLL, Distance, Match
from distmatch.variables import X_GEN, X_REC, Z_CODE, Z_PRIOR, X


def aae() -> Objective:
    """E_q[-log p(x|z)] + D[q(z) ‖ p(z)].

    >>> print(aae())
    E[-log p(x|ẑ)] + D[q(z) ‖ p(z)]

    Makhzani et al. 2015, arXiv:1511.05644.
    """
    return NLL() + Match(Z_CODE, Z_PRIOR, critic="code")


def ali() -> Objective:
    """D[p(x̃, z) ‖ q(x, ẑ)]: encoder and decoder meet in the joint.

    >>> print(ali())
    D[p(x̃, z) ‖ q(x, ẑ)]

    Dumoulin et al. 2016, arXiv:1606.00704; Donahue et al. 2016, arXiv:1605.09782.
    """
    return Objective(Match((X_GEN, Z_PRIOR), (X, Z_CODE), critic="joint"))


def vgh(weight: float = 10.0, encoder_sees_critic: bool = False) -> Objective:
    """λ‖x - x̂‖₁/dim(x) + D[p(x̂) ‖ p*(x)] + D[q(z) ‖ p(z)].

    Rosca et al. 2018, arXiv:1802.06847, equations 12 to 14 and algorithm 5: reconstructions alone meet the visible
    critic, which moves the decoder. Section 5.1 of the paper gives it to the encoder too: `encoder_sees_critic`.
    The paper's λ is 1, 5, 10 or 50 beside adversarial losses of weight 1. They balance for the mean over
    coordinates; under their sum, λ = 10 leaves the critics no say on MNIST, so the mean is what is taken.

    >>> print(vgh())
    10·E‖x - x̂‖₁/dim(x) + D[p(x̂) ‖ p*(x)] + D[q(z) ‖ p(z)]
    """
    visible = Match(X_REC, X, critic="data")
    return (
        weight * Distance(X, X_REC, order=1, reduction="mean")
        + (visible if encoder_sees_critic else visible.to("decoder"))
        + Match(Z_CODE, Z_PRIOR, critic="code")
    )


def vgh_plus_plus(weight: float = 10.0, encoder_sees_critic: bool = False) -> Objective:
    """λ‖x - x̂‖₁/dim(x) + D[p(x̂) ‖ p*(x)] + D[q(z) ‖ p(z)] + D[p(x̃) ‖ p*(x)]: VGH with samples.

    One visible critic meets reconstructions and samples; data count once against each, as in α-GAN.

    Rosca et al. 2018, arXiv:1802.06847, equation 9 and appendix F.

    >>> print(vgh_plus_plus())
    10·E‖x - x̂‖₁/dim(x) + D[p(x̂) ‖ p*(x)] + D[q(z) ‖ p(z)] + D[p(x̃) ‖ p*(x)]
    """
    return vgh(weight, encoder_sees_critic) + Match(X_GEN, X, critic="data")
