"""Consensus and unrolling: what a step adds to plain gradients, against finite differences and loops by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from contracts.toys import assert_same, batch, copied, flat, generator, linear_nets, stack
from distmatch.distributions.points import Delta
from distmatch.objectives.comparisons import WASSERSTEIN
from distmatch.objectives.objective import Objective
from distmatch.objectives.penalties import gradient_penalty
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import X_GEN, X
from distmatch.systems import ali, gan, vae, vgh, wgan, wgan_gp
from distmatch.training.optimisers import SGD, Adam, Optimiser
from distmatch.training.step import Batch, Settings, State, init, step

H = 1e-6
FIELD = Settings(model=SGD(lr=1.0), critics=SGD(lr=1.0), simultaneous=True)
OBJECTIVES = {"gan": gan(), "wgan-gp": wgan_gp(), "ali": ali(), "vgh": vgh(), "vae": vae()}
every = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES)


def moves(objective: Objective, settings: Settings, params: dict[str, Tensor], b: Batch) -> dict[str, Tensor]:
    """Where one step of descent at rate 1 goes from these parameters, with the sign changed: the field there."""
    nets = linear_nets(objective)
    state = init(objective, nets, settings)
    for k, p in flat(state).items():
        p.copy_(params[k])
    step(objective, nets, state, [b], settings)
    return {k: params[k] - p for k, p in flat(state).items()}


def start(objective: Objective) -> tuple[dict[str, Tensor], Batch]:
    return copied(init(objective, linear_nets(objective), FIELD)), batch(objective, generator(1))


# Consensus


def half_square(objective: Objective, params: dict[str, Tensor], b: Batch) -> float:
    return 0.5 * sum(v.square().sum().item() for v in moves(objective, FIELD, params, b).values())


@every
def test_consensus_adds_the_gradient_of_half_the_fields_square(objective):
    """v + γ∇½‖v‖², v of all the model's nets and critics together; ∇ by finite differences, number by number."""
    params, b = start(objective)
    field = moves(objective, FIELD, params, b)
    found = moves(objective, replace(FIELD, consensus=0.7), params, b)
    for k, p in params.items():
        slope = torch.zeros_like(p)
        for i in range(p.numel()):
            up, down = ({**params, k: p.clone()} for _ in "+-")
            up[k].view(-1)[i] += H
            down[k].view(-1)[i] -= H
            slope.view(-1)[i] = (half_square(objective, up, b) - half_square(objective, down, b)) / (2 * H)
        torch.testing.assert_close(found[k], field[k] + 0.7 * slope, rtol=1e-5, atol=1e-6)


class Point(nn.Module):
    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor(value, dtype=torch.float64))


class PointDecoder(Point):
    def forward(self, z: Tensor) -> Delta:
        return Delta(self.value.expand(len(z), 1), 1)


class SlopeCritic(Point):
    def forward(self, u: Tensor) -> Tensor:
        return self.value * u[:, 0]


def bilinear_nets(theta: float, psi: float) -> dict[str, nn.Module]:
    """x̃ = θ and D(u) = ψu."""
    return {"decoder": PointDecoder(theta), "data": SlopeCritic(psi)}


def test_consensus_of_the_bilinear_game():
    """Losses ψ(θ - x) and -ψθ at x = 0: v = (-ψ, θ) and ∇½‖v‖² = (θ, ψ).

    Both go to 0, where plain descent turns round.
    """
    objective = Objective(Match(X_GEN, X, by=WASSERSTEIN))
    nets = bilinear_nets(theta=0.8, psi=-0.6)
    data = Batch(torch.zeros(1, 1, dtype=torch.float64), {"z_prior": torch.zeros(1, 1)})
    settings = Settings(model=SGD(lr=0.1), critics=SGD(lr=0.1), consensus=1.0)
    state, _ = step(objective, nets, init(objective, nets, settings), [data], settings)
    theta, psi = state.params["decoder"]["value"].item(), state.params["data"]["value"].item()
    assert theta == pytest.approx(0.8 - 0.1 * (0.6 + 0.8), abs=1e-14)
    assert psi == pytest.approx(-0.6 - 0.1 * (0.8 - 0.6), abs=1e-14)
    for _ in range(200):
        step(objective, nets, state, [data], settings)
    assert all(abs(p.item()) < 1e-6 for p in flat(state).values())


@every
def test_consensus_logs_the_losses_of_the_old_state(objective):
    _, b = start(objective)
    logs = []
    for settings in (FIELD, replace(FIELD, consensus=0.7)):
        nets = linear_nets(objective)
        logs.append(step(objective, nets, init(objective, nets, settings), [b], settings)[1])
    assert_same(logs[1], logs[0], rtol=1e-12, atol=1e-12)
    assert not any(v.requires_grad for v in logs[1].values())


# Unrolling: the non-saturating GAN by hand


def decoded(params: dict[str, Tensor], nets: dict[str, nn.Module], z: Tensor) -> Tensor:
    return functional_call(nets["decoder"], params, (z,)).mean


def scored(params: dict[str, Tensor], nets: dict[str, nn.Module], u: Tensor) -> Tensor:
    return functional_call(nets["data"], params, (u,))


def critic_slopes(
    critic: dict[str, Tensor], nets: dict[str, nn.Module], x: Tensor, fake: Tensor
) -> dict[str, Tensor]:
    leaves = {k: p.detach().requires_grad_() for k, p in critic.items()}
    loss = softplus(-scored(leaves, nets, x)).mean() + softplus(scored(leaves, nets, fake.detach())).mean()
    return dict(zip(leaves, torch.autograd.grad(loss, list(leaves.values())), strict=True))


Memory = dict[str, tuple[Tensor, Tensor]]


def sgd(p: Tensor, g: Tensor, memory: tuple[Tensor, Tensor], t: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    m = 0.9 * memory[0] + g
    return p - 0.3 * m, (m, memory[1])


def adam(p: Tensor, g: Tensor, memory: tuple[Tensor, Tensor], t: int) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    m, v = 0.5 * memory[0] + 0.5 * g, 0.9 * memory[1] + 0.1 * g * g
    return p - 0.05 * (m / (1 - 0.5**t)) / ((v / (1 - 0.9**t)).sqrt() + 1e-8), (m, v)


RULES: dict[str, tuple[Optimiser, Callable]] = {
    "sgd": (SGD(lr=0.3, momentum=0.9), sgd),
    "adam": (Adam(lr=0.05, beta1=0.5, beta2=0.9), adam),
}


def on(
    critic: dict[str, Tensor], memory: Memory, t: int, rule: Callable, slopes: dict[str, Tensor]
) -> tuple[dict[str, Tensor], Memory, int]:
    """The critic one step of its optimiser on."""
    new = {k: rule(p, slopes[k], memory[k], t + 1) for k, p in critic.items()}
    return {k: v[0] for k, v in new.items()}, {k: v[1] for k, v in new.items()}, t + 1


def memory_of(state: State) -> tuple[Memory, int]:
    moments = state.moments["critics"]
    zeros = [torch.zeros_like(m) for m in moments["mean"]]
    pairs = zip(moments["mean"], moments.get("square", zeros), strict=True)
    kept = {k: (m.clone(), v.clone()) for k, (m, v) in zip(state.params["data"], pairs, strict=True)}
    return kept, int(moments["step"][0])


@pytest.mark.parametrize("unroll", [1, 2])
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("simultaneous", [False, True], ids=["alternating", "simultaneous"])
def test_the_model_descends_the_loss_of_the_critic_to_come(rule, unroll, simultaneous):
    """d/dθ of E softplus(-D_K(θ)(x̃(θ))) + E softplus(D_K(θ)(x)), the critic's K steps taken anew at θ ± h.

    The data's side has a gradient too, as D_K depends on θ.
    """
    objective, (optimiser, by_hand) = gan(), RULES[rule]
    settings = Settings(model=SGD(lr=1.0), critics=optimiser, simultaneous=simultaneous, unroll=unroll)
    nets, g = linear_nets(objective), generator(1)
    state = init(objective, nets, settings)
    for _ in range(2):  # so that the optimiser remembers something
        step(objective, nets, state, [batch(objective, g, 8)], settings)
    b = batch(objective, g, 8)
    z = b.noise["z_prior"]
    before = {k: p.clone() for k, p in state.params["decoder"].items()}
    critic = {k: p.clone() for k, p in state.params["data"].items()}
    memory, t = memory_of(state)
    moved = on(critic, memory, t, by_hand, critic_slopes(critic, nets, b.x, decoded(before, nets, z)))
    first = (critic, memory, t) if simultaneous else moved

    def loss(params: dict[str, Tensor]) -> float:
        fake, (ahead, kept, count) = decoded(params, nets, z), first
        for _ in range(unroll):
            ahead, kept, count = on(ahead, kept, count, by_hand, critic_slopes(ahead, nets, b.x, fake))
        return (softplus(-scored(ahead, nets, fake)) + softplus(scored(ahead, nets, b.x))).mean().item()

    _, logs = step(objective, nets, state, [b], settings)
    assert_same(state.params["data"], moved[0], rtol=1e-9, atol=1e-10)
    assert logs["match(x_gen, x)"].item() == pytest.approx(loss(before), rel=1e-10)
    for k, p in before.items():
        for i in range(p.numel()):
            up, down = ({**before, k: p.clone()} for _ in "+-")
            up[k].view(-1)[i] += H
            down[k].view(-1)[i] -= H
            difference = (loss(up) - loss(down)) / (2 * H)
            move = (p - state.params["decoder"][k]).view(-1)[i].item()
            assert move == pytest.approx(difference, rel=1e-5, abs=1e-7)


def test_a_critic_to_come_is_clipped_before_each_of_its_steps():
    """d/dθ of E D_2(θ)(x) - E D_2(θ)(x̃(θ)) with D₁ = clip(D) - lr·(E D(x̃) - E D(x))', by finite differences."""
    objective = wgan(bound=0.1)
    settings = Settings(model=SGD(lr=1.0), critics=SGD(lr=0.3), simultaneous=True, unroll=2)
    nets, b = linear_nets(objective), batch(objective, generator(1), 8)
    state = init(objective, nets, settings)
    before = {k: p.clone() for k, p in state.params["decoder"].items()}
    critic = {k: p.clone() for k, p in state.params["data"].items()}

    def loss(params: dict[str, Tensor]) -> float:
        fake, ahead = decoded(params, nets, b.noise["z_prior"]), critic
        for _ in range(2):
            ahead = {k: p.detach().clamp(-0.1, 0.1).requires_grad_() for k, p in ahead.items()}
            paid = scored(ahead, nets, fake.detach()).mean() - scored(ahead, nets, b.x).mean()
            slopes = torch.autograd.grad(
                paid, list(ahead.values()), allow_unused=True, materialize_grads=True
            )
            ahead = {k: p - 0.3 * s for (k, p), s in zip(ahead.items(), slopes, strict=True)}
        return (scored(ahead, nets, b.x).mean() - scored(ahead, nets, fake).mean()).item()

    step(objective, nets, state, [b], settings)
    for k, p in before.items():
        for i in range(p.numel()):
            up, down = ({**before, k: p.clone()} for _ in "+-")
            up[k].view(-1)[i] += H
            down[k].view(-1)[i] -= H
            move = (p - state.params["decoder"][k]).view(-1)[i].item()
            assert move == pytest.approx((loss(up) - loss(down)) / (2 * H), rel=1e-5, abs=1e-7)


def test_an_unrolled_generator_of_one_number_moves_by_the_derivative_of_its_loss():
    """x = 1, x̃ = θ, D(u) = ψu, and the critic's loss ψθ - ψ: one step of rate η takes ψ to ψ - η(θ - 1).

    The generator's loss (ψ - η(θ - 1))(1 - θ) = -ψ(θ - 1) + η(θ - 1)² has the slope -ψ + 2η(θ - 1); without its
    data's side it would have -ψ + η(2θ - 1). At ψ = 0.2, θ = 3 and η = 0.5: 1.8, not 2.3.
    """
    objective = Objective(Match(X_GEN, X, by=WASSERSTEIN))
    nets = bilinear_nets(theta=3.0, psi=0.2)
    settings = Settings(model=SGD(lr=1.0), critics=SGD(lr=0.5), simultaneous=True, unroll=1)
    state = init(objective, nets, settings)
    b = Batch(torch.ones(4, 1, dtype=torch.float64), {"z_prior": torch.zeros(4, 1, dtype=torch.float64)})
    step(objective, nets, state, [b], settings)
    assert 3.0 - state.params["decoder"]["value"].item() == pytest.approx(1.8, abs=1e-12)


def test_a_critic_to_come_is_clipped_like_the_critic_that_is():
    """The critic's slope θ - 1 = 2 is held to ½, so that ψ' = ψ - η/2 is no function of θ: -ψ' moves the generator."""
    objective = Objective(Match(X_GEN, X, by=WASSERSTEIN))
    nets = bilinear_nets(theta=3.0, psi=0.2)
    how = {"simultaneous": True, "unroll": 1, "clip_gradient": 0.5}
    settings = Settings(model=SGD(lr=1.0), critics=SGD(lr=0.5), **how)
    state = init(objective, nets, settings)
    b = Batch(torch.ones(4, 1, dtype=torch.float64), {"z_prior": torch.zeros(4, 1, dtype=torch.float64)})
    step(objective, nets, state, [b], settings)
    assert state.params["data"]["value"].item() == pytest.approx(0.2 - 0.25, abs=1e-6)
    assert 3.0 - state.params["decoder"]["value"].item() == pytest.approx(-(0.2 - 0.25), abs=1e-6)


def test_unrolling_through_a_penalty_of_a_flat_critic_is_finite():
    """‖∇f‖ = 0 somewhere, in whose root the look-ahead is differentiated twice."""
    objective = gan(penalty=gradient_penalty(10))
    nets = linear_nets(objective)
    for p in nets["data"].parameters():
        p.data.zero_()
    settings = Settings(model=SGD(lr=0.1), critics=SGD(lr=0.1), unroll=2)
    state = init(objective, nets, settings)
    for k in range(3):
        step(objective, nets, state, [batch(objective, generator(k), 8)], settings)
    assert all(p.isfinite().all() for p in flat(state).values())


def test_unrolling_by_no_step_is_a_plain_step():
    _, b = start(gan())
    ends = []
    for settings in (FIELD, replace(FIELD, unroll=0, functional=True)):
        nets = linear_nets(gan())
        ends.append(flat(step(gan(), nets, init(gan(), nets, settings), [b], settings)[0]))
    assert_same(ends[1], ends[0], rtol=1e-12, atol=1e-12)


def test_unrolling_without_a_critic_is_a_plain_step():
    params, b = start(vae())
    assert_same(
        moves(vae(), replace(FIELD, unroll=3), params, b), moves(vae(), FIELD, params, b), 1e-12, 1e-12
    )


def test_the_critic_itself_is_not_ahead():
    """Only what the model see is."""
    params, b = start(wgan_gp())
    plain, ahead = (moves(wgan_gp(), replace(FIELD, unroll=k), params, b) for k in (0, 4))
    for k in params:
        assert k.startswith("decoder") or torch.allclose(plain[k], ahead[k], rtol=1e-12, atol=1e-12)
    assert not torch.allclose(plain["decoder.loc.weight"], ahead["decoder.loc.weight"])


# One function, eager and compiled, alone and in lanes


DYNAMICS = {
    "consensus": Settings(model=SGD(lr=0.05), critics=SGD(lr=0.1), consensus=0.7),
    "unrolled": Settings(model=Adam(lr=0.05), critics=Adam(lr=0.02, beta1=0.5), unroll=2),
    "unrolled at once": Settings(
        model=SGD(lr=0.05), critics=SGD(lr=0.1, momentum=0.9), unroll=2, simultaneous=True
    ),
}
MANY = {
    "gp": Objective(Match(X_GEN, X, penalty=gradient_penalty(3.0))),
    "vgh": vgh(),
}
either = pytest.mark.parametrize("objective", MANY.values(), ids=MANY)
dynamics = pytest.mark.parametrize("settings", DYNAMICS.values(), ids=DYNAMICS)


def rounds(objective: Objective, seed: int) -> list[list[Batch]]:
    g = generator(seed)
    return [[batch(objective, g) for _ in range(2)] for _ in range(2)]


def alone(
    objective: Objective, settings: Settings, seed: int = 0
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    nets = linear_nets(objective, seed)
    state = init(objective, nets, settings)
    for data in rounds(objective, seed):
        state, logs = step(objective, nets, state, data, settings)
    return copied(state), logs


@pytest.mark.parametrize(
    "settings", [DYNAMICS["consensus"], DYNAMICS["unrolled"]], ids=["consensus", "unrolled"]
)
def test_functional_and_compiled_equal_eager(settings):
    objective = MANY["gp"]
    expected, logs = alone(objective, settings)
    found, functional_logs = alone(objective, replace(settings, functional=True))
    assert_same(found, expected, rtol=1e-9, atol=1e-10)
    assert_same(functional_logs, logs, rtol=1e-9, atol=1e-10)
    nets = linear_nets(objective)
    state = init(objective, nets, settings)
    torch.compiler.reset()
    take = torch.compile(
        lambda state, data: step(objective, nets, state, data, replace(settings, functional=True)),
        fullgraph=True,
        backend="aot_eager",
    )
    for data in rounds(objective, 0):
        state, compiled_logs = take(state, data)
    assert_same(flat(state), expected, rtol=1e-8, atol=1e-9)
    assert_same(compiled_logs, logs, rtol=1e-8, atol=1e-9)


@either
@dynamics
def test_a_lane_is_the_run_that_it_would_be_alone(objective, settings):
    nets = [linear_nets(objective, k) for k in range(3)]
    states = [init(objective, n, settings) for n in nets]
    params = {
        n: {k: torch.stack([s.params[n][k] for s in states]) for k in ps}
        for n, ps in states[0].params.items()
    }
    sides = {"model": objective.nets, "critics": tuple(objective.critics)}
    moments = {
        side: getattr(settings, side).init([p for n in names for p in params[n].values()])
        for side, names in sides.items()
    }
    lanes = State(params, moments)
    for data in zip(*[rounds(objective, k) for k in range(3)], strict=True):
        joined = [stack(list(b)) for b in zip(*data, strict=True)]
        lanes, logs = step(objective, nets[0], lanes, joined, replace(settings, lanes=True))
    for k in range(3):
        expected, expected_logs = alone(objective, settings, k)
        assert_same({n: p[k] for n, p in flat(lanes).items()}, expected, rtol=1e-8, atol=1e-9)
        assert_same({n: v[k] for n, v in logs.items()}, expected_logs, rtol=1e-8, atol=1e-9)
