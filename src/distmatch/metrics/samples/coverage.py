"""Mode coverage of a known mixture (the VEEGAN protocol)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.checks import checked
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.model import Model, Options, Result

SAMPLES = 2_500  # the protocol's number of samples


@dataclass(frozen=True)
class ModeCoverage:
    """The result of `mode_coverage`.

    Attributes:
        modes: number of modes that were captured, of `total`.
        modes_error: what `modes` would vary by on another draw of as many samples (plug-in).
        high_quality: the fraction of samples within `within`·σ of the nearest mode.
        kl: KL(assignment histogram ‖ uniform), in nats, over all samples; biased up by about
            (total - 1)/2n, which its error takes in.
        ceiling: the `high_quality` of a perfect sampler.
    """

    modes: int
    total: int
    modes_error: float
    high_quality: Estimate
    kl: Estimate
    ceiling: float


def mode_coverage(samples: Tensor, modes: Tensor, scale: float, *, within: float = 3.0) -> ModeCoverage:
    """Coverage of the modes of a mixture Σ_k N(modes_k, scale² I)/K by samples, and the samples' quality.

    A sample is of high quality if its Euclidean distance to the nearest mode is at most within·scale; a mode
    is captured if at least one high-quality sample is nearest to it. Use 2,500 samples: the count grows with
    n. Real data does not reach 100 %: in two dimensions the ceiling at 3σ is 1 - exp(-4.5) = 98.89 %, and it
    falls fast with the dimension (a chi distribution), so set `within` on real data when D is large.

    Args:
        samples: (n, D), n ≥ 2; modes: (K, D); scale: σ per coordinate.

    Raises:
        BadInput: shapes, NaN, scale or within not positive.

    Reference: Srivastava et al., VEEGAN, 1705.07761, section 4.1.

    >>> modes = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    >>> coverage = mode_coverage(torch.tensor([[1.0, 0.01], [1.0, 0.2]]), modes, 0.01)
    >>> coverage.modes, coverage.high_quality.value, round(coverage.ceiling, 4)
    (1, 0.5, 0.9889)
    """
    samples, modes = checked(samples, "samples", "n, D"), checked(modes, "modes", "K, D", least=1)
    if samples.shape[1] != modes.shape[1]:
        raise BadInput(f"samples have {samples.shape[1]} dimensions and modes have {modes.shape[1]}")
    if not (0 < float(scale) < math.inf and 0 < within < math.inf):
        raise BadInput(f"scale and within must be positive numbers; got {scale} and {within}")
    distance, nearest = torch.cdist(
        samples, modes.to(samples.device), compute_mode="donot_use_mm_for_euclid_dist"
    ).min(1)
    high = distance <= within * float(scale)
    counts = torch.bincount(nearest[high], minlength=len(modes)).double()
    missed = (-counts[counts > 0]).exp()  # P(none of n lands there) ≈ exp(-count)
    half = torch.tensor(samples.shape[1] / 2, dtype=torch.float64)
    ceiling = float(torch.special.gammainc(half, torch.tensor(within**2 / 2, dtype=torch.float64)))
    return ModeCoverage(
        modes=int((counts > 0).sum()),
        total=len(modes),
        modes_error=float((missed * (1 - missed)).sum().sqrt()),
        high_quality=Estimate.fraction(
            high, how=f"within {within:g}σ; a perfect sampler reaches {ceiling:.4f}"
        ),
        kl=_histogram_kl(nearest, len(modes)),
        ceiling=ceiling,
    )


def reached(modes: int, total: int, error: float) -> tuple[float, float]:
    """The 95 % interval of how many modes as many samples reach on average.

    An error from the modes that were reached says nothing of the others. Their samples are fewer than 3.7 on average,
    or they would have been seen (with probability 97.5 %), and so they add no more modes than that.

    >>> reached(8, 8, 0.0), reached(1, 8, 0.0)
    ((8.0, 8.0), (1.0, 4.688...))
    """
    unseen = -math.log(0.025) if modes < total else 0.0
    return max(0.0, modes - 2 * error), min(float(total), modes + 2 * error + unseen)


def _histogram_kl(nearest: Tensor, total: int) -> Estimate:
    """Σ_k p̂_k log(K p̂_k): the mean over samples of log(K p̂). Its error is the delta method's, which tends to 0
    where all shares are equal, with the bias, (modes reached - 1)/2n, added in quadrature. Where all samples are of one
    mode it is what a single one in another would change, (1 + ln n)/n."""
    counts = torch.bincount(nearest, minlength=total)
    kl = Estimate.mean((total * counts[nearest].double() / len(nearest)).log(), "nats")
    bias, n = (int((counts > 0).sum()) - 1) / (2 * len(nearest)), len(nearest)
    alone = (1 + math.log(n)) / n if bias == 0 and total > 1 else 0.0
    how = "all samples to the nearest mode, against the uniform; 0 for equal shares, ln K for one mode; "
    how += f"biased up by about {bias:.2g}, which the error takes in"
    return replace(kl, standard_error=math.hypot(kl.standard_error, bias, alone), how=how)


@metric(
    "mode_coverage",
    question="How many of the data's modes does the model reach, and how well?",
    needs=("sample", "modes", "mode_scale"),
    reference="Srivastava et al., 1705.07761",
    better={"modes": "higher", "high_quality": "higher", "mode_kl": "lower"},
)
def measure(model: Model, options: Options) -> Result:
    """The VEEGAN protocol: always 2,500 samples, for the count depends on their number."""
    assert model.sample is not None
    assert model.modes is not None
    assert model.mode_scale is not None
    coverage = mode_coverage(model.sample(SAMPLES, options.seed), model.modes, model.mode_scale)
    how = f"of {coverage.total}; captured by at least one high-quality sample of {SAMPLES}"
    limits = reached(coverage.modes, coverage.total, coverage.modes_error)
    modes = Estimate(coverage.modes, coverage.modes_error, SAMPLES, "modes", how, limits=limits)
    return Result({"modes": modes, "high_quality": coverage.high_quality, "mode_kl": coverage.kl})
