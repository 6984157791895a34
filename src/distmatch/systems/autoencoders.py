"""Auto-encoders whose codes' marginal, or whose codes' distribution, is compared with the prior."""

from __future__ import annotations

from typing import Literal

from distmatch.objectives.comparisons import (
    NON_SATURATING,
    REVERSE_KL,
    Comparison,
)
from distmatch.objectives.objective import Objective
from distmatch.objectives.penalties import Penalty
from distmatch.objectives.terms.critic import AdaptiveContrast
from distmatch.objectives.terms.distance import CosineDistance, Distance
from distmatch.objectives.terms.likelihood import NLL
from distmatch.objectives.terms.match import Match
from distmatch.objectives.terms.moments import MMD, CodeKL
from distmatch.objectives.variables import X_REC, Z_CODE, Z_PRIOR, Z_REC, X
from distmatch.systems.defaults import (
    AVB,
    ROSCA,
    WAE,
)
from distmatch.systems.system import System


def aae(by: Comparison = NON_SATURATING, penalty: Penalty | None = None) -> Objective:
    """E_q[-log p(x|z)] + D[q(z) ‖ p(z)].

    >>> print(aae())
    E[-log p(x|ẑ)] + D[q(z) ‖ p(z)]

    Makhzani et al. 2015, arXiv:1511.05644.
    """
    return NLL() + Match(Z_CODE, Z_PRIOR, by=by, critic="code", penalty=penalty)


def wae_gan(
    weight: float = 10.0,
    cost: float = 0.0125,
    by: Comparison = NON_SATURATING,
    penalty: Penalty | None = None,
) -> Objective:
    """c‖x - x̂‖² + λ D[q(z) ‖ p(z)].

    Args:
        weight: λ; 10 for MNIST in the authors' code, 100 for CelebA.
        cost: c, of the squared distance's sum over coordinates. The authors' 0.05 is for CelebA in [-1, 1], the units
            of distances here, and for MNIST in [0, 1], where it is 0.0125 of these.
        by: the comparison of the codes.
        penalty: what keeps the critic smooth.

    >>> print(wae_gan())
    0.0125·E‖x - x̂‖₂² + 10·D[q(z) ‖ p(z)]

    Tolstikhin et al. 2017, arXiv:1711.01558.
    """
    codes = Match(Z_CODE, Z_PRIOR, by=by, critic="code", penalty=penalty)
    return cost * Distance(X, X_REC, order=2) + weight * codes


def wae_mmd(weight: float = 10.0, cost: float = 0.0125, kernel: Literal["imq", "rbf"] = "imq") -> Objective:
    """c‖x - x̂‖² + λ MMD²(q(z), p(z)), the kernel a sum of inverse multiquadrics; λ and c as of `wae_gan`.

    >>> print(wae_mmd())
    0.0125·E‖x - x̂‖₂² + 10·MMD²[q(z), p(z)]

    Tolstikhin et al. 2017, arXiv:1711.01558.
    """
    return cost * Distance(X, X_REC, order=2) + weight * MMD(Z_CODE, Z_PRIOR, kernel=kernel)


def avb(by: Comparison = REVERSE_KL, penalty: Penalty | None = None) -> Objective:
    """E_q[-log p(x|z)] + E_q[log q(z|x) - log p(z)], the log-ratio by a critic of (x, ẑ) against (x, z), z ~ p(z).

    The posterior may be implicit: network.posterior=noise.

    >>> print(avb())
    E[-log p(x|ẑ)] + KL[q(x, ẑ) ‖ p*(x)p(z)]

    Mescheder, Nowozin and Geiger 2017, arXiv:1701.04722. Their T is minus the score here. Their adversary (an inner
    product of a net of x and one of z, with parts of each alone and ½‖z‖²) is not built; the critic is the family's.
    """
    return NLL() + Match((X, Z_CODE), (X, Z_PRIOR), by=by, critic="joint", penalty=penalty)


def avb_ac(by: Comparison = NON_SATURATING) -> Objective:
    """E_q[-log p(x|z)] + E KL[q(z|x) ‖ p(z)] by adaptive contrast.

    >>> print(avb_ac())
    E[-log p(x|ẑ)] + E KL_ac[q(z|x) ‖ p(z)]

    Mescheder, Nowozin and Geiger 2017, arXiv:1701.04722, section 3.3.
    """
    return NLL() + AdaptiveContrast(by)


def age(weight: float = 10.0, code_weight: float = 1000.0) -> Objective:
    """The encoder against the decoder: Δ is the divergence from N(0, I) of the normal fitted to a batch of codes.

    Encoder: Δ(E(x)) - Δ(E(G(z))) + 10‖x - x̂‖₁. Decoder: Δ(E(G(z))) + 1000 (1 - cos(z, E(G(z)))). All are means over
    coordinates, as in the authors' code. Prior and codes lie on the sphere. The authors give the decoder two or
    three steps for each of the encoder; here both have one.

    >>> print(age())
    KL[N(ẑ) ‖ p(z)]/dim(z) + (-KL[N(z̃) ‖ p(z)]/dim(z)) + 10·E‖x - x̂‖₁/dim(x) + KL[N(z̃) ‖ p(z)]/dim(z) +
    1000·E[1 - cos(z, z̃)]/dim(z)

    Ulyanov, Vedaldi and Lempitsky 2017, arXiv:1704.02304.
    """
    return (
        CodeKL(Z_CODE, reduction="mean")
        + CodeKL(Z_REC, maximise=True, reduction="mean").to("encoder")
        + weight * Distance(X, X_REC, reduction="mean").to("encoder")
        + CodeKL(Z_REC, reduction="mean").to("decoder")
        + code_weight * CosineDistance(Z_PRIOR, Z_REC, reduction="mean").to("decoder")
    )


SYSTEMS = (
    System(
        "aae",
        aae,
        "Adversarial auto-encoder: the codes' marginal meets the prior.",
        "arXiv:1511.05644",
        ROSCA,
    ),
    System(
        "wae-gan",
        wae_gan,
        "Wasserstein auto-encoder, the codes by a critic.",
        "arXiv:1711.01558",
        {**WAE, "training.critic_lr": 5e-4},
    ),
    System("wae-mmd", wae_mmd, "Wasserstein auto-encoder, the codes by a kernel.", "arXiv:1711.01558", WAE),
    System("avb", avb, "Adversarial variational Bayes: an implicit posterior.", "arXiv:1701.04722", AVB),
    System(
        "avb-ac", avb_ac, "Adversarial variational Bayes with adaptive contrast.", "arXiv:1701.04722", AVB
    ),
    System(
        "age",
        age,
        "Adversarial generator-encoder: no critic, the codes' moments.",
        "arXiv:1704.02304",
        {
            "network.prior": "sphere",
            "network.posterior": "sphere",
            "training.lr": 2e-4,
            "training.betas": (0.5, 0.999),
        },
    ),
)
