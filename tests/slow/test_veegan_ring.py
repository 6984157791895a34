"""VEEGAN on the ring of eight: every mode, and half of the samples within 3σ of one."""

from pathlib import Path

import pytest

from distmatch.runs.build import layered
from distmatch.runs.evaluation import evaluate
from distmatch.runs.train import train

pytestmark = pytest.mark.slow

RING = {  # the zoo's; all else is the system's own: weight 1, the encoder sees the critic, β = (0.5, 0.999)
    "system": "veegan",
    "data.name": "ring",
    "network.latent": 2,
    "network.width": 64,
    "network.depth": 3,
    "training.batch_size": 128,
    "training.steps": 15_000,
    "training.lr": 2e-3,
    "training.schedule": "linear",
    "training.ema": 0.99,
}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_veegan_reaches_all_modes_of_the_ring(seed: int, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train(layered(RING | {"seed": seed}), run)
    results, _ = evaluate(run, only=["mode_coverage"])
    assert results.metrics["modes"].value == 8
    assert results.metrics["high_quality"].value >= 0.5
