"""Every system by its name, with what its paper trains it with.

A system's nets and training are defaults of a run's configuration, as dotted paths: any of them can be set otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distmatch.errors import unknown
from distmatch.objectives.comparisons import (
    F_JENSEN_SHANNON,
    HINGE,
    LEAST_SQUARES,
    MINIMAX,
    WASSERSTEIN,
)
from distmatch.objectives.penalties import clipping, dragan, gradient_penalty, r1, r2, roth
from distmatch.schedules import Ramp, Share
from distmatch.systems.adversarial import bgan, clamped_gan, gan, gmmn, lens_gan
from distmatch.systems.explicit import iwae, likelihood, vae, vae_rate
from distmatch.systems.hybrids import alpha_gan, vae_gan, vgh, vgh_plus_plus
from distmatch.systems.joint import ali, alice, veegan
from distmatch.systems.latent import aae, age, avb, avb_ac, wae_gan, wae_mmd
from distmatch.systems.system import System

Defaults = Mapping[str, Any]

# Adam of DCGAN (arXiv:1511.06434): β₂ is the optimiser's own, as in most of the authors' code that came after it.
_ADVERSARIAL: Defaults = {"training.lr": 2e-4, "training.betas": (0.5, 0.999)}
# Adam of Rosca et al. (arXiv:1706.04987, 1802.06847) for all that they train.
_ROSCA: Defaults = {"training.lr": 2e-4, "training.betas": (0.5, 0.9)}
# Adam of the code of WGAN-GP (arXiv:1704.00028) for images, and of those whose code starts from it.
_GULRAJANI: Defaults = {"training.lr": 1e-4, "training.betas": (0.5, 0.9)}
_WGAN_GP: Defaults = {**_GULRAJANI, "training.critic_steps": 5}
_WGAN: Defaults = {
    "training.lr": 5e-5,
    "training.optimiser": "rmsprop",
    "training.critic_steps": 5,
}
_RMSPROP: Defaults = {"training.lr": 1e-4, "training.optimiser": "rmsprop"}
_AVB: Defaults = {
    "network.posterior": "noise",
    "training.lr": 5e-5,
    "training.critic_lr": 1e-4,
    "training.betas": (0.5, 0.999),
    "training.batch_size": 128,
}
_WAE: Defaults = {
    "network.posterior": "deterministic",
    "training.betas": (0.5, 0.999),
    "training.batch_size": 100,
}
_GIVEN_Y = "Given the label y: "
_SLOPE_ONE = {"by": WASSERSTEIN, "penalty": gradient_penalty(10.0)}


def _conv(defaults: Defaults = _ADVERSARIAL) -> Defaults:
    return {"network.family": "dcgan", **defaults}


_EXPLICIT: dict[str, System] = {
    "vae": System(vae, "Variational auto-encoder.", "arXiv:1312.6114"),
    "cvae": System(vae, _GIVEN_Y + "variational auto-encoder.", "Sohn et al. 2015", conditional=True),
    "conv-vae": System(
        vae,
        "Variational auto-encoder with convolutional nets.",
        "arXiv:1312.6114, 1511.06434",
        {"network.family": "dcgan", "network.likelihood": "bernoulli"},
    ),
    "beta-vae": System(
        vae,
        "Variational auto-encoder, the rate's weight β rising from 0 to 4 in the first quarter of the run.",
        "Higgins et al. 2017",
        choices={"beta": Ramp(0, 4, Share(0.25))},
    ),
    "vae-rate": System(
        vae_rate, "Variational auto-encoder held to a rate that is asked for.", "arXiv:1711.00464"
    ),
    "iwae": System(iwae, "Importance-weighted auto-encoder.", "arXiv:1509.00519"),
    "vae-nvp": System(
        vae,
        "Variational auto-encoder with a RealNVP posterior.",
        "arXiv:1605.08803, 1505.05770",
        {"network.posterior": "flow"},
    ),
    **{
        f"vae-{name}": System(
            vae,
            f"Variational auto-encoder, its prior learned: {what}.",
            reference,
            {"network.prior": prior},
            {"prior": "learned"},
        )
        for name, prior, what, reference in (
            ("mixture", "mixture", "a mixture of normals", "arXiv:1711.00464"),
            ("vamp", "vamp", "a mixture of posteriors", "arXiv:1705.07120"),
            ("flow-prior", "flow", "a flow", "arXiv:1611.02731"),
        )
    },
    "pixelcnn": System(
        likelihood,
        "Autoregressive net, without a code.",
        "arXiv:1606.05328",
        {"network.family": "pixelcnn", "network.uses_code": False},
    ),
    "pixelvae": System(
        vae,
        "Variational auto-encoder with an autoregressive decoder.",
        "arXiv:1611.05013",
        {"network.family": "pixelcnn"},
    ),
    "pixelvae-rate": System(
        vae_rate,
        "PixelVAE held to a rate that is asked for.",
        "arXiv:1611.05013, 1711.00464",
        {"network.family": "pixelcnn"},
    ),
    "real-nvp": System(
        likelihood, "Flow by maximum likelihood.", "arXiv:1605.08803", {"network.family": "real-nvp"}
    ),
    "real-nvp-wgan": System(
        gan,
        "The same flow as a Wasserstein GAN's decoder; its likelihood is watched and not used.",
        "arXiv:1705.05263",
        {"network.family": "real-nvp", **_WGAN_GP},
        _SLOPE_ONE,
    ),
}

_VISIBLE: dict[str, System] = {
    "gan": System(
        gan, "Generative adversarial net, non-saturating.", "arXiv:1406.2661, 1511.06434", _ADVERSARIAL
    ),
    "cgan": System(
        gan, _GIVEN_Y + "generative adversarial net.", "arXiv:1411.1784", _ADVERSARIAL, conditional=True
    ),
    "dcgan": System(gan, "GAN with convolutional nets.", "arXiv:1511.06434", _conv()),
    "cdcgan": System(
        gan,
        _GIVEN_Y + "GAN with convolutional nets.",
        "arXiv:1411.1784, 1511.06434",
        _conv(),
        conditional=True,
    ),
    "minimax-gan": System(
        gan,
        "GAN whose players minimise what the critic gains.",
        "arXiv:1406.2661",
        _ADVERSARIAL,
        {"by": MINIMAX},
    ),
    "lsgan": System(gan, "Least-squares GAN.", "arXiv:1611.04076", _ADVERSARIAL, {"by": LEAST_SQUARES}),
    "hinge-gan": System(gan, "GAN with the hinge loss.", "arXiv:1705.02894", _ADVERSARIAL, {"by": HINGE}),
    "sngan": System(
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
    "f-gan": System(
        gan,
        "Variational bound of an f-divergence: system.by=f_kl, f_pearson, ...",
        "arXiv:1606.00709",
        _ADVERSARIAL,
        {"by": F_JENSEN_SHANNON},
    ),
    "wgan": System(
        gan,
        "Wasserstein GAN, weights clipped.",
        "arXiv:1701.07875",
        _WGAN,
        {"by": WASSERSTEIN, "penalty": clipping(0.01)},
    ),
    "wgan-gp": System(
        gan, "Wasserstein GAN with gradient penalty.", "arXiv:1704.00028", _WGAN_GP, _SLOPE_ONE
    ),
    "gan-gp": System(
        gan,
        "GAN with gradient penalty.",
        "arXiv:1710.08446",
        {**_GULRAJANI, "training.lr": 2e-4},
        {"penalty": gradient_penalty(10.0)},
    ),
    "dragan": System(
        gan,
        "GAN, gradient penalty around the data.",
        "arXiv:1705.07215",
        _GULRAJANI,
        {"penalty": dragan(10.0)},
    ),
    "gan-r1": System(
        gan, "GAN, gradient penalty at the data.", "arXiv:1801.04406", _RMSPROP, {"penalty": r1(10.0)}
    ),
    "gan-r2": System(
        gan, "GAN, gradient penalty at the samples.", "arXiv:1801.04406", _RMSPROP, {"penalty": r2(10.0)}
    ),
    "gan-roth": System(
        gan,
        "GAN, gradient penalty weighted by the verdict, γ = 2·0.01^(t/T) after t of T steps.",
        "arXiv:1705.09367",
        _ADVERSARIAL,
        {"penalty": roth(Ramp(2.0, 0.02, Share(1.0), "exponential"))},
    ),
    "consensus-gan": System(
        gan,
        "GAN trained by consensus optimisation.",
        "arXiv:1705.10461",
        {**_RMSPROP, "training.consensus": 10.0},
    ),
    "noisy-gan": System(
        gan,
        "GAN whose critic sees everything through noise that fades over the whole run.",
        "arXiv:1610.04490",
        _ADVERSARIAL,
        {"instance_noise": Ramp(0.5, 0.0, Share(1.0))},
    ),
    "minibatch-gan": System(
        gan,
        "GAN whose critic compares the samples of a batch.",
        "arXiv:1606.03498",
        {**_ADVERSARIAL, "training.lr": 3e-4, "training.batch_size": 100, "network.minibatch_kernels": 100},
    ),
    "unrolled-gan": System(
        gan,
        "GAN whose players look five critic steps ahead.",
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
    "pacgan": System(
        gan, "GAN whose critic is given two samples at once.", "arXiv:1712.04086", _ADVERSARIAL, {"pack": 2}
    ),
    "lens-gan": System(
        lens_gan,
        "GAN whose critic sees the data through a lens for half of the run.",
        "arXiv:1802.04374",
        _ADVERSARIAL,
    ),
    "bgan": System(
        bgan,
        "The critic says which share of a batch is real.",
        "arXiv:1806.07185",
        {**_ADVERSARIAL, "network.symmetric": True},
    ),
    "m-bgan": System(
        bgan,
        "The same, with a cross-entropy for each element.",
        "arXiv:1806.07185",
        {**_ADVERSARIAL, "network.symmetric": True},
        {"average": "element"},
    ),
    "progressive-gan": System(
        gan,
        "Wasserstein GAN with gradient penalty, its nets growing from 4×4.",
        "arXiv:1710.10196",
        {
            "network.family": "progressive",
            "training.lr": 1e-3,
            "training.betas": (0.0, 0.99),
            "training.average": 0.999,
        },
        {"by": WASSERSTEIN, "penalty": gradient_penalty(10.0, drift=0.001)},
    ),
    "clamped-gan": System(
        clamped_gan, "GAN with the decoder's slopes between two bounds.", "arXiv:1802.08768", _ADVERSARIAL
    ),
    "gmmn": System(
        gmmn,
        "Moment matching by a kernel, without a critic.",
        "arXiv:1502.02761, 1505.03906",
        {"training.batch_size": 1000},
    ),
}

_LATENT: dict[str, System] = {
    "aae": System(
        aae,
        "Adversarial auto-encoder: the codes' marginal meets the prior.",
        "arXiv:1511.05644",
        _ROSCA,
    ),
    "wae-gan": System(
        wae_gan,
        "Wasserstein auto-encoder, the codes by a critic.",
        "arXiv:1711.01558",
        {**_WAE, "training.critic_lr": 5e-4},
    ),
    "wae-mmd": System(wae_mmd, "Wasserstein auto-encoder, the codes by a kernel.", "arXiv:1711.01558", _WAE),
    "avb": System(avb, "Adversarial variational Bayes: an implicit posterior.", "arXiv:1701.04722", _AVB),
    "avb-ac": System(
        avb_ac, "Adversarial variational Bayes with adaptive contrast.", "arXiv:1701.04722", _AVB
    ),
    "age": System(
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
}

_JOINT: dict[str, System] = {
    "ali": System(
        ali,
        "Adversarially learned inference: joints meet.",
        "arXiv:1606.00704",
        {**_ADVERSARIAL, "training.lr": 1e-4, "training.batch_size": 100},
    ),
    "bigan": System(
        ali,
        "Bidirectional GAN: joints meet, the encoder deterministic.",
        "arXiv:1605.09782",
        {
            **_ADVERSARIAL,
            "training.batch_size": 128,
            "network.posterior": "deterministic",
            "network.prior": "uniform",
            "network.latent": 50,
        },
    ),
    "alice": System(
        alice,
        "ALI with cycles: data and codes come back.",
        "arXiv:1709.01215",
        {**_ADVERSARIAL, "training.lr": 1e-3, "training.batch_size": 128},
    ),
    "veegan": System(
        veegan,
        "The encoder leads samples back to their codes.",
        "arXiv:1705.07761",
        {"training.lr": 1e-3, "training.betas": (0.5, 0.999), "network.posterior": "deterministic"},
    ),
    "alpha-gan": System(alpha_gan, "Auto-encoding GAN.", "arXiv:1706.04987", _ROSCA),
    "vgh": System(vgh, "Variational GAN hybrid.", "arXiv:1802.06847", _ROSCA),
    "vgh++": System(
        vgh_plus_plus, "Variational GAN hybrid with samples.", "arXiv:1802.06847, appendix F", _ROSCA
    ),
    "vae-gan": System(
        vae_gan,
        "VAE compared by the features of a GAN's critic.",
        "arXiv:1512.09300",
        {"training.lr": 3e-4, "training.optimiser": "rmsprop"},
    ),
}

SYSTEMS: dict[str, System] = {**_EXPLICIT, **_VISIBLE, **_LATENT, **_JOINT}


def find(name: str) -> System:
    """The system of this name; `BadInput` with the nearest name if there is none.

    >>> print(find("vgh++").objective(weight=5.0))
    5·E‖x - x̂‖₁/dim(x) + D[p(x̂) ‖ p*(x)] + D[q(z) ‖ p(z)] + D[p(x̃) ‖ p*(x)]
    >>> print(find("gan").objective(by="lsif", generator="kl", penalty="r1(10)"))
    KL_lsif[p*(x) ‖ p(x̃)]
    """
    if name not in SYSTEMS:
        raise unknown("system", name, SYSTEMS)
    return SYSTEMS[name]
