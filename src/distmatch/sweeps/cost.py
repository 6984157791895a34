"""Cost estimate of a sweep on this machine, before it is trained: `distmatch sweep --plan`. Nothing is written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from distmatch.reports.words import duration
from distmatch.runs.build import objective_of
from distmatch.sweeps.calibration import Cost
from distmatch.sweeps.folder import Sweep
from distmatch.sweeps.halving import rungs_of, steps_of
from distmatch.sweeps.packing import even
from distmatch.sweeps.plan import Run, Structure
from distmatch.sweeps.sweep import Machine, costs_of, jobs_of


@dataclass(frozen=True)
class Price:
    """Estimated cost of the runs of one structure.

    Args:
        name: of the first of them.
        equation: what they minimise.
        runs: how many.
        lanes: how many are one program at most.
        groups: how many packs that makes.
        steps: of all runs together.
        alone: seconds for a step of a run alone.
        together: seconds for a step of a pack, for each of its lanes.
        seconds: of one worker.
        memory: bytes of a pack.
        why: why there are no lanes, if it was said.
    """

    name: str
    equation: str
    runs: int
    lanes: int
    groups: int
    steps: int
    alone: float
    together: float
    seconds: float
    memory: int
    why: str = ""


def prices_of(sweep: Sweep, machine: Machine) -> list[Price]:
    """The price of each structure; with halving, as if no run diverged."""
    costs = costs_of(sweep, machine)
    return [_price(sweep, machine, structure, runs, costs) for structure, runs in sweep.examples.items()]


def _price(
    sweep: Sweep, machine: Machine, structure: Structure, runs: list[Run], costs: Mapping[Structure, Cost]
) -> Price:
    cost, jobs = costs[structure], jobs_of(sweep, machine)
    count = len(runs)
    if sweep.trials is not None:
        count = sweep.trials.search.trials * sweep.trials.runs_each
    lanes = machine.lanes or (cost.best if len(runs) > jobs else 1)
    packs = [len(pack) for pack in even(runs, lanes)]
    share = _share(sweep, runs)
    steps = round(count * steps_of(runs[0].config) * share)
    per_lane_step = sum(cost.seconds(k) for k in packs) / len(runs)
    largest = max(packs)
    return Price(
        runs[0].name,
        str(objective_of(runs[0].config)),
        count,
        largest,
        math.ceil(count / largest),
        steps,
        cost.step[1],
        per_lane_step,
        steps * per_lane_step,
        cost.memory * largest,
        cost.why,
    )


def _share(sweep: Sweep, runs: list[Run]) -> float:
    """The share of all steps that halving lets be taken."""
    halving = sweep.file.halving
    if halving is None:
        return 1.0
    steps, going, before, taken = steps_of(runs[0].config), 1.0, 0, 0.0
    for rung in [r for r in rungs_of(halving, sweep.runs) if r < steps]:
        taken += going * (rung - before)
        going, before = going / halving.eta, rung
    return (taken + going * (steps - before)) / steps


def price_lines(sweep: Sweep, machine: Machine) -> list[Table | Text]:
    """The price, for the terminal."""
    prices, jobs = prices_of(sweep, machine), jobs_of(sweep, machine)
    heads = (
        "first run",
        "minimises",
        "runs",
        "groups",
        "lanes",
        "steps",
        "ms a step: alone",
        "in its group",
        "time",
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in (*heads, "memory"):
        table.add_column(head, overflow="fold")
    for p in prices:
        each = (f"{1e3 * p.alone:.3g}", f"{1e3 * p.together:.3g}", duration(p.seconds), size(p.memory))
        cells = (p.name, p.equation, str(p.runs), str(p.groups), str(p.lanes), f"{p.steps:,}", *each)
        table.add_row(*(Text(cell) for cell in cells))
    total = sum(p.seconds for p in prices)
    loop = sum(p.steps * p.alone for p in prices)
    busy = min(jobs, sum(p.groups for p in prices))
    memory = busy * max(p.memory for p in prices)
    lines: list[Table | Text] = [table, Text("")]
    lines.append(
        Text(
            f"{sum(p.runs for p in prices)} runs in {sum(p.groups for p in prices)} groups, "
            f"{sum(p.steps for p in prices):,} steps: about {duration(total / busy)} with {_workers(busy)}, "
            f"if they do not slow each other ({duration(loop)} one run after the other), "
            f"and {size(memory)} beside data and libraries"
        )
    )
    for p in prices:
        if p.why:
            lines.append(Text(f"no lanes for {p.name}: {p.why}"))
    if sweep.evaluate:
        lines.append(Text(f"not priced: measuring {', '.join(sweep.evaluate)} on each finished run"))
    return lines


def size(count: float) -> str:
    """Bytes as one reads them.

    >>> size(512), size(3_500_000)
    ('512 B', '3.5 MB')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} TB"


def _workers(count: int) -> str:
    return "1 worker" if count == 1 else f"{count} workers"
