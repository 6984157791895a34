"""From stored bytes to what a model sees. Pure functions: all that is random comes in as `noise`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from distmatch.errors import BadInput, unknown


def to_unit(x: Tensor) -> Tensor:
    """x / 255: uint8 `(*, C, H, W)` to float32 in [0, 1]. Raises `BadInput` for any other dtype.

    >>> to_unit(torch.tensor([0, 51, 255], dtype=torch.uint8))
    tensor([0.0000, 0.2000, 1.0000])
    """
    if x.dtype != torch.uint8:
        raise BadInput(f"images are {x.dtype}, not stored bytes; give a uint8 tensor")
    return x.to(torch.float32) / 255


def binarise(x: Tensor, how: str = "none", noise: Tensor | None = None) -> Tensor:
    """Images in [0, 1] to images in {0, 1}, float, of the same shape `(*, C, H, W)`.

    how: `"none"` leaves x as it is; `"threshold"` is x > 1/2; `"dynamic"` is u < x, a fresh draw from
    Bernoulli(x), where `noise` is u ~ U[0, 1) of x's shape.

    Raises `BadInput` for another word, or for `"dynamic"` without noise of x's shape.

    Reference: Salakhutdinov & Murray, On the quantitative analysis of deep belief networks, 2008.

    >>> binarise(torch.tensor([0.2, 0.8]), "threshold")
    tensor([0., 1.])
    >>> binarise(torch.tensor([0.2, 0.8]), "dynamic", torch.tensor([0.1, 0.9]))
    tensor([1., 0.])
    """
    if how == "none":
        return x
    if how == "threshold":
        return (x > 0.5).to(x.dtype)
    if how == "dynamic":
        return (_noise_like(x, noise) < x).to(x.dtype)
    raise unknown("binarisation", how, ("none", "threshold", "dynamic"))


def dequantise(x: Tensor, noise: Tensor) -> Tensor:
    """(255 x + u) / 256: a density on [0, 1] whose mean over u, in log, bounds the bytes' log-probability.

    x: `(*, C, H, W)` in {0, 1/255, ..., 1}. noise: u ~ U[0, 1) of x's shape; raises `BadInput` otherwise.
    In float32 a white pixel's largest noise (one in 2^17) rounds to exactly 1.

    Reference: Theis, van den Oord & Bethge, A note on the evaluation of generative models, 2016.

    >>> dequantise(torch.tensor([0.0, 1.0]), torch.tensor([0.5, 0.0]))
    tensor([0.0020, 0.9961])
    """
    return (255 * x + _noise_like(x, noise)) / 256


@dataclass(frozen=True)
class Preparation:
    """A named way to prepare images in [0, 1]: `apply(x, noise)` keeps the shape.

    needs_noise: whether `noise`, u ~ U[0, 1) of x's shape, must be given.
    """

    apply: Callable[[Tensor, Tensor | None], Tensor]
    description: str
    needs_noise: bool = False


PREPARATIONS: dict[str, Preparation] = {
    "none": Preparation(lambda x, noise: x, "x / 255 as it is"),
    "threshold": Preparation(lambda x, noise: binarise(x, "threshold"), "1 where x > 1/2, else 0"),
    "dynamic": Preparation(
        lambda x, noise: binarise(x, "dynamic", noise), "a fresh draw from Bernoulli(x) at each step", True
    ),
    "dequantise": Preparation(
        lambda x, noise: dequantise(x, _noise_like(x, noise)), "(255 x + u) / 256, for densities", True
    ),
}


def _noise_like(x: Tensor, noise: Tensor | None) -> Tensor:
    if noise is None or noise.shape != x.shape:
        got = "none was given" if noise is None else f"it is {tuple(noise.shape)}"
        raise BadInput(f"the uniform noise must have the images' shape {tuple(x.shape)}; {got}")
    return noise
