"""What a sweep costs beside its steps: start-up, each run, each worker, on this machine and on Ray.

    python benchmarks/sweeps.py [--json FILE] [--steps N] [--repeats N] [start] [runs] [workers]

Every line is a whole `distmatch sweep` in a process of its own, of VAEs of width 64 on the ring, one at a time
(`--lanes 1`), so that what is measured is what lies around the training:

- `start`: seconds for one run of one step, from the command to the prompt: imports, checks, workers, folders. Beside
  it `distmatch train` of the same run.
- `runs`: seconds for each further run of one step: a tenth of the difference of 11 and 1 of them, at one worker. Nets
  are built, a folder is made, samples are drawn and a checkpoint is written.
- `workers`: steps per second of 8 runs of `--steps` steps with 1, 2 and 4 workers, and how many times those of one;
  more workers than cores cannot gain. One thread a worker.

Medians over `--repeats`. Ray is left out where it is not installed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from measure import print_machine, print_table, write_json

BASE = {"system": "vae", "data.name": "ring", "network.width": 64, "network.latent": 2, "device": "cpu"}
PARTS = ("start", "runs", "workers")
WORKERS = (1, 2, 4)
RUNS = 8


def sweep_seconds(runs: int, steps: int, engine: str, jobs: int, repeats: int) -> float:
    """The median time of a whole sweep."""
    content = {"seeds": runs, "base": {**BASE, "training.steps": steps}}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sweep.json"
        file.write_text(json.dumps(content))
        options = ["--lanes", "1", "--jobs", str(jobs), "--engine", engine]
        taken = [_seconds("sweep", str(file), "--out", f"{folder}/{i}", *options) for i in range(repeats)]
    return statistics.median(taken)


def train_seconds(repeats: int) -> float:
    """The median time of `distmatch train` for one step of the same run."""
    settings = [f"{path}={value}" for path, value in BASE.items() if "." in path]
    with tempfile.TemporaryDirectory() as folder:
        words = ["train", "vae", "--steps", "1", "--device", "cpu", "--set", *settings]
        return statistics.median(_seconds(*words, "--out", f"{folder}/{i}") for i in range(repeats))


def start(engines: list[str], repeats: int) -> list[dict[str, Any]]:
    """From the command to the prompt."""
    rows = [{"what": "train", "seconds": round(train_seconds(repeats), 2)}]
    for engine in engines:
        rows.append(
            {"what": f"sweep, {engine}", "seconds": round(sweep_seconds(1, 1, engine, 1, repeats), 2)}
        )
    return rows


def each_run(engines: list[str], repeats: int) -> list[dict[str, Any]]:
    """What a further run takes."""
    rows = []
    for engine in engines:
        one, many = (sweep_seconds(n, 1, engine, 1, repeats) for n in (1, 11))
        rows.append({"engine": engine, "seconds a run": round((many - one) / 10, 3)})
    return rows


def by_workers(engines: list[str], steps: int, repeats: int) -> list[dict[str, Any]]:
    """Steps per second as workers double; the time of the same sweep of one step is taken off."""
    rows: list[dict[str, Any]] = []
    for engine in engines:
        for jobs in WORKERS:
            around = sweep_seconds(RUNS, 1, engine, jobs, repeats)
            taken = sweep_seconds(RUNS, steps, engine, jobs, repeats) - around
            speed = RUNS * (steps - 1) / taken
            alone = next((row["steps a second"] for row in rows if row["engine"] == engine), speed)
            row = {"engine": engine, "workers": jobs, "steps a second": round(speed, 1)}
            rows.append({**row, "of one": round(speed / alone, 2)})
    return rows


def _seconds(*words: str) -> float:
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-m", "distmatch", *words], check=True, capture_output=True)
    return time.perf_counter() - begin


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="which; all without it")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    engines = ["local"] + (["ray"] if find_spec("ray") else [])
    print_machine()
    results: dict[str, Any] = {}
    for part in given.parts or PARTS:
        if part == "start":
            results[part] = start(engines, given.repeats)
        elif part == "runs":
            results[part] = each_run(engines, given.repeats)
        else:
            results[part] = by_workers(engines, given.steps, given.repeats)
        print(part)
        print_table(results[part])
        print()
    write_json(given.json, results)


if __name__ == "__main__":
    main()
