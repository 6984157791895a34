"""Looking at a run on its way changes nothing of it, and the statistics of seeds 000 and 003 know simple cases."""

import pytest
import torch

from distmatch.reproduction.framework.common import Judge, interval, watched
from distmatch.reproduction.framework.experiment import Bench
from distmatch.reproduction.icml2018.e23_conditioning import split
from distmatch.reproduction.mnist_notes.e14_vae_mnist import neighbourhood

SETTINGS = {
    "data.name": "digits",
    "system": "dcgan",
    "network.width": 4,
    "network.latent": 4,
    "training.steps": 8,
}


def test_a_run_that_is_looked_at_often_ends_as_one_that_is_not(tmp_path):
    bench = Bench("smoke", tmp_path)
    often, once = (watched(SETTINGS, 3, bench, looks, Judge(50, 0)) for looks in (4, 1))
    assert often is not None
    assert once is not None
    assert often.steps == [2, 4, 6, 8]
    assert torch.equal(often.trained.sample(5), once.trained.sample(5))
    assert often.seen["frechet"][-1] == once.seen["frechet"][-1]
    assert len(often.losses["match(x_gen, x)"]) == 4


def test_a_run_that_diverges_is_none(tmp_path):
    wild = {**SETTINGS, "system": "vae", "network.family": "mlp", "training.lr": 1e12}
    assert watched(wild, 0, Bench("smoke", tmp_path), 2, lambda trained: {}) is None


def test_two_clusters_hold_all_the_variance():
    assert split([0.0, 0.0, 5.0, 5.0]) == pytest.approx(1.0)
    assert split([0.0, 1.0, 2.0, 3.0]) < 0.9


def test_neighbours_of_codes_far_apart_are_of_their_own_class():
    classes = torch.arange(10).repeat_interleave(8)
    codes = torch.stack([100.0 * classes, torch.arange(80) % 8.0], 1)
    assert neighbourhood(codes, classes)["own_class"] == 1.0


def test_one_seed_has_no_interval():
    assert interval([2.0]) == (2.0, 0.0)
    assert interval([1.0, 3.0])[1] == pytest.approx(12.706, abs=1e-3)
