"""Every optimiser equals its namesake in `torch.optim`, however its numbers are given, and lanes equal single runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from contracts.toys import generator
from distmatch.training.optimisers import OPTIMISERS, SCHEDULES, Optimiser

STEPS = 100
K = 3
Torch = Callable[[list[Tensor]], torch.optim.Optimizer]

# name in OPTIMISERS -> cases: our numbers, the same for torch's. A new optimiser needs a line here.
CASES: dict[str, list[tuple[dict[str, float], Torch]]] = {
    "adam": [
        ({"lr": 0.01}, lambda p: torch.optim.Adam(p, lr=0.01)),
        (
            {"lr": 0.02, "beta1": 0.5, "beta2": 0.9, "eps": 1e-6},
            lambda p: torch.optim.Adam(p, lr=0.02, betas=(0.5, 0.9), eps=1e-6),
        ),
        ({"lr": 0.01, "beta1": 0.0}, lambda p: torch.optim.Adam(p, lr=0.01, betas=(0.0, 0.999))),
    ],
    "rmsprop": [
        ({"lr": 0.01}, lambda p: torch.optim.RMSprop(p, lr=0.01)),
        (
            {"lr": 0.02, "alpha": 0.9, "eps": 1e-4},
            lambda p: torch.optim.RMSprop(p, lr=0.02, alpha=0.9, eps=1e-4),
        ),
    ],
    "sgd": [
        ({"lr": 0.01}, lambda p: torch.optim.SGD(p, lr=0.01)),
        ({"lr": 0.01, "momentum": 0.9}, lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9)),
    ],
}
EVERY = [
    pytest.param(name, numbers, other, id=f"{name}-{i}")
    for name in OPTIMISERS
    for i, (numbers, other) in enumerate(CASES.get(name, [({}, None)]))
]
every_case = pytest.mark.parametrize(("name", "numbers", "other"), EVERY)
every = pytest.mark.parametrize("name", OPTIMISERS)


def start(seed: int = 0) -> list[Tensor]:
    g = generator(seed)
    return [torch.randn(4, 3, generator=g), torch.randn(3, generator=g), torch.randn((), generator=g)]


def slopes(params: list[Tensor], t: int) -> list[Tensor]:
    """Gradients of a bowl that is steeper at each parameter, with a wind that turns."""
    return [(i + 1) * p + 0.3 * torch.sin(torch.tensor(0.5 * t + i)) for i, p in enumerate(params)]


def run(optimiser: Optimiser, params: list[Tensor], steps: int = STEPS) -> list[Tensor]:
    moments = optimiser.init(params)
    for t in range(steps):
        optimiser.update(params, slopes(params, t), moments)
    assert moments["step"][0] == steps
    return params


def run_torch(other: Torch, steps: int = STEPS) -> list[Tensor]:
    params = start()
    optimiser = other(params)
    for t in range(steps):
        for p, g in zip(params, slopes(params, t), strict=True):
            p.grad = g
        optimiser.step()
    return params


def assert_close(found: list[Tensor], expected: list[Tensor]) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


@every
def test_a_case_is_written_for_it(name):
    assert name in CASES, f"write {name} beside its namesake in torch.optim into CASES"


@every_case
def test_with_plain_numbers(name, numbers, other):
    assert_close(run(OPTIMISERS[name](**numbers), start()), run_torch(other))


@every_case
def test_with_scalar_tensors(name, numbers, other):
    tensors = {k: torch.tensor(v) for k, v in numbers.items()}
    assert_close(run(OPTIMISERS[name](**tensors), start()), run_torch(other))


@every_case
def test_lanes_that_share_their_numbers(name, numbers, other):
    lanes = [torch.stack(p) for p in zip(*[start(s) for s in range(K)], strict=True)]
    run(OPTIMISERS[name](**numbers), lanes)
    for k in range(K):
        assert_close([p[k] for p in lanes], run(OPTIMISERS[name](**numbers), start(k)))


@every_case
def test_lanes_with_numbers_of_their_own_equal_single_runs(name, numbers, other):
    def of_lane(k: int) -> dict[str, float]:
        return {n: v * (1 - 0.1 * k) for n, v in numbers.items()}

    own = {n: torch.tensor([of_lane(k)[n] for k in range(K)]) for n in numbers}
    lanes = [torch.stack(p) for p in zip(*[start(s) for s in range(K)], strict=True)]
    run(OPTIMISERS[name](**own), lanes)
    for k in range(K):
        assert_close([p[k] for p in lanes], run(OPTIMISERS[name](**of_lane(k)), start(k)))


@every_case
@pytest.mark.parametrize("scheduled", [False, True])
def test_lanes_with_learning_rates_of_their_own_take_the_fused_step(
    name, numbers, other, scheduled, monkeypatch
):
    schedule = SCHEDULES["linear"](2 * STEPS) if scheduled else None
    rates = [numbers["lr"] * (1 - 0.3 * k) for k in range(K)]
    singles = [
        run(OPTIMISERS[name](**{**numbers, "lr": lr}, schedule=schedule), start(k))
        for k, lr in enumerate(rates)
    ]
    lanes = [torch.stack(p) for p in zip(*[start(s) for s in range(K)], strict=True)]
    monkeypatch.setattr(OPTIMISERS[name], "direction", lambda *_: pytest.fail("the slow way was taken"))
    run(OPTIMISERS[name](**{**numbers, "lr": torch.tensor(rates)}, schedule=schedule), lanes)
    for k in range(K):
        assert_close([p[k] for p in lanes], singles[k])


@every
def test_gradients_laid_out_otherwise_than_their_parameters(name):
    """A fused kernel reads memory and not strides; gradients of transposed weights come transposed."""
    plain, strided = [torch.randn(4, 3, generator=generator())], [torch.randn(4, 3, generator=generator())]
    images, channels_last = ([torch.randn(2, 3, 4, 5, generator=generator(1))] for _ in range(2))
    for ours, layout in ((plain, False), (strided, True), (images, False), (channels_last, True)):
        optimiser = OPTIMISERS[name](lr=0.05)
        moments = optimiser.init(ours)
        for t in range(5):
            (g,) = slopes(ours, t)
            if layout:
                last = g.transpose(0, -1).contiguous().transpose(0, -1)
                assert last.stride() != g.stride()
                g = last
            optimiser.update(ours, [g], moments)
    assert_close(strided, plain)
    assert_close(channels_last, images)


@every
def test_parameters_laid_out_otherwise_than_their_gradients(name):
    contiguous = [torch.randn(4, 3, generator=generator())]
    transposed = [contiguous[0].T.contiguous().T]
    lanes = [torch.randn(4, 3, 2, generator=generator())]
    moved = [lanes[0].movedim(0, -1).contiguous().movedim(-1, 0)]
    for a, b in ((contiguous, transposed), (lanes, moved)):
        assert a[0].stride() != b[0].stride()
        a[0], b[0] = (run_with_dense_gradients(OPTIMISERS[name](lr=0.05), v) for v in (a, b))
        assert_close(a, b)


def run_with_dense_gradients(optimiser: Optimiser, params: list[Tensor]) -> Tensor:
    moments = optimiser.init(params)
    for t in range(5):
        optimiser.update(params, [g.contiguous() for g in slopes(params, t)], moments)
    return params[0]


@every
@pytest.mark.parametrize("tensors", [False, True])
def test_nothing_but_the_memory_given_is_written(name, tensors):
    """In place, and the gradients are left alone."""
    optimiser = OPTIMISERS[name](lr=torch.tensor(0.1) if tensors else 0.1)
    params = start()
    moments, kept = optimiser.init(params), [p.clone() for p in params]
    places = [p.data_ptr() for p in params] + [m.data_ptr() for v in moments.values() for m in v]
    grads = slopes(params, 0)
    given = [g.clone() for g in grads]
    optimiser.update(params, grads, moments)
    assert places == [p.data_ptr() for p in params] + [m.data_ptr() for v in moments.values() for m in v]
    assert all(torch.equal(a, b) for a, b in zip(grads, given, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(params, kept, strict=True))


@every
@pytest.mark.parametrize("schedule", [n for n, s in SCHEDULES.items() if s is not None])
@pytest.mark.parametrize(
    "lr", [0.05, torch.tensor(0.05), torch.tensor([0.05, 0.05])], ids=["float", "0-d", "lanes"]
)
def test_a_schedule_is_a_factor_on_the_learning_rate(name, schedule, lr):
    """As `torch.optim.lr_scheduler.LambdaLR` with the optimiser, whatever its numbers are."""
    _, other = CASES[name][0]
    factor = SCHEDULES[schedule](20)
    expected = start()
    theirs = other(expected)
    theirs.param_groups[0]["lr"] = theirs.param_groups[0]["initial_lr"] = 0.05
    scheduler = torch.optim.lr_scheduler.LambdaLR(theirs, lambda t: float(factor(torch.tensor(float(t)))))
    for t in range(25):
        for p, g in zip(expected, slopes(expected, t), strict=True):
            p.grad = g
        theirs.step()
        scheduler.step()
    lanes = isinstance(lr, Tensor) and lr.dim() == 1
    params = [torch.stack([p, p]) for p in start()] if lanes else start()
    run(OPTIMISERS[name](lr=lr, schedule=factor), params, steps=25)
    assert_close([p[1] for p in params] if lanes else params, expected)


@every
def test_it_goes_through_compile(name):
    ours, theirs = start(), start()
    optimiser = OPTIMISERS[name](lr=0.05)
    run(optimiser, ours, steps=4)
    torch.compiler.reset()
    update = torch.compile(optimiser.update, fullgraph=True, backend="aot_eager")
    moments = optimiser.init(theirs)
    for t in range(4):
        update(theirs, slopes(theirs, t), moments)
    assert_close(theirs, ours)


@every_case
def test_the_step_as_a_function_is_the_step(name, numbers, other):
    """And it leaves alone what it is given."""
    optimiser = OPTIMISERS[name](**numbers, schedule=SCHEDULES["linear"](50))
    inplace, params = start(), start()
    moments, memory = optimiser.init(inplace), optimiser.init(params)
    for t in range(5):
        grads = slopes(inplace, t)
        kept = [v.clone() for v in (*params, *(m for ms in memory.values() for m in ms))]
        new, after = optimiser.updated(params, grads, memory)
        assert all(map(torch.equal, kept, (*params, *(m for ms in memory.values() for m in ms))))
        optimiser.update(inplace, grads, moments)
        assert_close(new, inplace)
        assert after.keys() == moments.keys()
        for n in moments:
            assert_close(after[n], moments[n])
        params, memory = new, after


@every_case
def test_the_step_as_a_function_is_differentiable(name, numbers, other):
    """In the gradients it is given, by finite differences, over two steps; where they are 0 too."""
    optimiser = OPTIMISERS[name](**{**numbers, "lr": 0.1})
    p = [torch.randn(3, generator=generator(), dtype=torch.float64)]
    first = torch.tensor([0.5, -2.0, 0.3], dtype=torch.float64)

    def end(g: Tensor) -> Tensor:
        new, moments = optimiser.updated(p, [g], optimiser.init(p))
        return optimiser.updated(new, [g * g + 0.1 * new[0]], moments)[0][0]

    jacobian = torch.func.jacrev(end)(first)
    for i in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[i] = 1e-6
        difference = (end(first + step) - end(first - step)) / 2e-6
        torch.testing.assert_close(jacobian[:, i], difference, rtol=1e-5, atol=1e-7)
    assert torch.func.jacrev(end)(torch.zeros_like(first)).isfinite().all()


@every_case
def test_the_step_as_a_function_in_lanes_with_numbers_of_their_own(name, numbers, other):
    own = {n: torch.tensor([v, 0.9 * v]) for n, v in numbers.items()}
    lanes = [torch.stack(p) for p in zip(start(0), start(1), strict=True)]
    optimiser = OPTIMISERS[name](**own)
    found, _ = optimiser.updated(lanes, slopes(lanes, 0), optimiser.init(lanes))
    for k in range(2):
        one = OPTIMISERS[name](**{n: float(v[k]) for n, v in own.items()})
        params = start(k)
        expected, _ = one.updated(params, slopes(params, 0), one.init(params))
        assert_close([p[k] for p in found], expected)
