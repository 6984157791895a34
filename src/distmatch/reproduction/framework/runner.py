"""Running an experiment: every cell once for each seed, each run kept as it ends, so that nothing is run twice."""

from __future__ import annotations

import json
import math
import platform
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distmatch.errors import BadInput
from distmatch.files import put
from distmatch.reproduction.framework.experiment import (
    SCALES,
    Bench,
    Cell,
    Experiment,
    Record,
    Results,
    Scale,
    as_json,
    from_json,
    label,
)
from distmatch.reproduction.registry import find
from distmatch.revision import revision

WIDEST, COLOURS = 1500, 256  # pixels across a figure as PNG, and how many colours it may have

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Told = Callable[[int, int, str], None]
"""Called after each run with how many are done, of how many, and the run's name."""


def reproduce(
    name: str,
    scale: str = "cpu",
    *,
    seeds: int = 5,
    work: Path = Path("runs/reproduce"),
    out: Path = Path("docs/results/experiments"),
    data_dir: Path | None = None,
    jobs: int = 1,
    told: Told | None = None,
) -> dict[str, Any]:
    """Run an experiment, or the part of it that has not been run, and write its results and figures.

    Args:
        name: of the experiment.
        scale: smoke, cpu or paper.
        seeds: each cell is run with the seeds 0, 1, …; once where the experiment has nothing random.
        work: the folder of its runs; an interrupted experiment goes on from what it holds.
        out: `NAME/SCALE.json` and the figures are written there.
        data_dir: the folder of data sets.
        jobs: runs at a time, each in a process of one thread.

    Returns:
        What was written.

    Raises:
        BadInput: an unknown name or scale, counts below one, data that are not there.
    """
    experiment = find(name)
    size = _scale(scale)
    for what, count in (("seeds", seeds), ("jobs", jobs)):
        if count < 1:
            raise BadInput(f"{what} is {count}; give at least 1")
    seeds = seeds if experiment.seeded and size != "smoke" else 1
    bench = Bench(size, work / experiment.name / size, data_dir)
    plan = [(cell, seed) for seed in range(seeds) for cell in experiment.cells(size)]
    done = {}
    for number, (place, record) in enumerate(_each(experiment.name, plan, bench, jobs), 1):
        done[place] = record
        if told is not None:
            told(number, len(plan), f"{label(record.cell)} seed {record.seed}")
    results = Results([done[i] for i in range(len(plan))])
    return _write(experiment, results, size, seeds, out)


def _scale(word: str) -> Scale:
    for scale in SCALES:
        if scale == word:
            return scale
    raise BadInput(f"scale is {word!r}; give smoke, cpu or paper")


def judged(experiment: Experiment, results: Results, scale: Scale) -> list[dict[str, Any]]:
    """Every claim with its verdict; at the scale smoke, which is too small for any, all are inconclusive."""
    rows = []
    for claim in experiment.claims:
        verdict = claim.judge(results)
        if scale == "smoke":
            verdict = replace(verdict, outcome="inconclusive")
        rows.append(
            {
                "sentence": claim.sentence,
                "source": claim.source,
                "quantity": claim.quantity,
                "expected": str(claim.expected),
                "late": claim.late,
                **{k: _plain(v) for k, v in vars(verdict).items()},
            }
        )
    return rows


def execute(name: str, cell: Cell, seed: int, bench: Bench) -> Record:
    """The record of one run, from its own file where it was run before."""
    folder = bench.folder / f"{label(cell)},seed={seed}".strip(",")
    file = folder / "numbers.json"
    if file.exists():
        return from_json(json.loads(file.read_text(encoding="utf-8")))
    folder.mkdir(parents=True, exist_ok=True)
    made_with, begin = revision(), time.perf_counter()
    numbers = find(name).run(cell, seed, replace(bench, folder=folder))
    record = Record(cell, seed, numbers, time.perf_counter() - begin, made_with)
    put(file, json.dumps(as_json(record)).encode())
    return record


def _each(name: str, plan: list[tuple[Cell, int]], bench: Bench, jobs: int) -> Iterator[tuple[int, Record]]:
    """Places in the plan with their records, in the order in which runs end."""
    if jobs == 1:
        for place, (cell, seed) in enumerate(plan):
            yield place, execute(name, cell, seed, bench)
        return
    with ProcessPoolExecutor(jobs, get_context("spawn"), _one_thread) as pool:
        waiting = {pool.submit(execute, name, cell, seed, bench): i for i, (cell, seed) in enumerate(plan)}
        try:
            for future in as_completed(waiting):
                yield waiting[future], future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def _write(experiment: Experiment, results: Results, scale: Scale, seeds: int, out: Path) -> dict[str, Any]:
    from distmatch.reports.style import figure_to_svg

    folder = out / experiment.name
    folder.mkdir(parents=True, exist_ok=True)
    figures = []
    for stem, figure in experiment.figures(results).items():
        put(folder / f"{scale}-{stem}.svg", figure_to_svg(figure).encode())
        put(folder / f"{scale}-{stem}.png", _small_png(figure))
        figures.append(f"{scale}-{stem}")
    content = {
        "experiment": experiment.name,
        "scale": scale,
        "seeds": seeds,
        "command": f"distmatch reproduce {experiment.name} --scale {scale} --seeds {seeds}",
        "environment": _environment(),
        "seconds": sum(r.seconds for r in results.records),
        "claims": judged(experiment, results, scale),
        "figures": figures,
        "runs": [as_json(r) for r in results.records],
    }
    put(folder / f"{scale}.json", as_text(content).encode())
    return content


def _small_png(figure: Figure) -> bytes:
    """A figure as PNG with a palette, a third of the size of full colour."""
    from PIL import Image

    full, small = BytesIO(), BytesIO()
    figure.savefig(full, format="png", dpi=min(150.0, WIDEST / figure.get_figwidth()))
    palette = Image.open(full).convert("RGB").quantize(COLOURS, Image.Quantize.FASTOCTREE)
    palette.save(small, format="PNG", optimize=True)
    return small.getvalue()


def as_text(content: dict[str, Any]) -> str:
    """Results of an experiment as JSON with a line for each run, whose curves would fill pages."""
    head = json.dumps({**content, "runs": []}, indent=1, ensure_ascii=False).removesuffix("[]\n}")
    runs = ",\n".join(json.dumps(run, ensure_ascii=False, separators=(",", ":")) for run in content["runs"])
    return f"{head}[\n{runs}\n]}}\n"


def _environment() -> dict[str, str | None]:
    import torch

    import distmatch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    versions = {"distmatch": distmatch.__version__, "torch": torch.__version__}
    return {**versions, "device": device, "revision": revision()}


def _plain(value: Any) -> Any:
    """The value for JSON, which has no infinity or NaN: None in place of either."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
