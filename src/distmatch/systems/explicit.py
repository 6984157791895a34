"""Systems with a likelihood."""

from __future__ import annotations

from typing import Literal

from distmatch.objectives.objective import Objective
from distmatch.objectives.terms.likelihood import IWAE, KL, NLL, TargetRate
from distmatch.objectives.variables import X_GEN
from distmatch.schedules import Ramp, Share
from distmatch.systems.defaults import (
    GIVEN_Y,
)
from distmatch.systems.system import System

Prior = Literal["standard", "learned"]


def vae(beta: float | Ramp = 1.0, prior: Prior = "standard") -> Objective:
    """E_q[-log p(x|z)] + β KL[q(z|x) ‖ p(z)], the negative ELBO in nats at β = 1.

    >>> print(vae())
    E[-log p(x|ẑ)] + E KL[q(z|x) ‖ p(z)]
    >>> print(vae(beta=Ramp(0, 4, 1000), prior="learned"))
    E[-log p(x|ẑ)] + λ(step)·E KL[q(z|x) ‖ m(z)]

    Kingma and Welling 2013, arXiv:1312.6114; β: Higgins et al. 2017; given y: Sohn et al. 2015; with a flow as
    posterior: Dinh et al. 2016, arXiv:1605.08803; with an autoregressive decoder: Gulrajani et al. 2016,
    arXiv:1611.05013; with a learned prior: Alemi et al. 2018, arXiv:1711.00464, Tomczak and Welling 2017,
    arXiv:1705.07120.
    """
    return NLL() + beta * KL(prior=prior)


def vae_rate(
    rate: float | Ramp = 20.0,
    weight: float | Ramp = 10.0,
    beta: float | Ramp = 1.0,
    prior: Prior = "standard",
) -> Objective:
    """E_q[-log p(x|z)] + β R + w |R - R*|, R = KL[q(z|x) ‖ p(z)]: the negative ELBO, at a rate R* that is asked for.

    For w above β a rate below R* costs more than it spares, so a decoder that could do without the code uses it.

    >>> print(vae_rate(rate=8))
    E[-log p(x|ẑ)] + E KL[q(z|x) ‖ p(z)] + 10·|E KL[q(z|x) ‖ p(z)] - 8|

    Alemi et al. 2018, arXiv:1711.00464; the absolute value and w are ours.
    """
    return vae(beta, prior) + weight * TargetRate(rate, prior=prior)


def iwae(samples: int = 5, prior: Prior = "standard") -> Objective:
    """-E log 1/K Σ_k p(x|z_k) p(z_k) / q(z_k|x), z_k ~ q(z|x): a bound that K makes tighter, in nats.

    >>> print(iwae())
    -E log 1/5 Σₖ p(x|ẑₖ) p(ẑₖ) / q(ẑₖ|x)

    Burda, Grosse and Salakhutdinov 2015, arXiv:1509.00519.
    """
    return Objective(IWAE(samples, prior=prior))


def likelihood() -> Objective:
    """E[-log p(x)], for decoders that know it: autoregressive nets and flows.

    >>> print(likelihood())
    E[-log p(x)]

    PixelCNN: van den Oord et al. 2016, arXiv:1606.05328; RealNVP: Dinh et al. 2016, arXiv:1605.08803.
    """
    return Objective(NLL(X_GEN))


SYSTEMS = (
    System("vae", vae, "Variational auto-encoder.", "arXiv:1312.6114"),
    System("cvae", vae, GIVEN_Y + "variational auto-encoder.", "Sohn et al. 2015", labels=True),
    System(
        "conv-vae",
        vae,
        "Variational auto-encoder with convolutional nets.",
        "arXiv:1312.6114, 1511.06434",
        {"network.family": "dcgan", "network.likelihood": "bernoulli"},
    ),
    System(
        "beta-vae",
        vae,
        "Variational auto-encoder, the rate's weight β rising from 0 to 4 in the first quarter of the run.",
        "Higgins et al. 2017",
        choices={"beta": Ramp(0, 4, Share(0.25))},
    ),
    System(
        "vae-rate", vae_rate, "Variational auto-encoder held to a rate that is asked for.", "arXiv:1711.00464"
    ),
    System("iwae", iwae, "Importance-weighted auto-encoder.", "arXiv:1509.00519"),
    System(
        "vae-nvp",
        vae,
        "Variational auto-encoder with a RealNVP posterior.",
        "arXiv:1605.08803, 1505.05770",
        {"network.posterior": "flow"},
    ),
    System(
        "vae-mixture",
        vae,
        "Variational auto-encoder, its prior learned: a mixture of normals.",
        "arXiv:1711.00464",
        {"network.prior": "mixture"},
        {"prior": "learned"},
    ),
    System(
        "vae-vamp",
        vae,
        "Variational auto-encoder, its prior learned: a mixture of posteriors.",
        "arXiv:1705.07120",
        {"network.prior": "vamp"},
        {"prior": "learned"},
    ),
    System(
        "vae-flow-prior",
        vae,
        "Variational auto-encoder, its prior learned: a flow.",
        "arXiv:1611.02731",
        {"network.prior": "flow"},
        {"prior": "learned"},
    ),
    System(
        "pixelcnn",
        likelihood,
        "Autoregressive net, without a code.",
        "arXiv:1606.05328",
        {"network.family": "pixelcnn", "network.uses_code": False},
    ),
    System(
        "pixelvae",
        vae,
        "Variational auto-encoder with an autoregressive decoder.",
        "arXiv:1611.05013",
        {"network.family": "pixelcnn"},
    ),
    System(
        "pixelvae-rate",
        vae_rate,
        "PixelVAE held to a rate that is asked for.",
        "arXiv:1611.05013, 1711.00464",
        {"network.family": "pixelcnn"},
    ),
    System(
        "real-nvp",
        likelihood,
        "Flow by maximum likelihood.",
        "arXiv:1605.08803",
        {"network.family": "real-nvp"},
    ),
)
