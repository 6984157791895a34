"""The birthday test: how many different things a sampler can draw, from how soon it repeats itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from distmatch.diagnostics.checks import at_least
from distmatch.diagnostics.estimate import Estimate
from distmatch.diagnostics.samples.distances import squared_distances
from distmatch.diagnostics.samples.duplicates import features_of
from distmatch.errors import BadInput

AHEAD = 64  # samples compared at once with their batch: after a duplicate the rest are compared again
FEWEST = 5  # runs at least for a probability at the sizes chosen by default

Same = Callable[[Tensor, Tensor], Tensor]
"""(m, *) and (m, *) samples -> (m,), whether each pair are duplicates."""


@dataclass(frozen=True)
class BirthdayTest:
    """What `birthday_test` found.

    Attributes:
        probability: size -> the share of batches of that size that hold a duplicate.
        collision_rate: duplicates per compared pair: what Σ_k p_k² is for things of probability p_k.
        half: the smallest batch of which at least half hold one; None where the samples did not show it.
        support: the number of equally likely things that would repeat as often; None where nothing repeated.
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
    progress: Callable[[float], None] | None = None,
) -> BirthdayTest:
    """P(a batch of s samples holds a duplicate), and the support that explains it.

    The samples are read in order: a batch grows until its first duplicate, then the next one begins. So no
    sample is in two batches, their lengths T are independent, and the share with T ≤ s is P(s) (Kaplan and
    Meier's, for the last batch may end without a duplicate; Greenwood's error). Of K equally likely things

        P(s) = 1 - exp(-s(s - 1)/2K),   half of the batches collide at s(s - 1) = 2K ln 2,

    and with d duplicates in W = Σ T(T - 1)/2 compared pairs, K̂ = W/d is the most likely K: what s²/(2 ln 2)
    estimates from the median alone. Its interval is that of a Poisson count d. A sampler with a few frequent
    things has a larger support than K̂, and then P(s) leaves the curve above.

    Two samples are duplicates if `duplicate` says so; each is compared with the nearest one before it in its
    batch. All rests on that judge: look at the closest pairs yourself. A threshold may come from
    `duplicate_threshold`.

    Args:
        samples: (n, *) independent draws, n ≥ 2.
        duplicate: the largest distance between duplicates (0: only equal ones), or a function of two tensors
            of samples.
        sizes: batch sizes; None for about ten, as far as the runs go.
        features: samples -> (n, d), where distances are measured; None for the samples themselves (ℓ2).
        progress: called with the share of the samples that is done.

    Raises:
        BadInput: shapes, NaN, a negative threshold, a size below 2.

    Reference: Arora and Zhang, Do GANs learn the distribution? (1706.08224).

    >>> dice = torch.randint(365, (5000, 1), generator=torch.Generator().manual_seed(0)).float()
    >>> found = birthday_test(dice, 0.0)
    >>> found.support_interval[0] < 365 < found.support_interval[1]
    True
    """
    points = features_of(samples, features)
    same = _judge(samples, duplicate)
    at_least(2, **{f"sizes[{i}]": size for i, size in enumerate(sizes or ())})
    runs, start = [], 0
    for end, done in _repeats(points, same):
        if end is not None:
            runs.append(end + 1 - start)
            start = end + 1
        if progress is not None:
            progress(done)
    left = len(points) - start
    curve, (rate, support, interval) = _curve(runs, left), _support(runs, left)
    return BirthdayTest(
        probability={size: curve.at(size) for size in sizes or _sizes(runs)},
        collision_rate=rate,
        half=curve.half(),
        support=support,
        support_interval=interval,
        runs=tuple(runs),
        left_over=left,
    )


@dataclass(frozen=True)
class _Curve:
    """P(T ≤ s) at every length T of a run, (k,), with Greenwood's sum for its error."""

    lengths: Tensor
    probability: Tensor
    greenwood: Tensor
    runs: int

    def at(self, size: int) -> Estimate:
        """Where all or none of the runs are that short Greenwood's error is 0, so the binomial one of Agresti
        and Coull is the least."""
        last, n = int((self.lengths <= size).sum()) - 1, max(1, self.runs)
        p, greenwood = (
            (float(self.probability[last]), float(self.greenwood[last])) if last >= 0 else (0.0, 0.0)
        )
        adjusted = (p * n + 2) / (n + 4)
        error = max((1 - p) * math.sqrt(greenwood), math.sqrt(adjusted * (1 - adjusted) / (n + 4)))
        return Estimate(p, error, n, "", f"batches of {size}, none sharing a sample with another")

    def half(self) -> Estimate | None:
        """The median of T; its error is the median's where T² is exponential, 0.72 T/√d for d runs."""
        reached = self.lengths[self.probability >= 0.5 - 1e-12]
        if len(reached) == 0:
            return None
        how = f"the smallest of which half hold a duplicate, over {self.runs} batches"
        error = int(reached[0]) / (2 * math.log(2) * math.sqrt(self.runs))
        return Estimate(int(reached[0]), error, self.runs, "samples", how)


def _curve(runs: Sequence[int], left: int) -> _Curve:
    """Kaplan and Meier's, where one last run is known only to be longer than `left`."""
    lengths, deaths = torch.tensor(runs, dtype=torch.long).unique(return_counts=True)
    at_risk = deaths.flip(0).cumsum(0).flip(0).double() + (lengths <= left)
    greenwood = (deaths / (at_risk * (at_risk - deaths).clamp_min(1))).cumsum(0)
    return _Curve(lengths, 1 - (1 - deaths / at_risk).cumprod(0), greenwood, len(runs))


def _judge(samples: Tensor, duplicate: float | Same) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Rows, their nearest earlier rows and the distances -> whether each pair are duplicates."""
    if not callable(duplicate):
        if not 0 <= duplicate < math.inf:
            raise BadInput(f"the threshold for duplicates is {duplicate}; give a distance, 0 or more")
        return lambda rows, others, distance: (distance <= duplicate).cpu()

    def judge(rows: Tensor, others: Tensor, distance: Tensor) -> Tensor:
        verdicts = duplicate(samples[rows], samples[others])
        if tuple(verdicts.shape) != (len(rows),):
            raise BadInput(
                f"duplicate gave shape {tuple(verdicts.shape)} for {len(rows)} pairs; give one verdict each"
            )
        return verdicts.bool().cpu()

    return judge


def _repeats(
    points: Tensor, same: Callable[[Tensor, Tensor, Tensor], Tensor]
) -> Iterator[tuple[int | None, float]]:
    """The index of every sample that ends a run, None after each block of rows, and the share done."""
    start = 0
    for first in range(0, len(points), AHEAD):
        last = min(first + AHEAD, len(points))
        base, row = start, first
        distance = squared_distances(points[first:last], points[base:last])
        earlier = torch.arange(base, last) < torch.arange(first, last)[:, None]
        distance[~earlier.to(distance.device)] = math.inf
        while row < last:
            rows = torch.arange(max(row, start + 1), last)
            if len(rows) == 0:
                break
            others = distance[rows - first, start - base :].argmin(1).cpu() + start
            hits = same(rows, others, (points[rows] - points[others]).norm(dim=1)).nonzero()
            if len(hits) == 0:
                break
            row = start = int(rows[int(hits[0])]) + 1
            yield start - 1, (start - 1) / len(points)
        yield None, last / len(points)


def _sizes(runs: Sequence[int]) -> list[int]:
    """About ten batch sizes, up to the longest runs but a few."""
    if len(runs) < FEWEST:
        return []
    grid = torch.logspace(math.log10(2), math.log10(sorted(runs)[-FEWEST]), 10).round().long()
    return [int(s) for s in grid.unique()]


def _support(runs: Sequence[int], left: int) -> tuple[Estimate, Estimate | None, tuple[float, float]]:
    """d/W, K̂ = W/d and its interval, exact for a Poisson count d: W over quantiles of Gamma(d + 1), Gamma(d)."""
    from scipy.special import gammaincinv

    compared, d = sum(t * (t - 1) / 2 for t in [*runs, left]), len(runs)
    how = f"{d} duplicates in {compared:.0f} compared pairs"
    rate = Estimate(d / compared, math.sqrt(max(1, d)) / compared, int(compared), "per pair", how)
    low = compared / float(gammaincinv(d + 1, 0.975))
    if d == 0:
        return rate, None, (low, math.inf)
    how += "; of equally likely things, and less than there are where some are more frequent"
    support = Estimate(compared / d, compared / d / math.sqrt(d), d, "things", how)
    return rate, support, (low, compared / float(gammaincinv(d, 0.025)))
