"""The clocks of a run, kept apart from everything that its seed fixes."""

from __future__ import annotations

import resource
import sys
import time

from distmatch.errors import BadInput
from distmatch.runs.folder import RunFolder


class Timing:
    """`timing.json`: seconds and steps over all sessions of a run, and the peak of memory.

    What a killed session did after its last checkpoint is not counted.

    Args:
        folder: the run.
        done: the steps done before this session.
        lanes: how many runs share this clock, and so their seconds; written where there are several.
    """

    def __init__(self, folder: RunFolder, done: int, lanes: int = 1) -> None:
        self.lanes = lanes
        self.folder, self.first, self.start = folder, done, time.perf_counter()
        try:
            before = folder.read_json("timing.json") or {}
        except BadInput:
            before = {}
        self.seconds = float(before.get("seconds", 0.0))
        self.steps = int(before.get("steps", 0))
        self.peak = float(before.get("peak_memory_mb", 0.0))

    def write(self, done: int) -> None:
        """Write the file, `done` steps into the run."""
        seconds = self.seconds + time.perf_counter() - self.start
        taken = self.steps + done - self.first
        unit = 2**20 if sys.platform == "darwin" else 2**10
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
        self.folder.write_json(
            "timing.json",
            {
                "seconds": round(seconds, 3),
                "steps": taken,
                "steps_per_second": round(taken / seconds, 3) if seconds else None,
                "milliseconds_per_step": round(1e3 * seconds / taken, 4) if taken else None,
                "peak_memory_mb": round(max(peak, self.peak), 1),
                **({"lanes": self.lanes} if self.lanes > 1 else {}),
            },
        )
