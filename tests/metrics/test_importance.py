"""The importance-weighted bound: known models, tightness, refusals."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal

from distmatch.errors import BadInput
from distmatch.metrics import evidence_lower_bound, log_likelihood
from distmatch.random import seeded

X = torch.linspace(-2, 2, 40).reshape(40, 1).double()


def wide_encoder(x):
    """Wider than the posterior N(x/2, 1/2) of z ~ N(0, 1), x|z ~ N(z, 1)."""
    return Independent(Normal(x / 2, 1.3), 1)


def decoder(z):
    return Independent(Normal(z, 1.0), 1)


def truth(x, prior_mean=0.0):
    return Normal(prior_mean, math.sqrt(2.0)).log_prob(x).mean().item()


def test_it_reaches_log_p_of_x():
    bound = log_likelihood(wide_encoder, decoder, X, samples=3000)
    assert bound.value == pytest.approx(truth(X), abs=0.01)


def test_it_rises_from_the_elbo():
    elbo = evidence_lower_bound(wide_encoder, decoder, X, samples=2000).elbo.value
    one = log_likelihood(wide_encoder, decoder, X.repeat(100, 1), samples=1).value
    few = log_likelihood(wide_encoder, decoder, X.repeat(20, 1), samples=5).value
    assert one == pytest.approx(elbo, abs=0.05)
    assert elbo + 0.05 < few < truth(X) + 0.01


def test_another_prior():
    """z ~ N(3, 1) makes x ~ N(3, 2)."""
    prior = Independent(Normal(torch.full((1,), 3.0).double(), 1.0), 1)
    bound = log_likelihood(
        lambda x: Independent(Normal((x + 3) / 2, 1.0), 1), decoder, X, prior=prior, samples=3000
    )
    assert bound.value == pytest.approx(truth(X, 3.0), abs=0.02)
    parts = evidence_lower_bound(
        lambda x: Independent(Normal((x + 3) / 2, math.sqrt(0.5)), 1), decoder, X, prior=prior, samples=500
    )
    assert parts.elbo.value == pytest.approx(truth(X, 3.0), abs=0.05)


def test_the_error_covers_the_truth():
    """At the exact posterior every weight is p(x), so only the examples' spread is left: E log N(x; 0, 2)."""
    exact, hits, repeats = -0.5 * math.log(2 * math.pi * math.e * 2), 0, 200
    for seed in range(repeats):
        x = math.sqrt(2) * torch.randn(80, 1, generator=seeded(seed), dtype=torch.float64)
        low, high = log_likelihood(
            lambda x: Independent(Normal(x / 2, math.sqrt(0.5)), 1), decoder, x, samples=2, seed=seed
        ).interval()
        hits += low <= exact <= high
    assert 0.90 <= hits / repeats <= 0.99


def test_seeds_repeat_and_the_global_state_stays():
    before = torch.get_rng_state()
    found = [log_likelihood(wide_encoder, decoder, X, samples=3, seed=s) for s in (1, 1, 2)]
    assert torch.equal(before, torch.get_rng_state())
    assert found[0] == found[1] != found[2]


def test_refusals():
    with pytest.raises(BadInput, match="samples is 0"):
        log_likelihood(wide_encoder, decoder, X, samples=0)
    with pytest.raises(BadInput, match="3 labels for 40 examples"):
        log_likelihood(wide_encoder, decoder, X, y=torch.zeros(3))
    with pytest.raises(BadInput, match="the decoder returned a tensor"):
        log_likelihood(wide_encoder, lambda z: z, X)
