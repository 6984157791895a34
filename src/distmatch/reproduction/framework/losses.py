"""A comparison's losses on scores, for experiments with loops of their own."""

from __future__ import annotations

from torch import Tensor

from distmatch.objectives.comparisons import Comparison
from distmatch.objectives.comparisons.comparison import Elementwise


def critic_loss(by: Comparison, target: Tensor, model: Tensor) -> Tensor:
    """The loss that the critic minimises, the mean over the last dimension of scores of both sides, `(*, n)` -> `(*)`.

    >>> import torch
    >>> from distmatch.objectives.comparisons import WASSERSTEIN
    >>> critic_loss(WASSERSTEIN, torch.ones(3), torch.zeros(2))
    tensor(-1.)
    """
    return _mean(by.critic.target, target) + _mean(by.critic.model, model)


def generator_loss(by: Comparison, model: Tensor) -> Tensor:
    """Return the generator loss of the model's scores, `(*, n)` -> `(*)`."""
    return _mean(by.generator.model, model)


def _mean(side: Elementwise | None, scores: Tensor) -> Tensor:
    return scores.new_zeros(scores.shape[:-1]) if side is None else side(scores).mean(-1)
