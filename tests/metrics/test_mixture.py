import math

import pytest
import torch

from distmatch.metrics.codes.mixture import log_marginals, log_mixture, log_normal


def direct(codes, loc, scale):
    """log q(z) with every difference taken before it is squared."""
    scores = torch.distributions.Normal(loc, scale).log_prob(codes[:, None]).sum(-1)
    return scores.logsumexp(1) - math.log(len(loc))


def mixture(n, d, sigma, seed=0, offset=0.0):
    g = torch.Generator().manual_seed(seed)
    loc = torch.randn(n, d, generator=g, dtype=torch.double) + offset
    scale = sigma * torch.exp(0.3 * torch.randn(n, d, generator=g, dtype=torch.double))
    own = torch.arange(0, n, 3)
    codes = loc[own] + scale[own] * torch.randn(len(own), d, generator=g, dtype=torch.double)
    return codes, loc, scale, own


@pytest.mark.parametrize("sigma", [2.0, 0.3, 1e-3, 1e-5, 1e-9])
@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("known", [True, False])
def test_equals_the_direct_sum_down_to_collapsed_scales(sigma, offset, known):
    codes, loc, scale, own = mixture(300, 8, sigma, offset=offset)
    found = log_mixture(codes, loc, scale, own if known else None)
    assert torch.allclose(
        found, direct(codes, loc, scale), rtol=0, atol=1e-5 if offset and sigma < 1e-6 else 2e-6
    )


def test_half_collapsed_components_and_every_tile(monkeypatch):
    codes, loc, scale, own = mixture(300, 8, 0.3)
    scale[::2] = 1e-7
    codes = loc[own] + scale[own]
    monkeypatch.setattr("distmatch.metrics.codes.mixture.COLUMNS", 37)
    for chunk in (1, 7, 1000):
        assert torch.allclose(
            log_mixture(codes, loc, scale, own, chunk=chunk), direct(codes, loc, scale), atol=2e-6
        )


def test_far_codes_neither_overflow_nor_vanish():
    codes, loc, scale, _ = mixture(50, 3, 0.1)
    far = codes + 1e4
    assert torch.allclose(log_mixture(far, loc, scale), direct(far, loc, scale), rtol=1e-12)


def test_leaves_one_out():
    codes, loc, scale, own = mixture(30, 3, 0.5)
    found = log_mixture(codes, loc, scale, own, leave_one_out=True)
    for z, n, value in zip(codes, own, found, strict=True):
        rest = torch.arange(30) != n
        assert value == pytest.approx(float(direct(z[None], loc[rest], scale[rest])), abs=1e-9)


@pytest.mark.parametrize("leave_one_out", [True, False])
def test_neighbours_of_collapsed_components_survive_rounding(leave_one_out):
    """Neighbours lie thousands of nats below a code's own component; without it they are all that there is."""
    g = torch.Generator().manual_seed(0)
    loc = 1 + 1e-5 * torch.randn(40, 3, generator=g, dtype=torch.double)
    loc = torch.cat([loc, -loc])
    scale, own = torch.full_like(loc, 1e-7), torch.arange(80)
    found = log_mixture(loc, loc, scale, own, leave_one_out=leave_one_out)
    scores = torch.distributions.Normal(loc, scale).log_prob(loc[:, None]).sum(-1)
    if leave_one_out:
        scores.fill_diagonal_(-math.inf)
    assert torch.allclose(found, scores.logsumexp(1) - math.log(80 - leave_one_out), rtol=0, atol=2e-6)


def test_components_and_marginals():
    codes, loc, scale, _ = mixture(40, 5, 0.5)
    expected = torch.distributions.Normal(loc, scale).log_prob(codes[:, None])
    assert torch.allclose(log_normal(codes[:, None], loc, scale), expected.sum(-1))
    assert torch.allclose(log_marginals(codes, loc, scale), expected.logsumexp(1) - math.log(40))


def test_integrates_to_one():
    _, loc, scale, _ = mixture(20, 1, 0.5)
    grid = torch.linspace(-12, 12, 20_001, dtype=torch.double)[:, None]
    assert float(torch.trapezoid(log_mixture(grid, loc, scale).exp(), grid[:, 0])) == pytest.approx(
        1, abs=1e-9
    )


def test_marginals_of_more_components_than_a_tile(monkeypatch):
    codes, loc, scale, _ = mixture(40, 5, 0.5)
    whole = log_marginals(codes, loc, scale)
    monkeypatch.setattr("distmatch.metrics.codes.mixture.COLUMNS", 16)
    assert torch.allclose(log_marginals(codes, loc, scale), whole)
