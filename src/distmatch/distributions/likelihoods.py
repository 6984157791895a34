"""The distribution over x that a decoder's raw output becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Laplace, Normal
from torch.nn import functional as F

from distmatch.distributions.dequantised import QuantizedNormal
from distmatch.distributions.pixels import LogitBernoulli, PixelCategorical
from distmatch.distributions.points import Delta
from distmatch.errors import BadInput

PIXEL_SCALE_FLOOR = 1e-4  # of a scale that a net gives per pixel: a fortieth of a grey level


@dataclass(frozen=True)
class Likelihood:
    """The distribution over x that a decoder's raw output becomes.

    Calling it with raw output `(B, C·channels, H, W)` or `(B, D·channels)` gives an `Independent` distribution with
    event shape `x_shape`. A location is a = raw on unbounded data, and σ(2a) = (tanh a + 1) / 2 on data in
    [0, 1]. Logits (Bernoulli, categorical) are raw.

    Arguments:
        description: one line for the reader.
        channels: raw channels per data channel.
        distribution: raw `(B, *x_shape, channels)`, bounded, log_scale -> the distribution of each data channel.
        learned_scale: the decoder owns one `log_scale`, starting at `initial_log_scale`.
        needs_dequantisation: `log_likelihood` wants uniform noise.
        binary: a probability only where x is 0 or 1.
        unbounded: also a distribution for data outside [0, 1].

    >>> distribution = LIKELIHOODS["bernoulli"](torch.zeros(5, 1, 8, 8), (1, 8, 8))
    >>> distribution.batch_shape, distribution.event_shape
    (torch.Size([5]), torch.Size([1, 8, 8]))
    """

    description: str
    channels: int
    distribution: Callable[[Tensor, bool, Tensor | None], Distribution]
    learned_scale: bool = False
    initial_log_scale: float = 0.0
    needs_dequantisation: bool = False
    binary: bool = False
    unbounded: bool = True

    def __call__(
        self, raw: Tensor, x_shape: tuple[int, ...], bounded: bool = True, log_scale: Tensor | None = None
    ) -> Distribution:
        """The distribution over x, batch shape `(B,)`, event shape `x_shape`. Raises `BadInput` as `check` does."""
        self.check(bounded)
        if self.channels == 1:
            split = raw.reshape(raw.shape[0], *x_shape, 1)
        else:
            split = raw.unflatten(1, (x_shape[0], self.channels)).movedim(2, -1)
        return Independent(self.distribution(split, bounded, log_scale), len(x_shape), validate_args=False)

    def check(self, bounded: bool) -> None:
        """Raises `BadInput` where this distribution cannot describe the data."""
        if not (bounded or self.unbounded):
            raise BadInput(
                f"the likelihood {self.description!r} needs data in [0, 1], and this data is unbounded: "
                "use 'gaussian', 'laplace' or 'implicit'"
            )


def _first(raw: Tensor) -> Tensor:
    """The first channel; of a single one without `select`, whose gradient is a copy."""
    return raw.squeeze(-1) if raw.shape[-1] == 1 else raw[..., 0]


def _location(raw: Tensor, bounded: bool) -> Tensor:
    location = _first(raw)
    return torch.sigmoid(2 * location) if bounded else location


def _scale(raw: Tensor, log_scale: Tensor | None) -> Tensor:
    return torch.ones_like(_first(raw)) if log_scale is None else log_scale.exp()


def _bernoulli(raw: Tensor, bounded: bool, log_scale: Tensor | None) -> Distribution:
    return LogitBernoulli(_first(raw))


def _gaussian(raw: Tensor, bounded: bool, log_scale: Tensor | None) -> Distribution:
    return Normal(_location(raw, bounded), _scale(raw, log_scale), validate_args=False)


def _laplace(raw: Tensor, bounded: bool, log_scale: Tensor | None) -> Distribution:
    return Laplace(_location(raw, bounded), _scale(raw, log_scale), validate_args=False)


def _quantized(raw: Tensor, bounded: bool, log_scale: Tensor | None) -> Distribution:
    centre = (255 * _location(raw, bounded) + 0.5) / 256  # so that the distribution's mean is the location
    scale = F.softplus(raw[..., 1]) + PIXEL_SCALE_FLOOR if log_scale is None else log_scale.exp()
    return QuantizedNormal(centre, scale)


def _categorical(raw: Tensor, bounded: bool, log_scale: Tensor | None) -> Distribution:
    return PixelCategorical(raw)


def _implicit(raw: Tensor, bounded: bool, log_scale: Tensor | None) -> Distribution:
    return Delta(_location(raw, bounded))


def _linear(raw: Tensor, bounded: bool, log_scale: Tensor | None) -> Distribution:
    return Delta((_first(raw) + 1) / 2 if bounded else _first(raw))


LIKELIHOODS: Mapping[str, Likelihood] = MappingProxyType(
    {
        "bernoulli": Likelihood("Bernoulli", 1, _bernoulli, binary=True, unbounded=False),
        "gaussian": Likelihood("normal, one learned σ", 1, _gaussian, learned_scale=True),
        "laplace": Likelihood("Laplace, one learned scale", 1, _laplace, learned_scale=True),
        "quantized-normal": Likelihood(
            "quantized normal, one learned σ",
            1,
            _quantized,
            learned_scale=True,
            initial_log_scale=-2.0,
            needs_dequantisation=True,
            unbounded=False,
        ),
        "quantized-normal-per-pixel": Likelihood(
            "quantized normal, σ per pixel", 2, _quantized, needs_dequantisation=True, unbounded=False
        ),
        "categorical": Likelihood("categorical over 256 levels", 256, _categorical, unbounded=False),
        "implicit": Likelihood("implicit (a point mass)", 1, _implicit),
    }
)
"""The visible likelihoods, by the name that the command line takes."""

LINEAR = Likelihood("implicit (a point mass), linear", 1, _linear)
"""As implicit, but of a generator that ends in a linear layer: raw output in [-1, 1] is an image in [0, 1], and what
lies beyond stays beyond."""
