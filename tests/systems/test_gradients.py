"""Every system's gradients against its paper's equations, written out by hand.

The equations below are those of the papers (see each declaration's source) and know nothing of terms, comparisons,
objectives or the step: they take the nets as functions and return what each player and each critic minimises.
With plain gradient descent at rate 1, a step moves every weight by minus its gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import softplus

from contracts.toys import batch, copied, flat, generator, linear_nets
from distmatch.comparisons import HINGE, LEAST_SQUARES, MINIMAX, REVERSE_KL
from distmatch.objective import Objective
from distmatch.systems import SYSTEMS, gan, vgh, vgh_plus_plus
from distmatch.training.optimisers import SGD
from distmatch.training.step import Batch, Settings, init, step

Losses = dict[str, Tensor]
Weights = dict[str, dict[str, Tensor]]


@dataclass
class Here:
    """The nets as functions, one batch, and its noise, as the equations want them."""

    nets: Mapping[str, nn.Module]
    weights: Weights
    x: Tensor
    y: Tensor | None
    noise: Mapping[str, Tensor]

    def call(self, name: str, *inputs: Tensor) -> Any:
        given = {} if self.y is None else {"y": self.y}
        return functional_call(self.nets[name], self.weights[name], inputs, given)

    @property
    def z(self) -> Tensor:
        return self.noise["z_prior"]

    def posterior(self) -> tuple[Tensor, Tensor]:
        law = self.call("encoder", self.x).base_dist
        return law.loc, law.scale

    def code(self) -> Tensor:
        mean, scale = self.posterior()
        return mean + scale * self.noise["z_code"]

    def decode(self, z: Tensor) -> Tensor:
        return self.call("decoder", z).mean

    def nll(self, z: Tensor) -> Tensor:
        """-log N(x; μ, s²)."""
        law = self.call("decoder", z).base_dist
        each = 0.5 * ((self.x - law.loc) / law.scale) ** 2 + law.scale.log() + 0.5 * math.log(2 * math.pi)
        return each.sum(1).mean()

    def data(self, *inputs: Tensor) -> Tensor:
        return self.call("data", *inputs)

    def code_score(self, z: Tensor) -> Tensor:
        return self.call("code", z)

    def joint(self, x: Tensor, z: Tensor) -> Tensor:
        return self.call("joint", x, z)


def log_d(t: Tensor) -> Tensor:
    """E log σ(t)."""
    return -softplus(-t).mean()


def log_not_d(t: Tensor) -> Tensor:
    """E log(1 - σ(t))."""
    return -softplus(t).mean()


def l1(a: Tensor, b: Tensor) -> Tensor:
    return (a - b).abs().mean(1).mean()


def vae(here: Here) -> Losses:
    mean, scale = here.posterior()
    kl = 0.5 * (mean**2 + scale**2 - 1 - (scale**2).log()).sum(1).mean()
    nll = here.nll(here.code())
    return {"encoder": nll + kl, "decoder": nll}


def non_saturating_gan(here: Here) -> Losses:
    x_gen = here.decode(here.z)
    return {
        "data": -log_d(here.data(here.x)) - log_not_d(here.data(x_gen)),
        "decoder": -log_d(here.data(x_gen)),
    }


def wasserstein_gan(here: Here) -> Losses:
    x_gen = here.decode(here.z)
    return {
        "data": -here.data(here.x).mean() + here.data(x_gen).mean(),
        "decoder": -here.data(x_gen).mean(),
    }


def wasserstein_gan_gp(here: Here) -> Losses:
    losses, x_gen = wasserstein_gan(here), here.decode(here.z).detach()
    alpha = here.noise["penalty/match(x_gen, x)"][:, None]
    u = (alpha * here.x + (1 - alpha) * x_gen).requires_grad_()
    (slope,) = torch.autograd.grad(here.data(u).sum(), u, create_graph=True)
    norms = (slope**2).sum(1).sqrt()
    return losses | {"data": losses["data"] + 10 * ((norms - 1) ** 2).mean()}


def aae(here: Here) -> Losses:
    code = here.code()
    nll = here.nll(code)
    return {
        "code": -log_d(here.code_score(here.z)) - log_not_d(here.code_score(code)),
        "encoder": nll - log_d(here.code_score(code)),
        "decoder": nll,
    }


def ali(here: Here) -> Losses:
    code, x_gen = here.code(), here.decode(here.z)
    data, model = here.joint(here.x, code), here.joint(x_gen, here.z)
    both = -log_not_d(data) - log_d(model)
    return {"joint": -log_d(data) - log_not_d(model), "encoder": both, "decoder": both}


def vgh_by_hand(here: Here, encoder_sees_critic: bool = False) -> Losses:
    """Equations 12 to 14: the encoder minimises λ‖x - x̂‖₁ - log C(ẑ), the decoder λ‖x - x̂‖₁ - log D(x̂)."""
    code = here.code()
    x_rec = here.decode(code)
    seen = -log_d(here.data(x_rec))
    return {
        "data": -log_d(here.data(here.x)) - log_not_d(here.data(x_rec)),
        "code": -log_d(here.code_score(here.z)) - log_not_d(here.code_score(code)),
        "encoder": 10 * l1(here.x, x_rec)
        - log_d(here.code_score(code))
        + (seen if encoder_sees_critic else 0),
        "decoder": 10 * l1(here.x, x_rec) + seen,
    }


def vgh_plus_plus_by_hand(here: Here, encoder_sees_critic: bool = False) -> Losses:
    """And samples: the data count twice in the critic, once against each."""
    losses, x_gen = vgh_by_hand(here, encoder_sees_critic), here.decode(here.z)
    return losses | {
        "data": losses["data"] - log_d(here.data(here.x)) - log_not_d(here.data(x_gen)),
        "decoder": losses["decoder"] - log_d(here.data(x_gen)),
    }


BY_HAND: dict[str, Callable[[Here], Losses]] = {
    "vae": vae,
    "cvae": vae,
    "gan": non_saturating_gan,
    "cgan": non_saturating_gan,
    "wgan": wasserstein_gan,
    "wgan-gp": wasserstein_gan_gp,
    "aae": aae,
    "ali": ali,
    "vgh": vgh_by_hand,
    "vgh++": vgh_plus_plus_by_hand,
}
CLIPPED = {"wgan": 0.01}  # before each of the critic's steps


def minimax_gan(here: Here) -> Losses:
    losses = non_saturating_gan(here)
    return losses | {"decoder": log_not_d(here.data(here.decode(here.z)))}


def reverse_kl_gan(here: Here) -> Losses:
    return non_saturating_gan(here) | {"decoder": -here.data(here.decode(here.z)).mean()}


def least_squares_gan(here: Here) -> Losses:
    real, fake = here.data(here.x), here.data(here.decode(here.z))
    return {
        "data": 0.5 * ((real - 1) ** 2).mean() + 0.5 * (fake**2).mean(),
        "decoder": 0.5 * ((fake - 1) ** 2).mean(),
    }


def hinge_gan(here: Here) -> Losses:
    real, fake = here.data(here.x), here.data(here.decode(here.z))
    return {"data": (1 - real).relu().mean() + (1 + fake).relu().mean(), "decoder": -fake.mean()}


VARIANTS: dict[str, tuple[Objective, Callable[[Here], Losses]]] = {
    "gan, minimax": (gan(MINIMAX), minimax_gan),
    "gan, reverse KL": (gan(REVERSE_KL), reverse_kl_gan),
    "gan, least squares": (gan(LEAST_SQUARES), least_squares_gan),
    "gan, hinge": (gan(HINGE), hinge_gan),
    "vgh, encoder sees the critic": (vgh(encoder_sees_critic=True), lambda here: vgh_by_hand(here, True)),
    "vgh++, encoder sees the critic": (
        vgh_plus_plus(encoder_sees_critic=True),
        lambda here: vgh_plus_plus_by_hand(here, True),
    ),
}
EVERY = [
    *[pytest.param(s.objective(), BY_HAND.get(n), CLIPPED.get(n), id=n) for n, s in SYSTEMS.items()],
    *[pytest.param(o, by_hand, None, id=n) for n, (o, by_hand) in VARIANTS.items()],
]
every = pytest.mark.parametrize(("objective", "by_hand", "clip"), EVERY)
order = pytest.mark.parametrize("simultaneous", [False, True], ids=["alternating", "simultaneous"])
DESCENT = Settings(players=SGD(lr=1.0), critics=SGD(lr=1.0))


def moved_by_hand(
    objective: Objective,
    by_hand: Callable[[Here], Losses],
    nets: Mapping[str, nn.Module],
    batches: list[Batch],
    clip: float | None,
    simultaneous: bool,
) -> Weights:
    """Where every weight is after one step of gradient descent at rate 1."""
    now = {n: {k: p.detach().clone() for k, p in net.named_parameters()} for n, net in nets.items()}
    critics, players = [n for n in nets if n in objective.critics], ["encoder", "decoder"]

    def slopes(names: list[str], weights: Weights, b: Batch) -> Weights:
        leaves = {n: {k: p.detach().requires_grad_() for k, p in ps.items()} for n, ps in weights.items()}
        losses = by_hand(Here(nets, leaves, b.x, b.y, b.noise))
        found = {}
        for n in names:
            if n in losses:
                gradients = torch.autograd.grad(
                    losses[n],
                    list(leaves[n].values()),
                    retain_graph=True,
                    materialize_grads=True,
                    allow_unused=True,
                )
                found[n] = dict(zip(leaves[n], gradients, strict=True))
        return found

    def move(found: Weights) -> None:
        for n, gradients in found.items():
            now[n] = {k: now[n][k] - g for k, g in gradients.items()}

    for b in batches:
        for n in critics if clip else ():
            now[n] = {k: p.clamp(-clip, clip) for k, p in now[n].items()}
        found = slopes(critics, now, b)
        if simultaneous and b is batches[-1]:
            found |= slopes(players, now, b)
            move(found)
            return now
        move(found)
    move(slopes(players, now, batches[-1]))
    return now


@pytest.mark.parametrize("name", SYSTEMS)
def test_its_equations_are_written_by_hand(name):
    assert name in BY_HAND, f"write what each player of {name} minimises, from its paper, into BY_HAND"


@every
@order
@pytest.mark.parametrize("seed", [0, 1])
def test_a_step_moves_every_weight_by_minus_the_papers_gradient(objective, by_hand, clip, simultaneous, seed):
    nets, data = linear_nets(objective, seed), batch(objective, generator(seed + 10))
    expected = moved_by_hand(objective, by_hand, nets, [data], clip, simultaneous)
    settings = replace(DESCENT, simultaneous=simultaneous)
    state, _ = step(objective, nets, init(objective, nets, settings), [data], settings)
    before = {f"{n}.{k}": p for n, net in nets.items() for k, p in net.named_parameters()}
    for name, found in flat(state).items():
        net, _, key = name.partition(".")
        torch.testing.assert_close(found, expected[net][key], rtol=1e-10, atol=1e-12)
        if key != "linear.bias" and not (key == "log_scale" and net == "decoder"):
            assert not torch.equal(found, before[name])


@every
@order
def test_several_critic_steps_each_on_its_own_batch(objective, by_hand, clip, simultaneous):
    g = generator(3)
    nets, data = linear_nets(objective), [batch(objective, g) for _ in range(3)]
    small = replace(DESCENT, simultaneous=simultaneous)
    if not objective.critics:
        data = data[-1:]
    expected = moved_by_hand(objective, by_hand, nets, data, clip, simultaneous)
    state, _ = step(objective, nets, init(objective, nets, small), data, small)
    for name, found in flat(state).items():
        net, _, key = name.partition(".")
        torch.testing.assert_close(found, expected[net][key], rtol=1e-8, atol=1e-10)


@every
def test_functional_gradients_are_the_same(objective, by_hand, clip):
    nets, data = linear_nets(objective), batch(objective, generator(4))
    expected = moved_by_hand(objective, by_hand, nets, [data], clip, False)
    settings = replace(DESCENT, functional=True)
    state, _ = step(objective, nets, init(objective, nets, settings), [data], settings)
    for name, found in flat(state).items():
        net, _, key = name.partition(".")
        torch.testing.assert_close(found, expected[net][key], rtol=1e-10, atol=1e-12)


@every
def test_the_players_losses_fall_along_their_own_step(objective, by_hand, clip):
    """The sign, without a gradient: a small step against fixed critics lowers what each player minimises."""
    if clip:
        pytest.skip("clipping moves the critic")
    nets, data = linear_nets(objective), batch(objective, generator(5), size=20)
    for player in objective.players:
        settings = Settings(players=SGD(lr=1e-4), critics=SGD(lr=0.0))
        state = init(objective, nets, settings)
        before = {n: {k: p.clone() for k, p in ps.items()} for n, ps in state.params.items()}
        step(objective, nets, state, [data], settings)
        after = before | {player: state.params[player]}
        losses = [by_hand(Here(nets, w, data.x, data.y, data.noise))[player] for w in (before, after)]
        assert losses[1] < losses[0]


@every
def test_logs_hold_every_term_and_every_part_of_every_critic(objective, by_hand, clip):
    nets, data = linear_nets(objective), batch(objective, generator(6))
    settings = replace(DESCENT, simultaneous=True)
    state = init(objective, nets, settings)
    weights = {n: dict(ps) for n, ps in state.params.items()}
    for n in objective.critics if clip else ():
        weights[n] = {k: p.clamp(-clip, clip) for k, p in weights[n].items()}
    losses = by_hand(Here(nets, weights, data.x, data.y, data.noise))
    losses = {n: v.item() for n, v in losses.items()}
    _, logs = step(objective, nets, state, [data], settings)
    for critic in objective.critics:
        parts = [v for k, v in logs.items() if k.startswith(f"critic/{critic}/")]
        assert len(parts) >= 2
        assert sum(parts).item() == pytest.approx(losses[critic], rel=1e-10)
    for player in objective.players:
        reached = [i for i, t in enumerate(objective.terms) if player in t.players]
        total = sum(objective.terms[i].weight * logs[objective.names[i]].item() for i in reached)
        assert total == pytest.approx(losses[player], rel=1e-10)
    assert not any(v.requires_grad for v in logs.values())


def test_a_player_that_no_term_moves_stays_bit_for_bit():
    objective = Objective(*(t.to("decoder") for t in vgh().terms[:2]))
    assert objective.players == ("decoder",)
    nets, data = linear_nets(objective), batch(objective, generator(7))
    state = init(objective, nets, DESCENT)
    before = copied(state)
    step(objective, nets, state, [data], DESCENT)
    for k, p in flat(state).items():
        assert torch.equal(p, before[k]) == k.startswith("encoder.")
