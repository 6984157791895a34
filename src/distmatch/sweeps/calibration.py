"""Cost of a structure on this machine: seconds a step alone and in lanes, and memory, by a short measurement."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch

from distmatch.runs.lanes import Shared, pack
from distmatch.sweeps.plan import Run
from distmatch.training import Trainer
from distmatch.training.lanes.benchmark import memory, seconds
from distmatch.training.lanes.lanes import Lanes, alike

STEPS = 5  # that are measured with each number of lanes
GAIN = 1.05  # twice the lanes must give this many times the throughput, or fewer are taken
MEMORY_SHARE = 0.5  # of what is free, for all workers together
MOST = 256


@dataclass(frozen=True)
class Cost:
    """Seconds and bytes that one structure takes.

    Args:
        step: number of lanes -> seconds for a step of all of them; 1 is a run alone.
        memory: bytes that each lane takes.
        fits: how many lanes there is room for.
        why: why there are no lanes, if there are none.
    """

    step: dict[int, float]
    memory: int
    fits: int
    why: str = ""
    best: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "best", min(self.step, key=lambda k: self.step[k] / k))

    def seconds(self, lanes: int) -> float:
        """Of a step of this many lanes, by the nearest that was measured."""
        near = min(self.step, key=lambda k: (abs(k - lanes), k))
        return self.step[near] * lanes / near


def calibrate(runs: Sequence[Run], jobs: int, most: int | None = None) -> Cost:
    """Measure runs of one structure, with one thread on a CPU, as a worker would train them.

    Lanes are doubled as long as there is room and their throughput grows, from that of a single one: few of them may be
    slower than a run alone where many are faster.

    Args:
        runs: of one structure.
        jobs: how many workers share the memory.
        most: lanes at most.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _calibrate(runs, jobs, min(most or MOST, len(runs), MOST))
    finally:
        torch.set_num_threads(threads)


def _calibrate(runs: Sequence[Run], jobs: int, most: int) -> Cost:
    shared = Shared()

    def trainer(i: int) -> Trainer:
        return shared.assembly(runs[i].asked).trainer

    trainers = [trainer(0)]
    own = memory(trainers[0])
    room = int(MEMORY_SHARE * free_memory(trainers[0].feed.device) / jobs)
    step, why, lanes = {1: seconds(pack(trainers), STEPS)}, "", 2
    before = _together(trainers) if most > 1 else 0.0
    while lanes <= min(most, own.lanes(room)):
        trainers += [trainer(i) for i in range(len(trainers), lanes)]
        why = next((w for t in trainers[1:] if (w := alike(trainers[0], t)) is not None), "")
        if why:
            break
        step[lanes] = _together(trainers)
        if step[lanes] / lanes * GAIN > before / (lanes // 2):
            break
        before, lanes = step[lanes], 2 * lanes
    return Cost(step, own.state + own.step, own.lanes(room), why)


def _together(trainers: Sequence[Trainer]) -> float:
    """Seconds for a step of all of them as lanes, of one too: what it takes to be a lane shows there at its largest."""
    for trainer in trainers:  # those that have been measured are some steps on
        trainer.steps_done = 0
    lanes = Lanes(trainers)
    taken = seconds(lanes, STEPS)
    lanes.release()
    return taken


def free_memory(device: torch.device) -> int:
    """Bytes that nobody uses."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            sizes = dict(line.split(":", 1) for line in file)
        return int(sizes["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError):
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
