"""VEEGAN's nets against divergences in closed form, where the log-ratio of the joints is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.distributions import MultivariateNormal

from distmatch.objectives.term import Critics, Term
from distmatch.objectives.variables import Draws
from distmatch.systems import veegan

SPREAD, NOISE = 0.6, 0.5  # of a code given x, and of a sample given z


def covariance_of_data(a: Tensor) -> Tensor:
    """Of (x, ẑ): x ~ N(0, 1), ẑ = a x + 0.6 ε."""
    return torch.stack([torch.stack([torch.ones_like(a), a]), torch.stack([a, a**2 + SPREAD**2])])


def covariance_of_model(b: Tensor) -> Tensor:
    """Of (x̃, z): z ~ N(0, 1), x̃ = b z + 0.5 η."""
    return torch.stack([torch.stack([b**2 + NOISE**2, b]), torch.stack([b, torch.ones_like(b)])])


def kl(first: Tensor, second: Tensor) -> float:
    """KL(N(0, first) ‖ N(0, second)) of the plane, in closed form."""
    return (
        0.5
        * (
            torch.trace(torch.linalg.solve(second, first)) - 2 - torch.logdet(first / second.det() ** 0.5)
        ).item()
    )


def slope(of: Callable[[Tensor], float], at: Tensor, step: float = 1e-5) -> float:
    """A central difference."""
    return (of(at + step) - of(at - step)) / (2 * step)


def grid() -> tuple[Tensor, Tensor, Tensor]:
    """Two independent normal variables and the weights of their expectations, exact for polynomials of degree 39."""
    nodes, weights = (torch.from_numpy(v) for v in np.polynomial.hermite_e.hermegauss(20))
    u, v = torch.cartesian_prod(nodes, nodes).unbind(1)
    return u[:, None], v[:, None], torch.outer(weights, weights).flatten() / (2 * torch.pi)


def expected(term: Term, a: Tensor, b: Tensor, at: tuple[Tensor, Tensor]) -> Tensor:
    """The expectation of a term's loss at slopes a and b, by the exact log-ratio at others, which stays."""
    u, v, weights = grid()
    draws = Draws({"x": u, "z_code": a * u + SPREAD * v, "z_prior": u, "x_gen": b * u + NOISE * v}, {}, {})
    data, model = (
        MultivariateNormal(torch.zeros(2, dtype=u.dtype), c)
        for c in (covariance_of_data(at[0]), covariance_of_model(at[1]))
    )

    def log_ratio(x: Tensor, z: Tensor) -> Tensor:
        pair = torch.cat([x, z], 1)
        return data.log_prob(pair) - model.log_prob(pair)

    return (weights * term.loss(draws, Critics({"joint": log_ratio}, draws))).sum()


@pytest.mark.parametrize(("a", "b"), [(0.9, 0.4), (-0.3, 0.8), (0.2, -0.7)])
def test_each_net_descends_the_divergence_of_its_own_side(a: float, b: float) -> None:
    here = torch.tensor(a, dtype=torch.float64), torch.tensor(b, dtype=torch.float64)
    to_data, to_model, _ = veegan().terms
    assert (to_data.nets, to_model.nets) == (("decoder",), ("encoder",))
    a_, b_ = (v.clone().requires_grad_() for v in here)

    paid = expected(to_model, a_, b_, here)  # KL[q(x, ẑ) ‖ p(x̃, z)], which the encoder moves
    model = covariance_of_model(here[1])
    assert paid.item() == pytest.approx(kl(covariance_of_data(here[0]), model))
    (found,) = torch.autograd.grad(paid, a_)
    assert found.item() == pytest.approx(slope(lambda s: kl(covariance_of_data(s), model), here[0]), rel=1e-6)

    paid = expected(to_data, a_, b_, here)  # KL[p(x̃, z) ‖ q(x, ẑ)], which the decoder moves
    data = covariance_of_data(here[0])
    (found,) = torch.autograd.grad(paid, b_)
    assert found.item() == pytest.approx(slope(lambda s: kl(covariance_of_model(s), data), here[1]), rel=1e-6)
