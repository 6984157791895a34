"""Codes and the prior."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from distmatch.metrics import (
    DensityFit,
    code_moments,
    empirical_marginal_kl,
    marginal_kl_by_density,
    marginal_kl_by_ratio,
    population_marginal_kl,
)
from distmatch.metrics.estimate import Estimate
from interval_cases.case import Case, Estimates, normal, picked, square_of_student, student

FIT = DensityFit(steps=60, width=16, components=3)


def _mixture(name: str, loc: Tensor, sigma: float, evaluate: int, samples: int, **known: str) -> Case:
    """Of one fixed mixture in the plane, over seeds of its codes; truths on a grid of both coordinates."""
    scale = torch.full_like(loc, sigma)

    def drawn(seed: int) -> Estimates:
        found = empirical_marginal_kl(loc, scale, evaluate=evaluate, samples=samples, seed=seed).estimates()
        del found["rate"]
        return found

    def truths() -> dict[str, float]:
        z = np.linspace(-9, 9, 1501)
        step = z[1] - z[0]
        each = Normal(loc[:, :, None], scale[:, :, None]).log_prob(torch.from_numpy(z)).exp().numpy()
        q = np.einsum("ni,nj->ij", each[:, 0], each[:, 1]) / len(loc)
        sides = q.sum(1) * step, q.sum(0) * step
        log_p = -0.5 * (z * z + math.log(2 * math.pi))

        def mean(values: np.ndarray) -> float:
            return float((q * values).sum()) * step * step

        log_q = np.log(np.maximum(q, 1e-300))
        logs = [np.log(np.maximum(side, 1e-300)) for side in sides]
        kl = mean(log_q - log_p[:, None] - log_p)
        rate = float((0.5 * (loc.square() + scale.square() - 1 - 2 * scale.log())).sum(1).mean())
        return {
            "empirical_marginal_kl": kl,
            "mutual_information": rate - kl,
            "total_correlation": mean(log_q - logs[0][:, None] - logs[1]),
            "dimension_wise_kl": mean(logs[0][:, None] + logs[1] - log_p[:, None] - log_p),
        }

    return Case(name, drawn, cache(truths), known=known)


def _rate(name: str, loc: Callable[[int], Tensor], square: float, **known: str) -> Case:
    """Over mixtures of fresh data: ½(E μ² + 0.25 - 1 - ln 0.25)."""

    def drawn(seed: int) -> Estimates:
        mean = loc(seed)
        found = empirical_marginal_kl(
            mean, torch.full_like(mean, 0.5), evaluate=2, samples=2, decompose=False, seed=seed
        )
        return {"marginal_rate": found.rate}

    truth = 0.5 * (square + 0.25 - 1 - math.log(0.25))
    return Case(name, drawn, lambda: {"marginal_rate": truth}, known=known)


def _values(seed: int, values: Sequence[float], shares: Sequence[float], n: int) -> Tensor:
    """Codes (n, 1) of a few values."""
    return picked(seed, values, shares, n)[:, None]


SKEWED = "near a KL of 0 the mean over a mixture of the data's own is skewed."
SHIFTED = 1.25 - math.log(1.25)  # KL of N(1, 1.25 I) to N(0, I) in two dimensions


def _population(name: str, data: Callable[[int], Tensor], kl: Callable[[], float], **known: str) -> Case:
    """q(z|x) = N(x, ¼ I), of held-out and training data. The lower one is a bound; the upper one's truth, which is
    above KL, is the KL of a mixture of as many posteriors, by quadrature, over 400 other sets of data."""

    def drawn(seed: int) -> Estimates:
        held_out, training = data(seed).float().chunk(2)
        found = population_marginal_kl(
            lambda x: Independent(Normal(x, 0.5), 1), held_out, training, fit=FIT, seed=seed
        )
        assert found.upper is not None
        return {
            "population_marginal_kl": found.population_marginal_kl,
            "population_marginal_kl_upper": found.upper,
        }

    def truths() -> dict[str, float]:
        upper = np.mean([_mixture_kl(data(1_000_000 + 10 * i).chunk(2)[0].numpy(), 0.5) for i in range(400)])
        return {"population_marginal_kl": kl(), "population_marginal_kl_upper": float(upper)}

    return Case(name, drawn, cache(truths), repetitions=100, bounds=("population_marginal_kl",), known=known)


def _mixture_kl(loc: np.ndarray, sigma: float) -> float:
    """KL to N(0, I) of the mixture of N(loc_n, σ² I) on a line or in the plane, by the rectangle rule."""
    z = np.linspace(loc.min() - 4, loc.max() + 4, 241)
    step, log_p = z[1] - z[0], -0.5 * (z * z + math.log(2 * math.pi))
    each = np.exp(-0.5 * ((z - loc[..., None]) / sigma) ** 2) / (sigma * math.sqrt(2 * math.pi))
    q = each[:, 0].T @ (each[:, 1] if loc.shape[1] == 2 else np.ones((len(loc), 1))) / len(loc)
    prior = log_p[:, None] + (log_p if loc.shape[1] == 2 else 0)
    return float((q * (np.log(np.maximum(q, 1e-300)) - prior)).sum()) * step ** loc.shape[1]


def _on_a_line(density: Callable[[np.ndarray], np.ndarray]) -> float:
    """KL of a density to N(0, 1), by the rectangle rule."""
    z = np.linspace(-60, 60, 24_001)
    q = np.maximum(density(z), 1e-300)
    return float((q * (np.log(q) + 0.5 * z * z + 0.5 * math.log(2 * math.pi))).sum() * (z[1] - z[0]))


def _smoothed_student(degrees: int, loc: float) -> float:
    """Of Student's t about loc, plus N(0, ¼)."""
    from scipy.stats import norm, t

    x = loc + t.ppf((np.arange(2000) + 0.5) / 2000, degrees)
    return _on_a_line(lambda z: sum(norm.pdf(z, place, 0.5) for place in x) / len(x))


def _two(z: np.ndarray) -> np.ndarray:
    from scipy.stats import norm

    return 0.7 * norm.pdf(z, -2, 0.5) + 0.3 * norm.pdf(z, 2, 0.5)


def _models(name: str, codes: Callable[[int], Tensor], kl: Callable[[], float]) -> Case:
    """All are lower bounds in expectation."""

    def drawn(seed: int) -> Estimates:
        z = codes(seed).float()
        found = {
            f"kl_by_{model}": marginal_kl_by_density(z, model, fit=FIT, seed=seed)
            for model in ("mixture", "maf", "lstm")
        }
        return found | {
            "kl_by_ratio_bound": marginal_kl_by_ratio(z, width=16, steps=60, lr=5e-3, seed=seed).lower
        }

    names = ("kl_by_mixture", "kl_by_maf", "kl_by_lstm", "kl_by_ratio_bound")
    return Case(name, drawn, lambda: dict.fromkeys(names, kl()), repetitions=100, bounds=names)


def _moments(
    name: str,
    codes: Callable[[int], Tensor],
    mean: float,
    covariance: float,
    known: Mapping[str, str] | None = None,
) -> Case:
    """The largest of the means, and of the entries of the covariance less I."""

    def drawn(seed: int) -> dict[str, Estimate]:
        found = code_moments(codes(seed))
        return {"code_mean": found.mean, "code_covariance": found.covariance}

    return Case(name, drawn, lambda: {"code_mean": mean, "code_covariance": covariance}, known=known or {})


def _line_of(x: Tensor) -> Tensor:
    return torch.stack([x, 0.3 * x.sin()], 1)


def _student_density(z: np.ndarray) -> np.ndarray:
    from scipy.stats import t

    return t.pdf(z, 6)


def _pair(seed: int) -> Tensor:
    """(3 or -1, 0 or less) evenly: mean (1, 0), variance 4 along the first."""
    return torch.stack([picked(seed, (3, -1), (1, 1), 60), normal(seed + 1, 60)], 1)


OVERLAPPING = torch.tensor([[-1, 0], [0, 1], [1.5, 0]], dtype=torch.float64)
WIDE, NARROW = normal(1, 100, 2), 0.7 * student(1, 4, 60, 2)
ALONG, MEAN = torch.tensor([2.0, 1, 1]), torch.tensor([1.0, 0, 0])
CASES = {
    "empirical_marginal_kl": (
        _mixture("three components that overlap", OVERLAPPING, 0.7, 3, 100),
        _mixture("10 draws of each of 30 out of 100 wide components", WIDE, 0.8, 30, 10),
        _mixture(
            "20 draws of each of 10 out of 100 wide components",
            WIDE,
            0.8,
            10,
            20,
            empirical_marginal_kl="the slope of the control variate is fitted to 10 components, and to their noise.",
        ),
        _mixture("60 narrow components, 5 draws of each of 30", NARROW, 0.15, 30, 5),
        _rate("the rate of 200 codes, N(0, 1)", lambda seed: normal(seed, 200, 1), 1.0),
        _rate(
            "the rate of 100 codes, Student's t, 10 degrees",
            lambda seed: student(seed, 10, 100, 1),
            square_of_student(10),
        ),
        _rate(
            "the rate of 40 codes, Student's t, 6 degrees",
            lambda seed: student(seed, 6, 40, 1),
            square_of_student(6),
            marginal_rate="40 squares hold too little of a tail that moves their mean.",
        ),
        _rate("the rate of 60 codes of two values", lambda seed: _values(seed, (-1, 2), (2, 1), 60), 2.0),
    ),
    "population_marginal_kl": (
        _population("200 of N(1, I) in 2 dimensions", lambda seed: 1 + normal(seed, 400, 2), lambda: SHIFTED),
        _population(
            "200 of Student's t, 12 degrees, about 1",
            lambda seed: 1 + student(seed, 12, 400, 1),
            lambda: _smoothed_student(12, 1.0),
        ),
        _population(
            "200 of Student's t, 12 degrees",
            lambda seed: student(seed, 12, 400, 1),
            lambda: _smoothed_student(12, 0.0),
            population_marginal_kl_upper=SKEWED,
        ),
        _population(
            "100 of Student's t, 8 degrees",
            lambda seed: student(seed, 8, 200, 1),
            lambda: _smoothed_student(8, 0.0),
            population_marginal_kl_upper=SKEWED,
        ),
        _population(
            "100 of the values -2 and 2, 7 to 3",
            lambda seed: _values(seed, (-2, 2), (7, 3), 200),
            lambda: _on_a_line(_two),
        ),
    ),
    "marginal_kl_by_density, marginal_kl_by_ratio": (
        _models("300 of N(1, I) in 2 dimensions", lambda seed: 1 + normal(seed, 300, 2), lambda: 1.0),
        _models(
            "300 of Student's t, 6 degrees",
            lambda seed: student(seed, 6, 300, 1),
            lambda: _on_a_line(_student_density),
        ),
        _models(
            "300 of two clusters, 7 to 3",
            lambda seed: _values(seed, (-2, 2), (7, 3), 300) + 0.5 * normal(seed + 1, 300, 1),
            lambda: _on_a_line(_two),
        ),
    ),
    "code_moments": (
        _moments(
            "500 of N((1, 0, 0), diag(4, 1, 1))", lambda seed: normal(seed, 500, 3) * ALONG + MEAN, 1.0, 3.0
        ),
        _moments(
            "200 of Student's t, 12 degrees, about (1, 0, 0)",
            lambda seed: student(seed, 12, 200, 3) * ALONG + MEAN,
            1.0,
            4 * square_of_student(12) - 1,
        ),
        _moments(
            "100 of Student's t, 10 degrees, about (1, 0, 0)",
            lambda seed: student(seed, 10, 100, 3) * ALONG + MEAN,
            1.0,
            4 * square_of_student(10) - 1,
        ),
        _moments("60 of two values", _pair, 1.0, 3.0),
        _moments("500 of N(0, I) in 10 dimensions", lambda seed: normal(seed, 500, 10), 0.0, 0.0),
    ),
}
