import math

import pytest
import torch

from distmatch.errors import BadInput
from distmatch.metrics.samples.birthday import birthday_test
from distmatch.metrics.samples.duplicates import closest_pairs, duplicate_threshold
from distmatch.random import seeded


def dice(sides, n, seed=0):
    return torch.randint(sides, (n, 1), generator=seeded(seed)).double()


def exact(sides, size):
    """1 - Π_i (1 - i/K): the birthday problem itself."""
    return 1 - math.prod(1 - i / sides for i in range(size))


def runs_by_hand(values):
    runs, seen = [], []
    for value in values:
        if value in seen:
            runs.append(len(seen) + 1)
            seen = []
        else:
            seen.append(value)
    return tuple(runs), len(seen)


@pytest.mark.parametrize(("sides", "n"), [(1, 10), (2, 501), (365, 3000), (100_000, 1200)])
def test_runs_are_those_of_reading_in_order(sides, n):
    found = birthday_test(dice(sides, n), seed=None)
    assert (found.runs, found.left_over) == runs_by_hand(dice(sides, n).flatten().tolist())


def test_the_interval_covers_the_number_of_things():
    found = [birthday_test(dice(365, 700, seed)) for seed in range(200)]
    assert 0.90 <= sum(f.support_interval[0] <= 365 <= f.support_interval[1] for f in found) / 200 <= 0.99
    halves = [f.half.interval() for f in found]
    assert 0.90 <= sum(low <= 23 <= high for low, high in halves) / 200 <= 0.99


def test_the_exact_interval_holds_with_few_duplicates():
    found = [birthday_test(dice(2000, 300, seed)) for seed in range(200)]
    assert sum(len(f.runs) for f in found) / 200 < 6
    assert 0.90 <= sum(f.support_interval[0] <= 2000 <= f.support_interval[1] for f in found) / 200 <= 0.99


def test_probabilities_are_the_birthday_problems():
    found = birthday_test(dice(365, 4_000), sizes=[2, 10, 23, 40]).probability
    for size, estimate in found.items():
        assert estimate.value == pytest.approx(exact(365, size), abs=4 * estimate.standard_error)
    hits = []
    for seed in range(200):
        low, high = birthday_test(dice(365, 700, seed), sizes=[20]).probability[20].interval()
        hits.append(low <= exact(365, 20) <= high)
    assert 0.90 <= sum(hits) / 200 <= 0.99


def test_the_median_and_the_bound():
    found = birthday_test(dice(365, 5_000))
    assert found.half.value == pytest.approx(23, abs=3)
    assert found.upper == found.half.value**2
    by_median = found.half.value * (found.half.value - 1) / (2 * math.log(2))
    assert found.support.value == pytest.approx(by_median, rel=0.2)
    assert found.support.value * found.collision_rate.value == pytest.approx(1)


def test_a_collapsed_sampler():
    found = birthday_test(torch.full((100, 1, 2, 2), 0.3), sizes=[2])
    assert found.half.value == 2
    assert found.support.value == 1
    assert found.probability[2].value == 1


def test_a_sampler_that_never_repeats():
    found = birthday_test(torch.randn(300, 3, generator=seeded(0)), sizes=[10, 300])
    assert found.half is None
    assert found.support is None
    assert found.upper == math.inf
    assert found.collision_rate.value == 0
    low, high = found.support_interval
    assert low == pytest.approx(300 * 299 / 2 / -math.log(0.025))
    assert high == math.inf
    assert found.probability[10].value == 0


FREQUENT = torch.tensor([0.5] + [0.5 / 10_000] * 10_000, dtype=torch.float64)  # Σ p² is 0.25
ZIPF = torch.arange(1, 1001, dtype=torch.float64) ** -1.0
FACES = torch.tensor([0.9] + [0.01] * 10, dtype=torch.float64)


def drawn(weights, n, seed):
    return torch.multinomial(weights, n, replacement=True, generator=seeded(seed))[:, None].double()


@pytest.mark.parametrize(("weights", "n"), [(FREQUENT, 300), (ZIPF, 150), (FACES, 60)])
def test_the_collision_rate_is_the_sum_of_squared_probabilities(weights, n):
    truth = float((weights / weights.sum()).square().sum())
    found = [birthday_test(drawn(weights, n, seed)) for seed in range(200)]
    rates = torch.tensor([f.collision_rate.value for f in found], dtype=torch.float64)
    errors = torch.tensor([f.collision_rate.standard_error for f in found], dtype=torch.float64)
    assert float(rates.mean()) == pytest.approx(truth, abs=3 * float(rates.std()) / 200**0.5)
    assert 0.85 <= float(errors.square().mean().sqrt() / rates.std()) <= 1.15
    assert (
        0.9 <= sum(f.support_interval[0] <= 1 / truth <= f.support_interval[1] for f in found) / 200 <= 0.99
    )


def test_a_sampler_with_one_frequent_thing_has_a_small_support():
    found = birthday_test(drawn(FREQUENT, 2000, 0))
    assert found.support.value == pytest.approx(4, rel=0.1)
    assert found.support.limits == found.support_interval
    assert found.support_interval[1] < 4.5
    assert (
        len(found.runs) / sum(t * (t - 1) / 2 for t in found.runs) < 0.15
    )  # what stopping at duplicates says


def test_the_variance_counts_pairs_that_share_a_sample_together():
    things = torch.tensor([0.0, 0, 0, 1, 1, 2, 3])[:, None]
    pairs = [float(things[i, 0] == things[j, 0]) for i in range(7) for j in range(i)]
    ends = [{i, j} for i in range(7) for j in range(i)]
    both = list(zip(pairs, ends, strict=True))
    apart = [a * b for a, x in both for b, y in both if not x & y]
    rate = sum(pairs) / 21
    expected = rate**2 - sum(apart) / len(apart)
    assert expected > rate * (1 - rate) / 21
    found = birthday_test(things).collision_rate
    assert found.value == pytest.approx(rate)
    assert found.standard_error == pytest.approx(expected**0.5)


def test_sorted_samples_give_what_shuffled_ones_do():
    x = dice(365, 4000)
    ordered = birthday_test(x.sort(0).values, sizes=[20])
    assert ordered.probability[20].value == pytest.approx(exact(365, 20), abs=0.12)
    assert birthday_test(x.sort(0).values, sizes=[20], seed=None).probability[20].value > 0.9
    assert ordered.collision_rate.value == pytest.approx(birthday_test(x).collision_rate.value)


def test_the_medians_interval_is_of_runs_in_order_of_length():
    found = birthday_test(dice(365, 1500), seed=None)
    runs = sorted(found.runs)
    low, high = found.half.interval()
    tail = sum(math.comb(len(runs), k) for k in range(runs.index(low))) / 2 ** len(runs)
    assert tail <= 0.025
    assert (low, high) == (runs[runs.index(low)], runs[-1 - runs.index(low)])
    assert birthday_test(dice(365, 60)).half.interval() == (2, math.inf)
    assert math.isnan(birthday_test(dice(365, 60)).half.standard_error)


def test_distances_on_the_threshold_are_duplicates():
    x = 100 + (torch.rand(400, 30, generator=seeded(0), dtype=torch.float64) > 0.9).double()
    apart = torch.nn.functional.pdist(x)
    rate = birthday_test(x, math.sqrt(5)).collision_rate.value
    assert rate == float((apart <= math.sqrt(5)).double().mean())
    assert rate > float((apart < math.sqrt(5)).double().mean()) + 0.01


def test_any_judge_and_any_features():
    x = dice(50, 1000)
    noisy = x + 0.1 * torch.rand(1000, 1, generator=seeded(1))
    expected = birthday_test(x).runs
    assert birthday_test(noisy, 0.2).runs == expected
    assert birthday_test(noisy, lambda a, b: (a.floor() == b.floor()).all(1)).runs == expected
    assert birthday_test(noisy, features=torch.floor).runs == expected


def test_progress_runs_to_one():
    told = []
    birthday_test(dice(20, 2000), progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1


def test_the_threshold_is_a_quantile_of_nearest_neighbours():
    x = torch.randn(700, 3, generator=seeded(0), dtype=torch.float64)
    distance = torch.cdist(x, x)
    distance.fill_diagonal_(math.inf)
    expected = float(distance.min(1).values.quantile(0.05))
    assert duplicate_threshold(x, quantile=0.05) == pytest.approx(expected)


def test_closest_pairs_are_those_of_all_pairs():
    x = torch.randn(1100, 4, generator=seeded(0), dtype=torch.float64)
    x[900] = x[30]
    found = closest_pairs(x, 7)
    assert found.indices[0].tolist() == [30, 900]
    expected = torch.nn.functional.pdist(x).sort().values[:7]
    assert found.distances.tolist() == pytest.approx(expected.tolist(), abs=1e-12)
    assert len(closest_pairs(x[:3], 20).distances) == 3


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: birthday_test(torch.zeros(1, 2)), "small"),
        (lambda: birthday_test(torch.zeros(5)), "shape"),
        (lambda: birthday_test(torch.full((5, 2), math.nan)), "NaN"),
        (lambda: birthday_test(torch.eye(5), -1.0), "threshold"),
        (lambda: birthday_test(torch.eye(5), math.nan), "threshold"),
        (lambda: birthday_test(torch.eye(5), sizes=[1]), "sizes"),
        (lambda: birthday_test(torch.eye(5), lambda a, b: a == b), "one verdict each"),
        (lambda: birthday_test(torch.eye(5), features=lambda x: x[:3]), "3 rows"),
        (lambda: duplicate_threshold(torch.eye(5), quantile=1.0), "quantile"),
        (lambda: closest_pairs(torch.eye(5), 0), "count"),
    ],
)
def test_degenerate_input_is_refused(call, match):
    with pytest.raises(BadInput, match=match):
        call()


def test_the_order_follows_the_seed():
    x = dice(30, 200)
    order = torch.randperm(200, generator=seeded(7))
    assert birthday_test(x, seed=7).runs == birthday_test(x[order], seed=None).runs


def test_a_last_run_that_is_as_long_as_another_is_longer_than_it():
    """Runs of 2, 3 and 3, then three without a duplicate: at length 3 all of three are at risk, two end."""
    x = torch.tensor([0.0, 0, 0, 1, 1, 0, 1, 0, 0, 1, 2])[:, None]
    found = birthday_test(x, seed=None, sizes=[2, 3])
    assert (found.runs, found.left_over) == ((2, 3, 3), 3)
    assert found.probability[2].value == pytest.approx(1 / 4)
    assert found.probability[3].value == pytest.approx(1 - 3 / 4 * 1 / 3)


def test_of_samples_that_are_all_alike_the_limit_is_what_would_show_them_so_once_in_forty():
    """All 9 alike has probability Σ p⁹ ≤ (Σ p²)^(8/2)."""
    found = birthday_test(torch.zeros(9, 1)).collision_rate
    assert found.limits == (pytest.approx(0.025 ** (1 / 4)), 1.0)


def test_the_medians_interval_of_twelve_runs_leaves_two_out_at_each_end():
    """Runs of 2 to 13: P(at most 2 of 12 below the median) is 0.019, and 0.073 of 3."""
    things = [float(100 * length + i) for length in range(2, 14) for i in (*range(length - 1), 0)]
    half = birthday_test(torch.tensor(things)[:, None], seed=None).half
    assert (half.n, half.value) == (12, 7)
    assert half.interval() == (4.0, 11.0)
