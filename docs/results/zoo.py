"""The zoo: train every row on the smallest problem that shows it, measure, keep the numbers, make the page.

    python docs/results/zoo.py train [--data-dir DIR] [--jobs N] [--only NAME ...]   trains, measures, writes zoo/*
    python docs/results/zoo.py page                                                  makes docs/zoo.md from them

Every measured number on the page comes from a JSON file that the program wrote. Each row is trained by the command
that the page shows, in a process of its own with one thread, so that memory and time are its own.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from zoo_rows import GROUPS, ROWS, Check, Row

from distmatch.data import load
from distmatch.dirac import METHODS, SCHEDULES, trajectory
from distmatch.reports.figures import scatter_2d
from distmatch.reports.grids import image_grid
from distmatch.reports.mends import explained, made_before, read_mends, revisions_of
from distmatch.reports.table import format_estimate
from distmatch.runs.build import objective_of
from distmatch.runs.layers import read_config

HERE = Path(__file__).parent
KEPT = HERE / "zoo"
PAGE = HERE.parent / "zoo.md"
MENDS = read_mends(HERE / "mends.toml")
POINTS = 2000
SHOWN = {  # of a row's metrics, those that the page has room for, with what they are called there
    "modes": "modes",
    "high_quality": "high quality",
    "elbo": "ELBO",
    "rate": "rate",
    "distortion": "distortion",
    "log_likelihood": "log p(x) ≥",
    "nll": "-log p(x)",
    "bits_per_dim": "bits per dimension",
    "population_marginal_kl": "KL(q(z) ‖ p(z)) ≥",
    "empirical_marginal_kl": "KL of the training codes' mixture",
    "mse": "reconstruction mse",
    "code_mean": "largest mean of codes",
    "code_covariance": "largest entry of cov - I",
    "class_agreement": "class agreement",
    "class_agreement_data": "the judge on real data",
    "ms_ssim_diversity_rescaled": "MS-SSIM diversity",
    "ms_ssim_diversity_rescaled_data": "the data's",
}


def program(*words: str) -> None:
    """Run the command line in a process of its own, with one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "distmatch", *words], env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise RuntimeError(f"distmatch {shlex.join(words)}: {done.stderr.strip()}")


def train(row: Row, runs: Path, data_dir: Path | None) -> dict:
    """Train and measure one row, and keep what the page needs."""
    run, told = runs / row.name, runs / f"{row.name}.command"
    if run.exists() and (not told.exists() or told.read_text() != row.command):
        shutil.rmtree(run)  # of another command
    if (run / "config.json").exists():
        program("resume", str(run))
    else:
        runs.mkdir(parents=True, exist_ok=True)
        told.write_text(row.command)
        words = [*shlex.split(row.command)[1:], "--out", str(run)]
        program(*words, *(["--data-dir", str(data_dir)] if data_dir else []))
    program(
        "evaluate",
        str(run),
        "--samples",
        str(row.samples),
        *(["--only", *row.only] if row.only else ["--quick"]),
    )
    about = json.loads((run / "config.json").read_text())
    about["config"]["data"]["dir"] = None  # a folder of one machine
    measured = json.loads((run / "metrics.json").read_text())
    found = {
        "name": row.name,
        "command": row.command,
        "equation": about["equation"],
        "seed": about["config"]["seed"],
        "config": about["config"],
        "environment": about["environment"],
        "timing": json.loads((run / "timing.json").read_text()),
        **measured,
        "checks": [outcome(c, measured["metrics"]) for c in row.checks if not c.than],
    }
    KEPT.mkdir(exist_ok=True)
    (KEPT / f"{row.name}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    picture(row, run, data_dir)
    return found


def outcome(check: Check, metrics: dict) -> dict:
    """What a check asked for, what was measured, and whether it holds."""
    value = metrics[check.metric]["value"]
    holds = {">=": value >= check.bound, "<=": value <= check.bound}[check.sign]
    return {"metric": check.metric, "sign": check.sign, "bound": check.bound, "value": value, "holds": holds}


def picture(row: Row, run: Path, data_dir: Path | None) -> None:
    """A small picture: samples, and reconstructions beside them where there are any."""
    array = run / "samples.npy"
    points = row.data in ("ring", "grid", "gaussians", "lines")
    program("sample", str(run), "-n", str(POINTS if points else 40), "--out", str(array))
    samples = torch.from_numpy(np.load(array))
    if points:
        data = load(row.data, data_dir)
        figure = scatter_2d(samples, data.test.x[:POINTS], data.modes)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=80, bbox_inches="tight")
        image = Image.open(buffer).convert("RGB")
    else:
        columns = 10 if samples.shape[0] % 10 == 0 else 8
        image = Image.fromarray(np.asarray(image_grid(samples.clamp(0, 1), columns=columns))).convert("RGB")
        image = image.resize((400, round(400 * image.height / image.width)), Image.Resampling.NEAREST)
        if (run / "reconstructions.png").exists():
            shutil.copy(run / "reconstructions.png", KEPT / f"{row.name}-reconstructions.png")
    image.quantize(64).save(KEPT / f"{row.name}.png", optimize=True)


def page() -> str:
    """The page, in Markdown."""
    kept = {r.name: json.loads(p.read_text()) for r in ROWS if (p := KEPT / f"{r.name}.json").exists()}
    found = {r.name: kept[r.name] for r in ROWS if r.name in kept and kept[r.name]["command"] == r.command}
    if left_out := [r.name for r in ROWS if r.name not in found]:
        print(f"not on the page, for they were not trained by their present command: {', '.join(left_out)}")
    lines = [
        "# The zoo",
        "",
        "Every model, divergence and regulariser that distmatch has, each trained on the smallest problem that shows",
        "it, by the command beside it. `make zoo` runs them all; `make zoo-page` makes this page from the files in",
        "`docs/results/zoo/`, which the program wrote. One seed each, one thread; a number is followed by its standard",
        "error over samples, which does not hold the spread over seeds. A short training is a demonstration of what a",
        "row does, not a comparison of rows.",
        "",
        *summary(found),
    ]
    if told := explained(MENDS, (name for row, f in found.items() for name in before(row, f))):
        lines += ["", *told]
    for group in GROUPS:
        rows = [r for r in ROWS if r.group == group and r.name in found]
        lines += ["", f"## {group}", "", *table(rows, found)]
        for row in rows:
            lines += ["", *section(row, found[row.name])]
    lines += ["", *dirac()]
    return "\n".join(lines) + "\n"


def summary(found: dict) -> Iterator[str]:
    """What must hold, and whether it does."""
    checks = []
    for row in ROWS:
        for c in row.checks if row.name in found else ():
            if c.than and c.than not in found:
                continue
            start = found[c.than]["metrics"][c.metric]["value"] if c.than else 0.0
            demand = Check(c.metric, c.sign, start + c.bound)
            checks.append((row.name, outcome(demand, found[row.name]["metrics"]) | {"than": c.than}))
    held = sum(c["holds"] for _, c in checks)
    environment = next(iter(found.values()))["environment"]
    yield f"{len(found)} rows; {held} of {len(checks)} demands hold:"
    yield ""
    yield "| row | demand | measured | holds |"
    yield "|---|---|---|---|"
    for name, c in checks:
        word = SHOWN.get(c["metric"], c["metric"])
        than = f" (that of {c['than']} and 10 more)" if c["than"] else ""
        demand = f"{word} {c['sign']} {c['bound']:.4g}{than}"
        yield f"| [{name}](#{anchor(name)}) | {demand} | {c['value']:.4g} | {'yes' if c['holds'] else '**no**'} |"
    yield ""
    yield f"torch {environment['torch']}, {environment['machine']}; the machine was shared, so times are upper bounds."


def anchor(name: str) -> str:
    """The anchor that a heading gets: letters, digits and hyphens, numbered where another heading had the same."""
    plain = [re.sub(r"[^a-z0-9_-]", "", r.name) for group in GROUPS for r in ROWS if r.group == group]
    names = [r.name for group in GROUPS for r in ROWS if r.group == group]
    place = names.index(name)
    earlier = plain[:place].count(plain[place])
    return f"{plain[place]}-{earlier}" if earlier else plain[place]


def before(row: str, found: dict) -> list[str]:
    """The mends that a row's numbers were made before."""
    return made_before(MENDS, "zoo", row, revisions_of(found))


def table(rows: list[Row], found: dict) -> Iterator[str]:
    """A group's rows beside each other."""
    metrics = [m for m in SHOWN if any(m in found[r.name]["metrics"] for r in rows)]
    mended = {r.name: ", ".join(before(r.name, found[r.name])) for r in rows}
    heads = [*(SHOWN[m] for m in metrics), "steps", "time", "memory", *["made before"] * any(mended.values())]
    yield "| row | data | " + " | ".join(heads) + " |"
    yield "|---|---|" + "---|" * len(heads)
    for r in rows:
        f = found[r.name]
        t = f["timing"]
        cells = [cell(f, m) for m in metrics]
        spent = [f"{t['steps']:,}", f"{math.ceil(t['seconds'])} s", f"{t['peak_memory_mb']:.0f} MB"]
        last = [mended[r.name] or "–"] * any(mended.values())
        yield f"| [{r.name}](#{anchor(r.name)}) | {r.data} | " + " | ".join([*cells, *spent, *last]) + " |"


def cell(found: dict, metric: str) -> str:
    """One metric of one row, or a dash."""
    m = found["metrics"].get(metric)
    return format_estimate(m["value"], m["standard_error"], "") if m else "–"


def section(row: Row, found: dict) -> Iterator[str]:
    """A row's equation, command, picture, what to expect, and source."""
    yield f"### {row.name}"
    yield ""
    yield f"`{objective_of(read_config(found['config']))}`"
    yield ""
    yield f"{row.expect} Source: {row.reference}."
    yield ""
    yield f"```\n{found['command']}\n```"
    yield ""
    pictures = [f"![samples of {row.name}](results/zoo/{row.name}.png)"]
    if (KEPT / f"{row.name}-reconstructions.png").exists():
        pictures.append(f"![reconstructions by {row.name}](results/zoo/{row.name}-reconstructions.png)")
    yield " ".join(pictures)


def dirac() -> Iterator[str]:
    """The two-parameter testbed."""
    yield "## The two-parameter testbed"
    yield ""
    yield "One data point at 0, one model point at θ, a critic ψx: where each method is after 500 rounds of step 0.2"
    yield "from (1, 1), as its distance from the equilibrium. `distmatch dirac` prints it with the eigenvalues there;"
    yield "with --by and --penalty it does so for any comparison and penalty. Source: arXiv:1801.04406."
    yield ""
    yield "| method | " + " | ".join(map(str, SCHEDULES)) + " |"
    yield "|---|" + "---|" * len(SCHEDULES)
    for name, make in METHODS.items():
        method, ends = make(), []
        for schedule in SCHEDULES:
            path = trajectory(method, 0.2, (1.0, 1.0), 500, *schedule)
            ends.append(f"{path[-1].norm().item():.4g}")
        yield f"| {name} | " + " | ".join(ends) + " |"
    yield ""
    yield "![Phase portraits of nine methods](results/zoo/dirac.svg)"


def main() -> None:
    """Train rows, or make the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["train", "page"])
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--runs", type=Path, default=Path("runs/zoo"))
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="*", default=[])
    arguments = parser.parse_args()
    failed: list[str] = []
    if arguments.what == "train":
        rows = [r for r in ROWS if r.name in arguments.only or not arguments.only]

        def one(row: Row) -> None:
            try:
                found = train(row, arguments.runs, arguments.data_dir)
                print(row.name, f"{found['timing']['seconds']:.0f} s", found["checks"], flush=True)
            except (RuntimeError, KeyError, OSError) as error:
                failed.append(row.name)
                print(f"{row.name} failed: {error}", flush=True)

        with ThreadPoolExecutor(arguments.jobs) as pool:
            list(pool.map(one, rows))
        program("dirac", "--out", str(KEPT / "dirac.svg"))
    PAGE.write_text(page())
    if failed:
        sys.exit(f"not trained: {', '.join(failed)}")


if __name__ == "__main__":
    main()
