"""Coverage of the 1,000 modes of stacked MNIST by samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.checks import checked
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.features.inputs import in_unit_range
from distmatch.metrics.features.nets import FeatureNet, feature_net, image_logits
from distmatch.metrics.model import Model, Options, Result
from distmatch.metrics.plots import Histograms
from distmatch.metrics.samples.coverage import reached

SAMPLES = 26_000  # the protocol's number of samples
MODES = 1_000


@dataclass(frozen=True)
class StackedModes:
    """The result of `stacked_mnist_modes`.

    Attributes:
        modes: number of the 1,000 triples of digits among the samples.
        kl: KL(the samples' triples ‖ the data's), in nats.
        floor: the KL of a perfect sampler at this n, 999/2n + (1000² - 1)/12n² for even modes.
        counts: (1000,) samples of each mode 100 a + 10 b + c.
    """

    modes: Estimate
    kl: Estimate
    floor: float
    counts: Tensor


def stacked_mnist_modes(
    samples: Tensor,
    *,
    classifier: FeatureNet | None = None,
    target: Tensor | None = None,
    batch_size: int = 250,
    progress: Callable[[float], None] | None = None,
) -> StackedModes:
    """Modes hit, and the reverse KL Σ_t p̂(t) log p̂(t)/q(t) of the triples t = (a, b, c) of digits.

    A classifier names the digit in each channel; p̂ is the histogram. Use 26,000 samples: both numbers depend on
    n, the plug-in KL is biased up, and even a perfect sampler has 0.0193 ± 0.0009 there (`floor`). Published numbers
    take q as even; real digits are not quite, which costs about 0.004 of three draws from MNIST's training set.
    An error rate e of the classifier spreads 3e of the samples over other modes: at 0.5 % some 390 of 26,000, so
    a model that has collapsed to few modes is credited with modes that it does not have. Errors are the jackknife's
    over samples, at this n; near even modes they are too long. The low end of the KL's interval is lower by twice the
    jackknife's estimate of the bias, which is short where many modes are rare, and so the interval is the population's.

    Args:
        samples: (n, 3, 28, 28) in [0, 1], or logits (n, 3, 10).
        classifier: of 1×28×28 digits; None for the shipped one. Not used for logits.
        target: (1000,) q, positive, normalised here; None for even.

    Raises:
        BadInput: shapes, NaN, a range other than [0, 1], a target that is not positive.

    Reference: Metz et al., 1611.02163; Srivastava et al., 1705.07761; Lin et al., 1712.04086 (26,000 samples).

    >>> digits = torch.eye(10).repeat(30, 1).view(100, 3, 10)
    >>> coverage = stacked_mnist_modes(digits)
    >>> int(coverage.modes.value), round(coverage.kl.value, 2)
    (10, 4.61)
    """
    logits, named = _logits(samples, classifier, batch_size, progress)
    triples = logits.argmax(2) @ torch.tensor([100, 10, 1], device=logits.device)
    n, q = len(triples), _even() if target is None else _checked_target(target)
    counts = torch.bincount(triples, minlength=MODES).cpu().double()
    p = counts / n
    kl = float((torch.special.xlogy(p, p) - p * q.log()).sum())
    alone = (
        torch.special.xlogy(counts, counts)
        - torch.special.xlogy(counts - 1, (counts - 1).clamp(min=1))
        - q.log()
    )
    left = (n * (kl + math.log(n)) - float((p * alone).sum())) / (n - 1) - math.log(
        n - 1
    )  # mean without one sample
    bias = (n - 1) * (left - kl)
    floor = (MODES - 1) / (2 * n) + (MODES**2 - 1) / (12 * n**2)
    against = "even modes" if target is None else "the target given"
    how_kl = f"{named}; reverse KL to {against}; a perfect sampler has about {floor:.4f} at this n"
    how_kl += f"; biased up by about {bias:.2g}, which the interval takes in"
    divergence = Estimate(kl, _jackknife(p, alone / (n - 1), n), n, "nats", how_kl)
    low, high = divergence.interval()
    how_modes = f"{named}; of {MODES}; grows with n, {SAMPLES} by convention"
    hit, once = int((counts > 0).sum()), (counts == 1).double()
    error = _jackknife(p, once, n)
    return StackedModes(
        modes=Estimate(hit, error, n, "modes", how_modes, limits=reached(hit, MODES, error)),
        kl=replace(divergence, limits=(max(0.0, low - 2 * bias), high)),
        floor=floor,
        counts=counts.long(),
    )


def _jackknife(p: Tensor, change: Tensor, n: int) -> float:
    """The standard error from what a sample of each mode changes when it is left out, (1000,)."""
    return math.sqrt(n * float((p * (change - (p * change).sum()).square()).sum()))


def _logits(
    samples: Tensor, classifier: FeatureNet | None, batch_size: int, progress: Callable[[float], None] | None
) -> tuple[Tensor, str]:
    """(n, 3, 10) and whose they are."""
    if isinstance(samples, Tensor) and samples.ndim == 3:
        logits = checked(samples, "logits", "n, 3, 10")
        if logits.shape[1:] != (3, 10):
            raise BadInput(f"logits must have shape (n, 3, 10); got {tuple(logits.shape)}")
        return logits, "by the logits given"
    images = checked(samples, "samples", "n, 3, 28, 28", dtype=None)
    if images.shape[1:] != (3, 28, 28):
        raise BadInput(f"samples must have shape (n, 3, 28, 28); got {tuple(images.shape)}")
    net = feature_net("mnist") if classifier is None else classifier
    logits = image_logits(net, images.reshape(-1, 1, 28, 28), batch_size=batch_size, progress=progress)
    if logits.shape[1] != 10:
        raise BadInput(f"the classifier '{net}' has {logits.shape[1]} classes; give one of the 10 digits")
    return logits.view(-1, 3, 10), f"digits by {net}"


def _even() -> Tensor:
    return torch.full((MODES,), 1 / MODES, dtype=torch.float64)


def _checked_target(target: Tensor) -> Tensor:
    target = checked(target, "target", "modes").cpu()
    if len(target) != MODES or not (target > 0).all():
        raise BadInput(
            f"target must hold {MODES} positive shares; got {len(target)}, least {float(target.min()):.3g}"
        )
    return target / target.sum()


@metric(
    "stacked_mnist_modes",
    question="How many of the 1,000 triples of digits does the model reach, and how evenly?",
    needs=("sample", "is_image", "stacked_digits"),
    reference="Srivastava et al., 1705.07761; Lin et al., 1712.04086",
    better={"stacked_modes": "higher", "stacked_kl": "lower"},
    quick=False,
)
def measure(model: Model, options: Options) -> Result:
    """Always 26,000 samples, for both numbers depend on how many there are."""
    assert model.sample is not None
    images = in_unit_range(model.sample(SAMPLES, options.seed), model, "samples")
    coverage = stacked_mnist_modes(images, progress=options.progress)
    caption = f"How many of {SAMPLES:,} samples fall on each of the {MODES:,} modes; even ones have {SAMPLES // MODES}"
    counts = Histograms(caption, {"modes": coverage.counts.double()}, "samples of a mode")
    return Result({"stacked_modes": coverage.modes, "stacked_kl": coverage.kl}, (counts,))
