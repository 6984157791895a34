"""Calibration of a critic's score as the log of a density ratio."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.checks import checked
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.generator.inputs import CRITICS, critics_of
from distmatch.metrics.model import Model, Options, Result
from distmatch.metrics.plots import Histograms, Plot
from distmatch.random import own_randomness

LARGEST = 350.0  # a score whose exponential can still be squared in float64


@dataclass(frozen=True)
class RatioCalibration:
    """E_q e^t and E_p e^-t (both 1 for the true log-ratio t), and the accuracy of t > 0."""

    model: Estimate
    target: Estimate
    accuracy: Estimate


def ratio_calibration(scores_target: Tensor, scores_model: Tensor) -> RatioCalibration:
    """Calibration of a score t(x) as the log-ratio log p/q: if it is that, E_q[e^t] = 1 and E_p[e^-t] = 1.

    Heavy tails make both expectations' errors optimistic when p and q hardly overlap. The accuracy is that
    of the classifier t > 0 with equal weight on both sides (a tie is half right).

    Args:
        scores_target: (n,) t at draws of the target p; scores_model: (m,) t at draws of the model q.

    Raises:
        BadInput: another shape, fewer than two scores, NaN, scores whose exponential overflows.

    >>> calibration = ratio_calibration(torch.zeros(10), torch.zeros(10))
    >>> calibration.model.value, calibration.target.value, calibration.accuracy.value
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
            "this critic's score is not a usable log-ratio"
        )
    return scores.exp()


CALIBRATED = 1000


@metric(
    "ratio_calibration",
    question="Is each critic's score the log of the density ratio, and how well does it tell the two apart?",
    needs=("critics",),
    reference="E_q e^t = E_p e^-t = 1 for t = log p/q",
    better={
        f"{metric}_{name}": ""
        for name in CRITICS
        for metric in ("calibration_model", "calibration_target", "critic_accuracy")
    },
)
def measure(model: Model, options: Options) -> Result:
    """The calibration of each trained critic whose score is to be log p/q."""
    metrics: dict[str, Estimate] = {}
    plots: list[Plot] = []
    ratios = {k: c for k, c in critics_of(model, options, CALIBRATED).items() if c.is_log_ratio}
    if not ratios:
        raise BadInput(
            "needs a critic whose score is log p/q, as under the logistic loss; this system's are not"
        )
    for name, critic in ratios.items():
        scores = {}
        with torch.no_grad(), own_randomness(options.seed):
            for side, draws in {"target": critic.target, "model": critic.model}.items():
                scores[side] = _in_batches(critic.score, draws, options.batch_size)
        calibration = ratio_calibration(scores["target"], scores["model"])
        metrics |= {
            f"calibration_model_{name}": calibration.model,
            f"calibration_target_{name}": calibration.target,
            f"critic_accuracy_{name}": calibration.accuracy,
        }
        caption = f"Scores of critic {name!r}, log target/model at best: where they overlap it cannot tell them apart"
        plots.append(Histograms(caption, scores, "score, nats"))
    return Result(metrics, tuple(plots))


def _in_batches(score: Callable[..., Tensor], draws: tuple[Tensor, ...], size: int) -> Tensor:
    rows = range(0, len(draws[0]), size)
    return torch.cat([score(*(v[i : i + size] for v in draws)) for i in rows]).double()
