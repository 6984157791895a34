"""Encoders and decoders with densities."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Bernoulli, Independent, Normal

from distmatch.metrics import (
    annealed_log_likelihood,
    bits_per_dim,
    evidence_lower_bound,
    latent_usage,
    log_likelihood,
    low_posterior_samples,
    population,
    reconstruction_error,
    simulate,
)
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.likelihood.low_posterior import _low_posterior_metrics
from distmatch.metrics.likelihood.populations import nearest_neighbours
from interval_cases.case import (
    Case,
    Estimates,
    gaussian_mean,
    mean_of_student,
    normal,
    picked,
    square_of_student,
    student,
    weighted_quantile,
)

Draw = Callable[[int], Tensor]
LOG_2PI = math.log(2 * math.pi)
EASY: tuple[str, Draw] = "500 of N(0, 2)", lambda seed: 2**0.5 * normal(seed, 500, 1)
HEAVY: tuple[str, Draw] = "100 of Student's t, 10 degrees", lambda seed: student(seed, 10, 100, 1)
TWO: tuple[str, Draw] = (
    "60 of the values -1 and 2, 2 to 1",
    lambda seed: picked(seed, (-1, 2), (2, 1), 60)[:, None],
)
HEAVIER: tuple[str, Draw] = "40 of Student's t, 6 degrees", lambda seed: student(seed, 6, 40, 1)
SQUARES = {HEAVIER: square_of_student(6), EASY: 2.0, HEAVY: square_of_student(10), TWO: 2.0}  # E x²
SIZES = {
    HEAVIER: mean_of_student(6),
    EASY: math.sqrt(4 / math.pi),
    HEAVY: mean_of_student(10),
    TWO: 4 / 3,
}  # E |x|
TAIL = "40 squares hold too little of a tail that moves their mean: their skewness is infinite."


def _known(data: tuple[str, Draw], *metrics: str) -> dict[str, str]:
    """Means of squares, whose intervals fail where the tail is that of t with 6 degrees."""
    return dict.fromkeys(metrics, TAIL) if data is HEAVIER else {}


def encoder(x: Tensor) -> Normal:
    """Wider than the posterior N(x/2, ½) of `decoder`."""
    return Normal(x / 2, 0.8)


def decoder(z: Tensor) -> Normal:
    """N(z, 1)."""
    return Normal(z, 1.0)


def _elbo(data: tuple[str, Draw]) -> Case:
    """z = x/2 + 0.8 ε: R = ½(x²/4 + 0.64 - 1 - ln 0.64), D = ½ ln 2π + ½(x²/4 + 0.64)."""

    def truths() -> dict[str, float]:
        rate = 0.5 * (SQUARES[data] / 4 + 0.64 - 1 - math.log(0.64))
        distortion = 0.5 * (LOG_2PI + SQUARES[data] / 4 + 0.64)
        return {"elbo": -rate - distortion, "rate": rate, "distortion": distortion}

    return Case(
        data[0],
        lambda seed: vars(evidence_lower_bound(encoder, decoder, data[1](seed), seed=seed)),
        truths,
        known=_known(data, "elbo", "rate", "distortion"),
    )


def _switch(z: Tensor) -> Independent:
    """Two binary pixels, likely the more both, the larger z."""
    return Independent(Bernoulli(logits=2 * z.expand(-1, 2)), 1)


def _binary_elbo() -> Case:
    def drawn(seed: int) -> Estimates:
        x = picked(seed, (0, 1), (4, 1), 60)[:, None].expand(60, 2)
        return vars(evidence_lower_bound(lambda x: Normal(2 * x[:, :1] - 1, 0.5), _switch, x, seed=seed))

    def truths() -> dict[str, float]:
        rate = 0.5 * (1 + 0.25 - 1 - math.log(0.25))
        distortion = 2 * gaussian_mean(lambda z: np.logaddexp(0, -2 * z), 1.0, 0.5)
        return {"elbo": -rate - distortion, "rate": rate, "distortion": distortion}

    return Case("60 of two binary patterns, 4 to 1", drawn, truths)


def _log_likelihood(data: tuple[str, Draw]) -> Case:
    """Of x under N(0, 2). The bound falls short by Var w/2k = 0.0002 nats, k = 50."""

    def drawn(seed: int) -> Estimates:
        found = log_likelihood(encoder, decoder, data[1](seed), seed=seed)
        return {"log_likelihood": found, "bits_per_dim_bound": bits_per_dim(found, 1, bound=True)}

    def truths() -> dict[str, float]:
        truth = -0.5 * math.log(4 * math.pi) - SQUARES[data] / 4
        return {"log_likelihood": truth, "bits_per_dim_bound": -truth / math.log(2)}

    return Case(data[0], drawn, truths, known=_known(data, "log_likelihood", "bits_per_dim_bound"))


def _bits(data: tuple[str, Draw]) -> Case:
    """Of x under N(0, 2), exactly."""

    def drawn(seed: int) -> Estimates:
        log_p = Normal(0.0, 2**0.5).log_prob(data[1](seed))[:, 0]
        return {"bits_per_dim": bits_per_dim(log_p, 1), "nll": Estimate.mean(-log_p)}

    def truths() -> dict[str, float]:
        truth = 0.5 * math.log(4 * math.pi) + SQUARES[data] / 4
        return {"bits_per_dim": truth / math.log(2), "nll": truth}

    return Case(data[0], drawn, truths, known=_known(data, "bits_per_dim", "nll"))


def _levels() -> Case:
    """A density that is flat on each of four grey levels: its bits are those of the levels' shares, exactly."""
    shares, model = (0.4, 0.3, 0.2, 0.1), (0.1, 0.2, 0.3, 0.4)

    def drawn(seed: int) -> Estimates:
        density = picked(seed, [4 * p for p in model], shares, 100)
        return {"bits_per_dim": bits_per_dim(density.log(), 1, 4)}

    truth = -sum(s * math.log2(p) for s, p in zip(shares, model, strict=True))
    return Case("100 of four grey levels", drawn, lambda: {"bits_per_dim": truth})


def _reconstruction(data: tuple[str, Draw]) -> Case:
    """Half of x."""
    return Case(
        data[0],
        lambda seed: vars(reconstruction_error(data[1](seed), data[1](seed) / 2)),
        lambda: {"mse": SQUARES[data] / 4, "l1": SIZES[data] / 2},
        known=_known(data, "mse"),
    )


def _quantiles(name: str, loc: Tensor, scale: float, draws: int, **known: str) -> Case:
    """Of log q(z) at prior draws and at codes; truths on a fine grid of ‖z - loc_n‖, or of z."""

    def drawn(seed: int) -> Estimates:
        found = low_posterior_samples(
            loc, torch.full_like(loc, scale), decoder, draws=draws, codes=draws, keep=2, seed=seed
        )
        return {
            "low_posterior_log_q": found.quantiles[0.01],
            "low_posterior_log_q_codes": found.code_quantiles[0.5],
        }

    def truths() -> dict[str, float]:
        from scipy.special import chdtri

        d = loc.shape[1]
        if not loc.any():
            squares = chdtri(d, 0.01), scale**2 * chdtri(d, 0.5)
            found = [-s / (2 * scale**2) - d * (math.log(scale) + LOG_2PI / 2) for s in squares]
        else:
            z = np.linspace(-9, 9, 2_000_001)
            q = np.mean([np.exp(-0.5 * ((z - m) / scale) ** 2) for m in loc[:, 0].tolist()], 0)
            log_q = np.log(q) - math.log(scale) - LOG_2PI / 2
            found = [weighted_quantile(log_q, np.exp(-z * z / 2), 0.01), weighted_quantile(log_q, q, 0.5)]
        return {"low_posterior_log_q": found[0], "low_posterior_log_q_codes": found[1]}

    return Case(name, drawn, truths, known=known)


def _populations(name: str, slope: float, data: tuple[str, Draw], mean: float) -> Case:
    """Populations of x: data, and the 50 of 1,000 prior draws with the largest |z|, where q(z) = N(0, ¼) is lowest.

    The decoder's mean is slope·z, so that the moments of its samples are slope times those of N(0, 1) beyond its
    central 95 %; their neighbours in dense data are the samples themselves.
    """

    def make(z: Tensor) -> Normal:
        return Normal(slope * z, 1.0)

    def drawn(seed: int) -> Estimates:
        loc = torch.zeros(2, 1)
        found = low_posterior_samples(loc, loc + 0.5, make, draws=1000, codes=2, keep=50, seed=seed)
        near = DENSE[nearest_neighbours(found.images, DENSE).index]
        groups = {"data": data[1](seed), "low_posterior": found.images, "neighbours": near}
        costs = {group: population(encoder, make, x, seed=seed) for group, x in groups.items()}
        return _low_posterior_metrics(found, costs, groups)

    def truths() -> dict[str, float]:
        tail = 1 + CUT * math.exp(-CUT * CUT / 2) / math.sqrt(2 * math.pi) / 0.025  # E[z² | |z| > CUT]
        squares = {"data": SQUARES[data], "low_posterior": slope**2 * tail, "neighbours": slope**2 * tail}
        found = {"low_posterior_pixel_data": mean, "low_posterior_pixel_low_posterior": 0.0}
        for group, square in squares.items():
            rate = 0.5 * (square / 4 + 0.64 - 1 - math.log(0.64))
            left = (1 - slope / 2) ** 2 * square + slope**2 * 0.64  # E (x - slope·(x/2 + 0.8 ε))²
            found[f"low_posterior_rate_{group}"] = rate
            found[f"low_posterior_elbo_{group}"] = -rate - 0.5 * (LOG_2PI + left)
        return found

    return Case(name, drawn, truths)


CUT = 1.959963984540054
DENSE = torch.linspace(-12, 12, 20_001)[:, None]


def _usage(name: str, n: int, variances: Sequence[float], clusters: bool) -> Case:
    """Units of these Var_x E[z_i|x]; the posterior's variances are one less, so that KL_i = ½(-ln σ²)."""
    levels = torch.tensor(variances, dtype=torch.float64)

    def drawn(seed: int) -> Estimates:
        x = normal(seed, n, len(levels))
        loc = levels.sqrt() * (x.sign() if clusters else x)
        found = latent_usage(loc, (1 - levels).sqrt().expand_as(loc), resamples=100, seed=seed)
        return {"active_units": found.active_by_variance, "active_units_kl": found.active_by_kl}

    return Case(
        name,
        drawn,
        lambda: {
            "active_units": float((levels > 0.01).sum()),
            "active_units_kl": float((-0.5 * torch.log1p(-levels) > 0.01).sum()),
        },
    )


def _annealed(
    name: str, n: int, model: Callable[[Tensor], Normal | Independent], truth: Callable[[], float]
) -> Case:
    """Data of the model itself. What the algorithm makes of itself, the gap and the acceptance, is its own mean over
    other seeds; the bounds' distance from log p(x) is far below their error."""

    def drawn(seed: int, n: int = n) -> Estimates:
        made = simulate(model, n, 1, seed=seed)
        found = annealed_log_likelihood(
            model,
            made.x,
            1,
            codes=made.codes,
            temperatures=40,
            chains=8,
            leapfrog=3,
            batch_size=4096,
            seed=seed,
        )
        assert found.gap is not None
        return {
            "annealed_log_likelihood": found.lower,
            "annealed_gap": found.gap,
            "annealed_acceptance": found.acceptance,
        }

    def truths() -> dict[str, float]:
        own = [drawn(10_000 + i, 500) for i in range(8)]
        means = {name: sum(one[name].value for one in own) / 8 for name in own[0]}
        return means | {"annealed_log_likelihood": truth()}

    return Case(name, drawn, truths, repetitions=100, own=("annealed_gap", "annealed_acceptance"))


def _coin_entropy() -> float:
    """-H of a pixel that is 1 with probability E σ(2z + 1)."""
    p = gaussian_mean(lambda z: 1 / (1 + np.exp(-2 * z - 1)))
    return p * math.log(p) + (1 - p) * math.log(1 - p)


CASES = {
    "elbo": (_elbo(EASY), _elbo(HEAVY), _binary_elbo(), _elbo(HEAVIER)),
    "log_likelihood": tuple(map(_log_likelihood, (EASY, HEAVY, TWO, HEAVIER))),
    "bits_per_dim": (_bits(EASY), _bits(HEAVY), _bits(TWO), _levels(), _bits(HEAVIER)),
    "reconstruction": tuple(map(_reconstruction, (EASY, HEAVY, TWO, HEAVIER))),
    "low_posterior_samples": (
        _quantiles("1,000 draws, q(z) = N(0, 1)", torch.zeros(2, 1), 1.0, 1000),
        _quantiles(
            "200 draws, q(z) = N(0, 1)",
            torch.zeros(2, 1),
            1.0,
            200,
            low_posterior_log_q="two of 200 draws are beyond a quantile of 1 %, and often none is below its interval.",
        ),
        _quantiles("500 draws, q(z) = N(0, 4 I) in 10 dimensions", torch.zeros(2, 10), 2.0, 500),
        _quantiles("1,000 draws, q(z) of two clusters", torch.tensor([[-2.0], [2.0]]), 0.4, 1000),
        _populations("populations, data N(0, 2)", 1.0, EASY, 0.0),
        _populations("populations, data of Student's t, a steep decoder", 2.0, HEAVY, 0.0),
        _populations("populations, data of two values, a flat decoder", 0.5, TWO, 0.0),
    ),
    "latent_usage": (
        _usage("200 codes, 10 units far from both thresholds", 200, [0.1] * 5 + [0.001] * 5, False),
        _usage("200 codes, 10 units near them", 200, [0.012] * 5 + [0.009] * 5 + [0.021, 0.019], False),
        _usage("50 codes in two clusters, 6 units", 50, [0.03] * 3 + [0.005] * 3, True),
    ),
    "annealed_log_likelihood": (
        _annealed("50 of N(0, 2)", 50, decoder, lambda: -0.5 * math.log(4 * math.pi) - 0.5),
        _annealed(
            "20 of N(0, 17): a narrow posterior",
            20,
            lambda z: Normal(4 * z, 1.0),
            lambda: -0.5 * math.log(2 * math.pi * 17) - 0.5,
        ),
        _annealed(
            "50 binary pixels", 50, lambda z: Independent(Bernoulli(logits=2 * z + 1), 1), _coin_entropy
        ),
    ),
}
