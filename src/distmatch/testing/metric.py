"""The contract of a metric, on a toy in two dimensions or of tiny images that has whatever metrics may need."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from distmatch.errors import BadInput
from distmatch.metrics.declaration import Metric
from distmatch.metrics.model import REASONS, Critic, Model, Options
from distmatch.random import seeded

OPTIONS = Options(samples=60)


def check_metric(metric: Metric, model: Model | None = None) -> None:
    """Raise `AssertionError` with one sentence where a metric breaks its contract.

    It asks a question, refuses a model that lacks a need, returns only keys that it declares, with values that are
    numbers and errors that are at least 0 or NaN; equal seeds give equal results, and torch's global generator is
    left alone.

    Args:
        metric: what `@metric` made.
        model: what it is tried on; None for a toy.

    >>> from distmatch.metrics import METRICS
    >>> check_metric(METRICS["mmd"])
    """
    name, model = f"metric {metric.name!r}", model or toy(metric)
    assert metric.question.endswith("?"), f"{name}: its question is {metric.question!r}; it must end with '?'"
    for need in metric.needs:
        assert need in REASONS, (
            f"{name}: it needs {need!r}, which is not in REASONS; write there why it is needed"
        )
        lacking: dict[str, Any] = {need: None}
        reason = metric.missing(replace(model, **lacking))
        assert reason == REASONS[need], (
            f"{name}: of a model without {need} it says {reason!r}; it must say {REASONS[need]!r}"
        )
    before = torch.get_rng_state()
    try:
        first, again = (metric(model, OPTIONS).metrics for _ in range(2))
    except BadInput as error:
        raise AssertionError(
            f"{name}: it refuses the model ({error}); give one that it can measure"
        ) from error
    untouched = torch.equal(before, torch.get_rng_state())
    assert untouched, (
        f"{name}: it moves torch's global generator; it must draw from one seeded by options.seed"
    )
    assert repr(first) == repr(again), f"{name}: equal seeds give different results; they must be equal"
    for key, estimate in first.items():
        assert key in metric.better, f"{name}: its result has {key!r}, which `better` lacks; declare it there"
        assert not math.isnan(estimate.value), f"{name}: {key} is NaN; it must be a number"
        assert not estimate.standard_error < 0, (
            f"{name}: the error of {key} is {estimate.standard_error:.3g}; it must be at least 0, or NaN"
        )


def toy(metric: Metric) -> Model:
    """Return a model that has all that the metric needs: points of two modes, or images where it needs these.

    >>> from distmatch.metrics import METRICS
    >>> toy(METRICS["mmd"]).test.shape
    torch.Size([300, 2])
    """
    shape: tuple[int, ...] = (2,)
    if "stacked_digits" in metric.needs:
        shape = (3, 28, 28)
    elif "is_image" in metric.needs:
        shape = (1, 28, 28)
    size = math.prod(shape)
    modes = torch.tensor([[-2.0, 0.0], [2.0, 0.0]])

    def draw_prior(n: int, seed: int) -> Tensor:
        return torch.randn(n, 2, generator=seeded(seed))

    def generate(z: Tensor, y: Tensor | None = None) -> Tensor:
        raw = z.repeat(1, -(-size // 2))[:, :size].reshape(-1, *shape)
        return raw.sigmoid() if len(shape) == 3 else raw * torch.tensor([2.0, 0.5])

    def sample(n: int, seed: int) -> Tensor:
        return generate(draw_prior(n, seed))

    def critics(n: int, seed: int) -> dict[str, Critic]:
        p, q = sample(n, seed), sample(n, seed + 1) + 0.1
        return {"data": Critic(lambda x: x.flatten(1).square().mean(1), (p,), (q,), is_log_ratio=True)}

    def normal(loc: Tensor, scale: float) -> Independent:
        return Independent(Normal(loc, scale), loc.ndim - 1)

    train = sample(300, 11)
    labels = (train.flatten(1)[:, 0] > train.flatten(1)[:, 0].median()).long()
    return Model(
        sample=sample,
        encode=lambda x, y: normal(x.flatten(1)[:, :2] / 2, 0.5),
        decode=lambda z, y: normal(generate(z), 0.5),
        sample_with_labels=lambda y, seed: train[torch.randint(len(train), y.shape, generator=seeded(seed))],
        generate=generate,
        draw_prior=draw_prior,
        critics=critics,
        has_likelihood=True,
        log_prob=lambda x, y: normal(torch.zeros_like(x), 1.0).log_prob(x),
        latent=2,
        train=train,
        test=sample(300, 12),
        train_labels=labels,
        test_labels=labels,
        modes=modes if len(shape) == 1 else None,
        mode_scale=1.0,
        is_image=len(shape) == 3,
        stacked_digits=shape[0] == 3,
    )
