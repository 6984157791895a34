"""Lanes on a CUDA device, as they are and captured: the runs alone. Run with `pytest -m gpu` where there is one."""

from __future__ import annotations

import pytest
import torch

from distmatch.networks import Shapes, build
from distmatch.systems import SYSTEMS
from distmatch.training import Adam, Feed, Settings, Trainer
from distmatch.training.lanes.benchmark import faster, memory
from distmatch.training.lanes.lanes import Lanes

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def trainer(system: str, seed: int, engine: str) -> Trainer:
    """A run with a seed and a learning rate of its own."""
    objective = SYSTEMS[system].objective().over(100)
    shapes, options = Shapes(x=(1, 28, 28), latent=8), {"width": 32}
    torch.manual_seed(seed)
    likelihood = "bernoulli" if objective.needs_likelihood else "implicit"
    nets = {p: build("mlp", p, shapes, likelihood=likelihood, options=options) for p in objective.uses}
    nets |= {
        c: build("mlp", "critic", shapes, spaces=s, options=options) for c, s in objective.critics.items()
    }
    x = torch.randint(0, 256, (256, 1, 28, 28), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    feed = Feed(objective, x, latent=8, batch_size=16, seed=seed, device="cuda")
    lr = 1e-3 * (1 + seed)
    settings = Settings(Adam(lr, eps=1e-5), Adam(lr, eps=1e-5))
    return Trainer(objective, nets, feed, settings, critic_steps=2, engine=engine)  # type: ignore[arg-type]


def assert_close(found: Trainer, wanted: Trainer) -> None:
    ours, theirs = found.snapshot(), wanted.snapshot()
    assert ours[1] == theirs[1]
    assert ours[0].keys() == theirs[0].keys()
    for key, value in ours[0].items():
        torch.testing.assert_close(value.double(), theirs[0][key].double(), rtol=2e-3, atol=2e-3, msg=key)


@pytest.mark.parametrize("engine", ["eager", "captured"])
@pytest.mark.parametrize("system", ["vae", "wgan-gp", "vgh++"])
def test_lanes_are_the_runs_alone(system: str, engine: str) -> None:
    """Noise too, from one generator for each lane, through recordings of one step and of several."""
    lanes = Lanes([trainer(system, k, engine) for k in range(3)])
    alone = [trainer(system, k, "eager") for k in range(3)]
    while lanes.trainers[0].steps_done < 20:
        lanes.advance(most=20 - lanes.trainers[0].steps_done)
    for found, wanted in zip(lanes.trainers, alone, strict=True):
        for _ in range(20):
            wanted.advance()
        assert_close(found, wanted)
    if engine == "captured":
        assert lanes._stepper.recorder is not None, "the step was not captured"


def test_captured_lanes_go_on_without_a_frozen_one() -> None:
    lanes, alone = (
        Lanes([trainer("wgan-gp", k, "captured") for k in range(3)]),
        trainer("wgan-gp", 2, "eager"),
    )
    for turn in range(16):
        if turn == 7:
            lanes.freeze(0)
        lanes.advance()
        alone.advance()
    assert_close(lanes.trainers[2], alone)
    still = trainer("wgan-gp", 0, "eager")
    for _ in range(7):
        still.advance()
    assert_close(lanes.trainers[0], still)


def test_a_calibration_leaves_no_trace() -> None:
    made, untouched = ([trainer("vae", k, "captured") for k in range(2)] for _ in range(2))
    assert faster(made, steps=2).lanes > 0
    assert memory(made[0]).step > 0
    for found, wanted in zip(made, untouched, strict=True):
        for _ in range(3):
            found.advance()
            wanted.advance()
        assert_close(found, wanted)
