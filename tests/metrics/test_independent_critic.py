import math

import pytest
import scipy.stats
import torch
from torch import nn

from distmatch.errors import BadInput
from distmatch.metrics.generator.independent_critic import critic_distance, image_critic, independent_critic
from distmatch.random import seeded

FAST = {"steps": 300, "rate": 1e-3}


def normal(n, seed, d=2):
    return torch.randn(n, d, generator=seeded(seed))


@pytest.mark.parametrize("shift", [-1.5, 0.5, 3.0])
def test_a_shifted_point_mass_is_as_far_as_it_is_shifted(shift):
    """W₁ = |δ|; -s|δ| + λ(s - 1)² is least at the slope s = 1 + |δ|/2λ."""
    x = torch.zeros(40, 1)
    found = independent_critic(x + shift, x, x, x, **FAST)
    slope = 1 + abs(shift) / 20
    assert found.test.value == pytest.approx(abs(shift) * slope, rel=0.05)
    assert found.train.value == found.validation.value == found.test.value
    assert found.slope.mean.value == pytest.approx(slope, rel=0.05)
    assert found.overfitting.value == 0


def test_equal_laws_are_near_one_another():
    found = independent_critic(normal(2000, 0), normal(2000, 1), normal(2000, 2), normal(2000, 3), **FAST)
    apart = independent_critic(normal(2000, 0) + 2, normal(2000, 1), normal(2000, 2), normal(2000, 3), **FAST)
    for estimate in (found.train, found.validation, found.test, found.overfitting):
        assert abs(estimate.value) < 4 * estimate.standard_error
    distance = 2 * math.sqrt(2)  # of N(0, I) and its shift by (2, 2)
    assert apart.test.value / apart.slope.mean.value == pytest.approx(distance, rel=0.1)


def test_a_model_that_repeats_its_training_data_overfits():
    """Eight training points and a model that draws nothing else, against fresh draws of the same distribution."""
    train = normal(8, 0)
    samples = train[torch.randint(8, (2000,), generator=seeded(1))]
    found = independent_critic(samples, train.repeat(100, 1), normal(2000, 2), normal(2000, 3), **FAST)
    assert found.overfitting.value > 4 * found.overfitting.standard_error
    assert found.train.value < 0.3 * found.test.value
    gap = found.test.value - found.train.value
    assert found.overfitting.value == pytest.approx(gap)


def test_without_test_data_the_held_out_ones_stand_in():
    found = independent_critic(normal(40, 0), normal(40, 1), normal(40, 2), steps=5)
    assert found.test is None
    assert found.overfitting.value == pytest.approx(found.validation.value - found.train.value)


def test_few_data_against_many_samples_have_the_degrees_of_freedom_of_the_few():
    """With as many as both together 84 % of the intervals would cover the truth, 0."""
    hits = 0
    for seed in range(400):
        real, model = normal(4, 2 * seed, 1), 0.1 * normal(200, 2 * seed + 1, 1)
        low, high = critic_distance(lambda x: x[:, 0], real, model).interval()
        hits += low <= 0 <= high
    assert 0.92 <= hits / 400 <= 0.98


def test_the_interval_of_a_distance_is_welchs():
    real, model = normal(3, 0, 1), 3 * normal(5, 1, 1)
    welch = scipy.stats.ttest_ind(real[:, 0].double(), model[:, 0].double(), equal_var=False)
    found = critic_distance(lambda x: x[:, 0], real, model)
    assert found.interval() == pytest.approx(tuple(welch.confidence_interval()))


def test_batches_pair_any_row_of_the_data_with_any_of_the_samples():
    """20 of 40 samples and 8 of 16 data train the critic, which makes 160 pairs; 800 draws leave out 1 of 150."""
    calls = []

    class Listens(nn.Linear):
        def forward(self, x):
            if self.training:
                calls.append(x[:, 0].tolist())
            return super().forward(x)

    x = torch.arange(80.0)[:, None]
    independent_critic(x[:40], x, x[64:], critic=Listens(1, 1), steps=100, batch_size=8, rate=1e-6)
    pairs = {pair for q, p in zip(calls[1::3], calls[2::3], strict=True) for pair in zip(q, p, strict=True)}
    assert {len(set(side)) for side in zip(*pairs, strict=True)} == {20, 8}
    assert len(pairs) > 150


def test_distances_cover_the_truth():
    """f(x) = x₁ + x₂² under N(0.3, 1) and N(0, 1): E f differs by 0.3 + 0.09."""
    hits = 0
    for seed in range(400):
        real, model = normal(200, 2 * seed) + 0.3, normal(100, 2 * seed + 1)
        low, high = critic_distance(lambda x: x[:, 0] + x[:, 1] ** 2, real, model).interval()
        hits += low <= 0.39 <= high
    assert 0.9 <= hits / 400 <= 0.99


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 9), (1, 28, 28)])
def test_images_of_any_size(shape):
    x = torch.rand(12, *shape, generator=seeded(0))
    found = independent_critic(x.flip(0), x, x, x, steps=2, batch_size=4)
    assert math.isfinite(found.test.value)
    assert image_critic(shape)(x).shape == (12, 1)


def test_a_critic_of_ones_own_is_copied():
    mine = nn.Linear(2, 1)
    before = [p.clone() for p in mine.parameters()]
    found = independent_critic(normal(40, 0), normal(40, 1), normal(40, 2), critic=mine, steps=20, rate=0.1)
    assert all(torch.equal(a, b) for a, b in zip(before, mine.parameters(), strict=True))
    assert not torch.equal(found.critic.weight, mine.weight)
    assert "20 steps of a fresh critic of 3 weights" in found.train.how
    with pytest.raises(BadInput, match="one score for each"):
        independent_critic(normal(40, 0), normal(40, 1), normal(40, 2), critic=nn.Linear(2, 2), steps=1)


def test_repeats_by_seed_and_leaves_global_randomness_alone():
    sets = [normal(40, i) for i in range(4)]
    before = torch.get_rng_state()
    shares = []
    with torch.no_grad():
        first = independent_critic(*sets, steps=4, seed=1, progress=shares.append)
    assert first == independent_critic(*sets, steps=4, seed=1)
    assert first != independent_critic(*sets, steps=4, seed=2)
    assert torch.equal(before, torch.get_rng_state())
    assert shares == [0.25, 0.5, 0.75, 1.0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"samples": torch.zeros(4, 2)}, "samples of shape"),
        ({"train": torch.full((40, 2), math.nan)}, "train holds NaN"),
        ({"validation": torch.zeros(40, 3)}, "one shape"),
        ({"steps": 0}, "steps is 0"),
        ({"penalty": -1.0}, "penalty is -1"),
        ({"rate": math.inf}, "rate is inf"),
        ({"rate": 1e30}, "diverged|NaN"),
    ],
)
def test_degenerate_input(given, message):
    arguments = {
        "samples": normal(40, 0),
        "train": normal(40, 1),
        "validation": normal(40, 2),
        "steps": 20,
        **given,
    }
    with pytest.raises(BadInput, match=message):
        independent_critic(**arguments)
