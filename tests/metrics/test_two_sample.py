import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist
from scipy.stats import wasserstein_distance

from distmatch.errors import BadInput
from distmatch.metrics.samples.two_sample import (
    KERNELS,
    maximum_mean_discrepancy,
    nearest_neighbour_two_sample,
    sliced_wasserstein,
)
from distmatch.random import seeded

TESTS = {
    "rbf": maximum_mean_discrepancy,
    "imq": lambda a, b, **options: maximum_mean_discrepancy(a, b, kernel="imq", **options),
    "sliced_wasserstein": lambda a, b, **o: sliced_wasserstein(a, b, **({"projections": 10} | o)),
    "nearest_neighbour": nearest_neighbour_two_sample,
}


def pair(seed, n, m, shift=0.0, dimension=2):
    x = torch.randn(n + m, dimension, generator=seeded(seed), dtype=torch.float64)
    x[n:, 0] += shift
    return x[:n], x[n:]


def coverage(estimates, truth):
    intervals = [estimate.interval() for estimate in estimates]
    return sum(low <= truth <= high for low, high in intervals) / len(intervals)


@pytest.mark.parametrize("test", TESTS)
def test_a_p_values_interval_lies_in_its_range_and_covers_that_of_many_permutations(test):
    a, b = pair(4, 30, 25, 0.4, dimension=1)  # one direction, whatever the seed
    many = TESTS[test](a, b, permutations=4000).p_value
    few = [TESTS[test](a, b, permutations=40, seed=s).p_value for s in range(60)]
    assert all(0 <= low < p.value < high <= 1 for p in few for low, high in [p.interval()])
    assert sum(p.limits[0] <= many.value <= p.limits[1] for p in few) >= 54
    assert all("±" not in str(p) for p in few)


def test_a_p_value_of_one_is_not_certain():
    a, _ = pair(0, 30, 25)
    found = sliced_wasserstein(a, a.clone(), permutations=50).p_value
    assert found.value == 1
    assert found.standard_error > 0
    assert found.limits == (pytest.approx(0.025 ** (1 / 50)), 1.0)


@pytest.mark.parametrize("test", TESTS)
def test_p_values_are_even_where_both_are_of_one_distribution(test):
    p = torch.tensor(
        [TESTS[test](*pair(s, 30, 25), permutations=99, seed=s).p_value.value for s in range(300)]
    )
    assert 0.02 <= float((p <= 0.05).double().mean()) <= 0.09
    assert float(p.mean()) == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("test", TESTS)
def test_a_shift_is_found(test):
    found = [TESTS[test](*pair(s, 60, 50, 2.0), permutations=99, seed=s) for s in range(20)]
    assert sum(f.p_value.value <= 0.05 for f in found) >= 19


@pytest.mark.parametrize("kernel", KERNELS)
def test_mmd_is_the_three_means_written_out(kernel):
    a, b = pair(0, 40, 700, 0.5)
    pooled = np.concatenate([a.numpy(), b.numpy()])

    def gram(x, y):
        d2 = cdist(x, y) ** 2
        return np.exp(-d2 / (2 * 1.3**2)) if kernel == "rbf" else 1.3**2 / (1.3**2 + d2)

    def mmd(x, y):
        n, m = len(x), len(y)
        xx, yy = (gram(x, x).sum() - n) / (n * (n - 1)), (gram(y, y).sum() - m) / (m * (m - 1))
        return xx + yy - 2 * gram(x, y).mean()

    found = maximum_mean_discrepancy(a, b, kernel=kernel, bandwidth=1.3, permutations=3, seed=5)
    assert found.statistic.value == pytest.approx(mmd(a.numpy(), b.numpy()), abs=1e-12)
    shuffled = torch.rand(740, 3, generator=seeded(5)).argsort(0).numpy()
    for order, value in zip(shuffled.T, found.null.tolist(), strict=True):
        assert value == pytest.approx(mmd(pooled[order < 40], pooled[order >= 40]), abs=1e-12)


def test_the_bandwidth_is_the_median_distance_of_all():
    a, b = pair(0, 30, 40, 3.0)
    median = float(torch.nn.functional.pdist(torch.cat([a, b])).median())
    assert f"bandwidth {median:.3g}" in maximum_mean_discrepancy(a, b, permutations=1).statistic.how


def test_the_interval_covers_the_true_mmd():
    def cross(distance, h=1.5):  # E k(x, y) of two unit Gaussians in the plane
        return h**2 / (h**2 + 2) * math.exp(-(distance**2) / (2 * (h**2 + 2)))

    for shift in (0.0, 1.0):
        truth = 2 * cross(0) - 2 * cross(shift)
        found = [
            maximum_mean_discrepancy(*pair(s, 150, 120, shift), bandwidth=1.5, permutations=1).statistic
            for s in range(200)
        ]
        assert 0.90 <= coverage(found, truth) <= 0.99


def test_sliced_wasserstein_is_the_mean_over_directions():
    a, b = pair(0, 30, 45, 1.0, dimension=3)
    found = sliced_wasserstein(a, b, projections=6, permutations=1, seed=2)
    directions = torch.randn(3, 6, generator=seeded(3), dtype=torch.float64)
    directions = (directions / directions.norm(dim=0)).T
    expected = [wasserstein_distance((a @ d).numpy(), (b @ d).numpy()) for d in directions]
    assert found.statistic.value == pytest.approx(np.mean(expected))


def test_the_interval_of_two_samples_of_one_distribution_reaches_0():
    """The statistic is 4 of its spreads above: value ± t·error covers 0 in none of 50."""
    found = [
        sliced_wasserstein(*pair(s, 60, 50, 0.0), projections=10, permutations=30).statistic
        for s in range(50)
    ]
    assert coverage(found, 0.0) >= 0.9
    assert coverage(found, 1.0) == 0


def test_the_interval_covers_the_true_sliced_wasserstein():
    on_a_line = [
        sliced_wasserstein(*pair(s, 60, 50, 1.0, 1), projections=2, permutations=1).statistic
        for s in range(200)
    ]
    assert 0.90 <= coverage(on_a_line, 1.0) <= 0.99
    in_the_plane = [
        sliced_wasserstein(*pair(s, 60, 50, 2.0), projections=30, permutations=1, seed=s).statistic
        for s in range(200)
    ]
    assert 0.90 <= coverage(in_the_plane, 2 * 2 / math.pi) <= 0.995  # E|cos θ| = 2/π


def test_nearest_neighbours_by_hand():
    a, b = pair(0, 30, 20, 1.0)
    x, mine = torch.cat([a, b]), torch.arange(50) < 30
    distance = torch.cdist(x, x)
    distance.fill_diagonal_(math.inf)
    agree = mine[distance.argmin(1)] == mine
    found = nearest_neighbour_two_sample(a, b)
    assert found.accuracy.value == pytest.approx(float(agree.double().mean()))
    assert found.accuracy_a.value == pytest.approx(float(agree[:30].double().mean()))
    assert found.accuracy_b.value == pytest.approx(float(agree[30:].double().mean()))


def test_the_interval_covers_the_mean_accuracy():
    for shift in (0.0, 1.0):
        found = [nearest_neighbour_two_sample(*pair(s, 60, 60, shift), permutations=50) for s in range(300)]
        for side in ("accuracy", "accuracy_a"):
            estimates = [getattr(f, side) for f in found]
            truth = sum(e.value for e in estimates) / len(estimates)
            assert 0.90 <= coverage(estimates, truth) <= 0.995


def test_copies_are_found_out():
    a, _ = pair(0, 100, 1)
    found = nearest_neighbour_two_sample(a + 1e-6, a)
    assert found.accuracy.value < 0.1
    assert found.p_copying.value < 0.01
    assert found.p_value.value > 0.9


def test_ties_do_not_know_the_sides():
    found = nearest_neighbour_two_sample(torch.zeros(100, 2), torch.zeros(100, 2))
    assert found.accuracy.value == pytest.approx(0.5, abs=0.1)
    assert found.p_value.value > 0.01


@pytest.mark.parametrize("test", TESTS)
def test_seeds_images_and_global_randomness(test):
    a, b = torch.rand(2, 20, 3, 4, 4, generator=seeded(0))
    before = torch.random.get_rng_state()
    first = TESTS[test](a, b, seed=1, permutations=20)
    assert torch.equal(first.null, TESTS[test](a, b, seed=1, permutations=20).null)
    assert torch.equal(first.null, TESTS[test](a.flatten(1), b.flatten(1), seed=1, permutations=20).null)
    assert not torch.equal(first.null, TESTS[test](a, b, seed=2, permutations=20).null)
    assert torch.equal(before, torch.random.get_rng_state())
    assert first.p_value.value >= 1 / 21


@pytest.mark.parametrize("test", TESTS)
@pytest.mark.parametrize(
    ("a", "b", "match"),
    [
        (torch.zeros(1, 2), torch.eye(2), "a of shape"),
        (torch.eye(2), torch.zeros(1, 2), "b of shape"),
        (torch.zeros(5), torch.zeros(5), "shape"),
        (torch.eye(3), torch.eye(4), "one shape"),
        (torch.full((5, 2), math.nan), torch.zeros(5, 2), "NaN"),
    ],
)
def test_degenerate_input_is_refused(test, a, b, match):
    with pytest.raises(BadInput, match=match):
        TESTS[test](a, b)


def test_bad_options_are_refused():
    a, b = pair(0, 5, 5)
    with pytest.raises(BadInput, match="did you mean 'rbf'"):
        maximum_mean_discrepancy(a, b, kernel="rfb")
    with pytest.raises(BadInput, match="bandwidth"):
        maximum_mean_discrepancy(a, b, bandwidth=0.0)
    with pytest.raises(BadInput, match="half of the pooled points are the same"):
        maximum_mean_discrepancy(torch.ones(5, 2), torch.ones(5, 2))
    with pytest.raises(BadInput, match="permutations"):
        maximum_mean_discrepancy(a, b, permutations=0)
    with pytest.raises(BadInput, match="projections"):
        sliced_wasserstein(a, b, projections=1)


def test_equal_samples_give_nothing():
    a, _ = pair(0, 50, 1)
    assert sliced_wasserstein(a, a.clone(), permutations=10).statistic.value == pytest.approx(0, abs=1e-12)
    assert sliced_wasserstein(a, a.clone(), permutations=10).p_value.value == 1
    constant = sliced_wasserstein(torch.ones(5, 2), torch.ones(5, 2), permutations=10)
    assert (constant.statistic.value, constant.p_value.value) == (0, 1)


def test_the_error_of_sliced_wasserstein_of_separate_sides_is_that_of_two_means():
    """On a line, where all of b lies above all of a, W₁ is the difference of the means."""
    a, b = torch.rand(12, 1, generator=seeded(0)), 5 + 3 * torch.rand(7, 1, generator=seeded(1))
    found = sliced_wasserstein(a, b, projections=3, permutations=2).statistic
    assert found.value == pytest.approx(float(b.mean() - a.mean()))
    assert found.standard_error == pytest.approx(float(a.var() / 12 + b.var() / 7) ** 0.5)


def test_the_error_of_mmd_is_that_of_the_first_order_by_hand():
    a, b = pair(0, 9, 6, 1.0)
    x, y = (np.asarray(side) for side in (a, b))
    k = [np.exp(-(cdist(u, v) ** 2) / 2) for u, v in ((x, x), (y, y), (x, y))]
    of_a = 2 * ((k[0].sum(1) - 1) / 8 - k[2].mean(1))
    of_b = 2 * ((k[1].sum(1) - 1) / 5 - k[2].mean(0))
    found = maximum_mean_discrepancy(a, b, bandwidth=1.0, permutations=1).statistic
    assert found.standard_error == pytest.approx((of_a.var(ddof=1) / 9 + of_b.var(ddof=1) / 6) ** 0.5)


@pytest.mark.parametrize("shift", [0.0, 2.0])
def test_either_p_value_is_the_share_of_permuted_accuracies_beyond(shift):
    found = nearest_neighbour_two_sample(*pair(3, 20, 25, shift), permutations=60)
    observed, null = found.accuracy.value, found.null
    for p, beyond in ((found.p_value, null >= observed - 1e-9), (found.p_copying, null <= observed + 1e-9)):
        assert p.value == pytest.approx((1 + int(beyond.sum())) / 61)


def test_the_error_of_a_sliced_distance_is_over_directions_too():
    """Of two points of the plane that are 2 apart, it is 2 |cos θ| at an angle of chance, and nothing else varies."""
    a = torch.zeros(5, 2)
    found = sliced_wasserstein(a, a + torch.tensor([2.0, 0.0]), projections=1000, permutations=2).statistic
    assert found.value == pytest.approx(4 / math.pi, rel=0.03)
    error = 2 * math.sqrt(1 / 2 - 4 / math.pi**2) / math.sqrt(1000)
    assert found.standard_error == pytest.approx(error, rel=0.05)
