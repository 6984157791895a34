"""The kernel distance: the published formula, unbiasedness, its error, degenerate input."""

import numpy as np
import pytest
import torch

from distmatch.errors import BadInput
from distmatch.metrics.features.kernel_distance import kernel_distance
from distmatch.random import seeded


def normal(n, d, seed, scale=1.0, shift=0.0):
    return torch.randn(n, d, generator=seeded(seed)) * scale + shift


def published(x, y, degree=3):
    """The unbiased MMD² written out."""
    x, y = x.double().numpy(), y.double().numpy()

    def k(a, b):
        return (a @ b.T / x.shape[1] + 1) ** degree

    n, m = len(x), len(y)
    within = (k(x, x).sum() - np.trace(k(x, x))) / (n * (n - 1))
    return within + (k(y, y).sum() - np.trace(k(y, y))) / (m * (m - 1)) - 2 * k(x, y).mean()


@pytest.mark.parametrize("degree", [1, 3])
def test_all_pairs_are_the_published_formula(degree):
    x, y = normal(1203, 6, 1), normal(707, 6, 2, 1.2, 0.1)  # more than one block of rows
    assert kernel_distance(x, y, degree, subsets=None).value == pytest.approx(
        published(x, y, degree), rel=1e-9
    )


def test_subsets_are_drawn_without_replacement_from_both():
    x, y = normal(60, 4, 1), normal(50, 4, 2, 1.2)
    found = kernel_distance(x, y, subsets=7, subset_size=20, seed=3)
    generator, values = seeded(3), []
    for _ in range(7):
        a = x[torch.randperm(60, generator=generator)[:20]]
        values.append(published(a, y[torch.randperm(50, generator=generator)[:20]]))
    assert found.value == pytest.approx(np.mean(values))
    assert f"standard deviation {np.std(values, ddof=1):.3g}" in found.how
    assert found.n == 50


def test_small_sets_are_compared_whole():
    x, y = normal(40, 4, 1), normal(50, 4, 2)
    assert kernel_distance(x, y).value == kernel_distance(x, y, subsets=None).value


def test_unbiased_the_average_over_equal_distributions_is_zero():
    generator = seeded(0)
    values = torch.tensor(
        [
            kernel_distance(
                torch.randn(30, 3, generator=generator), torch.randn(30, 3, generator=generator)
            ).value
            for _ in range(300)
        ]
    )
    assert abs(values.mean()) < 3 * values.std() / 300**0.5


@pytest.mark.parametrize("subsets", [None, 20])
def test_the_error_covers_the_known_distance(subsets):
    # k of degree one: MMD² is ‖E x - E y‖²/d exactly
    generator, d, shift = seeded(1), 4, 0.5
    found = [
        kernel_distance(
            torch.randn(120, d, generator=generator),
            torch.randn(90, d, generator=generator) + shift,
            1,
            subsets,
            40,
        )
        for _ in range(300)
    ]
    assert 0.9 <= sum(low <= shift**2 <= high for low, high in (e.interval() for e in found)) / 300 <= 0.99


def test_reproducible_and_apart_from_the_global_state():
    x, y = normal(60, 4, 1), normal(60, 4, 2)
    before = torch.random.get_rng_state()
    found = [kernel_distance(x, y, subsets=3, subset_size=10, seed=s) for s in (0, 0, 1)]
    assert found[0] == found[1]
    assert found[0].value != found[2].value
    assert torch.random.get_rng_state().equal(before)


def test_progress_reaches_one():
    shares = []
    kernel_distance(normal(600, 3, 1), normal(600, 3, 2), subsets=None, progress=shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0


@pytest.mark.parametrize(
    ("real", "fake", "options", "words"),
    [
        (torch.zeros(3, 2), torch.zeros(9, 2), {}, "real of shape"),
        (torch.zeros(9, 2), torch.zeros(9, 3), {}, "one feature net"),
        (torch.zeros(9, 2), torch.full((9, 2), float("nan")), {}, "fake holds NaN"),
        (torch.rand(9, 2), torch.rand(9, 2), {"subset_size": 3}, "subset_size is 3"),
        (torch.rand(9, 2), torch.rand(9, 2), {"subset_size": 5, "subsets": 1}, "subsets is 1"),
        (torch.rand(9, 2), torch.rand(9, 2), {"degree": 0}, "degree is 0"),
    ],
)
def test_says_what_is_wrong(real, fake, options, words):
    with pytest.raises(BadInput, match=words):
        kernel_distance(real, fake, **options)


def test_constant_features_that_are_equal_have_no_distance():
    found = kernel_distance(torch.ones(9, 2), torch.ones(9, 2))
    assert (found.value, found.standard_error) == (0.0, 0.0)


def by_hand(x, y, degree):
    """What `_Parts` holds, by whole matrices."""

    def kernel(a, b):
        return ((a @ b.T) / a.shape[1] + 1) ** degree

    def left(k, weight):
        row, column = (k * weight).sum(1) / weight.sum(1), (k * weight).sum(0) / weight.sum(0)
        mean = (k * weight).sum() / weight.sum()
        rest = (k**2 * weight).sum() / weight.sum() - (row**2).mean() - (column**2).mean() + mean**2
        return row, column, rest

    n, m = len(x), len(y)
    row_x, _, xx = left(kernel(x, x), 1 - np.eye(n))
    row_y, _, yy = left(kernel(y, y), 1 - np.eye(m))
    row, column, xy = left(kernel(x, y), np.ones((n, m)))
    first_x = np.var(2 * (row_x - row), ddof=1) - 4 * (xx / n + xy / m)
    first_y = np.var(2 * (row_y - column), ddof=1) - 4 * (yy / m + xy / n)
    return np.array([first_x, first_y, xx, yy, xy])


def variance(parts, n, m):
    first_x, first_y, xx, yy, xy = parts
    first = max(0.0, first_x) / n + max(0.0, first_y) / m
    return first + 2 * xx / (n * (n - 1)) + 2 * yy / (m * (m - 1)) + 4 * xy / (n * m)


def test_the_error_of_all_pairs_by_hand():
    x, y = normal(9, 3, 1), normal(7, 3, 2, 1.2)
    expected = variance(by_hand(x.numpy(), y.numpy(), 3), 9, 7) ** 0.5
    assert kernel_distance(x, y, subsets=None).standard_error == pytest.approx(expected)


def test_the_error_over_subsets_is_at_the_full_n_with_that_of_their_drawing():
    x, y = normal(60, 4, 1), normal(50, 4, 2, 1.2)
    generator, values, parts = seeded(3), [], []
    for _ in range(7):
        a = x[torch.randperm(60, generator=generator)[:20]]
        b = y[torch.randperm(50, generator=generator)[:20]]
        values.append(published(a, b))
        parts.append(by_hand(a.numpy(), b.numpy(), 3))
    expected = variance(np.mean(parts, 0), 60, 50) + np.var(values, ddof=1) / 7
    found = kernel_distance(x, y, subsets=7, subset_size=20, seed=3)
    assert found.standard_error == pytest.approx(expected**0.5)
