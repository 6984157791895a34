"""Every system: eager = compiled = its vmap lane, with the nets that people train; and it learns what is known.

That its gradients are its paper's is in `tests/systems/test_gradients.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from contracts.toys import (
    LABELS,
    Toy,
    assert_same,
    batch,
    copied,
    flat,
    generator,
    linear_nets,
    numbers_at,
    stack,
    toy_of,
)
from distmatch.networks import NETWORKS, Shapes, build, prior
from distmatch.objectives.objective import Objective
from distmatch.objectives.variables import draw
from distmatch.systems import SYSTEMS, System
from distmatch.training.optimisers import SGD, Adam
from distmatch.training.step import Batch, Settings, State, init, step

K, ROUNDS, STEPS = 3, 2, 2
SMALL = {
    "mlp": {"width": 8, "depth": 1, "code_width": 8, "code_depth": 1, "lens_width": 4, "lens_blocks": 1},
    "pixelcnn": {"width": 4, "layers": 2, "kernel": 3, "code_width": 8, "code_depth": 1},
    "real-nvp": {"width": 4, "blocks": 1, "couplings": 1, "scales": 1},
    "progressive": {"width": 4, "most": 4, "stable": 1, "fade": 4},
}
SETTINGS = Settings(  # ε well above the rounding of a clipped critic's gradients, which Adam would blow up
    model=Adam(lr=1e-2, eps=1e-5), critics=Adam(lr=2e-2, eps=1e-5)
)


@dataclass(frozen=True)
class Model:
    """An objective, with the nets that its system trains, as small as they can be, and how it is stepped."""

    objective: Objective
    toy: Toy
    options: tuple[tuple[str, Any], ...] = ()
    consensus: float = 0.0
    unroll: int = 0

    @property
    def family(self) -> str:
        return self.toy.family if self.toy.family in SMALL else "mlp"

    @property
    def shapes(self) -> Shapes:
        x = (1, 4, 4)
        return Shapes(x, 16 if NETWORKS[self.family].flow else 2, LABELS if self.objective.labels else 0)

    def settings(self, **more: Any) -> Settings:
        return replace(SETTINGS, consensus=self.consensus, unroll=self.unroll, **more)

    def nets(self, seed: int) -> dict[str, nn.Module]:
        """Nets of the package for tiny images, from a seed that leaves torch's generator alone."""
        objective, shapes = self.objective, self.shapes
        explicit = objective.needs_likelihood and not NETWORKS[self.family].flow

        def make(role: str, **more: Any) -> nn.Module:
            if role == "prior":
                return prior(self.toy.prior, shapes, components=3)
            return build(self.family, role, shapes, options=SMALL[self.family] | dict(self.options), **more)

        more = {
            "encoder": {"posterior": self.toy.posterior},
            "decoder": {"likelihood": "bernoulli" if explicit else "implicit"},
        }
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            nets = {n: make(n, **more.get(n, {})) for n in objective.uses}
            nets |= {n: make("critic", spaces=spaces) for n, spaces in objective.critics.items()}
        for net in nets.values():
            net.double()  # float32's rounding is blown up, and how far depends on the processor
            if hasattr(net, "at"):
                net.at(3)
        return nets

    def batches(self, seed: int) -> list[list[Batch]]:
        """For each step, one batch a critic step."""
        g, shapes = generator(seed), self.shapes
        code = 32 if self.toy.posterior == "noise" else shapes.latent
        return [
            [batch(self.objective, g, 8, shapes.x, shapes.latent, code_noise=code) for _ in range(ROUNDS)]
            for _ in range(STEPS)
        ]

    def numbers(self) -> dict[str, Tensor]:
        return numbers_at(self.objective)


def model(system: System) -> Model:
    """What a system's own defaults ask for."""
    asked = {k.removeprefix("network."): v for k, v in system.defaults.items() if k.startswith("network.")}
    own = {k: v for k, v in asked.items() if k in ("spectral_norm", "symmetric", "uses_code")}
    if "minibatch_kernels" in asked:
        own["minibatch_kernels"] = 3
    training = {k: system.defaults.get(f"training.{k}", 0) for k in ("consensus", "unroll")}
    return Model(system.objective(), toy_of(system), tuple(own.items()), **training)


def models() -> dict[str, Model]:
    """One for each system; those that differ by the size of their nets alone share one."""
    found: dict[Model, str] = {}
    for name, system in SYSTEMS.items():
        one = model(system)
        if one.family != one.toy.family:
            one = replace(one, toy=replace(one.toy, family="mlp"))
        found.setdefault(one, name)
    return {name: one for one, name in found.items()}


SUBJECTS = models()
every = pytest.mark.parametrize("model", SUBJECTS.values(), ids=SUBJECTS)

ONE_OF_EACH_KIND = (  # of net, posterior, prior, term and step; the others of their kind are compiled by `make slow`
    *("vae", "vae-vamp", "iwae", "real-nvp", "wgan-gp", "sngan", "consensus-gan", "avb-ac", "age"),
)
every_but_slowly = pytest.mark.parametrize(
    "model",
    [
        pytest.param(one, id=name, marks=() if name in ONE_OF_EACH_KIND else pytest.mark.slow)
        for name, one in SUBJECTS.items()
    ],
)


def test_the_kinds_are_systems():
    assert SUBJECTS.keys() >= set(ONE_OF_EACH_KIND)


def alone(
    model: Model,
    settings: Settings,
    seed: int,
    numbers: Mapping[str, Tensor] | None = None,
    objective: Objective | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One run by itself: where its parameters end, and its last logs."""
    nets, objective = model.nets(seed), objective or model.objective
    state = init(objective, nets, settings)
    for data in model.batches(seed):
        state, logs = step(objective, nets, state, data, settings, model.numbers() | dict(numbers or {}))
    return copied(state), logs


def stacked(model: Model, settings: Settings) -> tuple[dict[str, nn.Module], State]:
    """The first state of K runs side by side."""
    objective = model.objective
    nets = [model.nets(k) for k in range(K)]
    states = [init(objective, n, settings) for n in nets]
    for part in ("params", "buffers"):
        for n, held in getattr(states[0], part).items():
            for key in held:
                held[key] = torch.stack([getattr(s, part)[n][key] for s in states])
    side = {"model": objective.nets, "critics": tuple(objective.critics)}
    moments = {
        s: getattr(settings, s).init([p for n in names for p in states[0].params[n].values()])
        for s, names in side.items()
        if names
    }
    return nets[0], replace(states[0], moments=moments)


def together(
    model: Model,
    settings: Settings,
    numbers: Mapping[str, Tensor] | None = None,
    compiled: bool = False,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The K runs as lanes."""
    settings = replace(settings, lanes=True)
    nets, state = stacked(model, settings)
    numbers = {k: v.expand(K) for k, v in model.numbers().items()} | dict(numbers or {})

    def take(state: State, data: list[Batch]) -> tuple[State, dict[str, Tensor]]:
        return step(model.objective, nets, state, data, settings, numbers)

    if compiled:
        torch.compiler.reset()
        take = torch.compile(take, fullgraph=True, backend="aot_eager")
    for lanes in zip(*[model.batches(k) for k in range(K)], strict=True):
        state, logs = take(state, [stack(list(b)) for b in zip(*lanes, strict=True)])
    return copied(state), logs


def lane(values: dict[str, Tensor], k: int) -> dict[str, Tensor]:
    return {n: v[k] for n, v in values.items()}


@every_but_slowly
def test_compiled_equals_eager_and_its_parameters_move(model):
    objective, numbers = model.objective, model.numbers()
    expected, expected_logs = alone(model, model.settings(), 0)
    nets, settings = model.nets(0), model.settings(functional=True)
    torch.compiler.reset()
    take = torch.compile(
        lambda state, data: step(objective, nets, state, data, settings, numbers),
        fullgraph=True,
        backend="aot_eager",
    )
    state = init(objective, nets, settings)
    start = copied(state)
    for data in model.batches(0):
        before = copied(state)
        state, logs = take(state, data)
        moved = [k for k, p in flat(state).items() if not torch.equal(p, before[k])]
        assert len(moved) > 0.7 * len(before)
    assert_same(flat(state), expected, rtol=1e-9, atol=1e-9)
    assert_same(logs, expected_logs, rtol=1e-9, atol=1e-9)
    for k, p in flat(state).items():
        far = (expected[k] - start[k]).norm()
        if not k.endswith("bias"):
            assert far > 1e-2 * len(p) ** 0.5 / 2
        torch.testing.assert_close((p - start[k]).norm(), far, rtol=1e-3, atol=1e-5)


def test_compiling_needs_no_eager_step_before_it():
    """What an objective keeps of itself is found out before the compiler looks."""
    expected, _ = alone(SUBJECTS["gan"], SETTINGS, 0)
    fresh, settings = SYSTEMS["gan"].objective(), replace(SETTINGS, functional=True)
    nets = SUBJECTS["gan"].nets(0)
    state = init(fresh, nets, settings)
    torch.compiler.reset()
    take = torch.compile(step, fullgraph=True, backend="aot_eager")
    for data in SUBJECTS["gan"].batches(0):
        state, _ = take(fresh, nets, state, data, settings)
    assert_same(flat(state), expected, rtol=1e-9, atol=1e-9)


@every
def test_a_lane_is_the_run_that_it_would_be_alone(model):
    same_as_alone(model, model.settings())


@every_but_slowly
@pytest.mark.parametrize("order", ["functional", "simultaneous", "functional and simultaneous"])
def test_a_lane_is_the_run_that_it_would_be_alone_in_every_order(model, order):
    same_as_alone(
        model, model.settings(functional="functional" in order, simultaneous="simultaneous" in order)
    )


def same_as_alone(model: Model, settings: Settings) -> None:
    """K runs as lanes end where each of them ends alone."""
    found, logs = together(model, settings)
    for k in range(K):
        expected, expected_logs = alone(model, settings, k)
        assert_same(lane(found, k), expected, rtol=1e-9, atol=1e-9)
        assert_same(lane(logs, k), expected_logs, rtol=1e-9, atol=1e-9)


@every
def test_lanes_differ_in_every_number_that_they_may_differ_in(model):
    """Weights of terms and of penalties, and both learning rates: `(K,)` each."""
    objective = model.objective
    paths = [n for n in objective.numbers() if n.endswith("weight")]
    numbers = {n: torch.tensor([0.5, 1.0, 3.0]) * (i + 1) for i, n in enumerate(paths)}
    rates = {"model": torch.tensor([0.01, 0.003, 0.02]), "critics": torch.tensor([0.005, 0.02, 0.01])}
    settings = model.settings(**{side: SGD(lr=lr, momentum=0.5) for side, lr in rates.items()})
    found, logs = together(model, settings, numbers)
    for k in range(K):
        one = objective.with_numbers({n: float(v[k]) for n, v in numbers.items()})
        single = model.settings(**{side: SGD(lr=float(lr[k]), momentum=0.5) for side, lr in rates.items()})
        expected, expected_logs = alone(model, single, k, objective=one)
        assert_same(lane(found, k), expected, rtol=1e-9, atol=1e-9)
        assert_same(lane(logs, k), expected_logs, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", ["wgan-gp", "vgh++"])
def test_compiled_lanes_equal_lanes(name):
    model = SUBJECTS[name]
    settings = model.settings(
        model=SGD(lr=torch.tensor([0.01, 0.02, 0.03])),
        critics=SGD(lr=0.02),
        functional=True,
        clip_gradient=5.0,
    )
    numbers = {n: torch.tensor([0.5, 1.0, 3.0]) for n in model.objective.numbers() if n.endswith("weight")}
    expected, expected_logs = together(model, settings, numbers)
    found, logs = together(model, settings, numbers, compiled=True)
    assert_same(found, expected, rtol=1e-9, atol=1e-9)
    assert_same(logs, expected_logs, rtol=1e-9, atol=1e-9)


# What is known after learning


CENTRE = torch.tensor([1.5, -1.0], dtype=torch.float64)


def normal_data(objective: Objective, g: torch.Generator, size: int) -> Batch:
    """x ~ N((1.5, -1), 0.5²), moved by 1 along the first axis for each label."""
    b = batch(objective, g, size)
    x = CENTRE + 0.5 * torch.randn(size, 2, generator=g, dtype=torch.float64)
    if b.y is not None:
        x = x + b.y[:, None] * torch.tensor([1.0, 0.0], dtype=torch.float64)
    return replace(b, x=x)


@dataclass(frozen=True)
class Lesson:
    """How a system is taught: what its toy needs to settle, in a second or less."""

    model: float = 0.02
    critics: float = 0.04
    betas: tuple[float, float] = (0.5, 0.9)
    ema: float = 0.95
    steps: int = 300
    options: Mapping[str, Any] = field(default_factory=dict)

    def settings(self, model: Model) -> Settings:
        b1, b2 = self.betas
        rates = {side: Adam(getattr(self, side), beta1=b1, beta2=b2) for side in ("model", "critics")}
        return model.settings(**rates, ema=self.ema)


WGAN_GP = Lesson(critics=0.05, ema=0.98, steps=600)
LESSONS = {
    "vae-rate": Lesson(options={"rate": 1.0, "weight": 1.0}),
    "pixelvae-rate": Lesson(options={"rate": 1.0, "weight": 1.0}),
    "wgan": Lesson(critics=0.02, ema=0.98, options={"penalty": "clip(0.5)"}),
    "wgan-gp": WGAN_GP,
    "real-nvp-wgan": WGAN_GP,
    "progressive-gan": WGAN_GP,
    "dragan": Lesson(steps=400, options={"penalty": "dragan(1)"}),
    "wae-gan": Lesson(critics=0.05, ema=0.98, steps=600, options={"weight": 1.0, "cost": 1.0}),
    "ali": Lesson(critics=0.01, betas=(0.0, 0.99)),
    "alice": Lesson(critics=0.01, betas=(0.0, 0.99)),
    "veegan": Lesson(steps=400, options={"penalty": "r1(1)"}),
    "alpha-gan": Lesson(options={"weight": 1.0, "penalty": "r1(1)"}),
    "vgh": Lesson(steps=600, options={"weight": 1.0}),  # at 10 codes wait long for the decoder to follow them
    "vgh++": Lesson(options={"weight": 1.0}),
}
UNTAUGHT = {
    "vae-mixture": "samples are of the learned prior, not of N(0, I)",
    "vae-vamp": "samples are of the learned prior, not of N(0, I)",
    "vae-flow-prior": "samples are of the learned prior, not of N(0, I)",
    "age": "its codes lie on the sphere, and the toy's z does not",
    "bgan": "a critic that is linear in the batch's mean lets the decoder circle around the data",
    "m-bgan": "a critic that is linear in the batch's mean lets the decoder circle around the data",
    "unrolled-gan": "five steps of the critic inside each of the model's take ten seconds",
}


def learn(name: str, seed: int) -> dict[str, float]:
    """Linear nets at the end: how far the means of what the system matches are from one another."""
    lesson, model = LESSONS.get(name, Lesson()), SUBJECTS[name]
    objective, settings = SYSTEMS[name].objective(**lesson.options), lesson.settings(model)
    nets = linear_nets(objective, seed, learned_scale=False, toy=model.toy)
    g = generator(seed + 100)
    state = init(objective, nets, settings)
    rounds = 2 if objective.critics else 1
    for i in range(lesson.steps):
        data = [normal_data(objective, g, 64) for _ in range(rounds)]
        numbers = numbers_at(objective, i / lesson.steps)
        state, _ = step(objective, nets, state, data, settings, numbers)
    with torch.no_grad():
        load(nets, state)
        data = normal_data(objective, g, 4000)
        pairs = [
            p for t in objective.terms for p in zip(getattr(t, "q", ()), getattr(t, "p", ()), strict=True)
        ]
        draws = draw([v for pair in pairs for v in pair], nets, data.x, data.noise, data.y)
        found = {f"{q} to {p}": (draws[q].mean(0) - draws[p].mean(0)).norm().item() for q, p in pairs}
        given = {} if data.y is None else {"y": data.y}
        samples = nets["decoder"](torch.randn(4000, 2, generator=g, dtype=torch.float64), **given).mean
        found["samples to data"] = (samples.mean(0) - data.x.mean(0)).norm().item()
    return found


def load(nets: Mapping[str, nn.Module], state: State) -> None:
    """Into the nets, the decoder's average instead of its last weights where one is kept."""
    for n, net in nets.items():
        for k, p in net.named_parameters():
            p.copy_(state.ema.get(n, state.params[n])[k])


TAUGHT_QUICKLY = (
    "aae",
    "ali",
    "avb",
    "gan-r1",
    "gmmn",
    "vae-gan",
    "wae-mmd",
    "wgan",
    "wgan-gp",
)  # of each kind


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=() if n in TAUGHT_QUICKLY else pytest.mark.slow)
        for n in SUBJECTS
        if n not in UNTAUGHT
    ],
)
def test_it_brings_together_the_means_of_what_it_matches(name):
    """Data are 1.8 away from where the decoder starts."""
    for what, distance in learn(name, 0).items():
        assert distance < 0.3, what


def negative_elbo(seed: int, steps: int = 800) -> tuple[float, float]:
    """Of a linear VAE with one latent on correlated normal data in the plane; and the data's entropy."""
    objective = SYSTEMS["vae"].objective()
    nets, g = linear_nets(objective, seed, latent=1), generator(seed + 200)
    root = torch.tensor([[0.6, 0.0], [0.5, 0.3]], dtype=torch.float64)
    settings = Settings(model=Adam(lr=0.02))

    def data(size: int) -> Batch:
        x = CENTRE + torch.randn(size, 2, generator=g, dtype=torch.float64) @ root.T
        return replace(batch(objective, g, size, latent=1), x=x)

    state = init(objective, nets, settings)
    for _ in range(steps):
        state, _ = step(objective, nets, state, [data(128)], settings)
    _, logs = step(objective, nets, state, [data(20_000)], Settings(model=Adam(lr=0.0)))
    entropy = 0.5 * torch.logdet(2 * torch.pi * torch.e * root @ root.T)
    return sum(v.item() for v in logs.values()), entropy.item()


def test_a_linear_vae_reaches_the_entropy_of_normal_data():
    """Its negative ELBO is an upper bound of -E log p(x), which one latent and one σ can bring down to H[p*]."""
    reached, entropy = negative_elbo(0)
    assert entropy - 0.03 < reached < entropy + 0.06
