"""Optimisers and schedules one by one."""

from __future__ import annotations

import math

import pytest
import torch

from distmatch.training.optimisers import (
    COUNTS,
    OPTIMISERS,
    SCHEDULES,
    SGD,
    Adam,
    RMSProp,
    cosine,
    forget,
    linear,
)


def test_names():
    assert {"adam": Adam, "rmsprop": RMSProp, "sgd": SGD}.items() <= OPTIMISERS.items()
    assert SCHEDULES["constant"] is None


def test_adams_first_step_is_the_learning_rate_against_the_sign():
    p = [torch.zeros(3)]
    adam = Adam(lr=0.1)
    adam.update(p, [torch.tensor([2.0, -1e-3, 5.0])], adam.init(p))
    torch.testing.assert_close(p[0], torch.tensor([-0.1, 0.1, -0.1]), rtol=2e-5, atol=0)


def test_momentum_adds_up():
    p = [torch.zeros(())]
    sgd = SGD(lr=1.0, momentum=0.5)
    moments = sgd.init(p)
    for expected in (-1.0, -2.5, -4.25):
        sgd.update(p, [torch.ones(())], moments)
        assert p[0] == expected


@pytest.mark.parametrize("t", [0, 1, 5, 9, 10, 25])
def test_schedules(t):
    step, left = torch.tensor(float(t)), max(0.0, 1 - t / 10)
    assert linear(10)(step).item() == pytest.approx(left, abs=1e-7)
    assert cosine(10)(step).item() == pytest.approx(0.5 * (1 - math.cos(math.pi * left)), abs=1e-6)


def test_the_first_step_is_taken_at_the_schedules_start():
    p = [torch.zeros(())]
    sgd = SGD(lr=1.0, schedule=linear(4))
    moments = sgd.init(p)
    for expected in (-1.0, -1.75, -2.25, -2.5, -2.5):
        sgd.update(p, [torch.ones(())], moments)
        assert p[0] == expected


@pytest.mark.parametrize("optimiser", [Adam(), Adam(lr=torch.tensor(0.1)), RMSProp(), SGD()], ids=repr)
def test_an_update_leaves_no_graph(optimiser):
    p = [torch.ones(2)]
    g = torch.ones(2, requires_grad=True) * 2
    moments = optimiser.init(p)
    optimiser.update(p, [g], moments)
    assert not p[0].requires_grad
    assert not any(m.requires_grad for v in moments.values() for m in v)


def test_double_parameters_stay_double():
    for optimiser in (Adam(), Adam(lr=torch.tensor(0.1)), RMSProp(), RMSProp(lr=torch.tensor(0.1)), SGD()):
        p = [torch.ones(2, dtype=torch.float64)]
        moments = optimiser.init(p)
        optimiser.update(p, [torch.ones(2, dtype=torch.float64)], moments)
        assert p[0].dtype == torch.float64
        assert all(m.dtype == torch.float64 for n in moments if n not in COUNTS for m in moments[n])


@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1)], ids=["plain", "tensor"])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_who_forgets_starts_anew_at_the_rate_that_the_schedule_has_reached(name, lr):
    """In place and as a function: a fresh optimiser's first step, times what is left of the rate."""
    optimiser, plain = OPTIMISERS[name](lr=lr, schedule=linear(4)), OPTIMISERS[name](lr=lr)
    p, fresh = [torch.ones(3)], [torch.zeros(3)]
    moments = optimiser.init(p)
    for t in range(3):
        optimiser.update(p, [torch.tensor([2.0, -1.0, 0.5]) + t], moments)
    forget(moments)
    g, before = torch.tensor([0.3, -0.2, 4.0]), p[0].clone()
    new, after = optimiser.updated(p, [g], moments)
    optimiser.update(p, [g], moments)
    plain.update(fresh, [g], plain.init(fresh))
    torch.testing.assert_close(p[0] - before, 0.25 * fresh[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(new[0], p[0])
    assert [(m["step"][0].item(), m["taken"][0].item()) for m in (moments, after)] == [(1, 4)] * 2


LAYOUTS = {
    "by rows": lambda t: t,
    "by columns": lambda t: t.transpose(-1, -2).contiguous().transpose(-1, -2),
    "channels last": lambda t: t.to(memory_format=torch.channels_last),
    "with gaps": lambda t: torch.cat([t, t], -1)[..., : t.shape[-1]],
}


@pytest.mark.parametrize("of_gradient", LAYOUTS)
@pytest.mark.parametrize("of_weight", LAYOUTS)
def test_a_step_is_the_same_however_tensors_lie_in_memory(of_weight, of_gradient):
    torch.manual_seed(0)
    start, slopes = torch.randn(4, 3, 5, 2), [torch.randn(4, 3, 5, 2) for _ in range(3)]

    def ended(weight, gradient):
        adam, params = Adam(0.1), [LAYOUTS[weight](start.clone())]
        moments = adam.init(params)
        for slope in slopes:
            adam.update(params, [LAYOUTS[gradient](slope)], moments)
        return params[0]

    torch.testing.assert_close(ended(of_weight, of_gradient), ended("by rows", "by rows"))
