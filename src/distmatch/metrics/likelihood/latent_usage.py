"""Use of the code's coordinates by an encoder."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.checks import at_least, checked, same_shape
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.inputs import gaussians
from distmatch.metrics.model import Model, Options, Result
from distmatch.metrics.plots import Histograms, Lines, Plot
from distmatch.random import seeded

UNITS, REPLICATES = 512, 50  # units and resamples at once
NEVER = 1e-4  # probability of a unit that is not near its threshold
SHOWN = 100_000  # entries of a histogram, at most


@dataclass(frozen=True)
class LatentUsage:
    """The result of `latent_usage`.

    Attributes:
        active_by_variance: units with Var_x E[z_i|x] above its threshold.
        active_by_kl: units with KL_i above its threshold.
        rate: Σ_i KL_i, nats.
        variances: Var_x E[z_i|x], (D,); kl: KL_i in nats, (D,); kl_errors: its standard errors, (D,).
        active: units that are active by both, (D,), bool.
    """

    active_by_variance: Estimate
    active_by_kl: Estimate
    rate: Estimate
    variances: Tensor
    kl: Tensor
    kl_errors: Tensor
    active: Tensor


def latent_usage(
    loc: Tensor,
    scale: Tensor,
    *,
    variance: float = 0.01,
    kl: float = 0.01,
    resamples: int = 200,
    seed: int = 0,
) -> LatentUsage:
    """Number of units of q(z|x_n) = N(loc_n, diag scale_n²) that depend on x, by two criteria, against N(0, I).

        Var_x E[z_i|x] > 0.01,    KL_i = 1/N Σ_n ½(μ_ni² + σ_ni² - 1 - ln σ_ni²) > 0.01 nats

    A unit whose mean is constant but not 0, or whose σ is not 1, has a KL and no variance: it costs rate and
    says nothing of x. The errors of the counts are the standard deviations over `resamples` bootstrap
    resamples of the examples; 0 says that no unit is near its threshold, not that another encoder, or other
    thresholds, would give the same count. Where units are near, a count's limits are the central 95 % of how many
    would be above it if each unit's value were normal with its own error. For a prior other than N(0, I) the KL is
    not the rate.

    Args:
        loc, scale: (N, D), N ≥ 2, scale > 0.
        variance, kl: the thresholds.

    Raises:
        BadInput: shapes, NaN, scale ≤ 0, thresholds below 0, fewer than two resamples.

    Reference: Burda, Grosse and Salakhutdinov, 1509.00519, section 5.2 (the variance criterion).

    >>> x = torch.linspace(-1, 1, 100)[:, None]
    >>> usage = latent_usage(torch.cat([x, 0 * x], 1), torch.tensor([0.1, 1.0]).expand(100, 2))
    >>> usage.active.tolist(), usage.active_by_kl.value, round(float(usage.variances[0]), 2)
    ([True, False], 1.0, 0.34)
    """
    loc, scale = checked(loc, "loc", "N, D"), checked(scale, "scale", "N, D")
    same_shape(loc, scale, "loc and scale")
    if not (scale > 0).all():
        raise BadInput(f"scale must be positive; its smallest entry is {float(scale.min()):g}")
    if not (variance >= 0 and kl >= 0):
        raise BadInput(f"the thresholds must be 0 or more; got variance = {variance} and kl = {kl}")
    at_least(2, resamples=resamples)
    each = 0.5 * (loc.square() + scale.square() - 1 - 2 * scale.log())
    variances, kls = loc.var(0), each.mean(0)
    errors = _errors(loc, each, (variance, kl), resamples, seed)
    how = f"{{}} of {loc.shape[1]} units; error by {resamples} bootstrap resamples of the examples"
    kl_errors = each.std(0) / math.sqrt(len(loc))
    by_variance, by_kl = (
        _count(values, own, threshold, Estimate(0.0, error, len(loc), "units", how.format(name)))
        for values, own, threshold, error, name in (
            (variances, _variance_errors(loc), variance, errors[0], f"Var_x E[z_i|x] > {variance:g};"),
            (kls, kl_errors, kl, errors[1], f"KL_i > {kl:g} nats;"),
        )
    )
    return LatentUsage(
        active_by_variance=by_variance,
        active_by_kl=by_kl,
        rate=Estimate.mean(each.sum(1), "nats", "closed form against N(0, I), mean over examples"),
        variances=variances,
        kl=kls,
        kl_errors=kl_errors,
        active=(variances > variance) & (kls > kl),
    )


def _count(values: Tensor, errors: Tensor, threshold: float, estimate: Estimate) -> Estimate:
    """Number of values above the threshold. Where some are near it, the limits are the central 95 % of the number
    of those that are, each with the probability that a normal of its value and error gives (Poisson's binomial)."""
    above = torch.special.ndtr((values - threshold) / errors.clamp(min=1e-300))
    sure = int((above > 1 - NEVER).sum())
    shares = values.new_ones(1)
    for p in above[(above >= NEVER) & (above <= 1 - NEVER)].tolist():
        shares = torch.cat([shares * (1 - p), shares.new_zeros(1)]) + torch.cat(
            [shares.new_zeros(1), shares * p]
        )
    low, high = (sure + int((shares.cumsum(0) < level).sum()) for level in (0.025, 0.975))
    count = int((values > threshold).sum())
    limits = (float(min(low, count)), float(max(high, count)))
    return replace(estimate, value=float(count), limits=limits if low < high else None)


def _variance_errors(loc: Tensor) -> Tensor:
    """Standard errors of each column's variance, (D,)."""
    n, variances = len(loc), loc.var(0)
    fourth = (loc - loc.mean(0)).pow(4).mean(0)
    return ((fourth - variances.square() * (n - 3) / (n - 1)).clamp(min=0) / n).sqrt()


def _errors(
    loc: Tensor, each: Tensor, thresholds: tuple[float, float], resamples: int, seed: int
) -> tuple[float, float]:
    """Standard deviations of both counts over bootstrap resamples: each is a matmul with multinomial weights."""
    generator, n = seeded(seed), len(loc)
    counts = []
    for start in range(0, resamples, REPLICATES):
        rows = min(REPLICATES, resamples - start)
        drawn = torch.randint(n, (rows, n), generator=generator) + n * torch.arange(rows)[:, None]
        weights = torch.bincount(drawn.flatten(), minlength=rows * n).reshape(rows, n).to(loc) / n
        total = loc.new_zeros(rows, 2)
        for unit in range(0, loc.shape[1], UNITS):
            part = slice(unit, unit + UNITS)
            mu = loc[:, part] - loc[:, part].mean(0)
            spread = (weights @ mu.square() - (weights @ mu).square()) * n / (n - 1)
            total[:, 0] += (spread > thresholds[0]).sum(1)
            total[:, 1] += (weights @ each[:, part] > thresholds[1]).sum(1)
        counts.append(total)
    by_variance, by_kl = torch.cat(counts).std(0).tolist()
    return by_variance, by_kl


def usage_plots(usage: LatentUsage, loc: Tensor, scale: Tensor) -> tuple[Plot, ...]:
    """Histograms of means and of σ, active units apart from the others, and every unit's KL in falling order.

    >>> loc, scale = torch.linspace(-1, 1, 150).reshape(50, 3), torch.ones(50, 3)
    >>> [type(e).__name__ for e in usage_plots(latent_usage(loc, scale), loc, scale)]
    ['Lines', 'Histograms', 'Histograms']
    """
    order = usage.kl.argsort(descending=True)
    ranks = torch.arange(1, len(order) + 1, dtype=torch.float64)
    groups = {"active units": usage.active, "other units": ~usage.active}

    def entries(values: Tensor) -> dict[str, Tensor]:
        return {name: _thinned(values[:, which]) for name, which in groups.items() if which.any()}

    return (
        Lines(
            "The KL of every unit from N(0, 1), in falling order: a rate spread over few units or over all.",
            ranks,
            {"KL of the unit": usage.kl[order]},
            "unit, by its KL",
            "nats",
            errors={"KL of the unit": usage.kl_errors[order]},
        ),
        Histograms("Means of q(z|x), one entry for each unit and example.", entries(loc), "mean"),
        Histograms(
            "Standard deviations of q(z|x): an unused unit's are 1.", entries(scale), "standard deviation"
        ),
    )


def _thinned(values: Tensor) -> Tensor:
    """At most `SHOWN` of the entries, evenly spaced."""
    flat = values.detach().flatten()
    return flat[:: max(1, math.ceil(len(flat) / SHOWN))].cpu()


@metric(
    "latent_usage",
    question="How many units of the code does the encoder use?",
    needs=("encode", "train", "standard_prior"),
    reference="Burda, Grosse and Salakhutdinov, 1509.00519",
    better={"active_units": "", "active_units_kl": ""},
)
def measure(model: Model, options: Options) -> Result:
    """The use of units over the encodings of the training set."""
    loc, scale = gaussians(model, options)
    usage = latent_usage(loc, scale, seed=options.seed)
    return Result(
        {"active_units": usage.active_by_variance, "active_units_kl": usage.active_by_kl},
        usage_plots(usage, loc, scale),
    )
