"""Every penalty: what it is by finite differences, per sample; or, for a projection, what it does to weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from contracts.toys import generator
from distmatch.comparisons import NON_SATURATING
from distmatch.penalties import PENALTIES
from distmatch.terms import Match
from distmatch.variables import X_GEN, X

B, H = 6, 1e-6
DOUBLE = {"dtype": torch.float64}
every = pytest.mark.parametrize("make", PENALTIES.values(), ids=PENALTIES)
SMOOTH = [n for n, make in PENALTIES.items() if make().per_sample]
PROJECTIONS = [n for n in PENALTIES if n not in SMOOTH]
smooth = pytest.mark.parametrize("make", [PENALTIES[n] for n in SMOOTH], ids=SMOOTH)
projection = pytest.mark.parametrize("make", [PENALTIES[n] for n in PROJECTIONS], ids=PROJECTIONS)
joint = pytest.mark.parametrize("shapes", [((3,),), ((1, 2, 2),), ((3,), (2,))], ids=["x", "image", "joint"])


def critic(shapes: tuple[tuple[int, ...], ...], weights: Tensor):
    """A curved critic, sample by sample."""

    def score(*inputs: Tensor) -> Tensor:
        u = torch.cat([v.flatten(1) for v in inputs], 1)
        assert u.shape[1] == weights.shape[0]
        return (u @ weights).tanh().square().sum(1) + u.prod(1)

    return score


def case(shapes: tuple[tuple[int, ...], ...], seed: int = 0):
    g = generator(seed)
    size = sum(torch.Size(s).numel() for s in shapes)
    weights = torch.randn(size, 3, generator=g, **DOUBLE)
    p, q = ([torch.randn(B, *s, generator=g, **DOUBLE) for s in shapes] for _ in range(2))
    return weights, p, q, torch.rand(B, generator=g, **DOUBLE)


@smooth
@joint
def test_it_is_per_sample(make, shapes):
    """Changing one sample of the batch changes its own penalty alone."""
    weights, p, q, noise = case(shapes)
    before = make()(critic(shapes, weights), p, q, noise)
    assert before.shape == (B,)
    other = [[v.clone() for v in side] for side in (p, q)]
    for side in other:
        for v in side:
            v[2] += 0.5
    after = make()(critic(shapes, weights), *other, noise)
    same = torch.arange(B) != 2
    assert torch.equal(after[same], before[same])
    assert after[2] != before[2]


@smooth
@joint
def test_a_batch_is_its_samples_one_by_one(make, shapes):
    weights, p, q, noise = case(shapes)
    together = make()(critic(shapes, weights), p, q, noise)
    alone = [
        make()(
            critic(shapes, weights), [v[i : i + 1] for v in p], [v[i : i + 1] for v in q], noise[i : i + 1]
        )
        for i in range(B)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=1e-12)


@smooth
@joint
def test_its_gradient_in_the_critics_weights_equals_finite_differences(make, shapes):
    """Double backward, eager and by `torch.func`."""
    weights, p, q, noise = case(shapes)

    def value(w: Tensor) -> Tensor:
        return make()(critic(shapes, w), p, q, noise).mean()

    leaf = weights.clone().requires_grad_()
    (slope,) = torch.autograd.grad(value(leaf), leaf)
    torch.testing.assert_close(torch.func.grad(value)(weights), slope, rtol=1e-10, atol=1e-12)
    for i in range(0, weights.numel(), 2):
        step = torch.zeros_like(weights)
        step.view(-1)[i] = H
        difference = (value(weights + step) - value(weights - step)) / (2 * H)
        torch.testing.assert_close(slope.reshape(-1)[i], difference, rtol=1e-6, atol=1e-7)


@smooth
def test_its_weight_is_a_factor_and_may_differ_from_lane_to_lane(make):
    shapes = ((3,),)
    weights, p, q, noise = case(shapes)
    one = make(weight=1.0)(critic(shapes, weights), p, q, noise)
    torch.testing.assert_close(make(weight=2.5)(critic(shapes, weights), p, q, noise), 2.5 * one)
    lanes = torch.func.vmap(lambda w: make(weight=w)(critic(shapes, weights), p, q, noise))
    factors = torch.tensor([0.0, 1.0, 3.0], **DOUBLE)
    torch.testing.assert_close(lanes(factors), factors[:, None] * one)


@projection
def test_a_projection_is_done_in_place_and_once(make):
    g = generator()
    weights = [torch.randn(4, 3, generator=g), torch.randn(3, generator=g)]
    kept = [w.clone() for w in weights]
    places = [w.data_ptr() for w in weights]
    make().project(weights)
    assert [w.data_ptr() for w in weights] == places
    assert not torch.equal(weights[0], kept[0])
    once = [w.clone() for w in weights]
    make().project(weights)
    assert all(torch.equal(a, b) for a, b in zip(weights, once, strict=True))


@every
def test_a_term_takes_it_with_any_comparison_and_asks_for_its_noise(make):
    term = Match(X_GEN, X, by=NON_SATURATING, penalty=make())
    assert term.noise == (("penalty/match(x_gen, x)",) if make().needs_noise else ())
    assert make().equation()
    assert isinstance(make().per_sample, bool)


def test_projections_add_no_loss():
    assert PROJECTIONS
    assert all(PENALTIES[n]()(torch.sum, [], [], None) is None for n in PROJECTIONS)
