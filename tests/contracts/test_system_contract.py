"""Every system: eager = compiled = its vmap lane, with the nets that people train; and it learns what is known.

That its gradients are its paper's is in `tests/systems/test_gradients.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import pytest
import torch
from torch import Tensor, nn

from contracts.toys import LABELS, assert_same, batch, copied, flat, generator, linear_nets, stack
from distmatch.networks import Shapes, build
from distmatch.objective import Objective
from distmatch.systems import SYSTEMS
from distmatch.training.optimisers import SGD, Adam
from distmatch.training.step import Batch, Settings, State, init, step
from distmatch.variables import draw

K, ROUNDS, STEPS = 3, 2, 2
X_SHAPE, LATENT = (1, 4, 4), 2
OPTIONS = {"width": 8, "depth": 1, "code_width": 8, "code_depth": 1}
SETTINGS = Settings(  # ε well above the rounding of a clipped critic's gradients, which Adam would blow up
    players=Adam(lr=1e-2, eps=1e-5), critics=Adam(lr=2e-2, eps=1e-5)
)
every = pytest.mark.parametrize("objective", [s.objective() for s in SYSTEMS.values()], ids=SYSTEMS)


def mlps(objective: Objective, seed: int) -> dict[str, nn.Module]:
    """Nets of the package for tiny images, from a seed that leaves torch's generator alone."""
    shapes = Shapes(X_SHAPE, LATENT, LABELS if objective.given else 0)
    likelihood = "bernoulli" if objective.needs_likelihood else "implicit"
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        nets = {n: build("mlp", n, shapes, likelihood=likelihood, options=OPTIONS) for n in objective.uses}
        for name, spaces in objective.critics.items():
            nets[name] = build("mlp", "critic", shapes, spaces=spaces, options=OPTIONS)
    return nets


def batches(objective: Objective, seed: int) -> list[list[Batch]]:
    """For each step, one batch a critic step."""
    g = generator(seed)
    return [
        [batch(objective, g, 8, X_SHAPE, LATENT, torch.float32) for _ in range(ROUNDS)] for _ in range(STEPS)
    ]


def alone(objective: Objective, settings: Settings, seed: int) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """One run by itself: where its parameters end, and its last logs."""
    nets = mlps(objective, seed)
    state = init(objective, nets, settings)
    for data in batches(objective, seed):
        state, logs = step(objective, nets, state, data, settings)
    return copied(state), logs


def stacked(objective: Objective, settings: Settings) -> tuple[dict[str, nn.Module], State]:
    """The first state of K runs side by side."""
    nets = [mlps(objective, k) for k in range(K)]
    states = [init(objective, n, settings) for n in nets]
    for n in states[0].params:
        for key in states[0].params[n]:
            states[0].params[n][key] = torch.stack([s.params[n][key] for s in states])
    side = {"players": objective.players, "critics": tuple(objective.critics)}
    moments = {
        s: getattr(settings, s).init([p for n in names for p in states[0].params[n].values()])
        for s, names in side.items()
        if names
    }
    return nets[0], State(states[0].params, moments)


def together(
    objective: Objective,
    settings: Settings,
    numbers: Mapping[str, Tensor] | None = None,
    compiled: bool = False,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The K runs as lanes."""
    settings = replace(settings, lanes=True)
    nets, state = stacked(objective, settings)

    def take(state: State, data: list[Batch]) -> tuple[State, dict[str, Tensor]]:
        return step(objective, nets, state, data, settings, numbers)

    if compiled:
        torch.compiler.reset()
        take = torch.compile(take, fullgraph=True, backend="aot_eager")
    for lanes in zip(*[batches(objective, k) for k in range(K)], strict=True):
        state, logs = take(state, [stack(list(b)) for b in zip(*lanes, strict=True)])
    return copied(state), logs


def lane(values: dict[str, Tensor], k: int) -> dict[str, Tensor]:
    return {n: v[k] for n, v in values.items()}


@every
def test_compiled_equals_eager_and_its_parameters_move(objective):
    expected, expected_logs = alone(objective, SETTINGS, 0)
    nets, settings = mlps(objective, 0), replace(SETTINGS, functional=True)
    torch.compiler.reset()
    take = torch.compile(
        lambda state, data: step(objective, nets, state, data, settings), fullgraph=True, backend="aot_eager"
    )
    state = init(objective, nets, settings)
    start = copied(state)
    for data in batches(objective, 0):
        before = copied(state)
        state, logs = take(state, data)
        moved = [k for k, p in flat(state).items() if not torch.equal(p, before[k])]
        assert len(moved) > 0.7 * len(before)
    assert_same(flat(state), expected, rtol=1e-5, atol=1e-5)
    assert_same(logs, expected_logs, rtol=1e-4, atol=1e-5)
    for k, p in flat(state).items():
        far = (expected[k] - start[k]).norm()
        if not k.endswith("bias"):
            assert far > 1e-2 * len(p) ** 0.5 / 2
        torch.testing.assert_close((p - start[k]).norm(), far, rtol=1e-3, atol=1e-5)


def test_compiling_needs_no_eager_step_before_it():
    """What an objective keeps of itself is found out before the compiler looks."""
    expected, _ = alone(SYSTEMS["gan"].objective(), SETTINGS, 0)
    fresh, settings = SYSTEMS["gan"].objective(), replace(SETTINGS, functional=True)
    nets = mlps(fresh, 0)
    state = init(fresh, nets, settings)
    torch.compiler.reset()
    take = torch.compile(step, fullgraph=True, backend="aot_eager")
    for data in batches(fresh, 0):
        state, _ = take(fresh, nets, state, data, settings)
    assert_same(flat(state), expected, rtol=1e-5, atol=1e-5)


@every
@pytest.mark.parametrize("functional", [False, True], ids=["", "functional"])
@pytest.mark.parametrize("simultaneous", [False, True], ids=["alternating", "simultaneous"])
def test_a_lane_is_the_run_that_it_would_be_alone(objective, functional, simultaneous):
    settings = replace(SETTINGS, functional=functional, simultaneous=simultaneous)
    found, logs = together(objective, settings)
    for k in range(K):
        expected, expected_logs = alone(objective, settings, k)
        assert_same(lane(found, k), expected, rtol=1e-5, atol=1e-5)
        assert_same(lane(logs, k), expected_logs, rtol=1e-4, atol=1e-5)


@every
def test_lanes_differ_in_every_number_that_they_may_differ_in(objective):
    """Weights of terms and of penalties, and both learning rates: `(K,)` each."""
    paths = [n for n in objective.numbers() if n.endswith("weight")]
    numbers = {n: torch.tensor([0.5, 1.0, 3.0]) * (i + 1) for i, n in enumerate(paths)}
    rates = {"players": torch.tensor([0.01, 0.003, 0.02]), "critics": torch.tensor([0.005, 0.02, 0.01])}
    settings = Settings(**{side: SGD(lr=lr, momentum=0.5) for side, lr in rates.items()})
    found, logs = together(objective, settings, numbers)
    for k in range(K):
        one = objective.with_numbers({n: float(v[k]) for n, v in numbers.items()})
        single = Settings(**{side: SGD(lr=float(lr[k]), momentum=0.5) for side, lr in rates.items()})
        expected, expected_logs = alone(one, single, k)
        assert_same(lane(found, k), expected, rtol=1e-5, atol=1e-5)
        assert_same(lane(logs, k), expected_logs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["wgan-gp", "vgh++"])
def test_compiled_lanes_equal_lanes(name):
    objective = SYSTEMS[name].objective()
    settings = Settings(
        players=SGD(lr=torch.tensor([0.01, 0.02, 0.03])),
        critics=SGD(lr=0.02),
        functional=True,
        clip_gradient=5.0,
    )
    numbers = {n: torch.tensor([0.5, 1.0, 3.0]) for n in objective.numbers() if n.endswith("weight")}
    expected, expected_logs = together(objective, settings, numbers)
    found, logs = together(objective, settings, numbers, compiled=True)
    assert_same(found, expected, rtol=1e-5, atol=1e-5)
    assert_same(logs, expected_logs, rtol=1e-4, atol=1e-5)


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

    players: float = 0.02
    critics: float = 0.04
    betas: tuple[float, float] = (0.5, 0.9)
    average: float = 0.95
    steps: int = 300
    options: Mapping[str, float] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        b1, b2 = self.betas
        rates = {side: Adam(getattr(self, side), beta1=b1, beta2=b2) for side in ("players", "critics")}
        return Settings(**rates, average=self.average)


LESSONS = {
    "wgan": Lesson(critics=0.02, average=0.98, options={"bound": 0.5}),
    "wgan-gp": Lesson(critics=0.05, average=0.98, steps=600),
    "ali": Lesson(critics=0.01, betas=(0.0, 0.99)),
    "vgh": Lesson(steps=600, options={"weight": 1.0}),  # at 10 codes wait long for the decoder to follow them
    "vgh++": Lesson(options={"weight": 1.0}),
}


def learn(name: str, seed: int) -> dict[str, float]:
    """Linear nets at the end: how far the means of what the system matches are from one another."""
    lesson = LESSONS.get(name, Lesson())
    objective = SYSTEMS[name].objective(**lesson.options)
    nets, g = linear_nets(objective, seed, learned_scale=False), generator(seed + 100)
    state = init(objective, nets, lesson.settings)
    rounds = 2 if objective.critics else 1
    for _ in range(lesson.steps):
        data = [normal_data(objective, g, 64) for _ in range(rounds)]
        state, _ = step(objective, nets, state, data, lesson.settings)
    with torch.no_grad():
        load(nets, state)
        data = normal_data(objective, g, 4000)
        draws = draw(objective.variables, nets, data.x, data.noise, data.y)
        found = {}
        for t in objective.terms:
            for q, p in zip(getattr(t, "q", ()), getattr(t, "p", ()), strict=True):
                found[f"{q} to {p}"] = (draws[q].mean(0) - draws[p].mean(0)).norm().item()
        given = {} if data.y is None else {"y": data.y}
        samples = nets["decoder"](torch.randn(4000, 2, generator=g, dtype=torch.float64), **given).mean
        found["samples to data"] = (samples.mean(0) - data.x.mean(0)).norm().item()
    return found


def load(nets: Mapping[str, nn.Module], state: State) -> None:
    """Into the nets, the decoder's average instead of its last weights where one is kept."""
    for n, net in nets.items():
        for k, p in net.named_parameters():
            p.copy_(state.average.get(n, state.params[n])[k])


@pytest.mark.parametrize("name", SYSTEMS)
def test_it_brings_together_the_means_of_what_it_matches(name):
    """Data are 1.8 away from where the decoder starts."""
    for what, distance in learn(name, 0).items():
        assert distance < 0.3, what


def negative_elbo(seed: int, steps: int = 800) -> tuple[float, float]:
    """Of a linear VAE with one latent on correlated normal data in the plane; and the data's entropy."""
    objective = SYSTEMS["vae"].objective()
    nets, g = linear_nets(objective, seed, latent=1), generator(seed + 200)
    root = torch.tensor([[0.6, 0.0], [0.5, 0.3]], dtype=torch.float64)
    settings = Settings(players=Adam(lr=0.02))

    def data(size: int) -> Batch:
        x = CENTRE + torch.randn(size, 2, generator=g, dtype=torch.float64) @ root.T
        return replace(batch(objective, g, size, latent=1), x=x)

    state = init(objective, nets, settings)
    for _ in range(steps):
        state, _ = step(objective, nets, state, [data(128)], settings)
    _, logs = step(objective, nets, state, [data(20_000)], Settings(players=Adam(lr=0.0)))
    entropy = 0.5 * torch.logdet(2 * torch.pi * torch.e * root @ root.T)
    return sum(v.item() for v in logs.values()), entropy.item()


def test_a_linear_vae_reaches_the_entropy_of_normal_data():
    """Its negative ELBO is an upper bound of -E log p(x), which one latent and one σ can bring down to H[p*]."""
    reached, entropy = negative_elbo(0)
    assert entropy - 0.03 < reached < entropy + 0.06
