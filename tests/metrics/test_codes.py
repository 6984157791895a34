import math

import pytest
import torch

from distmatch.errors import BadInput
from distmatch.metrics import code_moments, ratio_calibration
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
