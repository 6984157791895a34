"""A model's data, codes and Gaussians, as metrics need them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from distmatch.errors import BadInput
from distmatch.metrics.checks import as_distribution, check_labels
from distmatch.metrics.model import REASONS, Data, Model, Options
from distmatch.random import own_randomness, seeded

FITTED_CODES = 10_000  # codes at most for classifiers and density models


def load(data: Data | None) -> Tensor | None:
    """The tensor itself, or what the function that loads it returns."""
    return data() if callable(data) and not isinstance(data, Tensor) else data


def subset(values: Tensor, count: int, seed: int) -> Tensor:
    """At most `count` rows, a random subset: the same rows for data and labels of one length."""
    if len(values) <= count:
        return values
    return values[torch.randperm(len(values), generator=seeded(seed))[:count].to(values.device)]


def held_out(model: Model, options: Options) -> tuple[Tensor, Tensor | None]:
    """At most `options.samples` held-out examples, with their labels where there are some."""
    x, y = load(model.test), load(model.test_labels)
    assert x is not None
    check_labels(x, y, "the held-out data")
    count, seed = options.samples, options.seed
    return subset(x, count, seed), None if y is None else subset(y, count, seed)


def codes(model: Model, x: Tensor, y: Tensor | None, options: Options) -> Tensor:
    """One draw of q(z|x) for every example."""
    assert model.encode is not None
    drawn = []
    with torch.no_grad(), own_randomness(options.seed):
        for start in range(0, len(x), options.batch_size):
            part = slice(start, start + options.batch_size)
            q = as_distribution(model.encode(x[part], None if y is None else y[part]), "the encoder")
            drawn.append(q.sample())
    return torch.cat(drawn)


def gaussians(model: Model, options: Options) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of q(z|x) over the training set, (N, D) each."""
    assert model.encode is not None
    x, y = load(model.train), load(model.train_labels)
    assert x is not None
    check_labels(x, y, "the training data")
    locs, scales = [], []
    with torch.no_grad(), own_randomness(options.seed):
        for start in range(0, len(x), options.batch_size):
            part = slice(start, start + options.batch_size)
            q = as_distribution(model.encode(x[part], None if y is None else y[part]), "the encoder")
            while isinstance(q, Independent):
                q = q.base_dist
            if not isinstance(q, Normal):
                raise BadInput(f"needs a diagonal Gaussian encoder; this one returns {type(q).__name__}")
            locs.append(q.loc.flatten(1))
            scales.append(q.scale.flatten(1))
    return torch.cat(locs), torch.cat(scales)


def check_prior(model: Model) -> None:
    """Raise `BadInput` where the prior's density is not known."""
    if not model.standard_prior and model.prior is None:
        raise BadInput(REASONS["standard_prior"])


def training(model: Model, count: int, options: Options) -> tuple[Tensor, Tensor | None]:
    """At most `count` random training data, with their labels where there are some."""
    x, y = load(model.train), load(model.train_labels)
    assert x is not None
    check_labels(x, y, "the training data")
    return subset(x, count, options.seed), None if y is None else subset(y, count, options.seed)


def held_out_codes(model: Model, options: Options) -> Tensor:
    """One code for each of some held-out data, (n, D) float32: these are draws of the population's q(z)."""
    x, y = held_out(model, replace(options, samples=min(FITTED_CODES, options.samples)))
    return codes(model, x, y, options).flatten(1).float()
