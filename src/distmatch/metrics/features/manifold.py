"""Precision, recall, density and coverage by nearest neighbours of features."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.checks import at_least
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.features.feature_sets import checked_sets, described
from distmatch.metrics.features.inputs import FAKES, MARKED, SETS, fakes, feature_sets
from distmatch.metrics.model import Model, Options, Result
from distmatch.random import seeded

ROWS, COLUMNS = (
    500,
    2_000,
)  # rows of distances at once, 40 MB against 10,000 points; made in tiles of `COLUMNS` columns
PART, DEGREES = 1_000, 25  # points in a part for the errors, and degrees of freedom of these at least
TIE = 1e-10  # squared distances within this share of a squared radius lie on the ball, not in it
SAME = 1e-12  # squared distances below this share of the squared norms are zero: two copies of one point


@dataclass(frozen=True)
class PrecisionRecallDensityCoverage:
    """The result of `precision_recall_density_coverage`. All but `density` are in [0, 1]."""

    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate

    def estimates(self) -> dict[str, Estimate]:
        """The four by name."""
        return dict(vars(self))


def precision_recall_density_coverage(
    real: Tensor,
    fake: Tensor,
    k: int = 5,
    *,
    features: str = "",
    seed: int = 0,
    chunk: int = ROWS,
    progress: Callable[[float], None] | None = None,
) -> PrecisionRecallDensityCoverage:
    """Precision, recall, density and coverage of fake points against real ones.

    With B(x) the open ball about x whose radius is the distance to x's k-th nearest neighbour in its own set:

        precision = 1/M Σ_j 1[y_j ∈ ∪_i B(x_i)],         recall   = 1/N Σ_i 1[x_i ∈ ∪_j B(y_j)],
        density   = 1/(kM) Σ_j Σ_i 1[y_j ∈ B(x_i)],      coverage = 1/N Σ_i 1[∃ j: y_j ∈ B(x_i)]

    for real x_i and fake y_j. Where both come from one distribution density is about 1 and coverage about
    1 - Π_{l<k} (N - l)/(N + M - l) ≈ 1 - 2^-k at N = M, whatever the features.

    Errors: random parts of both sets, two halves or parts of about 1,000, are scored at the same k, in several
    partitions. The variance between parts becomes that at n by the ratio of what both would be if balls and points
    were independent: 1/n where points are spread over many balls, none where they share a few, as narrow fakes do,
    however many they are. A share's is never below its own (Agresti and Coull's); density has none where all parts
    agree, and none has one where half a set has no more than k points. They say how the number varies at this n.

    Limits: all depend on n and k; precision and recall on outliers (one lonely real point has a huge ball), and where
    all points of a set are in the same few balls these two are nearly 0 or 1, and their error is too short. Points
    with k copies of themselves have an empty ball. Work is quadratic in n; memory is a few times chunk·n float64.

    Args:
        real: (N, d); fake: (M, d); more than k points each.
        features: the feature net's name and hash, for `how`.
        progress: called with the share that is done.

    Raises:
        BadInput: shapes, NaN, k below 1 or not below the number of points, all points copies.

    Reference: Kynkäänniemi et al., 1904.06991 (precision, recall; they use k = 3); Naeem et al., 2002.09797.

    >>> x = torch.randn(500, 8, generator=torch.Generator().manual_seed(0))
    >>> scores = precision_recall_density_coverage(x[:250], x[250:] + 9)
    >>> scores.precision.value, scores.coverage.value
    (0.0, 0.0)
    """
    real, fake = checked_sets(real, fake, dtype=None)
    at_least(1, k=k, chunk=chunk)
    if k >= min(len(real), len(fake)):
        raise BadInput(f"k is {k} for {len(real)} real and {len(fake)} fake points; give more points than k")
    centre = real.mean(0, dtype=torch.float64)
    both = _Points(real, centre), _Points(fake, centre)
    counts = _Counts(*both, k, chunk, (lambda done: None) if progress is None else progress)
    if counts.empty:
        raise BadInput(
            f"every point has {k} copies of itself in its set, so no ball has a size; look at the features"
        )
    spread = _spread(*both, counts, k, chunk, seed)
    n, m, how = len(real), len(fake), f"{described(real, fake, features)}, k = {k}; depends on all of these"
    at_equality = 1 - math.prod((n - i) / (n + m - i) for i in range(k))
    about_one, about = (
        f"{how}; about 1 for equal distributions",
        f"{how}; about {at_equality:.3f} for equal distributions",
    )
    return PrecisionRecallDensityCoverage(
        precision=_share(counts.balls > 0, spread[0], how),
        recall=_share(counts.recalled, spread[1], how),
        density=Estimate(counts.values[2], spread[2] or math.nan, min(n, m), "", about_one),
        coverage=_share(counts.guests > 0, spread[3], about),
    )


@dataclass(frozen=True)
class _Points:
    """Points as they were given, (n, d), and what is subtracted from them; only tiles of them become float64."""

    values: Tensor
    centre: Tensor

    def __len__(self) -> int:
        return len(self.values)

    def tile(self, rows: slice) -> Tensor:
        """These rows, centred, in float64."""
        return self.values[rows].double() - self.centre

    def subset(self, rows: Tensor) -> _Points:
        """These rows as points of their own."""
        return _Points(self.values[rows.to(self.values.device)], self.centre)


class _Counts:
    """Counts of the points in each other's balls.

    Attributes:
        balls: (M,) in how many real balls each fake point is; guests: (N,) how many fake points each holds.
        recalled: (N,) whether each real point is in a fake ball.
        values: precision, recall, density and coverage; empty: whether no ball has a size.
        alone: by which variance each of these scales with the number of points, if all points were independent: that of
            points in real balls, of points in fake balls for recall, and 1/N for coverage.
    """

    def __init__(
        self, real: _Points, fake: _Points, k: int, chunk: int, tick: Callable[[float], None]
    ) -> None:
        work = 2 * len(real) + len(fake)
        real_radii = _radii(real, k, chunk, lambda rows: tick(rows / work))
        fake_radii = _radii(fake, k, chunk, lambda rows: tick((len(real) + rows) / work))
        self.balls = torch.zeros(len(fake), dtype=torch.int64, device=real.centre.device)
        hosted = torch.zeros(len(fake), dtype=torch.int64, device=real.centre.device)
        guests, fake_balls = [], []
        for rows, squared in _blocks(real, fake, chunk):
            inside = squared < real_radii[rows, None]
            self.balls += inside.sum(0)
            guests.append(inside.sum(1))
            inside = squared < fake_radii
            hosted += inside.sum(0)
            fake_balls.append(inside.sum(1))
            tick((len(real) + len(fake) + rows.stop) / work)
        self.guests, in_fake_balls = torch.cat(guests), torch.cat(fake_balls)
        self.recalled = in_fake_balls > 0
        self.empty = not (real_radii.any() or fake_radii.any())
        density = self.balls.double().mean() / k
        shares = [(hits > 0).double().mean() for hits in (self.balls, self.recalled, self.guests)]
        self.values = [float(v) for v in (shares[0], shares[1], density, shares[2])]
        in_real, in_fake = _alone(self.balls, self.guests), _alone(in_fake_balls, hosted)
        self.alone = [in_real, in_fake, in_real, 1 / len(real)]


def _alone(balls: Tensor, guests: Tensor) -> float:
    """The variance of the mean of balls per point, (n,), if these and guests per ball, (m,), were all independent."""
    of_balls = guests.double().var() * len(guests) / len(balls) ** 2
    return float(of_balls + balls.double().var() / len(balls))


def _spread(real: _Points, fake: _Points, whole: _Counts, k: int, chunk: int, seed: int) -> list[float]:
    """The four standard errors, from parts that share no point."""
    smaller = min(len(real), len(fake))
    if smaller // 2 <= k:
        return [math.nan] * 4
    parts = max(2, smaller // max(PART, 4 * k))
    generator, variances, alone = seeded(seed), [], []
    for _ in range(math.ceil(DEGREES / (parts - 1))):
        cuts = [
            torch.randperm(len(points), generator=generator).tensor_split(parts) for points in (real, fake)
        ]
        counts = [
            _Counts(real.subset(a), fake.subset(b), k, chunk, lambda done: None)
            for a, b in zip(*cuts, strict=True)
        ]
        values = torch.tensor([part.values for part in counts], dtype=torch.float64)
        variances.append(values.var(0))
        alone.append(torch.tensor([part.alone for part in counts], dtype=torch.float64).mean(0))
    ratio = torch.tensor(whole.alone, dtype=torch.float64) / torch.stack(alone).mean(0)
    scale = torch.where(ratio.isfinite(), ratio, 1.0).clamp_min(
        1 / parts
    )  # not so: no part has a point in any ball
    return [float(v) for v in (torch.stack(variances).mean(0) * scale).sqrt()]


def _share(hits: Tensor, error: float, how: str) -> Estimate:
    """A share with the larger of two errors: between parts, and its own; without any where there are no parts."""
    own = Estimate.fraction(hits, how=how)
    if math.isnan(error):
        return replace(own, standard_error=error, limits=None)
    return Estimate.fraction(hits, how=how, design_effect=max(1.0, (error / own.standard_error) ** 2))


def _blocks(a: _Points, b: _Points, chunk: int) -> Iterator[tuple[slice, Tensor]]:
    """Squared distances of `chunk` rows of a from all of b, (rows, len(b)) float64, block by block."""
    for start in range(0, len(a), chunk):
        rows = slice(start, min(start + chunk, len(a)))
        left = a.tile(rows)
        squared = left.new_empty(len(left), len(b))
        for first in range(0, len(b), COLUMNS):
            columns = slice(first, first + COLUMNS)
            right = b.tile(columns)
            scale = left.square().sum(1, keepdim=True) + right.square().sum(1)
            tile = torch.addmm(scale, left, right.T, alpha=-2)
            squared[:, columns] = tile.masked_fill_(tile < SAME * scale, 0)
        yield rows, squared


def _radii(points: _Points, k: int, chunk: int, tick: Callable[[int], None]) -> Tensor:
    """Squared distance of each point from its k-th neighbour, a little shortened so that ties are outside."""
    radii = []
    for rows, squared in _blocks(points, points, chunk):
        squared[:, rows].fill_diagonal_(math.inf)
        radii.append(squared.topk(k, largest=False).values[:, -1])
        tick(rows.stop)
    return torch.cat(radii) * (1 - TIE)


MOST_NEIGHBOURS = 5_000  # ... where every pair is compared


@metric(
    "precision_recall_density_coverage",
    question="Are samples where data are, and data where samples are?",
    needs=("sample", "test", "is_image"),
    reference=f"Kynkäänniemi et al., 1904.06991; Naeem et al., 2002.09797{MARKED}",
    better={
        f"{name}{suffix}": "" if suffix else "higher"
        for suffix in FAKES
        for name in ("precision", "recall", "density", "coverage")
    },
    quick=False,
)
def measure(model: Model, options: Options) -> Result:
    """The scores of samples against held-out data; and of training data against it."""
    features, net = feature_sets(model, options, MOST_NEIGHBOURS)
    estimates: dict[str, Estimate] = {}
    for suffix, fake in fakes(features).items():
        scores = precision_recall_density_coverage(
            features[SETS["test"]], fake, seed=options.seed, features=str(net)
        )
        estimates |= {f"{name}{suffix}": e for name, e in scores.estimates().items()}
    return Result(estimates)
