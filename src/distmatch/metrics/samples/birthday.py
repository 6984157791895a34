"""The birthday test: how many different things a sampler can draw, from how soon it repeats itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.checks import at_least
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.model import Model, Options, Result
from distmatch.metrics.plots import Lines, Pictures, Plot
from distmatch.metrics.samples.duplicates import closest_pairs, duplicate_threshold, features_of
from distmatch.metrics.samples.inputs import DATA, SAMPLES, part_of, samples_and_data
from distmatch.objectives.comparisons.mmd import squared_distances
from distmatch.random import seeded

ROWS = 256  # samples compared at once with all before them
PAIRS = 4096  # pairs that a function judges at once
FEWEST = 5  # runs at least for a probability at the sizes chosen by default
SLACK = 1e-12  # of the largest squared norm: squared distances so near the threshold are made again, exactly

Same = Callable[[Tensor, Tensor], Tensor]
"""(m, *) and (m, *) samples -> (m,), whether each pair are duplicates."""


@dataclass(frozen=True)
class BirthdayTest:
    """The result of `birthday_test`.

    Attributes:
        probability: size -> the share of batches of that size that hold a duplicate.
        collision_rate: the share of all pairs that are duplicates: Σ_k p_k² of things of probability p_k.
        half: the smallest batch of which at least half hold one; None where the samples did not show it.
        support: 1/Σ p², the number of equally likely things that would repeat as often; None where nothing repeated.
        support_interval: its 95 % interval; the upper end is infinite where nothing repeated.
        runs: the length of each run up to its first duplicate; `left_over`: samples after the last one.
    """

    probability: dict[int, Estimate]
    collision_rate: Estimate
    half: Estimate | None
    support: Estimate | None
    support_interval: tuple[float, float]
    runs: tuple[int, ...] = field(repr=False)
    left_over: int

    @property
    def upper(self) -> float:
        """half², the paper's bound on the support of a sampler in which half such batches collide."""
        return math.inf if self.half is None else self.half.value**2


def birthday_test(
    samples: Tensor,
    duplicate: float | Same = 0.0,
    *,
    sizes: Sequence[int] | None = None,
    features: Callable[[Tensor], Tensor] | None = None,
    seed: int | None = 0,
    progress: Callable[[float], None] | None = None,
) -> BirthdayTest:
    """P(a batch of s samples holds a duplicate), and the share Σ p² of pairs that are duplicates.

    For the first, the samples are read one by one: a batch grows until its first duplicate, then the next one begins.
    So no sample is in two batches, their lengths T are independent, and the share with T ≤ s is P(s) (Kaplan and
    Meier's, for the last batch may end without a duplicate). Of K equally likely things

        P(s) = 1 - exp(-s(s - 1)/2K),   half of the batches collide at s(s - 1) = 2K ln 2.

    For the second all n(n - 1)/2 pairs are compared, for in batches that end with a duplicate frequent things are
    missing. D/(n(n - 1)/2) is unbiased, and so is the estimate of its variance (that of a U-statistic: pairs that
    share a sample are not independent). The interval is a Poisson count's, exact for D of equally likely things, and
    otherwise that of the count with the same relative error. Its inverse K̂ = 1/Σ p² is what s²/(2 ln 2) estimates from
    the median for equally likely things; a sampler with a few frequent ones has a larger support than K̂, and then
    P(s) leaves the curve above. Things that no two samples show are in neither number: a frequent thing that is seen
    once by chance makes the interval too short.

    Two samples are duplicates if `duplicate` says so. Everything depends on that judge: look at the closest pairs
    yourself. A threshold may come from `duplicate_threshold`. Work is quadratic in n.

    Args:
        samples: (n, *) independent draws, n ≥ 2.
        duplicate: the largest distance between duplicates (0: only equal ones), or a function of two tensors
            of samples, which is called on every pair.
        sizes: batch sizes; None for about ten, as far as the runs go.
        features: samples -> (n, d), where distances are measured; None for the samples themselves (ℓ2).
        seed: of the order in which the samples are read; None: as they are.
        progress: called with the share of the samples that is done.

    Raises:
        BadInput: shapes, NaN, a negative threshold, a size below 2.

    Reference: Arora and Zhang, Do GANs learn the distribution? (1706.08224).

    >>> dice = torch.randint(365, (5000, 1), generator=torch.Generator().manual_seed(0)).float()
    >>> test = birthday_test(dice, 0.0)
    >>> test.support_interval[0] < 365 < test.support_interval[1]
    True
    """
    at_least(2, **{f"sizes[{i}]": size for i, size in enumerate(sizes or ())})
    points = features_of(samples, features)
    if seed is not None:
        order = torch.randperm(len(points), generator=seeded(seed)).to(points.device)
        samples, points = samples[order.to(samples.device)], points[order]
    latest, degrees = _duplicates(len(points), _judge(samples, points, duplicate), progress)
    runs, start = [], 0
    for end, earlier in enumerate(latest.tolist()):
        if earlier >= start:
            runs.append(end + 1 - start)
            start = end + 1
    curve, rate = _curve(runs, len(points) - start), _collision_rate(degrees)
    support, interval = _support(rate)
    return BirthdayTest(
        probability={size: curve.at(size) for size in sizes or _sizes(runs)},
        collision_rate=rate,
        half=curve.half(),
        support=support,
        support_interval=interval,
        runs=tuple(runs),
        left_over=len(points) - start,
    )


@dataclass(frozen=True)
class _Curve:
    """P(T ≤ s) at every length T of a run, (k,), and how many runs there are of each."""

    lengths: Tensor
    counts: Tensor
    probability: Tensor

    @property
    def runs(self) -> int:
        return int(self.counts.sum())

    def at(self, size: int) -> Estimate:
        last = int((self.lengths <= size).sum()) - 1
        p, n = float(self.probability[last]) if last >= 0 else 0.0, max(1, self.runs)
        return Estimate.share(p, n, n, "", f"batches of {size}, none sharing a sample with another")

    def half(self) -> Estimate | None:
        """The median of T; its interval is between two runs in order of length, whatever their distribution."""
        reached = self.lengths[self.probability >= 0.5 - 1e-12]
        if len(reached) == 0:
            return None
        from scipy.stats import binom

        rank = int(binom.ppf(0.025, self.runs, 0.5))  # of the lower end; the upper one is as far from the top
        ordered = self.lengths.repeat_interleave(self.counts).tolist()
        low, high = (ordered[rank - 1], ordered[-rank]) if rank > 0 else (2, math.inf)
        error = (high - low) / 4 if rank > 0 else math.nan
        how = f"the smallest of which half hold a duplicate, over {self.runs} batches"
        return Estimate(int(reached[0]), error, self.runs, "samples", how, limits=(float(low), float(high)))


def _curve(runs: Sequence[int], left: int) -> _Curve:
    """Kaplan and Meier's curve, where one last run is known only to be longer than `left`."""
    lengths, counts = torch.tensor(runs, dtype=torch.long).unique(return_counts=True)
    at_risk = counts.flip(0).cumsum(0).flip(0).double() + (lengths <= left)
    return _Curve(lengths, counts, 1 - (1 - counts / at_risk).cumprod(0))


Judge = Callable[[Tensor, Tensor], Tensor]
"""Rows (r,) and which samples are before each, (r, c) -> (r, c), which of these are its duplicates."""


def _judge(samples: Tensor, points: Tensor, duplicate: float | Same) -> Judge:
    """The judge of duplicates: by a function of pairs, by equality, or by a distance."""
    if callable(duplicate):
        return partial(_by_function, samples, duplicate)
    if not 0 <= duplicate < math.inf:
        raise BadInput(f"the threshold for duplicates is {duplicate}; give a distance, 0 or more")
    if duplicate > 0:
        return partial(_by_distance, points, duplicate)
    things = points.unique(dim=0, return_inverse=True)[1].cpu()
    return lambda rows, before: before & (things[rows][:, None] == things[: before.shape[1]])


def _by_function(samples: Tensor, duplicate: Same, rows: Tensor, before: Tensor) -> Tensor:
    same = torch.zeros_like(before)
    for pairs in before.nonzero().split(PAIRS):
        verdicts = duplicate(samples[rows[pairs[:, 0]]], samples[pairs[:, 1]])
        if tuple(verdicts.shape) != (len(pairs),):
            raise BadInput(
                f"duplicate gave shape {tuple(verdicts.shape)} for {len(pairs)} pairs; give one verdict each"
            )
        same[pairs[:, 0], pairs[:, 1]] = verdicts.bool().cpu()
    return same


def _by_distance(points: Tensor, most: float, rows: Tensor, before: Tensor) -> Tensor:
    squared = squared_distances(points[rows], points[: before.shape[1]])
    slack = SLACK * float(points.square().sum(1).max())
    same = squared.cpu() <= most**2
    for pairs in (((squared - most**2).abs() <= slack).cpu() & before).nonzero().split(PAIRS):
        exact = (points[rows[pairs[:, 0]]] - points[pairs[:, 1]]).norm(dim=1)
        same[pairs[:, 0], pairs[:, 1]] = (exact <= most).cpu()
    return same & before


def _duplicates(n: int, judge: Judge, progress: Callable[[float], None] | None) -> tuple[Tensor, Tensor]:
    """The last duplicate before each sample, -1 where there is none, and how many each has, both (n,)."""
    latest, degrees = torch.empty(n, dtype=torch.long), torch.zeros(n, dtype=torch.long)
    for rows in torch.arange(n).split(ROWS):
        columns = torch.arange(int(rows[-1]) + 1)
        same = judge(rows, columns < rows[:, None])
        latest[rows] = torch.where(same, columns, -1).amax(1)
        degrees[rows] += same.sum(1)
        degrees[columns] += same.sum(0)
        if progress is not None:
            progress(len(columns) / n)
    return latest, degrees


def _sizes(runs: Sequence[int]) -> list[int]:
    """About ten batch sizes, up to the longest runs but a few."""
    if len(runs) < FEWEST:
        return []
    grid = torch.logspace(math.log10(2), math.log10(sorted(runs)[-FEWEST]), 10).round().long()
    return [int(s) for s in grid.unique()]


def _collision_rate(degrees: Tensor) -> Estimate:
    """The share of pairs that are duplicates, from how many each sample has.

    The square of the share is a sum over pairs of pairs: the same pair, two that share a sample, two that share none.
    The last of these estimates the square of Σ p² without bias, so that the difference of the squares estimates the
    variance; it is at least that of as many pairs on their own.
    """
    from scipy.special import gammaincinv

    n, d = len(degrees), float(degrees.sum()) / 2
    pairs, apart = n * (n - 1) / 2, n * (n - 1) * (n - 2) * (n - 3) / 4
    rate, sharing = d / pairs, float((degrees * (degrees - 1)).sum())
    variance = rate * (1 - rate) / pairs
    if apart:
        variance = max(variance, rate**2 - (d**2 - d - sharing) / apart)
    how = f"{d:.0f} duplicates among all {pairs:.0f} pairs"
    if d == pairs:  # all of n alike: P ≤ (Σ p²)^((n - 1)/2)
        low = 0.025 ** (2 / (n - 1))
        return Estimate(1.0, (1 - low) / 4, n, "per pair", how, limits=(low, 1.0))
    if d == 0:
        return Estimate(0.0, 1 / pairs, n, "per pair", how, limits=(0.0, min(1.0, -math.log(0.025) / pairs)))
    counted = rate**2 / variance
    low, high = (
        rate * float(gammaincinv(counted + more, q)) / counted for more, q in ((0, 0.025), (1, 0.975))
    )
    return Estimate(rate, math.sqrt(variance), n, "per pair", how, limits=(low, min(1.0, high)))


def _support(rate: Estimate) -> tuple[Estimate | None, tuple[float, float]]:
    """1/Σ p² and its interval."""
    low, high = rate.interval()
    limits = (1 / high, 1 / low if low > 0 else math.inf)
    if rate.value == 0:
        return None, limits
    how = f"{rate.how}; of equally likely things, and less than there are where some are more frequent"
    return Estimate(
        1 / rate.value, rate.standard_error / rate.value**2, rate.n, "things", how, limits=limits
    ), limits


REPEATED = 4000  # samples of the birthday test, at most
ROW = 10  # pairs in a row of pictures


@metric(
    "birthday_test",
    question="How soon does the model repeat itself?",
    needs=("sample", "test"),
    reference="Arora and Zhang, 1706.08224; those named _data are of held-out data, with the same threshold",
    better={
        "birthday_collision_rate": "lower",
        "birthday_support": "higher",
        "birthday_batch": "higher",
        "birthday_collision_rate_data": "",
        "birthday_support_data": "",
        "birthday_batch_data": "",
    },
    quick=False,
)
def measure(model: Model, options: Options) -> Result:
    """Samples and held-out data, with the threshold that data of this number give."""
    sets = samples_and_data(model, options, REPEATED)
    threshold = duplicate_threshold(sets[DATA])
    tests = {
        name: birthday_test(points, threshold, progress=part_of(options, i, len(sets)))
        for i, (name, points) in enumerate(sets.items())
    }
    estimates: dict[str, Estimate] = {}
    judge = f"; closer than {threshold:.3g}, as 1 % of the data are to a neighbour: see the pictures"
    for name, suffix in ((SAMPLES, ""), (DATA, "_data")):
        measured = {
            "collision_rate": tests[name].collision_rate,
            "support": tests[name].support,
            "batch": tests[name].half,
        }
        for key, estimate in measured.items():
            if estimate is not None:
                estimates[f"birthday_{key}{suffix}"] = estimate.explained(estimate.how + judge)
    plots: list[Plot] = [_collisions(tests)] if any(t.probability for t in tests.values()) else []
    if model.is_image:
        low, high = model.image_range
        plots += [_pairs(f"Closest pairs of {len(x)} {k}", x, low, high) for k, x in sets.items()]
    return Result(estimates, tuple(plots))


def _collisions(tests: dict[str, BirthdayTest]) -> Lines:
    """P(a batch of s holds a duplicate) against s."""
    curves = {name: t.probability for name, t in tests.items() if t.probability}
    return Lines(
        "How often a batch holds a duplicate, judged by distance",
        {name: torch.tensor(list(p)) for name, p in curves.items()},
        {name: torch.tensor([e.value for e in p.values()]) for name, p in curves.items()},
        "samples in the batch",
        "share of batches",
        errors={name: torch.tensor([e.standard_error for e in p.values()]) for name, p in curves.items()},
        log="x",
        marks={"half of the batches": 0.5},
    )


def _pairs(caption: str, images: Tensor, low: float, high: float) -> Pictures:
    """Pairs in columns, the closest first: one above the other, `ROW` of them in a row."""
    pairs = closest_pairs(images).indices.to(images.device)
    shown = torch.cat([images[part.T.flatten()] for part in pairs.split(ROW)])
    unit = ((shown - low) / (high - low)).clamp(0, 1)
    return Pictures(caption + ", one above the other: are they the same?", unit, columns=min(ROW, len(pairs)))
