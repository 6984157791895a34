"""Checks of a metric's tensors, counts and distributions, before it computes anything."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from distmatch.errors import BadInput, Doubt

BEYOND = 0.25  # of the range of images: a decoder may overshoot black and white by less
APART = 200.0  # times larger: the values of one side are probably in other units


def checked(
    values: Tensor, name: str, shape: str, *, least: int = 2, dtype: torch.dtype | None = torch.float64
) -> Tensor:
    """Return `values`, detached and in `dtype` (None leaves it), if they have the shape and are finite.

    `shape` names the dimensions, such as `"n, D"`; the first must hold at least `least` entries.

    Raises:
        BadInput: wrong number of dimensions, too few entries, an empty dimension, NaN or infinity.

    >>> checked(torch.zeros(3), "codes", "n, D")
    Traceback (most recent call last):
    distmatch.errors.BadInput: codes must have shape (n, D); got (3,)
    """
    if not isinstance(values, Tensor):
        raise BadInput(f"{name} must be a tensor of shape ({shape}); got {type(values).__name__}")
    values = values.detach()
    got = tuple(values.shape)
    if values.ndim != len(shape.split(",")):
        raise BadInput(f"{name} must have shape ({shape}); got {got}")
    if values.numel() == 0 or len(values) < least:
        raise BadInput(f"{name} of shape {got} is too small; give at least {least} rows, none of them empty")
    if dtype is not None:
        values = values.to(dtype)
    if not torch.isfinite(values).all():
        raise BadInput(f"{name} holds NaN or infinite values")
    return values


def same_shape(a: Tensor, b: Tensor, names: str) -> None:
    """Raise `BadInput` unless both have one shape.

    >>> same_shape(torch.zeros(2), torch.zeros(3), "x and x_rec")
    Traceback (most recent call last):
    distmatch.errors.BadInput: x and x_rec must have the same shape; got (2,) and (3,)
    """
    if a.shape != b.shape:
        raise BadInput(f"{names} must have the same shape; got {tuple(a.shape)} and {tuple(b.shape)}")


def at_least(least: int, **counts: int) -> None:
    """Raise `BadInput` where a count is below `least`.

    >>> at_least(1, batch_size=0)
    Traceback (most recent call last):
    distmatch.errors.BadInput: batch_size is 0; give at least 1
    """
    for name, count in counts.items():
        if count < least:
            raise BadInput(f"{name} is {count}; give at least {least}")


def as_distribution(value: Any, who: str, batch: int | None = None) -> Distribution:
    """Return `value` if it is a distribution (over a batch of that size); raise `BadInput` about `who` otherwise."""
    if not isinstance(value, Distribution):
        raise BadInput(
            f"{who} returned {type(value).__name__}; it must return a torch.distributions.Distribution"
        )
    shape = tuple(value.batch_shape + value.event_shape)
    if batch is not None and shape[:1] != (batch,):
        raise BadInput(f"{who} returned a distribution of shape {shape} for a batch of {batch}")
    return value


def check_apart(a: Tensor, b: Tensor, names: tuple[str, str] = ("a", "b")) -> None:
    """Raise `BadInput` where both sides of a comparison are one tensor, whose distance to itself says nothing.

    >>> x = torch.zeros(3)
    >>> check_apart(x, x)
    Traceback (most recent call last):
    distmatch.errors.BadInput: a and b are the same tensor; give two sets of draws (for a floor, two halves of one)
    """
    if a is b or (
        a.data_ptr() == b.data_ptr() and a.shape == b.shape and a.stride() == b.stride() and a.numel()
    ):
        raise BadInput(
            f"{names[0]} and {names[1]} are the same tensor; give two sets of draws (for a floor, two halves of one)"
        )


def check_scales(a: Tensor, b: Tensor, names: tuple[str, str] = ("a", "b")) -> None:
    """Warn of two sides whose values are of such different sizes that one is probably in other units.

    Warns:
        Doubt: the largest absolute values differ by a factor above 200, as those of bytes and of [0, 1].
    """
    sizes = [float(v.detach().abs().max()) for v in (a, b)]
    if min(sizes) > 0 and max(sizes) / min(sizes) > APART:
        warnings.warn(
            f"{names[0]} has values up to {sizes[0]:.3g} and {names[1]} up to {sizes[1]:.3g}: are both in one unit?",
            Doubt,
            stacklevel=3,
        )


def check_images(images: Tensor, image_range: tuple[float, float], which: str) -> None:
    """Raise `BadInput` for images that lie beyond black and white by more than a decoder overshoots.

    >>> check_images(torch.full((2, 1, 4, 4), 255.0), (0.0, 1.0), "samples")
    Traceback (most recent call last):
    distmatch.errors.BadInput: samples lie in [255, 255], and images were said to lie in [0, 1]: give image_range, or
    divide by 255
    """
    low, high = float(images.min()), float(images.max())
    black, white = image_range
    if low < black - BEYOND * (white - black) or high > white + BEYOND * (white - black):
        raise BadInput(
            f"{which} lie in [{low:g}, {high:g}], and images were said to lie in [{black:g}, {white:g}]: "
            f"give image_range, or {'divide by 255' if high > 2 else 'bring them there'}"
        )
    if images.ndim == 4 and images.shape[1] not in (1, 2, 3, 4) and images.shape[-1] in (1, 3, 4):
        raise BadInput(
            f"{which} have shape {tuple(images.shape)}, which looks like (n, h, w, c): give (n, c, h, w), "
            "as of images.movedim(-1, 1)"
        )


def check_labels(x: Tensor, y: Tensor | None, which: str, *, classes: bool = False) -> None:
    """Raise `BadInput` unless there is one label for each example; labels of other examples cannot be seen.

    Args:
        x: (n, *).
        y: (n, *), or None.
        which: the data, for the sentence.
        classes: whether they must be classes, whole numbers (n,) from 0.

    >>> check_labels(torch.zeros(3, 2), torch.tensor([0, 1]), "the held-out data")
    Traceback (most recent call last):
    distmatch.errors.BadInput: the held-out data have 3 examples and 2 labels
    """
    if y is None:
        return
    if len(y) != len(x):
        raise BadInput(f"{which} have {len(x)} examples and {len(y)} labels")
    if classes and (y.ndim != 1 or bool((y != y.long()).any()) or int(y.min()) < 0):
        raise BadInput(
            f"the labels of {which} have shape {tuple(y.shape)} and values from {float(y.min()):g} to "
            f"{float(y.max()):g}; give classes 0, 1, ... of shape ({len(x)},)"
        )
