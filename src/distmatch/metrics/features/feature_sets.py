"""Checks and description of two sets of features, for the distances between them."""

from __future__ import annotations

import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.checks import check_apart, check_scales, checked


def checked_sets(
    real: Tensor, fake: Tensor, *, least: int = 2, dtype: torch.dtype | None = torch.float64
) -> tuple[Tensor, Tensor]:
    """Both (n, d) with one d, as `checked` leaves them.

    Raises:
        BadInput: shapes, fewer than `least` rows, NaN, numbers of features that differ.

    >>> checked_sets(torch.zeros(5, 2), torch.zeros(5, 3))
    Traceback (most recent call last):
    distmatch.errors.BadInput: real has 2 features and fake has 3; use one feature net
    """
    check_apart(real, fake, ("real", "fake"))
    real = checked(real, "real", "n, d", least=least, dtype=dtype)
    fake = checked(fake, "fake", "n, d", least=least, dtype=dtype)
    if real.shape[1] != fake.shape[1]:
        raise BadInput(f"real has {real.shape[1]} features and fake has {fake.shape[1]}; use one feature net")
    check_scales(real, fake, ("real", "fake"))
    return real, fake


def described(real: Tensor, fake: Tensor, features: str) -> str:
    """The beginning of `how`: whose features, and how many.

    >>> described(torch.zeros(5, 2), torch.zeros(4, 2), "pixels")
    'features of pixels; 5 real and 4 fake, d = 2'
    """
    by = f"features of {features}" if features else "features as given"
    return f"{by}; {len(real)} real and {len(fake)} fake, d = {real.shape[1]}"
