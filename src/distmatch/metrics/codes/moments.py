"""Cheap invariants: do the codes look like N(0, I), is a density ratio calibrated."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.checks import checked
from distmatch.metrics.estimate import Estimate

LARGEST = 350.0  # a score whose exponential can still be squared in float64


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
    >>> found = code_moments(2 * z + 1)
    >>> round(found.mean.value, 1), round(found.covariance.value, 1)
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
    """The largest of so many entries, with limits whose low end allows for the choice."""
    low, high = largest.interval(1 - 0.05 / entries)[0], largest.interval()[1]
    return replace(largest, limits=(max(0.0, low), high))


@dataclass(frozen=True)
class RatioCalibration:
    """E_q e^t and E_p e^-t (both 1 for the true log-ratio t), and the accuracy of t > 0."""

    model: Estimate
    target: Estimate
    accuracy: Estimate


def ratio_calibration(scores_target: Tensor, scores_model: Tensor) -> RatioCalibration:
    """Whether a score t(x) is the log-ratio log p/q: then E_q[e^t] = 1 and E_p[e^-t] = 1.

    Heavy tails make both expectations' errors optimistic when p and q hardly overlap. The accuracy is that
    of the classifier t > 0 with equal weight on both sides (a tie is half right).

    Args:
        scores_target: (n,) t at draws of the target p; scores_model: (m,) t at draws of the model q.

    Raises:
        BadInput: another shape, fewer than two scores, NaN, scores whose exponential overflows.

    >>> found = ratio_calibration(torch.zeros(10), torch.zeros(10))
    >>> found.model.value, found.target.value, found.accuracy.value
    (1.0, 1.0, 0.5)
    """
    p, q = checked(scores_target, "scores_target", "n"), checked(scores_model, "scores_model", "n")
    right_p, right_q = (1 + p.sign()) / 2, (1 - q.sign()) / 2
    sides = Estimate.fraction(right_p), Estimate.fraction(right_q)
    error = math.hypot(*(side.standard_error for side in sides)) / 2
    value = sum(side.value for side in sides) / 2
    how = "{}: 1 for the true ratio; its error is too small where the two sides hardly overlap"
    return RatioCalibration(
        model=Estimate.mean(_exponential(q), how=how.format("E_q e^t")),
        target=Estimate.mean(_exponential(-p), how=how.format("E_p e^-t")),
        accuracy=Estimate(value, error, len(p) + len(q), how="of t > 0, both sides weighted equally"),
    )


def _exponential(scores: Tensor) -> Tensor:
    if float(scores.max()) > LARGEST:
        raise BadInput(
            f"the scores reach {float(scores.abs().max()):.0f} and their exponential overflows: "
            "this critic's score is no usable log-ratio"
        )
    return scores.exp()
