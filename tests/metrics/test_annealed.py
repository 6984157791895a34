"""Annealed importance sampling: a linear Gaussian model whose log p(x) is known, bounds from both sides."""

import math

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, MixtureSameFamily, MultivariateNormal, Normal
from torch.distributions import Categorical as Choice

from distmatch.errors import BadInput
from distmatch.metrics import METRICS, log_likelihood
from distmatch.metrics.likelihood import annealed
from distmatch.metrics.likelihood.annealed import SCHEDULES, annealed_log_likelihood, simulate
from distmatch.metrics.model import Model, Options
from distmatch.random import own_randomness, seeded

D, PIXELS, NOISE = 3, 6, 1.0
WEIGHT = torch.randn(PIXELS, D, generator=seeded(3)).double()
OFFSET = torch.randn(PIXELS, generator=seeded(4)).double()


def decoder(z):
    return Independent(Normal(z.double() @ WEIGHT.T + OFFSET, NOISE), 1)


def marginal():
    """x ~ N(b, W Wᵀ + σ² I)."""
    return MultivariateNormal(OFFSET, WEIGHT @ WEIGHT.T + NOISE**2 * torch.eye(PIXELS).double())


def encoder(x):
    """q(z|x): the exact posterior's mean, and twice its standard deviations, without correlation."""
    precision = torch.eye(D).double() + WEIGHT.T @ WEIGHT / NOISE**2
    cov = torch.linalg.inv(precision)
    loc = (x - OFFSET) @ WEIGHT @ cov / NOISE**2
    return Independent(Normal(loc, 2 * cov.diagonal().sqrt().expand_as(loc)), 1)


def truth(x):
    return float(marginal().log_prob(x).mean())


FINE = {"temperatures": 120, "chains": 8, "leapfrog": 4, "batch_size": 800}


@pytest.mark.parametrize(("schedule", "start"), [("sigmoid", None), ("linear", encoder)])
def test_both_bounds_close_on_the_truth(schedule, start):
    made = simulate(decoder, 100, D, seed=1)
    found = annealed_log_likelihood(
        decoder, made.x, D, encoder=start, codes=made.codes, schedule=schedule, **FINE
    )
    exact = truth(made.x)
    assert found.lower.value == pytest.approx(exact, abs=0.05)
    assert found.upper.value == pytest.approx(exact, abs=0.05)
    noise = 3 * found.gap.standard_error
    assert found.lower.value - noise <= exact <= found.upper.value + noise
    assert found.gap.value == pytest.approx(found.upper.value - found.lower.value, abs=1e-9)
    assert 0.5 < found.acceptance.value < 0.8


def test_few_temperatures_leave_a_gap_that_holds_the_truth():
    made = simulate(decoder, 60, D, seed=2)
    found = annealed_log_likelihood(
        decoder, made.x, D, codes=made.codes, temperatures=4, chains=1, leapfrog=2
    )
    assert found.lower.value < truth(made.x) - 0.3
    assert found.upper.value > truth(made.x) + 0.1


def test_weights_are_unbiased_however_coarse_the_path():
    """E w = p(x) and E 1/w = 1/p(x), the properties behind both bounds, at three temperatures."""
    n, x = 4000, simulate(decoder, 2, D, seed=3).x[:1]
    cov = torch.linalg.inv(torch.eye(D).double() + WEIGHT.T @ WEIGHT / NOISE**2)
    loc = (x[0] - OFFSET) @ WEIGHT @ cov / NOISE**2
    noise = torch.randn(2 * n, D, generator=seeded(0)).double()
    codes = loc + noise @ torch.linalg.cholesky(cov).T
    found = annealed_log_likelihood(
        decoder, x.expand(2, -1), D, temperatures=3, chains=n, leapfrog=2, encoder=encoder, batch_size=2 * n
    )
    assert found.lower.value == pytest.approx(truth(x), abs=0.05)
    each = [
        annealed_log_likelihood(
            decoder, x.expand(n, -1), D, temperatures=3, chains=1, leapfrog=2, codes=half, batch_size=n
        )
        for half in (codes[:n], codes[n:])
    ]
    assert all(f.upper.value > truth(x) + 0.05 for f in each)


def test_the_errors_cover_the_truth():
    """Over data sets: the truth is the model's E log p(x), the differential entropy's negative."""
    hits, repeats, exact = 0, 100, -float(marginal().entropy())
    for seed in range(repeats):
        x = simulate(decoder, 20, D, seed=100 + seed).x
        low, high = annealed_log_likelihood(
            decoder, x, D, encoder=encoder, temperatures=4, chains=4, leapfrog=2, seed=seed
        ).lower.interval()
        hits += low <= exact <= high
    assert 0.90 <= hits / repeats <= 0.99


def test_it_sees_what_the_importance_weighted_bound_misses():
    """A posterior with two modes, of which the encoder covers one: the bound at few draws stays ln 2 below."""

    def folded(z):
        return Independent(Normal(z.abs(), 0.1), 1)

    def one_sided(x):
        return Independent(Normal(x, 0.1), 1)

    made = simulate(folded, 40, 1, seed=5)
    found = annealed_log_likelihood(
        folded, made.x, 1, codes=made.codes, temperatures=60, chains=20, leapfrog=3
    )
    weighted = log_likelihood(one_sided, folded, made.x, samples=50, seed=1)
    assert found.gap.value < 0.25
    assert found.lower.value > weighted.value + 0.3


def test_a_learned_prior():
    means = torch.tensor([[-2.0], [2.0]])
    prior = MixtureSameFamily(Choice(torch.ones(2)), Independent(Normal(means, 0.5), 1))
    made = simulate(lambda z: Independent(Normal(z, 1.0), 1), 40, 1, prior, seed=6)
    found = annealed_log_likelihood(
        lambda z: Independent(Normal(z, 1.0), 1), made.x, 1, prior, temperatures=60, chains=32, leapfrog=5
    )
    exact = MixtureSameFamily(Choice(torch.ones(2)), Independent(Normal(means, math.sqrt(1.25)), 1))
    assert found.lower.value == pytest.approx(float(exact.log_prob(made.x).mean()), abs=0.05)


def test_nets_get_no_gradients_and_randomness_stays():
    net = nn.Linear(2, 4)

    def bernoulli(z, y):
        return Independent(Bernoulli(logits=net(z) + y[:, None]), 1)

    y = torch.arange(6.0)
    before = torch.get_rng_state()
    made = simulate(bernoulli, 6, 2, y=y)
    seen = []
    runs = [
        annealed_log_likelihood(
            bernoulli,
            made.x,
            2,
            y=y,
            temperatures=10,
            chains=3,
            leapfrog=3,
            batch_size=6,
            progress=seen.append,
        )
        for _ in range(2)
    ]
    assert all(p.grad is None for p in net.parameters())
    assert torch.equal(before, torch.get_rng_state())
    assert runs[0] == runs[1]
    assert runs[0].upper is None
    assert seen == sorted(seen[: len(seen) // 2]) * 2
    assert seen[-1] == pytest.approx(1.0)


def test_simulated_codes_are_not_the_draws_of_annealing_at_that_seed():
    made = simulate(decoder, 30, D, seed=0)
    with own_randomness(0):
        assert not torch.isclose(torch.randn(30, D), made.codes).any()


def test_the_entry(monkeypatch):
    monkeypatch.setattr(annealed, "TEMPERATURES", 40)
    model = Model(
        decode=lambda z, y: decoder(z),
        has_likelihood=True,
        latent=D,
        test=simulate(decoder, 40, D, seed=8).x.float(),
    )
    before, seen = torch.get_rng_state(), []
    found = METRICS["annealed_log_likelihood"](model, Options(samples=8, progress=seen.append)).metrics
    assert torch.equal(before, torch.get_rng_state())
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)
    assert found["annealed_log_likelihood"].n == 8
    assert abs(found["annealed_gap"].value) < 1.5


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_run_from_zero_to_one(name):
    betas = SCHEDULES[name](10)
    assert (len(betas), betas[0], betas[-1]) == (11, 0.0, 1.0)
    assert (betas.diff() > 0).all()
    assert torch.allclose(betas, 1 - betas.flip(0))


def test_refusals():
    x = torch.zeros(3, PIXELS).double()
    with pytest.raises(BadInput, match="no gradient in z"):
        annealed_log_likelihood(lambda z: decoder(z.detach()), x, D)
    with pytest.raises(BadInput, match="unknown schedule 'sigmoidal'; did you mean 'sigmoid'"):
        annealed_log_likelihood(decoder, x, D, schedule="sigmoidal")
    with pytest.raises(BadInput, match=r"codes must have shape \(3, 3\)"):
        annealed_log_likelihood(decoder, x, D, codes=torch.zeros(3, 2))
    with pytest.raises(BadInput, match="temperatures is 1"):
        annealed_log_likelihood(decoder, x, D, temperatures=1)
    with pytest.raises(BadInput, match="too small"):
        annealed_log_likelihood(decoder, x[:1], D)
    with pytest.raises(BadInput, match="NaN"):
        annealed_log_likelihood(decoder, x / 0, D)
    with pytest.raises(BadInput, match="2 labels for 3 examples"):
        annealed_log_likelihood(decoder, x, D, y=torch.zeros(2))
    with pytest.raises(BadInput, match="the decoder returned a tensor"):
        annealed_log_likelihood(lambda z: z, x, D)
    with pytest.raises(BadInput, match="not finite where a chain starts"):
        annealed_log_likelihood(
            lambda z: Normal(z.sum(1, True).expand(-1, x.shape[1]) * math.inf, 1.0, validate_args=False), x, D
        )
    with pytest.raises(BadInput, match="n is 1"):
        simulate(decoder, 1, D)
