"""Claims do not favour a side: equally good systems come out equal, and a critic is not asked about what it learned."""

import math
from statistics import fmean, stdev
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from distmatch.reproduction.framework.experiment import Numbers, Record, Results
from distmatch.reproduction.icml2018.e23_conditioning import spectrum_spread, split
from distmatch.reproduction.registry import EXPERIMENTS
from distmatch.reproduction.rosca2018 import e02_likelihoods

SEEDS = 100


def equally_good(cells) -> Results:
    """Every number of every run is an independent normal one."""
    generator = np.random.default_rng(0)
    names = ("critic", "frechet", "inception", "kl_density")
    return Results(
        [
            Record(cell, seed, Numbers({name: float(generator.normal()) for name in names}), 0.0)
            for seed in range(SEEDS)
            for cell in cells
        ]
    )


@pytest.mark.parametrize(
    ("name", "scale"), [("E9", "cpu"), ("E9", "paper"), ("E11", "cpu"), ("E20", "cpu"), ("hybrids", "cpu")]
)
def test_as_many_tries_are_compared_on_both_sides(name, scale):
    experiment = EXPERIMENTS[name]
    found = equally_good(experiment.cells(scale))
    late = [claim for claim in experiment.claims if claim.late]
    assert late
    for claim in late:
        values = claim.value(found)
        assert abs(fmean(values)) < 3.5 * stdev(values) / math.sqrt(SEEDS), claim.sentence


def test_the_gap_is_of_samples_that_the_critic_has_not_seen(monkeypatch):
    """Samples of the critic's seed are black, all others are grey; f is the mean pixel, reconstructions are white."""
    images = torch.ones(8, 1, 4, 4) * torch.linspace(0, 1, 4)
    model = SimpleNamespace(
        decode=lambda z, y: SimpleNamespace(mean=torch.ones(len(z), 1, 4, 4)),
        sample=lambda n, seed: torch.full((n, 1, 4, 4), 0.25 * (seed > 0)),
    )
    critic = SimpleNamespace(critic=lambda x: x.flatten(1).mean(1), test=SimpleNamespace(value=0.0))
    monkeypatch.setattr(e02_likelihoods, "images_of", lambda *_: images)
    monkeypatch.setattr(e02_likelihoods, "posteriors", lambda *_: (torch.zeros(4, 2), torch.ones(4, 2), None))
    monkeypatch.setattr(e02_likelihoods, "independent_critic", lambda *_, **__: critic)
    assert e02_likelihoods.pictures(model, 4, 1)["fresh_gap"] == pytest.approx(0.75)


def test_the_mark_of_two_clusters_is_that_of_normal_numbers():
    """The 95 % point of the best split of ten normal numbers is the claim's threshold."""
    generator = np.random.default_rng(0)
    found = [split(generator.normal(size=10).tolist()) for _ in range(1_500)]
    claim = EXPERIMENTS["E23"].claims[0]
    assert np.quantile(found, 0.95) == pytest.approx(claim.expected.low, abs=0.01)


def test_spectra_of_as_many_runs_are_compared():
    """Ten GANs of which the last five differ: only as many count as there are VAEs."""
    spectra = {"gan": [[1.0]] * 5 + [[10.0]] * 5, "vae": [[1.0]] * 5}
    records = [
        Record({"system": system, "run": k}, 0, Numbers({}, {"spectrum": curve}), 0.0)
        for system, curves in spectra.items()
        for k, curve in enumerate(curves)
    ]
    assert spectrum_spread("gan")(Results(records)) == [0.0]
