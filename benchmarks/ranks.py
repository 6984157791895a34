"""One run on several processes: steps per second at equal batch, and how long they take to begin.

    python benchmarks/ranks.py [--json FILE] [--batch B] [--repeats R] [--seconds S] [--device D] [vae] [gan]

The nets are those of `benchmarks/step.py`; B examples a step (default 256) are those of all ranks together. Each row is
one way to use the machine: ranks, and threads for each of them. Ranks are started as torchrun starts them, one process
without it. `begins` counts from the start of the command until the first step is done: Python, torch, the meeting of
the ranks, the nets. `exchanged` is what each rank sends and receives in a step at the least: twice its gradients.

The ways take turns, R times each (default 5); a number is the median of these. On CUDA ranks have a GPU each; where
there are too few, the row is left out and the table says so. On a CPU the cores are divided among the ranks.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from measure import print_machine, print_table, write_json
from step import SYSTEMS

from distmatch.runs.torchrun import gathered, local
from distmatch.systems import find
from distmatch.training import Adam, Feed, Settings, Trainer

EXAMPLES = 4096
WARM_UP = 5


def worker(system: str, batch: int, seconds: float, device: str, out: Path) -> None:
    """Train for a while; the leader writes when the first step was done, and the seconds that a step took."""
    with gathered() as ranks:
        if device == "cuda":
            torch.cuda.set_device(local() if ranks else 0)
        torch.manual_seed(0)
        nets, shapes = SYSTEMS[system][0]()
        objective = find(system).objective()
        x = torch.randint(256, (EXAMPLES, *shapes.x), dtype=torch.uint8)
        where = f"cuda:{torch.cuda.current_device()}" if device == "cuda" else device
        feed = Feed(objective, x, latent=shapes.latent, batch_size=batch, device=where)
        feed.ranks = ranks
        trainer = Trainer(objective, nets, feed, Settings(Adam(1e-3), Adam(1e-3)))
        trainer.run(1)
        begun = time.time()
        trainer.run(WARM_UP)
        start = time.perf_counter()
        trainer.run(WARM_UP)
        steps = max(1, round(seconds * WARM_UP / (time.perf_counter() - start)))
        if ranks:
            steps = int(ranks.told(str(steps).encode()))
        start = time.perf_counter()
        trainer.run(steps)  # which ends by reading the losses, and so waits for the device
        taken = (time.perf_counter() - start) / steps
        sizes = [p.numel() * p.element_size() for net in trainer.state.params.values() for p in net.values()]
        if ranks is None or ranks.leads:
            out.write_text(json.dumps({"begun": begun, "taken": taken, "bytes": sum(sizes)}))


def timed(options: argparse.Namespace, system: str, ranks: int, threads: int) -> dict[str, float]:
    """One start of so many ranks."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place) / "measured.json"
        torchrun = ["-m", "torch.distributed.run", "--nproc-per-node", str(ranks)] if ranks > 1 else []
        asked = ["--batch", options.batch, "--seconds", options.seconds, "--device", options.device]
        start = time.time()
        subprocess.run(
            [sys.executable, *torchrun, __file__, system, *map(str, asked), "--worker", str(out)],
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            check=True,
        )
        found = json.loads(out.read_text())
        return found | {"begins": found["begun"] - start}


def ways(device: str) -> list[tuple[int, int]]:
    """(ranks, threads of each)."""
    if device == "cuda":
        return [(1, 1), *((n, 1) for n in (2, 4, 8) if n <= torch.cuda.device_count())]
    cores = os.cpu_count() or 1
    found = [(1, 1), (1, cores), *((n, cores // n) for n in (2, 4) if n <= cores)]
    return list(dict.fromkeys(found))


def compare(options: argparse.Namespace, system: str) -> list[dict[str, Any]]:
    """A row for each way."""
    chosen = ways(options.device)
    found: dict[tuple[int, int], list[dict[str, float]]] = {way: [] for way in chosen}
    for turn in range(options.repeats):
        for way in chosen[:: -1 if turn % 2 else 1]:
            found[way].append(timed(options, system, *way))
    rows = []
    for (ranks, threads), all_of_it in found.items():
        taken = statistics.median(one["taken"] for one in all_of_it)
        alone = statistics.median(one["taken"] for one in found[chosen[0]])
        spread = sorted(one["taken"] for one in all_of_it)
        rows.append(
            {
                "system": system,
                "batch": options.batch,
                "ranks": ranks,
                "threads": threads,
                "steps/s": round(1 / taken, 2),
                "against one thread": round(alone / taken, 3),
                "least-most steps/s": f"{1 / spread[-1]:.2f}-{1 / spread[0]:.2f}",
                "exchanged, MB": round(2 * all_of_it[0]["bytes"] / 1e6, 2) if ranks > 1 else 0,
                "begins, s": round(statistics.median(one["begins"] for one in all_of_it), 2),
            }
        )
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("systems", nargs="*", help="vae, gan; default both")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--batch", type=int, default=256, help="examples a step, of all ranks together")
    parser.add_argument("--repeats", type=int, default=5, help="starts of each way")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each of them is timed")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        worker(options.systems[0], options.batch, options.seconds, options.device, options.worker)
        return
    print_machine()
    rows = [row for name in options.systems or SYSTEMS for row in compare(options, name)]
    print_table(rows)
    if options.device == "cuda" and torch.cuda.device_count() < 2:
        print("\nseveral ranks: not measured, there is one GPU")
    write_json(options.json, rows)


if __name__ == "__main__":
    main()
