"""The public checks pass every member of the registries, and say what is wrong with broken ones."""

from dataclasses import replace

import pytest
import torch

from distmatch.metrics import METRICS, Estimate, metric
from distmatch.metrics.model import Result
from distmatch.networks import NETWORKS
from distmatch.objectives.comparisons import NON_SATURATING, WASSERSTEIN, Sides
from distmatch.objectives.penalties import PENALTIES, Roth
from distmatch.testing import check_comparison, check_metric, check_network, check_penalty

TINY = {
    "mlp": {"width": 6, "code_width": 5},
    "dcgan": {"width": 2, "code_width": 5},
    "progressive": {"width": 2, "most": 4, "code_width": 5},
    "pixelcnn": {"width": 2, "layers": 2, "kernel": 3, "encoder_width": 2, "code_width": 5},
    "real-nvp": {"width": 2, "blocks": 1, "critic_width": 2, "code_width": 5},
}
SLOW = {
    "annealed_log_likelihood",
    "low_posterior_samples",
    "marginal_kl_by_density",
    "marginal_kl_by_ratio",
    "ms_ssim_diversity",
}
OWN = {"bits_per_dim_bound"}  # needs a decoder of grey levels, which the toy is not
marked = [
    pytest.param(n, marks=[pytest.mark.slow] if n in SLOW or not METRICS[n].quick else [])
    for n in METRICS
    if n not in OWN
]


@pytest.mark.parametrize("make", PENALTIES.values(), ids=PENALTIES)
def test_every_penalty(make):
    check_penalty(make())


@pytest.mark.parametrize("name", NETWORKS)
def test_every_family(name):
    check_network(NETWORKS[name], NETWORKS[name].options(**TINY[name]))


@pytest.mark.parametrize("name", marked)
def test_every_metric(name):
    check_metric(METRICS[name])


def test_a_swapped_sign():
    swapped = replace(WASSERSTEIN, critic=Sides(lambda s: s, lambda s: -s))
    with pytest.raises(AssertionError, match=r"loss on the target rises with the score at s = .*must fall"):
        check_comparison(swapped)


def test_a_critic_that_is_not_stationary():
    with pytest.raises(AssertionError, match=r"slope .* at the true log-ratio .* must be stationary there"):
        check_comparison(replace(NON_SATURATING, log_ratio=lambda s: 2 * s))


def test_a_penalty_over_the_whole_batch():
    class Whole(Roth):
        def __call__(self, score, target, model, noise):
            return super().__call__(score, target, model, noise).mean().expand(len(target[0]))

    with pytest.raises(AssertionError, match="sample 0 changes what others pay"):
        check_penalty(Whole(2.0))


def broken(draw, key="size"):
    @metric("size", question="How long?", needs=("sample",), reference="ours", better={"size": ""})
    def measure(model, options):
        return Result({key: Estimate.mean(draw(options.samples))})

    return measure


def test_a_metric_that_uses_the_global_generator():
    with torch.random.fork_rng(), pytest.raises(AssertionError, match="moves torch's global generator"):
        check_metric(broken(torch.randn))


def test_a_metric_that_ignores_its_seed():
    g = torch.Generator().manual_seed(0)
    with pytest.raises(AssertionError, match="equal seeds give different results"):
        check_metric(broken(lambda n: torch.randn(n, generator=g)))


def test_a_metric_with_a_key_that_it_does_not_declare():
    with pytest.raises(AssertionError, match="its result has 'length', which `better` lacks"):
        check_metric(broken(lambda n: torch.arange(float(n)), "length"))


def test_a_critic_with_a_column_of_scores():
    mlp = NETWORKS["mlp"]

    def column(*given):
        return torch.nn.Sequential(mlp.critic(*given), torch.nn.Unflatten(0, (-1, 1)))

    with pytest.raises(AssertionError, match=r"critic of x returns the shape \(6, 1\) .* must be \(6,\)"):
        check_network(replace(mlp, critic=column), mlp.options(**TINY["mlp"]), (2,))
