"""Penalties one by one: centres, places, joints, clipping, refusals."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from contracts.toys import generator
from distmatch.errors import BadInput
from distmatch.objectives.penalties import (
    Clip,
    Roth,
    clipping,
    dragan,
    gradient_norms,
    gradient_penalty,
    r1,
    r2,
    roth,
)
from distmatch.schedules import Ramp

B, H = 5, 1e-6


def f(x: Tensor) -> Tensor:
    """x₀² + 3 x₀x₁ - sin x₂."""
    return x[:, 0] ** 2 + 3 * x[:, 0] * x[:, 1] - x[:, 2].sin()


def normals(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def differences(score, *inputs: Tensor) -> Tensor:
    """Central differences of each sample's score by all of its inputs, `(B, D)`."""
    columns = []
    for k, v in enumerate(inputs):
        for i in range(v[0].numel()):
            step = torch.zeros_like(v).flatten(1)
            step[:, i] = H
            up, down = list(inputs), list(inputs)
            up[k], down[k] = v + step.view_as(v), v - step.view_as(v)
            columns.append((score(*up) - score(*down)) / (2 * H))
    return torch.stack(columns, 1)


def test_gradient_norms_equal_finite_differences():
    x = normals(0, B, 3)
    norms = differences(f, x).norm(dim=1)
    torch.testing.assert_close(gradient_norms(f, [x]), norms, rtol=1e-7, atol=1e-8)
    torch.testing.assert_close(gradient_norms(f, [x], squared=True), norms**2, rtol=1e-7, atol=1e-8)


def test_a_joint_has_one_norm_over_all_its_inputs():
    x, z = normals(0, B, 1, 2, 2), normals(1, B, 3)

    def score(x: Tensor, z: Tensor) -> Tensor:
        return x.flatten(1).prod(1) * z.sum(1) + f(z)

    norms = gradient_norms(score, [x, z])
    torch.testing.assert_close(norms, differences(score, x, z).norm(dim=1), rtol=1e-6, atol=1e-7)
    assert (norms > gradient_norms(lambda x: score(x, z), [x])).all()


@pytest.mark.parametrize("centre", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("place", ["between", "target", "model"])
def test_every_centre_at_every_place(centre, place):
    p, q, alpha = (
        normals(0, B, 3),
        normals(1, B, 3),
        torch.rand(B, generator=generator(2), dtype=torch.float64),
    )
    u = {"target": p, "model": q, "between": alpha[:, None] * p + (1 - alpha[:, None]) * q}[place]
    expected = 7 * (differences(f, u).norm(dim=1) - centre) ** 2
    penalty = gradient_penalty(7.0, centre, place)
    assert penalty.needs_noise == (place == "between")
    found = penalty(f, [p], [q], alpha if penalty.needs_noise else None)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_one_alpha_for_all_inputs_of_a_joint():
    """(x, z) is moved along one line between the two joints."""
    ends = [torch.zeros(B, 1, 2, 2), torch.zeros(B, 3)], [torch.ones(B, 1, 2, 2), torch.ones(B, 3)]
    alpha, seen = torch.linspace(0, 1, B), []

    def score(x: Tensor, z: Tensor) -> Tensor:
        seen.append((x, z))
        return x.flatten(1).sum(1) + z.sum(1)

    gradient_penalty(1.0)(score, ends[1], ends[0], alpha)
    ((x, z),) = seen
    torch.testing.assert_close(x, alpha.view(-1, 1, 1, 1).expand_as(x))
    torch.testing.assert_close(z, alpha.view(-1, 1).expand_as(z))


def test_a_flat_critic_has_a_finite_gradient_at_centre_zero():
    w = torch.zeros(3, requires_grad=True)
    penalty = gradient_penalty(1.0, centre=0.0)(
        lambda x: x @ w, [torch.ones(2, 3)], [torch.zeros(2, 3)], torch.ones(2)
    )
    (slope,) = torch.autograd.grad(penalty.sum(), w)
    assert torch.equal(slope, torch.zeros(3))


def test_a_linear_critic_of_slope_one_pays_nothing_at_centre_one():
    w = torch.tensor([0.6, -0.8], dtype=torch.float64)
    paid = gradient_penalty(10.0)(
        lambda x: x @ w, [normals(0, B, 2)], [normals(1, B, 2)], torch.linspace(0, 1, B, dtype=torch.float64)
    )
    torch.testing.assert_close(paid, torch.zeros_like(paid), rtol=0, atol=1e-15)


def test_r1_and_r2_are_half_their_gamma():
    """½γ‖∇f‖², on the target's samples and on the model's."""
    p, q = normals(0, B, 3), normals(1, B, 3)
    for make, u in ((r1, p), (r2, q)):
        assert not make().needs_noise
        expected = 0.5 * 3.0 * (differences(f, u) ** 2).sum(1)
        torch.testing.assert_close(make(3.0)(f, [p], [q], None), expected, rtol=1e-6, atol=1e-7)
    assert r1(10) == gradient_penalty(5.0, 0.0, "target")
    assert r2(Ramp(0, 4, 9)) == gradient_penalty(Ramp(0, 2, 9), 0.0, "model")


def test_dragan_looks_around_the_data():
    """λ(‖∇f(p + ½·sd(p)·u)‖ - 1)², u uniform, sd over all numbers of the batch."""
    p, q, u = (
        normals(0, B, 3),
        normals(1, B, 3),
        torch.rand(B, 3, generator=generator(2), dtype=torch.float64),
    )
    mean = p.sum() / p.numel()
    spread = ((p - mean).square().sum() / (p.numel() - 1)).sqrt()
    expected = 4 * (differences(f, p + 0.5 * spread * u).norm(dim=1) - 1) ** 2
    torch.testing.assert_close(dragan(4.0)(f, [p], [q], [u]), expected, rtol=1e-6, atol=1e-7)
    assert (dragan().needs_noise, dragan().noise.distribution, dragan().noise.shape) == (True, "uniform", "x")


def test_dragan_has_a_spread_for_each_input_of_a_joint():
    p, u = [normals(0, B, 1, 2, 2), 5 * normals(1, B, 3)], [normals(2, B, 1, 2, 2), normals(3, B, 3)]
    seen = []

    def score(x: Tensor, z: Tensor) -> Tensor:
        seen.append((x, z))
        return x.flatten(1).sum(1) + z.sum(1)

    dragan()(score, p, p, u)
    for found, v, e in zip(seen[0], p, u, strict=True):
        torch.testing.assert_close(found, v + 0.5 * v.std() * e)


def test_the_spread_of_the_data_is_held_still():
    """It is a number as far as gradients go."""
    u = torch.rand(B, 3, generator=generator(2), dtype=torch.float64)
    p = normals(0, B, 3).requires_grad_()
    spread = p.detach().std()
    (found,) = torch.autograd.grad(dragan(1.0)(f, [p], [p], [u]).sum(), p)
    (expected,) = torch.autograd.grad(((gradient_norms(f, [p + 0.5 * spread * u]) - 1) ** 2).sum(), p)
    torch.testing.assert_close(found, expected)


def test_roth_by_hand():
    """½γ{(1 - D(p))²‖∇t(p)‖² + D(q)²‖∇t(q)‖²}."""
    p, q = normals(0, B, 3), normals(1, B, 3)
    on_p, on_q = (1 / (1 + (-f(u)).exp()) for u in (p, q))
    squares = [(differences(f, u) ** 2).sum(1) for u in (p, q)]
    expected = 0.5 * 3.0 * ((1 - on_p) ** 2 * squares[0] + on_q**2 * squares[1])
    torch.testing.assert_close(roth(3.0)(f, [p], [q], None), expected, rtol=1e-6, atol=1e-7)
    assert roth(3) == Roth(gamma=3.0)
    assert roth(3.0).equation() == "½·3·(E_p[(1 - D)²‖∇f‖²] + E_q[D²‖∇f‖²])"


def test_roths_gradient_in_the_critic_by_autograd():
    """t(u) = w·u: ∇t = w, so the penalty is ½γ{(1 - D(p))² + D(q)²}‖w‖²."""
    w = normals(4, 3).requires_grad_()
    p, q = normals(0, B, 3), normals(1, B, 3)
    found = roth(2.0)(lambda u: u @ w, [p], [q], None)
    by_hand = ((1 - (p @ w).sigmoid()) ** 2 + (q @ w).sigmoid() ** 2) * w.square().sum()
    torch.testing.assert_close(found, by_hand)
    for a, b in zip(torch.autograd.grad(found.sum(), w), torch.autograd.grad(by_hand.sum(), w), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("penalty", [gradient_penalty(Ramp(0, 1, 9)), roth(Ramp(0, 1, 9)), r1(Ramp(0, 1, 9))])
def test_a_ramp_must_be_evaluated_first(penalty):
    with pytest.raises(BadInput, match="has no value by itself"):
        penalty(f, [normals(0, B, 3)], [normals(1, B, 3)], torch.ones(B))


def test_clipping_bounds_the_weights_and_no_more():
    weights = [normals(0, 20), normals(1, 3, 4)]
    expected = [w.clamp(-0.3, 0.3) for w in weights]
    clipping(0.3).project(weights)
    assert all(torch.equal(a, b) for a, b in zip(weights, expected, strict=True))


def test_printed():
    assert gradient_penalty(10).equation() == "10·E[(‖∇f‖ - 1)²] between"
    assert gradient_penalty(0.5, 0.0, "target").equation() == "0.5·E[‖∇f‖²] target"
    assert gradient_penalty(torch.tensor([1.0, 2.0])).equation() == "λ·E[(‖∇f‖ - 1)²] between"
    assert clipping(0.02).equation() == "|weights| ≤ 0.02"


def test_refusals():
    with pytest.raises(BadInput, match="place is between, target, model or around, not 'betwixt'"):
        gradient_penalty(place="betwixt")  # type: ignore[arg-type]
    for number in (-1.0, float("inf"), float("nan")):
        with pytest.raises(BadInput, match="bound"):
            Clip(number)
        with pytest.raises(BadInput, match="weight"):
            gradient_penalty(number)
        with pytest.raises(BadInput, match="the gamma of a penalty"):
            roth(number)
    with pytest.raises(BadInput, match="all zero; give a bound above 0"):
        Clip(0)
