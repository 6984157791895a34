"""The standard deviation of a quantity over samples, with its error."""

from __future__ import annotations

import math

from torch import Tensor

from distmatch.diagnostics.checks import checked
from distmatch.diagnostics.estimate import Estimate


def spread(values: Tensor, unit: str = "", how: str = "") -> Estimate:
    """The standard deviation s of independent `values`, shape (n,), n ≥ 2.

    Its error is √Var(s²) / 2s with Var(s²) = (m₄ - s⁴ (n - 3)/(n - 1))/n, m₄ the fourth central moment: rough
    below n = 30 or so, and where tails are heavy. Values that are all the same have spread 0 with error 0.

    Raises:
        BadInput: another shape, fewer than two values, NaN or infinity.

    >>> import torch
    >>> print(spread(torch.tensor([-1.0, 1.0]).repeat(50)))
    1.0050 ± 0.0009 (n = 100)
    """
    values = checked(values, "values", "n")
    n = len(values)
    variance = float(values.var())
    fourth = float((values - values.mean()).pow(4).mean())
    of_variance = max(0.0, fourth - variance**2 * (n - 3) / (n - 1)) / n
    s = math.sqrt(variance)
    return Estimate(s, math.sqrt(of_variance) / (2 * s) if s > 0 else 0.0, n, unit, how)
