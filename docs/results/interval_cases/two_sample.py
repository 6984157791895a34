"""Two-sample tests: their statistics' intervals, and their level and power."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from torch import Tensor

from distmatch.metrics import (
    maximum_mean_discrepancy,
    nearest_neighbour_two_sample,
    sliced_wasserstein,
)
from distmatch.random import seeded
from interval_cases.case import APART, Case, Estimates, TestCase, normal, picked, student

Sides = Callable[[int], tuple[Tensor, Tensor]]
PERMUTATIONS = 199
OWN = 4000  # repetitions of a nearest-neighbour accuracy by scipy's tree
MANY = 200_000  # permutations for a p-value by all of them


def apart(draws: Callable[[int], Tensor], shift: float = 0.0) -> Sides:
    """Two halves of some draws (2n, D), the second moved along the first axis."""

    def sides(seed: int) -> tuple[Tensor, Tensor]:
        a, b = draws(seed).chunk(2)
        move = torch.zeros(b.shape[1], dtype=b.dtype)
        move[0] = shift
        return a, b + move

    return sides


def coins(n: int, p: float, q: float) -> Sides:
    """Zeros and ones."""

    def sides(seed: int) -> tuple[Tensor, Tensor]:
        drawn = torch.rand(2, n, 1, generator=seeded(APART + seed), dtype=torch.float64)
        return (drawn[0] < p).double(), (drawn[1] < q).double()

    return sides


def clusters(seed: int, n: int) -> Tensor:
    """Two tight clusters in the plane, 3 to 1."""
    return picked(seed, (0, 5), (3, 1), n)[:, None] + 0.1 * normal(seed + 1, n, 2)


def _mmd(name: str, sides: Sides, h: float, truth: Callable[[], float]) -> Case:
    """With this bandwidth; the default follows the data's median distance."""

    def drawn(seed: int) -> Estimates:
        return {
            "mmd": maximum_mean_discrepancy(*sides(seed), bandwidth=h, permutations=1, seed=seed).statistic
        }

    return Case(name, drawn, lambda: {"mmd": truth()})


def _gaussian_mmd(h: float, shift: float, d: int) -> float:
    """E k of N(0, I) and N(μ, I): (h²/(h² + 2))^(D/2) exp(-‖μ‖²/2(h² + 2))."""
    same = (h * h / (h * h + 2)) ** (d / 2)
    return 2 * same * (1 - math.exp(-(shift**2) / (2 * (h * h + 2))))


def _student_mmd(h: float, shift: float, degrees: int) -> float:
    """E k by the rectangle rule on a grid of both variables."""
    from scipy.stats import t

    x = np.linspace(-60, 60, 6001)
    p, q = (t.pdf(x - s, degrees) for s in (0.0, shift))
    difference = (p - q) * (x[1] - x[0])
    kernel = np.exp(-((x[:, None] - x) ** 2) / (2 * h * h))
    return float(difference @ kernel @ difference)


def _sliced(name: str, sides: Sides, truth: float) -> Case:
    """In one dimension, where W₁ is the shift, or in two, where a shift's is 2/π of it."""

    def drawn(seed: int) -> Estimates:
        found = sliced_wasserstein(*sides(seed), projections=50, permutations=50, seed=seed)
        return {"sliced_wasserstein": found.statistic}

    return Case(name, drawn, lambda: {"sliced_wasserstein": truth})


def _neighbours(name: str, sides: Sides) -> Case:
    """The accuracy that two samples of this size have on average, by scipy's tree over 4,000 of them."""

    def drawn(seed: int) -> Estimates:
        found = nearest_neighbour_two_sample(*sides(seed), permutations=PERMUTATIONS, seed=seed)
        return {
            "nn_accuracy": found.accuracy,
            "nn_accuracy_samples": found.accuracy_a,
            "nn_accuracy_data": found.accuracy_b,
        }

    return Case(name, drawn, cache(lambda: _by_tree(sides)))


def _by_tree(sides: Sides) -> dict[str, float]:
    from scipy.spatial import cKDTree

    shares = np.zeros(2)
    for seed in range(OWN):
        a, b = (side.numpy() for side in sides(10_000_000 + 10 * seed))
        points, mine = np.concatenate([a, b]), np.arange(len(a) + len(b)) < len(a)
        agree = mine[cKDTree(points).query(points, 2)[1][:, 1]] == mine
        shares += agree[mine].mean() / OWN, agree[~mine].mean() / OWN
    first, second = map(float, shares)
    return {"nn_accuracy": (first + second) / 2, "nn_accuracy_samples": first, "nn_accuracy_data": second}


def _p_values(name: str, sides: Sides) -> Case:
    """Of one pair of samples on a line, over seeds of the permutations; truths by 200,000 others in numpy."""
    a, b = sides(7)

    def drawn(seed: int) -> Estimates:
        neighbours = nearest_neighbour_two_sample(a, b, permutations=PERMUTATIONS, seed=seed)
        tests = {
            "mmd": maximum_mean_discrepancy(a, b, bandwidth=1.0, permutations=PERMUTATIONS, seed=seed),
            "sliced_wasserstein": sliced_wasserstein(
                a, b, projections=2, permutations=PERMUTATIONS, seed=seed
            ),
        }
        found = {f"{test}_p_value": result.p_value for test, result in tests.items()}
        return found | {"nn_p_value": neighbours.p_value, "nn_p_copying": neighbours.p_copying}

    return Case(name, drawn, cache(lambda: _by_permutations(a.numpy(), b.numpy())), repetitions=200)


def _by_permutations(a: np.ndarray, b: np.ndarray) -> dict[str, float]:
    """Of samples (n, 1) of one size: the shares of permuted labels ±1 that give as much as they are, or more."""
    from scipy.spatial import cKDTree
    from scipy.spatial.distance import cdist

    n, points = len(a), np.concatenate([a, b])
    order, nearest = points[:, 0].argsort(), cKDTree(points).query(points, 2)[1][:, 1]
    kernel, gaps = np.exp(-cdist(points, points, "sqeuclidean") / 2), np.diff(points[order, 0])
    np.fill_diagonal(kernel, 0)

    def statistics(signs: np.ndarray) -> np.ndarray:
        first, second = (1 + signs) / 2, (1 - signs) / 2
        within = (first @ kernel * first + second @ kernel * second).sum(1) / (n * (n - 1))
        mmd = within - 2 * (first @ kernel * second).sum(1) / n**2
        distance = np.abs(signs[:, order].cumsum(1)[:, :-1]) @ gaps / n
        return np.stack([mmd, distance, (signs[:, nearest] == signs).mean(1)])

    signs, generator = np.repeat([1.0, -1.0], n), np.random.default_rng(0)
    seen, shares = statistics(signs[None]), np.zeros(4)
    for _ in range(100):
        found = statistics(generator.permuted(np.tile(signs, (MANY // 100, 1)), axis=1))
        shares[:3] += (found >= seen - 1e-12).mean(1) / 100
        shares[3] += (found[2] <= seen[2] + 1e-12).mean() / 100
    names = ("mmd_p_value", "sliced_wasserstein_p_value", "nn_p_value", "nn_p_copying")
    return dict(zip(names, map(float, shares), strict=True))


def _tests(sides: Sides) -> Callable[[int], dict[str, float]]:
    """Every test's p-value."""

    def p_values(seed: int) -> dict[str, float]:
        a, b = sides(seed)
        neighbours = nearest_neighbour_two_sample(a, b, permutations=PERMUTATIONS, seed=seed)
        kernels = {
            f"mmd, {kernel}": maximum_mean_discrepancy(
                a, b, kernel=kernel, bandwidth=1.0, permutations=PERMUTATIONS, seed=seed
            ).p_value.value
            for kernel in ("rbf", "imq")
        }
        sliced = sliced_wasserstein(a, b, projections=20, permutations=PERMUTATIONS, seed=seed)
        return kernels | {
            "sliced_wasserstein": sliced.p_value.value,
            "nearest neighbours": neighbours.p_value.value,
            "nearest neighbours, copying": neighbours.p_copying.value,
        }

    return p_values


def _copies(seed: int) -> tuple[Tensor, Tensor]:
    """50 samples that are nearly 50 data."""
    data = normal(seed, 50, 2)
    return data + 0.02 * normal(seed + 1, 50, 2), data


def _dice(seed: int) -> tuple[Tensor, Tensor]:
    first, second = torch.randint(1, 7, (2, 50, 2), generator=seeded(APART + seed)).double()
    return first, second


def _wider(seed: int) -> tuple[Tensor, Tensor]:
    a, b = normal(seed, 2, 50, 2)
    return a, 1.5 * b


CASES = {
    "mmd": (
        _mmd(
            "100 of N(0, I) and of N((1, 0), I)",
            apart(lambda seed: normal(seed, 200, 2), 1.0),
            1.0,
            lambda: _gaussian_mmd(1.0, 1.0, 2),
        ),
        _mmd(
            "60 of Student's t, 3 degrees, by 1 aside",
            apart(lambda seed: student(seed, 3, 120, 1), 1.0),
            1.0,
            lambda: _student_mmd(1.0, 1.0, 3),
        ),
        _mmd("100 coins of 0.4 and of 0.8", coins(100, 0.4, 0.8), 1.0, lambda: 0.32 * (1 - math.exp(-0.5))),
        _mmd("60 coins of 0.5 and of 0.8", coins(60, 0.5, 0.8), 1.0, lambda: 0.18 * (1 - math.exp(-0.5))),
        _mmd("100 of N(0, I) on both sides", apart(lambda seed: normal(seed, 200, 2)), 1.0, lambda: 0.0),
    ),
    "sliced_wasserstein": (
        _sliced(
            "100 of N(0, I) and of N((2, 0), I)", apart(lambda seed: normal(seed, 200, 2), 2.0), 4 / math.pi
        ),
        _sliced(
            "60 of Student's t, 4 degrees, by 2 aside", apart(lambda seed: student(seed, 4, 120, 1), 2.0), 2.0
        ),
        _sliced("60 coins of 0.5 and of 0.8", coins(60, 0.5, 0.8), 0.3),
        _sliced("100 of N(0, I) on both sides", apart(lambda seed: normal(seed, 200, 2)), 0.0),
    ),
    "nearest_neighbour_two_sample": (
        _neighbours("100 of N(0, I) and of N((1, 0), I)", apart(lambda seed: normal(seed, 200, 2), 1.0)),
        _neighbours(
            "50 of Student's t, 2 degrees, by 1 aside", apart(lambda seed: student(seed, 2, 100, 1), 1.0)
        ),
        _neighbours("60 of two tight clusters on both sides", apart(lambda seed: clusters(seed, 120))),
    ),
    "p_values": (
        _p_values("40 of N(0, 1) and of N(0.15, 1)", apart(lambda seed: normal(seed, 80, 1), 0.15)),
        _p_values(
            "40 of Student's t, 2 degrees, by 0.15 aside", apart(lambda seed: student(seed, 2, 80, 1), 0.15)
        ),
        _p_values("40 in two tight clusters on both sides", apart(lambda seed: clusters(seed, 80)[:, :1])),
    ),
}

TESTS = (
    TestCase("50 of N(0, I) on both sides", _tests(apart(lambda seed: normal(seed, 100, 2))), True),
    TestCase(
        "30 of Student's t, 2 degrees, on both sides",
        _tests(apart(lambda seed: student(seed, 2, 60, 2))),
        True,
    ),
    TestCase("50 throws of two dice on both sides", _tests(_dice), True),
    TestCase(
        "50 coins of 0.5 on both sides",
        _tests(coins(50, 0.5, 0.5)),
        True,
        note="the statistic of two sets of coins has few values, and none that is reached 5 % of the time.",
    ),
    TestCase(
        "50 of N(0, I) and of N((0.5, 0), I)", _tests(apart(lambda seed: normal(seed, 100, 2), 0.5)), False
    ),
    TestCase("50 of N(0, I) and of N(0, 2.25 I)", _tests(_wider), False),
    TestCase("50 of N(0, I) and their near copies", _tests(_copies), False),
)
