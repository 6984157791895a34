"""RealNVP: an invertible decoder, so that one net draws, and has an exact density."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.distributions import Distribution

from distmatch.distributions.likelihoods import LIKELIHOODS, Likelihood
from distmatch.distributions.points import Delta, DensityAt
from distmatch.errors import BadInput
from distmatch.networks.critic import FlatCritic, ImageCritic
from distmatch.networks.encoder import Encoder
from distmatch.networks.families import dcgan, mlp
from distmatch.networks.families.dcgan import DCGANOptions
from distmatch.networks.families.family import Family
from distmatch.networks.families.mlp import MLPOptions, check_sizes
from distmatch.networks.inputs import full
from distmatch.networks.layers.flow_couplings import (
    ActNorm,
    Coupling,
    checkerboard,
    coupling_net,
    rows_of_squares,
)
from distmatch.networks.layers.flow_layers import Bijection, Chain, FactorOut, Flatten, Logit, Squeeze
from distmatch.networks.posteriors import Posterior
from distmatch.networks.shapes import Shapes


@dataclass(frozen=True)
class RealNVPOptions:
    """Sizes of a RealNVP decoder, and of the encoder and critics that go with it.

    Encoder and critics are dcgan's where it has nets for the image, and mlp's otherwise.

    Arguments:
        width: maps (units, for points) of the coupling nets; doubled by each squeeze.
        blocks: residual blocks of each coupling net.
        couplings: of each mask, per scale; one more on the last scale.
        scales: 1 + the number of squeezes; of images only.
        alpha: α of the logit transform of data in [0, 1].
        act_norm: a learned scale and shift before each coupling. It stands for the published batch normalisation,
            which mixes the rows of a batch and keeps running statistics.
        critic_width: maps or units of encoder and critics; None: 64 maps or 400 units.
        critic_batch_norm: in encoder and critics.
        code_width: units per hidden layer of critics over z alone.
        code_depth: hidden layers of critics over z alone.

    Raises:
        BadInput: a size below 1, or α outside (0, ½).

    >>> RealNVPOptions().scales
    2
    """

    width: int = 32
    blocks: int = 2
    couplings: int = 3
    scales: int = 2
    alpha: float = 0.05
    act_norm: bool = True
    critic_width: int | None = None
    critic_batch_norm: bool = False
    code_width: int = 1000
    code_depth: int = 3

    def __post_init__(self) -> None:
        check_sizes(
            self, "width", "blocks", "couplings", "scales", "critic_width", "code_width", "code_depth"
        )
        if not 0 < self.alpha < 0.5:
            raise BadInput(f"alpha is {self.alpha!r}; give a number between 0 and 0.5, such as 0.05")


class RealNVP(nn.Module):
    """p(x) = N(z; 0, I) |det ∂z/∂x| at z = f⁻¹(x, y); draws are x̃ = f(z, y).

    The density is in the units of x: for data in [0, 1] the logit transform is counted. From dequantised data of
    256 levels, bits/dim = -log p(x) / (D ln 2) + 8.

    Arguments:
        body: from data to codes of the same size.
        shapes: of x, z and y.

    Reference: Dinh, Sohl-Dickstein and Bengio, arXiv:1605.08803; trained as a generator by Danihelka et al.,
    arXiv:1705.05263.

    >>> import torch
    >>> net = decoder(Shapes((2,), latent=2, bounded=False), LIKELIHOODS["implicit"], RealNVPOptions(width=8))
    >>> x = torch.zeros(5, 2)
    >>> net(torch.zeros(5, 2)).event_shape, net(x=x).log_prob(x).shape
    (torch.Size([2]), torch.Size([5]))
    """

    teacher_forced: ClassVar[bool] = True  # the data may be given as x, and its density comes back
    density_needs_code: ClassVar[bool] = False  # f need not be run where f⁻¹ alone is asked for

    def __init__(self, body: Bijection, shapes: Shapes) -> None:
        super().__init__()
        self.body, self.shapes, self.x_units = body, shapes, shapes.x_units

    def forward(
        self, z: Tensor | None = None, y: Tensor | None = None, x: Tensor | None = None
    ) -> Distribution:
        """The point f(z, y); given x, the distribution known by log p(x|y), with that point (where z is given) as
        its draw.

        Arguments:
            z: codes `(B, latent)`.
            y: labels `(B,)`, of a net built with them.
            x: data `(B, *x)`.

        Raises:
            BadInput: neither z nor x, or labels that do not fit.
        """
        if z is None and x is None:
            raise BadInput("a flow was given nothing to map: give it z to draw from it, or x for its density")
        draw = None if z is None else self.forward_with_log_det(z, y)[0]
        if x is not None:
            return DensityAt(self.log_prob(x, y), draw)
        assert draw is not None
        return Delta(draw, len(self.shapes.x))

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """log p(x|y) = log N(z; 0, I) + log|det ∂z/∂x|, in nats, `(B,)`."""
        z, log_det = self.inverse(x, y)
        return log_det - 0.5 * (z.square().sum(1) + self.shapes.x_size * math.log(2 * math.pi))

    def inverse(self, x: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """z `(B, latent)` of x `(B, *x)`, and log|det ∂z/∂x| `(B,)`."""
        return self.body.inverse(full(x), y)

    def forward_with_log_det(self, z: Tensor, y: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """x `(B, *x)` of z `(B, latent)`, and log|det ∂x/∂z| `(B,)`."""
        return self.body(full(z), y)


def decoder(shapes: Shapes, likelihood: Likelihood, options: RealNVPOptions) -> RealNVP:
    """The flow: for images multi-scale, for points couplings of even and odd coordinates.

    Data in [0, 1] passes through the logit first.

    Raises:
        BadInput: a likelihood of its own kind, a code of another size than the data, or too many scales.
    """
    if likelihood is not LIKELIHOODS["implicit"]:
        raise BadInput(
            f"real-nvp has an exact density of its own, and was given the likelihood {likelihood.description!r}: "
            "use 'implicit'"
        )
    if shapes.latent != shapes.x_size:
        raise BadInput(
            f"real-nvp maps a code onto data of the same size, and latent is {shapes.latent}: "
            f"set network.latent={shapes.x_size}"
        )
    first: list[Bijection] = [Logit(options.alpha)] if shapes.bounded else []
    image = len(shapes.x) == 3
    body = multi_scale(shapes.x, shapes.num_classes, options) if image else points(shapes, options)
    return RealNVP(Chain([*first, *body]), shapes)


def points(shapes: Shapes, options: RealNVPOptions) -> list[Bijection]:
    """2·couplings couplings, the even coordinates kept by every other one."""
    keeps = [checkerboard(shapes.x, bool(i % 2)) for i in range(2 * options.couplings)]
    return [b for k in keeps for b in coupling(k, shapes.x, shapes.num_classes, options.width, options)]


def multi_scale(
    shape: tuple[int, ...], num_classes: int, options: RealNVPOptions, level: int = 0
) -> list[Bijection]:
    """From `(B, C, H, W)` to `(B, C·H·W)`, from scale `level` on.

    Couplings of checkerboards; squeeze; couplings of channels; half of them becomes code, and the other half goes
    to the next scale. The last scale has checkerboards alone, one more than the others.

    Raises:
        BadInput: a side that cannot be halved so often.
    """
    c, h, w = shape
    width, last = options.width * 2**level, level == options.scales - 1
    if min(h, w) < 2 or (not last and (h % 2 or w % 2)):
        most = level + (min(h, w) > 1)
        raise BadInput(
            f"real-nvp with scales={options.scales} halves the image {options.scales - 1} times, and at {h}×{w} it "
            "cannot go on: " + (f"set network.scales={most}" if most else "use mlp for images of one row")
        )
    out: list[Bijection] = []
    for i in range(options.couplings + last):
        out += coupling(checkerboard(shape, bool(i % 2)), shape, num_classes, width, options)
    if last:
        return [*out, Flatten(shape)]
    squeezed = (4 * c, h // 2, w // 2)
    out.append(Squeeze())
    for i in range(options.couplings):
        out += coupling(rows_of_squares(4 * c, bool(i % 2)), squeezed, num_classes, 2 * width, options)
    rest = multi_scale((2 * c, h // 2, w // 2), num_classes, options, level + 1)
    return [*out, FactorOut(squeezed, Chain(rest))]


def coupling(
    keep: Tensor, shape: tuple[int, ...], num_classes: int, width: int, options: RealNVPOptions
) -> list[Bijection]:
    """One coupling, after a learned scale and shift (optional)."""
    net = coupling_net(shape[0] + num_classes, 2 * shape[0], width, options.blocks, image=len(shape) == 3)
    before: list[Bijection] = [ActNorm(shape)] if options.act_norm else []
    return [*before, Coupling(keep, net, shape, num_classes)]


def encoder(shapes: Shapes, posterior: Posterior, options: RealNVPOptions) -> Encoder:
    """q(z|x): dcgan's encoder where it has one for the image, mlp's otherwise."""
    if dcgan.fits(shapes.x):
        return dcgan.encoder(shapes, posterior, dcgan_options(options))
    return mlp.encoder(shapes, posterior, mlp_options(options))


def critic(shapes: Shapes, spaces: tuple[str, ...], options: RealNVPOptions) -> ImageCritic | FlatCritic:
    """Scores: dcgan's critic where it has one for the image, mlp's otherwise."""
    if dcgan.fits(shapes.x):
        return dcgan.critic(shapes, spaces, dcgan_options(options))
    return mlp.critic(shapes, spaces, mlp_options(options))


def dcgan_options(options: RealNVPOptions) -> DCGANOptions:
    """Return the options with which dcgan's encoder and critic are built."""
    return DCGANOptions(
        width=options.critic_width or DCGANOptions.width,
        batch_norm=options.critic_batch_norm,
        code_width=options.code_width,
        code_depth=options.code_depth,
    )


def mlp_options(options: RealNVPOptions) -> MLPOptions:
    """Return the options with which mlp's encoder and critic are built."""
    return MLPOptions(
        width=options.critic_width or MLPOptions.width,
        batch_norm=options.critic_batch_norm,
        code_width=options.code_width,
        code_depth=options.code_depth,
    )


REAL_NVP = Family(
    "real-nvp",
    "invertible, with an exact density; images and points; its critics are dcgan's or mlp's",
    "Dinh, Sohl-Dickstein and Bengio, arXiv:1605.08803",
    RealNVPOptions,
    encoder,
    decoder,
    critic,
    flow=True,
)
