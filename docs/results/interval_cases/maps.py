"""Decoders as maps, and critics."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor
from torch.distributions import Normal

from distmatch.metrics import (
    gradient_norms,
    independent_critic,
    inference_via_optimization,
    jacobian_spectrum,
    ratio_calibration,
)
from distmatch.metrics.generator.independent_critic import flat_critic
from distmatch.random import seeded
from interval_cases.case import (
    Case,
    Estimates,
    mean_of_student,
    normal,
    picked,
    square_of_student,
    student,
)

Draw = Callable[[int], Tensor]
TAIL = "so few draws hold too little of the tail that moves the spread."
RARE = "the mean of a ratio of distributions that are far apart rests on draws that 100 seldom hold."
MANY = 40_000  # draws that a trained critic's own population value is taken over


def _jacobian(name: str, stretch: Draw, size: float, square: float, mean: float, **known: str) -> Case:
    """x = (z₁, e^t) for z = (z₁, t): J = diag(1, e^t), whose log condition number is 2|t| and log volume t."""

    def drawn(seed: int) -> Estimates:
        t = stretch(seed)
        z = torch.stack([normal(seed + 1, len(t)), t], 1)
        found = jacobian_spectrum(lambda z: torch.stack([z[:, 0], z[:, 1].exp()], 1), z)
        return {
            "log_condition_number": found.log_condition_number,
            "log_condition_number_spread": found.log_condition_number_spread,
            "log_volume": found.log_volume,
        }

    def truths() -> dict[str, float]:
        return {
            "log_condition_number": 2 * size,
            "log_condition_number_spread": 2 * math.sqrt(square - size**2),
            "log_volume": mean,
        }

    return Case(name, drawn, truths, known=known)


def _student_stretch(n: int, degrees: int, **known: str) -> Case:
    return _jacobian(
        f"{n} of Student's t, {degrees} degrees",
        lambda seed: student(seed, degrees, n),
        mean_of_student(degrees),
        square_of_student(degrees),
        0.0,
        **known,
    )


def _inversion(name: str, data: Draw, size: float, square: float, **known: str) -> Case:
    """x = (a, b), G(z) = (z, 0): the error is b²/2 and the code a, from which the descent starts."""

    def drawn(seed: int) -> Estimates:
        x = data(seed)
        found = inference_via_optimization(
            lambda z: torch.cat([z, 0 * z], 1), x, 1, start=x[:, :1], restarts=1, steps=3, seed=seed
        )
        return {"inversion_error": found.error, "inversion_code_norm": found.code_norm}

    ratio = size / math.sqrt(2 / math.pi)
    truths = {"inversion_error": square / 2, "inversion_code_norm": ratio}
    return Case(name, drawn, lambda: truths, known=known)


def _student_inversion(n: int, degrees: int, **known: str) -> Case:
    return _inversion(
        f"{n} of Student's t, {degrees} degrees",
        lambda seed: student(seed, degrees, n, 2),
        mean_of_student(degrees),
        square_of_student(degrees),
        **known,
    )


def _independent(name: str, n: int, real: Callable[[int, int], Tensor], shift: float) -> Case:
    """Of the critic that each repetition trains: its distances less their values over 40,000 draws of each side."""

    def drawn(seed: int) -> Estimates:
        drawn = real(seed, 3 * n)
        samples = real(seed + 1, n) + shift
        train, validation, test = drawn.split(n)
        found = independent_critic(
            samples, train, validation, test, critic=flat_critic(1, 16), steps=40, rate=1e-2, seed=seed
        )
        many, model = real(seed + 2, MANY).float(), real(seed + 3, MANY).float() + shift
        with torch.no_grad():
            distance = float(found.critic(many).mean() - found.critic(model).mean())
        share = torch.rand(MANY, 1, generator=seeded(seed + 4))
        places = (share * many + (1 - share) * model).requires_grad_()
        (slopes,) = torch.autograd.grad(found.critic(places).sum(), places)
        assert found.test is not None
        truth = {
            "critic_distance_train": (found.train, distance),
            "critic_distance_validation": (found.validation, distance),
            "critic_distance_test": (found.test, distance),
            "critic_overfitting": (found.overfitting, 0.0),
            "critic_slope": (found.slope.mean, float(slopes.abs().mean())),
        }
        return {key: replace(e, value=e.value - value) for key, (e, value) in truth.items()}

    names = ("distance_train", "distance_validation", "distance_test", "overfitting", "slope")
    return Case(name, drawn, lambda: {f"critic_{metric}": 0.0 for metric in names}, repetitions=200)


def _norms(
    name: str, sides: Callable[[int], tuple[Tensor, Tensor]], mean: float, square: float, **known: str
) -> Case:
    """f = ½‖x‖², whose slope is ‖u‖ at u = αp + (1 - α)q."""

    def drawn(seed: int) -> Estimates:
        found = gradient_norms(lambda x: 0.5 * x.square().sum(1), *sides(seed), seed=seed)
        return {"gradient_norm": found.mean, "gradient_norm_spread": found.spread}

    spread = math.sqrt(square - mean**2)
    truths = {"gradient_norm": mean, "gradient_norm_spread": spread}
    return Case(name, drawn, lambda: truths, known=known)


def _student_norms(n: int, degrees: int, **known: str) -> Case:
    """q = 0, so that the slope is α|p|."""
    return _norms(
        f"{n} pairs of Student's t, {degrees} degrees, and 0",
        lambda seed: (student(seed, degrees, n, 1), torch.zeros(n, 1).double()),
        mean_of_student(degrees) / 2,
        square_of_student(degrees) / 3,
        **known,
    )


def _chi_between() -> float:
    """E √(α² + (1 - α)²) · E χ₃, by the midpoint rule in α."""
    alpha = (np.arange(100_000) + 0.5) / 100_000
    return float(np.sqrt(alpha**2 + (1 - alpha) ** 2).mean()) * 2 * math.sqrt(2 / math.pi)


def _gaussian_ratio(n: int, shift: float, **known: str) -> Case:
    """Scores log N(x; δ, 1)/N(x; 0, 1) at draws of both: e^t and e^-t are lognormal with mean 1."""

    def drawn(seed: int) -> Estimates:
        p, q = normal(seed, 2, n)
        score = [shift * x - shift**2 / 2 for x in (p + shift, q)]
        return _calibrated(*score)

    accuracy = float(Normal(0.0, 1.0).cdf(torch.tensor(shift / 2)))
    return Case(f"{n} of N({shift:g}, 1) against N(0, 1)", drawn, lambda: _ones(accuracy), known=known)


def _coins(n: int) -> Case:
    """Shares 0.7 and 0.4."""

    def drawn(seed: int) -> Estimates:
        p, q = picked(seed, (0, 1), (0.3, 0.7), n), picked(seed + 1, (0, 1), (0.6, 0.4), n)
        high, low = math.log(0.7 / 0.4), math.log(0.3 / 0.6)
        return _calibrated(low + (high - low) * p, low + (high - low) * q)

    return Case(f"{n} coins of 0.7 against 0.4", drawn, lambda: _ones(0.65))


def _wrong() -> Case:
    """Scores ½x at draws of N(0, 1) on both sides, which are of no ratio: E e^t = E e^-t = e^⅛."""

    def drawn(seed: int) -> Estimates:
        return _calibrated(*(0.5 * x for x in normal(seed, 2, 100)))

    truths = {
        "calibration_model": math.exp(0.125),
        "calibration_target": math.exp(0.125),
        "critic_accuracy": 0.5,
    }
    return Case("100 of N(0, 1) on both sides, a wrong score", drawn, lambda: truths)


def _calibrated(target: Tensor, model: Tensor) -> Estimates:
    found = ratio_calibration(target, model)
    return {
        "calibration_model": found.model,
        "calibration_target": found.target,
        "critic_accuracy": found.accuracy,
    }


def _ones(accuracy: float) -> dict[str, float]:
    return {"calibration_model": 1.0, "calibration_target": 1.0, "critic_accuracy": accuracy}


CASES = {
    "jacobian_spectrum": (
        _jacobian("64 of N(0, 1)", lambda seed: normal(seed, 64), math.sqrt(2 / math.pi), 1.0, 0.0),
        _student_stretch(100, 12),
        _student_stretch(64, 8, log_condition_number_spread=TAIL),
        _student_stretch(64, 6, log_condition_number_spread=TAIL),
        _jacobian(
            "60 codes in two clusters",
            lambda seed: picked(seed, (0.1, 1.5), (0.8, 0.2), 60),
            0.38,
            0.458,
            0.38,
        ),
        _jacobian(
            "20 codes in two clusters",
            lambda seed: picked(seed, (0.1, 1.5), (0.6, 0.4), 20),
            0.66,
            0.906,
            0.66,
            log_condition_number_spread="the spread of two values is the largest where they are even: near there it is "
            "almost the square of a normal number, and takes few values in 20 draws.",
        ),
    ),
    "inference_via_optimization": (
        _inversion("64 of N(0, 1)", lambda seed: normal(seed, 64, 2), math.sqrt(2 / math.pi), 1.0),
        _student_inversion(64, 10),
        _student_inversion(
            40, 6, inversion_error="40 squares hold too little of a tail that moves their mean."
        ),
        _inversion(
            "40 in two clusters",
            lambda seed: picked(seed, (0.5, 2), (0.7, 0.3), 40)[:, None].expand(40, 2) * 1.0,
            0.95,
            1.375,
        ),
    ),
    "independent_critic": (
        _independent("200 of N(0, 1), samples by ½ aside", 200, lambda seed, n: normal(seed, n, 1), 0.5),
        _independent("60 of Student's t, 6 degrees", 60, lambda seed, n: student(seed, 6, n, 1), 1.0),
        _independent("60 of two values", 60, lambda seed, n: picked(seed, (0, 1), (3, 1), n)[:, None], 0.25),
    ),
    "gradient_norms": (
        _norms(
            "200 pairs of N(0, I) in 3 dimensions",
            lambda seed: tuple(normal(seed, 2, 200, 3)),
            _chi_between(),
            2.0,
        ),
        _student_norms(100, 12),
        _student_norms(50, 6, gradient_norm_spread=TAIL),
        _norms(
            "60 pairs of two values and 0",
            lambda seed: (picked(seed, (1, 3), (0.5, 0.5), 60)[:, None], torch.zeros(60, 1).double()),
            1.0,
            5 / 3,
        ),
    ),
    "ratio_calibration": (
        _gaussian_ratio(500, 0.5),
        _gaussian_ratio(200, 0.75),
        _gaussian_ratio(100, 1.5, calibration_model=RARE, calibration_target=RARE),
        _coins(60),
        _wrong(),
    ),
}
