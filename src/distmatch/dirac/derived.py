"""The field of any comparison and any penalty, by differentiation: a new method's phase portrait for free."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from distmatch.dirac.game import Dirac, as_it_is, gaussian_quadrature
from distmatch.errors import BadInput
from distmatch.objectives.comparisons import Comparison
from distmatch.objectives.penalties import Penalty
from distmatch.schedules import Ramp

Quadrature = tuple[Tensor, Tensor]  # points and weights, `(nodes,)`

NOISE_NODES = 32
PENALTY_NODES = 8
LARGEST_SCORE = 64.0
HALVINGS = 80


def from_comparison(comparison: Comparison, penalty: Penalty | None = None, noise: float = 0.0) -> Dirac:
    """The vector field of a comparison's two losses, and of a penalty, on the Dirac problem.

    A comparison's critic is high on the target, so that its score here is t(x) = t₀ - ψx, and θ and ψ mean what they
    mean in the fields that are written out; t₀ is the score of a critic that is undecided, log_ratio(t₀) = 0 (½ for
    least squares, mostly 0). With the critic's integrands (a, b) and the generator's integrand c,

        ψ̇ = -∂/∂ψ E[a(t(ε)) + b(t(θ + ε′)) + penalty],    θ̇ = -∂/∂θ E[c(t(θ + ε′))],

    where ε, ε′ ~ N(0, noise²) are integrated by Gauss-Hermite quadrature, as is a penalty's own noise (Gauss and
    Legendre where it is uniform). The generator's integrand on the target has no θ in it. A penalty that clips weights
    clips ψ.

    Args:
        comparison: any of `COMPARISONS`, or a new one.
        penalty: any of `PENALTIES`, called with this critic, sample by sample.
        noise: the standard deviation of instance noise.

    Raises:
        BadInput: the generator loss does not score the model; the noise is no standard deviation; the penalty changes
            with the step, or takes noise that is not one number for each sample.

    >>> from distmatch.objectives.comparisons import WASSERSTEIN
    >>> one = torch.ones((), dtype=torch.float64)
    >>> [v.item() for v in from_comparison(WASSERSTEIN).field(one, 3 * one)]
    [-3.0, 1.0]
    """
    on_target, on_model = comparison.critic
    for_generator = comparison.generator.model
    if for_generator is None:
        raise BadInput(
            f"the generator loss of {comparison.name} does not score the model, and nothing moves θ"
        )
    if not 0 <= noise < math.inf:
        raise BadInput(f"the noise is {noise:g}; give a standard deviation, 0 or above")
    if penalty is not None:
        _check(penalty)
    own = _own_quadrature(penalty)
    neutral = neutral_score(comparison)
    points, weights = gaussian_quadrature(noise, NOISE_NODES if noise else 1)

    def score(psi: Tensor, x: Tensor) -> Tensor:
        return neutral - psi[..., None] * x

    def generator_loss(theta: Tensor, psi: Tensor) -> Tensor:
        return (weights * for_generator(score(psi, theta[..., None] + points))).sum()

    def critic_loss(psi: Tensor, theta: Tensor) -> Tensor:
        loss = psi.new_zeros(())
        if on_target is not None:
            loss = loss + (weights * on_target(score(psi, points))).sum()
        if on_model is not None:
            loss = loss + (weights * on_model(score(psi, theta[..., None] + points))).sum()
        if penalty is not None:
            loss = loss + _paid(penalty, neutral, theta, psi, (points, weights), own)
        return loss

    def field(theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        return -torch.func.grad(generator_loss)(theta, psi), -torch.func.grad(critic_loss)(psi, theta)

    parts = [comparison.name, penalty.equation() if penalty else "", f"noise {noise:g}" if noise else ""]
    return Dirac(
        name=" + ".join(filter(None, parts)),
        field=field,
        equation=f"of {comparison.equation('δ_θ', 'δ₀')}, by differentiation",
        reference=comparison.reference,
        project=as_it_is if penalty is None else lambda psi: _projected(penalty, psi),
    )


def neutral_score(comparison: Comparison) -> float:
    """t₀ with log_ratio(t₀) = 0, by bisection; 0 for a critic that holds no ratio.

    >>> from distmatch.objectives.comparisons import LEAST_SQUARES, MINIMAX
    >>> round(neutral_score(LEAST_SQUARES), 12), neutral_score(MINIMAX)
    (0.5, 0.0)
    """
    if comparison.log_ratio is None:
        return 0.0
    low, high = -LARGEST_SCORE, LARGEST_SCORE
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        value = comparison.log_ratio(torch.tensor(middle, dtype=torch.float64)).item()
        if value == 0:
            return middle
        low, high = (middle, high) if value < 0 else (low, middle)
    return 0.5 * (low + high)


def _check(penalty: Penalty) -> None:
    if any(isinstance(getattr(penalty, f.name), Ramp) for f in fields(penalty)):
        raise BadInput("a phase portrait is of one moment; give the penalty a number, not a ramp")
    if penalty.needs_noise and penalty.noise.shape not in ("each", "x"):
        raise BadInput(
            f"a penalty whose noise is drawn per {penalty.noise.shape} has no field here; take another penalty"
        )


def _paid(
    penalty: Penalty, neutral: float, theta: Tensor, psi: Tensor, noise: Quadrature, own: Quadrature
) -> Tensor:
    """Return what the critic pays, summed over places (θ, ψ), integrated over both noises and the penalty's own."""
    (points, weights), (own_points, own_weights) = noise, own
    data, model, extra = torch.meshgrid(points, points, own_points, indexing="ij")
    weight = weights[:, None, None] * weights[:, None] * own_weights
    shape = (*psi.shape, *weight.shape)
    slope = psi[..., None, None, None].expand(shape).reshape(-1)
    target = data.expand(shape).reshape(-1, 1)
    fake = (theta[..., None, None, None] + model).expand(shape).reshape(-1, 1)
    given: Tensor | list[Tensor] | None = None
    if penalty.needs_noise:
        each = extra.expand(shape).reshape(-1)
        given = each if penalty.noise.shape == "each" else [each[:, None]]
    paid = penalty(lambda x: neutral - slope * x[:, 0], [target], [fake], given)
    return psi.new_zeros(()) if paid is None else (weight.expand(shape).reshape(-1) * paid).sum()


def _own_quadrature(penalty: Penalty | None) -> Quadrature:
    """Points and weights of the noise that a penalty takes; one point where it takes none."""
    if penalty is None or not penalty.needs_noise:
        return gaussian_quadrature(0.0, 1)
    if penalty.noise.distribution == "normal":
        return gaussian_quadrature(1.0, PENALTY_NODES)
    points, weights = np.polynomial.legendre.leggauss(PENALTY_NODES)
    return torch.from_numpy(0.5 * (points + 1.0)), torch.from_numpy(0.5 * weights)


def _projected(penalty: Penalty, psi: Tensor) -> Tensor:
    """A penalty projects weights in place; here a copy of them."""
    slope = psi.clone()
    penalty.project([slope])
    return slope
