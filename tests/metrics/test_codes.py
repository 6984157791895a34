import math

import numpy as np
import pytest
import torch

from distmatch.errors import BadInput
from distmatch.metrics import Estimate, code_moments, ratio_calibration
from distmatch.random import seeded


def test_moments_of_a_shifted_correlated_normal():
    z = torch.randn(50_000, 3, generator=seeded(0))
    z[:, 1] = 0.6 * z[:, 0] + 0.8 * z[:, 1]
    z[:, 2] += 0.5
    found = code_moments(z)
    assert found.mean.value == pytest.approx(0.5, abs=4 * found.mean.standard_error)
    assert found.covariance.value == pytest.approx(0.6, abs=4 * found.covariance.standard_error)


def test_moments_of_the_prior_stay_near_the_stated_floor():
    found = code_moments(torch.randn(10_000, 20, generator=seeded(1)))
    assert found.mean.value < 0.05
    assert found.covariance.value < 0.06


def test_intervals_of_the_largest_moments_reach_the_priors():
    """The truth is 0 for both, of which the largest entry is always above: ordinary intervals cover 58 and 25 %."""
    found = [code_moments(torch.randn(500, 10, generator=seeded(seed))) for seed in range(200)]
    for interval in ([f.mean.interval() for f in found], [f.covariance.interval() for f in found]):
        assert 0.88 <= sum(low == 0 for low, _ in interval) / 200 <= 0.99
    low, high = code_moments(9 + torch.randn(500, 10, generator=seeded(0))).mean.interval()
    assert 8.5 < low < 9 < high < 9.5


def test_collapsed_codes_have_no_covariance():
    found = code_moments(torch.zeros(10, 2))
    assert (found.mean.value, found.covariance.value) == (0, 1)


def test_the_true_ratio_is_calibrated():
    """p = N(1/2, 1), q = N(0, 1): t = x/2 - 1/8."""
    g = seeded(2)
    p, q = torch.randn(100_000, generator=g) + 0.5, torch.randn(50_000, generator=g)
    found = ratio_calibration(p / 2 - 1 / 8, q / 2 - 1 / 8)
    for estimate in (found.model, found.target):
        assert estimate.value == pytest.approx(1, abs=4 * estimate.standard_error)
    expected = 0.5 * (1 + math.erf(0.25 / math.sqrt(2)))
    assert found.accuracy.value == pytest.approx(expected, abs=4 * found.accuracy.standard_error)


@pytest.mark.parametrize(
    "codes", [torch.zeros(1, 2), torch.zeros(5), torch.zeros(5, 0), torch.full((5, 2), math.nan)]
)
def test_degenerate_codes_are_refused(codes):
    with pytest.raises(BadInput):
        code_moments(codes)


@pytest.mark.parametrize(
    "scores", [torch.zeros(1), torch.zeros(5, 1), torch.full((5,), 1000.0), torch.full((5,), math.nan)]
)
def test_degenerate_scores_are_refused(scores):
    with pytest.raises(BadInput):
        ratio_calibration(torch.zeros(5), scores)


def test_moments_and_their_errors_by_hand():
    """The largest mean is not that of the widest coordinate, and codes are far from 0."""
    codes = torch.randn(9, 3, generator=seeded(4), dtype=torch.double) * torch.tensor([1.0, 5.0, 2.0])
    codes += torch.tensor([30.0, 0.0, -4.0])
    x, found = codes.numpy(), code_moments(codes)
    assert found.mean.value == pytest.approx(x[:, 0].mean())
    assert found.mean.standard_error == pytest.approx(x[:, 0].std(ddof=1) / 3)
    gaps = abs(np.cov(x.T) - np.eye(3))
    row, column = np.unravel_index(gaps.argmax(), (3, 3))
    products = np.prod((x - x.mean(0))[:, [row, column]], axis=1)
    assert found.covariance.value == pytest.approx(gaps.max())
    assert found.covariance.standard_error == pytest.approx(products.std(ddof=1) / 3)


def test_the_accuracy_of_a_ratio_has_the_errors_of_both_sides():
    p, q = torch.tensor([1.0, 2.0, -1.0, 3.0]), torch.tensor([-1.0, 1.0, -2.0, -3.0, -4.0, -5.0])
    sides = [Estimate.fraction(p > 0), Estimate.fraction(q < 0)]
    found = ratio_calibration(p, q)
    assert found.accuracy.value == pytest.approx((3 / 4 + 5 / 6) / 2)
    assert found.accuracy.standard_error == pytest.approx(
        math.sqrt(sum(side.standard_error**2 for side in sides)) / 2
    )
    assert found.model.value == pytest.approx(float(q.exp().mean()))
    assert found.target.value == pytest.approx(float((-p).exp().mean()))


def test_the_accuracy_weighs_both_sides_alike_and_halves_ties():
    found = ratio_calibration(torch.tensor([1.0, 0.0]), torch.tensor([0.0, 0.0, -1.0, 2.0])).accuracy
    assert found.value == (0.75 + 0.5) / 2
