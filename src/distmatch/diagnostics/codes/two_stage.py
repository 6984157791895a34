"""Means and errors of draws from some of a mixture's components: first components, then draws in each."""

from __future__ import annotations

import math

from torch import Tensor


def two_stage(values: Tensor, total: int) -> tuple[float, float]:
    """Mean and standard error of K draws in each of n components out of `total`, values (n, K).

    Var = (1 - n/N) s²_between/n + (n/N) s²_within/(nK)  (Cochran, Sampling Techniques, chapter 10).

    >>> import torch
    >>> two_stage(torch.tensor([[1.0, 1.0], [3.0, 3.0]]), 2)    # both components seen, no noise within
    (2.0, 0.0)
    """
    n, k = values.shape
    between = values.mean(1).var() / n
    if k == 1:  # nothing tells the draws' own variance: keep the larger error
        return float(values.mean()), math.sqrt(float(between))
    within = values.var(1).mean() / (n * k)
    return float(values.mean()), math.sqrt(float((1 - n / total) * between + n / total * within))


def controlled(score: Tensor, draws: Tensor, components: Tensor) -> Tensor:
    """`score` less its regression on a control whose mean is zero, (M,) each: on that of the draws if it may,
    otherwise on that of the components (each one's rate less the mean rate).

    Where components hardly overlap, the residual of the first is constant but for rare codes between them:
    its spread would say nothing of what M codes did not see. So it is used only if it is not heavy-tailed.

    >>> import torch
    >>> score = torch.arange(200.0) % 7
    >>> controlled(score, score - score.mean(), torch.zeros(200)).equal(score)  # a constant rest: not to be trusted
    True
    """
    residual = _residual(score, draws)
    return _residual(score, components) if rests_on_few(residual) else residual


def _residual(score: Tensor, control: Tensor) -> Tensor:
    centred = control - control.mean()
    spread = centred.square().sum()
    weight = (centred * score).sum() / spread if spread > 0 else spread
    return score - weight.clamp(0, 1) * control


def rests_on_few(values: Tensor) -> bool:
    """Whether M/kurtosis, about how many of the M values make up the variance, is below 100, or none does.

    >>> import torch
    >>> rests_on_few(torch.arange(1000.0)), rests_on_few(1e6 * (torch.arange(1000.0) < 2))
    (False, True)
    """
    squares = (values - values.mean()).square()
    fourth = float(squares.square().sum())
    return float(squares.mean()) < 1e-12 or float(squares.sum()) ** 2 < 100 * fourth


def information(values: Tensor, total: int) -> tuple[float, float]:
    """Mean and standard error of log q(z|x_n) - log q(z), (n, K). Where its spread rests on a few codes, the
    error is at least 3 nats/M: what M draws may miss (the rule of three) of codes nearer to another mean.

    >>> import torch
    >>> information(torch.full((10, 30), 2.0), 10)
    (2.0, 0.01)
    """
    value, error = two_stage(values, total)
    return value, max(error, 3 / values.numel()) if rests_on_few(values.flatten()) else error
