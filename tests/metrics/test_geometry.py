import itertools
import math

import gudhi
import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from distmatch.errors import BadInput
from distmatch.metrics import METRICS
from distmatch.metrics.model import Model, Options
from distmatch.metrics.plots import Barcode, Bars
from distmatch.metrics.samples.geometry import (
    RelativeLivingTimes,
    geometry_score,
    mean_relative_living_times,
    persistence_intervals,
)
from distmatch.metrics.samples.witness import hole_intervals, landmark_distances, lift
from distmatch.random import seeded

TOY = {"landmarks": 32, "gamma": 1 / 8, "i_max": 10}


def circle(n, seed=0, across=0.0, share=1.0):
    angle = 2 * torch.pi * share * torch.rand(n, generator=seeded(seed), dtype=torch.float64)
    return torch.stack([angle.cos() + across, angle.sin()], 1)


def disk(n, seed=0):
    return circle(n, seed) * torch.rand(n, 1, generator=seeded(seed + 1), dtype=torch.float64).sqrt()


def by_hand(intervals, longest, i_max):
    """The share of [0, longest] with i holes, interval end by interval end."""
    bars = [(birth, min(death, longest)) for birth, death in intervals]
    ends = sorted({0.0, longest, *(end for bar in bars for end in bar)})
    times = np.zeros(i_max)
    for low, high in itertools.pairwise(ends):
        alive = sum(birth <= (low + high) / 2 < death for birth, death in bars)
        if alive < i_max:
            times[alive] += (high - low) / longest
    return times


def test_a_draw_equals_the_published_algorithm_on_the_whole_table():
    points = disk(400, 3)
    chosen = torch.randint(400, (5, 20), generator=seeded(7)).numpy()
    found = mean_relative_living_times(points, landmarks=20, gamma=1 / 8, i_max=10, draws=5, seed=7)
    for rows, times in zip(chosen, found.times, strict=True):
        distance = cdist(points.numpy(), points.numpy()[rows])
        order = distance.argsort(axis=1, kind="stable")
        table = np.dstack([order, np.take_along_axis(distance, order, 1)])
        longest = distance.max() / 8
        tree = gudhi.WitnessComplex(table).create_simplex_tree(max_alpha_square=longest, limit_dimension=2)
        tree.persistence(homology_coeff_field=2)
        expected = by_hand(tree.persistence_intervals_in_dimension(1), longest, 10)
        assert times.tolist() == pytest.approx(expected.tolist(), abs=1e-6)


def test_toys_of_the_original():
    two = torch.cat([circle(300), circle(300, 1, across=3)])
    toys = {1: circle(600), 2: two, 0: disk(600)}
    for holes, points in toys.items():
        found = mean_relative_living_times(points, landmarks=32, gamma=1 / 8, draws=20)
        assert int(found.mean.argmax()) == holes
        assert float(found.mean.sum()) == pytest.approx(1)


@pytest.mark.slow
def test_the_originals_score_of_circle_and_disk():
    a, b = (mean_relative_living_times(points, **TOY, draws=100) for points in (circle(5000), disk(5000, 5)))
    assert float(a.mean[1]) == pytest.approx(0.996, abs=0.01)
    assert float(b.mean[0]) == pytest.approx(0.95, abs=0.02)
    score = geometry_score(a, b)
    assert score.value == pytest.approx(1.86, abs=max(0.03, 3 * score.standard_error))


def test_a_half_circle_differs_from_a_circle():
    a = mean_relative_living_times(circle(500), **TOY, draws=20)
    b = mean_relative_living_times(circle(500, share=0.5), **TOY, draws=20)
    assert geometry_score(a, b).value == pytest.approx(1.96, abs=0.06)
    assert geometry_score(a, a).value == 0


def test_the_times_neither_move_nor_scale_with_the_points():
    points = disk(200)
    a = mean_relative_living_times(points, **TOY, draws=5)
    b = mean_relative_living_times((1000 * points + 5e4).reshape(200, 2, 1, 1), **TOY, draws=5)
    assert torch.allclose(a.times, b.times, atol=1e-6)


def test_holes_beyond_i_max_are_left_out():
    points = disk(300)
    whole = mean_relative_living_times(points, **TOY, draws=5).times
    short = mean_relative_living_times(points, landmarks=32, gamma=1 / 8, i_max=2, draws=5).times
    assert torch.equal(short, whole[:, :2])


def test_a_loop_without_triangles_is_a_hole():
    square = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    between = (square + np.roll(square, 1, 0)) / 2
    intervals, longest = hole_intervals(lift(np.concatenate([square, between])), np.arange(4), 0.01)
    assert intervals.tolist() == [[0.0, longest]]


def test_distances_by_one_product():
    points, rows = np.random.default_rng(0).normal(size=(50, 7)), np.array([3, 3, 40])
    assert np.allclose(landmark_distances(lift(points), rows), cdist(points, points[rows]), atol=1e-7)


def test_defaults_are_the_originals():
    found = mean_relative_living_times(disk(50), draws=2)
    assert found.times.shape == (2, 100)
    assert (found.landmarks, found.points, found.gamma) == (64, 50, pytest.approx(50 / 5000 / 128))


def test_processes_change_nothing_and_progress_is_told():
    points, told = disk(150), []
    alone = mean_relative_living_times(points, **TOY, draws=9, seed=3, jobs=1)
    two = mean_relative_living_times(points, **TOY, draws=9, seed=3, jobs=2, progress=told.append)
    assert torch.equal(alone.times, two.times)
    assert told == sorted(told)
    assert told[-1] == 1
    assert torch.equal(mean_relative_living_times(points, **TOY, draws=9, seed=3).times, two.times)
    assert not torch.equal(mean_relative_living_times(points, **TOY, draws=9, seed=4).times, two.times)


def test_global_randomness_is_untouched():
    torch_state, numpy_state = torch.random.get_rng_state(), np.random.get_state()[1].copy()
    mean_relative_living_times(disk(60), **TOY, draws=2)
    assert torch.equal(torch_state, torch.random.get_rng_state())
    assert (numpy_state == np.random.get_state()[1]).all()


def times_of(share, draws, seed):
    """Made-up living times whose mean is known: `share` of the draws have no hole, the others one."""
    none = torch.rand(draws, generator=seeded(seed)) < share
    return RelativeLivingTimes(torch.stack([none, ~none], 1).double(), 64, 0.1, 100)


@pytest.mark.parametrize("share", [0.6, 0.8])
def test_the_interval_covers_the_true_score(share):
    truth, hits = 2 * (share - 0.3) ** 2, 0
    for seed in range(300):
        score = geometry_score(times_of(share, 80, seed), times_of(0.3, 120, 1000 + seed))
        low, high = score.interval()
        hits += low <= truth <= high
    assert 0.90 <= hits / 300 <= 0.99


def test_the_interval_of_equal_topologies_holds_zero():
    scores = [geometry_score(times_of(0.5, 50, s), times_of(0.5, 50, 1000 + s)) for s in range(200)]
    assert sum(score.interval()[0] <= 0 for score in scores) / 200 >= 0.9


def test_the_error_of_the_mean_is_that_of_the_draws():
    found = mean_relative_living_times(disk(100), **TOY, draws=30)
    expected = found.times.numpy().std(0, ddof=1) / math.sqrt(30)
    assert found.standard_error.tolist() == pytest.approx(expected.tolist())


def test_comparing_unlike_measurements_is_said():
    a = RelativeLivingTimes(torch.eye(2).double(), 64, 0.1, 100)
    assert "γ differ" in geometry_score(a, RelativeLivingTimes(torch.eye(2).double(), 64, 0.2, 100)).how
    with pytest.raises(BadInput, match="i_max 2 and 3"):
        geometry_score(a, RelativeLivingTimes(torch.eye(3).double(), 64, 0.1, 100))


def test_intervals_of_a_circle():
    intervals, longest = persistence_intervals(circle(400), landmarks=32, gamma=1 / 8)
    assert (intervals[:, 0] <= intervals[:, 1]).all()
    assert float(intervals.max()) == longest


@pytest.mark.parametrize(
    ("points", "options", "match"),
    [
        (torch.zeros(1, 2), {}, "small"),
        (torch.zeros(5), {}, "shape"),
        (torch.ones(5, 2), {}, "all points are the same"),
        (torch.tensor([[0.0], [math.nan]]), {}, "NaN"),
        (torch.eye(5), {"gamma": 0.0}, "gamma"),
        (torch.eye(5), {"gamma": math.inf}, "gamma"),
        (torch.eye(5), {"landmarks": 2}, "landmarks"),
        (torch.eye(5), {"draws": 1}, "draws"),
        (torch.eye(5), {"i_max": 0}, "i_max"),
        (torch.eye(5), {"jobs": 0}, "jobs"),
    ],
)
def test_degenerate_input_is_refused(points, options, match):
    with pytest.raises(BadInput, match=match):
        mean_relative_living_times(points, **options)


def model():
    def draw(n, seed):
        return torch.rand(n, 1, 4, 4, generator=seeded(seed))

    return Model(sample=draw, test=draw(300, 1), train=draw(400, 2), is_image=True)


@pytest.mark.parametrize(
    "entry",
    [m for m in METRICS.values() if m.group == "samples" and m.needs == ("sample", "test")],
    ids=lambda entry: entry.name,
)
def test_entries_give_what_they_announce(entry):
    told = []
    found = entry(model(), Options(samples=60, progress=told.append))
    assert found.metrics
    assert set(found.metrics) <= set(entry.better)
    assert found.plots
    if not entry.quick:
        assert told[-1] == 1
    for estimate in found.metrics.values():
        assert math.isfinite(estimate.value)
        assert estimate.how


def test_pictures_of_the_geometry_score():
    bars, barcode = METRICS["geometry_score"](model(), Options(samples=60)).plots
    assert isinstance(bars, Bars)
    assert set(bars.series) == set(bars.errors) == {"samples", "held-out data", "training data"}
    assert isinstance(barcode, Barcode)
    assert all(intervals.shape[1] == 2 for intervals in barcode.series.values())


def test_pictures_of_the_closest_pairs():
    *_, pictures, of_data = METRICS["birthday_test"](model(), Options(samples=60)).plots
    assert pictures.images.shape == of_data.images.shape == (40, 1, 4, 4)
    apart = (pictures.images[:10] - pictures.images[10:20]).flatten(1).norm(dim=1)
    assert torch.equal(apart, apart.sort().values)
