"""Systems that match the visible marginal p(x̃) to the data's.

What a critic learns by, what the model minimises, what keeps the critic smooth and what it is shown are chosen
independently: `gan` takes all of them, and most systems of this kind are a choice of these.
"""

from __future__ import annotations

from typing import Literal

from distmatch.objectives.comparisons import (
    F_JENSEN_SHANNON,
    HINGE,
    LEAST_SQUARES,
    MINIMAX,
    NON_SATURATING,
    WASSERSTEIN,
    Comparison,
    GeneratorLoss,
)
from distmatch.objectives.objective import Objective
from distmatch.objectives.penalties import Penalty, clipping, dragan, gradient_penalty, r1, r2, roth
from distmatch.objectives.terms.clamp import Clamp
from distmatch.objectives.terms.critic import MixedBatch
from distmatch.objectives.terms.distance import Distance
from distmatch.objectives.terms.match import Match
from distmatch.objectives.terms.moments import MMD
from distmatch.objectives.variables import X_GEN, X_LENS, X
from distmatch.schedules import Ramp, Share
from distmatch.systems.defaults import (
    ADVERSARIAL,
    CONVOLUTIONAL,
    GIVEN_Y,
    GULRAJANI,
    RMSPROP,
    SLOPE_ONE,
    WGAN,
    WGAN_GP,
)
from distmatch.systems.system import System

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
    W₁[p(x̃), p*(x)] (critic data: penalty |weights| ≤ 0.01)

    Arjovsky et al. 2017, arXiv:1701.07875. The authors' code gives the critic 100 steps for the first 25 decoder
    steps and at each 500th; here it has the same number at every step.
    """
    return gan(WASSERSTEIN, penalty=clipping(bound))


def wgan_gp(weight: float = 10.0) -> Objective:
    """W₁[p(x̃), p*(x)], the critic held to slope 1 between data and samples.

    >>> print(wgan_gp())
    W₁[p(x̃), p*(x)] (critic data: penalty 10·E[(‖∇f‖ - 1)²] between)

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
        by: the comparison; its generator loss must score the target's side, which the lens moves.
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


SYSTEMS = (
    System(
        "real-nvp-wgan",
        gan,
        "The same flow as a Wasserstein GAN's decoder; its likelihood is watched and not used.",
        "arXiv:1705.05263",
        {"network.family": "real-nvp", **WGAN_GP},
        SLOPE_ONE,
    ),
    System(
        "gan", gan, "Generative adversarial net, non-saturating.", "arXiv:1406.2661, 1511.06434", ADVERSARIAL
    ),
    System("cgan", gan, GIVEN_Y + "generative adversarial net.", "arXiv:1411.1784", ADVERSARIAL, labels=True),
    System("dcgan", gan, "GAN with convolutional nets.", "arXiv:1511.06434", CONVOLUTIONAL),
    System(
        "cdcgan",
        gan,
        GIVEN_Y + "GAN with convolutional nets.",
        "arXiv:1411.1784, 1511.06434",
        CONVOLUTIONAL,
        labels=True,
    ),
    System(
        "minimax-gan",
        gan,
        "GAN whose generator minimises what the critic gains.",
        "arXiv:1406.2661",
        ADVERSARIAL,
        {"by": MINIMAX},
    ),
    System("lsgan", gan, "Least-squares GAN.", "arXiv:1611.04076", ADVERSARIAL, {"by": LEAST_SQUARES}),
    System("hinge-gan", gan, "GAN with the hinge loss.", "arXiv:1705.02894", ADVERSARIAL, {"by": HINGE}),
    System(
        "sngan",
        gan,
        "Spectrally normalised critic, hinge loss.",
        "arXiv:1802.05957",
        {
            "network.spectral_norm": True,
            "training.lr": 2e-4,
            "training.betas": (0.0, 0.9),
            "training.critic_steps": 5,
        },
        {"by": HINGE},
    ),
    System(
        "f-gan",
        gan,
        "Variational bound of an f-divergence: system.by=f_kl, f_pearson, ...",
        "arXiv:1606.00709",
        ADVERSARIAL,
        {"by": F_JENSEN_SHANNON},
    ),
    System(
        "wgan",
        gan,
        "Wasserstein GAN, weights clipped.",
        "arXiv:1701.07875",
        WGAN,
        {"by": WASSERSTEIN, "penalty": clipping(0.01)},
    ),
    System("wgan-gp", gan, "Wasserstein GAN with gradient penalty.", "arXiv:1704.00028", WGAN_GP, SLOPE_ONE),
    System(
        "gan-gp",
        gan,
        "GAN with gradient penalty.",
        "arXiv:1710.08446",
        {**GULRAJANI, "training.lr": 2e-4},
        {"penalty": gradient_penalty(10.0)},
    ),
    System(
        "dragan",
        gan,
        "GAN, gradient penalty around the data.",
        "arXiv:1705.07215",
        GULRAJANI,
        {"penalty": dragan(10.0)},
    ),
    System(
        "gan-r1",
        gan,
        "GAN, gradient penalty at the data.",
        "arXiv:1801.04406",
        RMSPROP,
        {"penalty": r1(10.0)},
    ),
    System(
        "gan-r2",
        gan,
        "GAN, gradient penalty at the samples.",
        "arXiv:1801.04406",
        RMSPROP,
        {"penalty": r2(10.0)},
    ),
    System(
        "gan-roth",
        gan,
        "GAN, gradient penalty weighted by the verdict, γ = 2·0.01^(t/T) after t of T steps.",
        "arXiv:1705.09367",
        ADVERSARIAL,
        {"penalty": roth(Ramp(2.0, 0.02, Share(1.0), "exponential"))},
    ),
    System(
        "consensus-gan",
        gan,
        "GAN trained by consensus optimisation.",
        "arXiv:1705.10461",
        {**RMSPROP, "training.consensus": 10.0},
    ),
    System(
        "noisy-gan",
        gan,
        "GAN whose critic sees everything through noise that fades over the whole run.",
        "arXiv:1610.04490",
        ADVERSARIAL,
        {"instance_noise": Ramp(0.5, 0.0, Share(1.0))},
    ),
    System(
        "minibatch-gan",
        gan,
        "GAN whose critic compares the samples of a batch.",
        "arXiv:1606.03498",
        {**ADVERSARIAL, "training.lr": 3e-4, "training.batch_size": 100, "network.minibatch_kernels": 100},
    ),
    System(
        "unrolled-gan",
        gan,
        "GAN whose generator looks five critic steps ahead.",
        "arXiv:1611.02163",
        {
            "training.unroll": 5,
            "training.lr": 1e-3,
            "training.critic_lr": 1e-4,
            "training.betas": (0.5, 0.999),
            "training.batch_size": 512,
        },
        {"by": MINIMAX},
    ),
    System(
        "pacgan",
        gan,
        "GAN whose critic is given two samples at once.",
        "arXiv:1712.04086",
        ADVERSARIAL,
        {"pack": 2},
    ),
    System(
        "lens-gan",
        lens_gan,
        "GAN whose critic sees the data through a lens for half of the run.",
        "arXiv:1802.04374",
        ADVERSARIAL,
    ),
    System(
        "bgan",
        bgan,
        "The critic says which share of a batch is real.",
        "arXiv:1806.07185",
        {**ADVERSARIAL, "network.symmetric": True},
    ),
    System(
        "m-bgan",
        bgan,
        "The same, with a cross-entropy for each element.",
        "arXiv:1806.07185",
        {**ADVERSARIAL, "network.symmetric": True},
        {"average": "element"},
    ),
    System(
        "progressive-gan",
        gan,
        "Wasserstein GAN with gradient penalty, its nets growing from 4×4.",
        "arXiv:1710.10196",
        {
            "network.family": "progressive",
            "training.lr": 1e-3,
            "training.betas": (0.0, 0.99),
            "training.ema": 0.999,
        },
        {"by": WASSERSTEIN, "penalty": gradient_penalty(10.0, drift=0.001)},
    ),
    System(
        "clamped-gan",
        clamped_gan,
        "GAN with the decoder's slopes between two bounds.",
        "arXiv:1802.08768",
        ADVERSARIAL,
    ),
    System(
        "gmmn",
        gmmn,
        "Moment matching by a kernel, without a critic.",
        "arXiv:1502.02761, 1505.03906",
        {"training.batch_size": 1000},
    ),
)
