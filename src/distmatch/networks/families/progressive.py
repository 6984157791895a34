"""Nets that grow from a 4×4 or 7×7 image to the full one while they train.

Images are of full size outside at every level: the generator enlarges what it makes, the critic shrinks what it sees.
All parameters are there from the start; those of levels to come, and the images of levels gone by, get no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from torch import Tensor, nn

from distmatch.distributions.likelihoods import LIKELIHOODS, LINEAR, Likelihood
from distmatch.errors import BadInput
from distmatch.networks.critic import FlatCritic, ImageCritic
from distmatch.networks.decoder import Decoder
from distmatch.networks.encoder import Encoder
from distmatch.networks.families.family import Family
from distmatch.networks.families.growth import Growing, Growth, Time
from distmatch.networks.families.mlp import check_sizes, code_critic
from distmatch.networks.inputs import centred
from distmatch.networks.layers.equalised import EqualConv2d, EqualLinear, PixelNorm, enlarge, shrink
from distmatch.networks.layers.minibatch import MinibatchStddev
from distmatch.networks.posteriors import Posterior
from distmatch.networks.shapes import Shapes
from distmatch.schedules import Share

FIRST_SIDES = (4, 7)
SLOPE = 0.2  # of the leaky ReLUs


@dataclass(frozen=True)
class ProgressiveOptions:
    """Sizes and times of growing nets.

    Arguments:
        width: maps at the largest side; they double with each level below.
        most: maps at any side, at the most.
        stable: how long each level trains: steps, a share of the run such as `"20%"`, or None: all phases of the run
            (the first level, and for each other its fading in and its training) are equally long.
        fade: how long a new level fades in; the same.
        minibatch_stddev: in critics that see x, the deviation over groups of four of the batch.
        code_width: units per hidden layer of critics over z alone.
        code_depth: hidden layers of critics over z alone.

    The published nets for images of 64×64 have `width=256`, and times of 600,000 images: 9,375 steps of 64.

    Raises:
        BadInput: a size below 1, or a time below 0.

    >>> options = ProgressiveOptions().over(Shapes(x=(1, 28, 28), latent=2), steps=1000)
    >>> options.stable, options.fade
    (200, 200)
    """

    width: int = 64
    most: int = 512
    stable: Time = None
    fade: Time = None
    minibatch_stddev: bool = True
    code_width: int = 1000
    code_depth: int = 3

    def __post_init__(self) -> None:
        check_sizes(self, "width", "most", "code_width", "code_depth")
        for name, least in (("stable", 1), ("fade", 0)):
            if not isinstance(getattr(self, name), Share):
                check_sizes(self, name, least=least)

    def over(self, shapes: Shapes, steps: int) -> ProgressiveOptions:
        """The same with times in steps, for a run of so many."""
        growth = _growth(Plan.of(shapes, self), self).over(steps)
        return replace(self, stable=growth.stable, fade=growth.fade)


@dataclass(frozen=True)
class Plan:
    """The side of level 0, and the maps of each level; each level has twice the side of the one below.

    >>> Plan.of(Shapes(x=(1, 28, 28), latent=2), ProgressiveOptions(width=16))
    Plan(first=7, maps=(64, 32, 16))
    """

    first: int
    maps: tuple[int, ...]

    @property
    def top(self) -> int:
        """The last level."""
        return len(self.maps) - 1

    @classmethod
    def of(cls, shapes: Shapes, options: ProgressiveOptions) -> Plan:
        """The plan for this data. Raises `BadInput`, with the sizes that exist, where there is none."""
        side = shapes.x[-1]
        top = max(0, (side // 4).bit_length() - 1)
        first = side >> top
        if len(shapes.x) != 3 or shapes.x[1] != side or first not in FIRST_SIDES or first << top != side:
            raise BadInput(
                f"progressive has no net for data of shape {shapes.x}: it takes images (C, H, W) whose side is "
                "4 or 7 times a power of two; use dcgan or mlp"
            )
        return cls(first, tuple(min(options.most, options.width << (top - k)) for k in range(top + 1)))


def blended(net: Growing, old: Tensor, new: Tensor) -> Tensor:
    """old + share·(new - old): all old at share 0."""
    return torch.lerp(old, new, net.share.to(old.dtype))


class Generator(Growing):
    """From codes to raw images of full size: per level enlarge, two convolutions, then a 1×1 one to the channels.

    While a level fades in, its image is blended with that of the level below, enlarged.

    Arguments:
        inputs: the size of the code (and labels).
        channels: of the raw image.
        plan: sides and maps.
        growth: the times.

    Reference: Karras et al., arXiv:1710.10196, figure 2 and table 2.
    """

    def __init__(self, inputs: int, channels: int, plan: Plan, growth: Growth) -> None:
        super().__init__(growth)
        first, maps = plan.first, plan.maps
        self.seed = nn.Sequential(
            PixelNorm(),
            EqualLinear(inputs, maps[0] * first**2, gain=2**0.5 / 4),
            nn.Unflatten(1, torch.Size((maps[0], first, first))),
            nn.LeakyReLU(SLOPE),
            PixelNorm(),
            *_normed(maps[0], maps[0]),
        )
        self.blocks = nn.ModuleList(nn.Sequential(*_normed(a, b), *_normed(b, b)) for a, b in pairwise(maps))
        self.images = nn.ModuleList(EqualConv2d(m, channels, 1, gain=1.0) for m in maps)

    def forward(self, z: Tensor) -> Tensor:
        """`(B, inputs)` to `(B, channels, side, side)`."""
        h = below = self.seed(z)
        for block in self.blocks[: self.level]:
            below, h = h, block(enlarge(h, 2))
        image = self.images[self.level](h)
        if self.fading:
            image = blended(self, enlarge(self.images[self.level - 1](below), 2), image)
        return enlarge(image, 2 ** (self.growth.top - self.level))


class Features(Growing):
    """From images of full size to features: a 1×1 convolution, per level two convolutions and shrink, two layers.

    While a level fades in, what it hands down is blended with the shrunken image as the level below sees it.

    Arguments:
        channels: of the images (and labels).
        plan: sides and maps.
        growth: the times.
        stddev: the deviation within groups of the batch, before the last two layers.

    Reference: Karras et al., arXiv:1710.10196, figure 2 and table 2. Real images are not themselves blended.
    """

    def __init__(self, channels: int, plan: Plan, growth: Growth, stddev: bool) -> None:
        super().__init__(growth)
        first, maps = plan.first, plan.maps
        self.images = nn.ModuleList(
            nn.Sequential(EqualConv2d(channels, m, 1), nn.LeakyReLU(SLOPE)) for m in maps
        )
        self.blocks = nn.ModuleList(
            nn.Sequential(*_plain(b, b), *_plain(b, a), nn.AvgPool2d(2)) for a, b in pairwise(maps)
        )
        self.last = nn.Sequential(
            *([MinibatchStddev()] if stddev else []),
            *_plain(maps[0] + stddev, maps[0]),
            nn.Flatten(),
            EqualLinear(maps[0] * first**2, maps[0]),
            nn.LeakyReLU(SLOPE),
        )

    def forward(self, x: Tensor) -> Tensor:
        """`(B, channels, side, side)` to `(B, maps of level 0)`."""
        x = shrink(x, 2 ** (self.growth.top - self.level))
        h = self.images[self.level](x)
        for level in range(self.level, 0, -1):
            h = self.blocks[level - 1](h)
            if self.fading and level == self.level:
                h = blended(self, self.images[level - 1](shrink(x, 2)), h)
        return self.last(h)


def encoder(shapes: Shapes, posterior: Posterior, options: ProgressiveOptions) -> Encoder:
    """q(z|x): the critic's features without the deviation over the batch, one layer to the posterior's parameters."""
    plan = Plan.of(shapes, options)
    features = Features(shapes.x[0] + shapes.num_classes, plan, _growth(plan, options), stddev=False)
    last = EqualLinear(plan.maps[0], shapes.latent * posterior.channels, gain=1.0)
    return Encoder(centred(shapes), nn.Sequential(features, last), shapes, posterior)


def decoder(shapes: Shapes, likelihood: Likelihood, options: ProgressiveOptions) -> Decoder:
    """p(x|z): the generator. An implicit one is linear to the end: its images, in [-1, 1], are not squashed."""
    plan = Plan.of(shapes, options)
    channels = shapes.x[0] * likelihood.channels
    body = Generator(shapes.latent + shapes.num_classes, channels, plan, _growth(plan, options))
    return Decoder(body, shapes, LINEAR if likelihood is LIKELIHOODS["implicit"] else likelihood)


def critic(shapes: Shapes, spaces: tuple[str, ...], options: ProgressiveOptions) -> ImageCritic | FlatCritic:
    """Scores of images; codes go through a layer, then beside the features."""
    if "x" not in spaces:
        return code_critic(shapes, spaces, options.code_width, options.code_depth)
    plan = Plan.of(shapes, options)
    channels = spaces.count("x") * shapes.x[0] + shapes.num_classes
    features = Features(channels, plan, _growth(plan, options), options.minibatch_stddev)
    size, code, head = plan.maps[0], None, nn.Sequential(EqualLinear(plan.maps[0], 1, gain=1.0))
    if "z" in spaces:
        code = nn.Sequential(EqualLinear(spaces.count("z") * shapes.latent, size), nn.LeakyReLU(SLOPE))
        between = EqualLinear(2 * size, size)
        head = nn.Sequential(between, nn.LeakyReLU(SLOPE), EqualLinear(size, 1, gain=1.0))
    return ImageCritic(centred(shapes), features, code, head, shapes, spaces)


def _growth(plan: Plan, options: ProgressiveOptions) -> Growth:
    return Growth(plan.top, options.stable, options.fade)


def _plain(channels: int, out: int) -> list[nn.Module]:
    return [EqualConv2d(channels, out, 3), nn.LeakyReLU(SLOPE)]


def _normed(channels: int, out: int) -> list[nn.Module]:
    return [*_plain(channels, out), PixelNorm()]


PROGRESSIVE = Family(
    "progressive",
    "growing with the step; images of side 4 or 7 times a power of two",
    "Karras, Aila, Laine and Lehtinen, arXiv:1710.10196",
    ProgressiveOptions,
    encoder,
    decoder,
    critic,
)
