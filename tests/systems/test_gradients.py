"""Every system's gradients against its paper's equations, which are written out in `by_hand`.

With plain gradient descent at rate 1, a step moves every weight by minus its gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contracts.toys import PLAIN, Toy, batch, copied, flat, generator, linear_nets, numbers_at, toy_of
from distmatch.errors import BadInput
from distmatch.objectives.comparisons import COMPARISONS, GENERATOR_LOSSES, REVERSE_KL, WASSERSTEIN
from distmatch.objectives.objective import Objective
from distmatch.objectives.term import MODEL_NETS
from distmatch.objectives.terms.distance import Distance
from distmatch.objectives.terms.likelihood import KL, NLL
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import X_GEN, X_REC, X
from distmatch.schedules import Ramp
from distmatch.systems import (
    SYSTEMS,
    ali,
    alice,
    alpha_gan,
    gan,
    veegan,
    vgh,
    vgh_plus_plus,
)
from distmatch.training import Feed, Trainer
from distmatch.training.optimisers import SGD
from distmatch.training.step import Batch, Settings, State, init, step
from systems.by_hand import (
    BY_HAND,
    CLIPPED,
    RATIO_CRITICS,
    Here,
    Losses,
    Weights,
    ali_by_ratio,
    alice_adversarial,
    kl_gan,
    reverse_kl_gan,
    vgh_by_hand,
    vgh_plus_plus_by_hand,
)
from systems.by_hand import (
    alpha_gan as alpha_gan_by_hand,
)
from systems.by_hand import (
    veegan as veegan_by_hand,
)
from systems.by_hand import (
    veegan_by_score as veegan_by_score_by_hand,
)


@dataclass(frozen=True)
class Case:
    """A system with its equations, the nets that it wants, and how it is stepped."""

    objective: Objective
    by_hand: Callable[[Here], Losses]
    toy: Toy = PLAIN
    clip: float | None = None
    consensus: float = 0.0
    unroll: int = 0
    rate: float = 1.0

    @property
    def plain(self) -> bool:
        """Whether a step is one of every critic and one of every net."""
        return not (self.consensus or self.unroll)

    def nets(self, seed: int = 0) -> dict[str, nn.Module]:
        return linear_nets(self.objective, seed, toy=self.toy)

    def settings(self, **more: Any) -> Settings:
        descent = SGD(lr=self.rate)
        own = {"model": descent, "critics": descent, "consensus": self.consensus, "unroll": self.unroll}
        return Settings(**{**own, **more})

    def step(
        self, nets: Mapping[str, nn.Module], state: State, batches: list[Batch], settings: Settings
    ) -> tuple[State, dict[str, Tensor]]:
        return step(self.objective, nets, state, batches, settings, numbers_at(self.objective))


def seeing(by_hand: Callable[..., Losses]) -> Callable[[Here], Losses]:
    return lambda here: by_hand(here, encoder_sees_critic=True)


DESCENT = Settings(model=SGD(lr=1.0), critics=SGD(lr=1.0))
VARIANTS = {
    "gan, reverse KL": Case(gan(REVERSE_KL), reverse_kl_gan),
    "gan, KL": Case(gan(generator=GENERATOR_LOSSES["kl"]), kl_gan),
    **{
        f"ali, {by}": Case(ali(COMPARISONS[by]), partial(ali_by_ratio, by=by), rate=0.01)
        for by in RATIO_CRITICS
    },
    "alice, adversarial": Case(alice("adversarial", 0.1), alice_adversarial),
    "veegan, encoder without the critic": Case(
        veegan(encoder_sees_critic=False),
        lambda here: veegan_by_hand(here, encoder_sees_critic=False),
        Toy(posterior="deterministic"),
    ),
    "veegan, Wasserstein": Case(
        veegan(by=WASSERSTEIN), veegan_by_score_by_hand, Toy(posterior="deterministic")
    ),
    "alpha-gan, encoder sees the critic": Case(
        alpha_gan(encoder_sees_critic=True), seeing(alpha_gan_by_hand)
    ),
    "vgh, encoder sees the critic": Case(vgh(encoder_sees_critic=True), seeing(vgh_by_hand)),
    "vgh++, encoder sees the critic": Case(
        vgh_plus_plus(encoder_sees_critic=True), seeing(vgh_plus_plus_by_hand)
    ),
}
CASES = {
    name: Case(
        system.objective(),
        BY_HAND[name],
        toy_of(system),
        CLIPPED.get(name),
        system.defaults.get("training.consensus", 0.0),
        system.defaults.get("training.unroll", 0),
    )
    for name, system in SYSTEMS.items()
    if name in BY_HAND
} | VARIANTS
every = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
plain = pytest.mark.parametrize(
    "case", [c for c in CASES.values() if c.plain], ids=[n for n, c in CASES.items() if c.plain]
)
order = pytest.mark.parametrize("simultaneous", [False, True], ids=["alternating", "simultaneous"])


class ByHand:
    """One step of gradient descent, by plain autograd."""

    def __init__(self, case: Case, nets: Mapping[str, nn.Module]) -> None:
        self.case, self.nets = case, nets
        self.now = {n: {k: p.detach().clone() for k, p in net.named_parameters()} for n, net in nets.items()}
        self.critics = [n for n in nets if n in case.objective.critics]
        self.model = [n for n in MODEL_NETS if n in nets]

    def moved(self, batches: list[Batch], simultaneous: bool) -> Weights:
        """Where every weight is after the step."""
        for b in batches:
            self.clip()
            last = b is batches[-1]
            if last and self.case.consensus:
                self.move(self.consensus(b))
                return self.now
            found = self.slopes(self.critics, self.now, b)
            if last and simultaneous:
                found |= self.slopes(self.model, self.now, b)
                self.move(found)
                return self.now
            self.move(found)
        self.move(self.slopes(self.model, self.now, batches[-1]))
        return self.now

    def clip(self) -> None:
        if self.case.clip:
            for n in self.critics:
                self.now[n] = {k: p.clamp(-self.case.clip, self.case.clip) for k, p in self.now[n].items()}

    def move(self, found: Weights) -> None:
        for n, gradients in found.items():
            self.now[n] = {k: self.now[n][k] - self.case.rate * g for k, g in gradients.items()}

    def losses(self, weights: Weights, b: Batch) -> Losses:
        return self.case.by_hand(Here(self.nets, weights, b.x, b.y, b.noise))

    def slopes(self, names: list[str], weights: Weights, b: Batch) -> Weights:
        """Each one's gradient of its own loss; the model's against critics that look ahead, where they do."""
        leaves = {n: {k: p.detach().requires_grad_() for k, p in ps.items()} for n, ps in weights.items()}
        seen = leaves
        for _ in range(self.case.unroll if set(names) & set(self.model) else 0):
            losses = self.losses(seen, b)
            ahead = {n: gradients(losses[n], seen[n]) for n in self.critics}
            seen = seen | {
                n: {k: p - self.case.rate * ahead[n][k] for k, p in seen[n].items()} for n in self.critics
            }
        losses = self.losses(seen, b)
        return {n: gradients(losses[n], leaves[n]) for n in names if n in losses}

    def consensus(self, b: Batch) -> Weights:
        """v + γ∇½‖v‖², v all gradients together."""
        leaves = {n: {k: p.detach().requires_grad_() for k, p in ps.items()} for n, ps in self.now.items()}
        losses = self.losses(leaves, b)
        v = {n: gradients(losses[n], leaves[n]) for n in leaves}
        half = 0.5 * sum((g**2).sum() for found in v.values() for g in found.values())
        more = {n: gradients(half, leaves[n]) for n in leaves}
        return {n: {k: g + self.case.consensus * more[n][k] for k, g in v[n].items()} for n in v}


def gradients(loss: Tensor, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """Differentiable gradients; zero where the loss does not depend on a leaf."""
    found = torch.autograd.grad(
        loss, list(leaves.values()), create_graph=True, allow_unused=True, materialize_grads=True
    )
    return dict(zip(leaves, found, strict=True))


def moved_by_hand(
    case: Case, nets: Mapping[str, nn.Module], batches: list[Batch], simultaneous: bool = False
) -> Weights:
    return ByHand(case, nets).moved(batches, simultaneous)


def assert_moved(state: State, expected: Weights, rtol: float, atol: float) -> None:
    for name, found in flat(state).items():
        net, _, key = name.partition(".")
        torch.testing.assert_close(found, expected[net][key].detach(), rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", SYSTEMS)
def test_its_equations_are_written_by_hand(name):
    assert name in BY_HAND, f"write what each net of {name} minimises, from its paper, into BY_HAND"


@every
@order
@pytest.mark.parametrize("seed", [0, 1])
def test_a_step_moves_every_weight_by_minus_the_papers_gradient(case, simultaneous, seed):
    nets, data = case.nets(seed), batch(case.objective, generator(seed + 10))
    expected = moved_by_hand(case, nets, [data], simultaneous)
    settings = case.settings(simultaneous=simultaneous)
    state, _ = case.step(nets, init(case.objective, nets, settings), [data], settings)
    before = {f"{n}.{k}": p for n, net in nets.items() for k, p in net.named_parameters()}
    assert_moved(state, expected, rtol=1e-10, atol=1e-12)
    for name, found in flat(state).items():
        net, _, key = name.partition(".")
        if key != "linear.bias" and not (key == "log_scale" and net == "decoder"):
            assert not torch.equal(found, before[name])


@every
@order
def test_several_critic_steps_each_on_its_own_batch(case, simultaneous):
    g = generator(3)
    nets, data = case.nets(), [batch(case.objective, g) for _ in range(3)]
    if not case.objective.critics:
        data = data[-1:]
    expected = moved_by_hand(case, nets, data, simultaneous)
    settings = case.settings(simultaneous=simultaneous)
    state, _ = case.step(nets, init(case.objective, nets, settings), data, settings)
    assert_moved(state, expected, rtol=1e-8, atol=1e-10)


@every
def test_functional_gradients_are_the_same(case):
    nets, data = case.nets(), batch(case.objective, generator(4))
    expected = moved_by_hand(case, nets, [data])
    settings = case.settings(functional=True)
    state, _ = case.step(nets, init(case.objective, nets, settings), [data], settings)
    assert_moved(state, expected, rtol=1e-10, atol=1e-12)


@plain
def test_the_model_losses_fall_along_their_own_step(case):
    """The sign, without a gradient: a small step against fixed critics lowers what each net minimises."""
    if case.clip:
        pytest.skip("clipping moves the critic")
    nets, data = case.nets(), batch(case.objective, generator(5), size=20)
    for net in case.objective.nets:
        settings = Settings(model=SGD(lr=1e-4), critics=SGD(lr=0.0))
        state = init(case.objective, nets, settings)
        before = {n: {k: p.clone() for k, p in ps.items()} for n, ps in state.params.items()}
        case.step(nets, state, [data], settings)
        after = before | {net: state.params[net]}
        losses = [case.by_hand(Here(nets, w, data.x, data.y, data.noise))[net] for w in (before, after)]
        assert losses[1] < losses[0]


@plain
def test_logs_hold_every_term_and_every_part_of_every_critic(case):
    objective, nets, data = case.objective, case.nets(), batch(case.objective, generator(6))
    settings = replace(DESCENT, simultaneous=True)
    state = init(objective, nets, settings)
    by_hand = ByHand(case, nets)
    by_hand.clip()
    losses = {n: v.item() for n, v in by_hand.losses(by_hand.now, data).items()}
    _, logs = case.step(nets, state, [data], settings)
    for critic in objective.critics:
        parts = [v for k, v in logs.items() if k.startswith(f"critic/{critic}/")]
        assert len(parts) >= 2 or next(iter(logs)) == f"critic/{critic}/mixed"
        assert sum(parts).item() == pytest.approx(losses[critic], rel=1e-10)
    at = {i: float(numbers_at(objective).get(f"{i}.weight", t.weight)) for i, t in enumerate(objective.terms)}
    for net in objective.nets:
        terms = [i for i, t in enumerate(objective.terms) if net in t.nets]
        if any(getattr(objective.terms[i], "generator", None) for i in terms):
            continue  # the logs hold what has no gradient too
        total = sum(at[i] * logs[objective.names[i]].item() for i in terms)
        assert total == pytest.approx(losses[net], rel=1e-10)
    assert not any(v.requires_grad for v in logs.values())


def test_a_net_that_no_term_moves_stays_bit_for_bit():
    objective = Objective(*(t.to("decoder") for t in vgh().terms[:2]))
    assert objective.nets == ("decoder",)
    nets, data = linear_nets(objective), batch(objective, generator(7))
    state = init(objective, nets, DESCENT)
    before = copied(state)
    step(objective, nets, state, [data], DESCENT)
    for k, p in flat(state).items():
        assert torch.equal(p, before[k]) == k.startswith("encoder.")


@pytest.mark.parametrize("name", [n for n, s in SYSTEMS.items() if "by" in s.options])
def test_every_net_learns_by_every_comparison(name):
    """A step moves every net of the system, whatever it is compared by."""
    system, tried = SYSTEMS[name], 0
    for by in COMPARISONS.values():
        try:
            objective = system.objective(by=by)
        except BadInput:  # its critic holds no ratio, and the system asks for one
            assert by.log_ratio is None
            continue
        nets = linear_nets(objective, toy=toy_of(system))
        settings = Settings(SGD(lr=1e-3), SGD(lr=1e-3))
        state = init(objective, nets, settings)
        before = copied(state)
        step(objective, nets, state, [batch(objective, generator(1))], settings, numbers_at(objective))
        moved = {k.partition(".")[0] for k, p in flat(state).items() if not torch.equal(p, before[k])}
        assert moved == {*objective.uses, *objective.critics}, by.name
        tried += 1
    assert tried >= 15


def test_a_net_that_no_term_moves_is_refused_unless_it_is_frozen():
    objective = Objective(Match(X_REC, X).to("decoder"))
    assert objective.unmoved == ("encoder",)
    nets = {n: net.float() for n, net in linear_nets(objective).items()}
    feed = Feed(objective, torch.zeros(20, 2), latent=2, batch_size=5)
    with pytest.raises(BadInput, match=r"no term of D\[p\(x̂\) ‖ p\*\(x\)\] moves the encoder.*freeze it"):
        Trainer(objective, nets, feed)
    nets["encoder"].requires_grad_(False)
    Trainer(objective, nets, feed).run(1)


def test_a_weight_of_zero_moves_nothing():
    assert Objective(Match(X_GEN, X), 0.0 * Distance()).unmoved == ("encoder",)
    assert Objective(Match(X_GEN, X), Ramp(0, 0, 10) * Distance()).unmoved == ("encoder",)
    assert Objective(Match(X_GEN, X), Ramp(0, 1, 10) * Distance()).unmoved == ()
    assert (NLL() + 0.0 * KL()).unmoved == ()
