"""What a sweep is priced at here, and with `--run` what it then takes.

    python benchmarks/price.py [--json FILE] [--data-dir DIR] [--jobs N] [--run] [SWEEP ...]

SWEEP is a sweep file; without one, `benchmarks/colormnist.toml`, the whole sweep of Rosca et al. 2018, which needs
MNIST's files (`--data-dir`: the folder that holds them). The price is that of `distmatch sweep SWEEP --plan`: a short
calibration of each structure, on this machine as it is just now. With `--run` the sweep is trained too, into a folder
that is thrown away, by `distmatch sweep SWEEP`, in a process of its own: start-up, folders, samples, checkpoints and
the report count, which the price leaves out.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from measure import print_machine, print_table, write_json

from distmatch.sweeps.cost import prices_of
from distmatch.sweeps.file import read
from distmatch.sweeps.folder import opened
from distmatch.sweeps.sweep import Machine, jobs_of

HERE = Path(__file__).resolve().parent


def price(file: Path, jobs: int | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Of the whole sweep, and of each structure."""
    began = time.perf_counter()
    machine, sweep = Machine(jobs), opened(file, None)
    found = prices_of(sweep, machine)
    busy = min(jobs_of(sweep, machine), sum(p.groups for p in found))
    whole = {
        "runs": sum(p.runs for p in found),
        "groups": sum(p.groups for p in found),
        "steps": sum(p.steps for p in found),
        "workers": busy,
        "price, min": _digits(sum(p.seconds for p in found) / busy / 60),
        "one by one, min": _digits(sum(p.steps * p.alone for p in found) / 60),
        "calibration, s": round(time.perf_counter() - began, 1),
    }
    rows = [
        {
            "first run": p.name,
            "minimises": p.equation,
            "runs": p.runs,
            "lanes": p.lanes,
            "ms a step alone": _digits(1e3 * p.alone),
            "in its group": _digits(1e3 * p.together),
            "min of a worker": _digits(p.seconds / 60),
            "MB of a group": round(p.memory / 1e6, 1),
        }
        for p in found
    ]
    return whole, rows


def seconds_of(file: Path, jobs: int | None) -> float:
    """The whole sweep, trained."""
    words = [sys.executable, "-m", "distmatch", "sweep", str(file)]
    words += [] if jobs is None else ["--jobs", str(jobs)]
    with tempfile.TemporaryDirectory() as place:
        began = time.perf_counter()
        subprocess.run([*words, "--out", f"{place}/sweep"], check=True, capture_output=True)
        return time.perf_counter() - began


def measure(file: Path, options: argparse.Namespace) -> dict[str, Any]:
    """One sweep file, with the data's folder put into it."""
    content = read(file)
    if options.data_dir is not None:
        base = content.setdefault("base", {})
        base["data.dir"] = str(options.data_dir.resolve())
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / f"{file.stem}.json"
        copy.write_text(json.dumps(content))
        whole, rows = price(copy, options.jobs)
        if options.run:
            whole["taken, min"] = _digits(seconds_of(copy, options.jobs) / 60)
            whole["taken / price"] = round(whole["taken, min"] / whole["price, min"], 2)
    return {"sweep": file.name, "whole": whole, "structures": rows}


def _digits(value: float) -> float:
    return float(f"{value:.3g}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sweeps", nargs="*", type=Path, default=[HERE / "colormnist.toml"])
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--data-dir", type=Path, help="the folder with the data's files")
    parser.add_argument("--jobs", type=int, help="workers; default: as `distmatch sweep`")
    parser.add_argument("--run", action="store_true", help="and train it")
    options = parser.parse_args()
    print_machine()
    found = []
    for file in options.sweeps:
        found.append(measure(file, options))
        print_table(found[-1]["structures"])
        print()
        print_table([{"sweep": file.name} | found[-1]["whole"]])
        write_json(options.json, found)


if __name__ == "__main__":
    main()
