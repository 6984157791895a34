"""Hybrids of auto-encoders and GANs: reconstructions and samples meet a critic of data."""

from __future__ import annotations

from distmatch.objectives.comparisons import (
    NON_SATURATING,
    REVERSE_KL,
    Comparison,
)
from distmatch.objectives.objective import Objective
from distmatch.objectives.penalties import Penalty
from distmatch.objectives.terms.critic import FeatureDistance
from distmatch.objectives.terms.distance import Distance
from distmatch.objectives.terms.likelihood import KL
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import X_GEN, X_REC, Z_CODE, Z_PRIOR, X
from distmatch.systems.defaults import (
    ROSCA,
)
from distmatch.systems.system import System


def vgh(
    weight: float = 10.0,
    encoder_sees_critic: bool = False,
    by: Comparison = NON_SATURATING,
    penalty: Penalty | None = None,
) -> Objective:
    """λ‖x - x̂‖₁/dim(x) + D[p(x̂) ‖ p*(x)] + D[q(z) ‖ p(z)].

    Rosca et al. 2018, arXiv:1802.06847, equations 12 to 14 and algorithm 5: reconstructions alone meet the visible
    critic, which moves the decoder. Section 5.1 of the paper gives it to the encoder too: `encoder_sees_critic`.
    The paper's λ is 1, 5, 10 or 50 beside adversarial losses of weight 1. They balance for the mean over
    coordinates; under their sum, λ = 10 leaves the critics no say on MNIST, so the mean is what is taken.

    Args:
        weight: λ.
        encoder_sees_critic: whether the encoder minimises the visible critic's term too.
        by: both comparisons.
        penalty: what keeps the visible critic smooth.

    >>> print(vgh())
    10·E‖x - x̂‖₁/dim(x) + D[p(x̂) ‖ p*(x)] + D[q(z) ‖ p(z)]
    """
    visible = Match(X_REC, X, by=by, critic="data", penalty=penalty)
    return (
        weight * Distance(X, X_REC, order=1, reduction="mean")
        + (visible if encoder_sees_critic else visible.to("decoder"))
        + Match(Z_CODE, Z_PRIOR, by=by, critic="code")
    )


def vgh_plus_plus(
    weight: float = 10.0,
    encoder_sees_critic: bool = False,
    by: Comparison = NON_SATURATING,
    penalty: Penalty | None = None,
) -> Objective:
    """λ‖x - x̂‖₁/dim(x) + D[p(x̂) ‖ p*(x)] + D[q(z) ‖ p(z)] + D[p(x̃) ‖ p*(x)]: VGH with samples.

    One visible critic meets reconstructions and samples; data count once against each, as in α-GAN.

    Rosca et al. 2018, arXiv:1802.06847, equation 9 and appendix F.

    >>> print(vgh_plus_plus())
    10·E‖x - x̂‖₁/dim(x) + D[p(x̂) ‖ p*(x)] + D[q(z) ‖ p(z)] + D[p(x̃) ‖ p*(x)]
    """
    samples = Match(X_GEN, X, by=by, critic="data", penalty=penalty)
    return vgh(weight, encoder_sees_critic, by, penalty) + samples


def alpha_gan(
    weight: float = 10.0,
    encoder_sees_critic: bool = False,
    by: Comparison = REVERSE_KL,
    penalty: Penalty | None = None,
) -> Objective:
    """λ‖x - x̂‖₁/dim(x) + KL[p(x̂) ‖ p*(x)] + KL[q(z) ‖ p(z)] + KL[p(x̃) ‖ p*(x)].

    Encoder and decoder minimise R(u) = -log u + log(1 - u) of the critics' verdicts u, which is minus their logit.
    The encoder is moved by the distance and by the code critic; the decoder by the distance and by the visible critic,
    on reconstructions and on samples; data count once against each. For the code critic the prior is what is real
    and the codes are not: the first version of the paper had it the other way round.

    Rosca et al. 2017, arXiv:1706.04987. In the one objective that the paper starts from, the visible critic's verdict
    on reconstructions moves the encoder too: `encoder_sees_critic`.

    >>> print(alpha_gan())
    10·E‖x - x̂‖₁/dim(x) + KL[p(x̂) ‖ p*(x)] + KL[q(z) ‖ p(z)] + KL[p(x̃) ‖ p*(x)]
    """
    return vgh_plus_plus(weight, encoder_sees_critic, by, penalty)


def vae_gan(
    weight: float = 0.01,
    precision: float = 1.0,
    by: Comparison = NON_SATURATING,
    penalty: Penalty | None = None,
) -> Objective:
    """A VAE whose reconstructions are compared by the features h of a GAN's critic.

    Encoder: KL[q(z|x) ‖ p(z)] + ½‖h(x) - h(x̂)‖². Decoder: γ ½‖h(x) - h(x̂)‖², and what the GAN asks of it. The critic
    tells data from samples of the prior alone, as in the authors' code, and does not learn from the features'
    distance.

    Args:
        weight: γ. The authors' code has 1e-6 on the features of a convolutional layer; it belongs to their net.
        precision: of the normal distribution of features, a factor of both distances. At 1, as in the paper, a
            critic with few or small features leaves the KL too dear, and the codes say nothing.
        by: the GAN's comparison; minimax in the paper's equations.
        penalty: what keeps the critic smooth.

    >>> print(vae_gan())
    E KL[q(z|x) ‖ p(z)] + E ½‖h(x) - h(x̂)‖² + 0.01·E ½‖h(x) - h(x̂)‖² + D[p(x̃) ‖ p*(x)]

    Larsen et al. 2015, arXiv:1512.09300.
    """
    features = precision * FeatureDistance(X, X_REC, critic="data")
    return (
        KL()
        + features.to("encoder")
        + weight * features.to("decoder")
        + Match(X_GEN, X, by=by, critic="data", penalty=penalty)
    )


SYSTEMS = (
    System("alpha-gan", alpha_gan, "Auto-encoding GAN.", "arXiv:1706.04987", ROSCA),
    System("vgh", vgh, "Variational GAN hybrid.", "arXiv:1802.06847", ROSCA),
    System(
        "vgh++", vgh_plus_plus, "Variational GAN hybrid with samples.", "arXiv:1802.06847, appendix F", ROSCA
    ),
    System(
        "vae-gan",
        vae_gan,
        "VAE compared by the features of a GAN's critic.",
        "arXiv:1512.09300",
        {"training.lr": 3e-4, "training.optimiser": "rmsprop"},
    ),
)
