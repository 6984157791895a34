"""Systems that match the visible marginal p(x̃) to the data's.

What a critic learns by, what the players minimise, what keeps the critic smooth and what it is shown are chosen
independently: `gan` takes all of them, and most systems of this kind are a choice of these.
"""

from __future__ import annotations

from typing import Literal

from distmatch.objectives.comparisons import NON_SATURATING, WASSERSTEIN, Comparison, GeneratorLoss
from distmatch.objectives.objective import Objective
from distmatch.objectives.penalties import Penalty, clipping, gradient_penalty
from distmatch.objectives.terms.clamp import Clamp
from distmatch.objectives.terms.critic import MixedBatch
from distmatch.objectives.terms.distance import Distance
from distmatch.objectives.terms.match import Match
from distmatch.objectives.terms.moments import MMD
from distmatch.objectives.variables import X_GEN, X_LENS, X
from distmatch.schedules import Ramp, Share

HALF = Share(0.5)


def gan(
    by: Comparison = NON_SATURATING,
    generator: GeneratorLoss | None = None,
    penalty: Penalty | None = None,
    pack: int = 1,
    instance_noise: float | Ramp | None = None,
) -> Objective:
    """D[p(x̃) ‖ p*(x)].

    >>> print(gan())
    D[p(x̃) ‖ p*(x)]

    Goodfellow et al. 2014, arXiv:1406.2661; with the dcgan nets: Radford et al. 2015, arXiv:1511.06434;
    given y: Mirza and Osindero 2014, arXiv:1411.1784; other comparisons: Nowozin et al. 2016, arXiv:1606.00709,
    Mao et al. 2016, arXiv:1611.04076, Mohamed and Lakshminarayanan 2016, arXiv:1610.03483; packs: Lin et al. 2017,
    arXiv:1712.04086; instance noise: Sønderby et al. 2016, arXiv:1610.04490.
    """
    return Objective(
        Match(
            X_GEN,
            X,
            by=by,
            critic="data",
            penalty=penalty,
            generator=generator,
            pack=pack,
            instance_noise=instance_noise,
        )
    )


def wgan(bound: float = 0.01) -> Objective:
    """W₁[p(x̃), p*(x)], the critic's weights clipped.

    >>> print(wgan())
    W₁[p(x̃), p*(x)]

    Arjovsky et al. 2017, arXiv:1701.07875. The authors' code gives the critic 100 steps for the first 25 decoder
    steps and at each 500th; here it has the same number at every step.
    """
    return gan(WASSERSTEIN, penalty=clipping(bound))


def wgan_gp(weight: float = 10.0) -> Objective:
    """W₁[p(x̃), p*(x)], the critic held to slope 1 between data and samples.

    >>> print(wgan_gp())
    W₁[p(x̃), p*(x)]

    Gulrajani et al. 2017, arXiv:1704.00028.
    """
    return gan(WASSERSTEIN, penalty=gradient_penalty(weight))


def lens_gan(
    steps: int | Share = HALF,
    weight: float = 1.0,
    by: Comparison = NON_SATURATING,
    penalty: Penalty | None = None,
) -> Objective:
    """Tempered adversarial training: the critic sees the data through a lens, which helps the decoder at first.

    The critic tells x̄ = L(x) from x̃, and the decoder brings x̃ to x̄. The lens brings x̄ to x̃ as well, with weight
    λ = 1 - sin(πt/2K), which is 0 from step K on, and stays near the identity by ‖x - x̄‖².

    Args:
        steps: K, as a share of the run or in the decoder's steps; 100,000 in the paper.
        weight: of ‖x - x̄‖².
        by: the comparison; its players must mind the target's side, which the lens moves.
        penalty: what keeps the critic smooth.

    >>> print(lens_gan())
    D[p(x̃) ‖ p*(x̄)] + λ(step)·D[p(x̃) ‖ p*(x̄)] + E‖x - x̄‖₂²

    Sajjadi et al. 2018, arXiv:1802.04374.
    """
    seen = Match(X_GEN, X_LENS, by=by, critic="data", penalty=penalty).to("decoder")
    helped = Match(X_GEN, X_LENS, by=by, critic="data", teach=False).to("lens")
    return seen + Ramp(1.0, 0.0, steps, "sine") * helped + weight * Distance(X, X_LENS, order=2)


def clamped_gan(
    low: float | Ramp = 1.0,
    high: float | Ramp = 20.0,
    weight: float | Ramp = 1.0,
    by: Comparison = NON_SATURATING,
    penalty: Penalty | None = None,
) -> Objective:
    """D[p(x̃) ‖ p*(x)], the decoder's slopes held between two bounds: Jacobian clamping.

    >>> print(clamped_gan())
    D[p(x̃) ‖ p*(x)] + E[(1 ≤ ‖x̃ - x̃′‖ ≤ 20)²]

    Odena et al. 2018, arXiv:1802.08768.
    """
    return gan(by, penalty=penalty) + weight * Clamp(low, high)


def bgan(average: Literal["output", "element"] = "output") -> Objective:
    """The critic says which share of a whole batch is real. Its net treats the batch as a set: network.symmetric.

    >>> print(bgan())
    D_batch[p(x̃) ‖ p*(x)]
    >>> print(bgan("element"))
    D_elements[p(x̃) ‖ p*(x)]

    Lucas et al. 2018, arXiv:1806.07185: `"output"` is BGAN, `"element"` M-BGAN. What the decoder minimises is a
    substitute (see `MixedBatch`).
    """
    return Objective(MixedBatch(X_GEN, X, average=average))


def gmmn(kernel: Literal["imq", "rbf"] = "rbf", root: bool = True) -> Objective:
    """√MMD²(p(x̃), p*(x)): a generative moment matching network, without an adversary.

    >>> print(gmmn())
    MMD[p(x̃), p*(x)]

    Li, Swersky and Zemel 2015, arXiv:1502.02761; Dziugaite, Roy and Ghahramani 2015, arXiv:1505.03906.
    """
    return Objective(MMD(X_GEN, X, kernel=kernel, root=root))
