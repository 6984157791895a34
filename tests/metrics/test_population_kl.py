import math
from types import MappingProxyType

import pytest
import torch
from torch.distributions import (
    Categorical,
    Independent,
    Laplace,
    MixtureSameFamily,
    MultivariateNormal,
    Normal,
    kl_divergence,
)

from distmatch.distributions.points import Delta
from distmatch.errors import BadInput
from distmatch.metrics import DensityFit, empirical_marginal_kl, population_marginal_kl
from distmatch.metrics.codes import population_kl
from distmatch.metrics.codes.population_kl import stacking_weights
from distmatch.random import seeded

QUICK = DensityFit(components=3)


def normal(n, d, seed):
    return torch.randn(n, d, generator=seeded(seed), dtype=torch.double)


def around(scale, distribution=Normal):
    """x -> N(x, scale²), or another family."""
    return lambda x: Independent(distribution(x, scale), 1)


def halves(x):
    return x[::2], x[1::2]


@pytest.mark.parametrize("d", [2, 10])
def test_codes_that_follow_the_prior_rank_below_shifted_ones_where_the_empirical_kl_saturates(d):
    """Codes exactly N(0, I) with σ = 0.01, and the same with 1.25 nats."""
    x = normal(4000, d, 0) * math.sqrt(1 - 0.01**2)
    shift = math.sqrt(2 * 1.25 / d)
    found = [population_marginal_kl(around(0.01), *halves(x + s), fit=QUICK) for s in (0, shift)]
    plain, moved = (f.population_marginal_kl for f in found)
    assert -0.02 < plain.value < 0.005
    assert moved.value == pytest.approx(1.25, abs=4 * moved.standard_error + 0.02)
    assert moved.interval()[0] > plain.interval()[1]
    assert empirical_marginal_kl(x[::2], torch.full_like(x[::2], 0.01)).empirical_marginal_kl.value > 1.25
    assert found[0].interval()[0] == 0
    assert "no difference was found" in plain.how
    assert "no difference was found" not in moved.how
    assert all("WARNING: R = " in f.upper.how for f in found)


def linear(seed, n=600):
    """x ~ N(0, I) in three dimensions, q(z|x) = N(Ax, σ²): data and KL of q(z) = N(0, AAᵀ + σ²)."""
    mixing = torch.tensor([[0.9, 0.3, 0.0], [0.8, 0.0, -0.2]], dtype=torch.double)
    codes = normal(n, 3, seed) @ mixing.T
    distribution = MultivariateNormal(torch.zeros(2).double(), mixing @ mixing.T + 0.5**2 * torch.eye(2))
    standard = MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
    return codes, float(kl_divergence(distribution, standard))


def test_a_linear_gaussian_encoder_lies_between_the_bounds():
    codes, truth = linear(0, 20_000)
    found = population_marginal_kl(around(0.5), *halves(codes), fit=QUICK)
    for bound in (found.population_marginal_kl, found.upper):
        assert bound.value == pytest.approx(truth, abs=4 * bound.standard_error + 0.01)
    low, high = found.interval(0.999)
    assert low <= truth <= high < low + 0.2
    assert "WARNING" not in found.upper.how


def test_the_interval_covers_the_populations_kl():
    """Over data sets; each bound alone falls short of it, or passes it, by what it is short of the truth."""
    hits, below, above, repetitions = 0, 0, 0, 100
    for seed in range(repetitions):
        codes, truth = linear(seed)
        found = population_marginal_kl(
            around(0.5), *halves(codes), models=(), fit=DensityFit(components=1), seed=seed
        )
        low, high = found.interval()
        hits += low <= truth <= high
        below += low <= truth
        above += truth <= high
    assert hits / repetitions >= 0.94
    assert below / repetitions >= 0.95
    assert above / repetitions >= 0.95


@pytest.mark.parametrize("side", ["population_marginal_kl", "upper"])
def test_errors_are_as_large_as_the_spread_over_data_sets(side):
    found = [
        getattr(population_marginal_kl(around(0.5), *halves(linear(s)[0]), models=(), seed=s), side)
        for s in range(120)
    ]
    spread = torch.tensor([e.value for e in found]).std()
    stated = torch.tensor([e.standard_error for e in found]).square().mean().sqrt()
    assert 0.8 < float(stated / spread) < 1.25


def clusters(scale, distribution=Normal):
    """Five clusters in four dimensions: data, and KL of the population's q(z) to N(0, I) by 10⁵ draws, plain torch."""
    centres = 1.5 * normal(5, 4, 1)
    q = MixtureSameFamily(Categorical(torch.ones(5)), Independent(distribution(centres, scale), 1))
    with torch.random.fork_rng():
        torch.manual_seed(2)
        z = q.sample((100_000,))
    gaps = q.log_prob(z) - Normal(0, 1).log_prob(z).sum(1)
    return centres[torch.randint(5, (4000,), generator=seeded(3))], float(gaps.mean())


@pytest.mark.parametrize("distribution", [Normal, Laplace])
def test_the_training_posteriors_are_a_density_that_is_exact_for_a_few_clusters(distribution):
    """Whatever the family: so both bounds meet, though R > ln N - 2."""
    x, truth = clusters(0.3, distribution)
    found = population_marginal_kl(around(0.3, distribution), *halves(x), fit=QUICK)
    low, high = found.interval()
    assert low <= truth <= high < low + 1.2
    assert found.weights["training posteriors"] > 0.8
    assert found.population_marginal_kl.value == pytest.approx(
        truth, abs=4 * found.population_marginal_kl.standard_error
    )


def test_held_out_codes_may_lie_where_no_training_code_does():
    """An encoder that was fitted too well: 12.5 nats that training codes know nothing of."""
    found = population_marginal_kl(around(0.5), normal(1000, 1, 0) + 5, normal(1000, 1, 1), fit=QUICK)
    estimate = found.population_marginal_kl
    truth = 0.5 * (25 + 1.25 - 1 - math.log(1.25))
    assert estimate.value == pytest.approx(truth, abs=4 * estimate.standard_error)


def test_against_a_learned_prior():
    """q(z) = N(0, I) is the prior itself, and 0.5·(4 - 1 - ln 4) nats a coordinate from N(0, ½²)."""
    x = normal(3000, 2, 0) * math.sqrt(1 - 0.3**2)
    same, narrow = (Independent(Normal(torch.zeros(2), s * torch.ones(2)), 1) for s in (1.0, 0.5))
    found = [population_marginal_kl(around(0.3), *halves(x), p, fit=QUICK) for p in (same, narrow)]
    values = [f.population_marginal_kl for f in found]
    assert abs(values[0].value) < 0.01
    assert values[1].value == pytest.approx(3 - math.log(4), abs=4 * values[1].standard_error + 0.02)


def test_codes_without_a_density_have_a_lower_bound_alone():
    x = 1 + normal(2000, 2, 0)
    found = population_marginal_kl(lambda x: Delta(x, 1), *halves(x), fit=QUICK)
    assert found.upper is None
    assert found.interval()[1] == math.inf
    assert "training posteriors" not in found.weights
    assert found.population_marginal_kl.value == pytest.approx(1, abs=0.15)


def test_densities_are_fitted_without_held_out_codes(monkeypatch):
    """A model that remembers its codes finds nothing in others; it would find 10 nats in its own."""
    seen = []

    def remember(training, validation, fit):
        seen.append(torch.cat([training, validation]))
        parts = Independent(Normal(seen[-1], 1e-4), 1)
        return MixtureSameFamily(Categorical(torch.ones(len(seen[-1]))), parts).log_prob

    monkeypatch.setattr(population_kl, "DENSITY_MODELS", MappingProxyType({"memory": remember}))
    x = normal(600, 2, 0)
    found = population_marginal_kl(lambda x: Delta(x, 1), *halves(x), models=("memory",))
    assert [len(codes) for codes in seen] == [300, 90]
    assert found.population_marginal_kl.value < 0.01
    again = population_marginal_kl(lambda x: Delta(x, 1), x[::2], x[::2], models=("memory",))
    assert again.population_marginal_kl.value > 5


def test_weights_and_estimate_come_from_disjoint_codes(monkeypatch):
    """Densities see three tenths of the codes, the weights one, and the mean is over the other six."""
    tables = []

    def spy(table):
        tables.append(table)
        return torch.tensor([0.25, 0.75, 0.0], dtype=torch.double)

    monkeypatch.setattr(population_kl, "stacking_weights", spy)
    x = normal(400, 1, 0)
    found = population_marginal_kl(lambda x: Delta(x, 1), *halves(x), models=()).population_marginal_kl
    assert (len(tables[0]), found.n) == (20, 120)
    order = torch.randperm(200, generator=seeded(0))
    held_out, known = x[::2][order], x[1::2]
    distributions = [Normal(0, 1), *(Normal(z.mean(), z.std()) for z in (known, held_out[:60]))]
    expected = torch.cat([distribution.log_prob(held_out) for distribution in distributions], 1)
    assert torch.allclose(tables[0], expected[60:80], atol=1e-4)
    gaps = (0.25 + 0.75 * (expected[80:, 1] - expected[80:, 0]).exp()).log()
    assert found.value == pytest.approx(float(gaps.mean()), abs=1e-4)


def test_stacking_weights_are_the_likeliest():
    z = normal(300, 1, 0)[:, 0]
    table = torch.stack([Normal(m, 1.0).log_prob(z) for m in (-1.0, 1.0)], 1)
    shares = torch.linspace(0, 1, 2001).double()[1:-1]
    logs = torch.stack([shares, 1 - shares]).log()
    likelihood = (table[:, :, None] + logs).logsumexp(1).sum(0) + shares.log() - shares.log()
    best = shares[likelihood.argmax()]
    assert float(stacking_weights(table)[0]) == pytest.approx(float(best), abs=0.01)


def test_a_hopeless_density_cannot_drag_the_bound_down():
    """The prior keeps 1/(n + 1): the bound is at least its logarithm, whatever the others say."""
    table = torch.tensor([[0.0, -1e4]] * 50 + [[0.0, 5.0]] * 50).double()
    weights = stacking_weights(table[50:])
    assert 1 / 51 <= float(weights[0]) < 0.03
    assert float((table[:50] + weights.log()).logsumexp(1).min()) >= -math.log(51)


def test_the_upper_bound_is_the_empirical_kl_of_the_held_out_mixture():
    x = normal(1200, 3, 0) * 0.8
    upper = population_marginal_kl(around(0.5), *halves(x), models=()).upper
    whole = empirical_marginal_kl(x[::2], torch.full_like(x[::2], 0.5)).empirical_marginal_kl
    assert upper.value == pytest.approx(whole.value, abs=3 * upper.standard_error)
    assert upper.n == 600


def test_large_mixtures_are_thinned(monkeypatch):
    for name in ("WORK", "PAIRS"):
        monkeypatch.setattr(population_kl, name, 100_000)
    x = normal(2000, 2, 0)
    for distribution in (Normal, Laplace):
        found = population_marginal_kl(around(0.5, distribution), *halves(x), models=(), batch_size=50)
        assert 20 <= found.upper.n < 1000
        assert found.population_marginal_kl.n == 600


@pytest.mark.parametrize(
    ("n", "posterior", "options", "match"),
    [
        (10, around(0.5), {}, "at least 20"),
        (60, around(0.5), {"models": ("mixtur",)}, "did you mean 'mixture'"),
        (60, around(0.5), {"batch_size": 0}, "batch_size"),
        (60, lambda x: Delta(torch.zeros_like(x), 1), {}, "does not vary"),
        (60, lambda x: x, {}, "Distribution"),
        (60, around(0.5), {"prior": Normal(torch.zeros(2), 1.0)}, "batch shape"),
    ],
)
def test_degenerate_input_is_refused(n, posterior, options, match):
    with pytest.raises(BadInput, match=match):
        population_marginal_kl(posterior, normal(n, 2, 0), normal(60, 2, 1), **options)


def test_repeats_by_seed_and_leaves_global_randomness_alone():
    before, heard = torch.random.get_rng_state(), []
    x = normal(300, 2, 0)
    first, again, other = (
        population_marginal_kl(around(0.5), *halves(x), fit=QUICK, seed=s, progress=heard.append)
        for s in (1, 1, 2)
    )
    assert first == again != other
    assert heard[-1] == 1.0
    assert torch.equal(before, torch.random.get_rng_state())
