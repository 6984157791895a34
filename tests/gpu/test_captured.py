"""A captured run is the eager run, to rounding. Run with `pytest -m gpu` where there is a CUDA device."""

import logging
from dataclasses import replace

import pytest
import torch
from torch import nn

from distmatch.networks import Shapes, build
from distmatch.objectives.objective import Objective
from distmatch.objectives.penalties import Clip, gradient_penalty
from distmatch.objectives.terms.likelihood import KL, NLL
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import X_GEN, X
from distmatch.schedules import Ramp
from distmatch.systems import find, gan, vae
from distmatch.training import SGD, Adam, Feed, RMSProp, Settings, Trainer
from distmatch.training.engine.cuda_graphs import BLOCK, WARM_UP
from distmatch.training.optimisers import cosine

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

STEPS, EVERY = 60, 20
ADAM = Settings(Adam(1e-3, beta1=0.5, eps=1e-5), Adam(1e-3, beta1=0.5, eps=1e-5))
SLOW = Settings(Adam(1e-3, schedule=cosine(STEPS)), Adam(1e-3, schedule=cosine(STEPS)))
FADING = NLL() + Ramp(0, 1, 40) * KL() + Match(X_GEN, X, critic="data", instance_noise=Ramp(0.5, 0, 30))
CASES = {
    "vae": ("mlp", vae(), ADAM, 1),
    "conv vae": ("dcgan", vae(), ADAM, 1),
    "gan": ("dcgan", gan(), ADAM, 1),
    "dcgan, bf16": ("dcgan", gan(), replace(ADAM, precision="bf16"), 1),
    "vae, tf32": ("mlp", vae(), replace(ADAM, precision="tf32"), 1),
    "wgan-gp": ("mlp", Objective(Match(X_GEN, X, penalty=gradient_penalty(10))), ADAM, 3),
    "clipped weights": ("mlp", Objective(Match(X_GEN, X, penalty=Clip(0.05))), ADAM, 2),
    "vgh++": ("dcgan", find("vgh++").objective(), ADAM, 1),
    "conditional": ("mlp", find("cgan").objective(), ADAM, 1),
    "simultaneous, clipped": ("mlp", gan(), replace(ADAM, simultaneous=True, clip_gradient=1.0), 1),
    "ema": ("mlp", gan(), replace(ADAM, ema=0.9), 1),
    "ramps": ("mlp", FADING, ADAM, 1),
    "schedule": ("mlp", gan(), SLOW, 2),
    "rmsprop": ("mlp", gan(), Settings(RMSProp(1e-4, eps=1e-4), SGD(1e-3, momentum=0.5)), 1),
    "unrolled": ("mlp", gan(), replace(ADAM, unroll=2), 1),
    "consensus": ("mlp", gan(), replace(ADAM, consensus=0.1), 1),
}


def trainer(case, engine, change=lambda nets: nets):
    family, objective, settings, critic_steps = CASES[case]
    shapes = Shapes(x=(1, 28, 28), latent=8, num_classes=10 if objective.labels else 0)
    torch.manual_seed(0)
    likelihood = "bernoulli" if objective.needs_likelihood else "implicit"
    options = {"width": 16, "critic_batch_norm": False} if family == "dcgan" else {"width": 32}
    nets = {p: build(family, p, shapes, likelihood=likelihood, options=options) for p in objective.uses}
    nets |= {
        c: build(family, "critic", shapes, spaces=s, options=options) for c, s in objective.critics.items()
    }
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(0, 256, (200, 1, 28, 28), generator=generator, dtype=torch.uint8)
    y = torch.randint(0, 10, (200,), generator=generator) if objective.labels else None
    feed = Feed(objective, x, y, latent=8, batch_size=16, device="cuda")  # an epoch ends within a block
    return Trainer(objective, change(nets), feed, settings, critic_steps, engine)


def train(made, steps=STEPS, every=EVERY):
    """As a run does: norms at logged steps, the others as they fit between; the lines of the log."""
    lines = []
    while made.steps_done < steps:
        left = every - made.steps_done % every
        logs = made.advance(norms=left == 1, most=left - 1)
        if made.steps_done % every == 0:
            lines.append({**made.collect(), **{k: v.item() for k, v in logs.items()}})
    return lines


def apart(one, other, start):
    """How far two runs' weights are apart, over how far they moved."""
    moved = sum((p - start[k]).square().sum().item() for k, p in weights(one).items())
    gap = sum((p - weights(other)[k]).square().sum().item() for k, p in weights(one).items())
    assert moved > 0
    return (gap / moved) ** 0.5


def weights(made):
    return {k: v for k, v in made.snapshot()[0].items() if k.startswith(("params/", "ema/"))}


def same_noise(one, other):
    return torch.equal(one.feed.generator.get_state(), other.feed.generator.get_state())


@pytest.mark.parametrize("case", CASES)
def test_captured_is_eager(case):
    eager, captured = trainer(case, "eager"), trainer(case, "captured")
    start = {k: v.clone() for k, v in weights(eager).items()}
    ours, theirs = train(eager), train(captured)
    assert captured.runs == "captured"
    assert captured._stepper._graphs.keys() == {(1, False), (BLOCK, False), (1, True)}
    assert apart(eager, captured, start) < 0.02
    assert same_noise(eager, captured)
    assert eager.snapshot()[1] == captured.snapshot()[1]
    for a, b in zip(ours, theirs, strict=True):
        assert a.keys() == b.keys()
        for name, value in a.items():
            assert b[name] == pytest.approx(value, rel=0.02, abs=0.02), name


@pytest.mark.parametrize("stop", [WARM_UP - 1, 17, 40])
@pytest.mark.parametrize("case", ["wgan-gp", "ramps", "ema"])
def test_a_captured_run_is_taken_up(case, stop):
    """Before anything is recorded, between replays, and at a logged step; the one that stopped goes on as well."""
    whole, stopped, fresh = (trainer(case, "captured") for _ in range(3))
    start = {k: v.clone() for k, v in weights(whole).items()}
    train(whole)
    train(stopped, stop, every=stop)
    tensors, info = stopped.snapshot()
    fresh.restore({k: v.clone() for k, v in tensors.items()}, info)
    train(fresh)
    train(stopped)
    for other in (fresh, stopped):
        assert apart(whole, other, start) < 0.02
        assert same_noise(whole, other)


def test_restoring_a_run_that_has_been_recorded():
    """The graphs go on with the tensors that were filled anew."""
    made, whole = trainer("vae", "captured"), trainer("vae", "captured")
    start = {k: v.clone() for k, v in weights(made).items()}
    train(made, 20)
    tensors, info = made.snapshot()
    tensors = {k: v.clone() for k, v in tensors.items()}
    train(made, 40)
    made.restore(tensors, info)
    train(made)
    train(whole)
    assert apart(made, whole, start) < 0.02
    assert same_noise(made, whole)


class Asking(nn.Module):
    """A decoder that looks at a value on the host, which no graph can hold."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, z):
        assert z.sum().item() < 1e9
        return self.inner(z)


def test_what_no_graph_can_hold_runs_eager_and_says_so_once(caplog):
    def change(nets):
        return nets | {"decoder": Asking(nets["decoder"])}

    with caplog.at_level(logging.WARNING):
        eager, asked = trainer("vae", "eager", change), trainer("vae", "auto", change)
        start = {k: v.clone() for k, v in weights(eager).items()}
        train(eager)
        train(asked)
    assert asked.runs == "eager"
    assert len(caplog.records) == 1
    assert caplog.records[0].getMessage().startswith("note: steps run eager: ")
    assert torch.cuda.current_stream() == torch.cuda.default_stream()
    assert apart(eager, asked, start) < 0.02
    assert same_noise(eager, asked)


def test_auto_is_captured_where_data_are_resident(caplog):
    assert trainer("vae", "auto").runs == "captured"
    far = trainer("vae", "eager")
    far.feed.x = far.feed.x.cpu()
    again = Trainer(far.objective, far.nets, far.feed, far.settings, engine="auto")
    assert again.runs == "eager"
    assert "do not fit on the device" in caplog.text


def test_compiled_is_eager():
    """Compiled steps are captured, too, where they can be."""
    eager, compiled = trainer("vae", "eager"), trainer("vae", "compiled")
    start = {k: v.clone() for k, v in weights(eager).items()}
    train(eager)
    train(compiled)
    assert compiled._stepper.recorder is not None
    assert apart(eager, compiled, start) < 0.05


def test_tf32_is_the_runs_own():
    before = torch.get_float32_matmul_precision()
    full, fast = trainer("vae", "eager"), trainer("vae, tf32", "eager")
    start = {k: v.clone() for k, v in weights(full).items()}
    train(full, 20)
    train(fast, 20)
    assert torch.get_float32_matmul_precision() == before
    assert 0 < apart(full, fast, start) < 0.1
