"""Bits per dimension: what an exact or bounded log p(x) costs to code, with the dequantisation stated."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.distributions import Distribution

from distmatch.errors import BadInput
from distmatch.metrics.checks import as_distribution, at_least, checked
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.inputs import (
    codes,
    held_out,
)
from distmatch.metrics.likelihood.importance import WEIGHTED, log_likelihood
from distmatch.metrics.model import Model, Options, Result


def bits_per_dim(
    log_prob: Tensor | Estimate, dimensions: int, grey_levels: int | None = None, *, bound: bool = False
) -> Estimate:
    """-log₂ p(x) / D, with log₂ K added where p is a density of data on [0, 1] that had K levels.

    A density p̃ of x̃ = (k + u)/K, k one of K levels and u uniform on [0, 1), bounds the levels' probability:
    log P(k) ≥ E_u log p̃(x̃) - D log K. So the figure for such data is an upper bound of the bits that code
    them; the uniform density has log₂ K, 8 for bytes. A probability of the levels themselves (categorical,
    discretised logistic, Bernoulli on binary data) needs no noise and no offset. A lower bound of log p(x)
    (ELBO, importance weighted, annealed) gives an upper bound of either.

    Args:
        log_prob: log p(x) in nats, or a lower bound of it: (n,), n ≥ 2, or the Estimate of its mean.
        dimensions: D.
        grey_levels: K for a density on [0, 1], one over the width of the uniform noise; None where log_prob
            is of the levels themselves, or of points.
        bound: whether log_prob is a lower bound of log p(x).

    Raises:
        BadInput: NaN, shapes, counts below one.

    Limit: a density at data without noise has no such meaning: there it can be made arbitrarily large by
    putting spikes on the levels, and the figure falls without limit.

    Reference: Theis, van den Oord and Bethge, 1511.01844, section 3.1.

    >>> import torch
    >>> bits_per_dim(torch.zeros(10), dimensions=784, grey_levels=256).value
    8.0
    >>> elbo = Estimate(-784 * math.log(2), 7.84 * math.log(2), 100)
    >>> print(bits_per_dim(elbo, dimensions=784, bound=True))
    1.000 ± 0.010 bits per dimension (n = 100)
    """
    at_least(1, dimensions=dimensions)
    if grey_levels is not None:
        at_least(2, grey_levels=grey_levels)
    if isinstance(log_prob, Estimate) and log_prob.unit.startswith("bits"):
        raise BadInput(f"log_prob is in {log_prob.unit}; give it in nats, as log p(x) is everywhere")
    mean = log_prob if isinstance(log_prob, Estimate) else Estimate.mean(checked(log_prob, "log_prob", "n"))
    if not math.isfinite(mean.value):
        raise BadInput(
            f"log_prob has the mean {mean.value}; give the log-density of data the model can explain"
        )
    nats = dimensions * math.log(2)
    offset = 0.0 if grey_levels is None else math.log2(grey_levels)
    if grey_levels is not None and offset < mean.value / nats:
        raise BadInput(
            f"log_prob is {mean.value:g} nats on average, so that {dimensions} values of {grey_levels} levels take "
            "less than no bits: score data to which uniform noise was added (dequantise), not the levels themselves"
        )
    noise = (
        "no dequantisation: log p of the data as they are"
        if grey_levels is None
        else f"dequantised with uniform noise on {grey_levels} levels, plus log2 {grey_levels}: an upper bound"
    )
    known = "exact log p(x); error over examples"
    if bound:
        known = f"upper bound, from: {mean.how or 'a lower bound of log p(x)'}"
    return Estimate(
        value=offset - mean.value / nats,
        standard_error=mean.standard_error / nats,
        n=mean.n,
        unit="bits per dimension",
        how=f"{known}; {noise}",
    )


@metric(
    "bits_per_dim",
    question="How many bits does the model need to code held-out data?",
    needs=("log_prob", "test"),
    reference="Theis, van den Oord and Bethge, 1511.01844",
    better={"bits_per_dim": "lower", "nll": "lower"},
)
def measure(model: Model, options: Options) -> Result:
    """Bits per dimension of held-out data, where log p(x) is known."""
    assert model.log_prob is not None
    x, y = held_out(model, options)
    parts = []
    for start in range(0, len(x), options.batch_size):
        part = slice(start, start + options.batch_size)
        parts.append(model.log_prob(x[part], None if y is None else y[part]))
    log_p = torch.cat(parts)
    estimates = {"bits_per_dim": bits_per_dim(log_p, x[0].numel(), model.grey_levels)}
    if model.grey_levels is None:
        estimates["nll"] = Estimate.mean(-log_p.double(), "nats per example", "exact; error over examples")
    return Result(estimates)


@metric(
    "bits_per_dim_bound",
    question="How many bits does the model need at most to code held-out data?",
    needs=("encode", "decode", "has_likelihood", "test"),
    reference="Theis, van den Oord and Bethge, 1511.01844; Burda et al., 1509.00519",
    better={"bits_per_dim_bound": "lower"},
)
def measure_bound(model: Model, options: Options) -> Result:
    """An upper bound from the importance-weighted one, where the decoder's distribution is of levels or dequantised."""
    encode, decode = model.encode, model.decode
    assert encode is not None
    assert decode is not None
    x, y = held_out(model, replace(options, samples=max(2, min(options.samples, WEIGHTED) // 10)))
    if model.grey_levels is None:
        first = None if y is None else y[:1]
        distribution = as_distribution(decode(codes(model, x[:1], first, options), first), "the decoder")
        _check_levels(distribution, x)
    lower = log_likelihood(
        lambda x, y=None: encode(x, y),
        lambda z, y=None: decode(z, y),
        x,
        y=y,
        prior=model.prior,
        batch_size=options.batch_size,
        seed=options.seed,
    )
    return Result({"bits_per_dim_bound": bits_per_dim(lower, x[0].numel(), model.grey_levels, bound=True)})


def _check_levels(distribution: Distribution, x: Tensor) -> None:
    """Raise `BadInput` unless the distribution says that its values are discrete, and the data are among these."""
    try:
        support = distribution.support
    except NotImplementedError:
        support = None
    if support is None:
        who = type(getattr(distribution, "base_dist", distribution)).__name__
        raise BadInput(f"needs a probability of grey levels; {who} does not say by `support` that it is one")
    if not support.is_discrete:
        raise BadInput("needs a probability of grey levels, or dequantised data; this decoder's is a density")
    if not torch.as_tensor(support.check(x)).all():
        raise BadInput(
            "needs a probability of grey levels; the data hold values that this decoder's distribution excludes"
        )
