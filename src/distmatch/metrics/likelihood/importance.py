"""Bounds on log p(x) by importance sampling from the encoder."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.distributions import Distribution

from distmatch.errors import BadInput
from distmatch.metrics.checks import at_least, checked
from distmatch.metrics.declaration import metric
from distmatch.metrics.edge import called, check_modes, encoded, log_density
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.inputs import held_out
from distmatch.metrics.likelihood.elbo import per_example, standard_normal_like
from distmatch.metrics.model import Model, Options, Result
from distmatch.random import own_randomness


def log_likelihood(
    encoder: Callable[..., Distribution],
    decoder: Callable[..., Distribution],
    x: Tensor,
    *,
    y: Tensor | None = None,
    prior: Distribution | None = None,
    samples: int = 50,
    batch_size: int = 256,
    seed: int = 0,
) -> Estimate:
    """log p(x) ≥ E log 1/K Σ_k p(x|z_k) p(z_k) / q(z_k|x), z_k ~ q(z|x), in nats per example.

    The bound rises with K = `samples` towards log p(x), and at K = 1 is the ELBO. The error is over examples.

    Limit: what the encoder never proposes is never weighed, so a narrow or one-sided q(z|x) leaves the bound low,
    at any affordable K, and nothing in the figure shows it. `annealed_log_likelihood` does not rest on
    the encoder, and on data that the model made itself bounds log p(x) from above too.

    Args:
        encoder, decoder: encoder(x) and decoder(z), or with a second argument y if y is given, return
            torch.distributions over the code and over x.
        x: (n, *), n ≥ 2; y: (n, *) labels.
        prior: p(z) with batch shape (); None for N(0, I).

    Raises:
        BadInput: shapes, NaN, counts below one, something other than a distribution returned.

    Reference: Burda, Grosse and Salakhutdinov, 1509.00519.

    >>> from torch.distributions import Normal
    >>> def encoder(x): return Normal(x / 2, 1.0)              # wider than the posterior of z ~ N(0, 1), x ~ N(z, 1)
    >>> def decoder(z): return Normal(z, 1.0)
    >>> bound = log_likelihood(encoder, decoder, torch.tensor([[0.0], [1.0]]), samples=5000)
    >>> print(f"{bound.value:.2f}")                             # log N(x; 0, 2), mean over the two
    -1.39
    """
    checked(x.flatten(1) if x.ndim > 1 else x, "x", "n, *" if x.ndim > 1 else "n", dtype=None)
    at_least(1, samples=samples, batch_size=batch_size)
    check_modes(encoder=encoder, decoder=decoder)
    if y is not None and len(y) != len(x):
        raise BadInput(f"y has {len(y)} labels for {len(x)} examples")
    bounds = []
    with torch.no_grad(), own_randomness(seed):
        for start in range(0, len(x), batch_size):
            batch = x[start : start + batch_size]
            label = () if y is None else (y[start : start + batch_size],)
            q = encoded(encoder, batch, *label)
            p = standard_normal_like(q) if prior is None else prior
            log_w = []
            for _ in range(samples):
                z = q.sample()
                log_x = log_density(called(decoder, "the decoder", z, *label), batch, start == 0)
                log_w.append(log_x + per_example(p.log_prob(z)) - per_example(q.log_prob(z)))
            bounds.append(torch.stack(log_w).logsumexp(0) - math.log(samples))
    how = f"importance-weighted lower bound, {samples} draws of z from the encoder per example; error over examples"
    return Estimate.mean(torch.cat(bounds), "nats per example", how)


WEIGHTED = 5000  # a tenth of this many examples, at most, for the importance-weighted bound


@metric(
    "log_likelihood",
    question="How likely is held-out data, with many draws of the code for each?",
    needs=("encode", "decode", "has_likelihood", "test"),
    reference="Burda, Grosse and Salakhutdinov, 1509.00519",
    better={"log_likelihood": "higher"},
)
def measure(model: Model, options: Options) -> Result:
    """The importance-weighted bound on a tenth of the held-out data."""
    encode, decode = model.encode, model.decode
    assert encode is not None
    assert decode is not None
    x, y = held_out(model, replace(options, samples=max(2, min(options.samples, WEIGHTED) // 10)))
    bound = log_likelihood(
        lambda x, y=None: encode(x, y),
        lambda z, y=None: decode(z, y),
        x,
        y=y,
        prior=model.prior,
        batch_size=options.batch_size,
        seed=options.seed,
    )
    return Result({"log_likelihood": bound})
