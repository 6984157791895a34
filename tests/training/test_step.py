"""The step: what runs how often, what is left alone, and its settings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor

from contracts.toys import (
    LABELS,
    Linear,
    LinearDecoder,
    LinearEncoder,
    QuadraticCritic,
    Toy,
    assert_same,
    batch,
    copied,
    flat,
    generator,
    numbers_at,
    stack,
    toy_of,
)
from contracts.toys import linear_nets as any_nets
from distmatch.distributions.points import Delta
from distmatch.errors import BadInput
from distmatch.networks import Lens, Shapes, build, prior
from distmatch.objectives.comparisons import MINIMAX
from distmatch.objectives.objective import Objective
from distmatch.objectives.penalties import gradient_penalty, r1
from distmatch.objectives.terms.critic import FeatureDistance
from distmatch.objectives.terms.distance import Distance
from distmatch.objectives.terms.likelihood import KL, NLL
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import X_GEN, X_LENS, X_REC, Z_CODE, Z_PRIOR, X
from distmatch.schedules import Ramp
from distmatch.systems import SYSTEMS, ali, gan, vae, vgh, vgh_plus_plus, wgan, wgan_gp
from distmatch.training.engine.functional import bind
from distmatch.training.optimisers import SGD, Adam
from distmatch.training.step import Batch, Settings, State, init, step

DESCENT = Settings(model=SGD(lr=1.0), critics=SGD(lr=1.0))


def distinct() -> dict[str, tuple[Objective, Toy]]:
    """The systems' objectives, each once, with what changes in time held where it is halfway."""
    found: dict[Objective, tuple[str, Toy]] = {}
    for name, system in SYSTEMS.items():
        objective = system.objective()
        halfway = {path: ramp.at(50) for path, ramp in objective.over(100).ramps.items()}
        found.setdefault(objective.with_numbers(halfway), (name, toy_of(system)))
    return {name: (objective, toy) for objective, (name, toy) in found.items()}


DISTINCT = distinct()
TOYS = dict(DISTINCT.values())
every = pytest.mark.parametrize("objective", TOYS, ids=DISTINCT)


def linear_nets(objective: Objective, seed: int = 0) -> dict[str, nn.Module]:
    """Those that the objective's system trains, as small as they can be."""
    return any_nets(objective, seed, toy=TOYS.get(objective, Toy()))


def one_step(
    objective: Objective, settings: Settings, seed: int = 0, rounds: int = 1
) -> tuple[dict[str, Tensor], dict[str, Tensor], dict[str, Tensor], State]:
    """Parameters before and after, logs, and the state."""
    nets, g = linear_nets(objective, seed), generator(seed + 1)
    state = init(objective, nets, settings)
    before = copied(state)
    state, logs = step(objective, nets, state, [batch(objective, g) for _ in range(rounds)], settings)
    return before, copied(state), logs, state


# What runs how often


class Seen(nn.Module):
    """A net that counts its forwards, and notes whether weights and inputs ask for gradients."""

    def __init__(self, net: nn.Module, name: str, calls: list[dict[str, Any]]) -> None:
        super().__init__()
        self.net, self.name, self.calls = net, name, calls
        self.teacher_forced = getattr(net, "teacher_forced", False)
        self.noise_size = getattr(net, "noise_size", 0)

    def forward(self, *inputs: Any, **given: Any) -> Any:
        tensors = [v for v in inputs if isinstance(v, Tensor)]
        self.calls.append({
            "net": self.name,
            "weights": any(p.requires_grad for p in module_parameters(self.net)),
            "inputs": any(v.requires_grad for v in tensors if not is_functorch_wrapped_tensor(v)),
            "first": tensors[0].detach().clone() if tensors else None,
        })  # fmt: skip
        return self.net(*inputs, **given)


def module_parameters(net: nn.Module) -> list[Tensor]:
    """Those in place now, whether or not they are `nn.Parameter`."""
    return [p for m in net.modules() for p in m._parameters.values() if p is not None]


def calls_of(
    objective: Objective, settings: Settings = DESCENT, rounds: int = 1
) -> tuple[list[dict[str, Any]], Tensor]:
    """What was called in a step, and the last batch's data."""
    calls: list[dict[str, Any]] = []
    nets = {n: Seen(net, n, calls) for n, net in linear_nets(objective).items()}
    state, g = init(objective, nets, settings), generator(1)
    data = [batch(objective, g) for _ in range(rounds)]
    step(objective, nets, state, data, settings)
    return calls, data[-1].x


FORWARDS = {
    "vae": {"encoder": 1, "decoder": 1},
    "gan": {"decoder": 1, "data": 3},  # x and x̃ for the critic, x̃ for the model
    "wgan": {"decoder": 1, "data": 3},
    "wgan-gp": {"decoder": 1, "data": 4},  # and the place of the penalty
    "aae": {"encoder": 1, "decoder": 1, "code": 3},
    "ali": {"encoder": 1, "decoder": 1, "joint": 4},
    "vgh": {"encoder": 1, "decoder": 1, "data": 3, "code": 3},
    "vgh++": {"encoder": 1, "decoder": 2, "data": 5, "code": 3},  # x̂ and x̃; data are scored once against both
}


@pytest.mark.parametrize("name", FORWARDS)
@pytest.mark.parametrize("simultaneous", [False, True], ids=["alternating", "simultaneous"])
def test_in_a_one_to_one_step_nothing_is_drawn_or_scored_twice(name, simultaneous):
    calls, _ = calls_of(SYSTEMS[name].objective(), replace(DESCENT, simultaneous=simultaneous))
    assert Counter(c["net"] for c in calls) == FORWARDS[name]


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_of_n_critic_rounds_the_last_serves_both_sides(rounds):
    calls, _ = calls_of(vgh_plus_plus(), rounds=rounds)
    counts = Counter(c["net"] for c in calls)
    assert counts == {
        "encoder": rounds,
        "decoder": 2 * rounds,
        "data": 3 * rounds + 2,
        "code": 2 * rounds + 1,
    }


def plainly_matched(objective: Objective) -> set[str]:
    """Critics that see draws as they are, one by one, and are not asked again by a penalty or another term."""
    asked = {(t, c) for t in objective.terms for c in t.critics}
    odd = {c for t, c in asked if not isinstance(t, Match) or t.noise or t.pack > 1 or t.penalty is not None}
    return {c for _, c in asked} - odd


@every
def test_data_are_scored_once_by_each_critic(objective):
    calls, x = calls_of(objective)
    for name in plainly_matched(objective):
        if objective.critics[name] == ("x",):
            real = [c for c in calls if c["net"] == name and torch.equal(c["first"], x)]
            matched = {v for t in objective.terms for v in getattr(t, "p", ()) if name in t.critics}
            assert len(real) == (X in matched)


def test_extra_rounds_draw_only_what_critics_score():
    """An AAE's critic never sees reconstructions: the decoder waits for the last round."""
    calls, _ = calls_of(SYSTEMS["aae"].objective(), rounds=4)
    counts = Counter(c["net"] for c in calls)
    assert (counts["encoder"], counts["decoder"]) == (4, 1)


def test_features_are_computed_once_by_each_of_the_model_and_the_critic():
    """h(x) and h(x̂) serve both the term that moves the encoder and the one that moves the decoder."""
    twice = FeatureDistance().to("encoder") + 0.1 * FeatureDistance().to("decoder")
    calls, _ = calls_of(twice + Match(X_GEN, X))
    assert Counter(c["net"] for c in calls) == {"encoder": 1, "decoder": 2, "data": 2 + 2 + 1}


def ramped() -> Objective:
    """A number that changes with time in a net's term, and one in the critic's penalty."""
    return Objective(Ramp(0, 1, 4) * KL(), NLL(), Match(X_GEN, X, penalty=r1(Ramp(2, 0, 4))))


@pytest.mark.parametrize("functional", [False, True])
def test_numbers_that_change_are_put_in_place_once_a_step(functional, monkeypatch):
    objective, made, build_anew = ramped(), [], Objective.__init__

    def counting(self: Objective, *terms: Any, **given: Any) -> None:
        made.append(terms)
        build_anew(self, *terms, **given)

    nets, settings = linear_nets(objective), replace(DESCENT, functional=functional)
    state, b = init(objective, nets, settings), batch(objective, generator(1))
    numbers = numbers_at(objective)
    monkeypatch.setattr(Objective, "__init__", counting)
    step(objective, nets, state, [b], settings, numbers)
    assert len(made) == 1


# What is left alone


@pytest.mark.parametrize("functional", [False, True])
def test_a_net_that_no_loss_reaches_any_more_stands_still(functional):
    """A lens that was removed: x̄ is x itself, and its distance from x hangs on no weight."""
    objective = Match(X_GEN, X_LENS).to("decoder") + Distance(X, X_LENS)
    nets = linear_nets(objective) | {"lens": Lens(nn.Linear(2, 2).double(), until=3)}
    nets["lens"].at(3)
    settings = replace(DESCENT, functional=functional, norms=True)
    state = init(objective, nets, settings)
    before = copied(state)
    state, logs = step(objective, nets, state, [batch(objective, generator(1))], settings)
    after = copied(state)
    still = {k for k in before if torch.equal(before[k], after[k])}
    assert still == {k for k in before if k.startswith("lens")}
    assert still
    assert all(v.isfinite() for v in logs.values())


@every
def test_no_weight_asks_for_a_gradient_that_is_not_its_turn(objective):
    """Critics' weights while critics move, on draws without a graph; nets' draws with one, critics without."""
    calls, _ = calls_of(objective, rounds=2)
    for c in calls:
        if c["net"] in objective.critics:
            assert not (c["weights"] and c["inputs"])
    for name in objective.critics:
        turns = [c["weights"] for c in calls if c["net"] == name]
        assert turns == sorted(turns, reverse=True), "critics move first"
        assert not turns[-1], "nets see critics without a graph"
        assert turns[0]
    first = [c for c in calls if c["net"] in objective.uses]
    if objective.critics:
        assert not first[0]["weights"], "no graph of the model for a critic's round"
    assert first[-1]["weights"]


class Counted(torch.autograd.Function):
    """The identity, which counts how often a gradient comes by."""

    @staticmethod
    def forward(ctx: Any, p: Tensor, counts: Counter, name: str) -> Tensor:
        ctx.counts, ctx.name = counts, name
        return p.view_as(p)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, None, None]:
        ctx.counts[ctx.name] += 1
        return g, None, None


class CountedLinear(Linear):
    counts: Counter
    name: str

    def forward(self, u: Tensor, y: Tensor | None = None) -> Tensor:
        return u @ Counted.apply(self.weight, self.counts, self.name) + self.bias


def weight_gradients(objective: Objective) -> Counter:
    """How often a gradient by each net's first weight is computed in a step."""
    nets, counts = linear_nets(objective), Counter()
    for name, net in nets.items():
        for module in net.modules():
            if isinstance(module, Linear):
                module.__class__ = CountedLinear
                module.counts, module.name = counts, name
    step(objective, nets, init(objective, nets, DESCENT), [batch(objective, generator(1))], DESCENT)
    return counts


def test_no_gradient_is_computed_for_a_net_that_does_not_minimise_the_term():
    """VGH's visible critic moves the decoder alone: its gradient ends at x̂ and never reaches the encoder."""
    assert weight_gradients(vgh()) == {"data": 2, "code": 2, "decoder": 2, "encoder": 1}
    assert weight_gradients(vgh(encoder_sees_critic=True)) == {
        "data": 2,
        "code": 2,
        "decoder": 1,
        "encoder": 1,
    }
    assert weight_gradients(gan()) == {"data": 2, "decoder": 1}
    assert weight_gradients(ali()) == {"joint": 2, "decoder": 1, "encoder": 1}
    assert weight_gradients(Objective(Distance().to("encoder"))) == {"encoder": 1}


@every
def test_the_nets_own_parameters_are_not_touched(objective):
    nets = linear_nets(objective)
    own = {(n, k): (p, p.clone()) for n, net in nets.items() for k, p in net.named_parameters()}
    settings = Settings()
    state = init(objective, nets, settings)
    step(objective, nets, state, [batch(objective, generator(1))], settings)
    for n, net in nets.items():
        for k, p in net.named_parameters():
            same, kept = own[n, k]
            assert p is same
            assert torch.equal(p, kept)
            assert p.grad is None
            assert isinstance(p, nn.Parameter)


@every
def test_the_state_is_written_in_place_and_holds_no_graph(objective):
    nets, settings = linear_nets(objective), Settings(ema=0.9)
    state = init(objective, nets, settings)
    places = {k: p.data_ptr() for k, p in flat(state).items()}
    after, _ = step(objective, nets, state, [batch(objective, generator(1))], settings)
    assert after is state
    assert {k: p.data_ptr() for k, p in flat(state).items()} == places
    held = [*flat(state).values(), *state.ema["decoder"].values()]
    held += [m for side in state.moments.values() for ms in side.values() for m in ms]
    assert not any(v.requires_grad for v in held)


@every
def test_the_same_step_twice_gives_the_same_bits(objective):
    assert all(
        torch.equal(a, b)
        for a, b in zip(*(one_step(objective, Settings())[1].values() for _ in "ab"), strict=True)
    )


@every
def test_torchs_own_generator_is_not_used(objective):
    before = torch.get_rng_state()
    one_step(objective, Settings())
    assert torch.equal(torch.get_rng_state(), before)


# Order of updates


def test_alternating_models_see_the_critics_just_moved_and_simultaneous_the_old():
    """D[p(x̃) ‖ p*(x)] with G(z) = θ and critic ψu, in closed form."""
    objective = gan(MINIMAX)
    theta, psi, x = 0.5, 0.3, 2.0

    class Point(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.theta = nn.Parameter(torch.tensor(theta, dtype=torch.float64))

        def forward(self, z: Tensor) -> Delta:
            return Delta(self.theta.expand(len(z), 1), 1)

    class Slope(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.psi = nn.Parameter(torch.tensor(psi, dtype=torch.float64))

        def forward(self, u: Tensor) -> Tensor:
            return self.psi * u[:, 0]

    def sigma(t: float) -> float:
        return 1 / (1 + math.exp(-t))

    data = Batch(torch.full((1, 1), x, dtype=torch.float64), {"z_prior": torch.zeros(1, 1)})
    new_psi = psi + x * sigma(-psi * x) - theta * sigma(psi * theta)
    for simultaneous, seen in ((False, new_psi), (True, psi)):
        nets, settings = {"decoder": Point(), "data": Slope()}, replace(DESCENT, simultaneous=simultaneous)
        state, _ = step(objective, nets, init(objective, nets, settings), [data], settings)
        assert state.params["data"]["psi"].item() == pytest.approx(new_psi, abs=1e-14)
        assert state.params["decoder"]["theta"].item() == pytest.approx(
            theta + seen * sigma(seen * theta), abs=1e-14
        )


def test_critics_are_clipped_before_each_of_their_steps():
    objective = wgan(bound=0.01)
    frozen = Settings(model=SGD(lr=1.0), critics=SGD(lr=0.0))
    _, after, _, _ = one_step(objective, frozen)
    for k, p in after.items():
        assert (p.abs().max() <= 0.01) == k.startswith("data.")


# Settings


@every
def test_the_average_of_the_decoders_weights(objective):
    settings, nets, g = Settings(model=Adam(lr=0.1), ema=0.9), linear_nets(objective), generator(1)
    state = init(objective, nets, settings)
    expected = {k: p.detach().clone() for k, p in nets["decoder"].named_parameters()}
    for _ in range(3):
        step(objective, nets, state, [batch(objective, g)], settings)
        expected = {k: 0.9 * e + 0.1 * state.params["decoder"][k] for k, e in expected.items()}
    assert_same(state.ema["decoder"], expected, rtol=1e-12, atol=1e-12)
    assert any(not torch.allclose(p, state.params["decoder"][k]) for k, p in state.ema["decoder"].items())


@every
@pytest.mark.parametrize("bound", [0.05, 1e6], ids=["clipped", "free"])
def test_gradients_are_clipped_as_torch_clips_them(objective, bound):
    """All nets' together, and all critics' together; at one and the same old state."""
    settings = replace(DESCENT, simultaneous=True)
    if objective.terms[0].name == "match(x_gen, x)" and objective == wgan():
        objective = wgan(bound=10.0)  # so that the weights are not clipped
    before, free, _, _ = one_step(objective, settings)
    _, found, logs, _ = one_step(objective, replace(settings, clip_gradient=bound, norms=True))
    for side, names in (("model", objective.nets), ("critics", tuple(objective.critics))):
        keys = [k for k in before if k.split(".")[0] in names]
        if not keys:
            continue
        leaves = [before[k].clone().requires_grad_() for k in keys]
        for leaf, k in zip(leaves, keys, strict=True):
            leaf.grad = before[k] - free[k]
        norm = nn.utils.clip_grad_norm_(leaves, bound)
        torch.testing.assert_close(logs[f"gradient_norm/{side}"], norm, rtol=1e-10, atol=1e-12)
        for leaf, k in zip(leaves, keys, strict=True):
            torch.testing.assert_close(before[k] - found[k], leaf.grad, rtol=1e-8, atol=1e-10)


def test_each_lanes_gradient_is_clipped_by_its_own_norm():
    objective, settings = vgh(), replace(DESCENT, clip_gradient=0.5, norms=True, simultaneous=True)
    nets = [linear_nets(objective, k) for k in range(2)]
    data = [batch(objective, generator(k)) for k in range(2)]
    data[1] = replace(data[1], x=50 * data[1].x)
    states = [init(objective, n, settings) for n in nets]
    lanes = init(objective, nets[0], settings)
    lanes.params = {
        n: {k: torch.stack([s.params[n][k] for s in states]) for k in ps} for n, ps in lanes.params.items()
    }
    for side, names in (("model", objective.nets), ("critics", tuple(objective.critics))):
        lanes.moments[side] = SGD().init([p for n in names for p in lanes.params[n].values()])
    _, logs = step(objective, nets[0], lanes, [stack(data)], replace(settings, lanes=True))
    for k in range(2):
        _, alone = step(objective, nets[k], states[k], [data[k]], settings)
        assert_same({n: v[k] for n, v in logs.items()}, alone, rtol=1e-10, atol=1e-10)
        assert_same({n: v[k] for n, v in flat(lanes).items()}, flat(states[k]), rtol=1e-9, atol=1e-9)


def test_norms_logs_scores_and_gradients_norms():
    before, after, logs, _ = one_step(vgh(), replace(DESCENT, norms=True, simultaneous=True))
    moved = [before[k] - after[k] for k in before if k.split(".")[0] in ("encoder", "decoder")]
    norm = torch.cat([m.flatten() for m in moved]).norm()
    torch.testing.assert_close(logs["gradient_norm/model"], norm, rtol=1e-10, atol=1e-12)
    assert {"score/data/x", "score/data/x_rec", "score/code/z_prior", "score/code/z_code"} <= logs.keys()
    assert not any(v.requires_grad for v in logs.values())
    assert one_step(vgh(), DESCENT)[2].keys() < logs.keys()


def tiny(objective: Objective, seed: int = 0) -> dict[str, nn.Module]:
    """Fully connected nets of the package in float32."""
    shapes = Shapes((1, 4, 4), 2, LABELS if objective.labels else 0)
    likelihood, options = (
        "gaussian" if objective.needs_likelihood else "implicit",
        {"width": 16, "code_width": 16},
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        nets: dict[str, nn.Module] = {
            n: prior("mixture", shapes, components=3)
            if n == "prior"
            else build("mlp", n, shapes, likelihood=likelihood, options=options)
            for n in objective.uses
        }
        for n, spaces in objective.critics.items():
            nets[n] = build("mlp", "critic", shapes, spaces=spaces, options=options)
    return nets


@every
@pytest.mark.parametrize("functional", [False, True], ids=["", "functional"])
def test_bf16_stays_close(objective, functional):
    """The gradient is float32's to a quarter (‖x - x̂‖₁ has kinks that eight bits miss); weights stay float32."""
    moves = {}
    for precision in ("float32", "bf16"):
        settings = replace(DESCENT, precision=precision, functional=functional, simultaneous=True)
        nets = tiny(objective)
        state = init(objective, nets, settings)
        before = copied(state)
        data = batch(objective, generator(1), 32, (1, 4, 4), 2, torch.float32)
        _, logs = step(objective, nets, state, [data], settings)
        assert all(p.dtype == torch.float32 for p in flat(state).values())
        assert all(v.isfinite() for v in logs.values())
        moves[precision] = {
            n: torch.cat([(before[k] - p).flatten() for k, p in flat(state).items() if k.startswith(n)])
            for n in nets
        }
    for n, exact in moves["float32"].items():
        assert (moves["bf16"][n] - exact).norm() < 0.25 * exact.norm()
        assert not torch.equal(moves["bf16"][n], exact)


# Numbers


def test_numbers_replace_what_the_objective_says():
    objective = wgan_gp(10.0) + 2.0 * Distance(X, X_REC)
    given = {"0.weight": 3.0, "0.penalty.weight": 0.5, "1.weight": 7.0}
    nets, data = linear_nets(objective), batch(objective, generator(1))
    replaced, expected = init(objective, nets, DESCENT), init(objective, nets, DESCENT)
    numbers = {k: torch.tensor(v, dtype=torch.float64) for k, v in given.items()}
    step(objective, nets, replaced, [data], DESCENT, numbers)
    step(objective.with_numbers(given), nets, expected, [data], DESCENT)
    assert_same(flat(replaced), flat(expected), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("objective", "path"),
    [pytest.param(o, path, id=f"{n}-{path}") for n, o in (("wgan-gp", wgan_gp()), ("wgan", wgan(0.1)))
     for path in o.numbers()],
)  # fmt: skip
def test_every_number_that_an_objective_lists_may_differ_from_lane_to_lane(objective, path):
    """Weights of terms and penalties, and the clipping's bound."""
    settings, nets, data = (
        replace(DESCENT, lanes=True),
        linear_nets(objective),
        batch(objective, generator(1)),
    )
    own = torch.tensor([0.5, 2.0], dtype=torch.float64) * objective.numbers()[path]
    lanes = init(objective, nets, settings)
    lanes.params = {n: {k: torch.stack([p, p]) for k, p in ps.items()} for n, ps in lanes.params.items()}
    for side, names in (("model", objective.nets), ("critics", tuple(objective.critics))):
        lanes.moments[side] = SGD().init([p for n in names for p in lanes.params[n].values()])
    step(objective, nets, lanes, [stack([data, data])], settings, {path: own})
    for k in range(2):
        single = objective.with_numbers({path: float(own[k])})
        alone = init(single, nets, DESCENT)
        step(single, nets, alone, [data], DESCENT)
        assert_same({n: v[k] for n, v in flat(lanes).items()}, flat(alone), rtol=1e-10, atol=1e-10)


def test_whole_numbers_are_numbers():
    """Weights given as integers train as floats do."""
    for whole, exact in (
        (Objective(NLL(weight=2), KL()), Objective(NLL(weight=2.0), KL())),
        (Objective(Match(X_GEN, X, weight=3)), Objective(Match(X_GEN, X, weight=3.0))),
        (wgan_gp(5), wgan_gp(5.0)),
    ):
        assert_same(one_step(whole, DESCENT)[1], one_step(exact, DESCENT)[1], rtol=0, atol=0)


def test_a_weight_of_the_critics_term_weighs_the_model_alone():
    heavy, light = (one_step(w * gan(), replace(DESCENT, simultaneous=True)) for w in (3.0, 1.0))
    for k in heavy[0]:
        factor = 3.0 if k.startswith("decoder") else 1.0
        torch.testing.assert_close(heavy[0][k] - heavy[1][k], factor * (light[0][k] - light[1][k]))
    assert heavy[2]["match(x_gen, x)"] == light[2]["match(x_gen, x)"]


def test_two_penalties_take_noise_under_names_of_their_own():
    objective = Match(X_GEN, X, penalty=gradient_penalty()) + Match(
        Z_CODE, Z_PRIOR, penalty=gradient_penalty()
    )
    assert len({n for t in objective.terms for n in t.noise}) == 2
    _, _, logs, _ = one_step(objective, DESCENT)
    assert {"critic/data/penalty", "critic/code/penalty"} <= logs.keys()


# Refusals


def test_a_likelihood_of_an_implicit_decoder_is_refused():
    objective = vae()
    g = generator()
    nets = {"encoder": LinearEncoder(g, 2, 2), "decoder": LinearDecoder(g, 2, 2, 0, False, False)}
    with pytest.raises(BadInput, match="implicit decoder has no likelihood"):
        step(objective, nets, init(objective, nets, DESCENT), [batch(objective, g)], DESCENT)


def test_a_kl_of_a_deterministic_encoder_is_refused():
    objective, g = vae(), generator()

    class Points(Linear):
        def forward(self, u: Tensor, y: Tensor | None = None) -> Delta:
            return Delta(super().forward(u), 1)

    nets = {"encoder": Points(g, 2, 2), "decoder": LinearDecoder(g, 2, 2, 0, True, True)}
    with pytest.raises(BadInput, match="deterministic encoder has no KL"):
        step(objective, nets, init(objective, nets, DESCENT), [batch(objective, g)], DESCENT)


# Binding


def test_bind_calls_the_net_at_other_parameters_and_leaves_it_alone():
    net = QuadraticCritic(generator(), 3)
    other = {k: 2 * p.detach() for k, p in net.named_parameters()}
    u, own = torch.randn(4, 3, generator=generator(1), dtype=torch.float64), dict(net.named_parameters())
    found = bind(net, other)(u)
    torch.testing.assert_close(found, torch.func.functional_call(net, other, (u,)))
    assert all(a is b for a, b in zip(own.values(), net.parameters(), strict=True))


def test_bind_leaves_the_net_alone_when_it_raises():
    class Broken(Linear):
        def forward(self, u: Tensor, y: Tensor | None = None) -> Tensor:
            raise RuntimeError("on purpose")

    net = Broken(generator(), 2, 1)
    own = dict(net.named_parameters())
    with pytest.raises(RuntimeError, match="on purpose"):
        bind(net, {k: p.detach() for k, p in own.items()})(torch.zeros(1, 2))
    assert all(a is b for a, b in zip(own.values(), net.parameters(), strict=True))


def test_bind_is_differentiable_and_nests():
    outer, inner = Linear(generator(0), 2, 2), Linear(generator(1), 2, 2)
    params: Mapping[str, Tensor] = {k: p.detach().requires_grad_() for k, p in outer.named_parameters()}
    u = torch.ones(1, 2, dtype=torch.float64)
    f, g = bind(outer, params), bind(inner, {k: p.detach() for k, p in inner.named_parameters()})
    slopes = torch.autograd.grad(f(g(f(u))).sum(), list(params.values()))
    assert all(s.abs().sum() > 0 for s in slopes)
    assert all(p.grad is None for p in outer.parameters())
