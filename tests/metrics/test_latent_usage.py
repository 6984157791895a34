"""Used units: counts by both criteria, per-unit KL, error bars, pictures, refusals."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from distmatch.errors import BadInput
from distmatch.metrics import METRICS
from distmatch.metrics.likelihood.latent_usage import latent_usage, usage_plots
from distmatch.metrics.model import Model, Options
from distmatch.metrics.plots import Histograms, Lines
from distmatch.random import seeded


def encoder(n, seed=0):
    """Four units: used, at the prior, a constant mean away from 0, a constant σ away from 1."""
    x = torch.randn(n, generator=seeded(seed))
    zero, one = torch.zeros(n), torch.ones(n)
    return torch.stack([0.9 * x, zero, zero + 0.5, zero], 1), torch.stack([0.4 * one, one, one, 0.5 * one], 1)


def test_the_two_criteria_differ_where_a_unit_costs_and_says_nothing():
    found = latent_usage(*encoder(500))
    assert (found.active_by_variance.value, found.active_by_kl.value) == (1.0, 3.0)
    assert found.active.tolist() == [True, False, False, False]
    assert (found.active_by_variance.n, found.active_by_variance.standard_error) == (500, 0.0)


def test_per_unit_kl_is_torchs_own():
    loc, scale = encoder(300)
    kl = kl_divergence(Normal(loc.double(), scale.double()), Normal(0.0, 1.0))
    found = latent_usage(loc, scale)
    assert torch.allclose(found.kl, kl.mean(0))
    assert torch.allclose(found.kl_errors, kl.std(0) / math.sqrt(300))
    assert torch.allclose(found.variances, loc.double().var(0))
    assert found.rate.value == pytest.approx(float(kl.sum(1).mean()))
    assert found.rate.standard_error == pytest.approx(float(kl.sum(1).std()) / math.sqrt(300))


def test_the_bootstrap_is_the_plain_one():
    """Against resampling rows and computing everything again, in a loop."""
    loc, scale = graded(60, 3)
    found = latent_usage(loc, scale, resamples=600)
    generator, plain = seeded(9), []
    for _ in range(600):
        rows = torch.randint(60, (60,), generator=generator)
        again = latent_usage(loc[rows], scale[rows], resamples=2)
        plain.append([again.active_by_variance.value, again.active_by_kl.value])
    expected = torch.tensor(plain).std(0)
    assert found.active_by_variance.standard_error == pytest.approx(float(expected[0]), rel=0.15)
    assert found.active_by_kl.standard_error == pytest.approx(float(expected[1]), rel=0.15)


UNITS = 60
SPREADS = torch.linspace(0.06, 0.14, UNITS)  # standard deviations of means, around the threshold 0.1


def graded(n, seed):
    noise = torch.randn(n, UNITS, generator=seeded(seed))
    return SPREADS * noise, torch.ones(n, UNITS)


def test_the_errors_cover_the_truth():
    """Count of units with Var > 0.01, and the KL of a unit, ½ Var: known for the encoder of `graded`."""
    count, repeats, hits, rates = float((SPREADS.square() > 0.01).sum()), 150, 0, 0
    rate = float(0.5 * SPREADS.square().sum())
    for seed in range(repeats):
        found = latent_usage(*graded(200, seed), resamples=60, seed=seed)
        low, high = found.active_by_variance.interval()
        hits += low <= count <= high
        low, high = found.rate.interval()
        rates += low <= rate <= high
    assert 0.90 <= hits / repeats <= 0.99
    assert 0.90 <= rates / repeats <= 0.99


def test_one_unit_near_its_threshold_is_covered():
    """Unit KLs of 0.0106 and 0.0096 nats with N = 200: which are above 0.01 is chance, and the truth is one."""
    hits, variances = 0, torch.tensor([0.021, 0.019], dtype=torch.float64)
    for seed in range(200):
        loc = variances.sqrt() * torch.randn(200, 2, generator=seeded(seed), dtype=torch.float64)
        found = latent_usage(loc, (1 - variances).sqrt().expand(200, 2), resamples=20, seed=seed).active_by_kl
        low, high = found.interval()
        hits += low <= 1 <= high
    assert hits / 200 >= 0.95


def test_thresholds_are_arguments():
    loc, scale = encoder(200)
    found = latent_usage(loc, scale, variance=2.0, kl=0.2)
    assert (found.active_by_variance.value, found.active_by_kl.value) == (0.0, 2.0)
    assert "Var_x E[z_i|x] > 2" in found.active_by_variance.how


def test_wide_codes_are_chunked_alike():
    loc = torch.randn(40, 1100, generator=seeded(1)) * 0.1
    whole = latent_usage(loc, torch.ones_like(loc), resamples=70)
    halves = [latent_usage(part, torch.ones_like(part)) for part in loc.split(550, 1)]
    assert whole.active_by_variance.value == sum(h.active_by_variance.value for h in halves)


def test_pictures():
    loc, scale = encoder(400)
    found = latent_usage(loc, scale)
    lines, means, scales = usage_plots(found, loc, scale)
    assert isinstance(lines, Lines)
    assert (lines.series["KL of the unit"].diff() <= 0).all()
    assert isinstance(means, Histograms)
    assert means.series["active units"].shape == (400,)
    assert scales.series["other units"].shape == (1200,)
    all_off = torch.zeros(400, 2), torch.ones(400, 2)
    assert list(usage_plots(latent_usage(*all_off), *all_off)[1].series) == ["other units"]


def test_the_entry_and_randomness():
    loc, scale = encoder(120)
    model = Model(encode=lambda x, y: Normal(loc[: len(x)], scale[: len(x)]), train=torch.zeros(120, 1))
    before = torch.get_rng_state()
    found = METRICS["latent_usage"](model, Options())
    assert torch.equal(before, torch.get_rng_state())
    assert {name: e.value for name, e in found.metrics.items()} == {
        "active_units": 1.0,
        "active_units_kl": 3.0,
    }
    graded_twice = [latent_usage(*graded(50, 0), seed=3).active_by_kl for _ in range(2)]
    assert graded_twice[0] == graded_twice[1]


def test_refusals():
    loc, scale = encoder(10)
    with pytest.raises(BadInput, match="same shape"):
        latent_usage(loc, scale[:, :2])
    with pytest.raises(BadInput, match="scale must be positive"):
        latent_usage(loc, 0 * scale)
    with pytest.raises(BadInput, match="too small"):
        latent_usage(loc[:1], scale[:1])
    with pytest.raises(BadInput, match="NaN"):
        latent_usage(loc * math.nan, scale)
    with pytest.raises(BadInput, match="thresholds"):
        latent_usage(loc, scale, variance=-1)
    with pytest.raises(BadInput, match="resamples is 1"):
        latent_usage(loc, scale, resamples=1)
