"""Systems in which encoder and decoder meet in the joint of data and codes."""

from __future__ import annotations

from typing import Literal

from distmatch.objectives.comparisons import (
    GENERATOR_LOSSES,
    NON_SATURATING,
    REVERSE_KL,
    Comparison,
)
from distmatch.objectives.objective import Objective
from distmatch.objectives.penalties import Penalty
from distmatch.objectives.terms.distance import Distance
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import X_GEN, X_REC, Z_CODE, Z_PRIOR, Z_REC, X
from distmatch.systems.defaults import (
    ADVERSARIAL,
)
from distmatch.systems.system import System


def ali(by: Comparison = NON_SATURATING, penalty: Penalty | None = None) -> Objective:
    """D[p(x̃, z) ‖ q(x, ẑ)]: encoder and decoder meet in the joint. With a deterministic encoder it is BiGAN.

    >>> print(ali())
    D[p(x̃, z) ‖ q(x, ẑ)]

    Dumoulin et al. 2016, arXiv:1606.00704; Donahue et al. 2016, arXiv:1605.09782.
    """
    return Objective(Match((X_GEN, Z_PRIOR), (X, Z_CODE), by=by, critic="joint", penalty=penalty))


def alice(
    cycle: Literal["distance", "adversarial"] = "distance",
    weight: float = 1.0,
    by: Comparison = NON_SATURATING,
    penalty: Penalty | None = None,
) -> Objective:
    """ALI, and bounds on the conditional entropies H(x|z) and H(z|x): what is encoded and decoded comes back.

    Args:
        cycle: the mean squares of x - x̂ and of z - z̃ over their coordinates; or a critic each, which tells (x, x̂)
            from (x, x), and (z, z̃) from (z, z).
        weight: of both cycles; the authors' code has 1 for the distance and 0.1 for the critics.
        by: the comparison of the joints.
        penalty: what keeps their critic smooth.

    >>> print(alice())
    D[p(x̃, z) ‖ q(x, ẑ)] + E‖x - x̂‖₂²/dim(x) + E‖z - z̃‖₂²/dim(z)
    >>> print(alice("adversarial", 0.1))
    D[p(x̃, z) ‖ q(x, ẑ)] + 0.1·D[q(x, x̂) ‖ p*(x, x)] + 0.1·D[q(z, z̃) ‖ p(z, z)]

    Li et al. 2017, arXiv:1709.01215. Their code gives encoder and decoder five steps for each of the critic's; here
    both have one.
    """
    if cycle == "distance":
        back = Distance(X, X_REC, 2, "mean") + Distance(Z_PRIOR, Z_REC, 2, "mean")
    else:
        back = Match((X, X_REC), (X, X), critic="pair") + Match(
            (Z_PRIOR, Z_REC), (Z_PRIOR, Z_PRIOR), critic="code_pair"
        )
    return ali(by, penalty) + weight * back


def veegan(
    weight: float = 1.0,
    encoder_sees_critic: bool = True,
    by: Comparison = REVERSE_KL,
    penalty: Penalty | None = None,
) -> Objective:
    """KL[p(x̃, z) ‖ q(x, ẑ)] + ‖z - F(G(z))‖²: the encoder F, which leads back to z, holds the decoder to all modes.

    The decoder minimises both, and the encoder the distance and E log q(x, ẑ)/p(x̃, z) over the data, which brings
    (x, F(x)) to (x̃, z). The published algorithm leaves this out and gives the encoder the distance alone
    (`encoder_sees_critic=False`); the authors' notebook adds the critic's score on the data to it.

    Args:
        weight: of the distance.
        encoder_sees_critic: whether the encoder minimises the critic's term on the data.
        by: the comparison of the joints. Where its critic holds no density ratio, the encoder that sees it minimises
            the comparison's own loss on the data.
        penalty: what keeps the critic smooth.

    >>> print(veegan())
    KL[p(x̃, z) ‖ q(x, ẑ)] + KL_reverse_kl[q(x, ẑ) ‖ p(x̃, z)] + E‖z - z̃‖₂²
    >>> print(veegan(encoder_sees_critic=False))
    KL[p(x̃, z) ‖ q(x, ẑ)] + E‖z - z̃‖₂²

    Srivastava et al. 2017, arXiv:1705.07761. Their notebook's score is of x and the code of a sample, F(G(z)), which
    says nothing of (x, F(x)); it is taken for a slip.
    """
    joint = Match((X_GEN, Z_PRIOR), (X, Z_CODE), by=by, critic="joint", penalty=penalty)
    back = weight * Distance(Z_PRIOR, Z_REC, order=2)
    if not encoder_sees_critic:
        return joint.to("decoder") + back
    if by.log_ratio is None:
        return joint + back
    seen = Match(
        (X_GEN, Z_PRIOR), (X, Z_CODE), by=by, critic="joint", generator=GENERATOR_LOSSES["kl"], teach=False
    )
    return joint.to("decoder") + seen.to("encoder") + back


SYSTEMS = (
    System(
        "ali",
        ali,
        "Adversarially learned inference: joints meet.",
        "arXiv:1606.00704",
        {**ADVERSARIAL, "training.lr": 1e-4, "training.batch_size": 100},
    ),
    System(
        "bigan",
        ali,
        "Bidirectional GAN: joints meet, the encoder deterministic.",
        "arXiv:1605.09782",
        {
            **ADVERSARIAL,
            "training.batch_size": 128,
            "network.posterior": "deterministic",
            "network.prior": "uniform",
            "network.latent": 50,
        },
    ),
    System(
        "alice",
        alice,
        "ALI with cycles: data and codes come back.",
        "arXiv:1709.01215",
        {**ADVERSARIAL, "training.lr": 1e-3, "training.batch_size": 128},
    ),
    System(
        "veegan",
        veegan,
        "The encoder leads samples back to their codes.",
        "arXiv:1705.07761",
        {"training.lr": 1e-3, "training.betas": (0.5, 0.999), "network.posterior": "deterministic"},
    ),
)
