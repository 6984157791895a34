"""The geometry score over two processes against one, and landmark distances by one matrix product against scipy's.

    python benchmarks/geometry.py [--json FILE] [--jobs 2] [--draws 500] [--points 2000] [--blocks 3]

The points are as MNIST is: 784 coordinates around a surface of a dozen dimensions. Both sides do the same draws and
must give the same numbers to the last bit. The processes are started before the clock is, as they serve every later
call as well. The goal is 1.8 times the throughput of one process on two cores: look at the load, for whatever else
runs there takes its share from the second process. `fastest blocks` compares the least disturbed block of each side.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from measure import interleaved, print_machine, print_table, write_json
from scipy.spatial.distance import cdist

from distmatch.metrics.samples.geometry import mean_relative_living_times
from distmatch.metrics.samples.witness import landmark_distances, lift

GOAL = 1.8


def surface(count: int, seed: int = 0) -> torch.Tensor:
    """Points (n, 784) around a curved surface of twelve dimensions, in [0, 1]."""
    generator = torch.Generator().manual_seed(seed)
    codes, weights = torch.randn(count, 12, generator=generator), torch.randn(12, 784, generator=generator)
    return torch.sigmoid(codes @ weights)


def processes(count: int, draws: int, jobs: int, blocks: int) -> dict[str, object]:
    """One row: seconds of one process and of several, and the ratio of their throughputs."""
    points = surface(count)

    def run(jobs: int) -> torch.Tensor:
        return mean_relative_living_times(points, draws=draws, jobs=jobs).times

    assert torch.equal(run(1), run(jobs)), "one process and several give different numbers"
    times = interleaved(
        {"one": lambda: run(1), "several": lambda: run(jobs)}, calls=1, blocks=blocks, warm_up=0
    )
    low, high = times["one"].spread(times["several"])
    return {
        "what": f"{draws} draws, {count} points",
        "one, s": round(times["one"].median, 2),
        f"{jobs} processes, s": round(times["several"].median, 2),
        "times faster": round(times["one"].over(times["several"]), 2),
        "quartiles": f"{low:.2f}-{high:.2f}",
        "fastest blocks": round(min(times["one"].blocks) / min(times["several"].blocks), 2),
        "goal": GOAL,
    }


def distances(count: int, blocks: int) -> dict[str, object]:
    """One row: the landmark table's distances, by one product and by scipy's loop."""
    cloud = surface(count).double().numpy()
    cloud = cloud - cloud.mean(0)
    lifted = lift(cloud)
    rows = torch.randint(count, (64,), generator=torch.Generator().manual_seed(0)).numpy()
    apart = abs(landmark_distances(lifted, rows) - cdist(cloud, cloud[rows])).max()
    rivals = {
        "product": lambda: landmark_distances(lifted, rows),
        "scipy": lambda: cdist(cloud, cloud[rows]),
    }
    times = interleaved(rivals, calls=5, blocks=blocks)
    return {
        "what": f"64 landmarks, {count} points",
        "scipy, ms": round(1e3 * times["scipy"].median, 1),
        "product, ms": round(1e3 * times["product"].median, 1),
        "times faster": round(times["scipy"].over(times["product"]), 1),
        "apart": f"{apart:.0e}",
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--draws", type=int, default=500, help="of landmarks")
    parser.add_argument("--points", type=int, default=2000, help="in the cloud")
    parser.add_argument("--blocks", type=int, default=3, help="for each side")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print_machine()
    rows = [
        distances(options.points, options.blocks),
        processes(options.points, options.draws, options.jobs, options.blocks),
    ]
    for row in rows:
        print_table([row])
        print()
    write_json(options.json, rows)


if __name__ == "__main__":
    main()
