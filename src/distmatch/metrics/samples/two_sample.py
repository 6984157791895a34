"""Three tests of whether two samples come from one distribution, with p-values by permutation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from distmatch.errors import BadInput, unknown
from distmatch.metrics.checks import at_least, check_apart, check_scales, checked
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate, binomial_limits, squared_distance_limits
from distmatch.metrics.model import Model, Options, Result
from distmatch.metrics.plots import Histograms
from distmatch.metrics.samples.distances import ROWS, embedded, nearest_others
from distmatch.metrics.samples.inputs import DATA, SAMPLES, samples_and_data
from distmatch.objectives.comparisons.mmd import squared_distances
from distmatch.random import seeded

COMPARED = 1000  # samples and as many data, at most

MEDIAN_OF = 1000  # points whose distances the bandwidth is the median of, at most
BLIND = 1e-6  # the mean of a kernel that is as good as 0; one within this of 1 sees nothing either
PERMUTED = 50  # permutations at once along one projection

Kernel = Callable[[Tensor, float], Tensor]
KERNELS: dict[str, Kernel] = {
    "rbf": lambda squared, h: (squared / (-2 * h * h)).exp_(),
    "imq": lambda squared, h: (1 + squared / (h * h)).reciprocal_(),
}
"""Squared distances and a bandwidth h -> exp(-d²/2h²), or the inverse multiquadric h²/(h² + d²)."""


@dataclass(frozen=True, eq=False)
class TwoSampleTest:
    """The result of a two-sample test.

    Attributes:
        statistic: with its error over samples of both sides.
        p_value: the share of permuted labels that give as much or more, (1 + #)/(1 + permutations).
        null: the statistics with permuted labels, (permutations,).
    """

    statistic: Estimate
    p_value: Estimate
    null: Tensor = field(repr=False)


@dataclass(frozen=True, eq=False)
class NearestNeighbourTest:
    """The result of `nearest_neighbour_two_sample`.

    Attributes:
        accuracy: the share of all points whose nearest neighbour is of their own side.
        accuracy_a, accuracy_b: the same of a's points and of b's.
        p_value: of an accuracy as high; p_copying: of one as low.
        null: the accuracies with permuted labels, (permutations,).
    """

    accuracy: Estimate
    accuracy_a: Estimate
    accuracy_b: Estimate
    p_value: Estimate
    p_copying: Estimate
    null: Tensor = field(repr=False)


def maximum_mean_discrepancy(
    a: Tensor,
    b: Tensor,
    *,
    kernel: str = "rbf",
    bandwidth: float | None = None,
    permutations: int = 500,
    seed: int = 0,
) -> TwoSampleTest:
    """The unbiased MMD² = E k(x, x') + E k(y, y') - 2 E k(x, y); it may be negative near 0.

    The Gram matrix K of the pooled sample, its diagonal set to 0, is made by rows and never kept: for the
    columns u of a 0-1 matrix U, one for each permutation, uᵀKu, uᵀK1 and 1ᵀK1 give all three sums. The
    error is that of a U-statistic's first-order term, 2(k̄_xx - k̄_xy) for each x and likewise for y. It vanishes
    with the distance, so that the interval is a score one, which has the second-order term too: longer above than
    below where the distance is near its noise.

    Args:
        a: (n, *), n ≥ 2; b: (m, *), m ≥ 2, of the same size each.
        kernel: "rbf", exp(-d²/2h²), or "imq", h²/(h² + d²), whose tails are heavy.
        bandwidth: h; None for the median distance in (at most 1,000 points of) the pooled sample. As labels
            have no part in it, the test keeps its level.
        permutations: at least 1; p is no smaller than 1/(1 + permutations).

    Raises:
        BadInput: shapes, NaN, an unknown kernel, a bandwidth that is not positive, or none to be found as
            half of the points are the same.

    Reference: Gretton et al., A kernel two-sample test (JMLR 2012); the permutation test is its section 5.

    >>> a, b = torch.randn(2, 100, 3, generator=torch.Generator().manual_seed(0))
    >>> test = maximum_mean_discrepancy(a, b + 1)
    >>> test.p_value.value < 0.01
    True
    """
    points, n = _pooled(a, b)
    at_least(1, permutations=permutations)
    if kernel not in KERNELS:
        raise unknown("kernel", kernel, KERNELS)
    h = _median_distance(points, seed) if bandwidth is None else float(bandwidth)
    if not 0 < h < math.inf:
        raise BadInput(f"bandwidth is {h}; give a positive number")
    first = _labels(len(points), n, permutations, seed).to(points.device)
    columns = torch.cat([first, torch.ones_like(first[:, :1])], 1)
    products, squares = torch.empty_like(columns), torch.empty_like(columns[:, :2])
    for rows in torch.arange(len(points)).split(ROWS):
        gram = KERNELS[kernel](squared_distances(points[rows], points), h)
        gram[torch.arange(len(rows)), rows] = 0
        products[rows] = gram @ columns
        squares[rows] = gram.square_() @ columns[:, [0, -1]]
    mean = float(products[:, -1].sum()) / (len(points) * (len(points) - 1))
    if bandwidth is not None and not BLIND < mean < 1 - BLIND:
        raise BadInput(
            f"with bandwidth {h:g} the kernel is {round(mean)} for all pairs, so it sees no difference: their median "
            f"distance is {_median_distance(points, seed):.3g}; give a bandwidth near it, or none"
        )
    statistics = _unbiased(products[:, :-1], products[:, -1], first, n).cpu()
    linear, plain = _linear(products[:, 0], products[:, -1], n)
    degenerate = _degenerate(products[:, 0], products[:, -1], squares, n)
    limits = squared_distance_limits(float(statistics[0]), plain, linear, degenerate, len(points) - 1)
    how = f"squared, unbiased; {kernel} kernel, bandwidth {h:.3g}, {permutations} permutations"
    value = Estimate(float(statistics[0]), math.sqrt(linear), len(points), "", how, limits=limits)
    return TwoSampleTest(value, _p_value(statistics[0], statistics[1:]), statistics[1:])


def sliced_wasserstein(
    a: Tensor, b: Tensor, *, projections: int = 100, permutations: int = 500, seed: int = 0
) -> TwoSampleTest:
    """The mean of the one-dimensional W₁ over random directions θ, W₁(θ) = ∫ |F_a(t) - F_b(t)| dt.

    Exact along each direction, also for samples of two sizes; the directions are the same for all
    permutations. With f the dual potential, f' = sign(F_a - F_b), W₁ = E_b f - E_a f, so the error over samples is
    that of two means; the spread over directions is added to it. It is above 0 for two samples of one
    distribution (`how` says where the permuted labels lie), so that the interval's low end is lower by what these give
    on average, but not below 0. It scales as the data do.

    Args:
        a: (n, *), n ≥ 2; b: (m, *), m ≥ 2, of the same size each.
        projections: directions, at least 2.
        permutations: at least 1; p is no smaller than 1/(1 + permutations).

    Raises:
        BadInput: shapes, NaN, counts too small.

    Reference: Rabin et al., Wasserstein barycenter and its application to texture mixing (2011); Bonneel et
    al., Sliced and Radon Wasserstein barycenters of measures (2015).

    >>> a = torch.randn(200, 1, generator=torch.Generator().manual_seed(0))
    >>> round(sliced_wasserstein(a, a + 2, permutations=50).statistic.value, 6)
    2.0
    """
    points, n = _pooled(a, b)
    at_least(2, projections=projections)
    at_least(1, permutations=permutations)
    first = _labels(len(points), n, permutations, seed).to(points.device)
    weights = first / n - (1 - first) / (len(points) - n)
    directions = torch.randn(points.shape[1], projections, generator=seeded(seed + 1), dtype=points.dtype)
    projected = points @ (directions / directions.norm(dim=0)).to(points.device)
    potential, along = torch.zeros_like(points[:, 0]), []
    for values in projected.T:
        order = values.argsort()
        gaps = values[order].diff()
        along.append(
            torch.cat([gaps @ part[order].cumsum(0)[:-1].abs() for part in weights.split(PERMUTED, 1)])
        )
        slope = weights[order, 0].cumsum(0)[:-1].sign() * gaps
        potential[order[1:]] += slope.cumsum(0) / projections
    distances = torch.stack(along)
    statistics, null = distances.mean(0), distances.mean(0)[1:].cpu()
    spread = distances[:, 0].var() / projections + potential[:n].var() / n
    error = math.sqrt(float(spread + potential[n:].var() / (len(points) - n)))
    how = f"W₁ over {projections} directions; two samples of one distribution give {float(null.mean()):.3g}"
    value = Estimate(float(statistics[0]), error, len(points), "", how)
    low, high = value.interval()
    value = replace(value, limits=(max(0.0, low - float(null.mean())), high))
    return TwoSampleTest(value, _p_value(statistics[0].cpu(), null), null)


def nearest_neighbour_two_sample(
    a: Tensor, b: Tensor, *, permutations: int = 500, seed: int = 0
) -> NearestNeighbourTest:
    """The leave-one-out accuracy of a one-nearest-neighbour classifier of a against b.

    About ½ where both are of one distribution and one size, near 1 where they are apart, and below ½ where
    one side copies the other: then each point's nearest neighbour is its original. Accuracies by side tell
    more: with a the samples and b the data, a low `accuracy_b` and a high `accuracy_a` say that samples crowd
    in few places. The nearest neighbours stay the same under permuted labels, so these cost little. As
    neighbours are often mutual, errors are a fraction's, whose design effect is by how much more the permuted
    accuracies vary than independent ones would.

    Args:
        a: (n, *), n ≥ 2; b: (m, *), m ≥ 2, of the same size each; take n = m, or ½ is not the reference.
        permutations: at least 2.

    Raises:
        BadInput: shapes, NaN, counts too small.

    Reference: Lopez-Paz and Oquab, Revisiting classifier two-sample tests, 1610.06545; Xu et al., 1806.07755,
    for the accuracies by side.

    >>> a, b = torch.randn(2, 100, 3, generator=torch.Generator().manual_seed(0))
    >>> nearest_neighbour_two_sample(a, b + 9).accuracy.value
    1.0
    """
    points, n = _pooled(a, b)
    at_least(2, permutations=permutations)
    order = torch.randperm(len(points), generator=seeded(seed + 1))  # ties must not know the sides
    nearest = nearest_others(points[order.to(points.device)]).cpu()
    labels = _labels(len(points), n, permutations, seed)[order].bool()
    agree = labels[nearest] == labels
    accuracies = agree.double().mean(0)
    observed, null = accuracies[0], accuracies[1:]
    chance = float(null.mean())
    alone = math.sqrt(max(chance * (1 - chance), 1e-12) / len(points))
    design = max(1.0, (float(null.std()) / alone) ** 2)
    sides = {"all": agree[:, 0], "a": agree[labels[:, 0], 0], "b": agree[~labels[:, 0], 0]}
    how = f"1-nearest neighbour, leave one out; {chance:.3f} by chance"
    shown = {side: Estimate.fraction(hits, how=how, design_effect=design) for side, hits in sides.items()}
    return NearestNeighbourTest(
        accuracy=shown["all"],
        accuracy_a=shown["a"],
        accuracy_b=shown["b"],
        p_value=_p_value(observed, null),
        p_copying=_p_value(-observed, -null),
        null=null,
    )


def _pooled(a: Tensor, b: Tensor) -> tuple[Tensor, int]:
    """Both samples in one, flattened, centred and in float64, and how many are a's."""
    for side, name in ((a, "a"), (b, "b")):
        checked(side.flatten(1) if side.ndim > 1 else side, name, "n, D", dtype=None)
    if a.shape[1:] != b.shape[1:]:
        raise BadInput(
            f"a and b must hold things of one shape; got {tuple(a.shape[1:])} and {tuple(b.shape[1:])}"
        )
    check_apart(a, b)
    check_scales(a, b)
    return embedded(torch.cat([a.double(), b.double().to(a.device)]), "a and b"), len(a)


def _labels(total: int, n: int, permutations: int, seed: int) -> Tensor:
    """1 for a and 0 for b, (total, 1 + permutations): as they are, then permuted."""
    mine = torch.arange(total) < n
    shuffled = torch.rand(total, permutations, generator=seeded(seed)).argsort(0)
    return torch.cat([mine[:, None], mine[shuffled]], 1).double()


def _p_value(observed: Tensor, null: Tensor) -> Estimate:
    """(1 + # permuted ≥ observed)/(1 + permutations), equal up to rounding counting as equal.

    Its interval is Clopper and Pearson's, for the p-value that all permutations would give.
    """
    slack = 1e-12 * float(null.abs().max())
    count, n = int((null >= observed - slack).sum()), len(null)
    how = f"{len(null)} permutations of the labels; even between 0 and 1 where both are of one distribution"
    share = Estimate.share(count / n, n, n, "", how)
    return replace(share, value=(1 + count) / (1 + n), limits=binomial_limits(count, n))


def _median_distance(points: Tensor, seed: int) -> float:
    """The median distance of two of at most 1,000 pooled points."""
    chosen = points[torch.randperm(len(points), generator=seeded(seed))[:MEDIAN_OF].to(points.device)]
    first, second = torch.triu_indices(len(chosen), len(chosen), 1)
    median = math.sqrt(float(squared_distances(chosen, chosen)[first, second].median()))
    if median < 1e-7 * float(points.abs().max()) or median == 0:
        raise BadInput(
            "half of the pooled points are the same, so their median distance is 0; give bandwidth"
        )
    return median


def _unbiased(inside: Tensor, rows: Tensor, first: Tensor, n: int) -> Tensor:
    """MMD² for each column of labels, from K·labels and K·1."""
    m = len(first) - n
    aa = (first * inside).sum(0)
    ab = rows @ first - aa
    bb = rows.sum() - aa - 2 * ab
    return aa / (n * (n - 1)) + bb / (m * (m - 1)) - 2 * ab / (n * m)


def _linear(inside: Tensor, rows: Tensor, n: int) -> tuple[float, float]:
    """The variance of the first order, and the MMD² of the points themselves, whose k(x, x) are 1; from K·labels and
    K·1 with the labels as they are."""
    m, outside = len(rows) - n, rows - inside
    of_a = 2 * (inside[:n] / (n - 1) - outside[:n] / m)
    of_b = 2 * (outside[n:] / (m - 1) - inside[n:] / n)
    plain = (inside[:n].sum() + n) / n**2 + (outside[n:].sum() + m) / m**2 - 2 * outside[:n].sum() / (n * m)
    return float(of_a.var() / n + of_b.var() / m), float(plain)


def _degenerate(inside: Tensor, rows: Tensor, squares: Tensor, n: int) -> float:
    """The variance of the second order, from the same and K²·labels and K²·1: what the means of rows and columns leave
    of each part of K."""
    m, outside = len(rows) - n, rows - inside
    aa, ab = inside[:n] / (n - 1), outside[:n] / m
    ba, bb = inside[n:] / n, outside[n:] / (m - 1)
    of_a, of_b = squares[:n, 0].sum(), (squares[n:, 1] - squares[n:, 0]).sum()
    across = (squares[:n, 1] - squares[:n, 0]).sum() / (n * m)

    def left(mean: Tensor, first: Tensor, second: Tensor) -> float:
        return max(0.0, float(mean - first.square().mean() - second.square().mean() + first.mean() ** 2))

    within = left(of_a / (n * (n - 1)), aa, aa) / (n * (n - 1)) + left(of_b / (m * (m - 1)), bb, bb) / (
        m * (m - 1)
    )
    return 2 * within + 4 * left(across, ab, ba) / (n * m)


@metric(
    "mmd",
    question="Does a kernel tell samples from data?",
    needs=("sample", "test"),
    reference="Gretton et al., A kernel two-sample test (JMLR 2012)",
    better={"mmd": "lower", "mmd_p_value": ""},
)
def measure_mmd(model: Model, options: Options) -> Result:
    """Samples against held-out data, both kernels' common default: the median distance."""
    return _tested("mmd", model, options, maximum_mean_discrepancy)


@metric(
    "sliced_wasserstein",
    question="How far must samples be moved, along random directions, to become data?",
    needs=("sample", "test"),
    reference="Rabin et al., Wasserstein barycenter and its application to texture mixing (2011)",
    better={"sliced_wasserstein": "lower", "sliced_wasserstein_p_value": ""},
)
def measure_sliced_wasserstein(model: Model, options: Options) -> Result:
    """Samples against held-out data."""
    return _tested("sliced_wasserstein", model, options, sliced_wasserstein)


@metric(
    "nearest_neighbour_two_sample",
    question="Are the nearest neighbours of samples samples, and those of data data?",
    needs=("sample", "test"),
    reference="Lopez-Paz and Oquab, 1610.06545; one half is best, less for copies",
    better={
        "nn_accuracy": "",
        "nn_accuracy_samples": "",
        "nn_accuracy_data": "",
        "nn_p_value": "",
        "nn_p_copying": "",
    },
)
def measure_nearest_neighbours(model: Model, options: Options) -> Result:
    """Samples against held-out data: a's side are the samples."""
    sets = samples_and_data(model, options, COMPARED)
    test = nearest_neighbour_two_sample(sets[SAMPLES], sets[DATA], seed=options.seed)
    estimates = {
        "nn_accuracy": test.accuracy,
        "nn_accuracy_samples": test.accuracy_a,
        "nn_accuracy_data": test.accuracy_b,
        "nn_p_value": test.p_value,
        "nn_p_copying": test.p_copying,
    }
    return Result(estimates, (_null(test.null, test.accuracy),))


def _tested(name: str, model: Model, options: Options, test: Callable[..., TwoSampleTest]) -> Result:
    """A test of samples against as many held-out data."""
    sets = samples_and_data(model, options, COMPARED)
    outcome = test(sets[SAMPLES], sets[DATA], seed=options.seed)
    return Result(
        {name: outcome.statistic, f"{name}_p_value": outcome.p_value},
        (_null(outcome.null, outcome.statistic),),
    )


def _null(null: Tensor, measured: Estimate) -> Histograms:
    """Histogram of the statistic under permuted labels, with the measured one."""
    series = {"labels permuted": null, "measured": torch.tensor([measured.value], dtype=null.dtype)}
    return Histograms("The statistic among those of permuted labels", series, "statistic", log=True)
