"""KL(q(z)‖p(z)) of any posterior with a density (Algorithm 2): flows, full covariances, other families."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from distmatch.errors import BadInput
from distmatch.metrics.checks import as_distribution, at_least, checked
from distmatch.metrics.codes.surgery import (
    EmpiricalKL,
    Rates,
    Scores,
    density_of,
    family,
    rates_of,
    summary,
)
from distmatch.metrics.codes.two_stage import of_some, sizes, thinned
from distmatch.metrics.estimate import Estimate
from distmatch.random import own_randomness, seeded

CODES = 2_000  # codes drawn unless told otherwise: a general density costs far more than a matmul's entry
ENTRIES = 1 << 20  # pairs × coordinates that are scored at once: 8 MB in float64, and a net's activations
DECOMPOSED_WORK = 100_000_000  # of these at most for the total correlation, where it can be computed


def empirical_marginal_kl_of(
    posterior: Callable[[Any], Distribution],
    x: Tensor | Sequence[Any],
    prior: Distribution | None = None,
    *,
    samples: int | None = None,
    evaluate: int | None = None,
    batch_size: int = 256,
    seed: int = 0,
    leave_one_out: bool = False,
    decompose: bool = True,
    progress: Callable[[float], None] | None = None,
) -> EmpiricalKL:
    """KL(q(z)‖p(z)) for q(z) = 1/N Σ_n q(z|x_n), where q(z|x) is any distribution with `log_prob`.

    As `empirical_marginal_kl` (which is far faster for diagonal Gaussians): codes from a random subset of the
    data, each scored under all N posteriors, own draws with the density they had when drawn; R - ln N ≤ KL ≤ R
    checked.
    The rate is in closed form where torch has one, otherwise the mean of log q(z|x) - log p(z) over 8 draws of
    each data point; then KL has no control variate, and the bounds hold within R's error too.

    Costs N·M log-densities for M codes, and holds the N posteriors, as the calls returned them. N is the whole
    of `x`: a random subset of the data is a smaller mixture, whose I saturates at a smaller ln N and whose KL
    is therefore larger. Densities are computed in the posterior's own precision (a float32 flow is good to
    about 1e-6 of log q), everything after them in float64.

    Args:
        posterior: batch of n data -> distribution with batch shape (n,) and any event shape. One whose batch
            shape has more dimensions, such as Normal(loc, scale) with (n, D), has independent coordinates.
            Its `log_prob` must take codes of shape (M, n, *event); it is given (M, 1, *event) where that works.
        x: (N, *) data, cut to batches of `batch_size`; or a sequence of batches, each passed as it is.
        prior: p(z), batch shape (); None for N(0, I).
        samples: draws per evaluated data point (default: 2,000 codes in all).
        evaluate: data points to draw from (default 1,000, or N).
        decompose: also the total correlation where each posterior has independent coordinates (an
            `Independent` with scalar parts; None for others), and dimension-wise KL if the prior is N(0, I).
        progress: called with the share that is done, 0 to 1.

    Raises:
        BadInput: fewer than two data points, NaN densities, counts below one, posteriors or a prior of other
            shapes, a posterior without a density. What the posterior raises itself passes through.

    Reference: Rosca, Lakshminarayanan and Mohamed, 1802.06847, Algorithm 2; Rezende and Mohamed, 1505.05770.

    >>> def posterior(x): return torch.distributions.Laplace(x, 0.3)
    >>> kl = empirical_marginal_kl_of(posterior, torch.tensor([[-2.0], [2.0]]))
    >>> round(kl.mutual_information.value, 2), kl.bound_holds     # ln 2
    (0.69, True)
    """
    at_least(1, batch_size=batch_size)
    batches: Sequence[Any] = x.split(batch_size) if isinstance(x, Tensor) else x
    with torch.no_grad(), own_randomness(seed):
        distributions = [with_events(as_distribution(posterior(batch), "the posterior")) for batch in batches]
        total = sum(distribution.batch_shape[0] for distribution in distributions)
        if total < 2:
            raise BadInput(f"the mixture has {total} component(s); give at least 2 data points")
        against = f"{family(distributions[0])} posteriors" + (
            "" if prior is None else f", prior {family(prior)}"
        )
        p, rates = _rates(distributions, prior)
        n, k = sizes(total, CODES, samples, evaluate)
        own = torch.randperm(total, generator=seeded(seed))[:n].sort().values
        codes, log_code = _draw(distributions, own, k)
        each = own.repeat_interleave(k)
        scored = log_mixture_of(
            distributions, codes, log_code, each, leave_one_out=leave_one_out, progress=progress
        )
        drawn = own[:, None].expand(n, k).to(codes.device)
        parts = _decompose(distributions, codes, drawn, scored, prior is None) if decompose else (None, None)
        scores = Scores(scored, density_of(p, codes), log_code, drawn)
    return summary(scores, rates, parts, leave_one_out=leave_one_out, against=against)


def some_tensor(x: Any) -> Tensor:
    """The data, or the first tensor in the first batch: its device is where the posterior draws."""
    for _ in range(2):
        x = x[0] if isinstance(x, Sequence) and len(x) else x
    return x if isinstance(x, Tensor) else torch.empty(0)


def with_events(distribution: Distribution) -> Distribution:
    """The distribution with batch shape (n,): further batch dimensions become independent coordinates."""
    if not distribution.batch_shape:
        raise BadInput(
            "the posterior returned one distribution without a batch; it must return one per datum"
        )
    extra = len(distribution.batch_shape) - 1
    return Independent(distribution, extra) if extra else distribution


def standard_normal(distribution: Distribution) -> Distribution:
    zero = torch.zeros_like(distribution.sample()[0])
    normal = Normal(zero, zero + 1)
    return Independent(normal, zero.ndim) if zero.ndim else normal


def _rates(distributions: Sequence[Distribution], prior: Distribution | None) -> tuple[Distribution, Rates]:
    """The prior and the rates to it."""
    try:
        prior = standard_normal(distributions[0]) if prior is None else prior
        rates = [rates_of(distribution, prior) for distribution in distributions]
    except NotImplementedError as error:
        raise BadInput(
            f"the posterior, a {type(distributions[0]).__name__}, has no log_prob or no sample"
        ) from error
    return prior, Rates(checked(torch.cat([values for values, _ in rates]), "the rates", "N"), rates[0][1])


def _draw(distributions: Sequence[Distribution], own: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """k codes of each component in `own`, row by row, (n·k, *event), and their densities (n·k,)."""
    codes, densities = [], []
    for here, distribution in _with_places(distributions, own):
        z = distribution.sample((k,))
        codes.append(z[:, here].transpose(0, 1).flatten(0, 1))
        densities.append(distribution.log_prob(z)[:, here].T.flatten())
    return torch.cat(codes), checked(torch.cat(densities), "log q(z|x)", "M")


def _with_places(distributions: Sequence[Distribution], own: Tensor) -> Iterator[tuple[Tensor, Distribution]]:
    """Each distribution that has components in `own`, with their places in it."""
    start = 0
    for distribution in distributions:
        size = distribution.batch_shape[0]
        here = own[(own >= start) & (own < start + size)] - start
        start += size
        if len(here):
            yield here, distribution


def log_mixture_of(
    distributions: Sequence[Distribution],
    codes: Tensor,
    log_code: Tensor | None = None,
    own: Tensor | None = None,
    *,
    leave_one_out: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """log 1/N Σ_n q(z|x_n), (M,) float64; the term of each code's component `own` (M,), where it is known, is the
    density `log_code` that it was drawn with.

    >>> distributions = [Independent(Normal(torch.zeros(3, 2), 1.0), 1)]
    >>> log_mixture_of(distributions, torch.zeros(2, 2))
    tensor([-1.8379, -1.8379], dtype=torch.float64)
    """
    total = torch.full((len(codes),), -math.inf, dtype=torch.float64, device=codes.device)
    start, count = 0, sum(q.batch_shape[0] for q in distributions)
    for distribution in distributions:
        size = distribution.batch_shape[0]
        step = max(1, ENTRIES // (size * max(1, codes[0].numel())))
        for rows in torch.arange(len(codes)).split(step):
            scores = _pairs(distribution, codes[rows], size)
            if own is not None and log_code is not None:
                at = own[rows] - start
                hit = ((at >= 0) & (at < size)).nonzero().squeeze(1)
                scores[hit, at[hit]] = -math.inf if leave_one_out else log_code[rows[hit]]
            total[rows] = torch.logaddexp(total[rows], scores.logsumexp(1))
        start += size
        if progress is not None:
            progress(start / count)
    return checked(total - math.log(count - leave_one_out), "log q(z)", "M")


def _pairs(distribution: Distribution, codes: Tensor, size: int) -> Tensor:
    """log q(z_m|x_n), (M, n) float64. Codes of shape (M, 1, *event) are tried first: what does not depend on x
    is then computed M times, not M·n times; they are expanded where the distribution's own parts do not broadcast."""
    try:
        scores = distribution.log_prob(codes[:, None])
    except RuntimeError:
        scores = distribution.log_prob(codes[:, None].expand(-1, size, *codes.shape[1:]))
    if scores.shape != (len(codes), size):
        raise BadInput(
            f"the posterior's log_prob of codes of shape {(len(codes), size, *codes.shape[1:])} has shape "
            f"{tuple(scores.shape)}; it must have the first two dimensions"
        )
    return scores.double()


def _decompose(
    distributions: Sequence[Distribution], codes: Tensor, own: Tensor, log_q: Tensor, standard: bool
) -> tuple[Estimate | None, Estimate | None]:
    """Total correlation and Σ_j KL(q(z_j)‖N(0, 1)) on evenly spaced codes, where coordinates are independent."""
    parts = [
        distribution.base_dist for distribution in distributions if isinstance(distribution, Independent)
    ]
    if len(parts) < len(distributions) or any(
        part.event_shape or len(part.batch_shape) < 2 for part in parts
    ):
        return None, None
    count = sum(part.batch_shape.numel() for part in parts)
    places, components = thinned(own, len(codes), max(20, DECOMPOSED_WORK // count))
    chosen, total = codes[places], sum(part.batch_shape[0] for part in parts)
    marginals = chosen.new_full(chosen.shape, -math.inf, dtype=torch.float64)
    for part in parts:
        for rows in torch.arange(len(chosen)).split(max(1, ENTRIES // part.batch_shape.numel())):
            scores = part.log_prob(chosen[rows][:, None]).double().logsumexp(1)
            marginals[rows] = torch.logaddexp(marginals[rows], scores)
    marginals = (marginals - math.log(total)).flatten(1)
    how = f"Monte Carlo on {len(chosen)} of the codes, whole mixture in every coordinate"
    log_p = -0.5 * (chosen.double().square() + math.log(2 * math.pi)).flatten(1)
    correlation, each = (
        of_some(values, components, total).estimate(len(chosen), how)
        for values in (log_q[places] - marginals.sum(1), (marginals - log_p).sum(1))
    )
    return correlation, each if standard else None
