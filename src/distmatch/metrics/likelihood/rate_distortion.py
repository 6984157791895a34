"""Models in the plane of rate and distortion, and the region that no model leaves."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.distributions import Distribution

from distmatch.errors import BadInput
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.likelihood.elbo import (
    EvidenceLowerBound,
    entropy_bound,
    evidence_lower_bound,
    negative,
    rate_plane,
)
from distmatch.metrics.plots import RatePlane

ERRORS = 3.0  # standard errors that a point may lie below H by

Model = tuple[Callable[..., Distribution], Callable[..., Distribution], Distribution | None]


@dataclass(frozen=True)
class RatePoint:
    """One model, in nats per example.

    Attributes:
        negative_elbo: D + R, with the error of the sum (R and D are of the same examples).
        excess: D + R - H, H the bound of the entropy; that of the model whose own D + R is H has no error.
        feasible: whether the excess is at least -3 of its standard errors; None where H is the sweep's own bound, below
            which none of its points can lie.
    """

    rate: Estimate
    distortion: Estimate
    negative_elbo: Estimate
    excess: Estimate
    feasible: bool | None


@dataclass(frozen=True)
class RateDistortion:
    """The result of `rate_distortion`.

    Attributes:
        points: model -> its point, by rising rate.
        entropy: an upper bound of the data's entropy H, nats: the one given, or the sweep's lowest -ELBO.
        feasible: whether D + R ≥ H within errors at every point; None, unknown, unless a bound was given.
        plane: the picture.
    """

    points: Mapping[str, RatePoint]
    entropy: Estimate
    feasible: bool | None
    plane: RatePlane


def rate_distortion(
    models: Mapping[str, Model] | Mapping[float, Model],
    x: Tensor,
    *,
    y: Tensor | None = None,
    entropy: Estimate | None = None,
    samples: int = 1,
    batch_size: int = 256,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> RateDistortion:
    """Rate and distortion of several models on the same data, such as a sweep over β.

        R = E KL(q(z|x)‖m(z)),   D = -E log p(x|z),   -ELBO = D + R ≥ E[-log p(x)] ≥ H,   H - D ≤ I(x; z) ≤ R

    Models of one ELBO differ in where on the line D + R they lie: R = 0 ignores its code. H is not known;
    the best model's -log p(x), or the lowest -ELBO, bounds it from above. A point below a bound that was
    given means that this model is the better one (then it is the better bound), or that the two figures are
    not of the same data and the same density. All figures must be: a probability of levels and a density of
    dequantised data differ by log K per dimension. On training data an overfitted model may lie below H.

    Args:
        models: name or β -> (encoder, decoder, prior), as `evidence_lower_bound` takes them; the prior may
            be learned, None for N(0, I).
        x: (n, *), n ≥ 2, held-out; y: (n, *) labels.
        entropy: an upper bound of H in nats, such as -log p(x) by `log_likelihood` of the best model known.
        samples: draws of z for each example.
        progress: called with the share that is done.

    Raises:
        BadInput: no models, an entropy that is not a number, and what `evidence_lower_bound` raises.

    Reference: Alemi et al., Fixing a Broken ELBO, 1711.00464.

    >>> import torch
    >>> from torch.distributions import Normal
    >>> def decoder(z): return Normal(z, 1.0)
    >>> sweep = {s: (lambda x, s=s: Normal(x / 2, s), decoder, None) for s in (0.3, 0.7, 1.0)}
    >>> curve = rate_distortion(sweep, torch.linspace(-3, 3, 500)[:, None])
    >>> list(curve.points), curve.feasible
    (['1.0', '0.7', '0.3'], None)
    """
    if not models:
        raise BadInput("models is empty; give at least one encoder and decoder")
    if entropy is not None and not (math.isfinite(entropy.value) and math.isfinite(entropy.standard_error)):
        raise BadInput(f"the entropy is {entropy.value} ± {entropy.standard_error}; give a finite estimate")
    bounds = {}
    for i, (name, (encoder, decoder, prior)) in enumerate(models.items()):
        bounds[str(name)] = evidence_lower_bound(
            encoder, decoder, x, y=y, prior=prior, samples=samples, batch_size=batch_size, seed=seed
        )
        if progress is not None:
            progress((i + 1) / len(models))
    best = entropy or entropy_bound(bounds)
    ordered = sorted(bounds.items(), key=lambda item: item[1].rate.value)
    points = {name: _point(parts, best, given=entropy is not None) for name, parts in ordered}
    feasible = None if entropy is None else all(p.feasible for p in points.values())
    return RateDistortion(points, best, feasible, rate_plane(bounds, best))


def _point(parts: EvidenceLowerBound, entropy: Estimate, given: bool) -> RatePoint:
    whole = negative(parts.elbo, f"rate plus distortion; {parts.elbo.how}")
    error = math.hypot(whole.standard_error, entropy.standard_error)
    excess = whole.value - entropy.value
    how = (
        "-ELBO less the bound of H; error as if the two were independent, so too large for the same examples"
    )
    return RatePoint(
        rate=parts.rate,
        distortion=parts.distortion,
        negative_elbo=whole,
        excess=Estimate(excess, error if given or excess > 0 else math.nan, whole.n, whole.unit, how),
        feasible=excess >= -ERRORS * error if given else None,
    )
