"""Pairs of samples so close that they may be duplicates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.checks import at_least
from distmatch.metrics.samples.distances import ROWS, embedded, nearest_others
from distmatch.objectives.comparisons.mmd import squared_distances

PAIRS = 20  # closest pairs shown, as in the paper


@dataclass(frozen=True)
class ClosestPairs:
    """Indices (k, 2) of pairs of samples, the closest first, and their distances (k,)."""

    indices: Tensor
    distances: Tensor


def duplicate_threshold(
    data: Tensor, *, quantile: float = 0.01, features: Callable[[Tensor], Tensor] | None = None
) -> float:
    """The `quantile` of the distance from a datum to its nearest neighbour, as a threshold for duplicates.

    A heuristic: real data hold hardly any duplicates, so what is closer than nearly all neighbours in data is
    taken for one. The more data are given, the smaller it becomes: take as many as there are samples, and run
    the test on data as well, which with this threshold gives the value that a good model reaches.

    Raises:
        BadInput: shapes, NaN, a quantile outside (0, 1).

    >>> duplicate_threshold(torch.tensor([[0.0], [1.0], [3.0]]), quantile=0.5)
    1.0
    """
    if not 0 < quantile < 1:
        raise BadInput(f"quantile is {quantile}; give a number between 0 and 1")
    points = features_of(data, features)
    nearest = points[nearest_others(points)]
    return float((points - nearest).norm(dim=1).quantile(quantile))


def closest_pairs(
    samples: Tensor, count: int = PAIRS, *, features: Callable[[Tensor], Tensor] | None = None
) -> ClosestPairs:
    """The `count` closest pairs of samples (n, *), for a person to judge.

    Give it one batch: whether any of its pairs are duplicates is the test of that batch size.

    Raises:
        BadInput: shapes, NaN, a count below one.

    >>> closest_pairs(torch.tensor([[0.0], [5.0], [1.0]]), 1).indices
    tensor([[0, 2]])
    """
    at_least(1, count=count)
    points, pairs = features_of(samples, features), torch.empty(0, 2, dtype=torch.long)
    for rows in torch.arange(len(points)).split(ROWS):
        distance = squared_distances(points[rows], points[: int(rows[-1]) + 1])
        distance[torch.arange(distance.shape[1]) >= rows[:, None]] = math.inf
        best = distance.flatten().topk(min(count, distance.numel()), largest=False)
        at = best.indices[best.values.isfinite()].cpu()
        new = torch.stack([at % distance.shape[1], rows[at // distance.shape[1]]], 1)
        pairs = torch.cat([pairs, new])
        exact = (points[pairs[:, 0]] - points[pairs[:, 1]]).norm(dim=1)
        order = exact.argsort(stable=True)[:count]
        pairs = pairs[order.cpu()]
    return ClosestPairs(pairs, (points[pairs[:, 0]] - points[pairs[:, 1]]).norm(dim=1))


def features_of(samples: Tensor, features: Callable[[Tensor], Tensor] | None) -> Tensor:
    """The samples or their features, (n, D) in float64, centred.

    Raises:
        BadInput: shapes, NaN, features of another number of samples.

    >>> features_of(torch.tensor([[1.0], [3.0]]), torch.square)
    tensor([[-4.],
            [ 4.]], dtype=torch.float64)
    """
    points = embedded(samples if features is None else features(samples), "samples")
    if len(points) != len(samples):
        raise BadInput(f"the features of {len(samples)} samples have {len(points)} rows; give one for each")
    return points
