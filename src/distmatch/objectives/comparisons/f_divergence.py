"""f-divergences by their variational bound, each with the output activation that keeps the critic in f^c's domain.

D_f(p ‖ q) = E_q f(r) ≥ E_p[g_f(v)] - E_q[f^c(g_f(v))], with r = p/q, v the critic's raw score and
f^c(t) = sup over u ≥ 0 of ut - f(u). The critic raises the bound, and reaches D_f where g_f(v) = f'(r); the model
lowers it. At that critic the model's gradient is the gradient of D_f itself. All values are in nats.

Reference: Nowozin, Cseke and Tomioka 2016, arXiv:1606.00709, tables 1, 2 and 6.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from distmatch.objectives.comparisons.comparison import Comparison, Elementwise, Negative, Sides, identity

LOG_2 = math.log(2)
HALLEY_STEPS = 4


@dataclass(frozen=True)
class FDivergence:
    """One row of the table. Every function is elementwise and keeps shape and dtype.

    Args:
        name: its name; the comparison's is `f_` and this.
        symbol: its symbol in equations.
        f: the convex f(u), u > 0.
        derivative: f'(u).
        conjugate: f^c(t), for t in its domain.
        activation: g_f(v), from all numbers onto the domain of f^c.
        output: f^c(g_f(v)) in closed form: it neither overflows nor cancels where the composition would.
        log_ratio: log r at the critic's optimum, of its raw score v.
        threshold: f'(1), the value of g_f(v) where p and q are as likely as one another.
        target_first: whether it is printed as a divergence of p from q.
    """

    name: str
    symbol: str
    f: Elementwise
    derivative: Elementwise
    conjugate: Elementwise
    activation: Elementwise
    output: Elementwise
    log_ratio: Elementwise
    threshold: float
    target_first: bool = False

    def bound(self, target: Tensor, model: Tensor) -> Tensor:
        """The lower bound of D_f(p ‖ q) in nats, a scalar, from raw scores of samples of p `(N,)` and of q `(M,)`.

        >>> F_DIVERGENCES["kl"].bound(torch.ones(3), torch.ones(2))
        tensor(0.)
        """
        return self.activation(target).mean() - self.output(model).mean()

    def comparison(self) -> Comparison:
        """The bound as a game: the critic raises it, the model lowers it."""
        return Comparison(
            name=f"f_{self.name}",
            symbol=self.symbol,
            critic=Sides(target=Negative(self.activation), model=self.output),
            generator=Sides(target=self.activation, model=Negative(self.output)),
            log_ratio=self.log_ratio,
            reference="Nowozin et al. 2016, arXiv:1606.00709",
            target_first=self.target_first,
        )


def log_lambert_w(a: Tensor) -> Tensor:
    """log W₀(eᵃ): the y with y + eʸ = a, for every finite a.

    Halley's iteration on y, a fixed number of times from a start within 0.6 of y. It cannot overflow, since eʸ ≤ a
    where a is large. Its derivatives converge with it: dy/da = 1/(1 + eʸ).

    >>> log_lambert_w(torch.tensor([1.0, 1 + torch.e, 1e6]))
    tensor([ 0.0000,  1.0000, 13.8155])
    """
    y = torch.minimum(a, a.clamp(min=1).log())
    for _ in range(HALLEY_STEPS):
        newton = (y + y.exp() - a) / (1 + y.exp())
        y = y - newton / (1 - newton * torch.sigmoid(y) / 2)
    return y


def _log_odds(u: Tensor) -> Tensor:
    """log(u/(1 + u)) = log σ(log u)."""
    return -softplus(-u.log())


def _log_sigmoid(v: Tensor) -> Tensor:
    return -softplus(-v)


def _one_minus_exp_minus(v: Tensor) -> Tensor:
    return -torch.expm1(-v)


def _pearson_conjugate(t: Tensor) -> Tensor:
    """t²/4 + t where f' reaches t, and below t = -2, where the best u is 0, the constant -1."""
    t = t.clamp(min=-2)
    return t.square() / 4 + t


def _pearson_log_ratio(v: Tensor) -> Tensor:
    """log(1 + v/2), held finite: no ratio is less than the dtype's rounding error."""
    return (1 + v / 2).clamp(min=torch.finfo(v.dtype).eps).log()


def _jeffreys_log_ratio(v: Tensor) -> Tensor:
    """The log r that solves 1 + log r - 1/r = v: -log W₀(e¹⁻ᵛ)."""
    return -log_lambert_w(1 - v)


def _jeffreys_conjugate(t: Tensor) -> Tensor:
    """W + 1/W + t - 2 with W = W₀(e¹⁻ᵗ) = 1/r, which is r + log r - 1; its derivative is r."""
    log_ratio = _jeffreys_log_ratio(t)
    return torch.expm1(log_ratio) + log_ratio


F_DIVERGENCES: dict[str, FDivergence] = {
    d.name: d
    for d in (
        FDivergence(
            name="kl",
            symbol="KL",
            f=lambda u: torch.xlogy(u, u),
            derivative=lambda u: 1 + u.log(),
            conjugate=lambda t: (t - 1).exp(),
            activation=identity,
            output=lambda v: (v - 1).exp(),
            log_ratio=lambda v: v - 1,
            threshold=1.0,
            target_first=True,
        ),
        FDivergence(
            name="reverse_kl",
            symbol="KL",
            f=lambda u: -u.log(),
            derivative=lambda u: -1 / u,
            conjugate=lambda t: -1 - (-t).log(),
            activation=lambda v: -(-v).exp(),
            output=lambda v: v - 1,
            log_ratio=identity,
            threshold=-1.0,
        ),
        FDivergence(
            name="pearson",
            symbol="χ²",
            f=lambda u: (u - 1).square(),
            derivative=lambda u: 2 * (u - 1),
            conjugate=_pearson_conjugate,
            activation=identity,
            output=_pearson_conjugate,
            log_ratio=_pearson_log_ratio,
            threshold=0.0,
            target_first=True,
        ),
        FDivergence(
            name="neyman",
            symbol="χ²",
            f=lambda u: (1 - u).square() / u,
            derivative=lambda u: 1 - u**-2,
            conjugate=lambda t: 2 - 2 * (1 - t).sqrt(),
            activation=_one_minus_exp_minus,
            output=lambda v: -2 * torch.expm1(-v / 2),
            log_ratio=lambda v: v / 2,
            threshold=0.0,
        ),
        FDivergence(
            name="hellinger",
            symbol="H²",
            f=lambda u: (u.sqrt() - 1).square(),
            derivative=lambda u: 1 - u.rsqrt(),
            conjugate=lambda t: t / (1 - t),
            activation=_one_minus_exp_minus,
            output=torch.expm1,
            log_ratio=lambda v: 2 * v,
            threshold=0.0,
        ),
        FDivergence(
            name="jensen_shannon",
            symbol="2JS",
            f=lambda u: torch.xlogy(u, u) - (u + 1) * ((1 + u) / 2).log(),
            derivative=lambda u: LOG_2 + _log_odds(u),
            conjugate=lambda t: -(2 - t.exp()).log(),
            activation=lambda v: LOG_2 + _log_sigmoid(v),
            output=lambda v: softplus(v) - LOG_2,
            log_ratio=identity,
            threshold=0.0,
        ),
        FDivergence(
            name="gan",
            symbol="GAN",
            f=lambda u: torch.xlogy(u, u) - (u + 1) * (u + 1).log(),
            derivative=_log_odds,
            conjugate=lambda t: -torch.log(-torch.expm1(t)),
            activation=_log_sigmoid,
            output=softplus,
            log_ratio=identity,
            threshold=-LOG_2,
        ),
        FDivergence(
            name="jeffreys",
            symbol="J",
            f=lambda u: (u - 1) * u.log(),
            derivative=lambda u: 1 + u.log() - 1 / u,
            conjugate=_jeffreys_conjugate,
            activation=identity,
            output=_jeffreys_conjugate,
            log_ratio=_jeffreys_log_ratio,
            threshold=0.0,
        ),
    )
}

F_KL = F_DIVERGENCES["kl"].comparison()
F_REVERSE_KL = F_DIVERGENCES["reverse_kl"].comparison()
F_PEARSON = F_DIVERGENCES["pearson"].comparison()
F_NEYMAN = F_DIVERGENCES["neyman"].comparison()
F_HELLINGER = F_DIVERGENCES["hellinger"].comparison()
F_JENSEN_SHANNON = F_DIVERGENCES["jensen_shannon"].comparison()
F_GAN = F_DIVERGENCES["gan"].comparison()
F_JEFFREYS = F_DIVERGENCES["jeffreys"].comparison()
