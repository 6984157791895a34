"""Score intervals of squared distances: the equation written out, and repetitions near the noise."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.spatial.distance import cdist
from scipy.stats import t

from distmatch.metrics import kernel_distance, maximum_mean_discrepancy
from distmatch.metrics.estimate import Estimate, squared_distance_limits
from distmatch.random import seeded

DISTANCES: dict[str, Callable[[torch.Tensor, torch.Tensor], Estimate]] = {
    "polynomial": kernel_distance,
    "rbf": lambda a, b: maximum_mean_discrepancy(a, b, bandwidth=1.3, permutations=1).statistic,
    "imq": lambda a, b: maximum_mean_discrepancy(a, b, kernel="imq", bandwidth=1.3, permutations=1).statistic,
}


def gram(kernel: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    if kernel == "polynomial":
        return (x @ y.T / x.shape[1] + 1) ** 3
    squares = cdist(x, y, "sqeuclidean") / 1.3**2
    return np.exp(-squares / 2) if kernel == "rbf" else 1 / (1 + squares)


def parts(kernel: str, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The squared distance without and with its bias, the variances of its linear part over x and over y, and what the
    means of rows and columns leave of the three kernel matrices, by numpy's masked means."""
    xx, yy, xy = gram(kernel, x, x), gram(kernel, y, y), gram(kernel, x, y)
    plain = xx.mean() + yy.mean() - 2 * xy.mean()
    inner = [np.ma.masked_array(part, np.eye(len(part), dtype=bool)) for part in (xx, yy)]
    rows = [part.mean(1) for part in inner]
    linear = [(2 * (rows[0] - xy.mean(1))).var(ddof=1), (2 * (rows[1] - xy.mean(0))).var(ddof=1)]

    def left(part: np.ndarray) -> float:
        return (part**2).mean() - (part.mean(1) ** 2).mean() - (part.mean(0) ** 2).mean() + part.mean() ** 2

    value = rows[0].mean() + rows[1].mean() - 2 * xy.mean()
    return np.array([value, plain, *linear, *(left(part) for part in (*inner, xy))], dtype=float)


def solved(found: np.ndarray, n: int, m: int, degrees: int, drawing: float = 0.0) -> tuple[float, float]:
    """Both roots of (D² - θ²)² = t²(aθ² + b), by bisection."""
    value, plain, x, y, xx, yy, xy = found
    a = (x / n + y / m) / plain
    b = 2 * xx / (n * (n - 1)) + 2 * yy / (m * (m - 1)) + 4 * xy / (n * m) + drawing

    def apart(truth: float) -> float:
        return float((value - truth) ** 2 - t.ppf(0.975, degrees) ** 2 * (a * truth + b))

    return brentq(apart, -b / a, value), brentq(apart, value, 100 * value)


@pytest.mark.parametrize("kernel", DISTANCES)
@pytest.mark.parametrize("shift", [0.3, 2.0])
def test_limits_are_where_the_value_is_t_errors_away(kernel: str, shift: float) -> None:
    x, y = (torch.randn(n, 3, generator=seeded(n), dtype=torch.float64) for n in (530, 40))
    y = y + shift
    found, pieces = DISTANCES[kernel](x, y), parts(kernel, x.numpy(), y.numpy())
    assert found.value == pytest.approx(pieces[0])
    expected = solved(pieces, 530, 40, (40 if kernel == "polynomial" else 570) - 1)
    assert found.interval() == pytest.approx(expected, rel=1e-9)


def test_drawing_subsets_makes_the_interval_longer() -> None:
    x, y = torch.randn(2, 60, 2, generator=seeded(0), dtype=torch.float64) + torch.tensor([[[0.0]], [[0.7]]])
    generator, each = seeded(3), []
    for _ in range(4):
        a = x[torch.randperm(60, generator=generator)[:20]]
        each.append(parts("polynomial", a.numpy(), y[torch.randperm(60, generator=generator)[:20]].numpy()))
    drawing = float(np.var([one[0] for one in each], ddof=1)) / 4
    found = kernel_distance(x, y, subsets=4, subset_size=20, seed=3)
    assert found.interval() == pytest.approx(solved(np.mean(each, 0), 60, 60, 59, drawing), rel=1e-9)


@pytest.mark.parametrize("kernel", DISTANCES)
def test_intervals_near_the_noise_cover_as_often_as_they_say(kernel: str) -> None:
    """Coins of 0.5 and 0.8: value ± t·error covers in 88 % of repetitions."""
    p, q, n = 0.5, 0.8, 60
    square = gram(kernel, np.array([[1.0]]), np.array([[1.0]])) + gram(
        kernel, np.array([[0.0]]), np.array([[0.0]])
    )
    truth = (p - q) ** 2 * float((square - 2 * gram(kernel, np.array([[0.0]]), np.array([[1.0]])))[0, 0])
    drawn = torch.rand(400, 2, n, 1, generator=seeded(1), dtype=torch.float64)
    found = [DISTANCES[kernel]((a < p).double(), (b < q).double()).interval() for a, b in drawn]
    covered = sum(low <= truth <= high for low, high in found) / len(found)
    assert 0.93 <= covered <= 0.98


@pytest.mark.parametrize("value", [-0.3, 0.0])
def test_no_distance_is_inside(value: float) -> None:
    low, high = squared_distance_limits(value, 0.1, 0.2, 0.01, 50)
    assert low <= value <= high
    assert squared_distance_limits(0.0, 0.0, 0.0, 0.0, 50) == (0.0, 0.0)
