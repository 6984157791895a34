import math

import pytest
import torch

from distmatch.errors import BadInput
from distmatch.metrics import Model, evaluate, mode_coverage
from distmatch.metrics.samples.coverage import reached
from distmatch.random import seeded

AXIS = torch.arange(-4.0, 5.0, 2.0)
GRID = torch.cartesian_prod(AXIS, AXIS)


def draws(n, seed=0, modes=GRID, scale=0.05):
    g = seeded(seed)
    which = torch.randint(len(modes), (n,), generator=g)
    return modes[which] + scale * torch.randn(n, modes.shape[1], generator=g)


def test_real_data_reach_the_ceiling():
    found = mode_coverage(draws(200_000), GRID, 0.05)
    assert (found.modes, found.total) == (25, 25)
    assert found.ceiling == pytest.approx(1 - math.exp(-4.5)) == pytest.approx(0.9889, abs=5e-5)
    assert found.high_quality.value == pytest.approx(0.9889, abs=4 * found.high_quality.standard_error)


def test_the_interval_covers_the_ceiling():
    intervals = [mode_coverage(draws(2500, s), GRID, 0.05).high_quality.interval() for s in range(200)]
    assert 0.90 <= sum(low <= 1 - math.exp(-4.5) <= high for low, high in intervals) / 200 <= 0.99


@pytest.mark.parametrize("skewed", [False, True])
def test_the_interval_covers_the_divergence_of_the_shares(skewed):
    share = torch.linspace(1, 3, 25, dtype=torch.float64) if skewed else torch.ones(25, dtype=torch.float64)
    share = share / share.sum()
    truth, hits = float((share * (25 * share).log()).sum()), 0
    for seed in range(200):
        which = torch.multinomial(share, 2500, replacement=True, generator=seeded(seed))
        low, high = mode_coverage(GRID[which], GRID, 0.05).kl.interval()
        hits += low <= truth <= high
    assert hits / 200 >= 0.9
    assert not skewed or hits / 200 <= 0.99


def test_a_collapsed_model():
    found = mode_coverage(draws(2500, modes=GRID[:1]), GRID, 0.05)
    assert found.modes == 1
    assert found.kl.value == pytest.approx(math.log(25))


def test_a_collapsed_model_states_what_one_more_sample_would_change():
    found = mode_coverage(draws(2500, modes=GRID[:1]), GRID, 0.05).kl
    other = mode_coverage(torch.cat([draws(2499, modes=GRID[:1]), GRID[1:2]]), GRID, 0.05).kl
    assert found.standard_error == pytest.approx(found.value - other.value, rel=0.02)
    assert (
        mode_coverage(draws(50, modes=GRID[:1]), GRID[:1], 0.05).kl.standard_error == 0
    )  # there is no other


@pytest.mark.parametrize("rare", [1e-5, 1e-3, 1e-2])
def test_the_interval_of_modes_holds_what_as_many_samples_reach_on_average(rare):
    n, share = 200, torch.tensor([1 - 8 * rare] + [rare] * 8, dtype=torch.float64)
    expected, covered = float((1 - (1 - share) ** n).sum()), 0
    for seed in range(200):
        which = torch.multinomial(share, n, replacement=True, generator=seeded(seed))
        found = mode_coverage(GRID[which], GRID[:9], 0.05)
        low, high = reached(found.modes, found.total, found.modes_error)
        assert 0 <= low <= found.modes <= high <= 9
        covered += low <= expected <= high
    assert covered >= 180


def test_modes_on_the_bench_are_bounded_by_their_number():
    model = Model(sample=lambda n, seed: draws(n, seed), modes=GRID, mode_scale=0.05)
    found = evaluate(model, "mode_coverage").metrics["modes"]
    assert (found.value, found.limits[1]) == (25, 25.0)
    assert "±" not in str(found)


def test_low_quality_samples_capture_nothing():
    found = mode_coverage(GRID + 0.5, GRID, 0.05)
    assert (found.modes, found.high_quality.value) == (0, 0.0)
    assert found.kl.value == pytest.approx(0, abs=1e-12)


def test_the_threshold_is_within_times_scale():
    modes = torch.zeros(1, 2)
    samples = torch.tensor([[0.299, 0.0], [0.301, 0.0]])
    assert mode_coverage(samples, modes, 0.1).high_quality.value == 0.5
    assert mode_coverage(samples, modes, 0.1, within=4).high_quality.value == 1


def test_ceiling_in_other_dimensions():
    assert mode_coverage(torch.zeros(2, 1), torch.zeros(1, 1), 1.0).ceiling == pytest.approx(0.9973, abs=1e-4)


def test_the_error_of_the_count_is_about_right():
    counts = [mode_coverage(draws(60, s), GRID, 0.05) for s in range(300)]
    spread = torch.tensor([float(c.modes) for c in counts]).std()
    plug_in = sum(c.modes_error for c in counts) / len(counts)
    assert 0.5 < plug_in / float(spread) < 2


@pytest.mark.parametrize(
    ("samples", "modes", "scale"),
    [
        (torch.zeros(1, 2), GRID, 1.0),
        (torch.zeros(5, 3), GRID, 1.0),
        (torch.full((5, 2), math.nan), GRID, 1.0),
        (torch.zeros(5, 2), torch.zeros(0, 2), 1.0),
        (torch.zeros(5, 2), GRID, 0.0),
        (torch.zeros(5, 2), GRID, math.nan),
    ],
)
def test_degenerate_input_is_refused(samples, modes, scale):
    with pytest.raises(BadInput):
        mode_coverage(samples, modes, scale)
