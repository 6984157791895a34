"""Precision, recall, density and coverage: the published formulas, ties, expectations, errors, degenerate input."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist

from distmatch.errors import BadInput
from distmatch.metrics.features import manifold
from distmatch.metrics.features.manifold import precision_recall_density_coverage
from distmatch.random import seeded


def normal(n, d, seed, scale=1.0, shift=0.0):
    return torch.randn(n, d, generator=seeded(seed)) * scale + shift


def published(real, fake, k):
    """The formulas of the papers, by whole distance matrices."""
    real, fake = real.double().numpy(), fake.double().numpy()
    real_radii = np.sort(cdist(real, real), 1)[:, k]
    fake_radii = np.sort(cdist(fake, fake), 1)[:, k]
    apart = cdist(real, fake)
    inside = apart < real_radii[:, None]
    return {
        "precision": inside.any(0).mean(),
        "recall": (apart < fake_radii[None]).any(1).mean(),
        "density": inside.sum(0).mean() / k,
        "coverage": (apart.min(1) < real_radii).mean(),
    }


def values(found):
    return {name: e.value for name, e in found.estimates().items()}


@pytest.mark.parametrize("k", [1, 3, 5])
@pytest.mark.parametrize("chunk", [37, 500])
def test_is_the_published_formula(k, chunk):
    real, fake = normal(150, 6, 1), normal(120, 6, 2, 0.9, 0.4)
    found = precision_recall_density_coverage(real, fake, k, chunk=chunk)
    assert values(found) == pytest.approx(published(real, fake, k), rel=1e-12)


def test_far_from_the_origin_in_single_precision():
    real, fake = normal(150, 6, 1) + 3000, normal(120, 6, 2, 0.9, 0.4) + 3000
    assert values(precision_recall_density_coverage(real, fake)) == pytest.approx(published(real, fake, 5))


def test_a_model_that_copies_the_data():
    # each copy is in its original's ball and in those of which it is a nearer neighbour than the k-th: k in all
    x = normal(200, 5, 1)
    assert values(precision_recall_density_coverage(x, x.clone())) == {
        "precision": 1.0,
        "recall": 1.0,
        "density": 1.0,
        "coverage": 1.0,
    }


def test_a_point_on_the_edge_of_a_ball_is_outside():
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    found = precision_recall_density_coverage(real, torch.tensor([[4.0], [5.0], [6.0]]), k=1)
    assert found.precision.value == 0.0


def test_no_error_is_stated_where_half_a_set_has_no_more_points_than_neighbours():
    real = torch.tensor([[0.0], [1.0], [2.0], [3.0]])
    for estimate in precision_recall_density_coverage(real, real + 0.1, k=2).estimates().values():
        assert math.isnan(estimate.standard_error)
        assert "±" not in str(estimate)
        assert "[" not in str(estimate)


@pytest.mark.parametrize(("d", "scale"), [(4, 0.05), (2, 0.01), (16, 0.1)])
def test_the_error_of_density_is_how_much_it_varies(d, scale):
    generator = seeded(2)
    found = [
        precision_recall_density_coverage(
            torch.randn(100, d, generator=generator), scale * torch.randn(100, d, generator=generator)
        ).density
        for _ in range(50)
    ]
    values, errors = (torch.tensor([getattr(e, k) for e in found]) for k in ("value", "standard_error"))
    assert 0.8 <= errors.square().mean().sqrt() / values.std() <= 1.25


def test_density_states_no_error_where_all_parts_agree():
    """No sample in any part is in a ball: that says nothing of how rare one would be."""
    apart = precision_recall_density_coverage(normal(200, 2, 1), normal(200, 2, 2, shift=99))
    assert apart.density.value == 0
    assert math.isnan(apart.density.standard_error)
    assert 0 < apart.precision.interval()[1] < 0.05


def test_copies_within_a_set_have_empty_balls_but_are_not_lost():
    x = normal(60, 3, 1) + 100
    real = torch.cat([x, x[:10], x[:10]])  # ten points three times
    found = precision_recall_density_coverage(real, x, k=2)
    assert found.coverage.value == pytest.approx(50 / 80)
    assert found.recall.value == 1.0


def test_equal_distributions_give_the_expected_density_and_coverage():
    n, m, k = 300, 200, 4
    expected = 1 - math.comb(n, k) / math.comb(n + m, k)
    found = [
        precision_recall_density_coverage(normal(n, 6, 2 * s), normal(m, 6, 2 * s + 1), k) for s in range(20)
    ]
    for name, truth in (("coverage", expected), ("density", 1.0)):
        got = torch.tensor([values(f)[name] for f in found])
        assert abs(got.mean() - truth) < 4 * got.std() / 20**0.5
    assert f"{expected:.3f} for equal distributions" in found[0].coverage.how


def test_the_errors_cover_what_the_numbers_are_on_average():
    generator = seeded(5)
    found = [
        precision_recall_density_coverage(
            torch.randn(120, 8, generator=generator), 0.95 * torch.randn(120, 8, generator=generator) + 0.3
        )
        for _ in range(100)
    ]
    for name in ("precision", "recall", "density", "coverage"):
        estimates = [f.estimates()[name] for f in found]
        truth = sum(e.value for e in estimates) / len(estimates)
        covered = sum(low <= truth <= high for low, high in (e.interval() for e in estimates)) / len(
            estimates
        )
        assert 0.9 <= covered <= 0.99, name


def test_reproducible_and_apart_from_the_global_state():
    x, y = normal(50, 4, 1), normal(50, 4, 2)
    before, shares = torch.random.get_rng_state(), []
    first = precision_recall_density_coverage(x, y, progress=shares.append)
    assert first == precision_recall_density_coverage(x, y)
    assert torch.random.get_rng_state().equal(before)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize(
    ("real", "fake", "k", "words"),
    [
        (torch.rand(5, 2), torch.rand(9, 2), 5, "k is 5 for 5 real and 9 fake"),
        (torch.rand(9, 2), torch.rand(9, 2), 0, "k is 0"),
        (torch.rand(9, 2), torch.rand(9, 3), 2, "one feature net"),
        (torch.zeros(9, 2), torch.ones(9, 2), 2, "copies of itself"),
        (torch.rand(9, 2), torch.full((9, 2), float("nan")), 2, "fake holds NaN"),
    ],
)
def test_says_what_is_wrong(real, fake, k, words):
    with pytest.raises(BadInput, match=words):
        precision_recall_density_coverage(real, fake, k)


def test_each_number_has_its_own_error_which_follows_the_seed(monkeypatch):
    x, y = normal(400, 4, 1), normal(400, 4, 2, 0.9, 0.5)
    first, other = (precision_recall_density_coverage(x, y, seed=s).density for s in (0, 1))
    assert first.value == other.value
    assert first.standard_error != other.standard_error
    for place, name in enumerate(("precision", "recall", "density", "coverage")):
        errors = [0.2 if i == place else 0.001 for i in range(4)]
        monkeypatch.setattr(manifold, "_spread", lambda *_, errors=errors: errors)
        found = precision_recall_density_coverage(x, y).estimates().items()
        assert [key for key, estimate in found if estimate.standard_error > 0.05] == [name]


def test_the_errors_of_parts_become_those_of_the_whole_by_hand():
    """The variance between parts, times what balls and points give if independent at n, over the same of parts."""
    x, y, k = normal(90, 2, 1), normal(60, 2, 2, 0.3), 3

    def alone(real, fake):
        radii = np.sort(cdist(real, real), 1)[:, k]
        inside = cdist(real, fake) < radii[:, None]
        balls, guests, m = inside.sum(0), inside.sum(1), len(fake)
        return guests.var(ddof=1) * len(real) / m**2 + balls.var(ddof=1) / m

    generator, variances, parts = seeded(5), [], []
    for _ in range(25):
        cuts = [torch.randperm(n, generator=generator).tensor_split(2) for n in (90, 60)]
        halves = [(x[a].double(), y[b].double()) for a, b in zip(*cuts, strict=True)]
        variances.append(np.var([published(a, b, k)["density"] for a, b in halves], ddof=1))
        parts.append(np.mean([alone(a.numpy(), b.numpy()) for a, b in halves]))
    ratio = max(0.5, alone(x.double().numpy(), y.double().numpy()) / np.mean(parts))
    found = precision_recall_density_coverage(x, y, k, seed=5).density
    assert found.standard_error == pytest.approx((np.mean(variances) * ratio) ** 0.5, rel=1e-6)
    assert ratio > 0.5
