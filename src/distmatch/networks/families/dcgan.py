"""Convolutional nets after DCGAN, by the side of the image.

The first layer of the published generator, a 4×4 transposed convolution of a 1×1 map, and the last of the
critic, a 4×4 convolution to a 1×1 map, are written here as what they are: linear layers without bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn

from distmatch.distributions.likelihoods import LIKELIHOODS, Likelihood
from distmatch.errors import BadInput
from distmatch.networks.critic import FlatCritic, ImageCritic
from distmatch.networks.decoder import Decoder
from distmatch.networks.encoder import Encoder
from distmatch.networks.families.family import Family
from distmatch.networks.families.mlp import (
    check_norms,
    check_sizes,
    code_critic,
    critic_batch_norm,
    layers,
)
from distmatch.networks.inputs import centred
from distmatch.networks.layers.batch_norm import BatchNorm
from distmatch.networks.layers.heads import Layer, across_batch, critic_layers
from distmatch.networks.layers.initial import initialise
from distmatch.networks.lens import Lens, image_lens
from distmatch.networks.posteriors import Posterior
from distmatch.networks.shapes import Shapes


@dataclass(frozen=True)
class DCGANOptions:
    """Sizes of DCGAN nets.

    Arguments:
        width: maps at the largest scale (the papers' ngf and ndf).
        batch_norm: in encoder and decoder.
        critic_batch_norm: in critics that see x (never on their first layer); None: `batch_norm`, and none with
            `spectral_norm`.
        spectral_norm: in all critics, each weight (but minibatch discrimination's) over its largest singular value.
        minibatch_kernels: kernels of minibatch discrimination in critics that see x; 0: none.
        symmetric: in all critics, each layer, convolutions too, sees the mean of its inputs over the batch too, by
            weights of its own.
        code_width: units per hidden layer of critics over z alone.
        code_depth: hidden layers of critics over z alone.
        lens_width: maps per layer of a lens.
        lens_blocks: residual blocks of a lens.

    Raises:
        BadInput: a size below 1, or options that contradict one another.

    >>> DCGANOptions().width
    64
    """

    width: int = 64
    batch_norm: bool = True
    critic_batch_norm: bool | None = None
    spectral_norm: bool = False
    minibatch_kernels: int = 0
    symmetric: bool = False
    code_width: int = 1000
    code_depth: int = 3
    lens_width: int = 32
    lens_blocks: int = 8

    def __post_init__(self) -> None:
        check_sizes(self, "width", "code_width", "code_depth", "lens_width", "lens_blocks")
        check_sizes(self, "minibatch_kernels", least=0)
        check_norms(self)


@dataclass(frozen=True)
class Conv:
    """A convolution (transposed in a decoder): maps in units of `width`, kernel, stride, padding."""

    maps: float
    kernel: int = 4
    stride: int = 2
    padding: int = 1


@dataclass(frozen=True)
class Plan:
    """The layers for one image side.

    Arguments:
        seed: (maps in units of `width`, side) of the decoder's first image, made from z by a linear layer.
        up: the decoder's convolutions after it; one more, `last`, makes the data's channels.
        last: that convolution, its maps unused.
        down: the convolutions of encoder and critic, before a linear layer.
        side: of the image after `down`.
    """

    seed: tuple[float, int]
    up: tuple[Conv, ...]
    last: Conv
    down: tuple[Conv, ...]
    side: int


SAME = {"kernel": 3, "stride": 1}
HALF = {"kernel": 3, "stride": 2}

PLANS: Mapping[int, Plan] = MappingProxyType(
    {
        8: Plan(
            seed=(2, 4),
            up=(Conv(1),),
            last=Conv(0, **SAME),
            down=(Conv(0.5, **SAME), Conv(1), Conv(2, **SAME)),
            side=4,
        ),
        28: Plan(
            seed=(2, 7),
            up=(Conv(1), Conv(0.5)),
            last=Conv(0, **SAME),
            down=(Conv(0.5, **HALF), Conv(1, **SAME), Conv(1, **HALF), Conv(2, **SAME), Conv(2, **HALF)),
            side=4,
        ),
        32: Plan(seed=(4, 4), up=(Conv(2), Conv(1)), last=Conv(0), down=(Conv(1), Conv(2), Conv(4)), side=4),
        64: Plan(
            seed=(8, 4),
            up=(Conv(4), Conv(2), Conv(1)),
            last=Conv(0),
            down=(Conv(1), Conv(2), Conv(4), Conv(8)),
            side=4,
        ),
    }
)
"""The layers by the side of the (square) image."""


def fits(shape: tuple[int, ...]) -> bool:
    """True where there are nets for data of this shape.

    >>> fits((1, 28, 28)), fits((1, 30, 30)), fits((2,))
    (True, False, False)
    """
    return len(shape) == 3 and shape[1] == shape[2] and shape[1] in PLANS


def plan_of(shapes: Shapes) -> Plan:
    """The plan for this data. Raises `BadInput`, with the sizes that exist, where there is none.

    >>> plan_of(Shapes(x=(1, 28, 28), latent=2)).seed
    (2, 7)
    """
    if not fits(shapes.x):
        sizes = ", ".join(f"{side}×{side}" for side in PLANS)
        raise BadInput(
            f"dcgan has no net for data of shape {shapes.x}: it takes images (C, H, W) of {sizes}; use mlp"
        )
    return PLANS[shapes.x[1]]


def maps(width: int, units: float) -> int:
    """Whole maps for `units` of `width`, at least one.

    >>> maps(64, 0.5), maps(1, 0.5)
    (32, 1)
    """
    return max(1, int(width * units))


def norm(features: int, batch_norm: bool) -> list[nn.Module]:
    """Batch norm, or nothing."""
    return [BatchNorm(features)] if batch_norm else []


def features(
    plan: Plan, channels: int, width: int, batch_norm: bool, conv2d: Layer = nn.Conv2d
) -> tuple[nn.Sequential, int]:
    """The convolutions of encoder and critic, flattened, and how many features they give.

    Leaky ReLU of slope 0.2; batch norm on all but the first, whose place a bias takes where it is off.
    """
    body: list[nn.Module] = []
    for i, conv in enumerate(plan.down):
        out = maps(width, conv.maps)
        bias = i > 0 and not batch_norm
        body.append(conv2d(channels, out, conv.kernel, conv.stride, conv.padding, bias=bias))
        body += [*norm(out, batch_norm and i > 0), nn.LeakyReLU(0.2)]
        channels = out
    return nn.Sequential(*body, nn.Flatten()), channels * plan.side**2


def encoder(shapes: Shapes, posterior: Posterior, options: DCGANOptions) -> Encoder:
    """q(z|x): the transposed decoder, without a final activation."""
    plan = plan_of(shapes)
    convs, size = features(plan, shapes.x[0] + shapes.num_classes, options.width, options.batch_norm)
    last = nn.Linear(size, shapes.latent * posterior.channels, bias=False)
    return Encoder(centred(shapes), initialise(nn.Sequential(*convs, last)), shapes, posterior)


def decoder(shapes: Shapes, likelihood: Likelihood, options: DCGANOptions) -> Decoder:
    """p(x|z): a linear layer to a small image, then transposed convolutions; ReLU, batch norm.

    An explicit distribution gets a bias at the end and torch's own initialisation: DCGAN's small weights, all drawn
    towards the background at once, leave a Bernoulli decoder without a way to white (its pixels stayed below ½ on
    MNIST).
    """
    explicit = likelihood is not LIKELIHOODS["implicit"]
    plan, bias = plan_of(shapes), not options.batch_norm
    channels, side = maps(options.width, plan.seed[0]), plan.seed[1]
    body: list[nn.Module] = [
        nn.Linear(shapes.latent + shapes.num_classes, channels * side**2, bias=bias),
        nn.Unflatten(1, torch.Size((channels, side, side))),
        *norm(channels, options.batch_norm),
        nn.ReLU(),
    ]
    for conv in plan.up:
        out = maps(options.width, conv.maps)
        body.append(nn.ConvTranspose2d(channels, out, conv.kernel, conv.stride, conv.padding, bias=bias))
        body += [*norm(out, options.batch_norm), nn.ReLU()]
        channels = out
    c = plan.last
    out = shapes.x[0] * likelihood.channels
    body.append(nn.ConvTranspose2d(channels, out, c.kernel, c.stride, c.padding, bias=explicit))
    net = nn.Sequential(*body)
    return Decoder(net if explicit else initialise(net), shapes, likelihood)


def critic(shapes: Shapes, spaces: tuple[str, ...], options: DCGANOptions) -> ImageCritic | FlatCritic:
    """Scores of images; as in ALI, codes go through two layers, then beside the features through two more."""
    linear, conv2d = critic_layers(options)
    if "x" not in spaces:
        return code_critic(shapes, spaces, options.code_width, options.code_depth, linear)
    channels = spaces.count("x") * shapes.x[0] + shapes.num_classes
    convs, size = features(plan_of(shapes), channels, options.width, critic_batch_norm(options), conv2d)
    code, h = None, 8 * options.width
    if "z" in spaces:
        code_sizes = [spaces.count("z") * shapes.latent, h, h]
        code = nn.Sequential(*layers(code_sizes, "leaky-relu", activate_last=True, linear=linear))
        size += h
    head, size = across_batch(size, options.minibatch_kernels)
    if code is None:
        last = initialise(nn.Sequential(*head, linear(size, 1, bias=False)))
    else:
        last = nn.Sequential(*head, *layers([size, 2 * h, 1], "leaky-relu", linear=linear))
    return ImageCritic(centred(shapes), initialise(convs), code, last, shapes, spaces)


def lens(shapes: Shapes, until: int | None, options: DCGANOptions) -> Lens:
    """L(x) = x + residual, by convolutions; images of any size."""
    if len(shapes.x) != 3:
        raise BadInput(f"dcgan's lens is for images (C, H, W), and the data is of shape {shapes.x}; use mlp")
    return image_lens(shapes, until, options.lens_width, options.lens_blocks)


DCGAN = Family(
    "dcgan",
    "convolutional; images of " + ", ".join(f"{side}×{side}" for side in PLANS),
    "Radford, Metz and Chintala, arXiv:1511.06434, in the sizes of Arjovsky et al., arXiv:1701.07875",
    DCGANOptions,
    encoder,
    decoder,
    critic,
    lens,
)
