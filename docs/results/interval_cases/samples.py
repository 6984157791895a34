"""Samples in their own space: classes, modes, similarity, holes and repetitions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
import torch
from scipy.spatial.distance import cdist
from torch import Tensor

from distmatch.metrics import (
    birthday_test,
    class_agreement,
    geometry_score,
    mean_relative_living_times,
    mode_coverage,
    ms_ssim_diversity,
)
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.samples.coverage import reached
from distmatch.metrics.samples.ms_ssim import CONVENTIONS
from distmatch.random import seeded
from interval_cases.case import APART, Case, Estimates, normal, picked, student

Draw = Callable[[int], Tensor]
OWN = 4000  # draws of landmarks for a geometry score of many


def _agreement(name: str, samples: Draw, right: float) -> Case:
    """The judge's data are dense on both sides of 0, where its classes meet; all samples are asked for class 1."""
    data = torch.cat([-EDGE.flip(0), EDGE])[:, None]
    classes = (data[:, 0] > 0).long()

    def drawn(seed: int) -> Estimates:
        x = samples(seed)[:, None]
        return {"class_agreement": class_agreement(x, torch.ones(len(x), dtype=torch.long), data, classes)}

    return Case(name, drawn, lambda: {"class_agreement": right})


EDGE = torch.linspace(0.001, 5, 400, dtype=torch.float64)


def _modes(
    name: str, n: int, shares: Sequence[float], draws: Callable[[int, int], Tensor], near: float
) -> Case:
    """Modes in a row, their σ 0.1; `near` is the probability to be within 3σ of one's own."""
    places = torch.stack([10.0 * torch.arange(len(shares)), torch.zeros(len(shares))], 1).double()

    def drawn(seed: int) -> Estimates:
        chosen = picked(seed, range(len(shares)), shares, n).long()
        found = mode_coverage(places[chosen] + 0.1 * draws(seed + 1, n), places, 0.1)
        limits = reached(found.modes, found.total, found.modes_error)
        modes = Estimate(found.modes, found.modes_error, n, limits=limits)
        return {"modes": modes, "high_quality": found.high_quality, "mode_kl": found.kl}

    def truths() -> dict[str, float]:
        p = np.array(shares) / sum(shares)
        return {
            "modes": float((1 - (1 - near * p) ** n).sum()),
            "high_quality": near,
            "mode_kl": float((p * np.log(len(p) * p)).sum()),
        }

    return Case(name, drawn, truths)


def _similarity(name: str, greys: Draw, pairs: tuple[np.ndarray, np.ndarray]) -> Case:
    """Images of one grey each: contrast and structure are 1 at all scales, and what is left is the luminance at the
    last, (2ab + C)/(a² + b² + C) to its power. `pairs` are greys and their shares."""

    def drawn(seed: int) -> Estimates:
        images = greys(seed)[:, None, None, None].expand(-1, 1, 16, 16)
        return {
            f"ms_ssim_diversity_{convention}": ms_ssim_diversity(
                images, batches=5, batch_size=16, convention=convention, seed=seed
            )
            for convention in CONVENTIONS
        }

    def truths() -> dict[str, float]:
        a, shares = pairs
        similar = ((2 * np.outer(a, a) + 1e-4) / (a[:, None] ** 2 + a**2 + 1e-4)) ** 0.1333
        truth = float(1 - shares @ similar @ shares)
        return {f"ms_ssim_diversity_{convention}": truth for convention in CONVENTIONS}

    return Case(name, drawn, truths)


def _geometry(name: str, a: Draw, b: Draw, landmarks: int, draws: int) -> Case:
    """Two fixed clouds, over seeds of the landmarks: the squared distance of their mean living times, by gudhi and
    numpy over 4,000 other draws of landmarks, whose bias is taken off."""
    clouds = a(1), b(2)

    def drawn(seed: int) -> Estimates:
        times = [
            mean_relative_living_times(
                cloud, landmarks=landmarks, gamma=1 / 8, i_max=10, draws=draws, seed=2 * seed + side, jobs=1
            )
            for side, cloud in enumerate(clouds)
        ]
        return {"geometry_score": geometry_score(*times)}

    def truths() -> dict[str, float]:
        generator = np.random.default_rng(0)
        sides = [
            np.stack(
                [_holes(cloud, cloud[generator.integers(len(cloud), size=landmarks)]) for _ in range(OWN)]
            )
            for cloud in (cloud.numpy() for cloud in clouds)
        ]
        apart = float(np.square(sides[0].mean(0) - sides[1].mean(0)).sum())
        return {"geometry_score": max(0.0, apart - sum(float(side.var(0).sum()) / OWN for side in sides))}

    return Case(name, drawn, cache(truths), repetitions=100)


def _holes(cloud: np.ndarray, marks: np.ndarray) -> np.ndarray:
    """At which share of 1,000 scales up to an eighth of the largest distance there are 0, 1, ... 9 holes."""
    import gudhi

    distance = cdist(cloud, marks)
    longest = distance.max() / 8
    table = [[(k, row[k]) for k in row.argsort(kind="stable")] for row in distance]
    tree = gudhi.WitnessComplex(table).create_simplex_tree(max_alpha_square=longest, limit_dimension=2)
    tree.compute_persistence(homology_coeff_field=2, persistence_dim_max=True)
    scales = longest * (np.arange(1000) + 0.5) / 1000
    lives = np.reshape(tree.persistence_intervals_in_dimension(1), (-1, 2))
    alive = ((lives[:, :1] <= scales) & (scales < lives[:, 1:])).sum(0)
    return np.bincount(alive, minlength=10)[:10] / 1000


def _ring(seed: int) -> Tensor:
    angle = 2 * math.pi * torch.rand(60, generator=seeded(APART + seed), dtype=torch.float64)
    return torch.stack([angle.cos(), angle.sin()], 1)


def _clusters(seed: int) -> Tensor:
    return picked(seed, (0, 3), (1, 1), 60)[:, None] + 0.2 * normal(seed + 1, 60, 2)


def _repeats(name: str, n: int, shares: np.ndarray) -> Case:
    """Things of these probabilities: Σ p², its inverse, and the smallest batch of which half hold two alike."""
    weights = torch.from_numpy(shares)

    def drawn(seed: int) -> Estimates:
        things = torch.multinomial(weights, n, replacement=True, generator=seeded(APART + seed))
        found = birthday_test(things[:, None].double(), seed=seed)
        measured = {"collision_rate": found.collision_rate, "support": found.support, "batch": found.half}
        return {f"birthday_{key}": e for key, e in measured.items() if e is not None}

    def truths() -> dict[str, float]:
        rate = float(np.square(shares).sum())
        return {
            "birthday_collision_rate": rate,
            "birthday_support": 1 / rate,
            "birthday_batch": float(_half(shares)),
        }

    return Case(name, drawn, truths)


def _half(shares: np.ndarray) -> int:
    """The least s with s! e_s(p) ≤ ½, e_s the elementary symmetric polynomial: P(all of s differ), thing by thing."""
    most = min(len(shares), 200)
    differ = np.zeros(most + 1)  # s! e_s of the things so far
    differ[0] = 1.0
    for p in shares:
        differ[1:] = differ[1:] + p * np.arange(1, most + 1) * differ[:-1]
    return int(np.argmax(differ <= 0.5))


CASES = {
    "class_agreement": (
        _agreement("200 of N(1, 1)", lambda seed: 1 + normal(seed, 200), 0.8413447),
        _agreement(
            "30 of Student's t, 3 degrees, about 1.5", lambda seed: 1.5 + student(seed, 3, 30), 0.8847087
        ),
        _agreement("30 of two values, 49 to 1", lambda seed: picked(seed, (1, -1), (49, 1), 30), 0.98),
    ),
    "mode_coverage": (
        _modes(
            "2,500 on 25 even modes", 2500, [1] * 25, lambda seed, n: normal(seed, n, 2), 1 - math.exp(-4.5)
        ),
        _modes(
            "300 on 20 modes of uneven shares, tails of Student's t, 3 degrees",
            300,
            [0.8**k for k in range(20)],
            lambda seed, n: torch.stack([student(seed, 3, n), torch.zeros(n)], 1),
            0.9423,
        ),
        _modes(
            "100 on 8 modes, exactly", 100, [8, 4, 4, 2, 2, 1, 1, 0.2], lambda seed, n: torch.zeros(n, 2), 1.0
        ),
    ),
    "ms_ssim_diversity": (
        _similarity(
            "greys evenly in [0, 1]",
            lambda seed: torch.rand(80, generator=seeded(APART + seed), dtype=torch.float64),
            ((np.arange(4000) + 0.5) / 4000, np.full(4000, 1 / 4000)),
        ),
        _similarity(
            "greys evenly in [0, 1], cubed: most are dark",
            lambda seed: torch.rand(80, generator=seeded(APART + seed), dtype=torch.float64) ** 3,
            (((np.arange(4000) + 0.5) / 4000) ** 3, np.full(4000, 1 / 4000)),
        ),
        _similarity(
            "three greys",
            lambda seed: picked(seed, (0, 0.5, 1), (1, 2, 1), 80),
            (np.array([0.0, 0.5, 1.0]), np.array([0.25, 0.5, 0.25])),
        ),
    ),
    "geometry_score": (
        _geometry("a ring against N(0, I)", _ring, lambda seed: normal(seed, 60, 2), 16, 40),
        _geometry(
            "N(0, I) against Student's t, 2 degrees",
            lambda seed: normal(seed, 60, 2),
            lambda seed: student(seed, 2, 60, 2),
            16,
            40,
        ),
        _geometry("a ring against two clusters", _ring, _clusters, 16, 20),
    ),
    "birthday_test": (
        _repeats("3,000 of 1,000 even things", 3000, np.full(1000, 1e-3)),
        _repeats(
            "1,000 of 500 things, Zipf's shares",
            1000,
            (1 / np.arange(1, 501)) / (1 / np.arange(1, 501)).sum(),
        ),
        _repeats("600 of one thing of 0.2 and 2,000 rare", 600, np.append(np.full(2000, 0.8 / 2000), 0.2)),
    ),
}
