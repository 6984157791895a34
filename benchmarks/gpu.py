"""Everything that a machine with a CUDA device should measure, unattended and in under ten minutes.

    python benchmarks/gpu.py [--out DIR] [--minutes 9.5] [--data-dir DIR] [PART ...]

- `tests`: `tests/gpu`: captured = eager, lanes, resume, CUDA = CPU.
- `training`: steps per second against the loops by hand, and achieved FLOP/s, at batch 64, 512 and 4096.
- `lanes`: K runs as one program against one after the other and against processes.
- `scaling`: cost as the work grows, memory as data and latents grow.
- `price`: the price of the whole ColorMNIST sweep on this machine (needs MNIST's files: `--data-dir`).

Each part is a process with its share of the minutes; one that fails or runs out of time leaves the others alone, and
what it had written so far. Into DIR go each part's JSON, what it said, and `index.json`: its command, exit code and
seconds. Parts run in the order of what is worth most, so that nothing is lost if all time runs out.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measure import machine

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OUT = ROOT / "docs" / "results" / "benchmarks" / "gpu"


@dataclass(frozen=True)
class Part:
    """A process: its words after the interpreter, and its share of all the time."""

    words: tuple[str, ...]
    share: float
    writes: bool = True


def parts_of(options: argparse.Namespace) -> dict[str, Part]:
    """All that can be measured."""
    device = ("--device", "cuda")
    data = () if options.data_dir is None else ("--data-dir", str(options.data_dir))
    return {
        "tests": Part(("-m", "pytest", "-m", "gpu", "tests/gpu", "--durations=10"), 0.22, writes=False),
        "training": Part(
            ("benchmarks/training.py", *device, "--blocks", "5", "--seconds", "0.5", *options.training), 0.32
        ),
        "lanes": Part(("benchmarks/lanes.py", *device, "--budget", "35", "--blocks", "4"), 0.25),
        "scaling": Part(("benchmarks/scaling.py", *device, "--blocks", "3"), 0.1),
        "price": Part(("benchmarks/price.py", *data), 0.1),
    }


def perform(name: str, part: Part, out: Path, seconds: float) -> dict[str, Any]:
    """Run one part; what it says goes to `<name>.txt`."""
    command = [sys.executable, *part.words]
    if part.writes:
        command += ["--json", str(out / f"{name}.json")]
    start = time.perf_counter()
    with (out / f"{name}.txt").open("w") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code: int | str = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)  # and what it has started itself
            process.wait()
            code = "out of time"
    return {
        "command": "python " + " ".join(command[1:]),
        "exit": code,
        "seconds": round(time.perf_counter() - start, 1),
    }


def main() -> int:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", help="tests, training, lanes, scaling, price; default all")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--minutes", type=float, default=9.5, help="for all of it")
    parser.add_argument("--data-dir", type=Path, help="the folder with MNIST's files")
    parser.add_argument("--training", nargs="*", default=[], help="more words for benchmarks/training.py")
    options = parser.parse_args()
    known = parts_of(options)
    if unknown := set(options.parts) - known.keys():
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}")
    wanted = {name: known[name] for name in options.parts or known}
    options.out.mkdir(parents=True, exist_ok=True)
    end = time.perf_counter() + 60 * options.minutes
    whole = sum(part.share for part in wanted.values())
    index: dict[str, Any] = {"machine": machine(), "parts": {}}
    for name, part in wanted.items():
        left = end - time.perf_counter()
        found = perform(name, part, options.out, max(1.0, left * part.share / whole))
        whole -= part.share  # what a part does not use goes to those that follow
        index["parts"][name] = found
        (options.out / "index.json").write_text(json.dumps(index, indent=2) + "\n")
        print(f"{name:10} {found['seconds']:7.1f} s  exit {found['exit']}", flush=True)
    return int(any(part["exit"] != 0 for part in index["parts"].values()))


if __name__ == "__main__":
    sys.exit(main())
