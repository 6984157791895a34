"""Distances between many points, a block of rows at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from distmatch.metrics.checks import checked
from distmatch.objectives.comparisons.mmd import squared_distances

ROWS = 512  # points compared at once with all others


def embedded(points: Tensor, name: str) -> Tensor:
    """The points, flattened, in float64 and centred, so that distances by products stay exact: (n, D).

    Raises:
        BadInput: fewer than two points, no dimension, NaN.

    >>> embedded(torch.tensor([[[1.0]], [[3.0]]]), "points")
    tensor([[-1.], [ 1.]], dtype=torch.float64)
    """
    flat = checked(points.flatten(1) if points.ndim > 1 else points, name, "n, D")
    return flat - flat.mean(0)


def nearest_others(points: Tensor) -> Tensor:
    """The index of the nearest other point of each, (n,).

    >>> nearest_others(torch.tensor([[0.0], [1.0], [5.0]]))
    tensor([1, 0, 1])
    """
    nearest = []
    for rows in torch.arange(len(points)).split(ROWS):
        distance = squared_distances(points[rows], points)
        distance[torch.arange(len(rows)), rows] = math.inf
        nearest.append(distance.argmin(1))
    return torch.cat(nearest)
