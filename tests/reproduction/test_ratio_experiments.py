"""What E7, E12 and the experiment of inverse CDFs compute by themselves."""

import math

import pytest
import torch
from torch.distributions import MultivariateNormal, Normal, kl_divergence

from distmatch.reproduction.icml2018.inverse_cdf_nets import CENTRES, Mixture, pushed, total_variation
from distmatch.reproduction.lectures.e12_critics import (
    SEPARATIONS,
    exact_log_ratio,
    gradient_sizes,
    moment_gradients,
)
from distmatch.reproduction.rosca2018.gaussian_pairs import Affine, gaussian_kl, random_affine


@pytest.fixture(autouse=True)
def _own_seed():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("distribution", ["normal", "near-identity"])
def test_the_kl_of_a_pair_is_torchs(distribution):
    q, p = random_affine(5, distribution), random_affine(5, distribution)

    def gaussian(x: Affine) -> MultivariateNormal:
        a = x.a.double()
        return MultivariateNormal(x.b.double(), a @ a.T)

    assert gaussian_kl(q, p) == pytest.approx(float(kl_divergence(gaussian(q), gaussian(p))), rel=1e-6)


def test_gradients_at_the_exact_ratio():
    sizes = gradient_sizes(exact_log_ratio, 20)
    assert sizes["reverse_kl"] == pytest.approx(SEPARATIONS)  # -E t has the slope -m everywhere
    assert sizes["non_saturating"][-1] == pytest.approx(SEPARATIONS[-1], rel=0.01)
    assert sizes["minimax"][-1] < 1e-3


def test_moments_give_a_gradient_at_every_separation():
    assert min(moment_gradients(3)["mmd"]) > 1e-3


@pytest.mark.parametrize(
    ("generator", "density"),
    [
        (lambda z, noise: 2 * z + 1, lambda x: Normal(1.0, 2.0).log_prob(x).exp()),
        (lambda z, noise: z.abs(), lambda x: 2 * Normal(0.0, 1.0).log_prob(x).exp() * (x > 0)),
        (lambda z, noise: z + noise, lambda x: Normal(0.5, 1.0).log_prob(x).exp()),
    ],
    ids=["rising", "turning back", "with noise"],
)
def test_a_generator_turned_round_is_its_density(generator, density):
    _, found = pushed(generator, 0.5)
    truth = density(CENTRES)
    inside = truth.sum() * 0.04
    assert total_variation(found, truth) < 0.01 + float(1 - inside)


def test_a_mixtures_density_integrates_to_one():
    distribution = Mixture((0.6, 0.4), (-1.5, 1.5), (0.3, 0.3))
    assert float(distribution.density(CENTRES).sum() * 0.04) == pytest.approx(1, abs=1e-4)
    assert float(distribution.draws(20_000).mean()) == pytest.approx(-0.3, abs=5 * math.sqrt(2.25 / 20_000))
