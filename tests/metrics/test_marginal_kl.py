import math

import pytest
import torch
from torch.distributions import Independent, Laplace, Normal

from distmatch.errors import BadInput
from distmatch.metrics import empirical_marginal_kl
from distmatch.metrics.codes.mixture import log_mixture
from distmatch.metrics.codes.surgery import Rates, Scores, summary
from distmatch.metrics.codes.two_stage import controlled, sizes, thinned, two_stage
from distmatch.random import seeded

TWO = torch.tensor([[-2.0], [2.0]]), torch.full((2, 1), 0.5)


def ring():
    angle = torch.arange(8) * math.pi / 4
    return 2 * torch.stack([angle.cos(), angle.sin()], 1), torch.full((8, 2), 0.3)


def crowd(n=200, d=3, sigma=0.5):
    return torch.randn(n, d, generator=seeded(5)) * 0.8, torch.full((n, d), sigma)


def near(estimate, truth, errors=4):
    return abs(estimate.value - truth) <= errors * estimate.standard_error


def test_two_gaussians():
    found = empirical_marginal_kl(*TWO)
    assert found.rate.value == pytest.approx(2.31815, abs=1e-5)
    assert found.mutual_information.value == pytest.approx(0.69305, abs=2e-4)
    assert near(found.mutual_information, 0.69305)
    assert near(found.empirical_marginal_kl, 1.62509)
    assert found.empirical_marginal_kl.standard_error < 0.005
    assert found.bound_holds


def test_ring():
    found = empirical_marginal_kl(*ring())
    assert found.rate.value == pytest.approx(3.4979, abs=1e-4)
    assert found.empirical_marginal_kl.value == pytest.approx(1.448, abs=2e-3)
    assert found.mutual_information.value == pytest.approx(2.050, abs=2e-3)


def test_given_codes_are_scored_as_they_are():
    loc, scale = ring()
    own = torch.randint(8, (20_000,), generator=seeded(1))
    codes = loc[own] + scale[own] * torch.randn(20_000, 2, generator=seeded(2))
    found = empirical_marginal_kl(loc, scale, codes)
    low, high = found.empirical_marginal_kl.interval(0.999)
    assert low < 1.448 < high
    assert found.empirical_marginal_kl.n == 20_000


@pytest.mark.parametrize("options", [{}, {"samples": 3, "evaluate": 40}, {"leave_one_out": True}])
@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0])
def test_the_surgery_identity_holds(options, sigma):
    found = empirical_marginal_kl(*crowd(sigma=sigma), **options)
    error = math.hypot(found.empirical_marginal_kl.standard_error, found.mutual_information.standard_error)
    total = found.empirical_marginal_kl.value + found.mutual_information.value
    assert total == pytest.approx(found.rate.value, abs=4 * error)


def test_the_decomposition_adds_up():
    found = empirical_marginal_kl(*crowd(), decompose=True)
    total = found.total_correlation.value + found.dimension_wise_kl.value
    error = math.hypot(found.total_correlation.standard_error, found.dimension_wise_kl.standard_error)
    assert total == pytest.approx(found.empirical_marginal_kl.value, abs=4 * error)
    assert empirical_marginal_kl(*crowd(), decompose=False).total_correlation is None


def test_one_coordinate_has_no_total_correlation():
    found = empirical_marginal_kl(*TWO)
    assert found.total_correlation.value == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("sigma", [1e-3, 1e-8])
def test_saturates_at_the_left_bound_when_collapsed(sigma):
    found = empirical_marginal_kl(*crowd(sigma=sigma))
    assert found.mutual_information.value == pytest.approx(math.log(200), abs=1e-6)
    assert found.mutual_information.standard_error > 0
    assert near(found.empirical_marginal_kl, found.lower)
    assert found.lower <= found.empirical_marginal_kl.value
    assert found.bound_holds


def test_meets_the_right_bound_when_the_codes_ignore_the_data():
    found = empirical_marginal_kl(torch.zeros(50, 4), torch.ones(50, 4))
    assert found.empirical_marginal_kl.value == pytest.approx(0, abs=1e-9)
    assert found.bound_holds


def test_leaving_one_out_brackets_the_population():
    """Population: z|x = N(x, s²), x ~ N(0, 1 - s²), so q(z) = p(z) and KL = 0."""
    s, n = 0.5, 500
    loc = torch.randn(n, 1, generator=seeded(3)) * math.sqrt(1 - s**2)
    scale = torch.full((n, 1), s)
    kept, left = empirical_marginal_kl(loc, scale), empirical_marginal_kl(loc, scale, leave_one_out=True)
    assert left.empirical_marginal_kl.value < kept.empirical_marginal_kl.value
    assert left.lower == -math.inf


def exact(loc, scale, points=None):
    """By quadrature, in one or two dimensions."""
    points = points or (20_001 if loc.shape[1] == 1 else 1_001)
    axis = torch.linspace(-9, 9, points, dtype=torch.double)
    grid = torch.cartesian_prod(*[axis] * loc.shape[1]).reshape(-1, loc.shape[1])
    log_q = log_mixture(grid, loc.double(), scale.double())
    log_p = torch.distributions.Normal(0, 1).log_prob(grid).sum(1)
    return float((log_q.exp() * (log_q - log_p)).sum() * (axis[1] - axis[0]) ** loc.shape[1])


def test_quadrature_gives_the_published_values():
    assert exact(*TWO) == pytest.approx(1.62509, abs=1e-5)
    assert exact(*ring()) == pytest.approx(1.448, abs=1e-3)


def reference(loc, scale):
    """R - I with many draws: its error is far below those under test."""
    found = empirical_marginal_kl(loc, scale, samples=2000, seed=99, decompose=False)
    return found.rate.value - found.mutual_information.value


def coverage(truth, repetitions=150, **options):
    hits = 0
    for seed in range(repetitions):
        low, high = empirical_marginal_kl(
            seed=seed, decompose=False, **options
        ).empirical_marginal_kl.interval()
        hits += low <= truth <= high
    return hits / repetitions


@pytest.mark.parametrize(
    ("n", "sigma", "evaluate", "samples"),
    [
        *((2, 0.5, 2, 100), (2, 0.5, 2, 5000), (2, 0.9, 2, 1000), (8, 0.3, 8, 50), (8, 0.3, 8, 1000)),
        *(
            (200, 0.5, 200, 3),
            (200, 0.5, 60, 2),
            (200, 0.1, 60, 5),
            (200, 0.05, 200, 10),
            (200, 0.01, 60, 5),
            (200, 1.0, 50, 1),
        ),
    ],
)
def test_the_interval_covers_at_its_rate(n, sigma, evaluate, samples):
    loc, scale = {2: lambda: (TWO[0], torch.full((2, 1), sigma)), 8: ring}.get(
        n, lambda: crowd(sigma=sigma)
    )()
    truth = exact(loc, scale) if n < 200 else reference(loc, scale)
    rate = coverage(truth, loc=loc, scale=scale, evaluate=evaluate, samples=samples)
    assert 0.90 <= rate <= 0.99


@pytest.mark.parametrize(("sigma", "evaluate", "samples"), [(1.0, 60, 5), (0.5, 200, 3), (0.3, 60, 10)])
def test_the_interval_of_the_mutual_information_covers_at_its_rate(sigma, evaluate, samples):
    loc, scale = crowd(sigma=sigma)
    found = empirical_marginal_kl(loc, scale, samples=2000, seed=99, decompose=False)
    truth, hits = found.mutual_information.value, 0
    for seed in range(250):
        drawn = empirical_marginal_kl(
            loc, scale, evaluate=evaluate, samples=samples, seed=seed, decompose=False
        )
        low, high = drawn.mutual_information.interval()
        hits += low <= truth <= high
    assert 0.90 <= hits / 250 <= 0.99


@pytest.mark.parametrize(("evaluate", "samples"), [(300, 3), (100, 10), (10, 5), (3, 40)])
def test_draws_of_one_component_are_not_taken_as_independent(evaluate, samples):
    """Of 300 components; the truths by quadrature. As independent draws 24 to 79 % of the parts' would."""
    loc, scale = crowd(300, 2, 0.3)
    kl = exact(loc, scale, 401)
    each = sum(exact(loc[:, [j]], scale[:, [j]], 2001) for j in (0, 1))
    truths = {"empirical_marginal_kl": kl, "total_correlation": kl - each, "dimension_wise_kl": each}
    hits = dict.fromkeys(truths, 0)
    for seed in range(200):
        found = empirical_marginal_kl(loc, scale, evaluate=evaluate, samples=samples, seed=seed).estimates()
        for name, truth in truths.items():
            low, high = found[name].interval()
            hits[name] += low <= truth <= high
    assert all(0.90 <= n / 200 <= 0.99 for n in hits.values()), hits


@pytest.mark.parametrize(("n", "k", "total"), [(3, 50, 1000), (4, 4, 8), (5, 20, 5), (3, 1, 1000)])
def test_two_stage_means_cover_where_components_are_few(n, k, total):
    """Of normal draws about normal components: with a degree of freedom for each draw 82 % and 92 % do."""
    generator, hits = seeded(0), 0
    for _ in range(1000):
        population = torch.randn(total, generator=generator, dtype=torch.double)
        chosen = population[torch.randperm(total, generator=generator)[:n]]
        draws = chosen[:, None] + torch.randn(n, k, generator=generator, dtype=torch.double)
        low, high = two_stage(draws, total).estimate(n * k, "").interval()
        hits += low <= float(population.mean()) <= high
    assert 0.93 <= hits / 1000 <= 0.985


@pytest.mark.parametrize(("n", "plain"), [(9, True), (10, False)])
def test_no_control_variate_is_fitted_through_few_components(n, plain):
    """Of 500 a line through three takes two of their three numbers away: the error would be far too small."""
    generator = seeded(0)
    own = torch.arange(n)[:, None].expand(n, 50)
    noise = torch.randn(3, n * 50, generator=generator, dtype=torch.double)
    log_q, log_p, log_code = noise[0] - 3, noise[1] - 4, noise[0] + noise[2] - 4
    rates = Rates(3 + torch.randn(500, generator=generator, dtype=torch.double).abs(), exact=True)
    scores = Scores(log_q, log_p, log_code, own)
    found = summary(scores, rates, (None, None), leave_one_out=False, against="").empirical_marginal_kl
    expected = two_stage((log_q - log_p).reshape(own.shape), 500)
    assert (found.value == pytest.approx(expected.value, abs=1e-12)) is plain
    assert (found.standard_error == pytest.approx(expected.error, rel=1e-9)) is plain


def test_a_kl_that_noise_carries_past_a_bound_is_put_on_it():
    found = [
        empirical_marginal_kl(*crowd(sigma=0.01), evaluate=5, samples=2, seed=seed, decompose=False)
        for seed in range(20)
    ]
    assert all(f.lower <= f.empirical_marginal_kl.value <= f.upper for f in found)


def test_thinning_keeps_components_whole():
    own = torch.randperm(50, generator=seeded(0))[:40, None].expand(40, 5)
    places, kept = thinned(own, 200, 60)
    assert torch.equal(own.flatten()[places], kept.flatten())
    assert kept.shape[1] >= 2
    assert len(places) <= 60
    assert thinned(own, 200, 1000)[1].equal(own)
    assert [len(thinned(None, 200, most)[0]) for most in (1, 50, 1000)] == [2, 50, 200]


def test_a_rate_near_or_beyond_ln_n_is_warned_of():
    """Codes exactly N(0, I) with σ = 0.01: 37.5 nats of 5,000 components, where the population's is 0."""
    loc = torch.randn(5000, 10, generator=seeded(0)) * math.sqrt(1 - 0.01**2)
    found = empirical_marginal_kl(loc, torch.full_like(loc, 0.01), samples=2, evaluate=100, decompose=False)
    assert found.empirical_marginal_kl.value == pytest.approx(37.5, abs=0.3)
    assert "WARNING: R = 46.05 > ln N - 2" in found.empirical_marginal_kl.how
    assert "WARNING" not in empirical_marginal_kl(*crowd(sigma=0.9)).empirical_marginal_kl.how


def test_against_another_gaussian_is_against_the_standard_one_in_its_coordinates():
    """KL does not change when codes and prior are shifted and scaled together."""
    loc, scale = crowd()
    shift, width = torch.tensor([1.0, -2.0, 0.5]), torch.tensor([0.5, 2.0, 3.0])
    moved = Independent(Normal(shift, width), 1)
    found = empirical_marginal_kl(loc * width + shift, scale * width, prior=moved)
    plain = empirical_marginal_kl(loc, scale)
    for name in ("empirical_marginal_kl", "rate", "mutual_information", "total_correlation"):
        assert getattr(found, name).value == pytest.approx(getattr(plain, name).value, abs=1e-5)
    assert found.dimension_wise_kl is None
    assert "prior Normal" in found.empirical_marginal_kl.how


def test_against_a_prior_without_a_closed_form():
    loc, scale = TWO
    prior = Independent(Laplace(torch.zeros(1), torch.ones(1)), 1)
    found = empirical_marginal_kl(loc, scale, prior=prior)
    grid = torch.linspace(-9, 9, 20_001, dtype=torch.double)
    log_q = log_mixture(grid[:, None], loc, scale)
    truth = float((log_q.exp() * (log_q + grid.abs() + math.log(2))).sum() * (grid[1] - grid[0]))
    assert near(found.empirical_marginal_kl, truth)
    assert found.bound_holds
    given = empirical_marginal_kl(
        loc, scale, torch.randn(5000, 1, generator=seeded(0)) * 0.5 - 2, prior=prior
    )
    assert given.empirical_marginal_kl.n == 5000
    with pytest.raises(BadInput, match="batch shape"):
        empirical_marginal_kl(loc, scale, prior=Laplace(torch.zeros(1), torch.ones(1)))


def test_single_precision_input_gives_double_precision_numbers():
    loc, scale = crowd()
    half, double = empirical_marginal_kl(loc, scale), empirical_marginal_kl(loc.double(), scale.double())
    assert half == double


def test_components_that_coincide_at_tiny_scales_share_one_datum():
    """Every datum twice at σ = 1e-7: I = ln(N/2), which only scores that survive rounding can tell."""
    loc = torch.randn(100, 4, generator=seeded(0), dtype=torch.double).repeat(2, 1)
    found = empirical_marginal_kl(loc, torch.full_like(loc, 1e-7), decompose=False)
    assert found.mutual_information.value == pytest.approx(math.log(100), abs=1e-5)


def test_huge_mixtures_get_fewer_codes():
    assert sizes(60_000, 333, None, None) == (166, 3)
    assert sizes(200, 10_000, None, 40) == (40, 250)
    assert sizes(3, 200, 5, None) == (3, 5)


def test_progress_rises_to_one():
    heard = []
    empirical_marginal_kl(*crowd(), progress=heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


@pytest.mark.parametrize(
    ("arguments", "options", "match"),
    [
        ((torch.zeros(1, 2), torch.ones(1, 2)), {}, "at least 2"),
        ((torch.zeros(3, 2), torch.ones(3, 1)), {}, "same shape"),
        ((torch.zeros(3), torch.ones(3)), {}, "shape"),
        ((torch.zeros(3, 0), torch.ones(3, 0)), {}, "too small"),
        ((torch.zeros(3, 2), torch.zeros(3, 2)), {}, "positive"),
        ((torch.full((3, 2), math.nan), torch.ones(3, 2)), {}, "NaN"),
        ((*TWO, torch.zeros(5, 2)), {}, "dimensions"),
        ((*TWO, torch.zeros(1, 1)), {}, "at least 2"),
        ((*TWO, torch.zeros(5, 1)), {"leave_one_out": True}, "component"),
        (TWO, {"evaluate": 3}, "only 2"),
        (TWO, {"evaluate": 1}, "evaluate"),
        (TWO, {"samples": 0}, "samples"),
        (TWO, {"chunk": 0}, "chunk"),
    ],
)
def test_degenerate_input_is_refused(arguments, options, match):
    with pytest.raises(BadInput, match=match):
        empirical_marginal_kl(*arguments, **options)


def test_foreign_codes_are_refused():
    with pytest.raises(BadInput, match="not draws from this mixture"):
        empirical_marginal_kl(*TWO, torch.randn(100, 1, generator=seeded(0)) + 30)


def test_repeats_by_seed_and_leaves_global_randomness_alone():
    before = torch.random.get_rng_state()
    first, again, other = (
        empirical_marginal_kl(*crowd(), seed=s).empirical_marginal_kl.value for s in (1, 1, 2)
    )
    assert first == again != other
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(("below", "warned"), [(1.9, True), (2.1, False)])
def test_the_warning_begins_two_nats_below_ln_n(below, warned):
    rates = Rates(torch.full((50,), math.log(50) - below, dtype=torch.double), exact=True)
    scores = Scores(torch.linspace(0, 1, 20).double(), torch.zeros(20).double())
    found = summary(scores, rates, (None, None), leave_one_out=False, against="")
    assert ("WARNING" in found.empirical_marginal_kl.how) is warned


def test_of_given_codes_the_information_is_the_rest_of_the_rate():
    loc, scale = crowd()
    codes = loc + scale * torch.randn(200, 3, generator=seeded(1))
    found = empirical_marginal_kl(loc, scale, codes, decompose=False)
    value = float((log_mixture(codes.double(), loc, scale) - Normal(0, 1).log_prob(codes).sum(1)).mean())
    assert found.empirical_marginal_kl.value == pytest.approx(value, abs=1e-5)
    assert found.mutual_information.value == pytest.approx(found.rate.value - value, abs=1e-5)


@pytest.mark.parametrize("exact", [True, False])
def test_a_bound_that_is_drawn_may_be_missed_by_its_own_error(exact):
    """KL is 0.7 ± 0.02 and R is 0.5 ± 0.1: beyond three errors of KL, within those of both."""
    rates = Rates(0.5 + 0.1 * torch.tensor([-1.0, 1.0]).double().repeat(50) * 100**0.5, exact)
    scores = Scores(0.7 + 0.02 * torch.tensor([-1.0, 1.0]).double().repeat(10) * 20**0.5, torch.zeros(20))
    found = summary(scores, rates, (None, None), leave_one_out=False, against="")
    assert found.bound_holds is not exact


def test_degrees_of_freedom_by_hand():
    """s²_between = 1 over 3 means of 12, s²_within = 8 of 4 draws: parts 0.25 and 1/6 of 2 and 9 degrees."""
    draws = math.sqrt(6) * torch.tensor([-1.0, -1.0, 1.0, 1.0]).double()
    found = two_stage(torch.stack([draws - 1, draws, draws + 1]), 12)
    assert found.error == pytest.approx(math.sqrt(1 / 4 + 1 / 6))
    assert found.degrees == pytest.approx((1 / 4 + 1 / 6) ** 2 / (1 / 4**2 / 2 + 1 / 6**2 / 9))


def test_a_control_variate_takes_at_most_itself_away():
    control = torch.randn(500, generator=seeded(0), dtype=torch.double)
    rest = torch.randn(500, generator=seeded(1), dtype=torch.double)
    none = torch.zeros(500).double()
    assert controlled(rest - control, control, none).equal(rest - control)  # no slope below 0
    assert torch.allclose(controlled(rest + 3 * control, control, none), rest + 2 * control)  # nor above 1


def test_the_value_is_that_of_the_codes_but_for_the_controls_mean():
    """Of all components at K draws: KL = mean score less slope times what the draws' mean is off R."""
    loc, scale = crowd(40)
    found = empirical_marginal_kl(loc, scale, samples=30, decompose=False)
    own = torch.randperm(40, generator=(g := seeded(0))).repeat_interleave(30)
    codes = loc[own] + scale[own] * torch.randn(1200, 3, generator=g, dtype=torch.double)
    log_p = Normal(0, 1).log_prob(codes).sum(1)
    score = log_mixture(codes, loc, scale) - log_p
    control = Normal(loc[own], scale[own]).log_prob(codes).sum(1) - log_p - found.rate.value
    slope = float(torch.stack([score, control]).cov()[0, 1] / control.var())
    expected = float(score.mean() - slope * control.mean())
    assert found.empirical_marginal_kl.value == pytest.approx(expected, abs=1e-7)
