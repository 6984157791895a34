"""Buffers with a rule of their own: one step of it a round, kept in the state, in lanes and through the compiler."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from contracts.toys import LinearDecoder, assert_same, batch, flat, generator, stack
from distmatch.networks.layers.spectral_norm import SpectralLinear
from distmatch.objectives.objective import Objective
from distmatch.systems import gan, vae
from distmatch.training import Feed, Trainer
from distmatch.training.engine.functional import bind, evolved, evolving
from distmatch.training.optimisers import SGD
from distmatch.training.step import Settings, State, init, step

STILL = Settings(model=SGD(lr=0.0), critics=SGD(lr=0.0))
DESCENT = Settings(model=SGD(lr=0.1), critics=SGD(lr=0.2))


class Power(nn.Module):
    """h W/σ with σ = ‖W'u‖, and u ← W W'u/‖W W'u‖; it counts its steps."""

    evolving: ClassVar[tuple[str, ...]] = ("u", "steps")
    u: Tensor
    steps: Tensor

    def __init__(self, seed: int) -> None:
        super().__init__()
        g = generator(seed)
        self.weight = nn.Parameter(torch.randn(2, 2, generator=g, dtype=torch.float64))
        self.register_buffer("u", F.normalize(torch.randn(2, generator=g, dtype=torch.float64), dim=0))
        self.register_buffer("steps", torch.zeros(()))
        self.register_buffer("constant", torch.ones(2))

    def evolve(self, at: Mapping[str, Tensor]) -> dict[str, Tensor]:
        w = at["weight"].detach()
        return {"u": F.normalize(w @ (w.T @ at["u"]), dim=0), "steps": at["steps"] + 1}

    def forward(self, h: Tensor) -> Tensor:
        return h @ self.weight / (self.weight.T @ self.u).norm()


class Critic(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.inner = nn.Sequential(Power(seed), nn.Tanh())
        self.head = nn.Parameter(torch.ones(2, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) @ self.head


def nets(seed: int = 0) -> dict[str, nn.Module]:
    decoder = nn.Sequential(Power(seed + 10), LinearDecoder(generator(seed), 2, 2, 0, False, False))
    return {"decoder": decoder, "data": Critic(seed)}


def batches(seed: int, count: int = 1) -> list:
    g = generator(seed)
    return [batch(gan(), g) for _ in range(count)]


def test_buffers_are_found_by_their_names_and_copied_into_the_state():
    made = nets()
    assert list(evolving(made["data"])) == ["inner.0.u", "inner.0.steps"]
    state = init(gan(), made, STILL)
    assert {n: list(b) for n, b in state.buffers.items()} == {
        "decoder": ["0.u", "0.steps"],
        "data": ["inner.0.u", "inner.0.steps"],
    }
    assert state.buffers["data"]["inner.0.u"].data_ptr() != made["data"].inner[0].u.data_ptr()
    assert init(vae(), {"encoder": nn.Linear(1, 1), "decoder": nn.Linear(1, 1)}, STILL).buffers == {}


@pytest.mark.parametrize("rounds", [1, 3])
def test_critics_evolve_once_a_round_and_the_model_once_a_step(rounds):
    made = nets()
    state = init(gan(), made, STILL)
    for _ in range(4):
        step(gan(), made, state, batches(0, rounds), STILL)
    assert state.buffers["data"]["inner.0.steps"] == 4 * rounds
    assert state.buffers["decoder"]["0.steps"] == 4


def test_they_converge_to_what_their_rule_says():
    """The first left singular vector of the weight that stands in the state, not of the module's own."""
    made = nets()
    state = init(gan(), made, STILL)
    with torch.no_grad():
        state.params["data"]["inner.0.weight"].copy_(torch.tensor([[3.0, 0.0], [0.5, 1.0]]))
    for _ in range(60):
        step(gan(), made, state, batches(0), STILL)
    left = torch.linalg.svd(state.params["data"]["inner.0.weight"])[0][:, 0]
    found = state.buffers["data"]["inner.0.u"]
    torch.testing.assert_close(found * (found @ left).sign(), left)
    net = bind(made["data"], state.params["data"] | state.buffers["data"])
    x = torch.ones(1, 2, dtype=torch.float64)
    normed = state.params["data"]["inner.0.weight"] / torch.linalg.matrix_norm(
        state.params["data"]["inner.0.weight"], ord=2
    )
    torch.testing.assert_close(net(x), (x @ normed).tanh().sum(1))


def test_losses_use_the_buffers_after_their_step_and_the_module_keeps_its_own():
    made = nets()
    own = {n: {k: b.clone() for k, b in evolving(net).items()} for n, net in made.items()}
    state, b = init(gan(), made, DESCENT), batches(0)[0]
    _, logs = step(gan(), made, state, [b], replace(DESCENT, simultaneous=True))
    after = {n: evolved(net, {}) for n, net in made.items()}
    fake = bind(made["decoder"], after["decoder"])(b.noise["z_prior"]).mean
    score = bind(made["data"], after["data"])
    torch.testing.assert_close(logs["critic/data/target"], F.softplus(-score(b.x)).mean().detach())
    torch.testing.assert_close(logs["critic/data/model"], F.softplus(score(fake)).mean().detach())
    for n, net in made.items():
        assert all(torch.equal(v, own[n][k]) for k, v in evolving(net).items())
        assert all(b is net.get_buffer(k) for k, b in evolving(net).items())


def test_they_are_written_in_place_and_hold_no_graph():
    made = nets()
    state = init(gan(), made, DESCENT)
    places = [b.data_ptr() for bs in state.buffers.values() for b in bs.values()]
    step(gan(), made, state, batches(0), DESCENT)
    held = [b for bs in state.buffers.values() for b in bs.values()]
    assert [b.data_ptr() for b in held] == places
    assert not any(b.requires_grad for b in held)


SETTINGS = {
    "plain": DESCENT,
    "consensus": replace(DESCENT, consensus=0.3),
    "unrolled": replace(DESCENT, unroll=1),
}


def run(settings: Settings, seed: int = 0) -> State:
    made = nets(seed)
    state = init(gan(), made, settings)
    g = generator(seed)
    for _ in range(3):
        step(gan(), made, state, [batch(gan(), g) for _ in range(2)], settings)
    return state


def everything(state: State) -> dict[str, Tensor]:
    return flat(state) | {f"{n}/{k}": b for n, bs in state.buffers.items() for k, b in bs.items()}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_each_lane_has_buffers_of_its_own(settings):
    made, lanes = nets(), replace(settings, lanes=True)
    states = [init(gan(), nets(k), settings) for k in range(3)]

    def joined(which: str) -> dict[str, dict[str, Tensor]]:
        parts = [getattr(s, which) for s in states]
        return {n: {k: torch.stack([p[n][k] for p in parts]) for k in ps} for n, ps in parts[0].items()}

    params = joined("params")
    moments = {
        side: SGD().init(list(params[n].values())) for side, n in (("model", "decoder"), ("critics", "data"))
    }
    state = State(params, moments, buffers=joined("buffers"))
    gs = [generator(k) for k in range(3)]
    for _ in range(3):
        step(gan(), made, state, [stack([batch(gan(), g) for g in gs]) for _ in range(2)], lanes)
    for k in range(3):
        found = {n: v[k] for n, v in everything(state).items()}
        assert_same(found, everything(run(settings, k)), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("settings", [SETTINGS["plain"], SETTINGS["consensus"]], ids=["plain", "consensus"])
def test_they_go_through_the_compiler(settings):
    objective, made, functional = gan(), nets(), replace(settings, functional=True)
    state, g = init(objective, made, settings), generator(0)
    torch.compiler.reset()
    take = torch.compile(
        lambda state, data: step(objective, made, state, data, functional),
        fullgraph=True,
        backend="aot_eager",
    )
    for _ in range(3):
        state, _ = take(state, [batch(gan(), g) for _ in range(2)])
    assert_same(everything(state), everything(run(settings)), rtol=1e-9, atol=1e-10)


def test_the_next_buffers_are_a_function_of_parameters_and_buffers():
    net, given = Critic(0), torch.tensor([[2.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    u = torch.tensor([0.6, 0.8], dtype=torch.float64)
    new = evolved(net, {"inner.0.weight": given, "inner.0.u": u})
    assert set(new) == {"inner.0.u", "inner.0.steps"}
    torch.testing.assert_close(new["inner.0.u"], torch.tensor([2.4, 0.8], dtype=torch.float64) / 6.4**0.5)
    assert set(evolved(Power(0), {})) == {"u", "steps"}
    assert evolved(nn.Linear(1, 1), {}) == {}


# In a run


def trainer(seed: int = 0) -> Trainer:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        layers = [SpectralLinear(2, 8), nn.Tanh(), SpectralLinear(8, 1), nn.Flatten(0)]
        made = {
            "decoder": LinearDecoder(generator(), 2, 2, 0, False, False).float(),
            "data": nn.Sequential(*layers),
        }
    x = 3 + 0.3 * torch.randn(64, 2, generator=generator())
    objective: Objective = gan()
    return Trainer(objective, made, Feed(objective, x, latent=2, batch_size=16), DESCENT)


def test_a_snapshot_holds_them_and_a_run_is_taken_up_exactly():
    whole, stopped = trainer(), trainer()
    whole.run(9)
    stopped.run(4)
    kept = {k: v.clone() for k, v in stopped.snapshot()[0].items()}
    assert {"buffers/data/0.u", "buffers/data/2.u"} <= kept.keys()
    assert not torch.equal(kept["buffers/data/0.u"], trainer().state.buffers["data"]["0.u"])
    fresh = trainer(seed=5)
    fresh.restore(kept, stopped.snapshot()[1])
    fresh.run(5)
    ends = whole.snapshot()[0], fresh.snapshot()[0]
    assert all(torch.equal(v, ends[1][k]) for k, v in ends[0].items())


def test_the_nets_get_them_back():
    made = trainer()
    made.run(5)
    untouched = made.nets["data"][0].u.clone()
    kept = made.state.buffers["data"]["0.u"]
    assert not torch.equal(untouched, kept)
    net = made.write_back()["data"]
    assert torch.equal(net[0].u, kept)
    other = trainer(seed=5)
    other.restore_weights(*made.snapshot())
    torch.testing.assert_close(other.write_back()["data"](torch.ones(3, 2)), net(torch.ones(3, 2)))
