"""A RealNVP over codes: affine couplings whose nets see what the flow is conditioned on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.distributions import (
    Distribution,
    Transform,
    TransformedDistribution,
    constraints,
)
from torch.nn import functional as F

from distmatch.errors import BadInput

COUPLINGS, WIDTH, DEPTH = 4, 64, 2  # of a flow's couplings, and of the perceptron in each
LOG_SCALE_BOUND = 2.0  # of one coupling: between e^-2 and e^2, so that the inverse keeps float32's digits
Layers = Sequence[tuple[Tensor, Tensor]]


class AffineCoupling(Transform):
    """y_a = x_a, y_b = x_b ⊙ exp(s(x_a)) + t(x_a): one affine coupling, at given weights.

    (s, t) is a perceptron of x_a with ReLU; s goes through 2·tanh(·/2), which keeps it in (-2, 2). The halves are
    the first ⌊latent/2⌋ coordinates and the rest. log|det ∂y/∂x| = Σ_j s_j, `(*batch)`, in nats.

    Arguments:
        layers: the perceptron's (weight, bias) from first to last; the last gives s and t side by side.
        first: how many coordinates make the first half.
        swap: x_a is the second half, not the first.

    Reference: Dinh, Sohl-Dickstein and Bengio, arXiv:1605.08803, equations 4 to 8.

    >>> import math
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


class FlowDistribution(TransformedDistribution):
    """z = f_K∘…∘f_1(z₀) with z₀ ~ q₀, for `AffineCoupling`s f_k: torch's distribution, with a point to stand for it."""

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

    >>> from torch.distributions import Independent, Normal
    >>> base = Independent(Normal(torch.zeros(3), torch.ones(3)), 1)
    >>> distribution = LatentFlow(3)(base)
    >>> distribution.event_shape, len(distribution.transforms)
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

    def forward(self, base: Distribution) -> FlowDistribution:
        """The distribution of f(z₀), z₀ ~ `base` over `(latent,)`, of the base's batch shape."""
        transforms: list[Transform] = [
            AffineCoupling(weights(net), self.first, swap=k % 2 == 1) for k, net in enumerate(self.nets)
        ]
        return FlowDistribution(base, transforms, validate_args=False)
