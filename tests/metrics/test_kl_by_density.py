import math

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import nn
from torch.distributions import Independent, Normal

from distmatch.errors import BadInput
from distmatch.metrics.codes import kl_by_density
from distmatch.metrics.codes.density_models import (
    DENSITY_MODELS,
    AutoregressiveLSTM,
    DensityFit,
    _trained,
    fit_gaussian,
    fit_mixture,
)
from distmatch.metrics.codes.empirical_kl import empirical_marginal_kl
from distmatch.metrics.codes.kl_by_density import marginal_kl_by_density
from distmatch.random import seeded

QUICK = DensityFit(components=8, steps=300, width=32, lr=1e-2)


def wide(n, seed):
    """N(1, 0.5²) in two coordinates: KL to N(0, I) is 1 + 0.25 - 1 + 2 ln 2."""
    return 1 + 0.5 * torch.randn(n, 2, generator=seeded(seed), dtype=torch.double)


TRUTH = 2 * (0.5 * (1 + 0.25 - 1) + math.log(2))


@pytest.mark.parametrize("model", DENSITY_MODELS)
def test_a_gaussian_of_known_kl(model):
    found = marginal_kl_by_density(wide(5000, 0), model, fit=QUICK)
    assert found.n == 1000
    assert found.value == pytest.approx(TRUTH, abs=4 * found.standard_error + 0.03)
    assert model in found.how
    assert "lower bound" in found.how


@pytest.mark.parametrize("model", DENSITY_MODELS)
def test_at_most_the_kl_of_a_mixture(model):
    loc = torch.tensor([[-1.5, 0.0], [1.5, 0.5], [0.0, 2.0]])
    scale = torch.full((3, 2), 0.3)
    own = torch.randint(3, (6000,), generator=seeded(1))
    codes = loc[own] + 0.3 * torch.randn(6000, 2, generator=seeded(2))
    truth = empirical_marginal_kl(loc, scale, decompose=False).empirical_marginal_kl.value
    found = marginal_kl_by_density(codes, model, fit=QUICK)
    assert 0.3 * truth < found.value <= truth + 3 * found.standard_error
    if model == "mixture":
        assert found.value == pytest.approx(truth, abs=3 * found.standard_error)


def test_correlation_is_seen_by_what_is_autoregressive():
    """KL of a normal with correlation 0.9 is -ln(1 - 0.81)/2 = 0.83; a single diagonal Gaussian sees none of it."""
    z = torch.randn(6000, 2, generator=seeded(0))
    z[:, 1] = 0.9 * z[:, 0] + math.sqrt(0.19) * z[:, 1]
    truth = -0.5 * math.log(0.19)
    for model in ("maf", "lstm"):
        assert marginal_kl_by_density(z, model, fit=QUICK).value == pytest.approx(truth, abs=0.15)
    assert abs(marginal_kl_by_density(z, "mixture", fit=DensityFit(components=1)).value) < 0.05


def test_one_component_is_the_normal_of_the_moments():
    z = wide(500, 3)
    log_density = fit_mixture(z[:400], z[400:], DensityFit(components=1))
    expected = multivariate_normal(z.mean(0).numpy(), np.diag(z.var(0, correction=0).numpy() + 1e-6))
    assert np.allclose(log_density(z).numpy(), expected.logpdf(z.numpy()))


def test_a_gaussian_has_the_moments_and_the_correlations_where_there_are_codes_enough():
    mixing = torch.tensor([[1.0, 0.8], [0.0, 0.6]], dtype=torch.double)
    z = wide(40, 3) @ mixing
    for few, covariance in ((z, z.T.cov()), (z[:8], z[:8].var(0).diag())):
        log_density = fit_gaussian(few[:6], few[6:], DensityFit())
        expected = multivariate_normal(few.mean(0).numpy(), covariance.numpy() + 1e-6 * np.eye(2))
        assert np.allclose(log_density(z).numpy(), expected.logpdf(z.numpy()))


def test_the_lstm_is_a_density_and_sees_only_what_came_before():
    with torch.random.fork_rng():
        torch.manual_seed(1)
        net = AutoregressiveLSTM(8)
    axis = torch.linspace(-12, 12, 241)
    with torch.no_grad():
        total = net(torch.cartesian_prod(axis, axis)).exp().sum() * (axis[1] - axis[0]) ** 2
    assert float(total) == pytest.approx(1, abs=1e-3)


def test_the_interval_covers_at_its_rate():
    """A model that holds the truth: KL(q‖m) is about 4/2n = 0.0005, a twentieth of the error."""
    hits = 0
    for seed in range(150):
        found = marginal_kl_by_density(wide(5000, seed), fit=DensityFit(components=1), seed=seed)
        low, high = found.interval()
        hits += low <= TRUTH <= high
    assert 0.90 <= hits / 150 <= 0.99


def test_shifting_codes_and_prior_together_changes_nothing():
    prior = Independent(Normal(torch.full((2,), 100.0), torch.full((2,), 10.0)), 1)
    moved = marginal_kl_by_density(100 + 10 * wide(2000, 0), prior=prior, fit=DensityFit(components=2))
    plain = marginal_kl_by_density(wide(2000, 0), fit=DensityFit(components=2))
    assert moved.value == pytest.approx(plain.value, abs=1e-4)


@pytest.mark.parametrize(
    ("codes", "model", "match"),
    [
        (torch.zeros(20, 2), "mixture", "at least 30"),
        (torch.zeros(50), "mixture", "shape"),
        (torch.full((50, 2), math.nan), "mixture", "NaN"),
        (torch.ones(50, 2), "mixture", "does not vary"),
        (wide(50, 0), "maff", "did you mean 'maf'"),
    ],
)
def test_degenerate_input_is_refused(codes, model, match):
    with pytest.raises(BadInput, match=match):
        marginal_kl_by_density(codes, model)


def test_a_fit_that_diverges_is_refused():
    with pytest.raises(BadInput, match="lower lr"):
        marginal_kl_by_density(wide(100, 0), "lstm", fit=DensityFit(steps=1, lr=math.inf))


@pytest.mark.parametrize("model", DENSITY_MODELS)
def test_repeats_by_seed_and_leaves_global_randomness_alone(model):
    before, state, heard = torch.random.get_rng_state(), np.random.get_state()[1].copy(), []
    few = DensityFit(components=3, steps=20, width=8)
    first, again, other = (
        marginal_kl_by_density(wide(300, 0), model, fit=few, seed=s, progress=heard.append) for s in (1, 1, 2)
    )
    assert first == again != other
    assert heard[-1] == 1.0
    assert torch.equal(before, torch.random.get_rng_state())
    assert np.array_equal(state, np.random.get_state()[1])


def test_the_estimate_is_over_codes_that_the_fit_has_not_seen(monkeypatch):
    """Seven tenths train, one stops, and the value is the mean over the last two, in an order of chance."""
    seen = []

    def fitter(training, validation, fit):
        seen.extend([training, validation])
        return lambda z: z[:, 0].double()

    monkeypatch.setattr(kl_by_density, "DENSITY_MODELS", {"mixture": fitter})
    codes = torch.arange(100.0, dtype=torch.double)[:, None]
    prior = Independent(Normal(torch.tensor([50.0]), torch.tensor([30.0])), 1)
    found = marginal_kl_by_density(codes, prior=prior, seed=3)
    z = codes[torch.randperm(100, generator=seeded(3))]
    fitted = z[:80]
    assert torch.allclose(torch.cat(seen).double(), (fitted - fitted.mean()) / fitted.std(), atol=1e-5)
    assert [len(part) for part in seen] == [70, 10]
    log_m = (z[80:, 0] - fitted.mean()) / fitted.std() - fitted.std().log()
    log_p = Normal(50.0, 30.0).log_prob(z[80:, 0])
    assert found.n == 20
    assert found.value == pytest.approx(float((log_m - log_p).mean()), abs=1e-5)


def test_the_weights_are_those_of_the_best_look_at_validation_codes():
    """Training codes draw the mean from 0 to 10 in steps of 1; validation codes are best at 2."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.zeros_(net.weight)
    log_density = _trained(
        net,
        lambda z: Normal(net.weight[0, 0], 1.0).log_prob(z[:, 0]),
        torch.full((40, 1), 10.0),
        torch.full((9, 1), 2.0),
        DensityFit(steps=9, every=1, lr=1.0, patience=20),
    )
    with torch.no_grad():
        assert float(net.weight) == pytest.approx(2, abs=0.3)
        assert float(log_density(torch.full((1, 1), 2.0))) == pytest.approx(-0.919, abs=0.05)
