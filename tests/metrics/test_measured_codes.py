import dataclasses
import math

import pytest
import torch
from torch.distributions import Independent, MultivariateNormal, Normal

from distmatch.errors import BadInput
from distmatch.metrics import METRICS
from distmatch.metrics.codes import empirical_kl, kl_by_density, kl_by_ratio
from distmatch.metrics.codes.density_models import DensityFit
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.model import Model, Options
from distmatch.metrics.registry import BETTER
from distmatch.random import seeded

X = torch.randn(600, 2, generator=seeded(0))


def diagonal(x, y):
    return Independent(Normal(x / 2, math.sqrt(0.5)), 1)


def full(x, y):
    return MultivariateNormal(x / 2, 0.5 * torch.eye(2))


GAUSSIAN = Model(encode=diagonal, train=lambda: X, test=X.flip(0) + 0.001, latent=2)
OTHER = dataclasses.replace(GAUSSIAN, encode=full)
OPTIONS = Options(samples=1000)


def close(a, b):
    return abs(a.value - b.value) <= 4 * math.hypot(a.standard_error, b.standard_error)


def test_an_encoder_of_another_family_is_measured_as_well():
    plain, general = (
        METRICS["empirical_marginal_kl"](GAUSSIAN, OPTIONS).metrics,
        METRICS["empirical_marginal_kl"](OTHER, OPTIONS).metrics,
    )
    assert set(general) == {"empirical_marginal_kl", "marginal_rate", "mutual_information"}
    assert set(plain) == {*general, "total_correlation", "dimension_wise_kl"}
    for name in ("empirical_marginal_kl", "mutual_information"):
        assert close(plain[name], general[name])
    assert "MultivariateNormal" in general["empirical_marginal_kl"].how


def test_the_cap_on_the_data_is_said(monkeypatch):
    monkeypatch.setattr(empirical_kl, "GENERAL_DATA", 100)
    found = METRICS["empirical_marginal_kl"](OTHER, OPTIONS).metrics
    assert found["marginal_rate"].n == 100
    assert "random 100 of 600 training data" in found["empirical_marginal_kl"].how


def test_labels_follow_their_data(monkeypatch):
    monkeypatch.setattr(empirical_kl, "GENERAL_DATA", 100)
    x = torch.arange(300.0)[:, None].expand(-1, 2)

    def encode(x, y):
        assert torch.equal(x[:, 0], y.float())
        return full(x / 300, y)

    labelled = dataclasses.replace(OTHER, encode=encode, train=x, train_labels=lambda: x[:, 0].long())
    assert METRICS["empirical_marginal_kl"](labelled, OPTIONS).metrics["marginal_rate"].n == 100


@pytest.mark.parametrize("model", [GAUSSIAN, OTHER])
def test_a_learned_prior_takes_the_place_of_the_fixed_one(model):
    """Codes are N(0, 3/4) in both coordinates: nothing is left against that prior."""
    prior = Independent(Normal(torch.zeros(2), math.sqrt(0.75)), 1)
    learned = dataclasses.replace(model, prior=prior, standard_prior=False)
    found = METRICS["empirical_marginal_kl"](learned, OPTIONS).metrics
    assert (
        found["empirical_marginal_kl"].value
        < METRICS["empirical_marginal_kl"](model, OPTIONS).metrics["empirical_marginal_kl"].value
    )
    assert "dimension_wise_kl" not in found
    assert "prior" in found["empirical_marginal_kl"].how


def test_another_fixed_prior_is_refused():
    with pytest.raises(BadInput, match="compares with N"):
        METRICS["empirical_marginal_kl"](dataclasses.replace(GAUSSIAN, standard_prior=False), OPTIONS)


def test_the_two_others_say_the_same_of_an_easy_case(monkeypatch):
    monkeypatch.setattr(kl_by_ratio, "RATIO_STEPS", 150)
    monkeypatch.setattr(kl_by_density, "FIT", DensityFit(components=4, steps=60, width=16, lr=1e-2))
    heard = []
    far = dataclasses.replace(GAUSSIAN, test=X + 2)
    options = dataclasses.replace(OPTIONS, progress=heard.append)
    ratio = METRICS["marginal_kl_by_ratio"](far, options).metrics
    assert heard[-1] == 1.0
    density = METRICS["marginal_kl_by_density"](far, options).metrics
    assert heard[-1] == 1.0
    assert set(ratio) == {"kl_by_ratio", "kl_by_ratio_bound"}
    assert set(density) == {"kl_by_mixture", "kl_by_maf", "kl_by_lstm"}
    truth = 2 * 0.5 * (1 + 0.75 - 1 - math.log(0.75))
    for estimate in (*ratio.values(), *density.values()):
        assert estimate.value == pytest.approx(truth, abs=0.5)
        assert estimate.how


def test_the_populations_codes_are_those_of_held_out_data():
    """KL of N(0, 3/4) shifted by what half of the held-out data's shift leaves; training data are not shifted."""
    truth = 0.75 - 1 - math.log(0.75) + 1
    far = dataclasses.replace(GAUSSIAN, test=torch.randn(3000, 2, generator=seeded(1)) + 2)
    for model in (far, dataclasses.replace(far, encode=full)):
        found = METRICS["population_marginal_kl"](model, Options(samples=2000)).metrics
        low, high = (found[f"population_marginal_kl{end}"] for end in ("", "_upper"))
        assert low.n == 1200
        assert 0.4 < low.value < truth + 4 * low.standard_error
        assert close(high, Estimate(truth, 0.01, 2))
        assert "N = 2000 held-out" in high.how


def test_a_label_goes_with_its_datum_to_both_bounds():
    x = torch.arange(300.0)[:, None].expand(-1, 2)

    def encode(x, y):
        assert torch.equal(x[:, 0], y.float())
        return diagonal(x / 300, y)

    labels = x[:, 0].long()
    labelled = dataclasses.replace(
        GAUSSIAN, encode=encode, train=x, test=x.flip(0), train_labels=labels, test_labels=labels.flip(0)
    )
    assert METRICS["population_marginal_kl"](labelled, OPTIONS).metrics["population_marginal_kl"].n == 180


def test_the_population_is_compared_with_a_learned_prior_where_there_is_one():
    prior = Independent(Normal(torch.zeros(2), math.sqrt(0.75)), 1)
    learned = dataclasses.replace(
        GAUSSIAN, prior=prior, standard_prior=False, test=torch.randn(2000, 2, generator=seeded(1))
    )
    found = METRICS["population_marginal_kl"](learned, OPTIONS).metrics
    assert abs(found["population_marginal_kl"].value) < 0.02
    with pytest.raises(BadInput, match="compares with N"):
        METRICS["population_marginal_kl"](dataclasses.replace(learned, prior=None), OPTIONS)


def test_only_the_populations_kl_has_a_better_direction():
    better = BETTER
    assert better["population_marginal_kl"] == "lower"
    assert better["empirical_marginal_kl"] == better["population_marginal_kl_upper"] == ""
