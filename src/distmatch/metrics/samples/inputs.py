"""A model's samples with as many held-out data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor

from distmatch.metrics.inputs import load, subset
from distmatch.metrics.model import Model, Options

SAMPLES, DATA, TRAIN = "samples", "held-out data", "training data"


def samples_and_data(model: Model, options: Options, most: int) -> dict[str, Tensor]:
    """As many samples as held-out data, at most `most` of each."""
    assert model.sample is not None
    data = load(model.test)
    assert data is not None
    count = max(2, min(options.samples, most, len(data)))
    return {SAMPLES: model.sample(count, options.seed), DATA: subset(data, count, options.seed)}


def part_of(options: Options, part: int, parts: int) -> Callable[[float], None] | None:
    """Progress of one part of the work, as progress of the whole."""
    return None if options.progress is None else partial(_report, options.progress, part, parts)


def _report(progress: Callable[[float], None], part: int, parts: int, done: float) -> None:
    progress((part + done) / parts)
