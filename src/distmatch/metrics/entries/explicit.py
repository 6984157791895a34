"""What an encoder and a decoder with densities tell: holes of q(z), used units, bounds by annealing, bits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.utils.flop_counter import FlopCounterMode

from distmatch.errors import BadInput
from distmatch.metrics.checks import as_distribution
from distmatch.metrics.entries.gather import codes, gaussians, held_out, load
from distmatch.metrics.entries.likelihoods import WEIGHTED
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.likelihood.annealed import annealed_log_likelihood, simulate
from distmatch.metrics.likelihood.bits import bits_per_dim
from distmatch.metrics.likelihood.importance import log_likelihood
from distmatch.metrics.likelihood.latent_usage import latent_usage, usage_exhibits
from distmatch.metrics.likelihood.low_posterior import LowPosterior, low_posterior_samples, tail_mean
from distmatch.metrics.likelihood.populations import (
    Population,
    code_map,
    cost_histograms,
    mean_pixel,
    nearest_neighbours,
    paired_pictures,
    pixel_histograms,
    population,
)
from distmatch.metrics.model import Diagnostic, Findings, Options, Subject
from distmatch.metrics.plots import Exhibit
from distmatch.random import seeded

KEPT, COMPARED, MAPPED = 64, 1_000, 900  # low-posterior samples, data beside them, points of the t-SNE
ANNEALED, CHAINS, TEMPERATURES, LEAPFROG = 32, 4, 250, 4
WORK, FEWEST = (
    5e11,
    4,
)  # operations of annealing's decoder calls, forward; so many examples however costly it is
SCORING = 0.9  # of the time of `low_posterior_samples` goes into log q(z)


Group = tuple[Tensor, Tensor | None]  # images, and their labels


def run_low_posterior_samples(subject: Subject, options: Options) -> Findings:
    """Algorithm 1 over the encodings of the training set, with its three populations."""
    decode, progress = subject.decode_prior or subject.decode, options.progress
    assert decode is not None
    x, y = load(subject.train), load(subject.train_labels)
    assert x is not None
    keep = min(KEPT, max(2, options.samples))
    labels = None if y is None else y[_rows(len(y), keep, options.seed)]
    found = low_posterior_samples(
        *gaussians(subject, options),
        lambda z, y=None: decode(z, y),
        y=labels,
        draws=max(2, options.samples),
        keep=keep,
        batch_size=options.batch_size,
        seed=options.seed,
        progress=None if progress is None else lambda share: progress(SCORING * share),
    )
    images = _like(found.images.to(x).reshape(keep, *x.shape[1:]), x)
    near = nearest_neighbours(images, x).index.to(x.device)
    some = _rows(len(x), min(COMPARED, len(x)), options.seed)
    groups: dict[str, Group] = {
        "data": (x[some], None if y is None else y[some]),
        "neighbours": (x[near], None if y is None else y[near.to(y.device)]),
        "low_posterior": (images, labels),
    }
    of_samples = replace(subject, encode=subject.encode_samples or subject.encode)
    costs = {
        name: _cost(of_samples if name == "low_posterior" else subject, options, *group)
        for name, group in groups.items()
    }
    pictures = {name: group[0] for name, group in groups.items()}
    shown = _shown(subject, pictures, costs)
    codes_of = {"prior": found.prior, "codes of q(z)": found.codes, "low-posterior": found.z}
    shown.append(code_map(codes_of, most=MAPPED, seed=options.seed))
    return Findings(_low_posterior_metrics(found, costs, pictures), tuple(shown))


def _rows(n: int, count: int, seed: int) -> Tensor:
    """`count` of n row numbers at random, none twice before all are used."""
    return torch.randperm(n, generator=seeded(seed))[torch.arange(count) % n]


def _cost(subject: Subject, options: Options, x: Tensor, y: Tensor | None) -> Population:
    """Rate, and ELBO where there is a likelihood, of one population."""
    encode, decode = subject.encode, subject.decode
    assert encode is not None
    assert decode is not None
    return population(
        lambda x, y=None: encode(x, y),
        (lambda z, y=None: decode(z, y)) if subject.has_likelihood else None,
        x,
        y=y,
        prior=subject.prior,
        batch_size=options.batch_size,
        seed=options.seed,
    )


def _shown(subject: Subject, pictures: dict[str, Tensor], costs: dict[str, Population]) -> list[Exhibit]:
    """Samples over neighbours, where they are images, and the three populations' histograms."""
    shown: list[Exhibit] = []
    if subject.is_image:
        low, high = subject.image_range
        unit = {name: (images - low) / (high - low) for name, images in pictures.items()}
        shown.append(paired_pictures(unit["low_posterior"], unit["neighbours"]))
    shown.append(pixel_histograms({name.replace("_", "-"): images for name, images in pictures.items()}))
    return [*shown, *cost_histograms({name.replace("_", "-"): cost for name, cost in costs.items()})]


def _low_posterior_metrics(
    found: LowPosterior, costs: dict[str, Population], pictures: dict[str, Tensor]
) -> dict[str, Estimate]:
    """The populations' means, and where log q(z) of prior draws and of codes lie."""
    metrics = {
        "low_posterior_log_q": found.quantiles[0.01].explained(
            "the lowest 1 % of prior draws lie below this log q(z); error by Woodruff's interval"
        ),
        "low_posterior_log_q_codes": found.code_quantiles[0.5].explained(
            "median of log q(z) at codes of the data, for comparison; error by Woodruff's interval"
        ),
    }
    for name, cost in costs.items():
        metrics[f"low_posterior_rate_{name}"] = _of_lowest(name, cost.rate, cost.rates, found)
        if cost.elbo is not None and cost.elbos is not None:
            metrics[f"low_posterior_elbo_{name}"] = _of_lowest(name, cost.elbo, cost.elbos, found)
    for name in ("data", "low_posterior"):
        pixels = pictures[name].flatten(1).mean(1)
        metrics[f"low_posterior_pixel_{name}"] = _of_lowest(name, mean_pixel(pictures[name]), pixels, found)
    return metrics


def _of_lowest(group: str, mean: Estimate, values: Tensor, found: LowPosterior) -> Estimate:
    """The mean over a group's images; of the lowest draws, and their neighbours, with the error that these have."""
    if group == "data":
        return mean
    return tail_mean(values, found.log_q, len(found.prior), mean.unit, mean.how)


def _like(images: Tensor, data: Tensor) -> Tensor:
    """Images binarised at ½ where the data hold nothing but 0 and 1; otherwise as they are."""
    some = data[:COMPARED]
    return (images > 0.5).to(images) if ((some == 0) | (some == 1)).all() else images


def run_latent_usage(subject: Subject, options: Options) -> Findings:
    """Over the encodings of the training set."""
    loc, scale = gaussians(subject, options)
    found = latent_usage(loc, scale, seed=options.seed)
    return Findings(
        {"active_units": found.active_by_variance, "active_units_kl": found.active_by_kl},
        usage_exhibits(found, loc, scale),
    )


def run_annealed_log_likelihood(subject: Subject, options: Options) -> Findings:
    """A lower bound on a few held-out examples, and how far it can be off: the gap on data the model made."""
    decode, latent = subject.decode, subject.latent
    assert decode is not None
    assert latent is not None

    def decoder(z: Tensor, y: Tensor | None = None) -> Distribution:
        return decode(z, y)

    count = min(_affordable(subject, latent), max(2, options.samples))
    x, y = held_out(subject, replace(options, samples=count))
    made = simulate(decoder, len(x), latent, subject.prior, y=y, seed=options.seed)
    anneal = partial(
        annealed_log_likelihood,
        decoder,
        latent=latent,
        prior=subject.prior,
        y=y,
        temperatures=TEMPERATURES,
        chains=CHAINS,
        leapfrog=LEAPFROG,
        seed=options.seed,
    )
    held = anneal(x, progress=_share(options, 0.0, 0.4))
    own = anneal(made.x.to(x), codes=made.codes, progress=_share(options, 0.4, 0.6))
    assert own.gap is not None
    return Findings(
        {
            "annealed_log_likelihood": held.lower,
            "annealed_gap": own.gap.explained(
                f"upper less lower bound on {len(x)} examples that the model made: how far the lower one may be off"
            ),
            "annealed_acceptance": held.acceptance,
        }
    )


def _affordable(subject: Subject, latent: int) -> int:
    """How many examples to anneal: fewer where the decoder is costly, by the operations of one call."""
    assert subject.decode is not None
    labels = load(subject.test_labels)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        subject.decode(torch.zeros(1, latent), None if labels is None else labels[:1])
    calls = 3 * CHAINS * TEMPERATURES * LEAPFROG  # forward, and on simulated data both ways
    return max(FEWEST, min(ANNEALED, int(WORK / calls / max(1, counter.get_total_flops()))))


def _share(options: Options, before: float, width: float) -> Callable[[float], None] | None:
    """Progress of one part of the work."""
    progress = options.progress
    return None if progress is None else lambda done: progress(before + width * done)


def run_bits_per_dim_bound(subject: Subject, options: Options) -> Findings:
    """An upper bound from the importance-weighted one, where the decoder's law is of levels or dequantised."""
    encode, decode = subject.encode, subject.decode
    assert encode is not None
    assert decode is not None
    x, y = held_out(subject, replace(options, samples=max(2, min(options.samples, WEIGHTED) // 10)))
    if subject.grey_levels is None:
        first = None if y is None else y[:1]
        law = as_distribution(decode(codes(subject, x[:1], first, options), first), "the decoder")
        _check_levels(law, x)
    found = log_likelihood(
        lambda x, y=None: encode(x, y),
        lambda z, y=None: decode(z, y),
        x,
        y=y,
        prior=subject.prior,
        batch_size=options.batch_size,
        seed=options.seed,
    )
    return Findings(
        {"bits_per_dim_bound": bits_per_dim(found, x[0].numel(), subject.grey_levels, bound=True)}
    )


def _check_levels(law: Distribution, x: Tensor) -> None:
    """Raises BadInput unless the law says that it is one of discrete values, and the data are among these."""
    try:
        support = law.support
    except NotImplementedError:
        support = None
    if support is None:
        who = type(getattr(law, "base_dist", law)).__name__
        raise BadInput(f"needs a probability of grey levels; {who} does not say by `support` that it is one")
    if not support.is_discrete:
        raise BadInput("needs a probability of grey levels, or dequantised data; this decoder's is a density")
    if not torch.as_tensor(support.check(x)).all():
        raise BadInput(
            "needs a probability of grey levels; the data hold values that this decoder's law excludes"
        )


ENTRIES = (
    Diagnostic(
        "low_posterior_samples",
        "What does the model make of codes that no datum is encoded to?",
        ("encode", "decode", "train", "standard_prior"),
        run_low_posterior_samples,
        "Rosca et al., 1802.06847, Algorithm 1",
        {
            "low_posterior_log_q": "higher",
            "low_posterior_log_q_codes": "",
            **{
                f"low_posterior_{what}_{name}": ""
                for what in ("rate", "elbo")
                for name in ("data", "neighbours", "low_posterior")
            },
            "low_posterior_pixel_data": "",
            "low_posterior_pixel_low_posterior": "",
        },
        quick=False,
    ),
    Diagnostic(
        "latent_usage",
        "How many units of the code does the encoder use?",
        ("encode", "train", "standard_prior"),
        run_latent_usage,
        "Burda, Grosse and Salakhutdinov, 1509.00519",
        {"active_units": "", "active_units_kl": ""},
    ),
    Diagnostic(
        "annealed_log_likelihood",
        "How likely is held-out data, whatever the encoder misses?",
        ("decode", "has_likelihood", "latent", "test"),
        run_annealed_log_likelihood,
        "Wu et al., 1611.04273; Grosse et al., 1511.02543",
        {"annealed_log_likelihood": "higher", "annealed_gap": "lower", "annealed_acceptance": ""},
        quick=False,
    ),
    Diagnostic(
        "bits_per_dim_bound",
        "How many bits does the model need at most to code held-out data?",
        ("encode", "decode", "has_likelihood", "test"),
        run_bits_per_dim_bound,
        "Theis, van den Oord and Bethge, 1511.01844; Burda et al., 1509.00519",
        {"bits_per_dim_bound": "lower"},
    ),
)
