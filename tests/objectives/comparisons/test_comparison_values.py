"""Values that are known: at the critic that knows nothing, and at the best one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softplus

from distmatch.objectives.comparisons import (
    BRIER,
    HINGE,
    KLIEP,
    LEAST_SQUARES,
    LSIF,
    MINIMAX,
    NON_SATURATING,
    REVERSE_KL,
    WASSERSTEIN,
    Sides,
)

P = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
Q = torch.tensor([0.35, 0.3, 0.25, 0.1], dtype=torch.float64)
BEST = (P / Q).log()
CLASSIFIERS = [NON_SATURATING, MINIMAX, REVERSE_KL]


def kl(a: Tensor, b: Tensor) -> float:
    return float((a * (a / b).log()).sum())


def jsd(a: Tensor, b: Tensor) -> float:
    return 0.5 * kl(a, (a + b) / 2) + 0.5 * kl(b, (a + b) / 2)


def mean(sides: Sides, scores: Tensor, p: Tensor = P, q: Tensor = Q) -> float:
    parts = zip((p, q), sides, strict=True)
    return float(sum((w * side(scores)).sum() for w, side in parts if side is not None))


@pytest.mark.parametrize("by", CLASSIFIERS, ids=lambda c: c.name)
def test_a_critic_that_knows_nothing_pays_two_bits_in_nats(by):
    assert mean(by.critic, torch.zeros(4, dtype=torch.float64)) == pytest.approx(2 * math.log(2), abs=1e-15)


def test_the_generator_against_a_critic_that_knows_nothing():
    zero = torch.zeros((), dtype=torch.float64)
    assert NON_SATURATING.generator.model(zero).item() == pytest.approx(math.log(2), abs=1e-15)
    assert MINIMAX.generator.model(zero).item() == pytest.approx(-math.log(2), abs=1e-15)
    assert REVERSE_KL.generator.model(zero).item() == 0
    half = zero + 0.5
    assert LEAST_SQUARES.critic.target(half) + LEAST_SQUARES.critic.model(half) == 0.25
    assert LEAST_SQUARES.generator.model(half) == 0.125


@pytest.mark.parametrize("by", CLASSIFIERS, ids=lambda c: c.name)
def test_the_best_critic_reaches_the_jensen_shannon_divergence(by):
    assert mean(by.critic, BEST) == pytest.approx(2 * math.log(2) - 2 * jsd(P, Q), abs=1e-14)


def test_the_minimax_generator_has_the_critics_loss_negated():
    assert mean(MINIMAX.generator, BEST) == pytest.approx(2 * jsd(P, Q) - 2 * math.log(2), abs=1e-14)
    u = torch.linspace(-5, 5, 11)
    for generator, critic in zip(MINIMAX.generator, MINIMAX.critic, strict=True):
        torch.testing.assert_close(generator(u), -critic(u))


@pytest.mark.parametrize("by", [REVERSE_KL, BRIER, LSIF, KLIEP], ids=lambda c: c.name)
def test_reverse_kl_is_kl_of_model_from_target(by):
    """On both sides: the target's adds nothing to the value, and the gradient that a target that moves receives."""
    assert mean(by.generator, BEST) == pytest.approx(kl(Q, P), abs=1e-14)
    assert float((P * by.generator.target(BEST)).sum()) == pytest.approx(0, abs=1e-14)
    q, p = (v.clone().requires_grad_() for v in (Q, P))  # masses, moved as they are: (p, q) -> KL(q ‖ p)
    loss = (q * by.generator.model(BEST) + p * by.generator.target(BEST)).sum()
    exact = torch.autograd.grad((q * (q / p).log()).sum(), [q, p])
    for found, wanted in zip(torch.autograd.grad(loss, [q, p]), exact, strict=True):
        torch.testing.assert_close(found - found.mean(), wanted - wanted.mean(), rtol=1e-12, atol=1e-13)


def test_non_saturating_is_its_f_divergence():
    """E_q[-log D*] with D* = p/(p + q), and the labels swapped on the target."""
    expected = (Q * (1 + Q / P).log()).sum() + (P * (1 + P / Q).log()).sum()
    assert mean(NON_SATURATING.generator, BEST) == pytest.approx(float(expected), abs=1e-14)


def test_least_squares_reaches_its_divergence():
    """½Σ pq/(p + q): least_squares' critic at D* = p/(p + q)."""
    best = P / (P + Q)
    torch.testing.assert_close(LEAST_SQUARES.log_ratio(best), BEST)
    assert mean(LEAST_SQUARES.critic, best) == pytest.approx(float((P * Q / (P + Q)).sum()) / 2, abs=1e-14)


def test_hinge_reaches_the_overlap():
    """min over t of E_p[(1-t)₊] + E_q[(1+t)₊] = 2Σ min(p, q), at t = sign(p - q)."""
    best = (P - Q).sign()
    assert mean(HINGE.critic, best) == pytest.approx(2 * float(torch.minimum(P, Q).sum()), abs=1e-14)
    g = torch.Generator().manual_seed(0)
    others = 3 * torch.randn(200, 4, generator=g, dtype=torch.float64)
    assert min(mean(HINGE.critic, t) for t in others) >= mean(HINGE.critic, best)


def test_wasserstein_is_the_shift():
    """W₁ of a distribution and itself moved by δ is δ: the critic's loss is -δ at f(u) = u, and nothing it can be is
    less."""
    u, mass = torch.linspace(0, 1, 7, dtype=torch.float64), torch.full((7,), 1 / 7, dtype=torch.float64)
    delta = 0.7
    target, model = WASSERSTEIN.critic.target(u + delta), WASSERSTEIN.critic.model(u)
    assert float((mass * (target + model)).sum()) == pytest.approx(-delta, abs=1e-15)
    for f in (torch.sin, torch.abs, torch.tanh):
        other = (mass * (WASSERSTEIN.critic.target(f(u + delta)) + WASSERSTEIN.critic.model(f(u)))).sum()
        assert other > -delta


def test_far_scores_neither_overflow_nor_vanish():
    far = torch.tensor([-200.0, 200.0], requires_grad=True)
    loss = NON_SATURATING.generator.model(far)
    torch.testing.assert_close(loss, softplus(-far))
    (slope,) = torch.autograd.grad(loss.sum(), far)
    torch.testing.assert_close(slope, torch.tensor([-1.0, 0.0]))
