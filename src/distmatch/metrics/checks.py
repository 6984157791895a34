"""Checks of a metric's tensors, counts and distributions, before it computes anything."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution

from distmatch.errors import BadInput


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
