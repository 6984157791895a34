"""A model's generator and critics, as metrics need them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.checks import check_labels
from distmatch.metrics.inputs import load
from distmatch.metrics.model import Critic, Model, Options

CRITICS = ("data", "code", "joint")  # their usual names


def critics_of(model: Model, options: Options, most: int) -> Mapping[str, Critic]:
    """The model's critics, with at most `most` draws of each side."""
    assert model.critics is not None
    critics = model.critics(max(2, min(options.samples, most)), options.seed)
    if not critics:
        raise BadInput("needs a critic of single examples; every critic of this system judges whole batches")
    return critics


def generator_of(model: Model) -> Callable[..., Tensor]:
    generate = model.generate
    assert generate is not None
    return lambda z, y=None: generate(z, y)


def labels_in_turn(model: Model, n: int) -> Tensor | None:
    """All classes in turn, where the model is given labels."""
    labels = load(model.train_labels) if model.sample_with_labels is not None else None
    if labels is not None:
        check_labels(labels, labels, "the training data", classes=True)
    return None if labels is None else torch.arange(n) % (int(labels.max()) + 1)
