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


def _bernoulli(law: Bernoulli, u: Tensor) -> Tensor:
    return (u >= 1 - law.probs).to(u.dtype)


def _categorical(law: PixelCategorical, u: Tensor) -> Tensor:
    below = law.logits.softmax(-1).cumsum(-1) <= u.unsqueeze(-1)
    return below.sum(-1).clamp(max=law.levels - 1).to(u.dtype) / (law.levels - 1)


def _quantized(law: QuantizedNormal, u: Tensor) -> Tensor:
    dequantised = Normal(law.loc, law.scale, validate_args=False).icdf(u)
    return (law.bins * dequantised).floor().clamp(0, law.bins - 1) / (law.bins - 1)


def _continuous(law: Normal | Laplace, u: Tensor) -> Tensor:
    edge = torch.finfo(u.dtype).eps
    return law.icdf(u.clamp(edge, 1 - edge))


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
"""(law, uniform noise) -> a draw, by the kind of law; never infinite."""


def inverse_cdf(law: Distribution, u: Tensor) -> Tensor:
    """The draw F⁻¹(u) of each value of a factorised law, for u in [0, 1), of the shape of `u`.

    Raises:
        BadInput: a kind of law that is not in `INVERSE_CDF`.

    >>> inverse_cdf(Bernoulli(torch.tensor(0.3)), torch.tensor([0.0, 0.69, 0.71]))
    tensor([0., 0., 1.])
    """
    if isinstance(law, Independent):
        law = law.base_dist
    if type(law) not in INVERSE_CDF:
        known = ", ".join(kind.__name__ for kind in INVERSE_CDF)
        raise BadInput(f"no draw from {type(law).__name__} is known here: take one of {known}")
    return INVERSE_CDF[type(law)](law, u)
