"""The distributions that an encoder may have: what becomes of its last layer's output, and of outside noise.

A posterior with weights of its own (`LatentFlow`, `Mixing`) is a module; its distribution holds the weights as they
were in the forward pass that made it. So a distribution made by a bound net (`torch.func.functional_call`,
`torch.func.vmap`) stays the distribution of those weights after the net has its own again. Zuko's coupling flows
look their weights up when the density
is asked for, which is too late: there the density is silently that of the module's own weights. Therefore the
coupling is written here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.distributions import (
    Distribution,
    Independent,
    Normal,
)
from torch.nn import functional as F

from distmatch.distributions.points import Delta, NoisyPoint
from distmatch.networks.layers.latent_flow import COUPLINGS, DEPTH, WIDTH, FlowDistribution, LatentFlow
from distmatch.networks.shapes import Shapes

SCALE_FLOOR = 1e-6
SOFTPLUS_OF_ONE = math.log(math.e - 1)  # softplus of it is 1
ToDistribution = Callable[..., Distribution]


def gaussian_posterior(raw: Tensor) -> Independent:
    """N(μ, diag σ²) from `(B, 2·latent)`: μ the first half, σ = softplus(second + ln(e-1)) + 1e-6.

    Raw output 0 is N(0, I) (to the floor of 1e-6, which keeps ln σ finite), and σ grows linearly, so that
    neither end overflows.

    >>> gaussian_posterior(torch.zeros(1, 2)).base_dist.scale
    tensor([[1.0000]])
    """
    loc, free = raw.chunk(2, dim=-1)
    scale = F.softplus(free + SOFTPLUS_OF_ONE) + SCALE_FLOOR
    return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)


def deterministic_posterior(raw: Tensor) -> Delta:
    """The point mass at raw `(B, latent)`.

    >>> deterministic_posterior(torch.ones(1, 2)).mean
    tensor([[1., 1.]])
    """
    return Delta(raw, event_dim=1)


def sphere_posterior(raw: Tensor) -> Delta:
    """The point mass at √latent · raw / ‖raw‖, `(B, latent)`; raw 0 stays 0.

    The paper's sphere has radius 1. On this one coordinates have variance 1, so that codes spread over it evenly
    are near N(0, I), which is what they are compared with.

    Reference: Ulyanov, Vedaldi and Lempitsky, arXiv:1704.02304.

    >>> sphere_posterior(torch.tensor([[3.0, 4.0]])).mean
    tensor([[0.8485, 1.1314]])
    """
    return Delta(raw.shape[-1] ** 0.5 * F.normalize(raw, dim=-1), event_dim=1)


class FlowPosterior(nn.Module):
    """z₀ ~ N(μ(x), diag σ²(x)), z = f_K∘…∘f_1(z₀), where f does not depend on x.

    log q(z|x) = log N(z₀; μ, σ²) - Σ_k log|det ∂f_k|, in nats.

    Arguments:
        flow: the couplings.

    >>> FlowPosterior(LatentFlow(2))(torch.zeros(5, 4)).batch_shape
    torch.Size([5])
    """

    def __init__(self, flow: LatentFlow) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, raw: Tensor) -> FlowDistribution:
        """From `(B, 2·latent)`, read as `gaussian_posterior` reads it, to a distribution of batch shape `(B,)`."""
        return self.flow(gaussian_posterior(raw))


class Mixing(nn.Module):
    """z = a₀(x) + Σ_k a_k(x) ⊙ v_k(ε), ε ~ N(0, I): an implicit posterior with known moments.

    v has one net for all k, of ELU units. As v does not depend on x, the moments of z given x come from the batch
    of ε, whichever x each was drawn for: with m_k = mean v_k, C_kj = cov(v_k, v_j) (over the batch, divided by B),

        E[z|x] = a₀ + Σ_k a_k m_k,   Var[z|x] = Σ_kj a_k C_kj a_j   (per coordinate of z).

    (Mescheder et al. draw an ε for each k, so that C is diagonal.) The encoder's output is a₀ and √K·a_k - 1, and v
    starts at about unit size: so a fresh encoder's spread is of the prior's order.

    Arguments:
        latent: the size of z.
        bases: K.
        noise_size: of ε.
        width: units in each of v's two hidden layers.

    Reference: Mescheder, Nowozin and Geiger, arXiv:1701.04722, section 3 and appendix.

    >>> distribution = Mixing(2, bases=3, noise_size=4, width=8)(torch.zeros(5, 8), torch.randn(5, 4))
    >>> distribution.batch_shape, distribution.moment_scale.shape
    (torch.Size([5]), torch.Size([5, 2]))
    """

    def __init__(self, latent: int, bases: int, noise_size: int, width: int) -> None:
        super().__init__()
        self.latent, self.bases = latent, bases
        first, second = nn.Linear(noise_size, width), nn.Linear(width, width)
        last = nn.Linear(width, bases * latent)
        for layer, gain in ((first, 1.0), (second, math.sqrt(2)), (last, math.sqrt(2))):
            nn.init.normal_(layer.weight, 0.0, gain / math.sqrt(layer.in_features))
        self.net = nn.Sequential(first, nn.ELU(), second, nn.ELU(), last)

    def forward(self, raw: Tensor, noise: Tensor) -> NoisyPoint:
        """The draw z `(B, latent)` with E[z|x] and sd[z|x] (at least 1e-6; of one row alone, exactly that).

        Arguments:
            raw: a₀, then √K·a_k - 1 for each k, one after another, `(B, (K + 1)·latent)`.
            noise: ε, `(B, noise_size)`.
        """
        a = raw.unflatten(-1, (self.bases + 1, self.latent))
        a0, a = a[:, 0], (1 + a[:, 1:]) * self.bases**-0.5
        v = self.net(noise).to(raw.dtype).unflatten(-1, (self.bases, self.latent))
        mean = v.mean(0)
        centred = v - mean
        with torch.autocast(raw.device.type, enabled=False):
            covariance = torch.einsum("bkl,bjl->lkj", centred, centred) / len(v)
            variance = torch.einsum("bkl,lkj,bjl->bl", a, covariance, a)
        moments = a0 + (a * mean).sum(1), variance.clamp_min(SCALE_FLOOR**2).sqrt()
        return NoisyPoint(a0 + (a * v).sum(1), moments, event_dim=1)


@dataclass(frozen=True)
class Posterior:
    """The distribution over z that an encoder's raw output `(B, latent · channels)` becomes.

    Arguments:
        description: one line for the reader.
        channels: raw values per coordinate of z.
        head: from the shapes to raw -> distribution (raw, noise -> distribution where there is noise); a module
            where it has weights.
        noise_size: of the outside noise ε ~ N(0, I) that an implicit posterior takes per row; 0 for none.
        has_density: whether log q(z|x) can be evaluated.

    >>> POSTERIORS["gaussian"].head(Shapes((2,), 3))(torch.zeros(1, 6)).event_shape
    torch.Size([3])
    """

    description: str
    channels: int
    head: Callable[[Shapes], ToDistribution]
    noise_size: int = 0
    has_density: bool = True


def flow_posterior(couplings: int = COUPLINGS, width: int = WIDTH, depth: int = DEPTH) -> Posterior:
    """The posterior of `FlowPosterior`, with these sizes of its `LatentFlow`.

    >>> flow_posterior(couplings=2).channels
    2
    """
    return Posterior(
        "a diagonal normal through affine couplings (RealNVP)",
        channels=2,
        head=lambda shapes: FlowPosterior(LatentFlow(shapes.latent, couplings, width, depth)),
    )


def noise_posterior(bases: int = 16, noise_size: int = 32, width: int = 128) -> Posterior:
    """The posterior of `Mixing`, with these sizes.

    >>> noise_posterior(bases=4).channels
    5
    """
    return Posterior(
        "implicit: a mixture of functions of noise, weighted by x (adversarial variational Bayes)",
        channels=bases + 1,
        head=lambda shapes: Mixing(shapes.latent, bases, noise_size, width),
        noise_size=noise_size,
        has_density=False,
    )


def plain(distribution: ToDistribution) -> Callable[[Shapes], ToDistribution]:
    """A head without weights: the same distribution for all shapes.

    >>> plain(deterministic_posterior)(Shapes((2,), 1)) is deterministic_posterior
    True
    """
    return lambda shapes: distribution


POSTERIORS: Mapping[str, Posterior] = MappingProxyType(
    {
        "gaussian": Posterior("a diagonal normal", 2, plain(gaussian_posterior)),
        "deterministic": Posterior("a point", 1, plain(deterministic_posterior), has_density=False),
        "sphere": Posterior(
            "a point of the sphere of radius √latent", 1, plain(sphere_posterior), has_density=False
        ),
        "flow": flow_posterior(),
        "noise": noise_posterior(),
    }
)
"""The distributions that an encoder may have, by the name that the command line takes.

The sizes of "noise" are those published for a code of 8 values (32 of noise, 16 bases); for 32 values it is
`noise_posterior(bases=32, noise_size=64)`.
"""
