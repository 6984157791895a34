"""Algorithm 1 and its analyses, on mixtures and images whose answers are known."""

import math

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import norm
from torch.distributions import Bernoulli, Independent, Normal, kl_divergence

from distmatch.errors import BadInput
from distmatch.metrics import METRICS, evidence_lower_bound
from distmatch.metrics.likelihood.low_posterior import (
    low_posterior_of,
    low_posterior_samples,
    quantile,
    tail_mean,
)
from distmatch.metrics.likelihood.populations import (
    code_map,
    cost_histograms,
    mean_pixel,
    nearest_neighbours,
    paired_pictures,
    pixel_histograms,
    population,
)
from distmatch.metrics.model import Model, Options
from distmatch.metrics.plots import Histograms, Pictures, Scatter
from distmatch.random import seeded

LOC = torch.tensor([[1.5, 0.0], [-1.5, 0.0], [0.0, 1.5]])
SCALE = torch.tensor([[0.5, 1.0], [0.4, 0.9], [1.2, 0.3]])


def decoder(z):
    return Independent(Normal(3 * z, 1.0), 1)


def plain_log_q(z):
    """log 1/N Σ_n Π_d N(z_d; loc_nd, scale_nd), as it stands on paper."""
    each = norm.logpdf(z.numpy()[:, None], LOC.double().numpy(), SCALE.double().numpy()).sum(2)
    return logsumexp(each, axis=1) - math.log(len(LOC))


def test_it_is_the_algorithm():
    found = low_posterior_samples(LOC, SCALE, decoder, draws=2500, keep=20, codes=1500)
    scores = plain_log_q(found.prior)
    assert np.allclose(found.prior_log_q.numpy(), scores)
    assert np.allclose(found.codes_log_q.numpy(), plain_log_q(found.codes))
    order = np.argsort(scores)[:20]
    assert np.allclose(found.z.numpy(), found.prior.numpy()[order])
    assert np.allclose(found.log_q.numpy(), scores[order])
    assert torch.allclose(found.images, 3 * found.z.float())
    assert found.quantiles[0.1].value == pytest.approx(np.quantile(scores, 0.1))
    assert found.code_quantiles[0.5].value > found.quantiles[0.5].value
    assert found.prior.mean(0).abs().max() < 0.1
    assert (found.prior.std(0) - 1).abs().max() < 0.1


def test_codes_come_from_the_mixture():
    found = low_posterior_samples(LOC, SCALE, decoder, draws=64, codes=20_000)
    second = (SCALE.square() + LOC.square()).mean(0)
    assert torch.allclose(found.codes.mean(0).float(), LOC.mean(0), atol=0.04)
    assert torch.allclose(found.codes.square().mean(0).float(), second, atol=0.06)


def test_any_aggregate_posterior():
    def ring(z):
        return -(z.norm(dim=1) - 2).square()

    z = torch.randn(200, 2, generator=seeded(1))
    found = low_posterior_of(ring, decoder, z, 2 * z / z.norm(dim=1, keepdim=True), keep=5)
    assert found.log_q.tolist() == sorted(ring(z.double()).tolist())[:5]


def test_labels_reach_the_decoder():
    y = torch.arange(4.0)
    found = low_posterior_samples(
        LOC, SCALE, lambda z, y: Normal(0 * z + y[:, None], 1.0), y=y, draws=50, keep=4, batch_size=3
    )
    assert found.images[:, 0].tolist() == [0.0, 1.0, 2.0, 3.0]


def test_seeds_repeat_and_the_global_state_stays():
    before, seen = torch.get_rng_state(), []
    runs = [
        low_posterior_samples(LOC, SCALE, decoder, draws=1500, keep=3, seed=s, progress=seen.append)
        for s in (4, 4, 5)
    ]
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(runs[0].z, runs[1].z)
    assert not torch.equal(runs[0].z, runs[2].z)
    assert seen[2::3] == [1.0, 1.0, 1.0]


def test_the_errors_of_quantiles_cover_the_truth():
    for level in (0.01, 0.1, 0.5):
        truth, hits, repeats = norm.ppf(level), 0, 300
        for seed in range(repeats):
            found = quantile(torch.randn(2000, generator=seeded(seed)), level)
            low, high = found.interval()
            hits += low <= truth <= high
        assert 0.90 <= hits / repeats <= 0.99, level


def test_neighbours_are_numpys():
    queries, data = torch.rand(7, 1, 3, 3, generator=seeded(0)), torch.rand(50, 1, 3, 3, generator=seeded(1))
    distances = np.linalg.norm(
        queries.double().reshape(7, 1, 9).numpy() - data.double().reshape(1, 50, 9).numpy(), axis=2
    )
    found = nearest_neighbours(queries, data, chunk=8)
    assert found.index.tolist() == distances.argmin(1).tolist()
    assert np.allclose(found.distance.numpy(), distances.min(1), rtol=1e-12)
    own = nearest_neighbours(data, data + 1e4 - 1e4)
    assert own.index.tolist() == list(range(50))
    assert (nearest_neighbours(data, data).distance == 0).all()


def posterior(x):
    return Independent(Normal(x / 2, torch.full_like(x, 0.6)), 1)


def likelihood(z):
    return Independent(Normal(z, 1.0), 1)


def test_populations_agree_with_the_bound():
    x = torch.randn(100, 3, generator=seeded(2))
    found = population(posterior, likelihood, x, seed=7)
    bound = evidence_lower_bound(posterior, likelihood, x, seed=7)
    assert found.elbo.value == pytest.approx(bound.elbo.value, abs=1e-9)
    assert found.rate.value == pytest.approx(bound.rate.value, abs=1e-9)
    p = Independent(Normal(torch.zeros_like(x), 1.0), 1)
    assert torch.allclose(found.rates, kl_divergence(posterior(x), p).double(), atol=1e-6)
    bare = population(posterior, None, x)
    assert (bare.elbo, bare.elbos) == (None, None)
    assert torch.equal(bare.rates, found.rates)


def test_populations_cost_what_their_own_prior_says():
    """½[(σ² + (m - μ)²)/s² - 1 + ln s²/σ²] in each of three coordinates, to N(1, 2²)."""
    x = torch.randn(40, 3, generator=seeded(0))
    q = posterior(x).base_dist
    cost = ((q.scale**2 + (q.loc - 1) ** 2) / 4 - 1 + (4 / q.scale**2).log()) / 2
    prior = Independent(Normal(torch.ones(q.loc.shape[1]), 2.0), 1)
    found = population(posterior, likelihood, x, prior=prior, seed=7)
    bound = evidence_lower_bound(posterior, likelihood, x, prior=prior, seed=7)
    assert torch.allclose(found.rates, cost.sum(1).double(), atol=1e-5)
    assert found.elbo.value == pytest.approx(bound.elbo.value)


def test_pictures():
    samples, data = torch.zeros(20, 1, 4, 4), torch.ones(20, 1, 4, 4)
    grid = paired_pictures(samples, data)
    assert grid.images.shape == (32, 1, 4, 4)
    assert grid.images.mean((1, 2, 3)).reshape(4, 8).mean(1).tolist() == [0.0, 1.0, 0.0, 1.0]
    assert grid.rows == ("low-posterior samples", "their nearest data") * 2
    assert pixel_histograms({"a": torch.rand(300, 1, 28, 28)}).series["a"].numel() <= 100_000
    assert mean_pixel(torch.tensor([[0.0, 1.0], [1.0, 1.0]])).value == 0.75
    costs = {"data": population(posterior, None, torch.zeros(4, 2))}
    assert [h.label for h in cost_histograms(costs)] == ["nats"]


def test_the_map_keeps_far_groups_apart_and_repeats():
    z = torch.randn(40, 5, generator=seeded(0))
    groups = {"near": z, "far": z + 30}
    state = np.random.get_state()[1].copy()
    maps = [code_map(groups, most=60, seed=1) for _ in range(2)]
    assert np.array_equal(state, np.random.get_state()[1])
    near, far = maps[0].groups["near"], maps[0].groups["far"]
    assert (len(near), len(far)) == (30, 30)
    between = (near.mean(0) - far.mean(0)).norm()
    assert between > 2 * max(near.std(0).max(), far.std(0).max())
    assert torch.equal(near, maps[1].groups["near"])
    assert code_map({"line": torch.randn(9, 1, generator=seeded(0))}).groups["line"].shape == (9, 2)


def test_the_entry():
    """Images are black or white wholly; the codes know which, and leave a hole in the middle."""
    shade = torch.randint(2, (300,), generator=seeded(0)).float()
    x = shade[:, None, None, None].expand(300, 1, 4, 4)
    model = Model(
        encode=lambda x, y: Normal((4 * x.mean((1, 2, 3)) - 2)[:, None].expand(-1, 2), 0.3),
        decode=lambda z, y: Independent(
            Bernoulli(logits=(5 * z[:, :1, None, None]).expand(-1, 1, 4, 4), validate_args=False), 3
        ),
        has_likelihood=True,
        train=x,
        is_image=True,
    )
    before = torch.get_rng_state()
    found = METRICS["low_posterior_samples"](model, Options(samples=400))
    assert torch.equal(before, torch.get_rng_state())
    entry = METRICS["low_posterior_samples"]
    assert set(found.metrics) == set(entry.better)
    assert [type(e) for e in found.plots] == [Pictures, Histograms, Histograms, Histograms, Scatter]
    log_q = found.metrics["low_posterior_log_q"], found.metrics["low_posterior_log_q_codes"]
    assert log_q[0].value < log_q[1].value - 5
    no_density = Model(**{**vars(model), "has_likelihood": False, "is_image": False})
    found = METRICS["low_posterior_samples"](no_density, Options(samples=100))
    assert not [name for name in found.metrics if "elbo" in name]
    assert not isinstance(found.plots[0], Pictures)


def test_refusals():
    with pytest.raises(BadInput, match="keep is 64, but there are only 10"):
        low_posterior_samples(LOC, SCALE, decoder, draws=10)
    with pytest.raises(BadInput, match="scale must be positive"):
        low_posterior_samples(LOC, -SCALE, decoder)
    with pytest.raises(BadInput, match="same shape"):
        low_posterior_samples(LOC, SCALE[:2], decoder)
    with pytest.raises(BadInput, match="NaN"):
        low_posterior_samples(LOC * math.nan, SCALE, decoder)
    with pytest.raises(BadInput, match="2 labels for 64"):
        low_posterior_samples(LOC, SCALE, decoder, y=torch.zeros(2))
    with pytest.raises(BadInput, match="not finite"):
        low_posterior_of(lambda z: z.sum(1) / 0, decoder, torch.ones(70, 2), torch.ones(70, 2))
    with pytest.raises(BadInput, match="the decoder returned Tensor"):
        low_posterior_samples(LOC, SCALE, lambda z: z)
    with pytest.raises(BadInput, match="level is 0"):
        quantile(torch.zeros(5), 0)
    with pytest.raises(BadInput, match="9 pixels and data have 4"):
        nearest_neighbours(torch.zeros(2, 9), torch.zeros(2, 4))
    with pytest.raises(BadInput, match="at least one example"):
        nearest_neighbours(torch.zeros(2, 9), torch.zeros(0, 9))
    with pytest.raises(BadInput, match="all alike"):
        code_map({"a": torch.zeros(10, 2)})
    with pytest.raises(BadInput, match="5 points"):
        code_map({"a": torch.rand(3, 2)})
    with pytest.raises(BadInput, match="must agree"):
        code_map({"a": torch.rand(9, 2), "b": torch.rand(9, 3)})
    with pytest.raises(BadInput, match="of one shape"):
        paired_pictures(torch.zeros(2, 1, 4, 4), torch.zeros(3, 1, 4, 4))
    with pytest.raises(BadInput, match="too small"):
        population(posterior, likelihood, torch.zeros(1, 3))


def test_the_mean_of_the_lowest_varies_with_the_threshold():
    """z² of the 25 of 1,000 with the largest |z|, over repetitions: without the threshold the error is 0.72 of this."""
    means, errors = [], []
    for seed in range(400):
        z = torch.randn(1000, generator=seeded(seed), dtype=torch.float64)
        lowest = (-z.square()).sort().values[:25]
        found = tail_mean(-lowest, lowest, 1000)
        means.append(found.value)
        errors.append(found.standard_error)
    assert 0.9 < np.sqrt(np.mean(np.square(errors))) / np.std(means) < 1.1
    assert np.mean(means) == pytest.approx(1 + 2.2414 * norm.pdf(2.2414) / 0.0125, rel=0.02)


def test_all_draws_have_the_error_of_a_mean():
    values = torch.arange(10.0)
    assert tail_mean(values, values, 10).standard_error == pytest.approx(float(values.std()) / math.sqrt(10))


def test_a_quantiles_interval_follows_any_rising_function():
    values = torch.randn(10_001, generator=seeded(0), dtype=torch.float64)
    plain, bent = quantile(values, 0.99), quantile(values.mul(3).exp(), 0.99)
    assert bent.interval() == pytest.approx([math.exp(3 * end) for end in plain.interval()], rel=0.01)
