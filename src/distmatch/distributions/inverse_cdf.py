"""Draws from given uniform noise, by the inverse of a distribution's cumulative function."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Distribution, Independent, Laplace, Normal

from distmatch.distributions.dequantised import QuantizedNormal
from distmatch.distributions.pixels import LogitBernoulli, PixelCategorical
from distmatch.errors import BadInput


def _bernoulli(distribution: Bernoulli, u: Tensor) -> Tensor:
    return (u >= 1 - distribution.probs).to(u.dtype)


def _categorical(distribution: PixelCategorical, u: Tensor) -> Tensor:
    below = distribution.logits.softmax(-1).cumsum(-1) <= u.unsqueeze(-1)
    return below.sum(-1).clamp(max=distribution.levels - 1).to(u.dtype) / (distribution.levels - 1)


def _quantized(distribution: QuantizedNormal, u: Tensor) -> Tensor:
    dequantised = Normal(distribution.loc, distribution.scale, validate_args=False).icdf(u)
    return (distribution.bins * dequantised).floor().clamp(0, distribution.bins - 1) / (distribution.bins - 1)


def _continuous(distribution: Normal | Laplace, u: Tensor) -> Tensor:
    edge = torch.finfo(u.dtype).eps
    return distribution.icdf(u.clamp(edge, 1 - edge))


INVERSE_CDF: Mapping[type[Distribution], Callable[..., Tensor]] = MappingProxyType(
    {
        Bernoulli: _bernoulli,
        LogitBernoulli: _bernoulli,
        PixelCategorical: _categorical,
        QuantizedNormal: _quantized,
        Normal: _continuous,
        Laplace: _continuous,
    }
)
"""(distribution, uniform noise) -> a draw, by the kind of distribution; never infinite."""


def inverse_cdf(distribution: Distribution, u: Tensor) -> Tensor:
    """The draw F⁻¹(u) of each value of a factorised distribution, for u in [0, 1), of the shape of `u`.

    Raises:
        BadInput: a kind of distribution that is not in `INVERSE_CDF`.

    >>> inverse_cdf(Bernoulli(torch.tensor(0.3)), torch.tensor([0.0, 0.69, 0.71]))
    tensor([0., 0., 1.])
    """
    if isinstance(distribution, Independent):
        distribution = distribution.base_dist
    if type(distribution) not in INVERSE_CDF:
        known = ", ".join(kind.__name__ for kind in INVERSE_CDF)
        raise BadInput(f"no draw from {type(distribution).__name__} is known here: take one of {known}")
    return INVERSE_CDF[type(distribution)](distribution, u)
