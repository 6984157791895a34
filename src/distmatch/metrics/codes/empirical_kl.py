"""KL(q(z)‖p(z)) by Monte Carlo over the whole mixture (Algorithm 2), for Gaussian posteriors."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from distmatch.errors import BadInput
from distmatch.metrics.checks import at_least, checked, same_shape
from distmatch.metrics.codes.mixture import ROWS, log_marginals, log_mixture, log_normal
from distmatch.metrics.codes.posterior_kl import empirical_marginal_kl_of
from distmatch.metrics.codes.surgery import EmpiricalKL as EmpiricalKL
from distmatch.metrics.codes.surgery import Rates, Scores, density_of, family, rates_of, summary
from distmatch.metrics.codes.two_stage import of_some, sizes, thinned
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.inputs import check_prior, gaussians, load, training
from distmatch.metrics.model import Model, Options, Result
from distmatch.random import own_randomness, seeded

CODES, MOST_CODES = 10_000, 100_000  # codes drawn unless told otherwise: more where the mixture is small ...
WORK = 20_000_000  # ... up to this many entries M·N·D, in thousands: and fewer where it is huge,
MOST_WORK, FEWEST_CODES = 200_000_000_000, 200  # ... down to this many entries M·N·D, or codes
DECOMPOSED_CODES = 1_000  # codes at most for the decomposition ...
DECOMPOSED_WORK, FEWEST_DECOMPOSED = 250_000_000, 20  # ... and exponentials at most, or codes at least


def empirical_marginal_kl(
    loc: Tensor,
    scale: Tensor,
    codes: Tensor | None = None,
    *,
    prior: Distribution | None = None,
    samples: int | None = None,
    evaluate: int | None = None,
    seed: int = 0,
    chunk: int = ROWS,
    leave_one_out: bool = False,
    decompose: bool = True,
    progress: Callable[[float], None] | None = None,
) -> EmpiricalKL:
    """KL(q(z)‖p(z)) for q(z) = 1/N Σ_n N(z; loc_n, diag scale_n²) and p = N(0, I), or another prior.

        R = 1/N Σ_n KL(q(z|x_n)‖p(z)) = KL(q(z)‖p(z)) + I_q(x; z),   0 ≤ I_q ≤ ln N
        KL(q(z)‖p(z)) = TC + Σ_j KL(q(z_j)‖p(z_j)),   TC = E log q(z) - Σ_j E log q(z_j)

    Own draws: `samples` codes from each of `evaluate` components (a random subset; the mixture is always the
    whole one). KL is the mean of log q(z) - log p(z); where the residual is not heavy-tailed, with
    log q(z|x_n) - log p(z), whose mean R is known in closed form, as control variate (otherwise with each
    component's rate). I is the mean of
    log q(z|x_n) - log q(z), so R = KL + I in expectation. A KL that noise carried past a bound is put on it.
    The errors of KL and I are Monte Carlo errors at this mixture (two-stage: components, then draws); R's is
    over data points. I saturates at ln N: once the components do not overlap, KL is R - ln N whatever the
    population's q(z).

    The cost is a float64 product of (M, 2D + 1) and (2D + 1, N) and M·N exponentials: 10,000 codes of
    60,000 components take about 6 s on one core at D = 50. By default M falls where N·D > 20 million, so that
    the product stays near 2·10¹¹ multiplications (half a minute on one core): N = 60,000 at D = 10,000 gets
    333 codes. Beside loc and scale it holds about 100 MB and the codes.

    Args:
        loc, scale: (N, D), N ≥ 2, scale > 0, of any floating type.
        codes: (M, D) draws from q(z), scored as they are; without them codes are drawn.
        prior: p(z), batch shape () and event shape (D,), such as a learned one; None for N(0, I). The rate is
            closed form where torch knows it and 8 draws for each data point otherwise (then there is no control
            variate); the dimension-wise KL is to N(0, I) only.
        samples: draws per evaluated component (default: 10,000 codes in all, to 100,000 where N·D is small).
        evaluate: components to draw from (default 1,000, or N).
        chunk: codes scored at once.
        leave_one_out: leave the draw's own component out of q(z). Then I is in expectation an upper bound of
            the population's (with it, a lower bound), KL a lower bound, and R - ln N no bound (-inf).
        decompose: also total correlation and dimension-wise KL, on a subset of at most 1,000 codes (fewer
            where N·D is large: they cost an exponential per code, component and coordinate).
        progress: called with the share that is done, 0 to 1.

    Raises:
        BadInput: shapes, NaN, scale ≤ 0, counts below one, a prior of another shape; codes given that cannot
            come from this mixture (30 or more, and the bounds fail by more than six standard errors).

    Reference: Hoffman and Johnson, ELBO surgery (2016); Rosca, Lakshminarayanan and Mohamed, Distribution
    Matching in Variational Inference (1802.06847), Algorithm 2; Poole et al. 1905.06922 for leave-one-out.

    >>> loc, scale = torch.tensor([[-2.0], [2.0]]), torch.full((2, 1), 0.5)
    >>> kl = empirical_marginal_kl(loc, scale)
    >>> [round(e.value, 1) for e in (kl.rate, kl.mutual_information, kl.empirical_marginal_kl)]
    [2.3, 0.7, 1.6]
    """
    loc, scale = _checked_mixture(loc, scale)
    at_least(1, chunk=chunk)
    if codes is None:
        codes, own = _draw(loc, scale, samples, evaluate, seed)
    else:
        codes, own = _checked_codes(codes, loc, leave_one_out), None
    place = None if own is None else own.flatten()
    log_p = _log_prior(codes).sum(1) if prior is None else density_of(prior, codes)
    ticks = _share(progress, 0.0, 0.6 if decompose else 1.0), _share(progress, 0.6, 1.0)
    log_q = log_mixture(codes, loc, scale, place, leave_one_out=leave_one_out, chunk=chunk, progress=ticks[0])
    log_code = None if place is None else log_normal(codes, loc[place].double(), scale[place].double())
    parts = _decompose(codes, own, log_q, loc, scale, ticks[1]) if decompose else (None, None)
    return summary(
        Scores(log_q, log_p, log_code, own),
        _rates(loc, scale, prior, seed),
        parts if prior is None else (parts[0], None),
        leave_one_out=leave_one_out,
        against="Gaussians" if prior is None else f"Gaussians, prior {family(prior)}",
    )


def _share(
    progress: Callable[[float], None] | None, start: float, end: float
) -> Callable[[float], None] | None:
    """The progress of a part, as that of the whole."""
    return None if progress is None else lambda done: progress(start + (end - start) * done)


def _rates(loc: Tensor, scale: Tensor, prior: Distribution | None, seed: int) -> Rates:
    """KL(q(z|x_n)‖p(z)) of every component, by rows."""
    values, exact = [], True
    step = max(1, DECOMPOSED_WORK // (100 * loc.shape[1]))
    with torch.no_grad(), own_randomness(seed):
        for mu, sigma in zip(loc.split(step), scale.split(step), strict=True):
            mu, sigma = mu.double(), sigma.double()
            if prior is None:
                value = 0.5 * (mu.square() + sigma.square() - 1 - 2 * sigma.log()).sum(1)
            else:
                value, exact = rates_of(Independent(Normal(mu, sigma), 1), prior)
            values.append(value)
    return Rates(torch.cat(values), exact)


def _checked_mixture(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    loc, scale = checked(loc, "loc", "N, D", dtype=None), checked(scale, "scale", "N, D", dtype=None)
    same_shape(loc, scale, "loc and scale")
    if not (scale > 0).all():
        raise BadInput(f"scale must be positive; its smallest entry is {float(scale.min()):g}")
    return loc, scale


def _checked_codes(codes: Tensor, loc: Tensor, leave_one_out: bool) -> Tensor:
    if leave_one_out:
        raise BadInput(
            "leave_one_out needs to know each code's component; let empirical_marginal_kl draw the codes"
        )
    codes = checked(codes, "codes", "M, D").to(loc.device)
    if codes.shape[1] != loc.shape[1]:
        raise BadInput(f"codes have {codes.shape[1]} dimensions and loc has {loc.shape[1]}")
    return codes


def _draw(
    loc: Tensor, scale: Tensor, samples: int | None, evaluate: int | None, seed: int
) -> tuple[Tensor, Tensor]:
    """Codes (n·K, D) in float64 and the components (n, K) that they come from."""
    codes = min(MOST_CODES, max(CODES, WORK // loc.numel()), max(FEWEST_CODES, MOST_WORK // loc.numel()))
    n, k = sizes(len(loc), codes, samples, evaluate)
    generator = seeded(seed)
    own = torch.randperm(len(loc), generator=generator)[:n, None].expand(n, k).to(loc.device)
    noise = torch.randn(n * k, loc.shape[1], generator=generator, dtype=torch.float64).to(loc.device)
    place = own.flatten()
    return noise.mul_(scale[place]).add_(loc[place]), own


def _decompose(
    codes: Tensor,
    own: Tensor | None,
    log_q: Tensor,
    loc: Tensor,
    scale: Tensor,
    progress: Callable[[float], None] | None,
) -> tuple[Estimate, Estimate]:
    """Total correlation and Σ_j KL(q(z_j)‖N(0, 1)) on evenly spaced codes."""
    affordable = max(FEWEST_DECOMPOSED, DECOMPOSED_WORK // loc.numel())
    places, components = thinned(own, len(codes), min(DECOMPOSED_CODES, affordable))
    chosen = codes[places]
    marginals = log_marginals(chosen, loc, scale, progress)
    how = f"Monte Carlo on {len(chosen)} of the codes, whole mixture in every coordinate"
    correlation, each = (
        of_some(values, components, len(loc)).estimate(len(chosen), how)
        for values in (log_q[places] - marginals.sum(1), (marginals - _log_prior(chosen)).sum(1))
    )
    return correlation, each


def _log_prior(codes: Tensor) -> Tensor:
    """log N(z_j; 0, 1) per coordinate, (*, D)."""
    return -0.5 * (codes.square() + math.log(2 * math.pi))


GENERAL_DATA, GENERAL_CODES = 2_000, 1_000  # of posteriors that are not Gaussian: each pair costs a log_prob


@metric(
    "empirical_marginal_kl",
    question="How far from the prior is the mixture of the training data's own posteriors?",
    needs=("encode", "train"),
    reference="Rosca et al., 1802.06847, Algorithm 2",
    better={
        "empirical_marginal_kl": "",
        "marginal_rate": "",
        "mutual_information": "",
        "total_correlation": "",
        "dimension_wise_kl": "",
    },
)
def measure(model: Model, options: Options) -> Result:
    """Algorithm 2 over the encodings of the whole training set, or of a subset where they are not Gaussians."""
    check_prior(model)
    estimates = (_of_gaussians if _is_gaussian(model, options) else _of_others)(model, options)
    # over the training set: not the held-out rate of "elbo"
    estimates["marginal_rate"] = estimates.pop("rate")
    return Result(estimates)


def _is_gaussian(model: Model, options: Options) -> bool:
    """True where the encoder returns diagonal Gaussians, by its answer to a few data."""
    assert model.encode is not None
    x, y = training(model, 2, options)
    with torch.no_grad(), own_randomness(options.seed):
        q = model.encode(x, y)
    while isinstance(q, Independent):
        q = q.base_dist
    return isinstance(q, Normal)


def _of_gaussians(model: Model, options: Options) -> dict[str, Estimate]:
    loc, scale = gaussians(model, options)
    evaluate = max(2, min(len(loc), options.samples // 10))
    return empirical_marginal_kl(
        loc,
        scale,
        prior=model.prior,
        samples=max(2, options.samples // evaluate),
        evaluate=evaluate,
        seed=options.seed,
        progress=options.progress,
    ).estimates()


def _of_others(model: Model, options: Options) -> dict[str, Estimate]:
    encode = model.encode
    assert encode is not None
    x, y = training(model, GENERAL_DATA, options)
    parts = torch.arange(len(x)).split(options.batch_size)
    batches = [(x[rows], None if y is None else y[rows]) for rows in parts]
    evaluate = max(2, min(len(x), min(options.samples, GENERAL_CODES) // 2))
    estimates = empirical_marginal_kl_of(
        lambda batch: encode(*batch),
        batches,
        model.prior,
        samples=2,
        evaluate=evaluate,
        seed=options.seed,
        progress=options.progress,
    ).estimates()
    whole = load(model.train)
    assert whole is not None
    if len(x) == len(whole):
        return estimates
    limit = f"; a random {len(x)} of {len(whole)} training data: a smaller ln N, and so a larger KL"
    return {name: estimate.explained(estimate.how + limit) for name, estimate in estimates.items()}
