"""The holes of a witness complex, in numpy: what the processes of `geometry` compute."""

from __future__ import annotations

import numpy as np


def living_times(cloud: np.ndarray, chosen: np.ndarray, gamma: float, i_max: int) -> np.ndarray:
    """The relative living times (k, i_max) of k draws of landmarks (k, L₀), lifted points (n, D + 2) in float64.

    >>> living_times(lift(np.eye(4)), np.arange(4)[None], 0.1, 3)
    array([[1., 0., 0.]])
    """
    return np.stack([_shares(*hole_intervals(cloud, rows, gamma), i_max) for rows in chosen])


def hole_intervals(cloud: np.ndarray, rows: np.ndarray, gamma: float) -> tuple[np.ndarray, float]:
    """Birth and death (k, 2) of the holes on the landmarks `rows`, and α_max = γ · max distance.

    A simplex of at most three landmarks that a witness admits up to α_max lies within α_max of that witness's
    fourth nearest landmark: what is farther for every witness is left out of the table.

    >>> intervals, longest = hole_intervals(lift(np.eye(4)), np.arange(4), 0.1)
    >>> len(intervals), round(longest, 3)
    (0, 0.141)
    """
    import gudhi

    distance = landmark_distances(cloud, rows)
    longest = gamma * float(distance.max())
    order = np.argsort(distance, axis=1, kind="stable")
    distance = np.take_along_axis(distance, order, axis=1)
    fourth = distance[:, min(3, len(rows) - 1), None]
    columns = int((distance <= fourth + longest).sum(1).max())
    table = np.dstack([order[:, :columns], distance[:, :columns]])
    tree = gudhi.WitnessComplex(table).create_simplex_tree(max_alpha_square=longest, limit_dimension=2)
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)
    intervals = np.asarray(tree.persistence_intervals_in_dimension(1), dtype=np.float64).reshape(-1, 2)
    return np.minimum(intervals, longest), longest


def lift(points: np.ndarray) -> np.ndarray:
    """Points x (n, D) as (x, ‖x‖², 1), (n, D + 2), whose products with (-2y, 1, ‖y‖²) are ‖x - y‖².

    >>> lift(np.array([[3.0]]))
    array([[3., 9., 1.]])
    """
    norms = np.einsum("nd,nd->n", points, points)
    return np.column_stack([points, norms, np.ones(len(points))])


def landmark_distances(cloud: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Euclidean distances of all lifted points to the landmarks, (n, L₀), by one matrix product.

    >>> landmark_distances(lift(np.array([[0.0], [3.0]])), np.array([1]))
    array([[3.],
           [0.]])
    """
    marks = cloud[rows]
    marks = np.column_stack([-2 * marks[:, :-2], marks[:, -1], marks[:, -2]])
    return np.sqrt(np.maximum(cloud @ marks.T, 0))


def _shares(intervals: np.ndarray, longest: float, i_max: int) -> np.ndarray:
    """The share of [0, longest] that i intervals cover, for i below i_max."""
    births, deaths = np.sort(intervals, axis=0).T
    ends = np.unique(np.concatenate([births, deaths, [0.0, longest]]))
    middle, width = (ends[1:] + ends[:-1]) / 2, np.diff(ends)
    alive = np.searchsorted(births, middle, "right") - np.searchsorted(deaths, middle, "right")
    total = np.bincount(np.minimum(alive, i_max), weights=width, minlength=i_max + 1)
    return total[:i_max] / longest
