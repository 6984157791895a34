"""Encoder, decoder and critics around a family's layers: from tensors to laws and scores."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from distmatch.distributions.likelihoods import Likelihood
from distmatch.errors import BadInput
from distmatch.networks.posteriors import POSTERIORS as POSTERIORS
from distmatch.networks.posteriors import Posterior
from distmatch.networks.posteriors import gaussian_posterior as gaussian_posterior
from distmatch.networks.shapes import Shapes, with_labels


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


def centred(shapes: Shapes) -> nn.Module:
    """Return the first layer of every built-in net: data in [0, 1] goes to [-1, 1], other data stays.

    So penalties, instance noise, lenses, slopes and distances of pictures are in units of [-1, 1], as in the papers
    that state their constants; each net says so by `x_units`.
    """
    return Centre() if shapes.bounded else nn.Identity()


class Encoder(nn.Module):
    """q(z|x) = posterior(body(prepare(x), y), noise); `noise_size` is the posterior's, 0 where it takes none.

    Arguments:
        prepare: what is done to x before the labels join it (centre, flatten).
        body: to `(B, latent · posterior.channels)`.
        shapes: of x, z and y.
        posterior: the law made from the body's output; its weights, where it has any, are in `head`.
    """

    def __init__(self, prepare: nn.Module, body: nn.Module, shapes: Shapes, posterior: Posterior) -> None:
        super().__init__()
        self.prepare, self.body = prepare, body
        self.shapes, self.posterior, self.x_units = shapes, posterior, shapes.x_units
        self.head, self.noise_size = posterior.head(shapes), posterior.noise_size

    def forward(self, x: Tensor, y: Tensor | None = None, noise: Tensor | None = None) -> Distribution:
        """The law of z given x `(B, *x)`: batch shape `(B,)`, event shape `(latent,)`.

        Arguments:
            x: data.
            y: labels `(B,)`, exactly where the shapes have them.
            noise: ε ~ N(0, I), `(B, noise_size)`, exactly where the posterior takes it.
        """
        if (noise is None) != (self.noise_size == 0):
            raise BadInput(
                f"this encoder's posterior takes noise of size {self.noise_size}: "
                + ("leave the noise out" if self.noise_size == 0 else "give it noise (B, noise_size)")
            )
        raw = full(self.body(with_labels(self.prepare(x), y, self.shapes.labels)))
        return self.head(raw) if noise is None else self.head(raw, noise)


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
        self.x_units = shapes.x_units
        start = torch.tensor(likelihood.initial_log_scale)
        self.log_scale = nn.Parameter(start) if likelihood.learned_scale else None

    def forward(self, z: Tensor, y: Tensor | None = None) -> Distribution:
        """The law of x given z `(B, latent)`: batch shape `(B,)`, event shape `shapes.x`."""
        raw = full(self.body(with_labels(z, y, self.shapes.labels)))
        return self.likelihood(raw, self.shapes.x, self.shapes.bounded, self.log_scale)


class FlatCritic(nn.Module):
    """A critic of any tuple of variables, flattened and set beside one another: scores `(B,)`.

    Arguments:
        body: from the sum of the sizes (and labels) to `(B, 1)`; all but its last module make the features.
        shapes: of x, z and y.
        spaces: `"x"` or `"z"` per input.
    """

    def __init__(self, body: nn.Sequential, shapes: Shapes, spaces: tuple[str, ...]) -> None:
        super().__init__()
        self.prepare, self.body, self.shapes, self.spaces = centred(shapes), body, shapes, spaces
        self.x_units = shapes.x_units

    def forward(self, *inputs: Tensor, y: Tensor | None = None, hidden: bool = False) -> Tensor:
        """Scores `(B,)`, raw, of inputs `(B, *x)` or `(B, latent)` in the order of `spaces`.

        With `hidden`, the features `(B, F)` that the last layer is given.
        """
        check_inputs(inputs, self.spaces)
        seen = [self.prepare(v) if s == "x" else v for v, s in zip(inputs, self.spaces, strict=True)]
        flat = torch.cat([v.flatten(1) for v in seen], 1) if len(seen) > 1 else seen[0].flatten(1)
        *inner, last = self.body
        h = with_labels(flat, y, self.shapes.labels)
        for layer in inner:
            h = layer(h)
        return full(h if hidden else last(h).squeeze(-1))


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
        self.shapes, self.spaces, self.x_units = shapes, spaces, shapes.x_units

    def forward(self, *inputs: Tensor, y: Tensor | None = None, hidden: bool = False) -> Tensor:
        """Scores `(B,)`, raw, of inputs `(B, C, H, W)` or `(B, latent)` in the order of `spaces`.

        With `hidden`, what the head is given: the features `(B, F)`, or `(B, F + G)` with codes.
        """
        check_inputs(inputs, self.spaces)
        images = [v for v, s in zip(inputs, self.spaces, strict=True) if s == "x"]
        x = self.prepare(torch.cat(images, 1) if len(images) > 1 else images[0])
        h = self.features(with_labels(x, y, self.shapes.labels))
        if self.code is not None:
            codes = [v for v, s in zip(inputs, self.spaces, strict=True) if s == "z"]
            h = torch.cat([h, self.code(torch.cat(codes, 1))], 1)
        return full(h if hidden else self.head(h).squeeze(-1))


def check_inputs(inputs: tuple[Tensor, ...], spaces: tuple[str, ...]) -> None:
    """Raises `BadInput` where a critic is given more or fewer variables than it was built for.

    >>> check_inputs((torch.zeros(1, 2),), ("z",))
    """
    if len(inputs) != len(spaces):
        raise BadInput(f"this critic compares ({', '.join(spaces)}) and was given {len(inputs)} inputs")
