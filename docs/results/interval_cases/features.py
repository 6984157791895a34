"""Samples in the eyes of a feature net: here the features themselves, and a classifier's logits."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor

from distmatch.metrics import (
    inception_score,
    kernel_distance,
    precision_recall_density_coverage,
    stacked_mnist_modes,
)
from distmatch.metrics.features.frechet import frechet_distances
from interval_cases.case import (
    Case,
    Estimates,
    gaussian_mean,
    normal,
    picked,
    square_of_student,
    student,
)
from interval_cases.two_sample import Sides, apart, coins

WITHIN = dict.fromkeys(
    ("frechet_distance", "frechet_distance_unbiased"),
    "the square of a difference within its noise, in a single feature, is skewed as χ² with few degrees is.",
)
OWN = 4000  # repetitions of what depends on n, by numpy


def _score(name: str, logits: Callable[[int], Tensor], truth: float, splits: int = 1, **known: str) -> Case:
    """Its bias is about (K - 1)·splits/2n of it."""
    return Case(
        name,
        lambda seed: {"inception_score": inception_score(logits(seed), splits, seed=seed)},
        lambda: {"inception_score": truth},
        known=known,
    )


def _unsure(weights: Callable[[Callable[[np.ndarray], np.ndarray]], float]) -> float:
    """exp(ln 2 - E H(σ(z))) of logits (z, 0) that are even on both sides."""

    def entropy(z: np.ndarray) -> np.ndarray:
        p = 1 / (1 + np.exp(-z))
        return p * np.logaddexp(0, -z) + (1 - p) * np.logaddexp(0, z)

    return 2 * math.exp(-weights(entropy))


def _student_mean(function: Callable[[np.ndarray], np.ndarray], degrees: int = 2) -> float:
    """E f(t), by the midpoint rule over t's quantiles."""
    from scipy.stats import t

    return float(function(t.ppf((np.arange(200_000) + 0.5) / 200_000, degrees)).mean())


def _two_classes(draws: Tensor) -> Tensor:
    return torch.stack([draws, torch.zeros_like(draws)], 1)


def _sure_of(seed: int, shares: Sequence[float], n: int) -> Tensor:
    """Logits of n samples, each sure of one class."""
    classes = picked(seed, range(len(shares)), shares, n).long()
    return 40 * torch.nn.functional.one_hot(classes, len(shares)).double()


def _frechet(name: str, sides: Sides, truth: float, known: Mapping[str, str] | None = None) -> Case:
    """Without its bias against the population's; as published against its own mean at this n, over 4,000 samples."""

    def drawn(seed: int) -> Estimates:
        found = frechet_distances(*sides(seed), seed=seed)
        return {"frechet_distance": found.plain, "frechet_distance_unbiased": found.unbiased}

    def truths() -> dict[str, float]:
        plain = np.mean([_by_numpy(*sides(10_000_000 + 10 * i)) for i in range(OWN)])
        return {"frechet_distance": float(plain), "frechet_distance_unbiased": truth}

    return Case(name, drawn, cache(truths), known=known or {})


def _by_numpy(a: Tensor, b: Tensor) -> float:
    first, second = (np.atleast_2d(np.cov(side.numpy().T)) for side in (a, b))
    roots = np.sqrt(np.linalg.eigvals(first @ second).real.clip(0)).sum()
    return float(((a.mean(0) - b.mean(0)) ** 2).sum()) + np.trace(first) + np.trace(second) - 2 * float(roots)


def _kernel(name: str, sides: Sides, moments: tuple[Sequence[float], Sequence[float]]) -> Case:
    """In one dimension, where (xy + 1)³ sees three moments: Σ_j C(3, j) (m_j - m'_j)²."""
    truth = sum(
        math.comb(3, j) * (a - b) ** 2 for j, (a, b) in enumerate(zip(*moments, strict=True), start=1)
    )
    return Case(
        name,
        lambda seed: {"kernel_distance": kernel_distance(*sides(seed), seed=seed)},
        lambda: {"kernel_distance": truth},
    )


def _neighbours(name: str, sides: Sides, k: int = 5) -> Case:
    """The four numbers that two sets of this size have on average, by numpy over 4,000 of them."""

    def truths() -> dict[str, float]:
        found = np.mean([_balls(*sides(10_000_000 + 10 * i), k) for i in range(OWN)], 0)
        return dict(zip(("precision", "recall", "density", "coverage"), map(float, found), strict=True))

    return Case(
        name,
        lambda seed: precision_recall_density_coverage(*sides(seed), k, seed=seed).estimates(),
        cache(truths),
    )


def _balls(real: Tensor, fake: Tensor, k: int) -> tuple[float, float, float, float]:
    def distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.linalg.norm(a[:, None] - b, axis=2)

    x, y = real.numpy(), fake.numpy()
    radii = [np.sort(distances(side, side), 1)[:, k] for side in (x, y)]
    inside = distances(x, y) < radii[0][:, None]
    recalled = (distances(x, y) < radii[1]).any(1)
    return inside.any(0).mean(), recalled.mean(), inside.sum() / (k * len(y)), inside.any(1).mean()


def _stacked(name: str, n: int, shares: Sequence[float]) -> Case:
    """Triples of these shares, the first ones of the 1,000, by a sure classifier."""
    p = np.array(shares) / sum(shares)

    def drawn(seed: int) -> Estimates:
        triples = picked(seed, range(len(p)), list(p), n).long()
        digits = torch.stack([triples // 100, triples // 10 % 10, triples % 10], 1)
        found = stacked_mnist_modes(torch.nn.functional.one_hot(digits, 10).double())
        return {"stacked_modes": found.modes, "stacked_kl": found.kl}

    def truths() -> dict[str, float]:
        return {
            "stacked_modes": float((1 - (1 - p) ** n).sum()),
            "stacked_kl": float((p * np.log(1000 * p)).sum()),
        }

    return Case(name, drawn, truths)


def _wider(seed: int) -> tuple[Tensor, Tensor]:
    a, b = normal(seed, 2, 60, 4)
    return a, 2 * b


def _grouped(seed: int) -> tuple[Tensor, Tensor]:
    """Four clusters in the plane, of which the fakes have three."""
    real, fake = picked(seed, range(4), (1, 1, 1, 1), 80), picked(seed + 1, range(3), (1, 1, 1), 80)
    noise = normal(seed + 2, 2, 80, 2)
    return 3 * real[:, None] + 0.3 * noise[0], 3 * fake[:, None] + 0.3 * noise[1]


CASES = {
    "inception_score": (
        _score(
            "500 logits of N(0, 9)",
            lambda seed: _two_classes(3 * normal(seed, 500)),
            _unsure(lambda f: gaussian_mean(f, scale=3.0)),
        ),
        _score(
            "200 logits of Student's t, 2 degrees, in 4 splits",
            lambda seed: _two_classes(student(seed, 2, 200)),
            _unsure(_student_mean),
            splits=4,
        ),
        _score(
            "200 sure of three classes, 6 to 3 to 1",
            lambda seed: _sure_of(seed, (6, 3, 1), 200),
            math.exp(-sum(p * math.log(p) for p in (0.6, 0.3, 0.1))),
        ),
        _score(
            "50 sure of ten even classes",
            lambda seed: _sure_of(seed, [1] * 10, 50),
            10.0,
            inception_score="the score as published is biased down by about (classes - 1)·splits/2n of it, here 9 %.",
        ),
    ),
    "frechet_distance": (
        _frechet(
            "200 of N(0, I) in 4 dimensions, by 1 aside", apart(lambda seed: normal(seed, 400, 4), 1.0), 1.0
        ),
        _frechet("60 of N(0, I) and of N(0, 4 I) in 4 dimensions", _wider, 4.0),
        _frechet(
            "100 of Student's t, 10 degrees, in 2 dimensions, by 1 aside",
            apart(lambda seed: student(seed, 10, 200, 2), 1.0),
            1.0,
        ),
        _frechet("60 coins of 0.5 and of 0.8", coins(60, 0.5, 0.8), 0.09 + (0.5 - 0.4) ** 2),
        _frechet(
            "100 of N(0, I) in 4 dimensions on both sides", apart(lambda seed: normal(seed, 200, 4)), 0.0
        ),
        _frechet("200 of N(0, 1) on both sides", apart(lambda seed: normal(seed, 400, 1)), 0.0, WITHIN),
        _frechet("60 coins of 0.5 on both sides", coins(60, 0.5, 0.5), 0.0, WITHIN),
    ),
    "kernel_distance": (
        _kernel(
            "200 of N(0, 1) and of N(1, 1)",
            apart(lambda seed: normal(seed, 400, 1), 1.0),
            ((0, 1, 0), (1, 2, 4)),
        ),
        _kernel(
            "400 of Student's t, 20 degrees, by 1 aside",
            apart(lambda seed: student(seed, 20, 800, 1), 1.0),
            ((0, square_of_student(20), 0), (1, square_of_student(20) + 1, 1 + 3 * square_of_student(20))),
        ),
        _kernel("100 coins of 0.4 and of 0.8", coins(100, 0.4, 0.8), ((0.4, 0.4, 0.4), (0.8, 0.8, 0.8))),
        _kernel(
            "200 of N(0, 1) on both sides",
            apart(lambda seed: normal(seed, 400, 1)),
            ((0, 1, 0), (0, 1, 0)),
        ),
        _kernel(
            "200 of N(0, 1) and of N(0.5, 1)",
            apart(lambda seed: normal(seed, 400, 1), 0.5),
            ((0, 1, 0), (0.5, 1.25, 1.625)),
        ),
        _kernel(
            "200 of N(0, 1) and of N(0.2, 1)",
            apart(lambda seed: normal(seed, 400, 1), 0.2),
            ((0, 1, 0), (0.2, 1.04, 0.608)),
        ),
        _kernel(
            "200 of Student's t, 12 degrees, by 0.5 aside",
            apart(lambda seed: student(seed, 12, 400, 1), 0.5),
            (
                (0, square_of_student(12), 0),
                (0.5, square_of_student(12) + 0.25, 0.125 + 1.5 * square_of_student(12)),
            ),
        ),
        _kernel(
            "60 coins of 0.5 and of 0.8",
            coins(60, 0.5, 0.8),
            ((0.5, 0.5, 0.5), (0.8, 0.8, 0.8)),
        ),
    ),
    "precision_recall_density_coverage": (
        _neighbours(
            "100 of N(0, I) in 4 dimensions, by 1 aside", apart(lambda seed: normal(seed, 200, 4), 1.0)
        ),
        _neighbours(
            "60 of Student's t, 3 degrees, in 2 dimensions", apart(lambda seed: student(seed, 3, 120, 2))
        ),
        _neighbours("80 of four clusters, the fakes of three", _grouped),
    ),
    "stacked_mnist_modes": (
        _stacked("2,000 of 10 even modes", 2000, [1] * 10),
        _stacked("500 of 40 modes, shares 0.9^k", 500, [0.9**k for k in range(40)]),
        _stacked("3,000 of 1,000 modes, Zipf's shares", 3000, [1 / k for k in range(1, 1001)]),
    ),
}
