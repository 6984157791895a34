"""Which prior, split, label and seed reach bounds and densities, and what their errors are, from answers by hand."""

import math

import pytest
import torch
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal, kl_divergence

from distmatch.metrics import METRICS
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.likelihood import annealed, low_posterior
from distmatch.metrics.likelihood.annealed import AnnealedLogLikelihood, annealed_log_likelihood, simulate
from distmatch.metrics.likelihood.elbo import evidence_lower_bound
from distmatch.metrics.likelihood.importance import log_likelihood
from distmatch.metrics.likelihood.latent_usage import latent_usage
from distmatch.metrics.likelihood.low_posterior import low_posterior_samples, quantile
from distmatch.metrics.likelihood.reconstruction import reconstruction_error
from distmatch.metrics.model import Model, Options
from distmatch.random import seeded

RUN = METRICS


def normal(loc, scale):
    return Independent(Normal(loc, scale), 1)


PRIOR = normal(torch.tensor([3.0]), torch.tensor([1.0]))
X = torch.tensor([[-1.0], [2.0], [4.0], [9.0]])


def posterior(x, y=None):
    """Of z ~ N(3, 1), x ~ N(z, 1): with it, every importance weight is p(x)."""
    return normal((x + 3) / 2, math.sqrt(0.5))


def noisy(z, y=None):
    return normal(z, 1.0)


TRUTH = Normal(3.0, math.sqrt(2)).log_prob(X[:, 0]).double()


def test_bounds_are_under_the_prior_that_is_given():
    bound = evidence_lower_bound(posterior, noisy, X, prior=PRIOR, samples=2000)
    assert bound.elbo.value == pytest.approx(float(TRUTH.mean()), abs=0.05)
    exact = log_likelihood(posterior, noisy, X, prior=PRIOR, samples=3)
    assert exact.value == pytest.approx(float(TRUTH.mean()), abs=1e-5)
    assert exact.standard_error == pytest.approx(float(TRUTH.std()) / 2, rel=1e-5)


def test_labels_go_with_their_examples_through_all_batches():
    """Label y moves x by 100 y, which encoder and decoder take off again."""
    y = torch.tensor([3.0, 0.0, 2.0, 1.0])
    given = {
        "encoder": lambda x, y: posterior(x - 100 * y[:, None]),
        "decoder": lambda z, y: noisy(z + 100 * y[:, None]),
        "x": X + 100 * y[:, None],
        "y": y,
        "prior": PRIOR,
        "batch_size": 3,
    }
    assert log_likelihood(**given).value == pytest.approx(float(TRUTH.mean()), abs=1e-4)
    assert evidence_lower_bound(**given, samples=500).elbo.value == pytest.approx(
        float(TRUTH.mean()), abs=0.1
    )


def test_a_rate_is_the_divergence_of_the_posterior_from_the_prior():
    """In closed form, and from draws where torch knows none."""
    q = normal(X, 0.3)
    expected = float(kl_divergence(q, PRIOR).mean())
    found = evidence_lower_bound(lambda x: q, noisy, X, prior=PRIOR)
    assert found.rate.value == pytest.approx(expected)
    mixed = MixtureSameFamily(
        Categorical(torch.ones(1)), normal(torch.tensor([[3.0]]), torch.tensor([[1.0]]))
    )
    drawn = evidence_lower_bound(lambda x: q, noisy, X, prior=mixed, samples=400).rate
    assert drawn.value == pytest.approx(expected, rel=0.05)


def test_the_error_of_a_bound_is_that_of_the_sum_of_its_parts():
    """A decoder whose distortion is 9 - rate: both parts vary over examples, and their sum does not."""
    rate = kl_divergence(posterior(X), PRIOR)

    class Rest(Normal):
        def log_prob(self, value):
            return (rate - 9)[:, None]

    found = evidence_lower_bound(posterior, lambda z: Rest(z, 1.0), X, prior=PRIOR)
    assert found.elbo.value == pytest.approx(-9)
    assert found.elbo.standard_error == pytest.approx(0, abs=1e-6)
    assert found.distortion.standard_error == pytest.approx(float(rate.std()) / 2, rel=1e-5)
    assert found.rate.standard_error == pytest.approx(float(rate.std()) / 2, rel=1e-5)
    assert found.rate.value + found.distortion.value == pytest.approx(9)


SUBJECT = Model(
    encode=posterior,
    decode=noisy,
    prior=PRIOR,
    has_likelihood=True,
    latent=1,
    train=X + 100,
    test=X,
)


def test_entries_take_the_learned_prior_and_held_out_data():
    options = Options(batch_size=3)
    for name in ("log_likelihood", "elbo"):
        found = RUN[name](SUBJECT, options).metrics
        assert found[name].value == pytest.approx(float(TRUTH.mean()), abs=1e-5 if name != "elbo" else 1.0)
    assert found["rate"].value == pytest.approx(float(kl_divergence(posterior(X), PRIOR).mean()))
    assert found["elbo"].value == pytest.approx(-found["rate"].value - found["distortion"].value)
    assert RUN["elbo"](SUBJECT, Options(seed=1)).metrics["elbo"] != found["elbo"]
    levels = Model(**{**vars(SUBJECT), "grey_levels": 256})
    bits = RUN["bits_per_dim_bound"](levels, options).metrics["bits_per_dim_bound"]
    assert bits.value == pytest.approx(8 - float(TRUTH.mean()) / math.log(2))


def test_a_bound_by_many_draws_is_of_a_tenth_of_the_examples_and_follows_the_seed():
    x = torch.linspace(-1, 1, 60)[:, None]
    wide = Model(**{**vars(SUBJECT), "test": x, "encode": lambda x, y: normal(x, 2.0), "grey_levels": 256})
    for name in ("log_likelihood", "bits_per_dim_bound"):
        run = RUN[name]
        first, again, other = (run(wide, Options(samples=1000, seed=s)).metrics[name] for s in (0, 0, 1))
        assert first == again != other  # of all 60 examples, by other draws
        assert run(wide, Options(samples=200)).metrics[name].n == 20


def test_exact_densities_have_their_labels_and_grey_levels():
    y = torch.arange(7.0)
    model = Model(log_prob=lambda x, y: -y - x[:, 0], test=y[:, None], test_labels=y, grey_levels=None)
    options = Options(batch_size=3)
    found = RUN["bits_per_dim"](model, options).metrics
    assert found["nll"].value == pytest.approx(6)
    assert found["nll"].standard_error == pytest.approx(float((2 * y).std()) / math.sqrt(7))
    grey = Model(**{**vars(model), "grey_levels": 256})
    bits = RUN["bits_per_dim"](grey, options).metrics
    assert bits["bits_per_dim"].value == pytest.approx(8 + 6 / math.log(2))
    assert "nll" not in bits


def test_reconstructions_have_their_labels():
    y = torch.arange(7.0)
    model = Model(
        encode=lambda x, y: normal(x - y[:, None], 1e-6),
        decode=lambda z, y: normal(z + y[:, None], 1.0),
        test=y[:, None] * 2,
        test_labels=y,
    )
    assert RUN["reconstruction"](model, Options(batch_size=3)).metrics["mse"].value < 1e-9


def test_absolute_errors_are_no_roots_of_squares():
    found = reconstruction_error(torch.zeros(3, 2), torch.tensor([[0.0, 2.0]] * 3))
    assert (found.mse.value, found.l1.value) == (2, 1)


def test_annealing_is_under_the_models_prior_on_held_out_and_on_simulated_data(monkeypatch):
    given = []

    def anneal(decoder, x, latent, prior, **more):
        given.append((x, prior, more))
        estimate = [Estimate(float(i + 4 * len(given)), 0.1, 4) for i in range(4)]
        return AnnealedLogLikelihood(*estimate)

    monkeypatch.setattr(annealed, "annealed_log_likelihood", anneal)
    found = RUN["annealed_log_likelihood"](SUBJECT, Options(seed=6)).metrics
    (held, first, _), (made, second, more) = given
    assert first is second is PRIOR
    assert torch.equal(held, X)
    assert {about["seed"] for _, _, about in given} == {6}
    assert abs(float(more["codes"].mean()) - 3) < 1.5
    assert abs(float((made - more["codes"]).mean())) < 2.5
    assert [found[f"annealed_{k}"].value for k in ("log_likelihood", "acceptance", "gap")] == [4, 7, 10]


def test_annealing_and_simulating_are_under_the_prior_that_is_given():
    made = simulate(noisy, 300, 1, PRIOR)
    assert float(made.codes.mean()) == pytest.approx(3, abs=4 / math.sqrt(300))
    assert float(made.x.std()) == pytest.approx(math.sqrt(2), rel=0.15)
    found = annealed_log_likelihood(noisy, X, 1, PRIOR, temperatures=60, chains=8)
    assert found.lower.value == pytest.approx(float(TRUTH.mean()), abs=0.15)


def test_simulated_codes_are_not_where_annealing_at_that_seed_starts():
    made = simulate(noisy, 4, 2, seed=3)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        start = torch.randn(4, 2)
    assert not torch.isin(made.codes, start).any()


def test_acceptance_is_over_all_chains():
    """Of examples that are all the same, it varies less the more chains each has."""
    x = torch.full((30, 1), 2.0)
    one, many = (
        annealed_log_likelihood(noisy, x, 1, temperatures=5, leapfrog=1, chains=k).acceptance for k in (1, 16)
    )
    assert many.standard_error < 0.5 * one.standard_error


def test_the_gap_is_of_the_same_examples_and_has_their_error():
    """x of many scales: each bound's error is large, and the gap's small."""
    z = torch.linspace(-9, 9, 12)[:, None]
    found = annealed_log_likelihood(noisy, z.clone(), 1, codes=z, temperatures=40, chains=4)
    assert found.gap.value == pytest.approx(found.upper.value - found.lower.value)
    assert found.gap.standard_error < 0.5 * min(found.lower.standard_error, found.upper.standard_error)


def test_active_units_by_either_criterion_have_their_own_name():
    """One unit that varies, and one whose mean is a constant away from 0: it costs, and says nothing."""
    x = torch.linspace(-1, 1, 50)[:, None]
    model = Model(
        encode=lambda x, y: normal(torch.cat([x, 0 * x + 0.5], 1), torch.tensor([0.4, 1.0])), train=x, test=x
    )
    found = RUN["latent_usage"](model, Options()).metrics
    assert (found["active_units"].value, found["active_units_kl"].value) == (1, 2)


def test_used_units_by_two_examples():
    """Of two examples at ±a the variance is 2a², by n - 1; the KL's error is half the difference of its two values."""
    loc, scale = torch.tensor([[0.08, 0.0], [-0.08, 1.0]]), torch.ones(2, 2)
    found = latent_usage(loc, scale)
    assert found.variances.tolist() == pytest.approx([0.0128, 0.5])
    assert found.active.tolist() == [False, True]  # the first unit's KL is 0.0032
    assert found.active_by_variance.value == 2
    assert found.kl_errors.tolist() == pytest.approx([0, 0.25])


def test_the_bootstrap_of_two_examples():
    """Half of the resamples hold both, and their variance 2a² is above 0.01 by n - 1 alone; the KL never is."""
    found = latent_usage(torch.tensor([[0.08], [-0.08]]), torch.ones(2, 1), resamples=400)
    assert found.active_by_variance.standard_error == pytest.approx(0.5, rel=0.05)
    assert found.active_by_kl.standard_error == 0


def test_the_bootstrap_draws_from_all_examples():
    """The first half says nothing, and by itself has no error."""
    loc = torch.randn(40, 30, generator=seeded(0)) * 0.14
    loc[:20] = 0
    assert latent_usage(loc, torch.ones(40, 30)).active_by_variance.standard_error > 1


def test_the_bootstrap_follows_its_seed():
    loc = torch.randn(40, 30, generator=seeded(0)) * 0.1
    first, again, other = (
        latent_usage(loc, torch.ones(40, 30), seed=s).active_by_variance for s in (0, 0, 1)
    )
    assert first == again
    assert first.standard_error != other.standard_error


def test_prior_draws_and_codes_are_apart():
    """Codes near 10 where the prior is at 0."""
    loc, scale = torch.full((5, 2), 10.0), torch.ones(5, 2)
    found = low_posterior_samples(loc, scale, lambda z: normal(z, 1.0), draws=200, codes=200, keep=4)
    assert found.prior.mean().abs() < 1
    assert (found.codes.mean() - 10).abs() < 1
    assert found.codes_log_q.mean() > found.prior_log_q.mean() + 50
    assert torch.equal(found.log_q, found.prior_log_q.sort().values[:4])
    assert found.code_quantiles[0.5].value > found.quantiles[0.5].value + 50
    assert not torch.isclose(found.codes - 10, found.prior).any()  # each has noise of its own


@pytest.mark.parametrize("level", [0.1, 0.5, 0.9])
def test_a_quantile_of_uniform_values_has_the_error_of_theory(level):
    """√(p(1 - p)/n) / density, which is 1."""
    found = quantile(torch.linspace(0, 1, 10_001), level)
    assert found.value == pytest.approx(level)
    assert found.standard_error == pytest.approx(math.sqrt(level * (1 - level) / 10_001), rel=1e-3)
    assert quantile(torch.tensor([1.0, 2.0, 3.0, 5.0]), 0.5).value == 2.5


def test_the_error_of_a_quantile_is_the_spread_of_repetitions():
    values = torch.randn(400, 300, generator=seeded(2))
    found = [quantile(row, 0.5) for row in values]
    spread = torch.tensor([f.value for f in found]).std()
    stated = torch.tensor([f.standard_error for f in found]).mean()
    assert float(stated / spread) == pytest.approx(1, abs=0.15)


def test_low_posterior_samples_neighbours_and_data_have_their_own_labels(monkeypatch):
    """G(z, y) = 5 - y is the row of label 5 - y; q(z|x, y) = N(x - y, σ²) lies at 0 where both belong together."""
    monkeypatch.setattr(low_posterior, "code_map", lambda codes, **more: None)
    y = torch.arange(6)
    model = Model(
        encode=lambda x, y: normal((x - y[:, None]).expand(-1, 1), 0.05),
        decode=lambda z, y: normal(0 * z + 5 - y[:, None], 1.0),
        train=y[:, None].float(),
        train_labels=y,
    )
    found = RUN["low_posterior_samples"](model, Options(samples=30)).metrics
    rate = float(kl_divergence(Normal(0.0, 0.05), Normal(0.0, 1.0)))
    assert found["low_posterior_rate_data"].value == pytest.approx(rate)
    assert found["low_posterior_rate_neighbours"].value == pytest.approx(rate)
    assert found["low_posterior_rate_low_posterior"].value > rate + 1
    assert found["low_posterior_log_q_codes"].value > 1  # of prior draws, three in four are below -10
    assert found["low_posterior_log_q"].value < -100
