"""Gated PixelCNN: a decoder that knows the pixels before each pixel, and, where it is given one, a code.

log p(x|z, y) = Σ_i log p(x_i | x_{<i}, z, y), over the sub-pixels in the order of rows, columns and colours. In
training all terms come from one pass over x (teacher forcing); draws are made one sub-pixel after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F

from distmatch.distributions.inverse_cdf import inverse_cdf
from distmatch.distributions.likelihoods import LIKELIHOODS, Likelihood
from distmatch.errors import BadInput, unknown
from distmatch.networks.critic import FlatCritic, ImageCritic
from distmatch.networks.decoder import Decoder
from distmatch.networks.encoder import Encoder
from distmatch.networks.families import dcgan, mlp
from distmatch.networks.families.dcgan import DCGANOptions
from distmatch.networks.families.family import Family
from distmatch.networks.families.mlp import MLPOptions, check_sizes
from distmatch.networks.inputs import centred, full
from distmatch.networks.layers.gated import GatedLayer, PointMap, SpatialMap, gate
from distmatch.networks.layers.masked import RowConv, colour_groups
from distmatch.networks.posteriors import Posterior
from distmatch.networks.shapes import Shapes, append_labels

CONDITIONING = ("bias", "spatial")


@dataclass(frozen=True)
class PixelCNNOptions:
    """Sizes of a gated PixelCNN, and of the encoder and critics beside it.

    A pixel's distribution sees `layers · (kernel // 2)` rows above it and as many columns to its left: few make a weak,
    local decoder that needs its code; many make a strong one that may do without.

    Arguments:
        width: maps of each of the two stacks; at least one per colour.
        layers: gated layers, the first with mask A.
        kernel: the side of the convolutions before masking; odd.
        conditioning: how z and y enter each layer: `"bias"`, the same for all pixels, or `"spatial"`, a map.
        uses_code: False makes a model of its own, p(x) or p(x|y), that ignores z.
        encoder_width: of encoder and of critics over x: maps (dcgan) or units (mlp); None: their default.
        batch_norm: in the encoder; None: its default.
        critic_batch_norm: in critics over x; None: as in the encoder.
        code_width: units per hidden layer of critics over z alone.
        code_depth: hidden layers of critics over z alone.

    Raises:
        BadInput: a size below 1, an even kernel, or a conditioning that is not known.

    >>> PixelCNNOptions(layers=2, kernel=3).reach
    2
    """

    width: int = 32
    layers: int = 5
    kernel: int = 5
    conditioning: str = "bias"
    uses_code: bool = True
    encoder_width: int | None = None
    batch_norm: bool | None = None
    critic_batch_norm: bool | None = None
    code_width: int = 1000
    code_depth: int = 3

    def __post_init__(self) -> None:
        check_sizes(self, "width", "layers", "kernel", "encoder_width", "code_width", "code_depth")
        if self.kernel % 2 == 0 or self.kernel < 3:
            raise BadInput(f"kernel is {self.kernel}: a PixelCNN needs an odd one of at least 3")
        if self.conditioning not in CONDITIONING:
            raise unknown("conditioning", self.conditioning, CONDITIONING)

    @property
    def reach(self) -> int:
        """Rows above, and columns to the left, that a pixel's distribution can depend on."""
        return self.layers * (self.kernel // 2)


class GatedPixelCNN(nn.Module):
    """The layers: from x and the codes to the raw parameters of each sub-pixel's distribution.

    Arguments:
        shapes: of x, z and y.
        channels: raw parameters per sub-pixel.
        options: the sizes.
    """

    def __init__(self, shapes: Shapes, channels: int, options: PixelCNNOptions) -> None:
        super().__init__()
        colours, width = shapes.x[0], options.width
        inputs = shapes.latent * options.uses_code + shapes.num_classes
        spatial = options.conditioning == "spatial"
        context = (width if spatial else inputs) if inputs else 0
        self.prepare = centred(shapes)
        self.context: nn.Module | None = None
        if inputs:
            self.context = SpatialMap(inputs, width, (shapes.x[1], shapes.x[2])) if spatial else PointMap()
        self.layers = nn.ModuleList(
            GatedLayer(i == 0, colours, width, options.kernel, context) for i in range(options.layers)
        )
        groups = colour_groups(width, colours)
        self.hidden = RowConv(groups, groups, 0, own=True)
        self.last = RowConv(groups, colour_groups(colours * channels, colours), 0, own=True)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Raw parameters `(B, C·channels, H, W)` of x `(B, C, H, W)` given codes `(B, latent + num_classes)`."""
        s = None if self.context is None else self.context(code)
        v = h = self.prepare(x)
        for layer in self.layers:
            v, h = layer(v, h, s)
        return self.last(F.relu(self.hidden(F.relu(h))))

    def draw(self, code: Tensor, noise: Tensor, pixel: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
        """x drawn one sub-pixel after the other; each feature of each stack is computed when it is first known.

        Arguments:
            code: `(B, latent + num_classes)`.
            noise: what `pixel` draws with, `(B, C, H, W)`.
            pixel: raw parameters `(B, C·channels)` and noise `(B, C)` of one pixel to its values `(B, C)`.

        Returns:
            `(B, C, H, W)`.
        """
        x, s = torch.zeros_like(noise), None if self.context is None else self.context(code)
        batch, colours, height, width = x.shape
        layers: list[GatedLayer] = [*self.layers]  # type: ignore[list-item]
        reach, maps = layers[0].row.reach, [colours, *(a.out.out_channels for a in layers[:-1])]
        weights = [m.one_pixel() for a in layers for m in (a.row, a.out)]
        weights += [self.hidden.one_pixel(), self.last.one_pixel()]
        above = [x.new_zeros(batch, m, reach + height, width + 2 * reach) for m in maps]
        for i in range(height):
            beside = []
            for k, layer in enumerate(layers):
                seen = above[k][:, :, i : i + reach + layer.column.own]
                here = s if s is None or s.shape[2] == 1 else s[:, :, i : i + 1]
                v, extra = layer.vertical(layer.column.row(seen), here)
                if k + 1 < len(layers):
                    above[k + 1][:, :, i + reach, reach : reach + width] = v[:, :, 0]
                beside.append(extra[:, :, 0].movedim(2, 0).contiguous())
            row = [x.new_zeros(batch, reach + width, m) for m in maps]
            for j in range(width):
                for colour in range(colours):
                    raw = pixel_features(row, beside, weights, j, reach)
                    value = pixel(raw, noise[:, :, i, j])[:, colour]
                    x[:, colour, i, j] = value
                    row[0][:, reach + j, colour] = self.prepare(value)
            above[0][:, :, i + reach, reach : reach + width] = self.prepare(x[:, :, i])
        return x


def pixel_features(
    row: list[Tensor], beside: list[Tensor], weights: list[tuple[Tensor, Tensor | None]], j: int, reach: int
) -> Tensor:
    """The raw parameters of pixel j of a row; keeps each layer's h of that pixel in `row`.

    Arguments:
        row: per layer what its row convolution sees, `(B, reach + W, maps)`, known up to pixel j, or in the first
            layer up to the colours of pixel j that are known.
        beside: per layer what v and the code add, `(W, B, 2 width)`.
        weights: of each layer's `row` and `out`, and of the last two layers.
        j: the column.
        reach: of the row convolutions.

    Returns:
        `(B, C·channels)`.
    """
    h = row[0][:, 0]
    for k, extra in enumerate(beside):
        near = row[k][:, j : j + reach + 1].flatten(1)
        new = F.linear(gate(F.linear(near, *weights[2 * k]) + extra[j]), *weights[2 * k + 1])
        h = h + new if k else new
        if k + 1 < len(beside):
            row[k + 1][:, reach + j] = h
    return F.linear(F.relu(F.linear(F.relu(h), *weights[-2])), *weights[-1])


class PixelDecoder(Decoder):
    """p(x|z, y) = Π_i p(x_i | x_{<i}, z, y); owns `log_scale` where the likelihood has one learned scale.

    `forward` is teacher forced: it is given x, and its distribution is that of each sub-pixel given the ones before
    it in that x. So its log-probability at that same x is log p(x|z, y), and its mean is one step's guess, no draw; for
    draws there is `ancestral`.

    Arguments:
        body: the layers.
        shapes: of x, z and y.
        likelihood: the distribution made from the body's output.
        uses_code: z enters.

    Raises:
        BadInput: the likelihood is implicit, or cannot describe unbounded data.
    """

    teacher_forced: ClassVar[bool] = True
    body: GatedPixelCNN

    def __init__(self, body: GatedPixelCNN, shapes: Shapes, likelihood: Likelihood, uses_code: bool) -> None:
        if likelihood is LIKELIHOODS["implicit"]:
            raise BadInput(
                "a PixelCNN has no implicit form, since it is a product of distributions: "
                "take 'bernoulli', 'categorical' or "
                "another explicit likelihood"
            )
        super().__init__(body, shapes, likelihood)
        self.uses_code = self.density_needs_code = uses_code

    def forward(self, z: Tensor | None, y: Tensor | None = None, x: Tensor | None = None) -> Distribution:
        """The distribution of each sub-pixel given those before it: batch shape `(B,)`, event shape `shapes.x`.

        Arguments:
            z: `(B, latent)`; ignored, and may be None, where `uses_code` is False.
            y: classes `(B,)` where there are labels.
            x: the data, `(B, C, H, W)`.

        Raises:
            BadInput: x is missing, or z where it is used.
        """
        if x is None:
            raise BadInput(
                "a PixelCNN's distribution of a pixel needs the pixels before it: "
                "give it x (teacher forcing), or draw with "
                "`ancestral`"
            )
        return self._symbol(self.body(x, self._code(z, y, x)), self.shapes.x)

    def ancestral(self, z: Tensor | None, noise: Tensor, y: Tensor | None = None) -> Tensor:
        """A draw x ~ p(x|z, y): each sub-pixel by the inverse of its distribution function, in their order.

        A loop over the pixels with tensors written in place: run it eagerly, outside vmap and compile.

        Arguments:
            z: `(B, latent)`; ignored, and may be None, where `uses_code` is False.
            noise: uniform on [0, 1), `(B, C, H, W)`.
            y: classes `(B,)` where there are labels.

        Returns:
            `(B, C, H, W)`.

        Raises:
            BadInput: noise of another shape, or z missing where it is used.
        """
        if noise.shape[1:] != self.shapes.x:
            raise BadInput(f"the noise has shape {tuple(noise.shape)}; give (B, {str(self.shapes.x)[1:]}")

        def pixel(raw: Tensor, u: Tensor) -> Tensor:
            distribution = self._symbol(raw[:, :, None, None], (self.shapes.x[0], 1, 1))
            return inverse_cdf(distribution, u[:, :, None, None])[:, :, 0, 0]

        with torch.no_grad():
            return self.body.draw(self._code(z, y, noise), noise, pixel)

    def _symbol(self, raw: Tensor, x_shape: tuple[int, ...]) -> Distribution:
        return self.likelihood(full(raw), x_shape, self.shapes.bounded, self.log_scale)

    def _code(self, z: Tensor | None, y: Tensor | None, like: Tensor) -> Tensor:
        if not self.uses_code:
            z = like.new_zeros(like.shape[0], 0)
        if z is None:
            raise BadInput("this PixelCNN has a code: give it z, or build it with uses_code=False")
        return append_labels(z, y, self.shapes.num_classes)


def decoder(shapes: Shapes, likelihood: Likelihood, options: PixelCNNOptions) -> PixelDecoder:
    """p(x|z) of images of any size, pixel by pixel.

    Raises:
        BadInput: data that is not an image, fewer maps than colours, or an implicit likelihood.

    >>> net = decoder(Shapes((1, 4, 4), latent=2), LIKELIHOODS["bernoulli"], PixelCNNOptions(width=4, layers=2))
    >>> x = net.ancestral(torch.zeros(5, 2), torch.rand(5, 1, 4, 4))
    >>> net(torch.zeros(5, 2), x=x).log_prob(x).shape
    torch.Size([5])
    """
    if len(shapes.x) != 3:
        raise BadInput(f"a PixelCNN needs images (C, H, W), not data of shape {shapes.x}: use mlp")
    if options.width < shapes.x[0]:
        raise BadInput(
            f"width is {options.width} for {shapes.x[0]} colours: a PixelCNN needs at least one map per colour"
        )
    body = GatedPixelCNN(shapes, likelihood.channels, options)
    return PixelDecoder(body, shapes, likelihood, options.uses_code)


def encoder(shapes: Shapes, posterior: Posterior, options: PixelCNNOptions) -> Encoder:
    """q(z|x): dcgan's for the sizes of image that it knows, else mlp's."""
    if dcgan.fits(shapes.x):
        return dcgan.encoder(shapes, posterior, DCGANOptions(**others_options(options)))
    return mlp.encoder(shapes, posterior, MLPOptions(**others_options(options)))


def critic(shapes: Shapes, spaces: tuple[str, ...], options: PixelCNNOptions) -> ImageCritic | FlatCritic:
    """Scores by dcgan's critic for the sizes of image that it knows, else by mlp's."""
    if dcgan.fits(shapes.x):
        return dcgan.critic(shapes, spaces, DCGANOptions(**others_options(options)))
    return mlp.critic(shapes, spaces, MLPOptions(**others_options(options)))


def others_options(options: PixelCNNOptions) -> dict[str, Any]:
    """The options of another family's encoder and critics, without those that stay that family's default.

    >>> others_options(PixelCNNOptions(encoder_width=7))
    {'code_width': 1000, 'code_depth': 3, 'width': 7}
    """
    given = {
        "code_width": options.code_width,
        "code_depth": options.code_depth,
        "width": options.encoder_width,
        "batch_norm": options.batch_norm,
        "critic_batch_norm": options.critic_batch_norm,
    }
    return {name: value for name, value in given.items() if value is not None}


PIXELCNN = Family(
    "pixelcnn",
    "gated and autoregressive, with or without a code; images",
    "van den Oord et al., arXiv:1606.05328; with a code Gulrajani et al., arXiv:1611.05013",
    PixelCNNOptions,
    encoder,
    decoder,
    critic,
    autoregressive=True,
)
