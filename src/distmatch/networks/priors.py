"""Learned marginal priors m(z), which take the place of p(z) = N(0, I) in the rate E KL(q(z|x) ‖ m(z)).

The best m is the aggregate posterior q(z) = E_{p*}[q(z|x)]: then the rate is the mutual information I_q(x; z)
(Alemi et al., arXiv:1711.00464). Each module here, called with the encoder (which only "vamp" asks), gives a
distribution over `(latent,)` of batch shape `()` that holds the weights of that very call, so that it can be used
where the module's parameters are bound from outside. No prior depends on a label: with labels, m(z) is shared by all
classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from distmatch.distributions.points import SampleShape
from distmatch.errors import BadInput, unknown
from distmatch.networks.layers.latent_flow import FlowDistribution, LatentFlow
from distmatch.networks.shapes import Shapes

COMPONENTS = 64
PRIOR_COUPLINGS = 6  # more than a posterior's: here the couplings alone make the distribution
PIXEL_MARGIN = 0.01  # of a pseudo-input's start from 0 and 1, where the sigmoid's gradient vanishes

Encode = Callable[[Tensor], Distribution]


class NormalMixture(Distribution):
    """Σ_k w_k N(z; μ_k, diag σ_k²) over vectors.

    log m(z) = logsumexp_k [ log w_k + Σ_l log N(z_l; μ_kl, σ_kl²) ], in nats.

    Arguments:
        logits: log w_k up to a constant, `(*batch, K)`.
        loc: μ, `(*batch, K, latent)`.
        scale: σ, `(*batch, K, latent)`.

    >>> distribution = NormalMixture(torch.zeros(2), torch.tensor([[-1.0], [1.0]]), torch.ones(2, 1))
    >>> round(distribution.log_prob(torch.zeros(1)).item(), 4), distribution.mean
    (-1.4189, tensor([0.]))
    """

    arg_constraints: dict = {}  # noqa: RUF012  (the base class's name and type)

    def __init__(self, logits: Tensor, loc: Tensor, scale: Tensor) -> None:
        self.logits, self.loc, self.scale = logits, loc, scale
        super().__init__(logits.shape[:-1], loc.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Σ_k w_k μ_k, `(*batch, latent)`."""
        return (self.logits.softmax(-1)[..., None] * self.loc).sum(-2)

    @property
    def variance(self) -> Tensor:
        """Σ_k w_k (σ_k² + (μ_k - μ)²), `(*batch, latent)`."""
        squares = self.scale.square() + (self.loc - self.mean[..., None, :]).square()
        return (self.logits.softmax(-1)[..., None] * squares).sum(-2)

    def log_prob(self, value: Tensor) -> Tensor:
        """log m(z) in nats of `(*sample, *batch, latent)`, `(*sample, *batch)`."""
        z = (value[..., None, :] - self.loc) / self.scale
        each = -0.5 * (z.square() + math.log(2 * math.pi)) - self.scale.log()
        return (self.logits.log_softmax(-1) + each.sum(-1)).logsumexp(-1)

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """A component by its weight, then its normal; `(*sample_shape, *batch, latent)`, without gradient."""
        with torch.no_grad():
            draws = math.prod(sample_shape)
            rows = self.logits.softmax(-1).reshape(-1, self.logits.shape[-1])
            picked = torch.multinomial(rows, draws, replacement=True).T
            picked = picked.reshape(*sample_shape, *self.batch_shape, 1, 1)
            shape = (*picked.shape[:-2], 1, self.loc.shape[-1])
            full = (*picked.shape[:-2], *self.loc.shape[-2:])
            at = [v.expand(full).gather(-2, picked.expand(shape)).squeeze(-2) for v in (self.loc, self.scale)]
            return torch.normal(*at)


class MixturePrior(nn.Module):
    """m(z) = Σ_k w_k N(z; μ_k, diag σ_k²) with all of w = softmax(logits), μ and ln σ learned.

    At the start w = 1/K, μ_k ~ N(0, I), σ = 1.

    Arguments:
        latent: the size of z.
        components: K.

    >>> MixturePrior(2, components=5)().log_prob(torch.zeros(7, 2)).shape
    torch.Size([7])
    """

    def __init__(self, latent: int, components: int = COMPONENTS) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(components))
        self.loc = nn.Parameter(torch.randn(components, latent))
        self.log_scale = nn.Parameter(torch.zeros(components, latent))

    def forward(self, encode: Encode | None = None) -> NormalMixture:
        """m(z), batch shape `()`; `encode` is not asked."""
        return NormalMixture(self.logits, self.loc, self.log_scale.exp())


class VampPrior(nn.Module):
    """m(z) = 1/K Σ_k q(z|u_k): the aggregate posterior of K learned pseudo-inputs u_k.

    Images' pseudo-inputs are sigmoids of free parameters, so that they lie in [0, 1]; others are free themselves.
    (Where the encoder has batch norm in training mode, the K pseudo-inputs are a batch by themselves.)

    Arguments:
        shapes: of x and z.
        components: K; the paper has 500.
        x_init: data to start from, `(at least K, *x)`, of which K are picked at random, each once, by torch's global
            generator; None: free parameters N(0, 1).

    Raises:
        BadInput: the shapes have labels, which pseudo-inputs do not; or `x_init` does not fit.

    Reference: Tomczak and Welling, arXiv:1705.07120, equations 9 to 11 (there a clamp, here the sigmoid).

    >>> from distmatch.networks.posteriors import gaussian_posterior
    >>> VampPrior(Shapes((4,), 2), components=5)(gaussian_posterior).log_prob(torch.zeros(7, 2)).shape
    torch.Size([7])
    """

    def __init__(self, shapes: Shapes, components: int = COMPONENTS, x_init: Tensor | None = None) -> None:
        super().__init__()
        if shapes.num_classes:
            raise BadInput(
                "a VampPrior has no labels to give to an encoder that takes y: train without labels, "
                "or take the prior mixture or flow"
            )
        self.bounded = shapes.bounded
        if x_init is None:
            free = torch.randn(components, *shapes.x)
        else:
            if len(x_init) < components or x_init.shape[1:] != shapes.x:
                raise BadInput(
                    f"x_init has shape {tuple(x_init.shape)}: a VampPrior of {components} components starts from "
                    f"at least that many data of shape {shapes.x}"
                )
            x = x_init[torch.randperm(len(x_init))[:components]].detach()
            free = x.clamp(PIXEL_MARGIN, 1 - PIXEL_MARGIN).logit() if shapes.bounded else x
        self.free = nn.Parameter(free)

    @property
    def pseudo_inputs(self) -> Tensor:
        """u, `(K, *x)`."""
        return self.free.sigmoid() if self.bounded else self.free

    def forward(self, encode: Encode | None = None) -> NormalMixture:
        """m(z), batch shape `()`, with the distributions that `encode` gives to the pseudo-inputs.

        Raises:
            BadInput: there is no encoder, or its distributions are not diagonal normals.
        """
        q = None if encode is None else encode(self.pseudo_inputs)
        base = q.base_dist if isinstance(q, Independent) else None
        if not isinstance(base, Normal):
            raise BadInput(
                "a VampPrior is a mixture of q(z|u): give it an encoder with a gaussian posterior, "
                "or take the prior mixture or flow"
            )
        return NormalMixture(torch.zeros_like(base.loc[:, 0]), base.loc, base.scale)


class FlowPrior(nn.Module):
    """m(z) of z = f_K∘…∘f_1(z₀), z₀ ~ N(0, I), with affine couplings f_k.

    log m(z) = log N(z₀; 0, I) - Σ_k log|det ∂f_k| at z₀ = f⁻¹(z), in nats.

    Arguments:
        latent: the size of z.
        couplings: K.
        width: units per hidden layer of each coupling.

    Raises:
        BadInput: `latent` is 1.

    Reference: Dinh, Sohl-Dickstein and Bengio, arXiv:1605.08803; as a prior, Chen et al., arXiv:1611.02731.

    >>> FlowPrior(2)().log_prob(torch.zeros(7, 2)).shape
    torch.Size([7])
    """

    def __init__(self, latent: int, couplings: int = PRIOR_COUPLINGS, width: int = 64) -> None:
        super().__init__()
        self.latent = latent
        self.flow = LatentFlow(latent, couplings, width)

    def forward(self, encode: Encode | None = None) -> FlowDistribution:
        """m(z), batch shape `()`; `encode` is not asked."""
        zeros = next(self.parameters()).new_zeros(self.latent)
        base = Normal(zeros, torch.ones_like(zeros), validate_args=False)
        return self.flow(Independent(base, 1, validate_args=False))


@dataclass(frozen=True)
class Prior:
    """A kind of learned prior.

    Arguments:
        description: one line for the reader.
        reference: where it comes from.
        make: (shapes, components, x_init) -> module; the last two may not matter to it.
        needs_encoder: whether its distribution is made from the encoder's.
    """

    description: str
    reference: str
    make: Callable[[Shapes, int, Tensor | None], nn.Module]
    needs_encoder: bool = False


PRIORS: Mapping[str, Prior] = MappingProxyType(
    {
        "mixture": Prior(
            "a mixture of diagonal normals",
            "Alemi et al., arXiv:1711.00464",
            lambda shapes, components, x_init: MixturePrior(shapes.latent, components),
        ),
        "vamp": Prior(
            "the encoder's distributions at learned pseudo-inputs, mixed",
            "Tomczak and Welling, arXiv:1705.07120",
            VampPrior,
            needs_encoder=True,
        ),
        "flow": Prior(
            "a standard normal through affine couplings",
            "Dinh et al., arXiv:1605.08803; Chen et al., arXiv:1611.02731",
            lambda shapes, components, x_init: FlowPrior(shapes.latent),
        ),
    }
)
"""Learned priors, by the name that the command line takes."""


def prior(name: str, shapes: Shapes, components: int = COMPONENTS, x_init: Tensor | None = None) -> nn.Module:
    """A learned prior, initialised from torch's global generator.

    Arguments:
        name: a key of `PRIORS`.
        shapes: of x and z.
        components: of a mixture (mixture, vamp); a flow has none.
        x_init: data that a VampPrior starts from; the others need none.

    Raises:
        BadInput: an unknown name, or a number of components below 1; and what the priors themselves refuse.

    >>> prior("mixture", Shapes((2,), 3), components=4)().event_shape
    torch.Size([3])
    """
    if name not in PRIORS:
        raise unknown("prior", name, PRIORS)
    if components < 1:
        raise BadInput(f"components is {components}: a mixture has at least 1")
    return PRIORS[name].make(shapes, components, x_init)
