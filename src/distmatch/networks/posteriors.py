"""The laws that an encoder may have: what becomes of its last layer's output, and of outside noise.

A posterior with weights of its own (`LatentFlow`, `Mixing`) is a module; its law holds the weights as they were in the
forward pass that made it. So a law made by a bound net (`torch.func.functional_call`, `torch.func.vmap`) stays the
law of those weights after the net has its own again. Zuko's coupling flows look their weights up when the density
is asked for, which is too late: there the density is silently that of the module's own weights. Therefore the
coupling is written here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.distributions import (
    Distribution,
    Independent,
    Normal,
    Transform,
    TransformedDistribution,
    constraints,
)
from torch.nn import functional as F

from distmatch.distributions.points import Delta, NoisyPoint
from distmatch.errors import BadInput
from distmatch.networks.shapes import Shapes

SCALE_FLOOR = 1e-6
SOFTPLUS_OF_ONE = math.log(math.e - 1)  # softplus of it is 1
COUPLINGS, WIDTH, DEPTH = 4, 64, 2  # of a flow's couplings, and of the perceptron in each
LOG_SCALE_BOUND = 2.0  # of one coupling: between e^-2 and e^2, so that the inverse keeps float32's digits

Layers = Sequence[tuple[Tensor, Tensor]]
Law = Callable[..., Distribution]


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


class AffineCoupling(Transform):
    """y_a = x_a, y_b = x_b ⊙ exp(s(x_a)) + t(x_a): one affine coupling, at given weights.

    (s, t) is a perceptron of x_a with ReLU; s goes through 2·tanh(·/2), which keeps it in (-2, 2). The halves are
    the first ⌊latent/2⌋ coordinates and the rest. log|det ∂y/∂x| = Σ_j s_j, `(*batch)`, in nats.

    Arguments:
        layers: the perceptron's (weight, bias) from first to last; the last gives s and t side by side.
        first: how many coordinates make the first half.
        swap: x_a is the second half, not the first.

    Reference: Dinh, Sohl-Dickstein and Bengio, arXiv:1605.08803, equations 4 to 8.

    >>> double = AffineCoupling([(torch.zeros(2, 1), torch.tensor([2 * math.atanh(math.log(2) / 2), 0.0]))], first=1)
    >>> double(torch.tensor([3.0, 5.0])), double.inv(torch.tensor([3.0, 10.0]))
    (tensor([ 3., 10.]), tensor([3., 5.]))
    """

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, layers: Layers, first: int, swap: bool = False) -> None:
        super().__init__()
        self.layers, self.first, self.swap = layers, first, swap

    def _call(self, x: Tensor) -> Tensor:
        kept, moved = self._split(x)
        log_scale, shift = self._affine(kept)
        return self._join(kept, moved * log_scale.exp() + shift)

    def _inverse(self, y: Tensor) -> Tensor:
        return self.invert(y)[0]

    def invert(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """x of `y` `(*batch, latent)`, and log|det ∂y/∂x| there `(*batch)`, at the price of one of them."""
        kept, moved = self._split(y)
        log_scale, shift = self._affine(kept)
        return self._join(kept, (moved - shift) * (-log_scale).exp()), log_scale.sum(-1)

    def log_abs_det_jacobian(self, x: Tensor, y: Tensor) -> Tensor:
        """Σ_j s_j(x_a) of `x` `(*batch, latent)`, in nats, `(*batch)`."""
        return self._affine(self._split(x)[0])[0].sum(-1)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(x_a, x_b)."""
        halves = x[..., : self.first], x[..., self.first :]
        return (halves[1], halves[0]) if self.swap else halves

    def _join(self, kept: Tensor, moved: Tensor) -> Tensor:
        return torch.cat((moved, kept) if self.swap else (kept, moved), -1)

    def _affine(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """(s, t) at x_a, in the precision of x_a also under autocast: a density is to have an exact inverse."""
        with torch.autocast(kept.device.type, enabled=False):
            log_scale, shift = perceptron(kept, self.layers).chunk(2, -1)
            return LOG_SCALE_BOUND * (log_scale / LOG_SCALE_BOUND).tanh(), shift


def perceptron(h: Tensor, layers: Layers) -> Tensor:
    """Linear layers from (weight, bias) with ReLU between them.

    >>> perceptron(torch.tensor([1.0]), [(torch.tensor([[2.0]]), torch.ones(1))] * 2)
    tensor([7.])
    """
    for weight, bias in layers[:-1]:
        h = F.linear(h, weight, bias).relu()
    return F.linear(h, *layers[-1])


def weights(net: nn.Module) -> Layers:
    """(weight, bias) of a net's linear layers as they are now: the bound ones, inside a bound net's forward.

    >>> [tuple(weight.shape) for weight, _ in weights(nn.Sequential(nn.Linear(1, 2), nn.Linear(2, 3)))]
    [(2, 1), (3, 2)]
    """
    return [(layer.weight, layer.bias) for layer in net.modules() if isinstance(layer, nn.Linear)]


class FlowLaw(TransformedDistribution):
    """z = f_K∘…∘f_1(z₀) with z₀ ~ q₀, for `AffineCoupling`s f_k: torch's law, with a point to stand for it."""

    @property
    def mean(self) -> Tensor:
        """f(μ), the image of the base's mean: a code to show. (The expectation has no closed form.)"""
        z = self.base_dist.mean
        for transform in self.transforms:
            z = transform(z)
        return z

    def log_prob(self, value: Tensor) -> Tensor:
        """log q₀(z₀) - Σ_k log|det ∂f_k| at z₀ = f⁻¹(value), in nats, `(*batch)`; each perceptron runs once."""
        change = torch.zeros_like(value[..., 0])
        for transform in reversed(self.transforms):
            assert isinstance(transform, AffineCoupling)
            value, more = transform.invert(value)
            change = change + more
        return self.base_dist.log_prob(value) - change


class LatentFlow(nn.Module):
    """Affine couplings f_K∘…∘f_1 that keep and move the two halves of z in turn, with weights of their own.

    Fresh couplings are near the identity: the perceptrons' last weights are a tenth of torch's default, their
    last biases 0.

    Arguments:
        latent: the size of z.
        couplings: K.
        width: units per hidden layer of each perceptron.
        depth: its hidden layers.

    Raises:
        BadInput: `latent` is 1, where there is nothing to couple.

    Reference: Dinh, Sohl-Dickstein and Bengio, arXiv:1605.08803; as a posterior, Rezende and Mohamed,
    arXiv:1505.05770.

    >>> base = Independent(Normal(torch.zeros(3), torch.ones(3)), 1)
    >>> law = LatentFlow(3)(base)
    >>> law.event_shape, len(law.transforms)
    (torch.Size([3]), 4)
    """

    def __init__(
        self, latent: int, couplings: int = COUPLINGS, width: int = WIDTH, depth: int = DEPTH
    ) -> None:
        super().__init__()
        if latent < 2:
            raise BadInput(
                "a flow couples coordinates of z and latent is 1: take at least 2, or a Gaussian posterior "
                "(of the priors, a mixture)"
            )
        self.first = latent // 2
        self.nets = nn.ModuleList()
        for k in range(couplings):
            kept = self.first if k % 2 == 0 else latent - self.first
            sizes = [kept, *[width] * depth, 2 * (latent - kept)]
            layers = [nn.Linear(a, b) for a, b in pairwise(sizes)]
            with torch.no_grad():
                layers[-1].weight.mul_(0.1)
                layers[-1].bias.zero_()
            self.nets.append(nn.ModuleList(layers))

    def forward(self, base: Distribution) -> FlowLaw:
        """The law of f(z₀), z₀ ~ `base` over `(latent,)`, of the base's batch shape."""
        transforms: list[Transform] = [
            AffineCoupling(weights(net), self.first, swap=k % 2 == 1) for k, net in enumerate(self.nets)
        ]
        return FlowLaw(base, transforms, validate_args=False)


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

    def forward(self, raw: Tensor) -> FlowLaw:
        """From `(B, 2·latent)`, read as `gaussian_posterior` reads it, to a law of batch shape `(B,)`."""
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

    >>> law = Mixing(2, bases=3, noise_size=4, width=8)(torch.zeros(5, 8), torch.randn(5, 4))
    >>> law.batch_shape, law.moment_scale.shape
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
    """How an encoder's raw output `(B, latent · channels)` becomes a law over z.

    Arguments:
        description: one line for the reader.
        channels: raw values per coordinate of z.
        head: from the shapes to raw -> law (raw, noise -> law where there is noise); a module where it has weights.
        noise_size: of the outside noise ε ~ N(0, I) that an implicit posterior takes per row; 0 for none.
        has_density: whether log q(z|x) can be evaluated.

    >>> POSTERIORS["gaussian"].head(Shapes((2,), 3))(torch.zeros(1, 6)).event_shape
    torch.Size([3])
    """

    description: str
    channels: int
    head: Callable[[Shapes], Law]
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


def plain(law: Law) -> Callable[[Shapes], Law]:
    """A head without weights: the same law for all shapes.

    >>> plain(deterministic_posterior)(Shapes((2,), 1)) is deterministic_posterior
    True
    """
    return lambda shapes: law


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
"""The laws that an encoder may have, by the name that the command line takes.

The sizes of "noise" are those published for a code of 8 values (32 of noise, 16 bases); for 32 values it is
`noise_posterior(bases=32, noise_size=64)`.
"""
