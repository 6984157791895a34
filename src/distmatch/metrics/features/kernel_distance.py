"""The kernel distance of two sets of features (KID, whatever the feature net)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import astuple, dataclass

import torch
from torch import Tensor

from distmatch.metrics.checks import at_least
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate, squared_distance_limits
from distmatch.metrics.features.feature_sets import checked_sets, described
from distmatch.metrics.features.inputs import MARKED, MOST, SETS, fakes, feature_sets
from distmatch.metrics.model import Model, Options, Result
from distmatch.random import seeded

ROWS = 500  # rows of a kernel matrix at once


def kernel_distance(
    real: Tensor,
    fake: Tensor,
    degree: int = 3,
    subsets: int | None = 100,
    subset_size: int = 1000,
    *,
    seed: int = 0,
    features: str = "",
    progress: Callable[[float], None] | None = None,
) -> Estimate:
    """MMD²(real, fake) with the kernel k(x, y) = (xᵀy/d + 1)^degree, unbiased, so perhaps below zero:

        mean_{i≠j} k(x_i, x_j) + mean_{i≠j} k(y_i, y_j) - 2 mean_{i,j} k(x_i, y_j)

    Averaged over `subsets` random subsets of `subset_size` of both, as published and as torch-fidelity computes it;
    with `subsets=None`, or where a set has no more than `subset_size`, once over all pairs, which varies less.

    The standard error is over the data: the variance of the U-statistic at the full n, of first order from the
    means of kernel rows and of second order from what these leave, and that of drawing the subsets. (The published
    ±, the standard deviation over subsets, is neither; `how` states it too.) The first order vanishes with the
    distance, so that the interval is a score one, longer above than below where the distance is near its noise.

    Limits: in units of the features, so compare only values of one feature net; a polynomial kernel of degree 3
    sees the first three moments only.

    Args:
        real: (n, d); fake: (m, d); n, m ≥ 4.

    Raises:
        BadInput: shapes, NaN, counts too small.

    Reference: Bińkowski et al., 1801.01401; Bounliphone et al., 1511.04581, for the variance.

    >>> x = torch.randn(400, 4, generator=torch.Generator().manual_seed(0))
    >>> near, far = kernel_distance(x[:200], x[200:]), kernel_distance(x[:200], x[200:] + 1)
    >>> abs(near.value) < 2 * near.standard_error, far.value > 5 * far.standard_error
    (True, True)
    """
    real, fake = checked_sets(real, fake, least=4)
    at_least(1, degree=degree)
    at_least(4, subset_size=subset_size)
    n, m = len(real), len(fake)
    sizes = described(real, fake, features)
    if subsets is None or min(n, m) <= subset_size:
        parts = [_parts(real, fake, degree, progress)]
        how, drawing = f"{sizes}, all pairs once, degree {degree}; unbiased", 0.0
    else:
        at_least(2, subsets=subsets)
        parts = _over_subsets(real, fake, degree, subsets, subset_size, seed, progress)
        values = torch.tensor([part.value for part in parts], dtype=torch.float64)
        how = f"{sizes}, {subsets} subsets of {subset_size} with standard deviation {float(values.std()):.3g}"
        how, drawing = f"{how} (the published ±), degree {degree}; unbiased", float(values.var()) / subsets
    mean = _Parts(*(sum(column) / len(parts) for column in zip(*map(_Parts.row, parts), strict=True)))
    least = min(n, m)
    limits = squared_distance_limits(
        mean.value, mean.plain, mean.linear(n, m), mean.degenerate(n, m) + drawing, least - 1
    )
    return Estimate(mean.value, math.sqrt(mean.variance(n, m) + drawing), least, "", how, limits=limits)


@dataclass(frozen=True)
class _Parts:
    """The unbiased MMD² of one subset and the components of its variance (Hoeffding's).

    Attributes:
        plain: the MMD² of the points themselves, biased up.
        plain_x, plain_y: the variances over one point of 2 (k̄(x, x') - k̄(x, y)) and its mirror image, by means of rows.
        first_x, first_y: the same less the noise of these means.
        xx, yy, xy: the variances of what the means of rows and columns leave of each kernel matrix.
    """

    value: float
    plain: float
    plain_x: float
    plain_y: float
    first_x: float
    first_y: float
    xx: float
    yy: float
    xy: float

    def row(self) -> tuple[float, ...]:
        """The numbers in order."""
        return astuple(self)

    def variance(self, n: int, m: int) -> float:
        """The variance of the unbiased MMD² of n and m points."""
        return max(0.0, self.first_x) / n + max(0.0, self.first_y) / m + self.degenerate(n, m)

    def linear(self, n: int, m: int) -> float:
        """The variance of its linear part, for distributions that are `plain` apart."""
        return self.plain_x / n + self.plain_y / m

    def degenerate(self, n: int, m: int) -> float:
        """The variance of the rest, all that there is where the distributions agree."""
        return 2 * self.xx / (n * (n - 1)) + 2 * self.yy / (m * (m - 1)) + 4 * self.xy / (n * m)


def _over_subsets(
    real: Tensor,
    fake: Tensor,
    degree: int,
    subsets: int,
    size: int,
    seed: int,
    progress: Callable[[float], None] | None,
) -> list[_Parts]:
    """The parts of each subset, all drawn without replacement from the whole sets."""
    generator, parts = seeded(seed), []
    for done in range(subsets):
        a = real[torch.randperm(len(real), generator=generator)[:size].to(real.device)]
        b = fake[torch.randperm(len(fake), generator=generator)[:size].to(fake.device)]
        parts.append(_parts(a, b, degree, None))
        if progress is not None:
            progress((done + 1) / subsets)
    return parts


def _parts(x: Tensor, y: Tensor, degree: int, progress: Callable[[float], None] | None) -> _Parts:
    tick = (lambda done: None) if progress is None else progress
    rows_xx, _, xx = _means(x, x, degree, lambda done: tick(done / 3))
    rows_yy, _, yy = _means(y, y, degree, lambda done: tick((1 + done) / 3))
    rows_xy, columns_xy, xy = _means(x, y, degree, lambda done: tick((2 + done) / 3))
    n, m = len(x), len(y)
    noise_x, noise_y = 4 * (xx / n + xy / m), 4 * (yy / m + xy / n)
    own_x, own_y = (((side.square().mean(1) + 1) ** degree).mean() for side in (x, y))  # k(x, x), k(y, y)
    value = rows_xx.mean() + rows_yy.mean() - 2 * rows_xy.mean()
    plain_x, plain_y = (float((2 * gap).var()) for gap in (rows_xx - rows_xy, rows_yy - columns_xy))
    return _Parts(
        float(value),
        float(value + (own_x - rows_xx.mean()) / n + (own_y - rows_yy.mean()) / m),
        plain_x,
        plain_y,
        plain_x - noise_x,
        plain_y - noise_y,
        xx,
        yy,
        xy,
    )


def _means(a: Tensor, b: Tensor, degree: int, tick: Callable[[float], None]) -> tuple[Tensor, Tensor, float]:
    """Row and column means of k(a, b), without the diagonal if b is a, and the variance that they leave of it."""
    same = b is a
    rows, squares = [], 0.0
    columns = torch.zeros(len(b), dtype=a.dtype, device=a.device)
    for start in range(0, len(a), ROWS):
        kernel = (a[start : start + ROWS] @ b.T / a.shape[1] + 1) ** degree
        if same:
            kernel[:, start : start + ROWS].fill_diagonal_(0)
        rows.append(kernel.sum(1))
        columns += kernel.sum(0)
        squares += float(kernel.square().sum())
        tick(min(1.0, (start + ROWS) / len(a)))
    row, column = torch.cat(rows) / (len(b) - same), columns / (len(a) - same)
    left = (
        squares / (len(a) * (len(b) - same)) - row.square().mean() - column.square().mean() + row.mean() ** 2
    )
    return row, column, max(0.0, float(left))


@metric(
    "kernel_distance",
    question="Have the features of samples the moments of those of data?",
    needs=("sample", "test", "is_image"),
    reference=f"Bińkowski et al., 1801.01401{MARKED}",
    better={"kernel_distance": "lower", "kernel_distance_data": ""},
    quick=False,
)
def measure(model: Model, options: Options) -> Result:
    """The distance of samples from held-out data; and of training data from it."""
    features, net = feature_sets(model, options, MOST)
    real = features[SETS["test"]]
    return Result(
        {
            f"kernel_distance{suffix}": kernel_distance(real, fake, seed=options.seed, features=str(net))
            for suffix, fake in fakes(features).items()
        }
    )
