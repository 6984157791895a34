"""Means and errors of draws from some of a mixture's components: first components, then draws in each."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.checks import at_least
from distmatch.metrics.estimate import Estimate


class Mean(NamedTuple):
    """A mean, its standard error, and the degrees of freedom that this has."""

    value: float
    error: float
    degrees: float

    def estimate(self, n: int, how: str) -> Estimate:
        """The estimate in nats, of n draws."""
        return Estimate(self.value, self.error, n, "nats", how, self.degrees)


def two_stage(values: Tensor, total: int) -> Mean:
    """Mean and standard error of K draws in each of n components out of `total`, values (n, K).

    Var = (1 - n/N) s²_between/n + (n/N) s²_within/(nK)  (Cochran, Sampling Techniques, chapter 10), of which the
    parts have n - 1 and n(K - 1) degrees of freedom, and the sum Satterthwaite's.

    >>> import torch
    >>> two_stage(torch.tensor([[1.0, 1.0], [3.0, 3.0]]), 2)    # both components seen, no noise within
    Mean(value=2.0, error=0.0, degrees=2.0)
    """
    n, k = values.shape
    mean, between = float(values.mean()), float(values.mean(1).var()) / n
    if k == 1:  # nothing tells the draws' own variance: keep the larger error
        return Mean(mean, math.sqrt(between), n - 1)
    parts = (1 - n / total) * between, n / total * float(values.var(1).mean()) / (n * k)
    doubt = parts[0] ** 2 / (n - 1) + parts[1] ** 2 / (n * (k - 1))
    return Mean(mean, math.sqrt(sum(parts)), sum(parts) ** 2 / doubt if doubt else float(n * (k - 1)))


def of_some(values: Tensor, own: Tensor | None, total: int) -> Mean:
    """The mean of the codes' values (M,): by two stages where they are draws of the components `own` (n, K), row by
    row; otherwise they are independent.

    >>> import torch
    >>> of_some(torch.tensor([1.0, 2.0, 3.0]), None, 5).degrees
    2
    """
    if own is not None:
        return two_stage(values.reshape(own.shape), total)
    return Mean(float(values.mean()), float(values.std()) / math.sqrt(len(values)), len(values) - 1)


def thinned(own: Tensor | None, codes: int, most: int) -> tuple[Tensor, Tensor | None]:
    """Places of the codes to keep, about `most` evenly spaced ones, and `own` (n, K) of these: at least two of each
    component that stays, where there are two.

    >>> import torch
    >>> own = torch.arange(4)[:, None].expand(4, 3)
    >>> thinned(own, 12, 4)
    (tensor([0, 1, 6, 7]), tensor([[0, 0],
            [2, 2]]))
    """
    places = torch.arange(codes)
    if own is None:
        step = max(1, min(math.ceil(codes / most), codes - 1))
        return places[::step], None
    n, k = own.shape
    rows = slice(None, None, max(1, min(math.ceil(n / max(2, most // 2)), n - 1)))
    components = own[rows]
    draws = min(k, max(2, most // len(components)))
    return places.reshape(n, k)[rows, :draws].flatten(), components[:, :draws]


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
    """True where M/kurtosis, about how many of the M values make up the variance, is below 100, or none does.

    >>> import torch
    >>> rests_on_few(torch.arange(1000.0)), rests_on_few(1e6 * (torch.arange(1000.0) < 2))
    (False, True)
    """
    squares = (values - values.mean()).square()
    fourth = float(squares.square().sum())
    return float(squares.mean()) < 1e-12 or float(squares.sum()) ** 2 < 100 * fourth


def information(values: Tensor, total: int) -> Mean:
    """Mean and standard error of log q(z|x_n) - log q(z), (n, K). Where its spread rests on a few codes, the
    error is at least 3 nats/M: what M draws may miss (the rule of three) of codes nearer to another mean.

    >>> import torch
    >>> information(torch.full((10, 30), 2.0), 10)
    Mean(value=2.0, error=0.01, degrees=290.0)
    """
    mean = two_stage(values, total)
    least = 3 / values.numel() if rests_on_few(values.flatten()) else 0.0
    return mean._replace(error=max(mean.error, least))


def sizes(total: int, codes: int, samples: int | None, evaluate: int | None) -> tuple[int, int]:
    """Number of components to draw from, out of `total`, and of draws from each, for about `codes` codes.

    >>> sizes(60_000, 10_000, None, None), sizes(60_000, 333, None, None), sizes(2, 10_000, None, None)
    ((1000, 10), (166, 3), (2, 5000))

    Raises:
        BadInput: counts below one (components below two), more components than there are.
    """
    n = min(1000, total, max(2, codes // 2)) if evaluate is None else evaluate
    at_least(2, evaluate=n)
    if n > total:
        raise BadInput(f"evaluate is {n}, but the mixture has only {total} components")
    k = max(2, math.ceil(codes / n)) if samples is None else samples
    at_least(1, samples=k)
    return n, k
