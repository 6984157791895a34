"""Encoder, decoder and critics around a family's layers: from tensors to laws and scores."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal
from torch.nn import functional as F

from distmatch.distributions import Delta
from distmatch.errors import BadInput
from distmatch.likelihoods import Likelihood
from distmatch.networks.shapes import Shapes, with_labels

SCALE_FLOOR = 1e-6
SOFTPLUS_OF_ONE = math.log(math.e - 1)  # softplus of it is 1


def gaussian_posterior(raw: Tensor) -> Distribution:
    """N(μ, diag σ²) from `(B, 2·latent)`: μ the first half, σ = softplus(second + ln(e-1)) + 1e-6.

    Raw output 0 is N(0, I) (to the floor of 1e-6, which keeps ln σ finite), and σ grows linearly, so that
    neither end overflows.

    >>> gaussian_posterior(torch.zeros(1, 2)).base_dist.scale
    tensor([[1.0000]])
    """
    loc, free = raw.chunk(2, dim=-1)
    scale = F.softplus(free + SOFTPLUS_OF_ONE) + SCALE_FLOOR
    return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)


def deterministic_posterior(raw: Tensor) -> Distribution:
    """The point mass at raw `(B, latent)`.

    >>> deterministic_posterior(torch.ones(1, 2)).mean
    tensor([[1., 1.]])
    """
    return Delta(raw, event_dim=1)


@dataclass(frozen=True)
class Posterior:
    """How an encoder's raw output `(B, latent · channels)` becomes a law over z."""

    channels: int
    law: Callable[[Tensor], Distribution]


POSTERIORS: Mapping[str, Posterior] = MappingProxyType(
    {
        "gaussian": Posterior(2, gaussian_posterior),
        "deterministic": Posterior(1, deterministic_posterior),
    }
)
"""The laws that an encoder may have, by the name that the command line takes."""


def full(raw: Tensor) -> Tensor:
    """A net's output in at least float32: laws and losses are computed so, whatever autocast did inside the net.

    >>> full(torch.zeros(2, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return raw.float() if raw.dtype in (torch.bfloat16, torch.float16) else raw


class Centre(nn.Module):
    """2x - 1: images from [0, 1] to [-1, 1].

    >>> Centre()(torch.tensor([0.0, 1.0]))
    tensor([-1.,  1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        return 2 * x - 1


class Encoder(nn.Module):
    """q(z|x) = posterior(body(prepare(x), y)).

    Arguments:
        prepare: what is done to x before the labels join it (flatten, or centre).
        body: to `(B, latent · posterior.channels)`.
        shapes: of x, z and y.
        posterior: the law made from the body's output.
    """

    def __init__(self, prepare: nn.Module, body: nn.Module, shapes: Shapes, posterior: Posterior) -> None:
        super().__init__()
        self.prepare, self.body = prepare, body
        self.shapes, self.posterior = shapes, posterior

    def forward(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """The law of z given x `(B, *x)`: batch shape `(B,)`, event shape `(latent,)`."""
        return self.posterior.law(full(self.body(with_labels(self.prepare(x), y, self.shapes.labels))))


class Decoder(nn.Module):
    """p(x|z) = likelihood(body(z, y)); owns `log_scale` where the likelihood has one learned scale.

    Arguments:
        body: from `(B, latent + labels)` to `(B, C·channels, H, W)` or `(B, D·channels)`.
        shapes: of x, z and y.
        likelihood: the law made from the body's output.

    Raises:
        BadInput: the likelihood cannot describe unbounded data.
    """

    log_scale: nn.Parameter | None

    def __init__(self, body: nn.Module, shapes: Shapes, likelihood: Likelihood) -> None:
        super().__init__()
        likelihood.check(shapes.bounded)
        self.body, self.shapes, self.likelihood = body, shapes, likelihood
        start = torch.tensor(likelihood.initial_log_scale)
        self.log_scale = nn.Parameter(start) if likelihood.learned_scale else None

    def forward(self, z: Tensor, y: Tensor | None = None) -> Distribution:
        """The law of x given z `(B, latent)`: batch shape `(B,)`, event shape `shapes.x`."""
        raw = full(self.body(with_labels(z, y, self.shapes.labels)))
        return self.likelihood(raw, self.shapes.x, self.shapes.bounded, self.log_scale)


class FlatCritic(nn.Module):
    """A critic of any tuple of variables, flattened and set beside one another: scores `(B,)`.

    Arguments:
        body: from the sum of the sizes (and labels) to `(B, 1)`.
        shapes: of x, z and y.
        spaces: `"x"` or `"z"` per input.
    """

    def __init__(self, body: nn.Module, shapes: Shapes, spaces: tuple[str, ...]) -> None:
        super().__init__()
        self.body, self.shapes, self.spaces = body, shapes, spaces

    def forward(self, *inputs: Tensor, y: Tensor | None = None) -> Tensor:
        """Scores `(B,)`, raw, of inputs `(B, *x)` or `(B, latent)` in the order of `spaces`."""
        check_inputs(inputs, self.spaces)
        flat = torch.cat([v.flatten(1) for v in inputs], 1) if len(inputs) > 1 else inputs[0].flatten(1)
        return full(self.body(with_labels(flat, y, self.shapes.labels)).squeeze(-1))


class ImageCritic(nn.Module):
    """A critic of images, and of codes beside them: scores `(B,)`.

    Images are stacked as channels, y joins them as planes; codes go through `code`, then beside the features.

    Arguments:
        prepare: what is done to the images before the labels join them.
        features: from images to `(B, F)`.
        code: from the codes to `(B, G)`; None where `spaces` has no `"z"`.
        head: from `(B, F + G)` to `(B, 1)`.
        shapes: of x, z and y.
        spaces: `"x"` or `"z"` per input, with at least one `"x"`.
    """

    def __init__(
        self,
        prepare: nn.Module,
        features: nn.Module,
        code: nn.Module | None,
        head: nn.Module,
        shapes: Shapes,
        spaces: tuple[str, ...],
    ) -> None:
        super().__init__()
        self.prepare, self.features, self.code, self.head = prepare, features, code, head
        self.shapes, self.spaces = shapes, spaces

    def forward(self, *inputs: Tensor, y: Tensor | None = None) -> Tensor:
        """Scores `(B,)`, raw, of inputs `(B, C, H, W)` or `(B, latent)` in the order of `spaces`."""
        check_inputs(inputs, self.spaces)
        images = [v for v, s in zip(inputs, self.spaces, strict=True) if s == "x"]
        x = self.prepare(torch.cat(images, 1) if len(images) > 1 else images[0])
        h = self.features(with_labels(x, y, self.shapes.labels))
        if self.code is not None:
            codes = [v for v, s in zip(inputs, self.spaces, strict=True) if s == "z"]
            h = torch.cat([h, self.code(torch.cat(codes, 1))], 1)
        return full(self.head(h).squeeze(-1))


def check_inputs(inputs: tuple[Tensor, ...], spaces: tuple[str, ...]) -> None:
    """Raises `BadInput` where a critic is given more or fewer variables than it was built for.

    >>> check_inputs((torch.zeros(1, 2),), ("z",))
    """
    if len(inputs) != len(spaces):
        raise BadInput(f"this critic compares ({', '.join(spaces)}) and was given {len(inputs)} inputs")
