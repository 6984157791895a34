"""Which sets, sides and seeds reach the metrics of where samples lie, and what the geometry score's error is."""

import math

import pytest
import torch

from distmatch.metrics import METRICS
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.model import Model, Options
from distmatch.metrics.samples import birthday, geometry, two_sample
from distmatch.metrics.samples.birthday import BirthdayTest
from distmatch.metrics.samples.geometry import (
    RelativeLivingTimes,
    geometry_score,
    mean_relative_living_times,
    persistence_intervals,
)
from distmatch.metrics.samples.two_sample import NearestNeighbourTest, TwoSampleTest
from distmatch.random import seeded

RUN = METRICS
SUBJECT = Model(
    sample=lambda n, seed: torch.full((n, 1), 100.0 + seed),
    train=torch.full((60, 1), 1.0),
    test=torch.arange(50.0)[:, None],
)


def number(value):
    return Estimate(float(value), 0.1, 9, "", "how")


@pytest.mark.parametrize(
    ("entry", "test", "metric"),
    [
        ("mmd", "maximum_mean_discrepancy", "mmd"),
        ("sliced_wasserstein", "sliced_wasserstein", "sliced_wasserstein"),
    ],
)
def test_samples_are_tested_against_held_out_data(entry, test, metric, monkeypatch):
    given = []

    def stand_in(a, b, seed):
        given.append((a[:, 0], b[:, 0], seed))
        return TwoSampleTest(number(5), number(0.3), torch.zeros(3))

    monkeypatch.setattr(two_sample, test, stand_in)
    found = RUN[entry](SUBJECT, Options(samples=20, seed=7)).metrics
    assert (found[metric].value, found[f"{metric}_p_value"].value) == (5, 0.3)
    RUN[entry](SUBJECT, Options(samples=20, seed=8))
    (samples, data, seed), (_, other, _) = given
    assert samples.tolist() == [107] * 20
    assert seed == 7
    assert len(set(data.tolist()) & set(range(50))) == 20
    assert set(data.tolist()) not in (set(range(20)), set(other.tolist()))


def test_neighbours_of_samples_and_of_data_have_their_names(monkeypatch):
    given = []

    def stand_in(a, b, seed):
        given.append((a[:, 0], b[:, 0], seed))
        return NearestNeighbourTest(*map(number, range(5)), torch.zeros(3))

    monkeypatch.setattr(two_sample, "nearest_neighbour_two_sample", stand_in)
    found = RUN["nearest_neighbour_two_sample"](SUBJECT, Options(samples=20, seed=7)).metrics
    ((samples, data, seed),) = given
    assert (samples.unique().tolist(), seed) == ([107], 7)
    assert data.max() < 50
    names = ("accuracy", "accuracy_samples", "accuracy_data", "p_value", "p_copying")
    assert [found[f"nn_{name}"].value for name in names] == [0, 1, 2, 3, 4]


def test_repetitions_are_judged_by_the_distances_of_data(monkeypatch):
    judged = []

    def stand_in(points, threshold, progress=None):
        judged.append(threshold)
        each = number(points.max())
        return BirthdayTest({}, each, each, each, (0.0, 1.0), (), 0)

    monkeypatch.setattr(birthday, "duplicate_threshold", lambda points: float(points.max()))
    monkeypatch.setattr(birthday, "birthday_test", stand_in)
    found = RUN["birthday_test"](SUBJECT, Options(samples=50, seed=7)).metrics
    assert judged == [49, 49]
    for key in ("collision_rate", "support", "batch"):
        assert found[f"birthday_{key}"].value == 107
        assert found[f"birthday_{key}_data"].value == 49


def test_the_geometry_score_compares_samples_and_training_data_with_held_out_data(monkeypatch):
    """Living times that are a set's mean: the score is 2 (a - b)² of two of them."""
    seeds = []

    def times(points, draws, seed, progress=None):
        seeds.append(seed)
        return RelativeLivingTimes(torch.full((3, 2), float(points.mean())).double(), 64, 0.1, len(points))

    monkeypatch.setattr(geometry, "mean_relative_living_times", times)
    monkeypatch.setattr(geometry, "persistence_intervals", lambda points, seed: (torch.zeros(1, 2), 1.0))
    found = RUN["geometry_score"](SUBJECT, Options(samples=50, seed=7)).metrics
    assert found["geometry_score"].value == pytest.approx(2 * (107 - 24.5) ** 2)
    assert found["geometry_score_data"].value == pytest.approx(2 * (1 - 24.5) ** 2)
    assert set(seeds) == {7}


def shares(mean, draws, seed):
    """Living times about a mean, one set of draws."""
    noise = 0.1 * torch.randn(draws, len(mean), generator=seeded(seed), dtype=torch.float64)
    return RelativeLivingTimes(torch.tensor(mean, dtype=torch.float64) + noise, 64, 0.1, 100)


@pytest.mark.parametrize(("mean", "draws"), [([0.5, 0.3, 0.2], (40, 15)), ([0.2] * 12, (30, 8))])
def test_a_geometry_scores_error_is_its_distance_from_the_truth(mean, draws):
    """Far apart, and equal: the root mean square of score less |E d|², against the mean of what is stated."""
    base = [0.2] * len(mean)
    truth = sum((a - b) ** 2 for a, b in zip(mean, base, strict=True))
    off, stated = [], []
    for seed in range(400):
        found = geometry_score(shares(mean, draws[0], 2 * seed), shares(base, draws[1], 2 * seed + 1))
        off.append((found.value - truth) ** 2)
        stated.append(found.standard_error**2)
    assert found.n == min(draws)
    assert math.sqrt(sum(stated) / sum(off)) == pytest.approx(1, abs=0.2)


def test_the_error_of_two_draws_is_by_hand():
    """Of two values the standard deviation by n - 1 is |a - b|/√2, and the mean's error |a - b|/2."""
    found = RelativeLivingTimes(torch.tensor([[0.1, 0.9], [0.5, 0.9]]).double(), 64, 0.1, 100)
    assert found.mean.tolist() == pytest.approx([0.3, 0.9])
    assert found.standard_error.tolist() == pytest.approx([0.2, 0])


def test_landmarks_follow_the_seed_and_the_scale_the_number_of_points():
    cloud = torch.randn(80, 2, generator=seeded(0))
    first, again, other = (
        mean_relative_living_times(cloud, 16, 0.1, 5, 4, seed=s, jobs=1) for s in (0, 0, 1)
    )
    assert torch.equal(first.times, again.times)
    assert not torch.equal(first.times, other.times)
    assert persistence_intervals(cloud, 16, 0.1, 0)[1] != persistence_intervals(cloud, 16, 0.1, 1)[1]
    assert mean_relative_living_times(cloud, 16, draws=2, jobs=1).gamma == 80 / 5000 / 128
