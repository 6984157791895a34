"""Functions of any distribution: draws from given noise, densities at them, the KL to the prior."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    Normal,
    TransformedDistribution,
)

from distmatch.distributions.points import Delta
from distmatch.errors import BadInput


def standard_normal(latent: int, device: torch.device | str | None = None) -> Independent:
    """The prior p(z) = N(0, I) over `(latent,)`.

    >>> standard_normal(2).event_shape
    torch.Size([2])
    """
    zeros = torch.zeros(latent, device=device)
    return Independent(Normal(zeros, torch.ones_like(zeros), validate_args=False), 1, validate_args=False)


def reparameterise(distribution: Distribution, noise: Tensor) -> Tensor:
    """The draw as a deterministic, differentiable function of `noise` ~ N(0, 1) of the draw's shape.

    N(μ, σ²): μ + σ·noise. A point mass: its point. A transformed distribution: the transforms of its base's draw.
    (`rsample` draws its own numbers, which `torch.func.vmap` refuses.)

    Raises:
        BadInput: the distribution has no such form here.

    >>> reparameterise(Normal(1.0, 2.0), torch.tensor([-1.0, 0.5]))
    tensor([-1.,  2.])
    """
    if isinstance(distribution, Independent):
        return reparameterise(distribution.base_dist, noise)
    if isinstance(distribution, Normal):
        return distribution.loc + distribution.scale * noise
    if isinstance(distribution, Delta):
        return distribution.loc
    if isinstance(distribution, TransformedDistribution):
        draw = reparameterise(distribution.base_dist, noise)
        for transform in distribution.transforms:
            draw = transform(draw)
        return draw
    raise BadInput(
        f"a draw from {type(distribution).__name__} is not a differentiable function of normal noise; "
        "use its mean, or a distribution that is normal or implicit"
    )


def draw_and_score(distribution: Distribution, noise: Tensor) -> tuple[Tensor, Tensor]:
    """A draw z as a function of `noise` ~ N(0, 1), and log q(z) in nats, `(*batch)`.

    A transformed distribution is scored on the way: log q(z) = log q₀(z₀) - Σ log|det ∂f_k|, without inverting a
        transform.

    >>> z, log_q = draw_and_score(standard_normal(2), torch.zeros(2))
    >>> z, round(log_q.item(), 4)
    (tensor([0., 0.]), -1.8379)
    """
    if not isinstance(distribution, TransformedDistribution):
        z = reparameterise(distribution, noise)
        return z, distribution.log_prob(z)
    z, log_q = draw_and_score(distribution.base_dist, noise)
    for transform in distribution.transforms:
        before, z = z, transform(z)
        change = transform.log_abs_det_jacobian(before, z)
        log_q = log_q - change.reshape(*log_q.shape, -1).sum(-1)
    return z, log_q


def is_diagonal_normal(q: Distribution) -> bool:
    """True where q is a diagonal normal over vectors.

    >>> is_diagonal_normal(standard_normal(3)), is_diagonal_normal(Normal(0.0, 1.0))
    (True, False)
    """
    return isinstance(q, Independent) and isinstance(q.base_dist, Normal) and len(q.event_shape) == 1


def kl_divergence_to_standard_normal(q: Distribution) -> Tensor:
    """KL[q ‖ N(0, I)] = ½ Σ (μ² + σ² - 1 - ln σ²), in nats, `(B,)`.

    Raises:
        BadInput: `q` is not a diagonal normal over vectors, so that this form does not hold.

    >>> kl_divergence_to_standard_normal(standard_normal(3))
    tensor(0.)
    """
    if isinstance(q, Delta):
        raise BadInput(
            "a deterministic encoder has no KL to the prior: give the encoder a 'gaussian' posterior, "
            "or match the codes to the prior with a critic"
        )
    if not is_diagonal_normal(q):
        raise BadInput(
            f"no closed form is known here for the KL of {type(q).__name__} to N(0, I); "
            "it needs a diagonal normal"
        )
    base = q.base_dist  # type: ignore[attr-defined]
    return 0.5 * (base.loc.square() + base.scale.square() - 1 - 2 * base.scale.log()).sum(-1)
