"""The standard deviation of a quantity over samples, with its error."""

from __future__ import annotations

import math
from statistics import NormalDist

from torch import Tensor

from distmatch.metrics.checks import checked
from distmatch.metrics.estimate import Estimate


def spread(values: Tensor, unit: str = "", how: str = "") -> Estimate:
    """The standard deviation s of independent `values`, shape (n,), n ≥ 2.

    Its error is √Var(s²) / 2s with Var(s²) = (m₄ - s⁴ (n - 3)/(n - 1))/n, m₄ the fourth central moment. Its limits are
    Bonett's, √c s exp(±z e/2) with c = n/(n - z) and e = c √((γ - (n - 3)/n)/(n - 1)), γ the kurtosis about a trimmed
    mean: they cover 87 to 97 % of the time where n is 20 or more and tails are not much heavier than an exponential's.
    Values that are all the same have spread 0 with error 0.

    Raises:
        BadInput: another shape, fewer than two values, NaN or infinity.

    Reference: Bonett, Approximate confidence interval for standard deviation of nonnormal distributions (2006).

    >>> import torch
    >>> print(spread(torch.tensor([-1.0, 1.0]).repeat(50)))
    1.005 [0.998, 1.033] (n = 100)
    """
    values = checked(values, "values", "n")
    n = len(values)
    centred = values - values.mean()
    variance, fourth = float(values.var()), float(centred.pow(4).mean())
    if variance == 0:
        return Estimate(0.0, 0.0, n, unit, how)
    of_variance = max(0.0, fourth - variance**2 * (n - 3) / (n - 1)) / n
    s, z = math.sqrt(variance), NormalDist().inv_cdf(0.975)
    cut = int(n / (2 * math.sqrt(n - 4))) if n > 4 else 0
    trimmed = values.sort().values[cut : n - cut].mean()
    kurtosis = n * float((values - trimmed).pow(4).sum()) / float(centred.square().sum()) ** 2
    c = n / (n - z)
    reach = math.exp(z * c * math.sqrt(max(0.0, kurtosis - (n - 3) / n) / (n - 1)) / 2)
    middle = math.sqrt(c) * s
    return Estimate(
        s, math.sqrt(of_variance) / (2 * s), n, unit, how, limits=(middle / reach, middle * reach)
    )
