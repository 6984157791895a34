import json
import math
from statistics import fmean

import pytest
import scipy.stats
import torch

from distmatch.errors import BadInput
from distmatch.metrics import Estimate
from distmatch.metrics.estimate import binomial_limits
from distmatch.metrics.seeds import interval, named, simultaneous
from distmatch.metrics.spread import spread
from distmatch.random import seeded


def test_mean_is_exact_in_float64():
    values = torch.full((10_000,), 1e4) + torch.arange(10_000) % 2
    found = Estimate.mean(values, "nats")
    assert found.value == 10_000.5
    assert found.standard_error == pytest.approx(0.5 / 100, rel=1e-3)
    assert (found.n, found.unit) == (10_000, "nats")


@pytest.mark.parametrize(
    "values",
    [
        torch.tensor([1.0]),
        torch.empty(0),
        torch.tensor([1.0, math.nan]),
        torch.tensor([1.0, math.inf]),
        torch.ones(2, 2),
    ],
)
def test_degenerate_values_are_refused(values):
    with pytest.raises(BadInput):
        Estimate.mean(values)


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (12.344, 0.05, "12.34 ± 0.05 (n = 9)"),
        (25812.84, 13.2, "25813 ± 13 (n = 9)"),
        (0.5, 0.0123, "0.500 ± 0.012 (n = 9)"),
        (2.0, 0.0, "2 ± 0 (n = 9)"),
        (51.4339147, 1e-16, "51.4339 ± 1e-16 (n = 9)"),
        (8.319042, math.nan, "8.31904 (n = 9)"),
    ],
)
def test_reads_well(value, error, text):
    assert str(Estimate(value, error, 9)) == text


@pytest.mark.parametrize(("n", "t"), [(2, 12.706), (5, 2.776), (11, 2.228), (101, 1.984)])
def test_interval_is_students(n, t):
    low, high = Estimate(1.0, 1.0, n).interval()
    assert Estimate(1.0, 1.0, 1000, degrees=n - 1).interval() == (low, high)
    assert high - 1 == pytest.approx(t, abs=0.001)
    assert 1 - low == pytest.approx(high - 1)


@pytest.mark.parametrize("level", [0, 1, 95])
def test_interval_refuses_a_foreign_level(level):
    with pytest.raises(BadInput, match="level"):
        Estimate(0.0, 1.0, 10).interval(level)


@pytest.mark.parametrize("n", [5, 50])
def test_the_interval_covers_the_mean(n):
    draws = torch.randn(1000, n, generator=seeded(0))
    hits = [low <= 0 <= high for low, high in (Estimate.mean(row).interval() for row in draws)]
    assert 0.93 <= sum(hits) / len(hits) <= 0.97


def test_a_fraction_of_all_has_an_error():
    assert Estimate.fraction(torch.ones(10, dtype=torch.bool)).standard_error > 0


def test_goes_to_json():
    entry = Estimate(1.0, 0.1, 5, "nats", "closed form")
    assert Estimate(**json.loads(json.dumps(entry.as_dict()))) == entry


def test_an_error_that_cannot_be_had_is_none_in_json_and_bounds_nothing():
    found = Estimate(2.0, math.nan, 5)
    assert found.as_dict()["standard_error"] is None
    assert found.interval() == (-math.inf, math.inf)


def test_limits_are_the_interval_and_are_printed_in_place_of_the_error():
    found = Estimate(0.002, 0.003, 500, "", "permutations", limits=(0.0, 0.0074))
    assert found.interval() == (0.0, 0.0074)
    assert str(found) == "0.0020 [0.0000, 0.0074] (n = 500)"
    assert found.as_dict()["limits"] == (0.0, 0.0074)
    assert str(Estimate(40.0, 9.0, 7, "things", limits=(21.3, math.inf))) == "40 [21, inf] things (n = 7)"
    with pytest.raises(BadInput, match=r"at 0\.95 only"):
        found.interval(0.9)


@pytest.mark.parametrize("n", [10, 30, 200])
@pytest.mark.parametrize("p", [0.02, 0.1, 0.5, 0.9, 0.98])
def test_the_interval_of_a_fraction_stays_in_range_and_covers_the_probability(n, p):
    covered = 0.0
    for k in range(n + 1):
        low, high = Estimate.fraction(torch.arange(n) < k).interval()
        assert 0 <= low <= k / n <= high <= 1
        assert low < high
        covered += scipy.stats.binom.pmf(k, n, p) * (low <= p <= high)
    assert covered >= 0.93


def test_hits_that_hang_together_count_for_fewer():
    fours = Estimate.fraction(torch.arange(400) < 120, design_effect=4.0)
    alone = Estimate.fraction(torch.arange(100) < 30)
    assert (fours.value, fours.standard_error, fours.n) == (alone.value, alone.standard_error, 400)
    assert Estimate.fraction(torch.ones(120) > 0, design_effect=4.0).limits == binomial_limits(30, 30)


def test_the_error_of_a_spread_by_hand():
    """Mean 6.8, s² 66.7, m₄ 6742.8512: Var(s²) = (m₄ - s⁴·2/4)/5."""
    found = spread(torch.tensor([0.0, 1.0, 4.0, 9.0, 20.0]))
    assert found.value == pytest.approx(66.7**0.5)
    assert found.standard_error == pytest.approx(
        math.sqrt((6742.8512 - 66.7**2 / 2) / 5) / (2 * 66.7**0.5), rel=1e-6
    )


def test_reach_is_students_of_scipy():
    values = [1.0, 4.0, 5.5, 7.0]
    low, high = scipy.stats.t.interval(0.95, 3, loc=fmean(values), scale=scipy.stats.sem(values))
    assert interval(values) == (pytest.approx((low + high) / 2), pytest.approx((high - low) / 2))
    low, high = scipy.stats.t.interval(1 - 0.05 / 6, 3, loc=0, scale=scipy.stats.sem(values))
    assert simultaneous(values, 6) == pytest.approx(high)


@pytest.mark.parametrize("lost", [math.nan, math.inf, -math.inf])
def test_a_seed_that_diverged_is_counted_and_leaves_no_mean(lost):
    assert all(map(math.isnan, interval([1.0, lost, 2.0])))
    assert named("gan", [1.0, lost, 2.0]) == "gan (1 of 3 diverged)"
