"""The public checks say what is wrong with members that break them; tests/contracts runs them over the registries."""

from dataclasses import replace

import pytest
import torch

from contracts.tiny import TINY
from distmatch.metrics import Estimate, metric
from distmatch.metrics.model import Result
from distmatch.networks import NETWORKS
from distmatch.objectives.comparisons import NON_SATURATING, WASSERSTEIN, Comparison, Sides
from distmatch.objectives.penalties import Roth
from distmatch.testing import check_comparison, check_metric, check_network, check_penalty


def test_a_swapped_sign():
    swapped = replace(WASSERSTEIN, critic=Sides(lambda s: s, lambda s: -s))
    with pytest.raises(AssertionError, match=r"loss on the target rises with the score at s = .*must fall"):
        check_comparison(swapped)


def test_a_critic_that_is_not_stationary():
    with pytest.raises(AssertionError, match=r"slope .* at the true log-ratio .* must be stationary there"):
        check_comparison(replace(NON_SATURATING, log_ratio=lambda s: 2 * s))


def test_a_comparison_without_a_source():
    with pytest.raises(AssertionError, match="it has no reference; name the paper"):
        check_comparison(replace(WASSERSTEIN, reference=""))


def test_an_equation_without_its_distributions():
    class Silent(Comparison):
        def equation(self, model, target):
            return "W₁"

    with pytest.raises(AssertionError, match="its equation is 'W₁'; it must have both distributions"):
        check_comparison(Silent(**WASSERSTEIN.__dict__))


def test_a_log_ratio_that_overflows():
    overflowing = replace(NON_SATURATING, log_ratio=lambda s: s.exp().log())
    with pytest.raises(AssertionError, match=r"its log_ratio at s = .* is not finite, or falls"):
        check_comparison(overflowing)


def test_a_generator_that_runs_away():
    away = replace(WASSERSTEIN, generator=Sides(None, lambda s: -s.clamp(max=-1.0)))
    with pytest.raises(AssertionError, match="is not brought back by f"):
        check_comparison(away)


def test_a_penalty_that_is_another_without_a_graph():
    class Lazy(Roth):
        def __call__(self, score, target, model, noise):
            paid = super().__call__(score, target, model, noise)
            return paid if torch.is_grad_enabled() else 0 * paid

    with pytest.raises(AssertionError, match=r"it is another under torch\.no_grad"):
        check_penalty(Lazy(2.0))


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
