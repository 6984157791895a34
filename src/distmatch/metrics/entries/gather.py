"""What entries ask of a subject: its data, its codes, its Gaussians."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from distmatch.errors import BadInput
from distmatch.metrics.checks import as_distribution
from distmatch.metrics.model import Data, Options, Subject
from distmatch.random import own_randomness, seeded


def load(data: Data | None) -> Tensor | None:
    """The tensor itself, or what the function that loads it returns."""
    return data() if callable(data) and not isinstance(data, Tensor) else data


def subset(values: Tensor, count: int, seed: int) -> Tensor:
    """At most `count` rows, a random subset: the same rows for data and labels of one length."""
    if len(values) <= count:
        return values
    return values[torch.randperm(len(values), generator=seeded(seed))[:count].to(values.device)]


def held_out(subject: Subject, options: Options) -> tuple[Tensor, Tensor | None]:
    """At most `options.samples` held-out examples, with their labels where there are some."""
    x, y = load(subject.test), load(subject.test_labels)
    assert x is not None
    if y is not None and len(y) != len(x):
        raise BadInput(f"the held-out data have {len(x)} examples and {len(y)} labels")
    count, seed = options.samples, options.seed
    return subset(x, count, seed), None if y is None else subset(y, count, seed)


def codes(subject: Subject, x: Tensor, y: Tensor | None, options: Options) -> Tensor:
    """One draw of q(z|x) for every example."""
    assert subject.encode is not None
    drawn = []
    with torch.no_grad(), own_randomness(options.seed):
        for start in range(0, len(x), options.batch_size):
            part = slice(start, start + options.batch_size)
            q = as_distribution(subject.encode(x[part], None if y is None else y[part]), "the encoder")
            drawn.append(q.sample())
    return torch.cat(drawn)


def gaussians(subject: Subject, options: Options) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of q(z|x) over the training set, (N, D) each."""
    assert subject.encode is not None
    x, y = load(subject.train), load(subject.train_labels)
    assert x is not None
    locs, scales = [], []
    with torch.no_grad(), own_randomness(options.seed):
        for start in range(0, len(x), options.batch_size):
            part = slice(start, start + options.batch_size)
            q = as_distribution(subject.encode(x[part], None if y is None else y[part]), "the encoder")
            while isinstance(q, Independent):
                q = q.base_dist
            if not isinstance(q, Normal):
                raise BadInput(f"needs a diagonal Gaussian encoder; this one returns {type(q).__name__}")
            locs.append(q.loc.flatten(1))
            scales.append(q.scale.flatten(1))
    return torch.cat(locs), torch.cat(scales)
