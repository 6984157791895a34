"""Mean and covariance of codes beside those of N(0, I)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from distmatch.metrics.checks import checked
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.inputs import codes, held_out
from distmatch.metrics.model import Model, Options, Result


@dataclass(frozen=True)
class CodeMoments:
    """Largest |mean| and largest |covariance - I| over the coordinates: both 0 for N(0, I)."""

    mean: Estimate
    covariance: Estimate


def code_moments(codes: Tensor) -> CodeMoments:
    """max_j |m_j| and max_ij |C_ij - δ_ij| for the mean m and covariance C of the codes.

    The standard error is that of the entry that attains the maximum. A maximum of D (or D²) entries is
    biased up: n codes from N(0, I) itself give about √(2 ln 2D / n) and √(2 ln D² / n), which `how` states, and the
    interval's low end is that of D (or D(D + 1)/2) intervals at once, Bonferroni's, but not below 0.

    Args:
        codes: (n, D), n ≥ 2.

    Raises:
        BadInput: another shape, one code, NaN.

    >>> z = torch.randn(10_000, 4, generator=torch.Generator().manual_seed(0))
    >>> moments = code_moments(2 * z + 1)
    >>> round(moments.mean.value, 1), round(moments.covariance.value, 1)
    (1.0, 3.1)
    """
    codes = checked(codes, "codes", "n, D")
    n, d = codes.shape
    mean, error = codes.mean(0), codes.std(0) / math.sqrt(n)
    j = int(mean.abs().argmax())
    centred = codes - mean
    covariance = centred.T @ centred / (n - 1)
    gap = (covariance - torch.eye(d, dtype=codes.dtype, device=codes.device)).abs()
    row, column = divmod(int(gap.argmax()), d)
    products = centred[:, row] * centred[:, column]
    floors = math.sqrt(2 * math.log(2 * d) / n), math.sqrt(2 * math.log(max(2, d * d)) / n)
    how = "largest of {} entries; codes from N(0, I) itself would give about {:.2g}"
    largest = Estimate(float(mean[j].abs()), float(error[j]), n, how=how.format(d, floors[0]))
    of_products = float(products.std()) / math.sqrt(n)
    covered = Estimate(float(gap[row, column]), of_products, n, how=how.format(d * d, floors[1]))
    return CodeMoments(_of_many(largest, d), _of_many(covered, d * (d + 1) // 2))


def _of_many(largest: Estimate, entries: int) -> Estimate:
    """The largest of `entries` values, with limits whose low end allows for the choice."""
    low, high = largest.interval(1 - 0.05 / entries)[0], largest.interval()[1]
    return replace(largest, limits=(max(0.0, low), high))


@metric(
    "code_moments",
    question="Have the codes the prior's mean and covariance?",
    needs=("encode", "test", "standard_prior"),
    reference="the first two moments of N(0, I)",
    better={"code_mean": "lower", "code_covariance": "lower"},
)
def measure(model: Model, options: Options) -> Result:
    """Mean and covariance of codes of held-out data."""
    x, y = held_out(model, options)
    moments = code_moments(codes(model, x, y, options).flatten(1))
    return Result({"code_mean": moments.mean, "code_covariance": moments.covariance})
