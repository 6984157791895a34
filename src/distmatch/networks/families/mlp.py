"""Fully connected nets: encoder, decoder, and critics over anything."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Protocol

import torch
from torch import nn

from distmatch.distributions.likelihoods import Likelihood
from distmatch.errors import BadInput, unknown
from distmatch.networks.critic import FlatCritic
from distmatch.networks.decoder import Decoder
from distmatch.networks.encoder import Encoder
from distmatch.networks.families.family import Family
from distmatch.networks.inputs import centred
from distmatch.networks.layers.batch_norm import BatchNorm
from distmatch.networks.layers.heads import Layer, across_batch, critic_layers
from distmatch.networks.layers.initial import initialise
from distmatch.networks.layers.maxout import Maxout
from distmatch.networks.lens import Lens, flat_lens
from distmatch.networks.posteriors import Posterior
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
        initial_std: weights start as N(0, std²) and biases at 0, in all but a lens; None: as torch has it.
        critic_width: units per hidden layer of critics that see x; None: `width`.
        critic_depth: hidden layers of critics that see x; None: `depth`.
        critic_batch_norm: the same for critics that see x; None: `batch_norm`, and none with `spectral_norm`.
        critic_maxout: pieces of maxout in place of the activation of critics that see x; 0: none.
        spectral_norm: in all critics, each weight (but minibatch discrimination's) over its largest singular value.
        minibatch_kernels: kernels of minibatch discrimination in critics that see x; 0: none.
        symmetric: in all critics, each layer sees the mean of its inputs over the batch too, by weights of its own.
        code_width: units per hidden layer of critics over z alone.
        code_depth: hidden layers of critics over z alone.
        lens_width: units per layer of a lens.
        lens_blocks: residual blocks of a lens.

    Raises:
        BadInput: a size below 1, an activation that is not known, or options that contradict one another.

    >>> MLPOptions(width=8).depth
    2
    """

    width: int = 400
    depth: int = 2
    activation: str = "relu"
    batch_norm: bool = False
    initial_std: float | None = None
    critic_width: int | None = None
    critic_depth: int | None = None
    critic_batch_norm: bool | None = None
    critic_maxout: int = 0
    spectral_norm: bool = False
    minibatch_kernels: int = 0
    symmetric: bool = False
    code_width: int = 1000
    code_depth: int = 3
    lens_width: int = 64
    lens_blocks: int = 2

    def __post_init__(self) -> None:
        check_sizes(self, "width", "depth", "critic_width", "critic_depth", "code_width", "code_depth")
        check_sizes(self, "lens_width", "lens_blocks")
        check_sizes(self, "critic_maxout", "minibatch_kernels", least=0)
        check_norms(self)
        if self.critic_maxout == 1:
            raise BadInput(
                "critic_maxout is 1, which is not an activation; give 2 pieces or more, or 0 for none"
            )
        if self.initial_std is not None and not self.initial_std > 0:
            raise BadInput(f"initial_std is {self.initial_std!r}; give a number above 0, or leave it out")
        if self.activation not in ACTIVATIONS:
            raise unknown("activation", self.activation, ACTIVATIONS)


def check_sizes(options: object, *names: str, least: int = 1) -> None:
    """Raises `BadInput` where one of the named options is below `least`; None passes.

    >>> check_sizes(MLPOptions(), "width")
    """
    for name in names:
        value = getattr(options, name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
            raise BadInput(f"{name} is {value!r}; give a whole number of at least {least}")


class _Norms(Protocol):
    @property
    def batch_norm(self) -> bool: ...
    @property
    def critic_batch_norm(self) -> bool | None: ...
    @property
    def spectral_norm(self) -> bool: ...


def check_norms(options: _Norms) -> None:
    """Raises `BadInput` where both norms are asked for in a critic.

    >>> check_norms(MLPOptions(batch_norm=True, spectral_norm=True))
    """
    if options.spectral_norm and options.critic_batch_norm:
        raise BadInput(
            "batch norm would undo the spectral norm of a critic's layers: "
            "leave out critic_batch_norm=true or spectral_norm=true"
        )


def critic_batch_norm(options: _Norms) -> bool:
    """True where critics that see x have batch norm: as said, or as the other nets where there is no spectral norm.

    >>> critic_batch_norm(MLPOptions(batch_norm=True)), critic_batch_norm(MLPOptions(spectral_norm=True))
    (True, False)
    """
    if options.critic_batch_norm is None:
        return options.batch_norm and not options.spectral_norm
    return options.critic_batch_norm


def layers(
    sizes: list[int],
    activation: str,
    batch_norm: bool = False,
    activate_last: bool = False,
    linear: Layer = nn.Linear,
    pieces: int = 0,
) -> list[nn.Module]:
    """Linear layers through `sizes`, with batch norm (optional) and an activation between them.

    Arguments:
        sizes: of the input, the layers between, and the output.
        activation: a name in `ACTIVATIONS`.
        batch_norm: before each activation.
        activate_last: an activation after the last layer too.
        linear: makes the linear layers.
        pieces: of maxout in place of the activation; 0: none.

    >>> len(layers([2, 3, 1], "relu")), len(layers([2, 3, 1], "relu", batch_norm=True))
    (3, 4)
    """
    out: list[nn.Module] = []
    for i, (a, b) in enumerate(pairwise(sizes)):
        inner = activate_last or i < len(sizes) - 2
        units = b * max(pieces, 1) if inner else b
        out.append(linear(a, units, bias=not (inner and batch_norm)))
        if inner:
            activated = Maxout(pieces) if pieces else ACTIVATIONS[activation]()
            out += [BatchNorm(units), activated] if batch_norm else [activated]
    return out


def encoder(shapes: Shapes, posterior: Posterior, options: MLPOptions) -> Encoder:
    """q(z|x): x flattened (and y), `depth` hidden layers, one linear layer to the posterior's parameters."""
    hidden = [options.width] * options.depth
    sizes = [shapes.x_size + shapes.num_classes, *hidden, shapes.latent * posterior.channels]
    body = nn.Sequential(*layers(sizes, options.activation, options.batch_norm))
    prepare = nn.Sequential(centred(shapes), nn.Flatten())
    return Encoder(prepare, initialise(body, options.initial_std), shapes, posterior)


def decoder(shapes: Shapes, likelihood: Likelihood, options: MLPOptions) -> Decoder:
    """p(x|z): z (and y), `depth` hidden layers, one linear layer to the likelihood's parameters."""
    hidden = [options.width] * options.depth
    sizes = [shapes.latent + shapes.num_classes, *hidden, shapes.x_size * likelihood.channels]
    unflat = nn.Unflatten(1, torch.Size((shapes.x[0] * likelihood.channels, *shapes.x[1:])))
    body = nn.Sequential(*layers(sizes, options.activation, options.batch_norm), unflat)
    return Decoder(initialise(body, options.initial_std), shapes, likelihood)


def critic(shapes: Shapes, spaces: tuple[str, ...], options: MLPOptions) -> FlatCritic:
    """Scores of any variables side by side; over z alone, the code critic."""
    linear, _ = critic_layers(options)
    if "x" not in spaces:
        net = code_critic(shapes, spaces, options.code_width, options.code_depth, linear)
        return initialise(net, options.initial_std)
    inputs = sum(shapes.x_size if s == "x" else shapes.latent for s in spaces) + shapes.num_classes
    width = options.critic_width or options.width
    sizes = [inputs, *[width] * (options.critic_depth or options.depth)]
    norm, pieces = critic_batch_norm(options), options.critic_maxout
    body = layers(sizes, options.activation, norm, activate_last=True, linear=linear, pieces=pieces)
    head, size = across_batch(width, options.minibatch_kernels)
    last = linear(size, 1)
    body.append(nn.Sequential(*head, last) if head else last)
    return initialise(FlatCritic(nn.Sequential(*body), shapes, spaces), options.initial_std)


def code_critic(
    shapes: Shapes, spaces: tuple[str, ...], width: int, depth: int, linear: Layer = nn.Linear
) -> FlatCritic:
    """Scores of codes: `depth` layers of `width` units, leaky ReLU of slope 0.2, no batch norm.

    Reference: Rosca, Lakshminarayanan and Mohamed, arXiv:1802.06847 (3 layers of 1000).
    """
    sizes = [len(spaces) * shapes.latent + shapes.num_classes, *[width] * depth, 1]
    return FlatCritic(nn.Sequential(*layers(sizes, "leaky-relu", linear=linear)), shapes, spaces)


def lens(shapes: Shapes, until: int | None, options: MLPOptions) -> Lens:
    """L(x) = x + residual, by linear layers."""
    return flat_lens(shapes, until, options.lens_width, options.lens_blocks)


MLP = Family(
    "mlp",
    "fully connected; any data",
    "Kingma and Welling, arXiv:1312.6114; code critic of arXiv:1802.06847",
    MLPOptions,
    encoder,
    decoder,
    critic,
    lens,
)
