"""What every benchmark here shares: fair timing of rivals in one run, the machine's name, a table, a JSON file.

Rivals run in interleaved blocks (A B A B ...), so that whatever else the machine does falls on all of them alike.
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from distmatch.revision import revision


@dataclass(frozen=True)
class Timing:
    """Seconds per call of one rival, block by block."""

    blocks: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median block's seconds per call."""
        return statistics.median(self.blocks)

    def over(self, other: Timing) -> float:
        """The ratio of medians: below one, this rival is the faster."""
        return self.median / other.median

    def spread(self, other: Timing) -> tuple[float, float]:
        """The quartiles of the ratios of neighbouring blocks: how far to trust `over`."""
        ratios = [a / b for a, b in zip(self.blocks, other.blocks, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        return low, high


def interleaved(
    rivals: Mapping[str, Callable[[], Any]], calls: int, blocks: int, warm_up: int = 5
) -> dict[str, Timing]:
    """Time each rival for `blocks` blocks of `calls` calls, in turn; the order is reversed at every other turn.

    >>> sorted(interleaved({"a": int, "b": float}, calls=1, blocks=2))
    ['a', 'b']
    """
    seconds: dict[str, list[float]] = {name: [] for name in rivals}
    for run in rivals.values():
        _block(run, warm_up)
    for turn in range(blocks):
        for name in list(rivals)[:: -1 if turn % 2 else 1]:
            seconds[name].append(_block(rivals[name], calls) / calls)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def _block(run: Callable[[], Any], calls: int) -> float:
    _wait()
    start = time.perf_counter()
    for _ in range(calls):
        run()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def machine() -> dict[str, Any]:
    """What the numbers were measured on."""
    return {
        "cpu": _processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "revision": revision(),
        "system": platform.platform(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    names = [s for s in file.read_text().splitlines() if s.startswith("model name")] if file.exists() else []
    return names[0].split(":")[1].strip() if names else platform.processor()


def print_machine() -> None:
    """One line per fact."""
    print("\n".join(f"{key:8} {value}" for key, value in machine().items() if value is not None), end="\n\n")


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows of the same keys, in columns.

    >>> print_table([{"a": 1, "b": "x"}])
    a  b
    1  x
    """
    lines = [list(rows[0]), *([str(v) for v in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip())


def write_json(file: Path | None, results: Any) -> None:
    """The results, the machine, and the command, places of this machine alone as DIR, if a file was asked for."""
    if file is not None:
        command = shlex.join(["python", *("DIR" if Path(w).is_absolute() else w for w in sys.argv)])
        found = {"command": command, "machine": machine(), "results": results}
        file.write_text(json.dumps(found, indent=2) + "\n")
