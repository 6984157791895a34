"""The Fréchet distance: closed forms, the published formula, few samples, its error, degenerate input."""

import numpy as np
import pytest
import scipy.linalg
import torch

from distmatch.errors import BadInput
from distmatch.metrics.features.frechet import (
    _by_cholesky,
    _by_qr,
    frechet_distance,
    frechet_distances,
    frechet_from_moments,
)
from distmatch.random import seeded


def normal(n, d, seed, scale=1.0, shift=0.0):
    return torch.randn(n, d, dtype=torch.float64, generator=seeded(seed)) * scale + shift


def published(real, fake):
    """The formula as it stands, by scipy's matrix square root."""
    a, b = real.numpy(), fake.numpy()
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    return np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(cov_a + cov_b - 2 * root.real)


def test_is_the_published_formula():
    mix = normal(20, 20, 3)
    real, fake = normal(300, 20, 1) @ mix, normal(200, 20, 2, 1.3, 0.2) @ mix.T
    assert frechet_distance(real, fake).value == pytest.approx(published(real, fake), rel=1e-10)
    moments = [(x.mean(0), torch.cov(x.T)) for x in (real, fake)]
    assert frechet_from_moments(*moments[0], *moments[1]) == pytest.approx(published(real, fake), rel=1e-10)


def test_closed_forms():
    x = normal(50, 6, 1)
    assert frechet_distance(x, x.clone()).value == pytest.approx(0, abs=1e-12)
    assert frechet_distance(x, x + 2).value == pytest.approx(6 * 4)
    # equal means and commuting covariances: the squared distance of their roots
    centred = x - x.mean(0)
    scale = torch.arange(1.0, 7.0, dtype=torch.float64)
    white = centred @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(centred.T))).T
    assert frechet_distance(white, white * scale).value == pytest.approx(float((scale - 1).square().sum()))
    one = torch.tensor([0.0, 2.0], dtype=torch.float64)[:, None]
    assert frechet_distance(one, 3 * one + 1).value == pytest.approx(3**2 + 2 * (3 - 1) ** 2)


def test_fewer_samples_than_features_and_dead_features():
    real, fake = normal(30, 80, 1), normal(25, 80, 2, 1.5)
    turn = torch.linalg.qr(normal(80, 80, 3))[0]
    value = frechet_distance(real, fake).value
    assert frechet_distance(real @ turn, fake @ turn).value == pytest.approx(value, rel=1e-12)
    dead = torch.zeros(30, 5, dtype=torch.float64)
    assert frechet_distance(
        torch.cat([real, dead], 1), torch.cat([fake, dead[:25]], 1)
    ).value == pytest.approx(value)
    # Σ₁ of rank one, uᵀu: Tr (Σ₁Σ₂)^½ is (uᵀΣ₂u)^½
    u, other = normal(1, 80, 4), fake - fake.mean(0)
    line = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)[:, None] * u
    cross = float((u @ torch.cov(other.T) @ u.T).sqrt())
    expected = float(u.square().sum() + other.square().sum() / 24) - 2 * cross
    assert frechet_distance(line, other).value == pytest.approx(expected, rel=1e-10)


def test_keeps_its_digits_far_from_the_origin_in_single_precision():
    real, fake = normal(200, 4, 1).float() + 1000, normal(200, 4, 2).float() + 1000
    assert frechet_distance(real, fake).value == pytest.approx(
        published(real.double(), fake.double()), rel=1e-8
    )


def test_the_error_covers_what_the_distance_is_on_average():
    generator = seeded(0)
    found = []
    for _ in range(200):
        real = torch.randn(400, 5, generator=generator)
        found.append(frechet_distance(real, 1.3 * torch.randn(300, 5, generator=generator) + 0.4))
    truth = sum(e.value for e in found) / len(found)
    assert 0.9 <= sum(low <= truth <= high for low, high in (e.interval() for e in found)) / 200 <= 0.99


@pytest.mark.parametrize("dims", [40, 300])
def test_both_factorisations_agree(dims):
    # dims = 300: more than the leading directions that the first takes for the error
    spectrum = torch.arange(1.0, dims + 1, dtype=torch.float64) ** -0.7
    real, fake = (
        normal(900, dims, 1) * spectrum,
        normal(800, dims, 2, 1.2) @ torch.linalg.qr(normal(dims, dims, 3))[0],
    )
    fake = fake * spectrum
    quick, slow = (way(real - real.mean(0), fake - fake.mean(0)) for way in (_by_cholesky, _by_qr))
    assert quick.trace == pytest.approx(slow.trace, rel=1e-10)
    for name in ("real", "fake"):
        a, b = (getattr(found, f"{name}_bends") for found in (quick, slow))
        assert a.mean() == pytest.approx(float(b.mean()), rel=1e-9)
        assert a.var() == pytest.approx(float(b.var()), rel=0.02 if dims > 256 else 1e-6)


def test_a_covariance_that_is_nearly_singular_goes_the_exact_way():
    real, fake = normal(60, 4, 1), normal(60, 4, 2)
    scale = torch.tensor([1.0, 1.0, 1.0, 1e-7], dtype=torch.float64)
    assert _by_cholesky(real * scale, fake * scale) is None
    value = frechet_distance(real * scale, fake * scale).value
    assert value == pytest.approx(frechet_distance(real[:, :3], fake[:, :3]).value, rel=1e-10)


def test_how_names_features_sizes_and_bias():
    how = frechet_distance(normal(30, 3, 1), normal(20, 3, 2), features="net abc").how
    assert "net abc" in how
    assert "30 real and 20 fake, d = 3" in how
    assert "biased up" in how


def repeated(times, n, d, scale, shift):
    generator = seeded(1)
    for _ in range(times):
        real, fake = torch.randn(2, n, d, dtype=torch.float64, generator=generator)
        yield frechet_distances(real, scale * fake + shift)


@pytest.mark.parametrize(("scale", "shift", "truth"), [(1.0, 0.0, 0.0), (1.3, 0.2, 8.32)])
def test_the_unbiased_distance_is_the_populations(scale, shift, truth):
    found = list(repeated(12, 2000, 64, scale, shift))
    plain, unbiased = (torch.tensor([getattr(f, k).value for f in found]) for k in ("plain", "unbiased"))
    assert plain.mean() > truth + 1
    assert unbiased.mean() == pytest.approx(truth, abs=3 * float(unbiased.std()) / 12**0.5)


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.0), (1.3, 0.2)])
def test_the_unbiased_distances_interval_covers_the_populations(scale, shift):
    truth = 6 * ((scale - 1) ** 2 + shift**2)
    found = [f.unbiased for f in repeated(300, 100, 6, scale, shift)]
    assert 0.9 <= sum(low <= truth <= high for low, high in (e.interval() for e in found)) / 300 <= 0.99
    errors, values = (torch.tensor([getattr(e, k) for e in found]) for k in ("standard_error", "value"))
    assert 0.9 <= errors.square().mean().sqrt() / values.std() <= 1.5
    assert scale > 1 or 0.3 <= (values < 0).double().mean() <= 0.7


@pytest.mark.parametrize(("n", "d"), [(60, 5), (40, 30), (61, 5)])
def test_the_unbiased_distance_is_twice_the_plain_less_that_of_halves(n, d):
    real, fake = normal(n, d, 1), normal(n, d, 2, 1.3, 0.2)
    order = torch.randperm(n, generator=seeded(3))
    quarters = order.tensor_split(4)
    halves = [torch.cat([quarters[i], quarters[j]]) for i in range(4) for j in range(i)]
    mean = sum(frechet_distance(real[h], fake[h]).value for h in halves) / 6
    found = frechet_distances(real, fake, seed=3)
    assert found.plain.value == pytest.approx(frechet_distance(real, fake).value, rel=1e-10)
    assert found.plain.standard_error == pytest.approx(frechet_distance(real, fake).standard_error, rel=1e-8)
    assert found.unbiased.value == pytest.approx(2 * found.plain.value - mean, rel=1e-8)


@pytest.mark.parametrize(("n", "known"), [(60, False), (64, True)])
def test_no_error_is_stated_where_half_a_set_has_no_more_rows_than_features(n, known):
    found = frechet_distances(normal(n, 30, 1), normal(100, 30, 2)).unbiased
    assert np.isfinite(found.standard_error) == known
    assert ("no error" in found.how) != known
    assert ("±" in str(found)) == known


def test_the_distances_of_a_set_from_itself_are_zero_and_of_sorted_sets_those_of_shuffled_ones():
    x = normal(80, 4, 1)
    assert frechet_distances(x, x.clone()).unbiased.value == pytest.approx(0, abs=1e-10)
    real, fake = normal(400, 4, 2), normal(400, 4, 3)
    found = frechet_distances(real[real[:, 0].argsort()], fake[fake[:, 0].argsort()]).unbiased
    assert found.value == pytest.approx(
        frechet_distances(real, fake).unbiased.value, abs=found.standard_error
    )


@pytest.mark.parametrize(
    ("real", "fake", "words"),
    [
        (torch.full((7, 2), 0.1), torch.ones(5, 2), "constant"),
        (torch.zeros(5, 2), torch.zeros(5, 3), "2 features and fake has 3"),
        (torch.zeros(1, 2), torch.zeros(5, 2), "real of shape"),
        (torch.rand(5, 2), torch.full((5, 2), float("inf")), "fake holds NaN or infinite"),
        (torch.rand(5, 2, 2), torch.rand(5, 2), "real must have shape"),
    ],
)
def test_says_what_is_wrong(real, fake, words):
    with pytest.raises(BadInput, match=words):
        frechet_distance(real, fake)


def test_says_what_is_wrong_with_moments():
    mean, eye = torch.zeros(2), torch.eye(2)
    with pytest.raises(BadInput, match="cov_b must be a symmetric"):
        frechet_from_moments(mean, eye, mean, torch.tensor([[1.0, 0.5], [0.0, 1.0]]))
    with pytest.raises(BadInput, match="cov_a has the eigenvalue -1"):
        frechet_from_moments(mean, -eye, mean, eye)
    with pytest.raises(BadInput, match="mean_a and mean_b"):
        frechet_from_moments(mean, eye, torch.zeros(3), torch.eye(3))


@pytest.mark.parametrize("d", [3, 50])
def test_the_error_is_that_of_the_slopes_by_each_rows_weight(d):
    """Slopes by finite differences, of skewed features, where a row's part in mean and covariance go together; with
    n < d by QR."""
    sides = [
        torch.rand(n, d, dtype=torch.float64, generator=seeded(n)).log() * scale - shift
        for n, scale, shift in ((60, 1.0, 0.0), (40, -1.5, 2.0))
    ]

    def moments(x, weights):
        mean = weights @ x
        return mean, (x - mean).T @ (weights[:, None] * (x - mean))

    def distance(side, weights):
        even = [torch.full((len(x),), 1 / len(x), dtype=torch.float64) for x in sides]
        even[side] = weights
        return frechet_from_moments(*moments(sides[0], even[0]), *moments(sides[1], even[1]))

    variance = 0.0
    for side, x in enumerate(sides):
        n, slopes = len(x), []
        for one in torch.eye(n, dtype=torch.float64):
            up, down = (distance(side, (1 - step) / n + step * one) for step in (1e-3, -1e-3))
            slopes.append((up - down) / 2e-3)
        variance += np.var(slopes, ddof=1) / n
    assert frechet_distance(*sides).standard_error == pytest.approx(variance**0.5, rel=0.03)
