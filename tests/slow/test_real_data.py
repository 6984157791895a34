"""Trainings of minutes on real data, with the results that they must reach."""

import json
import os
from pathlib import Path

import pytest
import torch

from distmatch.data import load, to_unit
from distmatch.runs.build import layered
from distmatch.runs.demo import DEMO, LATENT
from distmatch.runs.evaluation import evaluate
from distmatch.runs.folder import RunFolder
from distmatch.runs.model import load_trained
from distmatch.runs.train import train

MNIST = Path(os.environ.get("DISTMATCH_TEST_DATA") or Path(__file__).parents[3] / "shared" / "data")

pytestmark = pytest.mark.slow


@pytest.mark.skipif(
    not (MNIST / "mnist").is_dir(), reason="DISTMATCH_TEST_DATA names no folder with MNIST's files"
)
def test_the_vae_reaches_minus_100_nats_on_mnist(tmp_path: Path) -> None:
    """By the command of the results page, whose rate falls: at a constant one the end is left to the last steps."""
    run = tmp_path / "vae"
    chosen = {
        "system": "vae",
        "data.name": "mnist",
        "data.dir": str(MNIST),
        "data.binarise": "dynamic",
        "training.epochs": 20,
        "training.schedule": "cosine",
    }
    train(layered(chosen), run)
    results, _ = evaluate(run, only=["elbo", "empirical_marginal_kl"])
    assert results.metrics["elbo"].value >= -100
    rate, kl = results.metrics["marginal_rate"].value, results.metrics["empirical_marginal_kl"].value
    assert rate - torch.tensor(55_000.0).log().item() - 0.1 <= kl <= rate
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert log[-1]["validation/nll"] < log[0]["nll"]


@pytest.mark.parametrize("system", ["gan", "vgh++"])
def test_the_demo_draws_all_ten_digits(system: str, tmp_path: Path) -> None:
    """A nearest-neighbour classifier of the real digits finds every class among the samples."""
    from sklearn.neighbors import KNeighborsClassifier

    run = tmp_path / "run"
    chosen = {"system": system, "data.name": "digits", "network.latent": LATENT}
    train(layered(chosen, DEMO[system]), run)
    trained, _ = load_trained(RunFolder.open(run))
    digits = load("digits").train
    judge = KNeighborsClassifier(3).fit(to_unit(digits.x).flatten(1).numpy(), digits.y.numpy())
    found = judge.predict(trained.sample(1000).flatten(1).numpy())
    counts = torch.bincount(torch.from_numpy(found), minlength=10)
    assert counts.min() >= 20, counts
