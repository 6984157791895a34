"""Systems with a likelihood."""

from __future__ import annotations

from typing import Literal

from distmatch.objectives.objective import Objective
from distmatch.objectives.terms.likelihood import IWAE, KL, NLL, TargetRate
from distmatch.objectives.variables import X_GEN
from distmatch.schedules import Ramp

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
