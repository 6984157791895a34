"""Parts and bounds of the marginal KL: the summary that every way of computing log q(z) shares."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution, Independent, kl_divergence

from distmatch.errors import BadInput
from distmatch.metrics.codes.two_stage import Mean, controlled, information, of_some, two_stage
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.likelihood.elbo import per_example

NEAR = 2.0  # nats: a rate that comes so near to ln N, or passes it, saturates the mixture's information
CONTROLLED = 10  # components at least for a control variate, unless all are seen: a slope of few fits noise
RATE_DRAWS = 8  # codes of each data point for the rate, where it has no closed form


@dataclass(frozen=True)
class EmpiricalKL:
    """The result of `empirical_marginal_kl`, in nats. `lower` ≤ KL ≤ `upper` is R - ln N ≤ KL(q(z)‖p(z)) ≤ R.

    `bound_holds` allows three standard errors. Where own draws were scored, log q(z) ≥ log q(z|x_n) - ln N
    was checked at every one of them as well.
    """

    empirical_marginal_kl: Estimate
    rate: Estimate
    mutual_information: Estimate
    total_correlation: Estimate | None
    dimension_wise_kl: Estimate | None
    lower: float
    upper: float
    bound_holds: bool

    def estimates(self) -> dict[str, Estimate]:
        """The estimates by name, without those that were not computed."""
        return {k: v for k, v in vars(self).items() if isinstance(v, Estimate)}


@dataclass(frozen=True)
class Rates:
    """KL(q(z|x_n)‖p(z)) of every component, (N,) float64; `exact` in closed form, otherwise a mean of draws."""

    values: Tensor
    exact: bool

    def estimate(self) -> Estimate:
        """R, with its error over data points."""
        how = "closed form" if self.exact else f"{RATE_DRAWS} draws each"
        return Estimate.mean(self.values, "nats", f"{how}, mean over the mixture's data points")


@dataclass(frozen=True)
class Scores:
    """Log-densities at M codes, (M,) float64: the mixture's, the prior's and, of own draws, their component's;
    `own` (n, K) is the component of each, row by row."""

    log_q: Tensor
    log_p: Tensor
    log_code: Tensor | None = None
    own: Tensor | None = None


def rates_of(q: Distribution, prior: Distribution) -> tuple[Tensor, bool]:
    """KL(q_n‖prior) of a batch of n posteriors, (n,), and whether in closed form; draws are torch's global ones.

    >>> import torch
    >>> from torch.distributions import Independent, Normal
    >>> one = torch.ones(3, 2)
    >>> rates_of(Independent(Normal(one, one), 1), Independent(Normal(0 * one[0], one[0]), 1))
    (tensor([1., 1., 1.], dtype=torch.float64), True)
    """
    try:
        return per_example(kl_divergence(q, prior)), True
    except NotImplementedError:
        z = q.sample((RATE_DRAWS,))
        draws = q.log_prob(z).double() - density_of(prior, z.flatten(0, 1)).unflatten(0, z.shape[:2])
        return draws.mean(0), False


def family(distribution: Distribution) -> str:
    """The name of a distribution's family, under any number of `Independent`.

    >>> import torch
    >>> from torch.distributions import Independent, Normal
    >>> family(Independent(Normal(torch.zeros(2), 1.0), 1))
    'Normal'
    """
    while isinstance(distribution, Independent):
        distribution = distribution.base_dist
    return type(distribution).__name__


def density_of(prior: Distribution, codes: Tensor) -> Tensor:
    """log p(z), (M, *event) -> (M,) float64, by a prior of its own precision and device.

    Raises:
        BadInput: the prior has a batch shape that is not ().
    """
    like = prior.sample()
    log_p = prior.log_prob(codes.to(like)).to(codes.device)
    if len(prior.batch_shape) or log_p.shape != codes.shape[:1]:
        raise BadInput(
            f"the prior has batch shape {tuple(prior.batch_shape)} and event shape {tuple(prior.event_shape)}; "
            f"it must have () and that of a code, {tuple(codes.shape[1:])}"
        )
    return log_p.double()


def summary(
    scores: Scores,
    rates: Rates,
    parts: tuple[Estimate | None, Estimate | None],
    *,
    leave_one_out: bool,
    against: str,
) -> EmpiricalKL:
    """KL as the mean of log q - log p, I as that of log q(z|x_n) - log q, and their bounds.

    Raises:
        BadInput: codes that are not draws from this mixture.
        RuntimeError: own draws at which log q(z) < log q(z|x_n) - ln N, which only lost digits can cause.
    """
    rate, total = rates.estimate(), len(rates.values)
    kl, shared = _averages(scores, rates, leave_one_out)
    value, error = kl.value, kl.error
    lower = -math.inf if leave_one_out else rate.value - math.log(total)
    doubt = error if rates.exact else math.hypot(error, rate.standard_error)
    slack = max(0.0, lower - value, value - rate.value) - 1e-6 * (1 + abs(rate.value))
    if scores.own is not None:
        value = min(max(value, lower), rate.value)
    elif len(scores.log_q) >= 30 and slack > 6 * doubt:
        raise BadInput(
            f"KL = {value:.4g} ± {error:.2g} lies outside [R - ln N, R] = [{lower:.4g}, {rate.value:.4g}]: "
            "the codes are not draws from this mixture"
        )
    saturation = _saturation(rate.value, total, leave_one_out)
    how = f"Monte Carlo over the whole mixture of N = {total} {against}; {saturation}"
    return EmpiricalKL(
        empirical_marginal_kl=kl._replace(value=value).estimate(len(scores.log_q), how),
        rate=rate,
        mutual_information=shared.estimate(len(scores.log_q), how),
        total_correlation=parts[0],
        dimension_wise_kl=parts[1],
        lower=lower,
        upper=rate.value,
        bound_holds=slack <= 3 * doubt,
    )


def _saturation(rate: float, total: int, leave_one_out: bool) -> str:
    """A sentence about the part of the value that is due to the mixture's size."""
    if leave_one_out:
        return "own component left out"
    said = f"I saturates at ln N = {math.log(total):.3f}"
    if rate > math.log(total) - NEAR:
        said += (
            f"; WARNING: R = {rate:.4g} > ln N - {NEAR:g}, so this is about R - ln N = {rate - math.log(total):.4g} "
            "or a little more, whatever the population's KL is"
        )
    return said


def _averages(scores: Scores, rates: Rates, leave_one_out: bool) -> tuple[Mean, Mean]:
    """KL and I."""
    score, mean_rate, total = scores.log_q - scores.log_p, float(rates.values.mean()), len(rates.values)
    if scores.own is None or scores.log_code is None:
        kl = of_some(score, None, total)
        return kl, kl._replace(value=mean_rate - kl.value)
    gain = scores.log_code - scores.log_q
    if not leave_one_out and float(gain.max()) > math.log(total) + 1e-6:
        raise RuntimeError("log q(z) < log q(z|x_n) - ln N: the mixture's density was lost to rounding")
    if rates.exact and (len(scores.own) == total or len(scores.own) >= CONTROLLED):
        control = scores.log_code - scores.log_p - mean_rate
        score = controlled(score, control, rates.values[scores.own.flatten()] - mean_rate)
    shape = scores.own.shape
    return two_stage(score.reshape(shape), total), information(gain.reshape(shape), total)
