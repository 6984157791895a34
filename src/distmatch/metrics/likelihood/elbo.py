"""The evidence lower bound of any encoder and decoder, with its two parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, kl_divergence

from distmatch.errors import BadInput
from distmatch.metrics.checks import at_least, checked
from distmatch.metrics.declaration import metric
from distmatch.metrics.edge import called, check_modes, encoded, log_density
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.inputs import held_out
from distmatch.metrics.model import Model, Options, Result
from distmatch.metrics.plots import RatePlane
from distmatch.random import own_randomness


@dataclass(frozen=True)
class EvidenceLowerBound:
    """ELBO = -(rate + distortion), in nats per example."""

    elbo: Estimate
    rate: Estimate
    distortion: Estimate


def evidence_lower_bound(
    encoder: Callable[..., Distribution],
    decoder: Callable[..., Distribution],
    x: Tensor,
    *,
    y: Tensor | None = None,
    prior: Distribution | None = None,
    samples: int = 1,
    batch_size: int = 256,
    seed: int = 0,
) -> EvidenceLowerBound:
    """log p(x) ≥ E_q[log p(x|z)] - KL(q(z|x)‖p(z)), per example.

    The rate is the KL, in closed form where torch has one registered, otherwise log q(z|x) - log p(z) at the
    same draws. The distortion is -log p(x|z) at `samples` draws of z, averaged. Errors are over examples.

    Args:
        encoder, decoder: encoder(x) and decoder(z), or with a second argument y if y is given, return
            torch.distributions over the code and over x; all but the first dimension are summed.
        x: (n, *), n ≥ 2; y: (n, *) labels.
        prior: p(z) with batch shape (); None for N(0, I).

    Raises:
        BadInput: shapes, NaN, counts below one, something other than a distribution returned, nets that
            cannot take their inputs. What a density raises passes through.

    Reference: Kingma and Welling, 1312.6114.

    >>> def encoder(x): return Normal(x / 2, 0.5**0.5)         # the posterior of z ~ N(0, 1), x ~ N(z, 1)
    >>> def decoder(z): return Normal(z, 1.0)
    >>> bound = evidence_lower_bound(encoder, decoder, torch.tensor([[0.0], [1.0]]), samples=4000)
    >>> print(f"{bound.elbo.value:.2f}")                        # log N(x; 0, 2), mean over the two
    -1.39
    """
    checked(x.flatten(1) if x.ndim > 1 else x, "x", "n, *" if x.ndim > 1 else "n", dtype=None)
    at_least(1, samples=samples, batch_size=batch_size)
    check_modes(encoder=encoder, decoder=decoder)
    if y is not None and len(y) != len(x):
        raise BadInput(f"y has {len(y)} labels for {len(x)} examples")
    rates, distortions = [], []
    with torch.no_grad(), own_randomness(seed):
        for start in range(0, len(x), batch_size):
            batch = x[start : start + batch_size]
            label = () if y is None else (y[start : start + batch_size],)
            rate, distortion = _parts(encoder, decoder, batch, label, samples, prior, start == 0)
            rates.append(rate)
            distortions.append(distortion)
    rate, distortion = torch.cat(rates), torch.cat(distortions)
    how = f"{samples} draw(s) of z per example; error over examples; a lower bound of log p(x)"
    return EvidenceLowerBound(
        elbo=Estimate.mean(-(rate + distortion), "nats per example", how),
        rate=Estimate.mean(rate, "nats per example", "mean KL(q(z|x)‖p(z)) over the examples"),
        distortion=Estimate.mean(distortion, "nats per example", "-E log p(x|z), z from the encoder"),
    )


def _parts(
    encoder: Callable[..., Distribution],
    decoder: Callable[..., Distribution],
    x: Tensor,
    label: tuple[Tensor, ...],
    samples: int,
    prior: Distribution | None,
    first: bool,
) -> tuple[Tensor, Tensor]:
    """Rate and distortion of one batch, (B,) each, in float64."""
    q = encoded(encoder, x, *label)
    p = standard_normal_like(q) if prior is None else prior
    rate, sampled, distortion = closed_form_kl(q, p), [], []
    for _ in range(samples):
        z = q.sample()
        if rate is None:
            sampled.append(per_example(q.log_prob(z)) - per_example(p.log_prob(z)))
        distortion.append(-log_density(called(decoder, "the decoder", z, *label), x, first))
    if rate is None:
        rate = torch.stack(sampled).mean(0)
    parts = rate, torch.stack(distortion).mean(0)
    for part in parts:
        if part.shape != (len(x),):
            raise BadInput(f"the densities of {len(x)} examples have shape {tuple(part.shape)} after summing")
    return parts


def closed_form_kl(q: Distribution, p: Distribution) -> Tensor | None:
    """KL(q‖p) per example, or None if no rule is registered."""
    try:
        return per_example(kl_divergence(q, p))
    except NotImplementedError:
        return None


def standard_normal_like(q: Distribution) -> Distribution:
    """N(0, I) with the batch and event shape of q, on its device.

    >>> standard_normal_like(Independent(Normal(torch.zeros(5, 2), torch.ones(5, 2)), 1)).event_shape
    torch.Size([2])
    """
    like = q.sample()
    normal = Normal(torch.zeros_like(like), torch.ones_like(like))
    return Independent(normal, len(q.event_shape)) if len(q.event_shape) else normal


def per_example(values: Tensor) -> Tensor:
    """Sum over all but the first dimension, in float64: (B, *) -> (B,)."""
    return values.double().flatten(1).sum(1) if values.ndim > 1 else values.double()


@metric(
    "elbo",
    question="How likely is held-out data, and what do its code and its reconstruction cost?",
    needs=("encode", "decode", "has_likelihood", "test"),
    reference="Kingma and Welling, 1312.6114",
    better={"elbo": "higher", "rate": "", "distortion": ""},
)
def measure(model: Model, options: Options) -> Result:
    """ELBO, rate and distortion on held-out data, and the model's place in the plane of the two."""
    encode, decode = model.encode, model.decode
    assert encode is not None
    assert decode is not None
    x, y = held_out(model, options)
    bound = evidence_lower_bound(
        lambda x, y=None: encode(x, y),
        lambda z, y=None: decode(z, y),
        x,
        y=y,
        prior=model.prior,
        batch_size=options.batch_size,
        seed=options.seed,
    )
    metrics = {"elbo": bound.elbo, "rate": bound.rate, "distortion": bound.distortion}
    return Result(metrics, (rate_plane({"this model": bound}),))


def rate_plane(bounds: Mapping[str, EvidenceLowerBound], entropy: Estimate | None = None) -> RatePlane:
    """The picture of models whose bounds are known, with the bound of the entropy (default: their best).

    >>> e = Estimate(1.0, 0.1, 10)
    >>> rate_plane({"vae": EvidenceLowerBound(Estimate(-2.0, 0.1, 10), e, e)}).entropy.value
    2.0
    """
    bound = entropy_bound(bounds) if entropy is None else entropy
    return RatePlane(
        "Rate against distortion. On a line of slope -1 the ELBO is the same; no model lies below the line "
        f"D + R = H, and H is at most {bound}. At rate 0 the code is ignored.",
        {name: (parts.rate, parts.distortion) for name, parts in bounds.items()},
        bound,
    )


def entropy_bound(bounds: Mapping[str, EvidenceLowerBound]) -> Estimate:
    """The lowest -ELBO."""
    name, best = max(bounds.items(), key=lambda item: item[1].elbo.value)
    how = f"the lowest -ELBO, of {name}: an upper bound of H; the best of several, so low by up to about its error"
    return negative(best.elbo, how)


def negative(elbo: Estimate, how: str) -> Estimate:
    return Estimate(-elbo.value, elbo.standard_error, elbo.n, elbo.unit, how)
