import math

import pytest
import torch
import zuko
from torch.distributions import (
    Independent,
    Laplace,
    MultivariateNormal,
    Normal,
    StudentT,
    TransformedDistribution,
    Uniform,
)
from torch.distributions.transforms import AffineTransform, SigmoidTransform

from distmatch.errors import BadInput
from distmatch.metrics.codes.empirical_kl import empirical_marginal_kl
from distmatch.metrics.codes.posterior_kl import empirical_marginal_kl_of, log_mixture_of
from distmatch.random import seeded


def crowd(n=200, d=3, sigma=0.5):
    return torch.randn(n, d, generator=seeded(5), dtype=torch.double) * 0.8, sigma


def gaussian(x):
    return Independent(Normal(x, 0.5), 1)


def full(x):
    return MultivariateNormal(x, 0.25 * torch.eye(x.shape[1], dtype=x.dtype))


X, SIGMA = crowd()


def together(a, b):
    return abs(a.value - b.value) <= 4 * math.hypot(a.standard_error, b.standard_error) + 1e-12


@pytest.mark.parametrize("posterior", [gaussian, lambda x: Normal(x, 0.5), full])
def test_agrees_with_the_gaussian_form(posterior):
    found = empirical_marginal_kl_of(posterior, X, samples=50)
    plain = empirical_marginal_kl(X, torch.full_like(X, SIGMA))
    assert together(found.empirical_marginal_kl, plain.empirical_marginal_kl)
    assert together(found.mutual_information, plain.mutual_information)
    assert found.rate.value == pytest.approx(plain.rate.value, rel=0.1 if posterior is full else 1e-12)
    assert found.bound_holds
    assert (found.total_correlation is None) == (posterior is full)
    if posterior is not full:
        assert together(found.total_correlation, plain.total_correlation)
        assert together(found.dimension_wise_kl, plain.dimension_wise_kl)


def test_the_same_codes_give_the_same_density_to_rounding():
    """Every component evaluated, σ wide: KL + I = R with R exact, and log q is that of the matmul."""
    found = empirical_marginal_kl_of(full, X, samples=2, batch_size=37)
    again = empirical_marginal_kl_of(full, X.split(50), samples=2, seed=0)
    assert found.rate.n == again.rate.n == 200
    assert together(found.mutual_information, again.mutual_information)


def squashed(x):
    """z = 2·sigmoid(u) - 1 with u ~ N(x, 0.5²): KL to the squashed prior is that of u to N(0, I)."""
    return _squash(Independent(Normal(x, 0.5), 1))


def _squash(base):
    return TransformedDistribution(base, [SigmoidTransform(), AffineTransform(-1.0, 2.0)])


def test_a_bijection_of_codes_and_prior_changes_nothing():
    prior = _squash(Independent(Normal(torch.zeros(3).double(), torch.ones(3).double()), 1))
    found = empirical_marginal_kl_of(squashed, X, prior, samples=50)
    plain = empirical_marginal_kl(X, torch.full_like(X, SIGMA))
    assert together(found.empirical_marginal_kl, plain.empirical_marginal_kl)
    assert together(found.mutual_information, plain.mutual_information)
    assert found.total_correlation is None
    assert "prior" in found.empirical_marginal_kl.how


def test_a_flow_whose_transform_does_not_broadcast():
    """zuko's conditional flows need codes of the batch's full shape."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        flow = zuko.flows.MAF(2, context=3, transforms=1, hidden_features=(8,))
    found = empirical_marginal_kl_of(lambda x: flow(2 * x), X[:40].float(), samples=20)
    assert found.bound_holds
    assert found.empirical_marginal_kl.value >= 0
    total = found.empirical_marginal_kl.value + found.mutual_information.value
    error = sum(
        getattr(found, k).standard_error for k in ("empirical_marginal_kl", "mutual_information", "rate")
    )
    assert total == pytest.approx(found.rate.value, abs=4 * error)


def test_laplace_against_quadrature():
    x = torch.tensor([[-1.0], [0.5], [2.0]], dtype=torch.double)
    found = empirical_marginal_kl_of(lambda x: Independent(Laplace(x, 0.4), 1), x, samples=3000)
    grid = torch.linspace(-12, 12, 100_001, dtype=torch.double)
    log_q = Laplace(x, 0.4).log_prob(grid).logsumexp(0) - math.log(3)
    log_p = Normal(0, 1).log_prob(grid)
    truth = float((log_q.exp() * (log_q - log_p)).sum() * (grid[1] - grid[0]))
    assert found.empirical_marginal_kl.value == pytest.approx(
        truth, abs=4 * found.empirical_marginal_kl.standard_error
    )
    assert found.total_correlation.value == pytest.approx(0, abs=1e-12)


def test_images_of_codes_have_events_of_any_shape():
    found = empirical_marginal_kl_of(
        lambda x: Independent(Normal(x.view(-1, 1, 3, 1), 0.5), 3), X, samples=10
    )
    assert together(
        found.empirical_marginal_kl, empirical_marginal_kl(X, torch.full_like(X, SIGMA)).empirical_marginal_kl
    )


def test_leaves_one_out_and_saturates():
    left = empirical_marginal_kl_of(gaussian, X, leave_one_out=True)
    assert left.lower == -math.inf
    narrow = empirical_marginal_kl_of(lambda x: Independent(Normal(x, 1e-6), 1), X, samples=3)
    assert narrow.mutual_information.value == pytest.approx(math.log(200), abs=1e-9)
    assert narrow.lower <= narrow.empirical_marginal_kl.value
    assert narrow.bound_holds


def test_draws_of_one_component_share_its_error():
    """Narrow posteriors, 50 draws of each of ten data: ten are independent; the same by the Gaussians' own way."""
    options = {"samples": 50, "evaluate": 10, "seed": 3}
    found = empirical_marginal_kl_of(lambda x: Independent(Normal(x, 0.1), 1), X, **options)
    plain = empirical_marginal_kl(X, torch.full_like(X, 0.1), **options)
    for name in ("total_correlation", "dimension_wise_kl"):
        ours, theirs = getattr(found, name), getattr(plain, name)
        assert 5 < ours.degrees < 30
        assert ours.standard_error == pytest.approx(theirs.standard_error, rel=0.6)


def test_the_interval_covers_at_its_rate():
    truth = empirical_marginal_kl(
        X, torch.full_like(X, SIGMA), samples=2000, decompose=False
    ).empirical_marginal_kl.value
    hits = 0
    for seed in range(100):
        found = empirical_marginal_kl_of(gaussian, X, evaluate=60, samples=5, seed=seed, decompose=False)
        low, high = found.empirical_marginal_kl.interval()
        hits += low <= truth <= high
    assert 90 <= hits <= 99


def one_for_all(x):
    return Independent(Normal(torch.zeros(3), torch.ones(3)), 1)


@pytest.mark.parametrize(
    ("posterior", "x", "match"),
    [
        (gaussian, X[:1], "at least 2"),
        (gaussian, [], "at least 2"),
        (lambda x: x, X, "returned Tensor"),
        (one_for_all, X, "one per datum"),
        (lambda x: Independent(Normal(x * math.nan, 1.0, validate_args=False), 1), X, "NaN"),
        (lambda x: torch.distributions.Distribution(x.shape[:1], validate_args=False), X, "no log_prob"),
    ],
)
def test_degenerate_input_is_refused(posterior, x, match):
    with pytest.raises(BadInput, match=match):
        empirical_marginal_kl_of(posterior, x)


@pytest.mark.parametrize("options", [{"evaluate": 201}, {"evaluate": 1}, {"samples": 0}, {"batch_size": 0}])
def test_counts_out_of_range_are_refused(options):
    with pytest.raises(BadInput):
        empirical_marginal_kl_of(gaussian, X, **options)


def test_a_prior_with_a_batch_is_refused():
    with pytest.raises(BadInput, match="batch shape"):
        empirical_marginal_kl_of(lambda x: Uniform(x, x + 1), X, Normal(torch.zeros(3), torch.ones(3)))


def test_repeats_by_seed_and_leaves_global_randomness_alone():
    before = torch.random.get_rng_state()
    heard = []
    first, again, other = (
        empirical_marginal_kl_of(
            full, X, seed=s, samples=3, progress=heard.append
        ).empirical_marginal_kl.value
        for s in (1, 1, 2)
    )
    assert first == again != other
    assert heard[-1] == 1.0
    assert torch.equal(before, torch.random.get_rng_state())


def test_rates_are_said_to_be_of_draws_where_they_are():
    exact = empirical_marginal_kl_of(gaussian, X, samples=2)
    drawn = empirical_marginal_kl_of(lambda x: Independent(StudentT(5.0, x, 0.5), 1), X, samples=2)
    assert "closed form" in exact.rate.how
    assert "8 draws each" in drawn.rate.how


def test_each_code_goes_with_its_own_density():
    """log q(z|x) - log q(z) is ln N for data that are far apart, whatever the widths of their posteriors."""
    x = torch.tensor([[0.0, 0.01], [100.0, 1.0], [200.0, 5.0]], dtype=torch.double)
    found = empirical_marginal_kl_of(
        lambda x: Independent(Normal(x[:, :1], x[:, 1:]), 1), x, samples=200, batch_size=2
    )
    assert found.mutual_information.value == pytest.approx(math.log(3), abs=1e-9)
    rates = 0.5 * (x[:, 0] ** 2 + x[:, 1] ** 2 - 1) - x[:, 1].log()
    assert found.rate.value == pytest.approx(float(rates.mean()))
    assert found.total_correlation.value == pytest.approx(0, abs=1e-9)  # one coordinate


@pytest.mark.parametrize("leave_one_out", [True, False])
def test_the_mixture_of_batches_is_the_sum_over_all(leave_one_out):
    """Each code's own term is the density that it was drawn with, or is left out."""
    distributions = [gaussian(part) for part in X.split(90)]
    codes, own = X[::9] + 0.3, torch.arange(0, 200, 9)
    scores = Normal(X, 0.5).log_prob(codes[:, None]).sum(2)
    log_code = scores[torch.arange(len(own)), own] + 0.1
    found = log_mixture_of(distributions, codes, log_code, own, leave_one_out=leave_one_out)
    scores[torch.arange(len(own)), own] = -math.inf if leave_one_out else log_code
    assert torch.allclose(found, scores.logsumexp(1) - math.log(200 - leave_one_out))
