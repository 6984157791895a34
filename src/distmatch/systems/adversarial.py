"""Systems that match the visible marginal p(x̃) to the data's, by a critic."""

from __future__ import annotations

from distmatch.comparisons import NON_SATURATING, WASSERSTEIN, Comparison
from distmatch.objective import Objective
from distmatch.penalties import clipping, gradient_penalty
from distmatch.terms import Match
from distmatch.variables import X_GEN, X


def gan(by: Comparison = NON_SATURATING) -> Objective:
    """D[p(x̃) ‖ p*(x)].

    >>> print(gan())
    D[p(x̃) ‖ p*(x)]

    Goodfellow et al. 2014, arXiv:1406.2661; with the dcgan nets: Radford et al. 2015, arXiv:1511.06434;
    given y: Mirza and Osindero 2014, arXiv:1411.1784.
    """
    return Objective(Match(X_GEN, X, by=by, critic="data"))


def wgan(bound: float = 0.01) -> Objective:
    """W₁[p(x̃), p*(x)], the critic's weights clipped.

    >>> print(wgan())
    W₁[p(x̃), p*(x)]

    Arjovsky et al. 2017, arXiv:1701.07875. The authors' code gives the critic 100 steps for the first 25 decoder
    steps and at each 500th; here it has the same number at every step.
    """
    return Objective(Match(X_GEN, X, by=WASSERSTEIN, critic="data", penalty=clipping(bound)))


def wgan_gp(weight: float = 10.0) -> Objective:
    """W₁[p(x̃), p*(x)], the critic held to slope 1 between data and samples.

    >>> print(wgan_gp())
    W₁[p(x̃), p*(x)]

    Gulrajani et al. 2017, arXiv:1704.00028.
    """
    return Objective(Match(X_GEN, X, by=WASSERSTEIN, critic="data", penalty=gradient_penalty(weight)))
