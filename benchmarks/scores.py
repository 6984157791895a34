"""Scores on features, against what others compute them with.

    python benchmarks/scores.py [--json FILE] [--threads N] [--n N] [--d D] [frechet] [neighbours]

- `frechet`: the distance with its standard error, against means, covariances and `scipy.linalg.sqrtm`, which give the
  number alone. Both start from the same features in double precision; `apart` is their relative difference. The goal
  is a ratio of at most 1/3.
- `neighbours`: the memory that precision, recall, density and coverage take beyond their features, in a process of
  its own, against one n×n float32 block. The goal is at most 1.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg
import torch
from measure import print_machine, print_table, write_json
from torch import Tensor

from distmatch.metrics.features.frechet import frechet_distance
from distmatch.metrics.features.manifold import precision_recall_density_coverage


def features(n: int, d: int, seed: int) -> Tensor:
    """Rectified Gaussian features whose variances fall off, as those of classifiers do; (n, d), float32."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.arange(1, d + 1) ** -0.5
    mix = torch.randn(d, d, generator=torch.Generator().manual_seed(99)) / d**0.5
    return ((torch.randn(n, d, generator=generator) * scale) @ mix + 0.01 * seed).relu()


def by_square_root(real: np.ndarray, fake: np.ndarray) -> float:
    """The published way."""
    cov_real, cov_fake = np.cov(real, rowvar=False), np.cov(fake, rowvar=False)
    root = scipy.linalg.sqrtm(cov_real @ cov_fake).real
    return float(np.sum((real.mean(0) - fake.mean(0)) ** 2) + np.trace(cov_real + cov_fake - 2 * root))


def frechet(n: int, d: int) -> dict[str, Any]:
    """Once each: both take long, and the ratio is far from its goal."""
    real, fake = features(n, d, 1).double(), features(n, d, 2).double()
    start = time.perf_counter()
    ours = frechet_distance(real, fake)
    between = time.perf_counter()
    theirs = by_square_root(real.numpy(), fake.numpy())
    seconds, rival = between - start, time.perf_counter() - between
    return {
        "what": "frechet",
        "n": n,
        "d": d,
        "ours": f"{seconds:.1f} s",
        "theirs": f"{rival:.1f} s",
        "ratio": round(seconds / rival, 3),
        "goal": 0.333,
        "apart": f"{abs(ours.value - theirs) / theirs:.1e}",
    }


def peak() -> float:
    """The most memory that this process has held, in MB (Linux: the figure is in KiB)."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure_neighbours(n: int, d: int, pipe: Any) -> None:
    """Peak memory before and after, and the seconds between."""
    torch.set_num_threads(1)
    real, fake = features(n, d, 1), features(n, d, 2)
    before, start = peak(), time.perf_counter()
    precision_recall_density_coverage(real, fake)
    pipe.send((before, peak(), time.perf_counter() - start))


def neighbours(n: int, d: int) -> dict[str, Any]:
    """In a fresh process, so that its peak is its own."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=measure_neighbours, args=(n, d, theirs))
    process.start()
    before, after, seconds = ours.recv()
    process.join()
    block = n * n * 4 / 2**20
    return {
        "what": "neighbours",
        "n": n,
        "d": d,
        "ours": f"{after - before:.0f} MB, {seconds:.1f} s",
        "theirs": f"{block:.0f} MB",
        "ratio": round((after - before) / block, 3),
        "goal": 1.0,
        "apart": "",
    }


BENCHMARKS = {"frechet": frechet, "neighbours": neighbours}


def main() -> None:
    """Run what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=list(BENCHMARKS), metavar="|".join(BENCHMARKS))
    parser.add_argument("--json", type=Path, default=None)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--n", type=int, default=10_000)
    parser.add_argument("--d", type=int, default=2048)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    print_machine()
    rows = [BENCHMARKS[name](asked.n, asked.d) for name in asked.what]
    print_table(rows)
    write_json(asked.json, rows)


if __name__ == "__main__":
    main()
