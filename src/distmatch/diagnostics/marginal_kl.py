"""KL(q(z)‖p(z)) by Monte Carlo over the whole mixture (Algorithm 2), and what it is made of."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from distmatch.diagnostics.checks import at_least, checked, same_shape
from distmatch.diagnostics.estimate import Estimate, seeded
from distmatch.diagnostics.mixture import ROWS, log_marginals, log_mixture, log_normal
from distmatch.errors import BadInput

CODES, MOST_CODES = 10_000, 100_000  # codes drawn unless told otherwise: more where the mixture is small
WORK = 20_000_000  # ... up to this many entries M·N·D
DECOMPOSED_CODES = 1_000  # codes at most for the decomposition ...
DECOMPOSED_WORK = 500_000_000  # ... and exponentials at most, but never fewer than 50 codes


@dataclass(frozen=True)
class MarginalKL:
    """What `marginal_kl` found, in nats. `lower` ≤ KL ≤ `upper` is R - ln N ≤ KL(q(z)‖p(z)) ≤ R.

    `bound_holds` allows three standard errors. Where own draws were scored, log q(z) ≥ log q(z|x_n) - ln N
    was checked at every one of them as well.
    """

    marginal_kl: Estimate
    rate: Estimate
    mutual_information: Estimate
    total_correlation: Estimate | None
    dimension_wise_kl: Estimate | None
    lower: float
    upper: float
    bound_holds: bool

    def estimates(self) -> dict[str, Estimate]:
        """The estimates by name, without those that were not asked for."""
        return {k: v for k, v in vars(self).items() if isinstance(v, Estimate)}


def marginal_kl(
    loc: Tensor,
    scale: Tensor,
    codes: Tensor | None = None,
    *,
    samples: int | None = None,
    evaluate: int | None = None,
    seed: int = 0,
    chunk: int = ROWS,
    leave_one_out: bool = False,
    decompose: bool = True,
) -> MarginalKL:
    """KL(q(z)‖p(z)) for q(z) = 1/N Σ_n N(z; loc_n, diag scale_n²) and p = N(0, I).

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

    Args:
        loc, scale: (N, D), N ≥ 2, scale > 0.
        codes: (M, D) draws from q(z), scored as they are; without them codes are drawn.
        samples: draws per evaluated component (default: 10,000 codes in all, to 100,000 where N·D is small).
        evaluate: components to draw from (default 1,000, or N).
        chunk: codes scored at once; memory is about 24·N·D bytes and a few tiles.
        leave_one_out: leave the draw's own component out of q(z). Then I is in expectation an upper bound of
            the population's (with it, a lower bound), KL a lower bound, and R - ln N no bound (-inf).
        decompose: also total correlation and dimension-wise KL, on a subset of at most 1,000 codes (fewer
            where N·D is large: they cost an exponential per code, component and coordinate).

    Raises:
        BadInput: shapes, NaN, scale ≤ 0, counts below one; codes given that cannot come from this mixture
            (30 or more, and the bounds fail by more than six standard errors).

    Reference: Hoffman and Johnson, ELBO surgery (2016); Rosca, Lakshminarayanan and Mohamed, Distribution
    Matching in Variational Inference (1802.06847), Algorithm 2; Poole et al. 1905.06922 for leave-one-out.

    >>> loc, scale = torch.tensor([[-2.0], [2.0]]), torch.full((2, 1), 0.5)
    >>> found = marginal_kl(loc, scale)
    >>> [round(e.value, 1) for e in (found.rate, found.mutual_information, found.marginal_kl)]
    [2.3, 0.7, 1.6]
    """
    loc, scale = _checked_mixture(loc, scale)
    at_least(1, chunk=chunk)
    rates = 0.5 * (loc.square() + scale.square() - 1 - 2 * scale.log()).sum(1)
    rate, limit = Estimate.mean(rates, "nats", "closed form, mean over the mixture's data points"), len(loc)
    if codes is None:
        codes, own = _draw(loc, scale, samples, evaluate, seed)
    else:
        codes, own = _checked_codes(codes, loc, leave_one_out), None
    place = None if own is None else own.flatten()
    log_q = log_mixture(codes, loc, scale, place, leave_one_out=leave_one_out, chunk=chunk)
    score = log_q - _log_prior(codes).sum(1)
    if own is None:
        value, error = float(score.mean()), float(score.std()) / math.sqrt(len(codes))
        information = rate.value - value, error
    else:
        log_code = log_normal(codes, loc[place], scale[place])
        if not leave_one_out and float((log_code - log_q).max()) > math.log(limit) + 1e-6:
            raise RuntimeError("log q(z) < log q(z|x_n) - ln N: the mixture's density was lost to rounding")
        control = log_code - _log_prior(codes).sum(1) - rate.value
        controlled = _controlled(score, control, rates[place] - rate.value)
        value, error = two_stage(controlled.reshape(own.shape), limit)
        information = _information((log_code - log_q).reshape(own.shape), limit)
    lower = -math.inf if leave_one_out else rate.value - math.log(limit)
    slack = max(0.0, lower - value, value - rate.value) - 1e-6 * (1 + abs(rate.value))
    if own is not None:
        value = min(max(value, lower), rate.value)
    elif len(codes) >= 30 and slack > 6 * error:
        raise BadInput(
            f"KL = {value:.4g} ± {error:.2g} lies outside [R - ln N, R] = [{lower:.4g}, {rate.value:.4g}]: "
            "the codes are not draws from this mixture"
        )
    saturation = "own component left out" if leave_one_out else f"I saturates at ln N = {math.log(limit):.3f}"
    how = f"Monte Carlo over the whole mixture of N = {limit} Gaussians; {saturation}"
    correlation, dimension_wise = _decompose(codes, log_q, loc, scale) if decompose else (None, None)
    return MarginalKL(
        marginal_kl=Estimate(value, error, len(codes), "nats", how),
        rate=rate,
        mutual_information=Estimate(*information, len(codes), "nats", how),
        total_correlation=correlation,
        dimension_wise_kl=dimension_wise,
        lower=lower,
        upper=rate.value,
        bound_holds=slack <= 3 * error,
    )


def _checked_mixture(loc: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    loc, scale = checked(loc, "loc", "N, D"), checked(scale, "scale", "N, D")
    same_shape(loc, scale, "loc and scale")
    if not (scale > 0).all():
        raise BadInput(f"scale must be positive; its smallest entry is {float(scale.min()):g}")
    return loc, scale


def _checked_codes(codes: Tensor, loc: Tensor, leave_one_out: bool) -> Tensor:
    if leave_one_out:
        raise BadInput("leave_one_out needs to know each code's component; let marginal_kl draw the codes")
    codes = checked(codes, "codes", "M, D").to(loc.device)
    if codes.shape[1] != loc.shape[1]:
        raise BadInput(f"codes have {codes.shape[1]} dimensions and loc has {loc.shape[1]}")
    return codes


def _draw(
    loc: Tensor, scale: Tensor, samples: int | None, evaluate: int | None, seed: int
) -> tuple[Tensor, Tensor]:
    """Codes (n·K, D) and the components (n, K) that they come from."""
    n = min(1000, len(loc)) if evaluate is None else evaluate
    at_least(2, evaluate=n)
    if n > len(loc):
        raise BadInput(f"evaluate is {n}, but the mixture has only {len(loc)} components")
    codes = min(MOST_CODES, max(CODES, WORK // loc.numel()))
    k = max(10, math.ceil(codes / n)) if samples is None else samples
    at_least(1, samples=k)
    generator = seeded(seed)
    own = torch.randperm(len(loc), generator=generator)[:n, None].expand(n, k).to(loc.device)
    noise = torch.randn(n * k, loc.shape[1], generator=generator, dtype=loc.dtype).to(loc.device)
    return loc[own.flatten()] + scale[own.flatten()] * noise, own


def _controlled(score: Tensor, draws: Tensor, components: Tensor) -> Tensor:
    """`score` less its regression on a control whose mean is zero, (M,) each: on that of the draws if it may,
    otherwise on that of the components (each one's rate less the mean rate).

    Where components hardly overlap, the residual of the first is constant but for rare codes between them:
    its spread would say nothing of what M codes did not see. So it is used only if it is not heavy-tailed.
    """
    residual = _residual(score, draws)
    return _residual(score, components) if _rests_on_few(residual) else residual


def _residual(score: Tensor, control: Tensor) -> Tensor:
    centred = control - control.mean()
    spread = centred.square().sum()
    weight = (centred * score).sum() / spread if spread > 0 else spread
    return score - weight.clamp(0, 1) * control


def _rests_on_few(values: Tensor) -> bool:
    """Whether M/kurtosis, about how many of the M values make up the variance, is below 100, or none does."""
    squares = (values - values.mean()).square()
    fourth = float(squares.square().sum())
    return float(squares.mean()) < 1e-12 or float(squares.sum()) ** 2 < 100 * fourth


def _information(values: Tensor, total: int) -> tuple[float, float]:
    """Mean and standard error of log q(z|x_n) - log q(z), (n, K). Where its spread rests on a few codes, the
    error is at least 3 nats/M: what M draws may miss (the rule of three) of codes nearer to another mean."""
    value, error = two_stage(values, total)
    return value, max(error, 3 / values.numel()) if _rests_on_few(values.flatten()) else error


def two_stage(values: Tensor, total: int) -> tuple[float, float]:
    """Mean and standard error of K draws in each of n components out of `total`, values (n, K).

    Var = (1 - n/N) s²_between/n + (n/N) s²_within/(nK)  (Cochran, Sampling Techniques, chapter 10).

    >>> two_stage(torch.tensor([[1.0, 1.0], [3.0, 3.0]]), 2)    # both components seen, no noise within
    (2.0, 0.0)
    """
    n, k = values.shape
    between = values.mean(1).var() / n
    if k == 1:  # nothing tells the draws' own variance: keep the larger error
        return float(values.mean()), math.sqrt(float(between))
    within = values.var(1).mean() / (n * k)
    return float(values.mean()), math.sqrt(float((1 - n / total) * between + n / total * within))


def _decompose(codes: Tensor, log_q: Tensor, loc: Tensor, scale: Tensor) -> tuple[Estimate, Estimate]:
    """Total correlation and Σ_j KL(q(z_j)‖p(z_j)) on evenly spaced codes."""
    affordable = max(50, DECOMPOSED_WORK // loc.numel())
    step = math.ceil(len(codes) / min(DECOMPOSED_CODES, affordable))
    chosen = codes[::step]
    if len(chosen) < 2:
        chosen, step = codes, 1
    marginals = log_marginals(chosen, loc, scale)
    how = f"Monte Carlo on {len(chosen)} of the codes, whole mixture in every coordinate"
    correlation = Estimate.mean(log_q[::step] - marginals.sum(1), "nats", how)
    return correlation, Estimate.mean((marginals - _log_prior(chosen)).sum(1), "nats", how)


def _log_prior(codes: Tensor) -> Tensor:
    """log N(z_j; 0, 1) per coordinate, (*, D)."""
    return -0.5 * (codes.square() + math.log(2 * math.pi))
