"""Multi-scale structural similarity, and 1 - its mean over pairs of samples as a measure of diversity.

Two public codes differ, so there are two conventions:

- `"rescaled"` (progressive growing of GANs, after TensorFlow's): where an image is smaller than the 11×11
  window, the window shrinks to fit and its σ with it, 1.5·size/11; maps are averaged over channels too,
  then raised to their powers.
- `"fixed"` (compare_gan): the window shrinks but σ stays 1.5; powers are taken per channel, and the channels
  averaged last.

Both halve the image by 2×2 means. For an odd size the last row or column is repeated first: what
scipy.ndimage's 'reflect' and TensorFlow's 'SYMMETRIC' both do. Both clip the contrast terms (and the last
similarity) at 0 before the power, so one anti-correlated scale makes the whole product 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from distmatch.errors import BadInput, unknown
from distmatch.metrics.checks import at_least, checked, same_shape
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.inputs import (
    load,
    subset,
)
from distmatch.metrics.model import Model, Options, Result
from distmatch.random import seeded

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2
CONVENTIONS = {
    "rescaled": "the window's σ shrinks with it (progressive growing)",
    "fixed": "the window's σ stays 1.5 (compare_gan)",
}
BATCHES, BATCH_SIZE = 5, 64
PAIRS = 32  # pairs at once: a few megabytes


@dataclass(frozen=True)
class _Level:
    """One scale of a batch of images: them, their local means and variances, and the blur's two factors."""

    images: Tensor
    mean: Tensor
    variance: Tensor
    rows: Tensor
    columns: Tensor

    def blur(self, images: Tensor) -> Tensor:
        return self.rows @ images @ self.columns.T


def ms_ssim(a: Tensor, b: Tensor, convention: str = "rescaled") -> Tensor:
    """MS-SSIM of every pair (a_i, b_i): Π_s cs_s^w_s · ssim_5^w_5 over five scales, 1 for equal images.

    Window 11×11 Gaussian without padding, k = (0.01, 0.03), dynamic range 1. Computed in the images' own
    precision (float32 agrees with float64 to about 1e-6).

    Args:
        a, b: (n, c, h, w) in [0, 1]; any size from 1×1 up, the scales below 11 pixels shrinking the window.
        convention: "rescaled" or "fixed"; see the module.

    Returns:
        (n,) similarities in [0, 1].

    Raises:
        BadInput: shapes, values outside [0, 1], NaN, an unknown convention.

    Reference: Wang, Simoncelli and Bovik, Multi-scale structural similarity (2003).

    >>> a = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    >>> ms_ssim(a, a)
    tensor([1., 1.])
    """
    a, b = _images(a, "a", 1), _images(b, "b", 1)
    same_shape(a, b, "a and b")
    index = torch.arange(len(a), device=a.device)
    return _pairs(_pyramid(a, convention), _pyramid(b, convention), index, index, convention)


def ms_ssim_diversity(
    images: Tensor,
    *,
    batches: int = BATCHES,
    batch_size: int = BATCH_SIZE,
    convention: str = "rescaled",
    seed: int = 0,
) -> Estimate:
    """1 - mean MS-SSIM over all pairs inside each of 5 batches of 64, self-pairs excluded.

    The batches are disjoint random subsets of the images; the standard error is over batches (five of
    them: `interval` uses Student's t), and NaN where all of them agree. Compare with the same number
    for held-out data: below it a model is too uniform. Meaningful only where data are alike (faces), not across
    classes.

    Args:
        images: (n, c, h, w) in [0, 1], n ≥ batches·batch_size.

    Raises:
        BadInput: too few images, fewer than two batches or two images in a batch, shapes, values, convention.

    Reference: Odena, Olah and Shlens, 1610.09585; protocol of Fedus, Rosca et al., 1710.08446, section 5.3.

    >>> images = torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    >>> ms_ssim_diversity(images, batches=2, batch_size=4).value > 0.5
    True
    """
    images = _images(images, "images", 2)
    at_least(2, batches=batches, batch_size=batch_size)
    need = batches * batch_size
    if len(images) < need:
        raise BadInput(f"{batches} batches of {batch_size} need {need} images; got {len(images)}")
    order = torch.randperm(len(images), generator=seeded(seed))[:need].to(images.device)
    first, second = torch.triu_indices(batch_size, batch_size, 1, device=images.device)
    means = []
    for chosen in order.split(batch_size):
        levels = _pyramid(images[chosen], convention)
        means.append(1 - _pairs(levels, levels, first, second, convention).double().mean())
    how = f"{convention}: {CONVENTIONS[convention]}; {batches} batches of {batch_size}, all pairs"
    diversity = Estimate.mean(torch.stack(means), how=how)
    return diversity if diversity.standard_error > 0 else replace(diversity, standard_error=math.nan)


def _images(images: Tensor, name: str, least: int) -> Tensor:
    """Checked images in float32, or float64 if they were."""
    images = checked(images, name, "n, c, h, w", least=least, dtype=None)
    if float(images.min()) < -1e-6 or float(images.max()) > 1 + 1e-6:
        low, high = float(images.min()), float(images.max())
        raise BadInput(f"{name} must lie in [0, 1]; they span [{low:.3g}, {high:.3g}]")
    return images if images.dtype == torch.float64 else images.float()


def _pyramid(images: Tensor, convention: str) -> list[_Level]:
    """The five scales of every image, with everything that does not depend on its partner."""
    if convention not in CONVENTIONS:
        raise unknown("MS-SSIM convention", convention, CONVENTIONS)
    levels = []
    for _ in WEIGHTS:
        h, w = images.shape[-2:]
        size = min(WINDOW, h, w)
        sigma = SIGMA * size / WINDOW if convention == "rescaled" else SIGMA
        rows, columns = (_banded(side, size, sigma).to(images) for side in (h, w))
        mean = rows @ images @ columns.T
        levels.append(_Level(images, mean, rows @ images.square() @ columns.T - mean.square(), rows, columns))
        images = F.avg_pool2d(F.pad(images, (0, w % 2, 0, h % 2), mode="replicate"), 2)
    return levels


def _banded(side: int, size: int, sigma: float) -> Tensor:
    """The valid convolution with a Gaussian window as a matrix, (side - size + 1, side), float64."""
    offset = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    window = torch.softmax(-0.5 * (offset / sigma).square(), 0)
    matrix = torch.zeros(side - size + 1, side, dtype=torch.float64)
    for i in range(len(matrix)):
        matrix[i, i : i + size] = window
    return matrix


def _pairs(a: list[_Level], b: list[_Level], i: Tensor, j: Tensor, convention: str) -> Tensor:
    """MS-SSIM of a[i] with b[j], a few pairs at a time."""
    chunks = zip(i.split(PAIRS), j.split(PAIRS), strict=True)
    return torch.cat([_some_pairs(a, b, first, second, convention) for first, second in chunks])


def _some_pairs(a: list[_Level], b: list[_Level], i: Tensor, j: Tensor, convention: str) -> Tensor:
    over = (1, 2, 3) if convention == "rescaled" else (2, 3)
    product = torch.ones((), dtype=a[0].images.dtype, device=a[0].images.device)
    for x, y, weight in zip(a, b, WEIGHTS, strict=True):
        x_mean, y_mean = x.mean[i], y.mean[j]
        crossed = 2 * x_mean * y_mean
        covariance = 2 * x.blur(x.images[i] * y.images[j]) - crossed
        term = (covariance + C2) / (x.variance[i] + y.variance[j] + C2)
        if x is a[-1]:
            term = term * (crossed + C1) / (x_mean.square() + y_mean.square() + C1)
        product = product * term.mean(over).clamp_min(0) ** weight
    return product if convention == "rescaled" else product.mean(1)


@metric(
    "ms_ssim_diversity",
    question="Are samples as different from one another as data are?",
    needs=("sample", "is_image"),
    reference="Fedus, Rosca et al., 1710.08446, section 5.3",
    better={f"ms_ssim_diversity_{c}{suffix}": "" for c in CONVENTIONS for suffix in ("", "_data")},
)
def measure(model: Model, options: Options) -> Result:
    """Both conventions, of the samples and, where there is enough of it, of the held-out data."""
    assert model.sample is not None
    count = BATCHES * BATCH_SIZE
    sets = {"": model.sample(count, options.seed)}
    test = load(model.test)
    if test is not None and len(test) >= count:
        sets["_data"] = subset(test, count, options.seed)
    low, high = model.image_range
    estimates = {}
    for suffix, images in sets.items():
        unit = ((images - low) / (high - low)).clamp(0, 1)
        for convention in CONVENTIONS:
            key = f"ms_ssim_diversity_{convention}{suffix}"
            estimates[key] = ms_ssim_diversity(unit, convention=convention, seed=options.seed)
    return Result(estimates)
