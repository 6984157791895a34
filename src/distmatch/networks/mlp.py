"""Fully connected nets: encoder, decoder, and critics over anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType

import torch
from torch import nn

from distmatch.errors import BadInput, unknown
from distmatch.likelihoods import Likelihood
from distmatch.networks.batch_norm import BatchNorm
from distmatch.networks.players import Decoder, Encoder, FlatCritic, Posterior
from distmatch.networks.shapes import Shapes

ACTIVATIONS: Mapping[str, Callable[[], nn.Module]] = MappingProxyType(
    {"relu": nn.ReLU, "leaky-relu": lambda: nn.LeakyReLU(0.2), "elu": nn.ELU, "tanh": nn.Tanh}
)
"""Activations by name; leaky-relu has slope 0.2."""


@dataclass(frozen=True)
class MLPOptions:
    """Sizes of fully connected nets.

    Arguments:
        width: units per hidden layer.
        depth: hidden layers.
        activation: a name in `ACTIVATIONS`.
        batch_norm: before each activation of encoder and decoder.
        critic_width: units per hidden layer of critics that see x; None: `width`.
        critic_batch_norm: the same for critics that see x; None: `batch_norm`.
        code_width: units per hidden layer of critics over z alone.
        code_depth: hidden layers of critics over z alone.

    Raises:
        BadInput: a size below 1, or an activation that is not known.

    >>> MLPOptions(width=8).depth
    2
    """

    width: int = 400
    depth: int = 2
    activation: str = "relu"
    batch_norm: bool = False
    critic_width: int | None = None
    critic_batch_norm: bool | None = None
    code_width: int = 1000
    code_depth: int = 3

    def __post_init__(self) -> None:
        check_sizes(self, "width", "depth", "critic_width", "code_width", "code_depth")
        if self.activation not in ACTIVATIONS:
            raise unknown("activation", self.activation, ACTIVATIONS)


def check_sizes(options: object, *names: str) -> None:
    """Raises `BadInput` where one of the named options is below 1; None passes.

    >>> check_sizes(MLPOptions(), "width")
    """
    for name in names:
        value = getattr(options, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise BadInput(f"{name} is {value!r}; give a whole number of at least 1")


def layers(
    sizes: list[int], activation: str, batch_norm: bool = False, activate_last: bool = False
) -> list[nn.Module]:
    """Linear layers through `sizes`, with batch norm (optional) and an activation between them.

    >>> len(layers([2, 3, 1], "relu")), len(layers([2, 3, 1], "relu", batch_norm=True))
    (3, 4)
    """
    out: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        inner = activate_last or i < len(sizes) - 2
        out.append(nn.Linear(a, b, bias=not (inner and batch_norm)))
        if inner:
            out += [BatchNorm(b), ACTIVATIONS[activation]()] if batch_norm else [ACTIVATIONS[activation]()]
    return out


def encoder(shapes: Shapes, posterior: Posterior, options: MLPOptions) -> Encoder:
    """q(z|x): x flattened (and y), `depth` hidden layers, one linear layer to the posterior's parameters."""
    hidden = [options.width] * options.depth
    sizes = [shapes.x_size + shapes.labels, *hidden, shapes.latent * posterior.channels]
    body = nn.Sequential(*layers(sizes, options.activation, options.batch_norm))
    return Encoder(nn.Flatten(), body, shapes, posterior)


def decoder(shapes: Shapes, likelihood: Likelihood, options: MLPOptions) -> Decoder:
    """p(x|z): z (and y), `depth` hidden layers, one linear layer to the likelihood's parameters."""
    hidden = [options.width] * options.depth
    sizes = [shapes.latent + shapes.labels, *hidden, shapes.x_size * likelihood.channels]
    unflat = nn.Unflatten(1, torch.Size((shapes.x[0] * likelihood.channels, *shapes.x[1:])))
    body = nn.Sequential(*layers(sizes, options.activation, options.batch_norm), unflat)
    return Decoder(body, shapes, likelihood)


def critic(shapes: Shapes, spaces: tuple[str, ...], options: MLPOptions) -> FlatCritic:
    """Scores of any variables side by side; over z alone, the code critic."""
    if "x" not in spaces:
        return code_critic(shapes, spaces, options.code_width, options.code_depth)
    inputs = sum(shapes.x_size if s == "x" else shapes.latent for s in spaces) + shapes.labels
    sizes = [inputs, *[options.critic_width or options.width] * options.depth, 1]
    batch_norm = options.batch_norm if options.critic_batch_norm is None else options.critic_batch_norm
    return FlatCritic(nn.Sequential(*layers(sizes, options.activation, batch_norm)), shapes, spaces)


def code_critic(shapes: Shapes, spaces: tuple[str, ...], width: int, depth: int) -> FlatCritic:
    """Scores of codes: `depth` layers of `width` units, leaky ReLU of slope 0.2, no batch norm.

    Reference: Rosca, Lakshminarayanan and Mohamed, arXiv:1802.06847 (3 layers of 1000).
    """
    sizes = [len(spaces) * shapes.latent + shapes.labels, *[width] * depth, 1]
    return FlatCritic(nn.Sequential(*layers(sizes, "leaky-relu")), shapes, spaces)
