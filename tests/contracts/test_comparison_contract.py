"""Every comparison keeps the public contract, and its losses go through vmap and the compiler."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from distmatch.objectives.comparisons import COMPARISONS, GENERATOR_LOSSES, by_name
from distmatch.testing import check_comparison

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

every = pytest.mark.parametrize("by", EVERY.values(), ids=EVERY)


@every
def test_it_keeps_the_contract(by):
    check_comparison(by)


@every
@pytest.mark.parametrize("shape", [(), (3,), (2, 3)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_losses_of_any_shape_are_unreduced_and_finite(by, shape, dtype):
    for side in (*by.critic, *by.generator):
        if side is not None:
            for size in (0.0, 30.0, -30.0):
                out = side(torch.full(shape, size, dtype=dtype))
                assert (out.shape, out.dtype) == (shape, dtype)
                assert out.isfinite().all()


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
