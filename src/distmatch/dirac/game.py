"""Dirac-GAN: the smallest adversarial game, and what every method makes of it.

The data are one point, p* = δ₀; the model is another, p_θ = δ_θ; the critic is one slope, D(x) = ψx. In the source's
sign D is high on the model's point and the critic ascends L(θ, ψ) = f(ψθ) + f(0), which the model descends, with
f(t) = -log(1 + e⁻ᵗ), f′(t) = σ(-t), f′(0) = ½ and f″(0) = -¼ (Mescheder, Geiger and Nowozin 2018,
arXiv:1801.04406). A method is its vector field v(θ, ψ) = (θ̇, ψ̇), elementwise in tensors of any shape; its equilibrium
is the origin. Whether a method gets there, circles or escapes shows on two axes.

>>> import torch
>>> one = torch.ones((), dtype=torch.float64)
>>> [round(v.item(), 4) for v in gan().field(one, one)]
[-0.2689, 0.2689]
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from distmatch.errors import BadInput, unknown

Field = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

GAUSSIAN_NODES = 64
DIRAC_GAN = "Mescheder et al. 2018, arXiv:1801.04406"


def as_it_is(psi: Tensor) -> Tensor:
    """The projection of a critic whose slope is free."""
    return psi


@dataclass(frozen=True)
class Dirac:
    """A method on the Dirac problem.

    Args:
        name: how it is called, settings included.
        field: (θ, ψ) -> (θ̇, ψ̇), elementwise, differentiable, float64 in and out.
        equation: the field as it is printed.
        reference: where it comes from.
        project: what is done to ψ after each of the critic's steps.
    """

    name: str
    field: Field
    equation: str
    reference: str
    project: Callable[[Tensor], Tensor] = as_it_is


def gan() -> Dirac:
    """Minimax: (-ψf′(ψθ), θf′(ψθ)) (Goodfellow et al. 2014, arXiv:1406.2661).

    Eigenvalues ±i/2 at the origin: simultaneous steps escape, alternating ones circle.
    """

    def field(theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        slope = torch.sigmoid(-psi * theta)
        return -psi * slope, theta * slope

    return Dirac("GAN", field, "(-ψf′(ψθ), θf′(ψθ))", "Goodfellow et al. 2014, arXiv:1406.2661")


def ns_gan() -> Dirac:
    """Non-saturating: (-ψf′(-ψθ), θf′(ψθ)); the same eigenvalues ±i/2, yet damped further out."""

    def field(theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        return -psi * torch.sigmoid(psi * theta), theta * torch.sigmoid(-psi * theta)

    return Dirac(
        "NS-GAN", field, "(-ψf′(-ψθ), θf′(ψθ))", "Goodfellow et al. 2014, arXiv:1406.2661, section 3"
    )


def wgan(clip: float = 1.0) -> Dirac:
    """Wasserstein with a clipped slope: (-ψ, θ) with |ψ| ≤ `clip` after each step (arXiv:1701.07875)."""
    _positive("clip", clip)

    def field(theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        return -psi, theta

    return Dirac(
        f"WGAN, |ψ| ≤ {clip:g}",
        field,
        f"(-ψ, θ), |ψ| ≤ {clip:g}",
        "Arjovsky et al. 2017, arXiv:1701.07875",
        project=lambda psi: psi.clamp(-clip, clip),
    )


def wgan_gp(weight: float = 0.7, centre: float = 1.0) -> Dirac:
    """Wasserstein with a gradient penalty: (-ψ, θ - λ(|ψ| - g₀) sgn ψ) (arXiv:1704.00028).

    The critic pays ½λ(|ψ| - g₀)², so that `weight` is twice that of `gp(weight, centre)`. The field jumps at ψ = 0
    (unless g₀ = 0), and no point is an equilibrium.
    """
    _positive("weight", weight)

    def field(theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        return -psi, theta - weight * (psi - centre * psi.sign())

    return Dirac(
        f"WGAN-GP, λ = {weight:g}, g₀ = {centre:g}",
        field,
        f"(-ψ, θ - {weight:g}(|ψ| - {centre:g})·sgn ψ)",
        "Gulrajani et al. 2017, arXiv:1704.00028",
    )


def instance_noise(sigma: float = 0.7) -> Dirac:
    """GAN with the same noise ε, ε′ ~ N(0, σ²) on both points, integrated and not sampled (arXiv:1610.04490).

    E(-ψf′(ψ(θ + ε)), (θ + ε)f′(ψ(θ + ε)) - ε′f′(-ψε′)) by Gauss-Hermite quadrature. With f′(t) = ½(1 - tanh ½t)
    the halves of ±ε cancel before they are summed, and the field is exact relative to its own size, however small.
    Eigenvalues f″σ² ± √(f″²σ⁴ - f′²); critical at σ² = 2.
    """
    _positive("sigma", sigma)
    points, weights = gaussian_quadrature(sigma)

    def field(theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        noisy, slope = theta[..., None] + points, psi[..., None]
        bent = torch.tanh(0.5 * slope * noisy)
        bent_data = torch.tanh(0.5 * slope * points)
        theta_dot = -0.5 * psi * (1.0 - (weights * bent).sum(-1))
        psi_dot = 0.5 * (theta - (weights * (noisy * bent + points * bent_data)).sum(-1))
        return theta_dot, psi_dot

    return Dirac(
        f"GAN + instance noise, σ = {sigma:g}",
        field,
        "E(-ψf′(ψ(θ + ε)), (θ + ε)f′(ψ(θ + ε)) - ε′f′(-ψε′))",
        "Sønderby et al. 2016, arXiv:1610.04490",
    )


def r1(gamma: float = 0.3, base: Dirac | None = None) -> Dirac:
    """The zero-centred gradient penalty ½γE_p*‖∇D‖² on a method (GAN by default): ψ̇ - γψ.

    Eigenvalues -γ/2 ± √(γ²/4 - ¼) on a GAN, non-saturating or not; critical at γ = 1. As a penalty this is
    `gp(gamma/2, centre=0, place=target)`.
    """
    _positive("gamma", gamma)
    base = base or gan()

    def field(theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        theta_dot, psi_dot = base.field(theta, psi)
        return theta_dot, psi_dot - gamma * psi

    return Dirac(
        f"{base.name} + R1, γ = {gamma:g}",
        field,
        f"{base.equation} - (0, {gamma:g}ψ)",
        DIRAC_GAN,
        base.project,
    )


def consensus(gamma: float = 1.0, base: Dirac | None = None) -> Dirac:
    """Consensus optimisation of a method (GAN by default): v - γ∇½‖v‖² (arXiv:1705.10461).

    The gradient ∇½‖v‖² = Jᵀv is the whole one, by reverse-mode differentiation. For a GAN it is that of
    ½(θ² + ψ²)f′(ψθ)². A public notebook of Dirac-GANs, written by hand, halves the second term of its product rule,
    and there five critic steps a round converge where, with the whole gradient, they escape. Eigenvalues
    -γ/4 ± i/2.
    """
    _positive("gamma", gamma)
    base = base or gan()

    def field(theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        v, pull, *_ = torch.func.vjp(base.field, theta, psi)
        theta_pull, psi_pull = pull(v)
        return v[0] - gamma * theta_pull, v[1] - gamma * psi_pull

    return Dirac(
        f"{base.name} + consensus, γ = {gamma:g}",
        field,
        f"v - {gamma:g}·∇½‖v‖², v = {base.equation}",
        "Mescheder et al. 2017, arXiv:1705.10461",
        base.project,
    )


METHODS: dict[str, Callable[[], Dirac]] = {
    "gan": gan,
    "ns-gan": ns_gan,
    "wgan": wgan,
    "wgan-gp": wgan_gp,
    "instance-noise": instance_noise,
    "r1": r1,
    "r1-critical": partial(r1, 1.0),
    "consensus": consensus,
    "ns-r1": lambda: r1(base=ns_gan()),
}


def find(name: str) -> Dirac:
    """The method of this name, hyphens as good as underscores; `BadInput` if there is none.

    >>> find("ns_gan").name
    'NS-GAN'
    """
    key = name.lower().replace("_", "-")
    if key not in METHODS:
        raise unknown("method", name, METHODS)
    return METHODS[key]()


def gaussian_quadrature(sigma: float, nodes: int = GAUSSIAN_NODES) -> tuple[Tensor, Tensor]:
    """Points and weights `(nodes,)` with E g(ε) ≈ Σ weight·g(point) for ε ~ N(0, σ²), float64.

    >>> points, weights = gaussian_quadrature(2.0)
    >>> round((weights * points**4).sum().item(), 6)
    48.0
    """
    points, weights = np.polynomial.hermite_e.hermegauss(nodes)
    return sigma * torch.from_numpy(points), torch.from_numpy(weights / math.sqrt(2 * math.pi))


def _positive(name: str, value: float) -> None:
    if not 0 < value < math.inf:
        raise BadInput(f"the {name} of a Dirac method is {value:g}; give a finite number above 0")
