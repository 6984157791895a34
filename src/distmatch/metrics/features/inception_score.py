"""The inception score, by any classifier."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.checks import checked
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.features.inputs import MARKED, MOST, image_sets, part_of
from distmatch.metrics.features.nets import image_logits
from distmatch.metrics.model import Model, Options, Result
from distmatch.metrics.plots import Bars
from distmatch.random import seeded


def inception_score(
    logits: Tensor, splits: int = 10, *, seed: int | None = 0, classifier: str = ""
) -> Estimate:
    """IS = exp E_x KL(p(y|x) ‖ p̂(y)), p̂(y) = E_x p(y|x): from 1 (says nothing) to K (sure, and even).

    The value is the mean over `splits` parts of nearly n/splits images, each with a p̂ of its own, as published; they
    are contiguous in a random order, as torch-fidelity's by default, for parts of images that are sorted by class
    hold few classes each and score near 1. The standard error is that
    of this mean, by the delta method over images: d log IS / d(weight of x) = KL(p(y|x) ‖ p̂) - log IS. Published
    scores come with another number, the standard deviation of the parts, which `how` states too. Where each
    p(y|x) is certain and the classes even, the error is too long, by up to √2.

    Limits: below the population's score where n/splits is small, by about a factor exp(-(K - 1)·splits/2n) at
    most, never comparable between classifiers, and blind within a class: one sure image for each class scores K.

    Args:
        logits: (n, K), n ≥ 2·splits, K ≥ 2.
        splits: how many parts; 1 for no split.
        seed: of the order; None leaves the images as they are.
        classifier: its name and hash, for `how`.

    Raises:
        BadInput: shapes, NaN, fewer than two images for each part.

    Reference: Salimans et al., 1606.03498; Barratt and Sharma, 1801.01973, for what it does not say.

    >>> print(inception_score(20 * torch.eye(10).repeat(50, 1), splits=1).value)
    9.99...
    """
    logits = checked(logits, "logits", "n, K")
    n, classes = logits.shape
    if bool((logits >= 0).all()) and bool(((logits.sum(1) - 1).abs() < 1e-3).all()):
        raise BadInput(
            "the logits are probabilities, each row of which sums to 1: give logits, such as p.log()"
        )
    if classes < 2:
        raise BadInput("logits have one class; the inception score needs at least 2")
    if not 1 <= splits <= n // 2:
        raise BadInput(f"splits is {splits} for {n} images; give at least 1, and 2 images for each")
    if seed is not None:
        logits = logits[torch.randperm(n, generator=seeded(seed)).to(logits.device)]
    scores, variances = [], []
    for part in range(splits):
        score, variance = _score(logits[part * n // splits : (part + 1) * n // splits])
        scores.append(score)
        variances.append(variance)
    value = sum(scores) / splits
    spread = math.sqrt(sum((s - value) ** 2 for s in scores) / splits)
    by = f"by {classifier}" if classifier else "by the classifier whose logits were given"
    how = f"{by}, {splits} splits with standard deviation {spread:.3g} (the published ±)"
    how += "; not comparable with another classifier's, such as ImageNet's, or at another n"
    return Estimate(value, math.sqrt(sum(variances)) / splits, n, "", how)


def _score(logits: Tensor) -> tuple[float, float]:
    """exp mean_i KL(p_i ‖ p̂) of one part and the variance of that by the delta method."""
    log_p = logits.log_softmax(1)
    log_marginal = log_p.logsumexp(0) - math.log(len(logits))
    kl = (log_p.exp() * (log_p - log_marginal)).sum(1)
    score = float(kl.mean().exp())
    return score, score**2 * float(kl.var()) / len(logits)


@metric(
    "inception_score",
    question="Is each sample clearly of one class, and are the classes even?",
    needs=("sample", "test", "is_image"),
    reference=f"Salimans et al., 1606.03498{MARKED}",
    better={"inception_score": "higher", "inception_score_data": ""},
    quick=False,
)
def measure(model: Model, options: Options) -> Result:
    """The score of the samples, and of held-out data as the reference on real images."""
    sets, net = image_sets(model, options, MOST, ("test",))
    estimates: dict[str, Estimate] = {}
    classes = {}
    for done, (name, images) in enumerate(sets.items()):
        logits = image_logits(net, images, progress=part_of(options, done, len(sets)))
        suffix = "" if name == "samples" else "_data"
        estimates[f"inception_score{suffix}"] = inception_score(
            logits, _splits(len(logits)), classifier=str(net)
        )
        classes[name] = logits.softmax(1).mean(0)
    caption = f"Mean probability of each class, by {net}"
    return Result(estimates, (Bars(caption, classes, "class", "mean probability"),))


def _splits(n: int) -> int:
    """Ten, as published; fewer where a part would have less than 50 images."""
    return max(1, min(10, n // 50))
