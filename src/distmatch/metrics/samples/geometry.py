"""Holes of a cloud of points, over scales: relative living times and the geometry score."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.checks import at_least, checked
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.inputs import load, subset
from distmatch.metrics.model import Model, Options, Result
from distmatch.metrics.plots import Barcode, Bars
from distmatch.metrics.samples.inputs import DATA, SAMPLES, TRAIN, part_of, samples_and_data
from distmatch.metrics.samples.witness import hole_intervals, lift, living_times
from distmatch.random import seeded

FIRST = 4  # draws that are timed here before processes are started ...
WORTH = 10.0  # ... if the others would take more seconds than this
LARGER = 2**24  # bytes, of the block that tells glibc to keep memory
CHUNKS = 4  # parts of the work for each process: more tell progress finer, and each costs about 30 ms


@dataclass(frozen=True, eq=False)
class RelativeLivingTimes:
    """The relative living times of every draw of landmarks.

    Attributes:
        times: (draws, i_max), float64; times[k, i] is the share of scales at which draw k has i holes.
        landmarks, gamma, points: what they were measured with, and on how many points.
    """

    times: Tensor
    landmarks: int
    gamma: float
    points: int

    @property
    def mean(self) -> Tensor:
        """MRLT(i), the mean over draws, (i_max,)."""
        return self.times.mean(0)

    @property
    def standard_error(self) -> Tensor:
        """Its standard error over draws of landmarks, the points held fixed, (i_max,)."""
        return self.times.std(0) / math.sqrt(len(self.times))


def mean_relative_living_times(
    points: Tensor,
    landmarks: int = 64,
    gamma: float | None = None,
    i_max: int = 100,
    draws: int = 1000,
    seed: int = 0,
    jobs: int | None = None,
    progress: Callable[[float], None] | None = None,
) -> RelativeLivingTimes:
    """MRLT(i), the mean share of scales α at which the points show i one-dimensional holes.

        RLT(i) = 1/α_max |{α in [0, α_max]: β₁(W_α) = i}|,   α_max = γ · max distance of point and landmark

    W_α is the relaxed witness complex on `landmarks` points drawn with replacement, all points being
    witnesses; holes that never close last until α_max. Distances are plain, not squared: gudhi's argument
    is called max_alpha_square, but the original code hands it distances, and so does this one, whose values
    agree with the original's. (They differ only where a complex has no triangle at all: there gudhi leaves
    out the holes unless told otherwise, and the original finds none.)

    The landmarks of every draw come from `seed` alone, so the number of processes changes nothing. Each
    takes one BLAS thread.

    Args:
        points: (n, D), or images, which are flattened; n ≥ 2.
        landmarks: L₀; the original's toys in the plane take 32.
        gamma: γ; None for n/5000/128, as in the original, whose toys take 1/8. The score depends on it:
            compare only what was measured with the same γ.
        i_max: numbers of holes counted, 0 to i_max - 1; the time with more is left out.
        draws: of landmarks, at least 2.
        jobs: processes. None: as many as torch has threads, where the draws would take this one more than
            ten seconds.
        progress: called with the share of the draws that is done.

    Raises:
        BadInput: shapes, NaN, points that are all the same, counts too small, γ not positive.

    Reference: Khrulkov and Oseledets, Geometry Score, 1802.02664, Algorithm 1.

    >>> angle = torch.arange(100) / 100 * 2 * torch.pi
    >>> circle = torch.stack([angle.cos(), angle.sin()], 1)
    >>> times = mean_relative_living_times(circle, landmarks=32, gamma=1 / 8, i_max=10, draws=10)
    >>> int(times.mean.argmax())
    1
    """
    cloud, gamma = _cloud(points, gamma)
    at_least(2, draws=draws)
    at_least(1, i_max=i_max, jobs=1 if jobs is None else jobs)
    chosen = _landmarks(len(cloud), draws, landmarks, seed)
    rows: list[np.ndarray] = []
    for part in _parts(cloud, chosen, gamma, i_max, jobs):
        rows.append(part)
        if progress is not None:
            progress(sum(map(len, rows)) / draws)
    return RelativeLivingTimes(torch.from_numpy(np.concatenate(rows)), landmarks, gamma, len(cloud))


def geometry_score(a: RelativeLivingTimes, b: RelativeLivingTimes) -> Estimate:
    """Σ_i (MRLT_a(i) - MRLT_b(i))², 0 for the same topology; squared, no root (the original's definition).

    With Σ the covariance of d = MRLT_a - MRLT_b, the score's expectation is |E d|² + tr Σ, so it is biased up;
    `how` says by how much. The standard error is the root of the squared bias plus the variance,
    4 dᵀΣd - 2 tr Σ² (its unbiased estimate by the delta method) and at least 2 tr Σ². It is over draws of
    landmarks: what other points of the same distribution would give is not in it. For that, compare with the
    score of two halves of the data.

    Raises:
        BadInput: two different i_max.

    Reference: Khrulkov and Oseledets, 1802.02664, Algorithm 2.

    >>> none, one = torch.tensor([[1.0, 0.0]] * 5), torch.tensor([[0.0, 1.0]] * 5)
    >>> a, b = (RelativeLivingTimes(times.double(), 32, 0.125, 100) for times in (none, one))
    >>> geometry_score(a, b).value
    2.0
    """
    if a.times.shape[1] != b.times.shape[1]:
        raise BadInput(
            f"the living times have i_max {a.times.shape[1]} and {b.times.shape[1]}; measure both with one"
        )
    apart = a.mean - b.mean
    noise = a.times.T.cov() / len(a.times) + b.times.T.cov() / len(b.times)
    bias, least = float(noise.trace()), 2 * float(noise.square().sum())
    variance = max(4 * float(apart @ noise @ apart) - least, least)
    how = f"biased up by {bias:.2g}, which the error takes in; over draws of landmarks, points fixed"
    if (a.landmarks, a.gamma) != (b.landmarks, b.gamma):
        how += f"; landmarks or γ differ ({a.landmarks}, {a.gamma:.3g} and {b.landmarks}, {b.gamma:.3g})"
    value, draws = float(apart.square().sum()), min(len(a.times), len(b.times))
    return Estimate(value, math.sqrt(variance + bias**2), draws, "", how)


def persistence_intervals(
    points: Tensor, landmarks: int = 64, gamma: float | None = None, seed: int = 0
) -> tuple[Tensor, float]:
    """Birth and death (k, 2) of the one-dimensional holes of the first draw of `seed`, and α_max.

    Raises:
        BadInput: as `mean_relative_living_times`.

    >>> angle = torch.arange(100) / 100 * 2 * torch.pi
    >>> circle = torch.stack([angle.cos(), angle.sin()], 1)
    >>> intervals, longest = persistence_intervals(circle, landmarks=32, gamma=1 / 8)
    >>> bool(intervals[:, 1].max() == longest)           # the circle's hole never closes
    True
    """
    cloud, gamma = _cloud(points, gamma)
    intervals, longest = hole_intervals(cloud, _landmarks(len(cloud), 1, landmarks, seed)[0], gamma)
    return torch.from_numpy(intervals), longest


def _cloud(points: Tensor, gamma: float | None) -> tuple[np.ndarray, float]:
    """The points, centred so that distances from products stay exact, and lifted, (n, D + 2), and γ."""
    points = checked(points.flatten(1) if points.ndim > 1 else points, "points", "n, D")
    if bool((points == points[:1]).all()):
        raise BadInput("all points are the same, so they have no scale; give points that differ")
    gamma = len(points) / 5000 / 128 if gamma is None else float(gamma)
    if not 0 < gamma < math.inf:
        raise BadInput(f"gamma is {gamma}; give a positive number")
    return lift((points - points.mean(0)).cpu().numpy()), gamma


def _landmarks(count: int, draws: int, landmarks: int, seed: int) -> np.ndarray:
    """Indices of the landmarks of each draw among the points, (draws, landmarks), with replacement."""
    at_least(3, landmarks=landmarks)
    return torch.randint(count, (draws, landmarks), generator=seeded(seed)).numpy()


def _parts(
    cloud: np.ndarray, chosen: np.ndarray, gamma: float, i_max: int, jobs: int | None
) -> Iterator[np.ndarray]:
    """The living times of all draws, some at a time and in order."""
    from joblib import Parallel, delayed, parallel_config
    from threadpoolctl import ThreadpoolController

    controller = ThreadpoolController()

    def here(rows: np.ndarray) -> np.ndarray:
        with controller.limit(limits=1):
            return living_times(cloud, rows, gamma, i_max)

    if jobs is None:
        start = perf_counter()
        yield here(chosen[:FIRST])
        chosen = chosen[FIRST:]
        expected = (perf_counter() - start) * len(chosen) / FIRST
        jobs = torch.get_num_threads() if expected > WORTH else 1
    jobs = max(1, min(jobs, len(chosen)))
    parts = np.array_split(chosen, min(len(chosen), jobs * CHUNKS)) if len(chosen) else []
    if jobs == 1:
        yield from map(here, parts)
        return
    with parallel_config(backend="loky", inner_max_num_threads=1):
        run = Parallel(n_jobs=jobs, return_as="generator", batch_size=1)
        yield from run(delayed(_in_process)(cloud, part, gamma, i_max) for part in parts)


def _in_process(cloud: np.ndarray, chosen: np.ndarray, gamma: float, i_max: int) -> np.ndarray:
    """The living times in a process, after two things that make it faster, once in its life.

    It collects garbage every second: what its imports left takes longest to look through and stays anyway, so
    it is put out of the collector's sight. And glibc gives a megabyte back to the system after every use,
    until a larger block was freed once.
    """
    if gc.get_freeze_count() == 0:
        gc.freeze()
        np.empty(LARGER, dtype=np.uint8)
    return living_times(cloud, chosen, gamma, i_max)


POINTS, DRAWS = 1500, 100  # of the metric, at most; its γ follows the number of points


@metric(
    "geometry_score",
    question="Have samples the holes that data have?",
    needs=("sample", "test"),
    reference="Khrulkov and Oseledets, 1802.02664; geometry_score_data is that of training data",
    better={"geometry_score": "lower", "geometry_score_data": ""},
    quick=False,
)
def measure(model: Model, options: Options) -> Result:
    """Samples against held-out data and, as the reference, training data against held-out data."""
    sets = samples_and_data(model, options, POINTS)
    train = load(model.train)
    if train is not None and len(train) >= len(sets[DATA]):
        sets[TRAIN] = subset(train, len(sets[DATA]), options.seed)
    times: dict[str, RelativeLivingTimes] = {}
    for i, (name, points) in enumerate(sets.items()):
        progress = part_of(options, i, len(sets))
        times[name] = mean_relative_living_times(points, draws=DRAWS, seed=options.seed, progress=progress)
    scores = {"geometry_score": geometry_score(times[SAMPLES], times[DATA])}
    if TRAIN in times:
        scores["geometry_score_data"] = geometry_score(times[TRAIN], times[DATA])
    return Result(scores, (_holes(times), _barcode(sets, options.seed)))


def _holes(times: dict[str, RelativeLivingTimes]) -> Bars:
    """The mean relative living times, as far as any is above a thousandth."""
    used = torch.stack([t.mean for t in times.values()]).amax(0) > 1e-3
    count = int(used.nonzero().max()) + 1 if bool(used.any()) else 1
    return Bars(
        "Mean relative living times: for which share of scales the points show so many holes",
        {name: t.mean[:count] for name, t in times.items()},
        "one-dimensional holes",
        "share of scales",
        {name: t.standard_error[:count] for name, t in times.items()},
    )


def _barcode(sets: dict[str, Tensor], seed: int) -> Barcode:
    """The holes of one draw of landmarks from each set."""
    series = {name: persistence_intervals(points, seed=seed)[0] for name, points in sets.items()}
    return Barcode("Birth and death of the holes, for one draw of landmarks", series, "scale α")
