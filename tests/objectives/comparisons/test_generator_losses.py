"""Ratio loss and generator loss chosen apart: names, equality, and the gradients that nets receive."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.objectives.comparisons import (
    COMPARISONS,
    F_DIVERGENCES,
    F_REVERSE_KL,
    GENERATOR_LOSSES,
    HINGE,
    KLIEP,
    LEAST_SQUARES,
    LSIF,
    MINIMAX,
    NON_SATURATING,
    WASSERSTEIN,
    GeneratorLoss,
    Sides,
    bregman,
    by_name,
    cross,
)

T = torch.linspace(-4, 4, 33, dtype=torch.float64)
DIVERGENCES = [n for n in GENERATOR_LOSSES if n in F_DIVERGENCES]

# x = m + σε under expectations of ε ~ N(0, 1), as sums
EPS = torch.linspace(-12, 12, 1601, dtype=torch.float64)
MASS = torch.exp(-(EPS**2) / 2) / math.sqrt(2 * math.pi) * (EPS[1] - EPS[0])


def numbers(*values: float) -> list[Tensor]:
    return [torch.tensor(v, dtype=torch.float64, requires_grad=True) for v in values]


def log_normal(x: Tensor, m: Tensor, s: Tensor) -> Tensor:
    return -(((x - m) / s) ** 2) / 2 - s.log()


def divergence(name: str, p: list[Tensor], q: list[Tensor]) -> Tensor:
    """E_q f(p/q) of two normal distributions."""
    t = log_normal(EPS, *p) - log_normal(EPS, *q)
    return (log_normal(EPS, *q).exp() / math.sqrt(2 * math.pi) * F_DIVERGENCES[name].f(t.exp())).sum() * (
        EPS[1] - EPS[0]
    )


def through_samples(side, x: list[Tensor], p: list[Tensor], q: list[Tensor]) -> Tensor:
    """E[side(log p/q)] at x = m + σε, with p and q themselves held still."""
    at = x[0] + x[1] * EPS
    t = log_normal(at, *[v.detach() for v in p]) - log_normal(at, *[v.detach() for v in q])
    return (MASS * side(t)).sum()


def own(name: str) -> Sides:
    """The generator loss of a row of the table as functions of log r."""
    by = COMPARISONS[f"f_{name}"]
    scores = {
        "kl": 1 + T,
        "pearson": 2 * torch.expm1(T),
        "neyman": 2 * T,
        "hellinger": T / 2,
        "jeffreys": 1 + T - (-T).exp(),
    }
    return Sides(*(side(scores.get(name, T)) for side in by.generator))


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_models_gradient_is_the_divergences(name):
    """With the best critic held still, on either side."""
    p, q = numbers(0.6, 0.9), numbers(0.1, 1.0)
    exact = torch.autograd.grad(divergence(name, p, q), [*p, *q])
    sides = GENERATOR_LOSSES[name].sides
    by_model = torch.autograd.grad(through_samples(sides.model, q, p, q), q)
    torch.testing.assert_close(torch.stack(by_model), torch.stack(exact[2:]), rtol=1e-8, atol=1e-9)
    if sides.target is not None:
        by_target = torch.autograd.grad(through_samples(sides.target, p, p, q), p)
        torch.testing.assert_close(torch.stack(by_target), torch.stack(exact[:2]), rtol=1e-8, atol=1e-9)


def test_the_integrand_of_kl_would_lead_the_model_away():
    """E_q[r log r] is KL(p ‖ q), but its gradient through samples of N(m, 1) against N(0, 1) is -m(1 + KL)."""
    p, q = numbers(0.0, 1.0), numbers(0.5, 1.0)
    plugged_in = through_samples(lambda t: t * t.exp(), q, p, q)
    assert plugged_in.item() == pytest.approx(0.125, abs=1e-9)
    assert torch.autograd.grad(plugged_in, q[0])[0].item() == pytest.approx(-0.5 * 1.125, abs=1e-9)
    right = through_samples(GENERATOR_LOSSES["kl"].sides.model, q, p, q)
    assert torch.autograd.grad(right, q[0])[0].item() == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_generator_losses_are_those_of_the_table(name):
    """Up to a constant that goes from one side to the other."""
    apart = [side(T) - theirs for side, theirs in zip(GENERATOR_LOSSES[name].sides, own(name), strict=True)]
    for difference in apart:
        torch.testing.assert_close(difference, difference[:1].expand_as(difference), rtol=0, atol=1e-11)
    torch.testing.assert_close(sum(apart), torch.zeros_like(T), rtol=0, atol=1e-11)


def test_one_side_of_kl_has_its_value_and_the_other_none():
    """Where the other's nets stand still, and it is not scored."""
    p, q = numbers(0.6, 0.9), numbers(0.1, 1.0)
    for name, first, second in (("kl", p, q), ("reverse_kl", q, p)):
        sides = GENERATOR_LOSSES[name].sides
        own_side, other = sides if name == "kl" else sides[::-1]
        assert through_samples(own_side, first, p, q).item() == pytest.approx(
            divergence(name, p, q).item(), abs=1e-9
        )
        assert through_samples(other, second, p, q).item() == pytest.approx(0, abs=1e-9)
    printed, row = GENERATOR_LOSSES[name], F_DIVERGENCES[name]
    assert (printed.symbol, printed.target_first) == (row.symbol, row.target_first)


def test_minimax_is_the_gan_row():
    for side, expected in zip(GENERATOR_LOSSES["minimax"].sides, own("gan"), strict=True):
        torch.testing.assert_close(side(T), expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("generator", GENERATOR_LOSSES)
@pytest.mark.parametrize("by", [c for c in COMPARISONS.values() if c.log_ratio], ids=lambda c: c.name)
def test_a_cross_keeps_the_critic_and_asks_the_generator(by, generator):
    crossed = cross(by, generator)
    assert (crossed.critic, crossed.log_ratio) == (by.critic, by.log_ratio)
    scores = torch.linspace(-1, 1, 5)
    for side, wanted in zip(crossed.generator, GENERATOR_LOSSES[generator].sides, strict=True):
        assert (side is None) == (wanted is None)
        if side is not None:
            torch.testing.assert_close(side(scores), wanted(by.log_ratio(scores)))
            assert side(scores).isfinite().all()
    assert crossed.name == f"{by.name}/{generator}"
    assert crossed.equation("q", "p").count(by.name) == 1


def test_equal_arguments_make_equal_crosses():
    assert cross(LSIF, "kl") == cross(LSIF, "kl") == by_name("lsif/kl")
    assert hash(cross(LSIF, "kl")) == hash(cross(LSIF, GENERATOR_LOSSES["kl"]))
    assert cross(LSIF, "kl") != cross(KLIEP, "kl")
    assert cross(LSIF, "kl") != cross(LSIF, "reverse_kl")
    assert len({cross(by_name(n), g) for n in ("lsif", "kliep") for g in GENERATOR_LOSSES}) == 18
    assert cross(MINIMAX, "non-saturating") == by_name("minimax/non-saturating")


def test_a_loss_of_ones_own():
    loss = GeneratorLoss("squared", "S", Sides(None, lambda t: (t - 1) ** 2))
    by = cross(NON_SATURATING, loss)
    assert (by.name, by.equation("q", "p")) == ("non_saturating/squared", "S_non_saturating[q ‖ p]")
    assert by.generator.model(torch.tensor(3.0)).item() == 4
    assert by.generator.target is None


def test_crosses_with_least_squares_are_finite_at_scores_that_are_no_probability():
    d = torch.tensor([-5.0, 0.0, 1.0, 7.0], requires_grad=True)
    for generator in GENERATOR_LOSSES:
        for side in cross(LEAST_SQUARES, generator).generator:
            if side is not None:
                loss = side(d)
                assert loss.isfinite().all()
                assert torch.autograd.grad(loss.sum(), d)[0].isfinite().all()


@pytest.mark.parametrize("by", [WASSERSTEIN, HINGE, replace(LSIF, log_ratio=None)], ids=lambda c: c.name)
def test_a_critic_without_a_ratio_is_refused(by):
    with pytest.raises(BadInput, match=f"the critic of {by.name} holds no density ratio"):
        cross(by, "kl")


def test_unknown_names():
    with pytest.raises(BadInput, match="unknown generator loss 'kll'; did you mean 'kl'"):
        cross(LSIF, "kll")
    with pytest.raises(BadInput, match="unknown comparison 'lsiff'; did you mean 'lsif'"):
        by_name("lsiff/kl")
    with pytest.raises(BadInput, match="unknown generator loss ''"):
        by_name("lsif/")


# Bregman


@pytest.mark.parametrize("row", F_DIVERGENCES.values(), ids=F_DIVERGENCES)
def test_bregman_is_the_bound_negated(row):
    """At the true ratio, on a finite support: -D_f(p ‖ q), and stationary."""
    p = torch.tensor([0.05, 0.3, 0.15, 0.5], dtype=torch.float64)
    q = torch.tensor([0.4, 0.1, 0.2, 0.3], dtype=torch.float64)
    by = bregman("mine", row.f, row.derivative)
    t = (p / q).log().requires_grad_()
    loss = (p * by.critic.target(t) + q * by.critic.model(t)).sum()
    assert loss.item() == pytest.approx(-(q * row.f(p / q)).sum().item(), abs=1e-13)
    assert torch.autograd.grad(loss, t)[0].abs().max() < 1e-12


def _square(u: Tensor) -> Tensor:
    return 0.5 * (u - 1) ** 2


def _less_one(u: Tensor) -> Tensor:
    return u - 1


@pytest.mark.parametrize(
    ("by", "f", "derivative"),
    [(LSIF, _square, _less_one), (KLIEP, lambda u: u * u.log() - u, torch.log)],
    ids=["lsif", "kliep"],
)
def test_lsif_and_kliep_are_bregmans(by, f, derivative):
    """Up to a constant: the same slopes."""
    general = bregman("general", f, derivative)
    for side, expected in zip(by.critic, general.critic, strict=True):
        t, u = (T.clone().requires_grad_() for _ in range(2))
        found, wanted = (torch.autograd.grad(g(s).sum(), s)[0] for g, s in ((side, t), (expected, u)))
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-11)


def test_lsif_and_kliep_by_hand():
    two = torch.tensor(2.0, dtype=torch.float64).log()
    assert LSIF.critic.target(two).item() == pytest.approx(-2)
    assert LSIF.critic.model(two).item() == pytest.approx(2)
    assert KLIEP.critic.target(two).item() == pytest.approx(-math.log(2))
    assert KLIEP.critic.model(two).item() == pytest.approx(2)


def test_equal_bregmans_are_equal():
    assert bregman("b", _square, _less_one) == bregman("b", _square, _less_one)
    assert bregman("b", _square, _less_one) != bregman("b", _square, torch.log)
    other = bregman("b", _square, _less_one, generator=F_REVERSE_KL.generator, symbol="B")
    assert (other.symbol, other.generator) == ("B", F_REVERSE_KL.generator)
