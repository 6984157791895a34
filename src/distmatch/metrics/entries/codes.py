"""Whether codes follow the prior."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from distmatch.errors import BadInput
from distmatch.metrics.codes.density_models import DENSITY_MODELS, DensityFit
from distmatch.metrics.codes.empirical_kl import empirical_marginal_kl
from distmatch.metrics.codes.kl_by_density import marginal_kl_by_density
from distmatch.metrics.codes.kl_by_ratio import marginal_kl_by_ratio
from distmatch.metrics.codes.moments import code_moments
from distmatch.metrics.codes.population_kl import population_marginal_kl
from distmatch.metrics.codes.posterior_kl import empirical_marginal_kl_of
from distmatch.metrics.entries.gather import codes, gaussians, held_out, load, subset
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.model import REASONS, Diagnostic, Findings, Options, Subject
from distmatch.random import own_randomness, seeded

GENERAL_DATA, GENERAL_CODES = 2_000, 1_000  # of posteriors that are not Gaussian: each pair costs a log_prob
FITTED_CODES = 10_000  # codes at most for the classifier and for the density models
RATIO_STEPS, RATIO_WIDTH = 600, 128
FIT = DensityFit(steps=400, width=32)
QUICK_FIT = DensityFit(components=16)


def run_population_marginal_kl(subject: Subject, options: Options) -> Findings:
    """Bounds from held-out codes, by densities that know at most 10,000 training data."""
    encode = subject.encode
    assert encode is not None
    _check_prior(subject)
    known = _training(subject, min(FITTED_CODES, options.samples), options)
    found = population_marginal_kl(
        lambda batch: encode(*batch),
        _batches(*held_out(subject, options), options),
        _batches(*known, options),
        subject.prior,
        fit=QUICK_FIT,
        seed=options.seed,
        progress=options.progress,
    )
    upper = {} if found.upper is None else {"population_marginal_kl_upper": found.upper}
    return Findings({"population_marginal_kl": found.population_marginal_kl, **upper})


def _check_prior(subject: Subject) -> None:
    """Raise BadInput where the prior's density is not known."""
    if not subject.standard_prior and subject.prior is None:
        raise BadInput(REASONS["standard_prior"])


def _batches(x: Tensor, y: Tensor | None, options: Options) -> list[tuple[Tensor, Tensor | None]]:
    """Data with their labels, in random order."""
    order = torch.randperm(len(x), generator=seeded(options.seed)).to(x.device)
    return [(x[rows], None if y is None else y[rows]) for rows in order.split(options.batch_size)]


def run_empirical_marginal_kl(subject: Subject, options: Options) -> Findings:
    """Algorithm 2 over the encodings of the whole training set, or of a subset where they are no Gaussians."""
    _check_prior(subject)
    found = (_of_gaussians if _is_gaussian(subject, options) else _of_others)(subject, options)
    found["marginal_rate"] = found.pop("rate")  # over the training set: not the held-out rate of "elbo"
    return Findings(found)


def _is_gaussian(subject: Subject, options: Options) -> bool:
    """Whether the encoder returns diagonal Gaussians, by its answer to a few data."""
    assert subject.encode is not None
    x, y = _training(subject, 2, options)
    with torch.no_grad(), own_randomness(options.seed):
        q = subject.encode(x, y)
    while isinstance(q, Independent):
        q = q.base_dist
    return isinstance(q, Normal)


def _of_gaussians(subject: Subject, options: Options) -> dict[str, Estimate]:
    loc, scale = gaussians(subject, options)
    evaluate = max(2, min(len(loc), options.samples // 10))
    return empirical_marginal_kl(
        loc,
        scale,
        prior=subject.prior,
        samples=max(2, options.samples // evaluate),
        evaluate=evaluate,
        seed=options.seed,
        progress=options.progress,
    ).estimates()


def _of_others(subject: Subject, options: Options) -> dict[str, Estimate]:
    encode = subject.encode
    assert encode is not None
    x, y = _training(subject, GENERAL_DATA, options)
    parts = torch.arange(len(x)).split(options.batch_size)
    batches = [(x[rows], None if y is None else y[rows]) for rows in parts]
    evaluate = max(2, min(len(x), min(options.samples, GENERAL_CODES) // 2))
    found = empirical_marginal_kl_of(
        lambda batch: encode(*batch),
        batches,
        subject.prior,
        samples=2,
        evaluate=evaluate,
        seed=options.seed,
        progress=options.progress,
    ).estimates()
    whole = load(subject.train)
    assert whole is not None
    if len(x) == len(whole):
        return found
    limit = f"; a random {len(x)} of {len(whole)} training data: a smaller ln N, and so a larger KL"
    return {name: estimate.explained(estimate.how + limit) for name, estimate in found.items()}


def _training(subject: Subject, count: int, options: Options) -> tuple[Tensor, Tensor | None]:
    """At most `count` random training data, with their labels where there are some."""
    x, y = load(subject.train), load(subject.train_labels)
    assert x is not None
    return subset(x, count, options.seed), None if y is None else subset(y, count, options.seed)


def _held_out_codes(subject: Subject, options: Options) -> Tensor:
    """One code for each of some held-out data, (n, D) float32: these are draws of the population's q(z)."""
    x, y = held_out(subject, replace(options, samples=min(FITTED_CODES, options.samples)))
    return codes(subject, x, y, options).flatten(1).float()


def run_marginal_kl_by_ratio(subject: Subject, options: Options) -> Findings:
    """Algorithm 3 on one code for each of at most 10,000 held-out data."""
    found = marginal_kl_by_ratio(
        _held_out_codes(subject, options),
        width=RATIO_WIDTH,
        steps=RATIO_STEPS,
        lr=1e-3,
        seed=options.seed,
        progress=options.progress,
    )
    return Findings({"kl_by_ratio": found.mean_score, "kl_by_ratio_bound": found.lower})


def run_marginal_kl_by_density(subject: Subject, options: Options) -> Findings:
    """Algorithm 4 on one code for each of at most 10,000 held-out data, with every density model."""
    drawn, found = _held_out_codes(subject, options), {}
    for i, name in enumerate(DENSITY_MODELS):
        found[f"kl_by_{name}"] = marginal_kl_by_density(drawn, name, fit=FIT, seed=options.seed)
        if options.progress is not None:
            options.progress((i + 1) / len(DENSITY_MODELS))
    return Findings(found)


def run_code_moments(subject: Subject, options: Options) -> Findings:
    """Mean and covariance of codes of held-out data."""
    x, y = held_out(subject, options)
    found = code_moments(codes(subject, x, y, options).flatten(1))
    return Findings({"code_mean": found.mean, "code_covariance": found.covariance})


ENTRIES = (
    Diagnostic(
        "population_marginal_kl",
        "Do codes of any data of the kind, taken together, follow the prior?",
        ("encode", "train", "test"),
        run_population_marginal_kl,
        "Rosca et al., 1802.06847, Algorithm 4, with the training posteriors among the densities",
        {"population_marginal_kl": "lower", "population_marginal_kl_upper": ""},
    ),
    Diagnostic(
        "empirical_marginal_kl",
        "How far from the prior is the mixture of the training data's own posteriors?",
        ("encode", "train"),
        run_empirical_marginal_kl,
        "Rosca et al., 1802.06847, Algorithm 2",
        {
            "empirical_marginal_kl": "",
            "marginal_rate": "",
            "mutual_information": "",
            "total_correlation": "",
            "dimension_wise_kl": "",
        },
    ),
    Diagnostic(
        "marginal_kl_by_ratio",
        "What does a classifier make of the codes' KL to the prior (never to be used alone)?",
        ("encode", "test", "standard_prior"),
        run_marginal_kl_by_ratio,
        "Rosca et al., 1802.06847, Algorithm 3; Nguyen et al., 0809.0853, for the bound",
        {"kl_by_ratio": "", "kl_by_ratio_bound": "lower"},
        quick=False,
    ),
    Diagnostic(
        "marginal_kl_by_density",
        "How far from the prior do density models place the codes, at least?",
        ("encode", "test", "standard_prior"),
        run_marginal_kl_by_density,
        "Rosca et al., 1802.06847, Algorithm 4",
        {f"kl_by_{name}": "lower" for name in DENSITY_MODELS},
        quick=False,
    ),
    Diagnostic(
        "code_moments",
        "Have the codes the prior's mean and covariance?",
        ("encode", "test", "standard_prior"),
        run_code_moments,
        "the first two moments of N(0, I)",
        {"code_mean": "lower", "code_covariance": "lower"},
    ),
)
