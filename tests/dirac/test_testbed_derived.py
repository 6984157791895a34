"""Fields by differentiation against fields that are written out, and against closed forms."""

import math

import pytest
import torch

from distmatch.dirac import (
    Dirac,
    consensus,
    field_grid,
    from_comparison,
    gan,
    instance_noise,
    jacobian_eigenvalues,
    ns_gan,
    r1,
    trajectory,
    wgan,
    wgan_gp,
)
from distmatch.dirac.derived import neutral_score
from distmatch.errors import BadInput
from distmatch.objectives.comparisons import (
    COMPARISONS,
    F_KL,
    HINGE,
    LEAST_SQUARES,
    MINIMAX,
    NON_SATURATING,
    REVERSE_KL,
    WASSERSTEIN,
)
from distmatch.objectives.penalties import PENALTIES, clipping, gradient_penalty, roth
from distmatch.objectives.penalties import r1 as r1_penalty
from distmatch.schedules import Ramp

PAIRS = {
    "gan": (gan(), from_comparison(MINIMAX)),
    "ns_gan": (ns_gan(), from_comparison(NON_SATURATING)),
    "wgan": (wgan(1.0), from_comparison(WASSERSTEIN, clipping(1.0))),
    "wgan_gp": (wgan_gp(0.7, 1.0), from_comparison(WASSERSTEIN, gradient_penalty(0.35, centre=1))),
    "r1": (r1(0.3), from_comparison(MINIMAX, gradient_penalty(0.15, centre=0, place="target"))),
    "r1 by name": (r1(0.3), from_comparison(MINIMAX, r1_penalty(0.3))),
    "ns_r1": (r1(0.3, ns_gan()), from_comparison(NON_SATURATING, r1_penalty(0.3))),
    "noise": (instance_noise(0.7), from_comparison(MINIMAX, noise=0.7)),
    "consensus": (consensus(1.0), consensus(1.0, from_comparison(MINIMAX))),
}


@pytest.mark.parametrize("name", PAIRS)
def test_written_out_and_derived_fields_agree(name: str):
    by_hand, derived = PAIRS[name]
    assert torch.allclose(field_grid(by_hand)[1], field_grid(derived)[1], rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", PAIRS)
def test_written_out_and_derived_trajectories_agree(name: str):
    by_hand, derived = PAIRS[name]
    for order in ("simultaneous", "alternating"):
        paths = [trajectory(method, steps=30, order=order) for method in (by_hand, derived)]
        assert torch.allclose(*paths, rtol=0, atol=1e-9)


def test_clipping_by_a_penalty_reaches_its_bound():
    path = trajectory(from_comparison(WASSERSTEIN, clipping(0.5)), steps=20)
    assert path[1:, 1].abs().max() == 0.5


def test_roth_against_its_closed_form():
    gamma, theta, psi = 0.8, 0.6, -1.1
    point = torch.tensor([theta, psi], dtype=torch.float64)
    plain, penalised = (from_comparison(MINIMAX, p).field(*point) for p in (None, roth(gamma)))
    d = 1 / (1 + math.exp(psi * theta))
    # d/dψ of ½γψ²{¼ + D²}, D = σ(-ψθ)
    slope = 0.5 * gamma * (2 * psi * (0.25 + d**2) - 2 * psi**2 * d**2 * (1 - d) * theta)
    assert penalised[0] == plain[0]
    assert math.isclose((plain[1] - penalised[1]).item(), slope, abs_tol=1e-12)


@pytest.mark.parametrize("name", sorted(set(PENALTIES) - {"clip"}))
def test_every_penalty_pulls_the_slope_towards_what_it_wants(name: str):
    """On its own, at θ = 0.5 and ψ = 1.5: the norm 1.5 is too large for all of them."""
    theta, psi = torch.tensor([0.5, 1.5], dtype=torch.float64)
    penalty = PENALTIES[name]()
    pull = from_comparison(MINIMAX, penalty).field(theta, psi)[1] - gan().field(theta, psi)[1]
    assert pull < -0.1


@pytest.mark.parametrize("name", COMPARISONS)
def test_the_origin_is_an_equilibrium_of_every_comparison(name: str):
    """And all of them circle it, until something damps them: both real parts are 0."""
    method = from_comparison(COMPARISONS[name])
    zero = torch.zeros((), dtype=torch.float64)
    assert [v.item() for v in method.field(zero, zero)] == [0.0, 0.0]
    values = jacobian_eigenvalues(method)
    assert values.real.abs().max() < 1e-12
    assert values.imag[1] > 0.1


def test_eigenvalues_of_comparisons_by_hand():
    """±i√(-b′(t₀)c′(t₀)): the critic's and the model's slopes at the undecided score of the model."""
    by_hand = {REVERSE_KL: math.sqrt(0.5), LEAST_SQUARES: 0.5, F_KL: 1.0, WASSERSTEIN: 1.0, HINGE: 1.0}
    for comparison, frequency in by_hand.items():
        values = jacobian_eigenvalues(from_comparison(comparison))
        assert math.isclose(values[1].imag.item(), frequency, abs_tol=1e-9), comparison.name


def test_noise_and_a_penalty_together():
    """The penalty of a linear critic does not see where it is asked, so the two add up."""
    both = from_comparison(MINIMAX, gradient_penalty(0.35, centre=1), noise=0.7)
    places, field = field_grid(both, points=5)
    noisy = field_grid(instance_noise(0.7), points=5)[1]
    psi = places[..., 1]
    pull = torch.stack([torch.zeros_like(psi), -0.7 * (psi - psi.sign())], -1)
    assert torch.allclose(field, noisy + pull, atol=1e-9)


def test_neutral_scores():
    assert math.isclose(neutral_score(LEAST_SQUARES), 0.5, abs_tol=1e-12)
    assert math.isclose(neutral_score(F_KL), 1.0, abs_tol=1e-12)
    assert neutral_score(WASSERSTEIN) == neutral_score(MINIMAX) == 0.0


def test_bad_input():
    with pytest.raises(BadInput, match="one moment"):
        from_comparison(MINIMAX, r1_penalty(Ramp(1, 0, 10)))
    with pytest.raises(BadInput, match="standard deviation"):
        from_comparison(MINIMAX, noise=-1.0)
    silent = COMPARISONS["minimax"]
    silent = type(silent)("silent", "S", silent.critic, type(silent.critic)(None, None), None, "none")
    with pytest.raises(BadInput, match="nothing moves θ"):
        from_comparison(silent)


def test_a_method_of_ones_own_needs_a_field_and_nothing_else():
    spiral = Dirac("spiral", lambda t, p: (-0.1 * t - p, t - 0.1 * p), "(-θ/10 - ψ, θ - ψ/10)", "none")
    assert torch.allclose(
        jacobian_eigenvalues(spiral), torch.tensor([-0.1 - 1j, -0.1 + 1j], dtype=torch.complex128)
    )
