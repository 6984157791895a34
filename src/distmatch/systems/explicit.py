"""Systems with a likelihood."""

from __future__ import annotations

from distmatch.objective import Objective
from distmatch.terms import KL, NLL


def vae(beta: float = 1.0) -> Objective:
    """E_q[-log p(x|z)] + β KL[q(z|x) ‖ p(z)], the negative ELBO in nats at β = 1.

    >>> print(vae())
    E[-log p(x|ẑ)] + E KL[q(z|x) ‖ p(z)]

    Kingma and Welling 2013, arXiv:1312.6114; β: Higgins et al. 2017; given y: Sohn et al. 2015.
    """
    return NLL() + beta * KL()
