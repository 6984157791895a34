"""Images of prior draws that no datum is encoded to (Algorithm 1); `populations` analyses them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from statistics import NormalDist

import torch
from torch import Tensor
from torch.distributions import Distribution

from distmatch.errors import BadInput
from distmatch.metrics.checks import as_distribution, at_least, checked, same_shape
from distmatch.metrics.codes.mixture import ROWS, log_mixture
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.inputs import gaussians, load
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
from distmatch.metrics.model import Model, Options, Result
from distmatch.metrics.plots import Plot
from distmatch.random import own_randomness, seeded

LEVELS = (0.01, 0.1, 0.5, 0.9)  # of the quantiles
CODES = 1_000  # codes of q(z) that are scored for comparison
SCORED = 1_000  # codes between two reports of progress


@dataclass(frozen=True)
class LowPosterior:
    """The result of `low_posterior_samples`.

    Attributes:
        z: (m, D), the prior draws of lowest log q(z), lowest first; log_q: their log q(z) in nats, (m,).
        images: (m, *), the means of p(x|z) at them.
        prior: (K, D), all prior draws; prior_log_q: (K,).
        codes: (J, D), draws of q(z); codes_log_q: (J,).
        quantiles: level -> quantile of log q(z) under the prior; code_quantiles: the same under q(z).
    """

    z: Tensor
    log_q: Tensor
    images: Tensor
    prior: Tensor
    prior_log_q: Tensor
    codes: Tensor
    codes_log_q: Tensor
    quantiles: Mapping[float, Estimate]
    code_quantiles: Mapping[float, Estimate]


def low_posterior_samples(
    loc: Tensor,
    scale: Tensor,
    decoder: Callable[..., Distribution],
    *,
    y: Tensor | None = None,
    draws: int = 10_000,
    keep: int = 64,
    codes: int = CODES,
    batch_size: int = 256,
    chunk: int = ROWS,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> LowPosterior:
    """Prior draws where q(z) = 1/N Σ_n N(z; loc_n, diag scale_n²) is lowest, decoded; the prior is N(0, I).

        z_k ~ p(z), k ≤ K;   log q(z_k) = logsumexp_n log q(z_k|x_n) - ln N;   the m lowest of K

    They are what the model generates and never trained to: where the codes leave holes in the prior, samples
    come out of them. Lowest of K: the more draws, the lower; compare models at one K. A q(z) of N data has
    holes of its own in many dimensions, so look at the gap between both populations' quantiles, not at log q.

    Args:
        loc, scale: (N, D), of q(z|x) over training and validation data, N ≥ 2, scale > 0.
        decoder: decoder(z), or decoder(z, y), returns p(x|z); its mean is taken (a draw where it has none).
        y: (keep, *) labels for the kept draws, where the decoder takes some.
        draws: K; keep: m; codes: how many draws of q(z) are scored for comparison.
        chunk: codes scored at once; memory is about 24·N·D bytes and a few tiles.
        progress: called with the share that is done.

    Raises:
        BadInput: shapes, NaN, scale ≤ 0, counts too small, more kept than drawn.

    Reference: Rosca, Lakshminarayanan and Mohamed, Distribution Matching in Variational Inference
    (1802.06847), Algorithm 1.

    >>> from torch.distributions import Normal
    >>> loc = torch.tensor([[-1.0], [1.0]])
    >>> samples = low_posterior_samples(loc, torch.full((2, 1), 0.3), lambda z: Normal(z, 1.0), keep=3)
    >>> bool((samples.images.abs() > 2).all())                   # the tails, far from both codes
    True
    """
    loc, scale = checked(loc, "loc", "N, D"), checked(scale, "scale", "N, D")
    same_shape(loc, scale, "loc and scale")
    if not (scale > 0).all():
        raise BadInput(f"scale must be positive; its smallest entry is {float(scale.min()):g}")
    at_least(2, draws=draws, codes=codes)
    at_least(1, chunk=chunk)
    generator = seeded(seed)
    noise = torch.randn(draws + codes, loc.shape[1], generator=generator, dtype=loc.dtype).to(loc.device)
    own = torch.randint(len(loc), (codes,), generator=generator).to(loc.device)
    score = partial(log_mixture, loc=loc, scale=scale, chunk=chunk)
    coded = loc[own] + scale[own] * noise[draws:]
    return low_posterior_of(
        score,
        decoder,
        noise[:draws],
        coded,
        y=y,
        keep=keep,
        batch_size=batch_size,
        seed=seed,
        progress=progress,
    )


def low_posterior_of(
    log_q: Callable[[Tensor], Tensor],
    decoder: Callable[..., Distribution],
    prior: Tensor,
    codes: Tensor,
    *,
    y: Tensor | None = None,
    keep: int = 64,
    batch_size: int = 256,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> LowPosterior:
    """`low_posterior_samples` with any aggregate posterior, at prior draws and codes that are given.

    Args:
        log_q: z (n, D) float64 -> log q(z) in nats, (n,).
        prior: (K, D), draws of the prior, K ≥ 2; codes: (J, D), draws of q(z), J ≥ 2.

    Raises:
        BadInput: shapes, NaN, counts too small, more kept than drawn, labels that do not fit.

    >>> from torch.distributions import Normal
    >>> z = torch.linspace(-2, 2, 101)[:, None]
    >>> narrow = lambda z: Normal(0.0, 0.5).log_prob(z).sum(1)
    >>> low_posterior_of(narrow, lambda z: Normal(z, 1.0), z, 0.5 * z, keep=2).z.abs().flatten().tolist()
    [2.0, 2.0]
    """
    prior, codes = checked(prior, "prior", "K, D"), checked(codes, "codes", "J, D")
    at_least(1, keep=keep, batch_size=batch_size)
    if keep > len(prior):
        raise BadInput(f"keep is {keep}, but there are only {len(prior)} prior draws")
    if y is not None and len(y) != keep:
        raise BadInput(f"y has {len(y)} labels for {keep} kept draws")
    scores = _scored(log_q, torch.cat([prior, codes]), progress)
    prior_log_q, codes_log_q = scores.split([len(prior), len(codes)])
    lowest = prior_log_q.argsort()[:keep]
    images = _decoded(decoder, prior[lowest], y, batch_size, seed)
    return LowPosterior(
        z=prior[lowest],
        log_q=prior_log_q[lowest],
        images=images,
        prior=prior,
        prior_log_q=prior_log_q,
        codes=codes,
        codes_log_q=codes_log_q,
        quantiles={p: quantile(prior_log_q, p, "nats") for p in LEVELS},
        code_quantiles={p: quantile(codes_log_q, p, "nats") for p in LEVELS},
    )


def _scored(log_q: Callable[[Tensor], Tensor], z: Tensor, progress: Callable[[float], None] | None) -> Tensor:
    """log q at all z, (n,) float64, a part at a time."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(z), SCORED):
            part = z[start : start + SCORED]
            scores = log_q(part).double()
            if scores.shape != (len(part),) or not torch.isfinite(scores).all():
                raise BadInput(
                    f"log_q of {len(part)} codes gave shape {tuple(scores.shape)} or values that are not finite"
                )
            parts.append(scores)
            if progress is not None:
                progress(min(1.0, (start + SCORED) / len(z)))
    return torch.cat(parts)


def _decoded(
    decoder: Callable[..., Distribution], z: Tensor, y: Tensor | None, batch_size: int, seed: int
) -> Tensor:
    """Means of p(x|z), in the default precision that nets are in; draws where the distribution has no mean."""
    images, z = [], z.to(torch.get_default_dtype())
    with torch.no_grad(), own_randomness(seed):
        for start in range(0, len(z), batch_size):
            part = slice(start, start + batch_size)
            distribution = as_distribution(
                decoder(z[part], *(() if y is None else (y[part],))), "the decoder"
            )
            try:
                images.append(distribution.mean)
            except NotImplementedError:
                images.append(distribution.sample())
    return torch.cat(images)


def tail_mean(values: Tensor, scores: Tensor, draws: int, unit: str = "", how: str = "") -> Estimate:
    """The mean of a quantity over the m of K `draws` with the lowest scores, for E[v | s below its m/K quantile c].

        Var = (s²_v + (1 - m/K) (v(c) - v̄)²)/m

    The second part is that other draws have another m-th lowest score. v(c), the quantity there, is read off the line
    of v by s; without it the error is up to √2 too small.

    Args:
        values, scores: v and s of the m draws, (m,), m ≥ 2.

    Raises:
        BadInput: shapes, NaN, fewer draws than values.

    >>> values = torch.tensor([1.0, 2.0, 3.0])
    >>> mean = tail_mean(values, values - 4, 1000)
    >>> mean.value, round(mean.standard_error, 2), round(Estimate.mean(values).standard_error, 2)
    (2.0, 0.82, 0.58)
    """
    values, scores = checked(values, "values", "m"), checked(scores, "scores", "m").to(values.device)
    same_shape(values, scores, "values and scores")
    at_least(len(values), draws=draws)
    centred = scores - scores.mean()
    spread = float(centred.square().sum())
    at_the_end = float(centred @ values) / spread * float(centred.max()) if spread > 0 else 0.0
    variance = float(values.var()) + (1 - len(values) / draws) * at_the_end**2
    return Estimate(float(values.mean()), math.sqrt(variance / len(values)), len(values), unit, how)


def quantile(values: Tensor, level: float, unit: str = "") -> Estimate:
    """A quantile of independent values (n,), n ≥ 2, with Woodruff's interval as its limits.

    The 95 % interval of the level, p ± 1.96 √(p(1-p)/n), is read off the sample's own quantiles, and its
    width over 2·1.96 is the error: no density is estimated. Where np < 4 it reaches past the sample and is
    too small.

    Raises:
        BadInput: NaN, shape, a level outside (0, 1).

    >>> print(quantile(torch.linspace(0, 1, 10_001), 0.5))
    0.500 [0.490, 0.510] (n = 10001)
    """
    values = checked(values, "values", "n")
    if not 0 < level < 1:
        raise BadInput(f"level is {level}; give a number between 0 and 1")
    z = NormalDist().inv_cdf(0.975)
    half = z * math.sqrt(level * (1 - level) / len(values))
    at = torch.tensor([max(0.0, level - half), level, min(1.0, level + half)], dtype=values.dtype)
    ordered = values.sort().values  # torch.quantile refuses more than 16 million
    place = at * (len(values) - 1)
    below = place.floor().long().clamp(max=len(values) - 2)
    low, middle, high = torch.lerp(ordered[below], ordered[below + 1], (place - below).to(ordered)).tolist()
    how = f"the {level:g} quantile; error by Woodruff's interval"
    return Estimate(middle, (high - low) / (2 * z), len(values), unit, how, limits=(low, high))


KEPT, COMPARED, MAPPED = 64, 1_000, 900  # low-posterior samples, data beside them, points of the t-SNE
SCORING = 0.9  # of the time of `low_posterior_samples` goes into log q(z)
Group = tuple[Tensor, Tensor | None]  # images, and their labels


@metric(
    "low_posterior_samples",
    question="What does the model make of codes that no datum is encoded to?",
    needs=("encode", "decode", "train", "standard_prior"),
    reference="Rosca et al., 1802.06847, Algorithm 1",
    better={
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
)
def measure(model: Model, options: Options) -> Result:
    """Algorithm 1 over the encodings of the training set, with its three populations."""
    decode, progress = model.decode_prior or model.decode, options.progress
    assert decode is not None
    x, y = load(model.train), load(model.train_labels)
    assert x is not None
    keep = min(KEPT, max(2, options.samples))
    labels = None if y is None else y[_rows(len(y), keep, options.seed)]
    samples = low_posterior_samples(
        *gaussians(model, options),
        lambda z, y=None: decode(z, y),
        y=labels,
        draws=max(2, options.samples),
        keep=keep,
        batch_size=options.batch_size,
        seed=options.seed,
        progress=None if progress is None else lambda share: progress(SCORING * share),
    )
    images = _like(samples.images.to(x).reshape(keep, *x.shape[1:]), x)
    near = nearest_neighbours(images, x).index.to(x.device)
    compared = _rows(len(x), min(COMPARED, len(x)), options.seed)
    groups: dict[str, Group] = {
        "data": (x[compared], None if y is None else y[compared]),
        "neighbours": (x[near], None if y is None else y[near.to(y.device)]),
        "low_posterior": (images, labels),
    }
    of_samples = replace(model, encode=model.encode_samples or model.encode)
    costs = {
        name: _cost(of_samples if name == "low_posterior" else model, options, *group)
        for name, group in groups.items()
    }
    pictures = {name: group[0] for name, group in groups.items()}
    shown = _shown(model, pictures, costs)
    codes_of = {"prior": samples.prior, "codes of q(z)": samples.codes, "low-posterior": samples.z}
    shown.append(code_map(codes_of, most=MAPPED, seed=options.seed))
    return Result(_low_posterior_metrics(samples, costs, pictures), tuple(shown))


def _rows(n: int, count: int, seed: int) -> Tensor:
    """`count` of n row numbers at random, none twice before all are used."""
    return torch.randperm(n, generator=seeded(seed))[torch.arange(count) % n]


def _cost(model: Model, options: Options, x: Tensor, y: Tensor | None) -> Population:
    """Rate, and ELBO where there is a likelihood, of one population."""
    encode, decode = model.encode, model.decode
    assert encode is not None
    assert decode is not None
    return population(
        lambda x, y=None: encode(x, y),
        (lambda z, y=None: decode(z, y)) if model.has_likelihood else None,
        x,
        y=y,
        prior=model.prior,
        batch_size=options.batch_size,
        seed=options.seed,
    )


def _shown(model: Model, pictures: dict[str, Tensor], costs: dict[str, Population]) -> list[Plot]:
    """Samples over neighbours, where they are images, and the three populations' histograms."""
    shown: list[Plot] = []
    if model.is_image:
        low, high = model.image_range
        unit = {name: (images - low) / (high - low) for name, images in pictures.items()}
        shown.append(paired_pictures(unit["low_posterior"], unit["neighbours"]))
    shown.append(pixel_histograms({name.replace("_", "-"): images for name, images in pictures.items()}))
    return [*shown, *cost_histograms({name.replace("_", "-"): cost for name, cost in costs.items()})]


def _low_posterior_metrics(
    samples: LowPosterior, costs: dict[str, Population], pictures: dict[str, Tensor]
) -> dict[str, Estimate]:
    """The populations' means, and where log q(z) of prior draws and of codes lie."""
    metrics = {
        "low_posterior_log_q": samples.quantiles[0.01].explained(
            "the lowest 1 % of prior draws lie below this log q(z); error by Woodruff's interval"
        ),
        "low_posterior_log_q_codes": samples.code_quantiles[0.5].explained(
            "median of log q(z) at codes of the data, for comparison; error by Woodruff's interval"
        ),
    }
    for name, cost in costs.items():
        metrics[f"low_posterior_rate_{name}"] = _of_lowest(name, cost.rate, cost.rates, samples)
        if cost.elbo is not None and cost.elbos is not None:
            metrics[f"low_posterior_elbo_{name}"] = _of_lowest(name, cost.elbo, cost.elbos, samples)
    for name in ("data", "low_posterior"):
        pixels = pictures[name].flatten(1).mean(1)
        metrics[f"low_posterior_pixel_{name}"] = _of_lowest(name, mean_pixel(pictures[name]), pixels, samples)
    return metrics


def _of_lowest(group: str, mean: Estimate, values: Tensor, samples: LowPosterior) -> Estimate:
    """The mean over a group's images; of the lowest draws, and their neighbours, with the error that these have."""
    if group == "data":
        return mean
    return tail_mean(values, samples.log_q, len(samples.prior), mean.unit, mean.how)


def _like(images: Tensor, data: Tensor) -> Tensor:
    """Images binarised at ½ where the data hold nothing but 0 and 1; otherwise as they are."""
    compared = data[:COMPARED]
    return (images > 0.5).to(images) if ((compared == 0) | (compared == 1)).all() else images
