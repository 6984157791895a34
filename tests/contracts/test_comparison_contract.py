"""Every comparison: its critic is best at the true ratio, its nets then bring q to p, and all signs agree.

On a support of five points an expectation is a sum and a critic is five numbers. Where the comparison says how its
score becomes log p/q, the best score is that map's inverse; where it has none (integral metrics), a fixed
1-Lipschitz critic and a shift of location take the optimum's place.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distmatch.objectives.comparisons import COMPARISONS, GENERATOR_LOSSES, Sides, by_name
from distmatch.testing import check_comparison
from distmatch.testing.comparison import best_scores

P = torch.tensor([0.05, 0.3, 0.15, 0.3, 0.2], dtype=torch.float64)
Q = torch.tensor([0.4, 0.1, 0.2, 0.05, 0.25], dtype=torch.float64)
CROSSES = [
    "non_saturating/kl",
    "least_squares/pearson",
    "least_squares/neyman",
    "brier/hellinger",
    "lsif/kl",
    "lsif/minimax",
    "kliep/non_saturating",
    "f_kl/reverse_kl",
    "f_reverse_kl/kl",
    "f_pearson/jeffreys",
    "f_neyman/pearson",
    "f_hellinger/jensen_shannon",
    "f_jensen_shannon/neyman",
    "f_gan/jeffreys",
    "f_jeffreys/hellinger",
]
EVERY = COMPARISONS | {n: by_name(n) for n in CROSSES}
WITH_RATIO = {n: c for n, c in EVERY.items() if c.log_ratio is not None}
WITHOUT_RATIO = {n: c for n, c in EVERY.items() if c.log_ratio is None}

every = pytest.mark.parametrize("by", EVERY.values(), ids=EVERY)
with_ratio = pytest.mark.parametrize("by", WITH_RATIO.values(), ids=WITH_RATIO)
without_ratio = pytest.mark.parametrize("by", WITHOUT_RATIO.values(), ids=WITHOUT_RATIO)


def total(sides: Sides, scores: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Σ p target(s) + q model(s)."""
    parts = [w * side(scores) for w, side in zip((p, q), sides, strict=True) if side is not None]
    return torch.stack(parts).sum(0).sum()


@every
def test_it_keeps_the_contract(by):
    check_comparison(by)


@with_ratio
def test_the_generators_part_is_stationary_at_p(by):
    """By envelope: with the best critic at q = p, no shift of mass changes the generator's part to first order."""
    losses = []
    for t in (-1e-4, 1e-4):
        q = P + t * (Q - P)
        losses.append(total(by.generator, best_scores(by, (P / q).log()), P, q))
    assert abs(losses[1] - losses[0]) < 1e-9


@without_ratio
def test_a_shift_of_location_is_undone(by):
    """With f(u) = u, which is 1-Lipschitz and the best critic of a model to the left, the model goes right."""
    u = torch.linspace(-0.5, 0.5, 11, dtype=torch.float64)
    mean = torch.full_like(u, 1 / len(u))

    def loss(shift: Tensor) -> Tensor:
        parts = zip(by.generator, (u, u - shift), strict=True)
        return sum((mean * side(f)).sum() for side, f in parts if side is not None)

    losses = torch.stack([loss(s) for s in torch.linspace(2, 0, 11, dtype=torch.float64)])
    assert (losses.diff() < 0).all()


@every
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_are_unreduced_and_finite(by, shape, dtype):
    for side in (*by.critic, *by.generator):
        if side is not None:
            for size in (0.0, 30.0, -30.0):
                out = side(torch.full(shape, size, dtype=dtype))
                assert (out.shape, out.dtype) == (shape, dtype)
                assert out.isfinite().all()


@with_ratio
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_log_ratio_is_finite_at_any_score_and_so_is_its_slope(by, dtype):
    scores = torch.tensor([-1e4, -100, -2, -1, 0, 0.5, 1, 2, 100, 1e4], dtype=dtype, requires_grad=True)
    found = by.log_ratio(scores)
    (slope,) = torch.autograd.grad(found.sum(), scores)
    assert (found.dtype, found.shape) == (dtype, scores.shape)
    assert found.isfinite().all()
    assert slope.isfinite().all()
    assert (slope >= 0).all()


@every
def test_losses_go_through_vmap_and_the_compiler(by):
    def slopes(scores: Tensor) -> Tensor:
        sides = [side for side in (*by.critic, *by.generator) if side is not None]
        return torch.stack([torch.func.grad(lambda s, f=side: f(s).sum())(scores) for side in sides])

    scores = torch.linspace(-3, 3, 6, dtype=torch.float64).reshape(2, 3)
    expected = torch.stack([slopes(row) for row in scores])
    torch.testing.assert_close(torch.func.vmap(slopes)(scores), expected, rtol=1e-12, atol=1e-12)
    torch.compiler.reset()
    compiled = torch.compile(slopes, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(scores[0]), expected[0], rtol=1e-12, atol=1e-12)


def test_names_are_their_keys():
    assert {c.name for c in EVERY.values()} == EVERY.keys()
    assert all(EVERY[n].name == n for n in EVERY)


def test_crosses_are_a_fair_sample():
    """Every critic that holds a ratio but two that share another's, and every generator loss, takes part."""
    critics, generators = zip(*(n.split("/") for n in CROSSES), strict=True)
    assert {*critics, "minimax", "reverse_kl"} == {n for n in WITH_RATIO if "/" not in n}
    assert set(generators) == GENERATOR_LOSSES.keys()


@every
def test_it_prints_both_laws_and_has_a_reference(by):
    text = by.equation("p(x̃)", "p*(x)")
    first, second = ("p*(x)", "p(x̃)") if by.target_first else ("p(x̃)", "p*(x)")
    assert text.startswith(f"{by.symbol}[{first}")
    assert text.endswith(f"{second}]")
    assert by.reference
