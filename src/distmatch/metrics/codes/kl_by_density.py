"""KL(q(z)‖p(z)) by a density model fitted to codes (Algorithm 4)."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import Distribution

from distmatch.errors import BadInput, unknown
from distmatch.metrics.checks import checked
from distmatch.metrics.codes.density_models import DENSITY_MODELS, DensityFit, fit_standardised
from distmatch.metrics.codes.surgery import density_of
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.inputs import held_out_codes
from distmatch.metrics.model import Model, Options, Result
from distmatch.random import own_randomness, seeded

TRAINING, VALIDATION = 0.7, 0.1  # shares of the codes; the rest is for the estimate


def marginal_kl_by_density(
    codes: Tensor,
    model: str = "mixture",
    prior: Distribution | None = None,
    *,
    fit: DensityFit | None = None,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Estimate:
    """KL(q(z)‖p(z)) ≥ E_q[log m(z) - log p(z)], in nats, for a density model m fitted to other codes.

        E_q[log m - log p] = KL(q(z)‖p(z)) - KL(q(z)‖m(z))

    So this is a lower bound in expectation: what it misses is how badly m fits. The codes are standardised for
    the fit; m is fitted by likelihood on seven tenths of them, stopped by another tenth (which the mixture uses
    too), and the estimate is the mean over the last fifth, with its standard error over these.

    When it lies: by as much as the model is too small or the codes too few; an interval covers
    KL - KL(q‖m), not KL. Held-out codes of the same datum as training ones are not held-out codes: give one code
    for each datum. Unlike `empirical_marginal_kl` it measures the population's q(z), not the mixture over one data set.

    Args:
        codes: (n, D) independent draws of q(z), n ≥ 30.
        model: "mixture" (diagonal Gaussians), "maf" (masked autoregressive flow) or "lstm" (autoregressive):
            a key of `DENSITY_MODELS`.
        prior: p(z), batch shape (); None for N(0, I).
        fit: sizes and training of m.
        progress: called with the share of the fit that is done; it may stop early.

    Raises:
        BadInput: shapes, NaN, an unknown model, too few codes, a coordinate that does not vary (then KL is
            infinite), a fit that diverged.

    Reference: Rosca, Lakshminarayanan and Mohamed, 1802.06847, Algorithm 4; Papamakarios et al., 1705.07057.

    >>> z = 1 + torch.randn(5000, 2, generator=seeded(0))         # KL(N(1, I)‖N(0, I)) = 1
    >>> kl = marginal_kl_by_density(z, fit=DensityFit(components=1))
    >>> abs(kl.value - 1) < 3 * kl.standard_error, kl.n
    (True, 1000)
    """
    if model not in DENSITY_MODELS:
        raise unknown("density model", model, DENSITY_MODELS)
    codes = checked(codes, "codes", "n, D", least=30)
    fit = dataclasses.replace(fit or DensityFit(), seed=seed, progress=progress)
    codes = codes[torch.randperm(len(codes), generator=seeded(seed)).to(codes.device)]
    first, second = round(TRAINING * len(codes)), round((TRAINING + VALIDATION) * len(codes))
    with own_randomness(seed):
        log_density = fit_standardised(DENSITY_MODELS[model], codes[:first], codes[first:second], fit)
        log_m = log_density(codes[second:])
    with torch.no_grad():
        log_p = _log_prior(codes[second:], prior)
    if not log_m.isfinite().all():
        raise BadInput(f"the density model {model} gives codes no density; lower lr or give more codes")
    how = (
        f"{model} fitted to {second} codes, mean over the held-out others; a lower bound in expectation, "
        "short of KL by KL(q‖m)"
    )
    return Estimate.mean(log_m - log_p, "nats", how)


def _log_prior(codes: Tensor, prior: Distribution | None) -> Tensor:
    if prior is not None:
        return density_of(prior, codes)
    return -0.5 * (codes.square() + math.log(2 * math.pi)).sum(1)


FIT = DensityFit(steps=400, width=32)


@metric(
    "marginal_kl_by_density",
    question="How far from the prior do density models place the codes, at least?",
    needs=("encode", "test", "standard_prior"),
    reference="Rosca et al., 1802.06847, Algorithm 4",
    better={f"kl_by_{name}": "lower" for name in DENSITY_MODELS},
    quick=False,
)
def measure(model: Model, options: Options) -> Result:
    """Algorithm 4 on one code for each of at most 10,000 held-out data, with every density model."""
    drawn, estimates = held_out_codes(model, options), {}
    for i, name in enumerate(DENSITY_MODELS):
        estimates[f"kl_by_{name}"] = marginal_kl_by_density(drawn, name, fit=FIT, seed=options.seed)
        if options.progress is not None:
            options.progress((i + 1) / len(DENSITY_MODELS))
    return Result(estimates)
