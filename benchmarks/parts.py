"""Where a step's time goes, as `distmatch train SYSTEM --profile` tells it, on data that come with the package.

    python benchmarks/parts.py [--json FILE] [--device cuda] [SYSTEM ...]

A row for each system (default vae, dcgan, wgan-gp; digits, 8×8): milliseconds of a step as it is trained and as it is
watched part by part, its operations, and how far it is from the ceilings of products and of memory that are measured
in the same process.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from measure import print_machine, print_table, write_json

SYSTEMS = ("vae", "dcgan", "wgan-gp")


def profiled(system: str, device: str) -> dict[str, Any]:
    """One row."""
    with tempfile.TemporaryDirectory() as place:
        words = [
            "train",
            system,
            "--data",
            "digits",
            "--device",
            device,
            "--profile",
            "--out",
            f"{place}/run",
        ]
        subprocess.run([sys.executable, "-m", "distmatch", *words], check=True, capture_output=True)
        seen = json.loads(Path(place, "run", "profile.json").read_text())
    parts = {f"{part}, ms": ms for part, ms in seen["ms_per_step_by_part"].items()}
    return {
        "system": system,
        "ms a step": seen["ms_per_step"],
        **parts,
        "GFLOP": seen["gflop_per_step"],
        "GFLOP/s": seen["gflop_per_second"],
        "of ceiling": seen["of_ceiling"],
        "ms of products at ceiling": seen["ms_of_products_at_ceiling"],
        "ms of traffic at ceiling": seen["ms_of_traffic_at_ceiling"],
    }


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("systems", nargs="*", default=list(SYSTEMS))
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    print_machine()
    found = [profiled(system, options.device) for system in options.systems]
    heads = sorted(dict.fromkeys(k for row in found for k in row), key=lambda k: k.endswith(", ms"))
    rows = [{k: row.get(k, "") for k in heads} for row in found]  # not every system has every part
    print_table(rows)
    write_json(options.json, rows)


if __name__ == "__main__":
    main()
