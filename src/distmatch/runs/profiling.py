"""`distmatch train … --profile`: a short stretch of a run, watched."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from distmatch.runs.build import assemble
from distmatch.runs.config import RunConfig
from distmatch.runs.folder import RunFolder, environment, refuse_taken
from distmatch.training import profiling

STEPS = 50


def profile(config: RunConfig, path: Path) -> dict[str, Any]:
    """Watch the first steps of a run, and leave what was seen as `profile.json` in a folder that `resume` trains.

    Two trainings are made for it and forgotten: an eager one, whose parts are timed, and one by the engine that the
    run asks for, whose steps are timed as a whole.

    Raises:
        BadInput: the configuration cannot be run, or the folder is taken.
    """
    refuse_taken(path)
    eager = replace(config, training=replace(config.training, engine="eager"))
    watched = assemble(eager).trainer
    assembly = assemble(config)
    trainer, chosen = assembly.trainer, assembly.config
    watched.run(profiling.WARM_UP)
    whole = profiling.seconds_a_step(watched, STEPS)
    trainer.run(2 * profiling.WARM_UP)
    by_engine = profiling.seconds_a_step(trainer, STEPS)
    shares = profiling.parts(watched, STEPS, min(STEPS, chosen.training.log_every or STEPS))
    operators = profiling.operators(watched)
    flops, traffic = profiling.work(watched)
    flop_rate, byte_rate = profiling.ceilings(watched.feed.device, chosen.training.precision)
    report = {
        "steps": STEPS,
        "engine": trainer.runs,
        "ms_per_step": round(1e3 * by_engine, 4),
        "ms_per_step_eager": round(1e3 * whole, 4),
        "ms_per_step_by_part": {k: round(1e3 * v, 4) for k, v in shares.items()},
        "operators": operators,
        "gflop_per_step": round(flops / 1e9, 6),
        "gigabytes_per_step": round(traffic / 1e9, 6),
        "gflop_per_second": round(flops / by_engine / 1e9, 2),
        "ceiling_gflop_per_second": round(flop_rate / 1e9, 2),
        "of_ceiling": round(flops / by_engine / flop_rate, 4),
        "ceiling_gigabytes_per_second": round(byte_rate / 1e9, 2),
        "ms_of_products_at_ceiling": round(1e3 * flops / flop_rate, 4),
        "ms_of_traffic_at_ceiling": round(1e3 * traffic / byte_rate, 4),
        "precision": chosen.training.precision,
        "environment": environment(chosen),
    }
    folder = RunFolder.create(path, chosen, str(assembly.objective), notes=assembly.notes)
    with folder.locked():
        folder.write_json("profile.json", report)
        folder.write_json("status.json", {"status": "profiled, not trained yet"})
    return report


def shown(report: dict[str, Any]) -> Group:
    """The profile as tables."""
    spent = report["ms_per_step_by_part"]
    total = sum(spent.values()) or 1.0
    where = _table("part of a step, eager", "ms", "share")
    for name, ms in sorted(spent.items(), key=lambda item: -item[1]):
        where.add_row(name, f"{ms:.3f}", f"{100 * ms / total:.1f} %")
    top = _table("operator", "ms a step", "share", "calls a step")
    for row in report["operators"]:
        top.add_row(row["operator"], f"{row['ms']:.3f}", f"{100 * row['share']:.1f} %", f"{row['calls']:g}")
    eager = f"{report['ms_per_step_eager']:.3f} ms eager"
    speed = f"a step takes {report['ms_per_step']:.3f} ms ({report['engine']}); {eager}"
    reached = (
        f"its {report['gflop_per_step']:.3g} GFLOP at {report['gflop_per_second']:.4g} GFLOP/s are "
        f"{100 * report['of_ceiling']:.1f} % of this machine's {report['ceiling_gflop_per_second']:.4g} "
        f"(one large product, {report['precision']}), at which they would take "
        f"{report['ms_of_products_at_ceiling']:.3f} ms"
    )
    moved = (
        f"its operators read and write {report['gigabytes_per_step']:.3g} GB, which a copy of "
        f"{report['ceiling_gigabytes_per_second']:.4g} GB/s would move in {report['ms_of_traffic_at_ceiling']:.3f} ms"
    )
    return Group(where, Text(""), top, Text(""), Text(speed), Text(reached), Text(moved))


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, name in enumerate(columns):
        table.add_column(name, justify="right" if i else "left")
    return table
