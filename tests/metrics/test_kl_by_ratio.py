import math

import pytest
import torch
from torch.distributions import Independent, Normal

from distmatch.errors import BadInput
from distmatch.metrics.codes.empirical_kl import empirical_marginal_kl
from distmatch.metrics.codes.kl_by_ratio import NoisyClassifier, _split, lower_bound, marginal_kl_by_ratio
from distmatch.random import seeded

SMALL = {"width": 64, "steps": 250, "lr": 2e-3}


def shifted(n, seed, d=2):
    """KL(N(1, I)‖N(0, I)) = d/2."""
    return 1 + torch.randn(n, d, generator=seeded(seed))


@pytest.mark.parametrize("codes", [shifted(10_000, 0), shifted])
def test_a_shifted_normal_is_found(codes):
    found = marginal_kl_by_ratio(codes, **SMALL).mean_score
    assert found.value == pytest.approx(1.0, abs=0.2)
    assert found.n == (2000 if isinstance(codes, torch.Tensor) else 5000)
    assert "never to be used alone" in found.how


def test_codes_that_follow_the_prior_give_nothing():
    assert abs(marginal_kl_by_ratio(shifted(10_000, 0) - 1, **SMALL).mean_score.value) < 0.05


def test_another_prior():
    prior = Independent(Normal(torch.ones(2), torch.ones(2)), 1)
    assert abs(marginal_kl_by_ratio(shifted(10_000, 0), prior, **SMALL).mean_score.value) < 0.05


def test_far_below_the_truth_where_codes_are_easily_told_apart():
    """Narrow clusters in 30 dimensions: the classifier is content long before it knows log q/p."""
    loc = torch.randn(16, 30, generator=seeded(1))
    scale = torch.full((16, 30), 0.2)
    own = torch.randint(16, (4000,), generator=seeded(2))
    codes = loc[own] + 0.2 * torch.randn(4000, 30, generator=seeded(3))
    truth = empirical_marginal_kl(loc, scale, decompose=False).empirical_marginal_kl.value
    found = marginal_kl_by_ratio(codes, **SMALL).mean_score
    assert 2 < found.value < 0.7 * truth


@pytest.mark.parametrize("option", [{"noise": 0.5}, {"dropout": 0.2}, {"penalty": 10.0}, {"layers": 1}])
def test_every_option_changes_the_classifier(option):
    codes, few = shifted(1000, 0), {"width": 16, "steps": 30, "lr": 2e-3}
    assert marginal_kl_by_ratio(codes, **few, **option) != marginal_kl_by_ratio(codes, **few)


def test_the_penalty_holds_the_slope_near_one():
    """At N(3, 1) against N(0, 1) the true slope is 3; a heavy penalty brings it to 1."""
    codes = 3 + torch.randn(4000, 1, generator=seeded(0))
    free = marginal_kl_by_ratio(codes, **SMALL).mean_score.value
    held = marginal_kl_by_ratio(codes, penalty=100.0, **SMALL).mean_score.value
    assert held < 0.7 * free


def test_the_lower_bound_holds_whatever_the_scores():
    """q = N(1, 1), p = N(0, 1): KL = 1/2. Scores too large have a mean above it, and still a bound below."""
    z, drawn = 1 + torch.randn(20_000, generator=seeded(0)), torch.randn(50_000, generator=seeded(1))
    for t, least in (
        (lambda z: z - 0.5, 0.46),
        (lambda z: z + 5, 0.46),
        (lambda z: 3 * z, -4),
        (torch.sin, 0.27),
    ):
        found = lower_bound(t(z), t(drawn))
        assert least < found.value <= 0.5 + 3 * found.standard_error
    assert float((z + 5).mean()) > 5


def test_the_lower_bound_covers_its_own_value():
    """With t = log q/p of N(1, I) and N(0, I) in two coordinates it is KL = 1 but for the shift, whose loss is tiny."""
    hits = 0
    for seed in range(400):
        z, drawn = (torch.randn(n, 2, generator=seeded(2 * seed + i)) for i, n in enumerate((300, 4000)))
        low, high = lower_bound((z + 0.5).sum(1), (drawn - 0.5).sum(1)).interval()
        hits += low <= 1 <= high
    assert 0.91 <= hits / 400 <= 0.98


def test_a_shifted_normal_is_bounded_from_below_and_a_separate_one_no_higher_than_draws_reach():
    near = marginal_kl_by_ratio(shifted(10_000, 0), **SMALL).lower
    assert 0.85 < near.value < 1 + 2 * near.standard_error
    far = marginal_kl_by_ratio(shifted(2000, 0, 50) + 2, **SMALL).lower
    assert 2 < far.value < math.log(25_000) - 4
    assert marginal_kl_by_ratio(shifted(10_000, 0) - 1, **SMALL).lower.value < 0.02


def test_the_lower_bound_is_against_the_prior_that_is_given():
    """KL(N(1, I)‖N(0, ¼ I)) = 5.6; e^t of draws of N(0, I) would take most of it."""
    prior = Independent(Normal(torch.zeros(2), torch.full((2,), 0.5)), 1)
    assert marginal_kl_by_ratio(shifted(10_000, 0), prior, **SMALL).lower.value > 3


def test_equal_codes_have_equal_scores_whatever_the_dropout():
    found = marginal_kl_by_ratio(torch.ones(100, 2), width=16, steps=5, dropout=0.8)
    assert found.mean_score.standard_error == 0


def test_noise_and_dropout_are_off_when_it_is_asked():
    net = NoisyClassifier(2, layers=2, width=8, noise=5.0, dropout=0.5).eval()
    assert torch.equal(net(torch.ones(3, 2)), net(torch.ones(3, 2)))


@pytest.mark.parametrize(
    ("codes", "options", "match"),
    [
        (torch.zeros(5, 2), {}, "too small"),
        (torch.zeros(50), {}, "shape"),
        (torch.full((50, 2), math.nan), {}, "NaN"),
        (torch.zeros(50, 2), {"layers": 0}, "layers"),
        (torch.zeros(50, 2), {"dropout": 1.0}, "dropout"),
        (torch.zeros(50, 2), {"noise": -1.0}, "noise"),
        (torch.zeros(50, 2), {"lr": 0.0}, "lr"),
        (torch.zeros(50, 2), {"prior": Normal(torch.zeros(3), torch.ones(3)), "steps": 1}, "prior"),
        (1e20 * torch.ones(50, 2), {"steps": 20, "lr": 1e30, "width": 4}, "diverged"),
    ],
)
def test_degenerate_input_is_refused(codes, options, match):
    with pytest.raises(BadInput, match=match):
        marginal_kl_by_ratio(codes, **options)


def test_repeats_by_seed_and_leaves_global_randomness_alone():
    before, heard = torch.random.get_rng_state(), []
    few = {"width": 16, "steps": 20, "dropout": 0.3, "noise": 0.1, "progress": heard.append}
    first, again, other = (marginal_kl_by_ratio(shifted(500, 0), seed=s, **few) for s in (1, 1, 2))
    assert first == again != other
    assert heard[-1] == 1.0
    assert torch.equal(before, torch.random.get_rng_state())


def test_the_lower_bound_and_its_error_by_hand():
    """The shift comes from one half of the prior's draws, and E e^s with its variance from the other."""
    codes = torch.tensor([0.5, 1.5, -1.0]).double()
    drawn = torch.randn(400, generator=seeded(3), dtype=torch.double)
    first, second = drawn[:200], drawn[200:]
    shift = float(first.exp().mean().log())
    s = (codes - shift).clamp(max=math.log(200) - 4)
    e = (second - shift).clamp(max=math.log(200) - 4).exp()
    found = lower_bound(codes, drawn)
    assert found.value == pytest.approx(float(s.mean() - e.mean() + 1))
    assert found.standard_error == pytest.approx(float(s.var() / 3 + e.var() / 200) ** 0.5)


def test_held_out_codes_are_not_trained_on():
    codes = torch.arange(50.0)[:, None]
    held_out, batches = _split(codes, 64, 0)
    trained = {float(z) for _ in range(20) for z in next(batches)}
    assert len(held_out) == 10
    assert trained == set(range(50)) - set(held_out[:, 0].tolist())


def test_pools_of_fresh_codes_are_of_seeds_of_their_own():
    asked = []

    def sampler(n, seed):
        asked.append((n, seed))
        return torch.full((n, 1), float(seed))

    held_out, batches = _split(sampler, 2, 5)
    assert (len(held_out), float(held_out[0])) == (5000, 5)
    assert [float(next(batches)[0, 0]) for _ in range(201)] == [6] * 100 + [7] * 100 + [8]
    assert asked == [(5000, 5), (200, 6), (200, 7), (200, 8)]
