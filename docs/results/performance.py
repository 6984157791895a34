"""The page of measured speeds: docs/performance.md, from the JSON files in docs/results/benchmarks.

    python docs/results/performance.py           makes the page
    python docs/results/performance.py measure   runs the benchmarks first, one after the other: half an hour

Every number on the page comes from a JSON file that a benchmark wrote, with its command, machine and versions.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from distmatch.reports.mends import explained, made_before, read_mends

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
KEPT = HERE / "benchmarks"
PAGE = HERE.parent / "performance.md"
MENDS = read_mends(HERE / "mends.toml")
Rows = Sequence[Mapping[str, Any]]

COMMANDS = {  # of each file, the words that measure it
    "step": "benchmarks/step.py --threads 1",
    "training": "benchmarks/training.py --threads 1 --pythae --seconds 1.5",
    "parts": "benchmarks/parts.py",
    "lanes": "benchmarks/lanes.py --threads 1 --budget 110",
    "sweeps": "benchmarks/sweeps.py",
    "ranks": "benchmarks/ranks.py",
    "scaling": "benchmarks/scaling.py --threads 1",
    "price": "benchmarks/price.py",
    "price-run": "benchmarks/price.py --run benchmarks/digits.toml",
    "marginal_kl": "benchmarks/marginal_kl.py --threads 1 --blocks 3",
    "scores": "benchmarks/scores.py --threads 1 frechet",
    "geometry": "benchmarks/geometry.py --draws 1000 --blocks 3",
}
NEED_MNIST = ("price",)


@dataclass(frozen=True)
class Goal:
    """What a number should reach."""

    what: str
    least: float
    found: float | None


def found(name: str) -> dict[str, Any] | None:
    """A benchmark's file, if it was run."""
    file = KEPT / f"{name}.json"
    return json.loads(file.read_text()) if file.exists() else None


def table(rows: Rows, columns: Sequence[str] = ()) -> list[str]:
    """Markdown; a table for each kind of row, and columns that are empty in every row are left out."""
    lines: list[str] = []
    for keys, alike in groupby(rows, key=lambda row: tuple(columns) or tuple(row)):
        kind = list(alike)
        heads = [c for c in keys if any(row.get(c, "") != "" for row in kind)]
        lines += [""] if lines else []
        lines += [_line(heads), _line(["---"] * len(heads))]
        lines += [_line([_cell(row.get(c, "")) for c in heads]) for row in kind]
    return lines


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _cell(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value).replace("|", "\\|")


def section(name: str, tables: Callable[[Any], list[str]]) -> list[str]:
    """How it was measured, and what was found."""
    one = found(name)
    if one is None:
        return [f"Not measured: `python {COMMANDS[name]}`.", ""]
    m = one["machine"]
    on = m["gpu"] or f"{m['cpu']}, {m['cores']} cores"
    where = f"{on}; torch's threads {m['threads']}, torch {m['torch']}, Python {m['python']}"
    mended = ", ".join(before(name))
    told = ["", f"Made before: {mended}."] if mended else []
    return [f"`{one['command']}` ({where})", *told, "", *tables(one["results"]), ""]


def before(name: str) -> list[str]:
    """The mends that a benchmark was measured before."""
    one = found(name)
    return [] if one is None else made_before(MENDS, "benchmarks", name, [one["machine"].get("revision")])


def training(results: Mapping[str, Any]) -> list[str]:
    """One table for the loops, and the goals."""
    rows = [row for one in results["measured"] for row in one["rows"]]
    shown = [
        "case",
        "precision",
        "by hand, steps/s",
        "ours, steps/s",
        "ratio",
        "quartiles",
        "over by hand float32",
        "GFLOP a step",
        "of ceiling",
        "bare, steps/s",
        "pythae, steps/s",
        "over pythae",
    ]
    by = {(row["case"], row["precision"]): row for row in rows}

    def at(case: str, precision: str, what: str) -> float | None:
        return by.get((case, precision), {}).get(what)

    float32, bf16 = ("float32", "ratio"), ("bf16", "over by hand float32")
    goals = [
        Goal("VAE over pythae's trainer", 1.3, at("vae", "float32", "over pythae")),
        Goal("DCGAN-32, float32, over the loop by hand", 1.2, at("dcgan-32", *float32)),
        Goal("WGAN-GP, float32, over the loop by hand", 1.1, at("wgan-gp", *float32)),
        Goal("DCGAN-32, bf16, over the loop by hand in float32", 1.7, at("dcgan-32", *bf16)),
        Goal("WGAN-GP, bf16, over the loop by hand in float32", 1.7, at("wgan-gp", *bf16)),
    ]
    judged = [
        {"goal": g.what, "at least": g.least, "found": g.found, "met": "yes" if g.found >= g.least else "no"}
        for g in goals
        if g.found is not None
    ]
    ceilings = ", ".join(f"{p} {c / 1e9:.4g}" for p, c in results["ceilings, FLOP/s"].items())
    return [
        *table(rows, shown),
        "",
        f"Ceilings, GFLOP/s of one large product: {ceilings}.",
        "",
        *table(judged),
    ]


def several(results: Mapping[str, Rows]) -> list[str]:
    """A table for each part."""
    return [line for rows in results.values() for line in (*table(rows), "")][:-1]


def price(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """The whole, then its structures."""
    lines: list[str] = []
    for one in results:
        lines += [*table([{"sweep": one["sweep"], **one["whole"]}]), ""]
        lines += [*table(one["structures"]), ""]
    return lines[:-1]


def gpu() -> list[str]:
    """What `benchmarks/gpu.py` has left, if a GPU was ever at hand."""
    index = KEPT / "gpu" / "index.json"
    ready = (
        "`make gpu DATA=DIR` measures all of it unattended in under ten minutes (DIR holds MNIST's files)."
    )
    if not index.exists():
        what = [
            (
                "steps per second at batch 64 against the loop by hand (VAE, DCGAN-28, VGH++, WGAN-GP)",
                "10 times",
            ),
            ("FLOP/s over the measured ceiling at batch 64, 512 and 4096", ""),
            ("captured steps against eager ones, the seconds until the first step", ""),
            ("64 lanes against one run after the other, MLPs", "20 times"),
            ("the ColorMNIST sweep on one H200, before and after", "30 minutes"),
            ("ranks over NCCL", ""),
        ]
        rows = [{"what": w, "goal": g, "found": "not measured"} for w, g in what]
        return ["No GPU was at hand.", "", *table(rows), "", ready]
    lines = [ready, ""]
    for name, part in json.loads(index.read_text())["parts"].items():
        lines += [f"### {name}", "", f"`{part['command']}`, {part['seconds']} s, exit {part['exit']}", ""]
        of_it = {"training": training, "lanes": several, "scaling": several, "price": price}.get(name)
        if of_it is not None and (KEPT / "gpu" / f"{name}.json").exists():
            lines += [*section(f"gpu/{name}", of_it)]
    return lines


TEXT = """\
# Performance

Measured, each number by the command above it. Rivals take turns in one process or, where they cannot, one after the
other; numbers are medians, and quartiles are those of the ratios of neighbouring stretches. The machine is a virtual
one with two cores that are shared with others, on which the same loop runs now at one speed and then at half of it:
trust the ratios and their quartiles, not steps per second across tables. `make bench` measures all of it again.
{mends}
## One run

Against the loop that a PyTorch user writes (`benchmarks/by_hand.py`: DataLoader, `zero_grad`, `backward`, torch's
Adam) and against pythae's trainer, at equal nets, batch (64) and precision; both loops first take three steps in double
precision on the same numbers and must arrive at the same weights. `over by hand float32` is how much faster ours is
than the float32 loop, in whatever precision it runs. `of ceiling` is the share of the FLOP/s that one large product
of matrices reaches on this machine; `bare` is the VAE's products and Adam without a loss, data, noise or autograd.

{training}
Where the goals end: DCGAN-32 runs within a tenth of what one large product reaches, so that no loop can be much faster
in float32; what there is to gain over the loop by hand is channels-last and the critic's weights that are left
alone while the generator learns. WGAN-GP gains besides that its penalty carries no zeros back through a forward pass,
a seventh of the step's operations (`distmatch.objectives.piecewise`). The VAE's step is small: beside its products and
Adam stand the many short operations of losses, data and noise, as they do by hand. `torch.compile` is never chosen by
itself on a CPU.

### The step alone

The same nets and data, no data loading, a loop that does nothing the step need not do:

{step}
## Where a step's time goes

`distmatch train … --profile` times the parts of a step (data, forward, backward, optimiser), lists the operators that
take most, and compares the whole with the measured ceilings of products and of memory. In short:

{parts}
## Many runs at once: lanes

Numbers are runs × steps per second. `one by one` and `lanes` have one thread; `processes` are as many at once as there
are runs, one thread each, and so use both cores; the sweep's pool does so with packs of lanes.

{lanes}
On one core lanes pay from about four on, by up to twice where a run's own operations are too small to fill the core,
and by a fifth where they fill it already (width 400); beyond 16 or 32 of them little is added. Fewer than four, and
vmapped convolutions, are slower than one run after the other: `distmatch sweep` measures both first, and trains such
runs in processes alone. What one core's lanes add comes on top of one process for each core.

A lane is the run alone to rounding, and training amplifies rounding: a GAN with batch norm (`dcgan` of width 8 on
digits, `python benchmarks/lane_rounding.py --steps 10 100 1000`) ends in float32 after 10, 100 and 1,000 steps 6·10⁻⁷,
5 % and 46 % of its way apart from the run alone, in float64 10⁻¹⁵, 10⁻¹⁵ and 10 %. It is another run of the same
distribution, not another algorithm; where a run must be had again bit by bit, train it with `--lanes 1`.

## Sweeps: start-up, overhead, workers

{sweeps}
The calibration that `--lanes auto` does takes its seconds once for each structure; `--lanes 1` leaves it out.

## A sweep's price

`distmatch sweep --plan` before, and the sweep itself after (start-up, samples, checkpoints and the report included):

{price-run}
The whole ColorMNIST sweep of Rosca et al. 2018 on this machine, priced only:

{price}
## One run on several processes

{ranks}
The batch is that of all ranks together, and noise is drawn for the whole batch and divided, so that a run depends on
the number of ranks only by rounding where no net looks across the batch: the VAE on 1×128 and on 2×64 ends less than
1e-5 of the distance it moved apart (`tests/runs/test_torchrun.py`). Batch norm sees each rank's part alone, as in
torch's own data parallelism, so that nets with it differ as by a smaller batch. What needs the whole batch in one
place is refused in one sentence: MMD, a KL between code moments, a target rate, batch critics, minibatch
discrimination, consensus optimisation, unrolling; compiled steps too. Rank 0 alone writes. A lost rank ends all of
them with one sentence, and `resume` goes on with any number. On one machine's cores ranks do what threads do: they
are for machines with more than one GPU, and for several.

## Cost as work grows

`work` is by how much the operations of a step grow, `time` by how much its seconds; above 1 in the last column is a
cost that work does not explain.

{scaling}
## Metrics

The marginal KL over 50,000 codes against the bare matmul and exponential, the Fréchet distance against scipy's
route, the geometry score on both cores:

{marginal_kl}
{scores}
{geometry}
## On a GPU

{gpu}
"""


def page() -> str:
    """The whole page."""
    told = explained(MENDS, (mend for name in COMMANDS for mend in before(name)))
    parts = {
        "mends": ["", *told, ""] if told else [],
        "training": section("training", training),
        "lanes": section("lanes", several),
        "sweeps": section("sweeps", several),
        "scaling": section("scaling", several),
        "price": section("price", price),
        "price-run": section("price-run", price),
        "gpu": gpu(),
    }
    parts |= {
        name: section(name, table) for name in ("step", "parts", "ranks", "marginal_kl", "scores", "geometry")
    }
    text = TEXT
    for name, lines in parts.items():
        text = text.replace("{" + name + "}\n", "\n".join(lines) + "\n")
    return text.rstrip("\n") + "\n"


def measure(data_dir: Path | None, only: Sequence[str]) -> None:
    """Run the benchmarks, each in a process of its own, one after the other."""
    for name in only or COMMANDS:
        words = COMMANDS[name].split()
        if name in NEED_MNIST and data_dir is None:
            print(f"{name}: left out, it needs MNIST's files (--data-dir DIR)")
            continue
        words += ["--data-dir", str(data_dir)] if name in NEED_MNIST else []
        out = (KEPT / f"{name}.json").relative_to(ROOT)
        subprocess.run([sys.executable, *words, "--json", str(out)], cwd=ROOT, check=True)


def main() -> None:
    """Measure, or make the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["page", "measure"], default="page")
    parser.add_argument("--data-dir", type=Path, help="the folder with MNIST's files")
    parser.add_argument("--only", nargs="*", default=[], choices=[*COMMANDS])
    options = parser.parse_args()
    if options.what == "measure":
        measure(options.data_dir, options.only)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
