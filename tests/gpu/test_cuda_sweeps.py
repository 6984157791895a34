"""Run folders trained as lanes on a CUDA device. Run with `pytest -m gpu` where there is one."""

from dataclasses import replace

import pytest
import torch

from distmatch.runs.build import layered
from distmatch.runs.folder import RunFolder
from distmatch.runs.lanes import RunPlan, Shared, train_together
from distmatch.runs.train import train
from distmatch.training import checkpoint

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

CONFIG = layered(
    {
        "system": "vae",
        "data.name": "digits",
        "device": "cuda",
        "network.width": 32,
        "network.latent": 4,
        "training.steps": 60,
        "training.log_every": 20,
        "training.checkpoint_every": 40,
    }
)


def test_lanes_of_folders_are_the_runs_alone(tmp_path):
    runs = [RunPlan(tmp_path / f"lane-{seed}", replace(CONFIG, seed=seed)) for seed in (0, 1, 2)]
    train_together(runs, lanes=3, until=50)
    train_together(runs, lanes=3)  # taken up from where all of them are
    for run in runs:
        alone = tmp_path / f"alone-{run.config.seed}"
        train(run.config, alone)
        assert RunFolder(run.path).status() == "finished"
        ours, theirs = (checkpoint.read_latest(p / "checkpoints")[0] for p in (run.path, alone))
        for key, value in ours.items():
            torch.testing.assert_close(value, theirs[key], rtol=1e-3, atol=1e-3, msg=key)


def test_the_data_lie_on_the_device_once():
    shared = Shared()
    first, second = (shared.assembly(replace(CONFIG, seed=seed)).trainer.feed for seed in (0, 1))
    assert first.x.is_cuda
    assert first.x.data_ptr() == second.x.data_ptr()
