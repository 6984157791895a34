"""The table of f-divergences: every row agrees with itself, and with what is known of two normal distributions."""

from __future__ import annotations

import math

import pytest
import torch
from scipy.special import lambertw
from torch import Tensor

from distmatch.objectives.comparisons import COMPARISONS, F_DIVERGENCES, F_PEARSON
from distmatch.objectives.comparisons.f_divergence import log_lambert_w

every = pytest.mark.parametrize("row", F_DIVERGENCES.values(), ids=F_DIVERGENCES)
U = torch.logspace(-2, 2, 41, dtype=torch.float64)
V = torch.linspace(-4, 4, 33, dtype=torch.float64)

# Expectations under N(1, 1) and N(0, 1), as sums
X = torch.linspace(-7, 8, 601, dtype=torch.float64)
P, Q = (torch.exp(-((X - m) ** 2) / 2) / math.sqrt(2 * math.pi) * (X[1] - X[0]) for m in (1, 0))
KNOWN = {
    "kl": 0.5,
    "reverse_kl": 0.5,
    "pearson": math.e - 1,
    "neyman": math.e - 1,
    "hellinger": 2 - 2 * math.exp(-1 / 8),
    "jensen_shannon": 0.22284,
    "gan": 0.22284 - math.log(4),
    "jeffreys": 1.0,
}


def slope(function, u: Tensor) -> Tensor:
    u = u.clone().requires_grad_()
    return torch.autograd.grad(function(u).sum(), u)[0]


@every
def test_derivative_and_threshold(row):
    torch.testing.assert_close(slope(row.f, U), row.derivative(U), rtol=1e-10, atol=1e-12)
    one = torch.ones((), dtype=torch.float64)
    assert row.derivative(one).item() == pytest.approx(row.threshold, abs=1e-15)
    assert row.f(one).item() == pytest.approx(-math.log(4) if row.name == "gan" else 0, abs=1e-15)


@every
def test_conjugate_at_the_derivative(row):
    """f^c(f'(u)) = u f'(u) - f(u), and its slope there is u."""
    t = row.derivative(U)
    torch.testing.assert_close(row.conjugate(t), U * t - row.f(U), rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(slope(row.conjugate, t), U, rtol=1e-9, atol=1e-11)


@every
def test_conjugate_is_a_least_upper_bound(row):
    """f^c(t) ≥ ut - f(u) for every u, wherever the activation may land."""
    t = row.activation(V)
    lines = U[None] * t[:, None] - row.f(U)[None]
    assert (row.conjugate(t)[:, None] >= lines - 1e-9).all()


@every
def test_output_is_the_conjugate_of_the_activation(row):
    torch.testing.assert_close(row.output(V), row.conjugate(row.activation(V)), rtol=1e-11, atol=1e-12)


@every
def test_the_optimal_score_holds_the_log_ratio(row):
    """g_f(v) = f'(r) at v with log_ratio(v) = log r; Pearson's v below -2 stand for no ratio."""
    v = V[V > -1.99] if row.name == "pearson" else V
    r = row.log_ratio(v).exp()
    torch.testing.assert_close(row.activation(v), row.derivative(r), rtol=1e-9, atol=1e-11)


@every
def test_the_slope_of_the_output_is_the_ratio_times_that_of_the_activation(row):
    """(f^c∘g_f)' = r g_f', by which the critic is stationary at r = p/q; twice differentiable too."""
    v = V[V > -1.99] if row.name == "pearson" else V
    expected = row.log_ratio(v).exp() * slope(row.activation, v)
    torch.testing.assert_close(slope(row.output, v), expected, rtol=1e-10, atol=1e-12)
    assert torch.autograd.gradgradcheck(row.output, (v[::4].clone().requires_grad_(),))


@every
def test_divergence_of_two_normal_laws(row):
    assert (Q * row.f(P / Q)).sum().item() == pytest.approx(KNOWN[row.name], rel=2e-5)


@every
def test_bound_is_the_critics_loss_negated(row):
    g = torch.Generator().manual_seed(0)
    p, q = torch.randn(2, 7, generator=g, dtype=torch.float64)
    by = COMPARISONS[f"f_{row.name}"]
    loss = by.critic.target(p).mean() + by.critic.model(q).mean()
    assert row.bound(p, q).item() == pytest.approx(-loss.item(), abs=1e-14)
    assert row.bound(p, q).item() == pytest.approx(
        (by.generator.target(p).mean() + by.generator.model(q).mean()).item(), abs=1e-14
    )


def trained(name: str) -> tuple[float, Tensor]:
    """What a small critic pays when trained to the end, and the log-ratio that it finds from -2 to 3."""
    by, g = COMPARISONS[name], torch.Generator().manual_seed(0)
    w1, b1 = torch.randn(2, 16, generator=g, dtype=torch.float64) * torch.tensor([[1.0], [2.0]])
    weights = [w1, b1, torch.zeros(16, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)]
    for w in weights:
        w.requires_grad_()

    def score(x: Tensor) -> Tensor:
        w1, b1, w2, line = weights
        return torch.tanh(x[:, None] * w1 + b1) @ w2 + line[0] * x + line[1]

    optimiser = torch.optim.LBFGS(
        weights, max_iter=400, history_size=50, line_search_fn="strong_wolfe", tolerance_change=1e-15
    )

    def loss() -> Tensor:
        optimiser.zero_grad()
        v = score(X)
        value = (P * by.critic.target(v) + Q * by.critic.model(v)).sum()
        value.backward()
        return value

    optimiser.step(loss)
    value = loss().item()
    with torch.no_grad():
        return value, by.log_ratio(score(torch.linspace(-2, 3, 51, dtype=torch.float64)))


LINE = torch.linspace(-2, 3, 51, dtype=torch.float64) - 0.5


@every
def test_a_trained_critic_reaches_the_bound_and_the_log_ratio(row):
    """N(1, 1) against N(0, 1): the log-ratio is x - ½. At x = -2 Pearson's r = 0.08 is read off v/2 + 1."""
    value, log_ratio = trained(f"f_{row.name}")
    assert -value == pytest.approx(KNOWN[row.name], rel=1e-4)
    assert -value < KNOWN[row.name] + 1e-5
    assert (log_ratio - LINE).abs().max() < (0.1 if row.name == "pearson" else 0.01)


OTHERS = {
    "lsif": -math.e / 2,
    "kliep": 1 - 0.5,
    "brier": 0.39798,
    "non_saturating": 2 * math.log(2) - 0.22284,
    "least_squares": 0.39798 / 2,
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_trained_critic_of_another_kind_finds_the_same_log_ratio(name):
    """LSIF pays -½E_q r², KLIEP E_q r - KL(p ‖ q), Brier Σ pq/(p + q) and least squares half of that."""
    value, log_ratio = trained(name)
    assert value == pytest.approx(OTHERS[name], rel=1e-4)
    assert (log_ratio - LINE).abs().max() < 0.03


def test_brier_of_two_normal_laws():
    assert (P * Q / (P + Q)).sum().item() == pytest.approx(OTHERS["brier"], abs=1e-5)


# Far scores


@pytest.mark.parametrize("size", [80.0, -80.0])
@every
def test_far_scores_of_single_precision(row, size):
    """What is finite in double precision, and within single precision's range, is finite and the same in single."""
    for function in (row.output, row.activation, row.log_ratio):
        near, far = (torch.tensor(size, dtype=d, requires_grad=True) for d in (torch.float32, torch.float64))
        values = function(near), function(far)
        slopes = [torch.autograd.grad(v, u)[0] for v, u in zip(values, (near, far), strict=True)]
        for single, double in (values, slopes):
            if row.name != "pearson" or size > 0:
                torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-30)
            assert single.isfinite()


def test_softplus_rows_are_linear_far_out():
    far = torch.tensor([1e4, -1e4])
    for name in ("gan", "jensen_shannon"):
        row, ceiling = F_DIVERGENCES[name], F_DIVERGENCES[name].threshold + math.log(2)
        torch.testing.assert_close(row.output(far) + ceiling, torch.tensor([1e4, 0.0]))
        torch.testing.assert_close(row.activation(far) - ceiling, torch.tensor([0.0, -1e4]))


def test_the_pearson_generator_is_not_led_away_where_the_ratio_is_nought():
    """t²/4 + t falls below t = -2, and nets that followed it there would leave the data for good."""
    v = torch.linspace(-10, -2, 9, dtype=torch.float64)
    torch.testing.assert_close(F_PEARSON.generator.model(v), torch.ones_like(v))


# Lambert's W


def test_lambert_w_is_scipys():
    a = torch.cat([torch.linspace(-700, 700, 1401), torch.linspace(-3, 3, 601)]).double()
    expected = torch.from_numpy(lambertw(a.exp().numpy()).real)
    torch.testing.assert_close(log_lambert_w(a).exp(), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize(("dtype", "accuracy"), [(torch.float32, 1e-6), (torch.float64, 1e-15)])
def test_lambert_w_where_its_argument_overflows(dtype, accuracy):
    a = torch.logspace(0, 30, 301, dtype=dtype)
    a = torch.cat([-a, a])
    y = log_lambert_w(a)
    assert ((y + y.exp() - a) / a).abs().max() < 40 * accuracy


def test_lambert_w_derivatives():
    """dy/da = 1/(1 + w), d²y/da² = -w/(1 + w)³."""
    a = torch.linspace(-20, 50, 141, dtype=torch.float64, requires_grad=True)
    y = log_lambert_w(a)
    (first,) = torch.autograd.grad(y.sum(), a, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), a)
    w = y.exp()
    torch.testing.assert_close(first, 1 / (1 + w), rtol=1e-12, atol=1e-15)
    torch.testing.assert_close(second, -w / (1 + w) ** 3, rtol=1e-10, atol=1e-14)
