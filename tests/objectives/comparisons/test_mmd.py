"""MMD against sums by hand and against closed forms of normal distributions."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.objectives.comparisons import IMQ, KERNELS, RBF, Kernel, mmd_squared, root_mmd
from distmatch.objectives.comparisons.mmd import imq_sum, rbf_sum, squared_distances

every = pytest.mark.parametrize("kernel", KERNELS.values(), ids=KERNELS)


def draws(n: int, d: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_squared_distances_are_those_of_cdist():
    x, y = draws(5, 3), draws(4, 3, 1)
    torch.testing.assert_close(squared_distances(x, y), torch.cdist(x, y) ** 2)
    images = draws(5, 12).reshape(5, 3, 2, 2)
    torch.testing.assert_close(
        squared_distances(images, images), torch.cdist(images.flatten(1), images.flatten(1)) ** 2
    )


def test_squared_distances_survive_a_far_origin_and_are_never_negative():
    x, y = draws(20, 8, dtype=torch.float32), draws(20, 8, 1, torch.float32)
    far = squared_distances(x + 1000, y + 1000)
    torch.testing.assert_close(far, squared_distances(x, y), rtol=1e-3, atol=1e-3)
    assert (squared_distances(x, x) >= 0).all()


def test_kernels_by_hand():
    d2 = torch.tensor([0.0, 3.0], dtype=torch.float64)
    expected = [2.0, math.exp(-3 / 2) + math.exp(-3 / 8)]
    torch.testing.assert_close(rbf_sum(d2, (1.0, 2.0)), torch.tensor(expected, dtype=torch.float64))
    expected = [2.0, 4 / 7 + 40 / 43]  # d = 4: C = 8s
    torch.testing.assert_close(imq_sum(d2, 4, (0.5, 5.0)), torch.tensor(expected, dtype=torch.float64))


@every
def test_kernels_take_their_widths_from_the_dimension(kernel):
    """Between draws whose coordinates differ by 1, k is the same in any dimension."""
    for d in (1, 3, 50):
        k = kernel(torch.zeros(1, d), torch.ones(1, d)).item()
        by_hand = {
            "rbf": sum(math.exp(-1 / (2 * s)) for s in kernel.scales),
            "imq": sum(2 * s / (2 * s + 1) for s in kernel.scales),
        }
        assert k == pytest.approx(by_hand[kernel.name], rel=1e-6)


@every
def test_statistics_are_the_double_sums(kernel):
    x, y = draws(4, 2), draws(3, 2, 1) + 0.5

    def k(a: Tensor, b: Tensor) -> float:
        return kernel(a[None], b[None]).item()

    xx = [[k(a, b) for b in x] for a in x]
    yy = [[k(a, b) for b in y] for a in y]
    xy = sum(k(a, b) for a in x for b in y) / 12
    unbiased = sum(xx[i][j] for i in range(4) for j in range(4) if i != j) / 12
    unbiased += sum(yy[i][j] for i in range(3) for j in range(3) if i != j) / 6 - 2 * xy
    biased = sum(map(sum, xx)) / 16 + sum(map(sum, yy)) / 9 - 2 * xy
    assert mmd_squared(x, y, kernel).item() == pytest.approx(unbiased, abs=1e-13)
    assert mmd_squared(x, y, kernel, unbiased=False).item() == pytest.approx(biased, abs=1e-13)
    assert root_mmd(x, y, kernel).item() == pytest.approx(math.sqrt(biased), abs=1e-13)


def test_expectation_for_normal_laws():
    """k = exp(-d²/2σ²) in one dimension: E k(x, y) = σ/√(σ²+2) exp(-m²/2(σ²+2)) for N(m, 1) and N(0, 1)."""
    kernel = Kernel("rbf", RBF.function, (1.0,))
    found = torch.stack(
        [mmd_squared(draws(500, 1, i) + 1, draws(500, 1, 100 + i), kernel) for i in range(40)]
    )
    exact = 2 * math.sqrt(1 / 3) * (1 - math.exp(-1 / 6))
    assert found.mean().item() == pytest.approx(exact, abs=4 * found.std().item() / math.sqrt(40))
    assert found.std().item() < 0.15 * exact
    null = torch.stack([mmd_squared(draws(50, 1, i), draws(50, 1, 100 + i), kernel) for i in range(100)])
    assert (null < 0).any()
    assert abs(null.mean().item()) < 4 * null.std().item() / 10


@every
def test_gradients_are_right_and_finite_where_points_coincide(kernel):
    x, y = draws(4, 2), draws(3, 2, 1)
    for unbiased in (True, False):
        assert torch.autograd.gradcheck(
            lambda a, b, u=unbiased: mmd_squared(a, b, kernel, u), (x.requires_grad_(), y.requires_grad_())
        )
    same = torch.ones(3, 2, requires_grad=True)
    for loss in (mmd_squared(same, same, kernel), root_mmd(same, torch.ones(2, 2), kernel)):
        assert loss.isfinite()
        assert torch.autograd.grad(loss, same)[0].isfinite().all()


@every
def test_descent_brings_a_law_to_the_target(kernel):
    """N(m, s²) learns to be N(3, 1/4), by unbiased and by root."""
    g, y = torch.Generator().manual_seed(2), draws(200, 1, 1) / 2 + 3
    for loss in (mmd_squared, root_mmd):
        m, s = (torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in (0.0, 1.5))
        optimiser = torch.optim.Adam([m, s], lr=0.1)
        for _ in range(150):
            optimiser.zero_grad()
            loss(m + s * torch.randn(100, 1, generator=g, dtype=torch.float64), y, kernel).backward()
            optimiser.step()
        assert abs(m.item() - 3) < 0.15
        assert abs(s.item() - 0.5) < 0.15


@every
def test_lanes_and_the_compiler(kernel):
    x, y = draws(8, 3).reshape(2, 4, 3), draws(8, 3, 1).reshape(2, 4, 3)
    slope = torch.func.grad(lambda a, b: mmd_squared(a, b, kernel) + root_mmd(a, b, kernel))
    expected = torch.stack([slope(a, b) for a, b in zip(x, y, strict=True)])
    torch.testing.assert_close(torch.func.vmap(slope)(x, y), expected)
    torch.compiler.reset()
    compiled = torch.compile(slope, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x[0], y[0]), expected[0])


def test_bad_samples_and_kernels():
    with pytest.raises(BadInput, match="give two sets of one shape"):
        mmd_squared(draws(3, 2), draws(3, 1))
    with pytest.raises(BadInput, match="give at least 2 of each"):
        mmd_squared(draws(1, 2), draws(3, 2))
    with pytest.raises(BadInput, match="give at least 1 of each"):
        mmd_squared(draws(0, 2), draws(3, 2), unbiased=False)
    for scales in ((), (1.0, 0.0), (math.inf,)):
        with pytest.raises(BadInput, match="scales of the kernel imq"):
            Kernel("imq", imq_sum, scales)
    assert KERNELS == {"rbf": RBF, "imq": IMQ}
