"""What a case is, what its repetitions come to, and the draws and integrals that cases are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from distmatch.metrics.estimate import Estimate
from distmatch.random import seeded

Estimates = Mapping[str, Estimate]
REPETITIONS = 400
APART = 1_000_000_007  # added to the seeds of data, so that a metric at that seed draws other numbers


@dataclass(frozen=True)
class Case:
    """One metric on fresh draws of one distribution, for which its metrics' population values are known.

    Attributes:
        name: the distribution, in a few words; of its metric's cases no other has it.
        draw: seed -> the metrics, on data of that seed.
        truths: () -> metric -> its population value, by another route than the metric's, unless it is `own`.
        repetitions: seeds.
        own: metrics whose truth is their own mean over other seeds, for want of another route.
        bounds: metrics that are lower bounds in expectation: an interval covers if its low end is not above the truth.
        known: metric -> why its interval fails here, where it does and that is left so.
    """

    name: str
    draw: Callable[[int], Estimates]
    truths: Callable[[], Mapping[str, float]]
    repetitions: int = REPETITIONS
    own: Sequence[str] = ()
    bounds: Sequence[str] = ()
    known: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TestCase:
    """A test's p-value on draws of both sides: its level where they are of one distribution, its power otherwise.

    Attributes:
        name: the distributions, in a few words.
        p_values: seed -> p-value by test.
        same: whether both sides are of one distribution.
        note: why its level may be lower than 5 %, where it may.
    """

    name: str
    p_values: Callable[[int], Mapping[str, float]]
    same: bool
    repetitions: int = 1000
    note: str = ""


def repeated(case: Case, repetitions: int | None = None) -> dict[str, dict[str, Any]]:
    """Metric -> what its intervals covered, and its mean, spread, bias and stated error over the repetitions.

    >>> coin = Case("a coin", lambda seed: {"side": Estimate.fraction(normal(seed, 50) > 0)}, lambda: {"side": 0.5})
    >>> 0.9 <= repeated(coin, 200)["side"]["covered"] <= 0.99
    True
    """
    truths, found = case.truths(), [case.draw(seed) for seed in range(repetitions or case.repetitions)]
    return {
        name: _row([one[name] for one in found if name in one], truth, name in case.bounds)
        for name, truth in truths.items()
    }


def _row(found: Sequence[Estimate], truth: float, bound: bool) -> dict[str, Any]:
    """Of one metric. An error that cannot be had is None, and so is what no interval covered."""
    values = np.array([one.value for one in found])
    errors = np.array([one.standard_error for one in found])
    stated = bool(np.isfinite(errors).all())
    covers = [low <= truth and (bound or truth <= high) for low, high in (one.interval() for one in found)]
    spread = float(values.std(ddof=1))
    return {
        "truth": truth,
        "mean": float(values.mean()),
        "spread": spread,
        "error": float(np.sqrt(np.square(errors).mean())) if stated else None,
        "covered": float(np.mean(covers)) if stated else None,
        "repetitions": len(found),
    }


def rejected(case: TestCase, repetitions: int | None = None) -> dict[str, dict[str, Any]]:
    """Test -> the share of repetitions with a p-value of at most 5 %."""
    found = [case.p_values(seed) for seed in range(repetitions or case.repetitions)]
    return {
        name: {"rejected": float(np.mean([one[name] <= 0.05 for one in found])), "repetitions": len(found)}
        for name in found[0]
    }


def normal(seed: int, *shape: int) -> Tensor:
    """Draws of N(0, 1), float64."""
    return torch.randn(*shape, generator=seeded(APART + seed), dtype=torch.float64)


def student(seed: int, degrees: int, *shape: int) -> Tensor:
    """Draws of Student's t, float64."""
    drawn = normal(seed, degrees + 1, *shape)
    return drawn[0] / (drawn[1:].square().mean(0)).sqrt()


def picked(seed: int, values: Sequence[float], shares: Sequence[float], n: int) -> Tensor:
    """Draws (n,) of a few values with these shares, float64."""
    weights, generator = torch.tensor(shares, dtype=torch.float64), seeded(APART + seed)
    chosen = torch.multinomial(weights, n, replacement=True, generator=generator)
    return torch.tensor(values, dtype=torch.float64)[chosen]


def mean_of_student(degrees: int) -> float:
    """E |t|."""
    half = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2)
    return 2 * math.sqrt(degrees / math.pi) * math.exp(half) / (degrees - 1)


def square_of_student(degrees: int) -> float:
    """E t²."""
    return degrees / (degrees - 2)


def gaussian_mean(
    function: Callable[[np.ndarray], np.ndarray], loc: float = 0.0, scale: float = 1.0
) -> float:
    """E f(z), z ~ N(loc, scale²), by Gauss and Hermite's quadrature.

    >>> round(gaussian_mean(np.square, 1.0, 2.0), 12)
    5.0
    """
    places, weights = np.polynomial.hermite_e.hermegauss(120)
    return float(weights @ function(loc + scale * places) / weights.sum())


def weighted_quantile(values: np.ndarray, weights: np.ndarray, level: float) -> float:
    """The level's quantile of values with weights."""
    order = np.argsort(values)
    return float(values[order][np.searchsorted(weights[order].cumsum() / weights.sum(), level)])
