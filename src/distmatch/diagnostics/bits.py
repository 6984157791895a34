"""Bits per dimension of a model that knows log p(x)."""

from __future__ import annotations

import math

from torch import Tensor

from distmatch.diagnostics.checks import at_least, checked
from distmatch.diagnostics.estimate import Estimate


def bits_per_dim(log_prob: Tensor, dimensions: int, grey_levels: int | None = None) -> Estimate:
    """-log₂ p(x) / D, with log₂ of the grey levels added where p is a density of dequantised data on [0, 1].

    A density p̃ of x̃ = (k + u)/K, k one of K levels and u uniform on [0, 1), bounds the levels' probability:
    log P(k) ≥ E_u log p̃(x̃) - D log K. So the figure for such data is an upper bound of the bits that code them; the
    uniform density has log₂ K, 8 for bytes.

    Args:
        log_prob: log p(x) in nats, (n,), n ≥ 2.
        dimensions: D.
        grey_levels: K for a density on [0, 1]; None where log_prob is of the levels themselves, or of points.

    Raises:
        BadInput: NaN, shapes, counts below one.

    Reference: Theis, van den Oord and Bethge, 1511.01844, section 3.1.

    >>> import torch
    >>> bits_per_dim(torch.zeros(10), dimensions=784, grey_levels=256).value
    8.0
    """
    values = checked(log_prob, "log_prob", "n")
    at_least(1, dimensions=dimensions)
    offset = 0.0 if grey_levels is None else math.log2(grey_levels)
    how = (
        "exact; error over examples"
        if grey_levels is None
        else f"density of data dequantised with uniform noise, plus log2 {grey_levels}; error over examples"
    )
    return Estimate.mean(offset - values / (dimensions * math.log(2)), "bits per dimension", how)
