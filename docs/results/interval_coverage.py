"""The page of intervals under repetition: docs/coverage.md, from the JSON files in docs/results/coverage.

    python docs/results/interval_coverage.py                                   makes the page
    python docs/results/interval_coverage.py measure [--only NAME ...] [--again]   repeats the cases first: 15 minutes

Every case of `interval_cases` is drawn anew some hundred times. Results are written as they come, and what is there
already is not measured twice unless it is asked for.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from interval_cases import EXEMPT, FAMILIES, TESTS
from interval_cases.case import Case, TestCase, rejected, repeated

from distmatch.revision import revision

HERE = Path(__file__).resolve().parent
KEPT = HERE / "coverage"
REVISION = revision()  # of the source as it was imported
PAGE = HERE.parent / "coverage.md"
LEAST, MOST = 0.90, 0.99  # of the repetitions that an interval of 95 % should cover
LEVEL, APART = 0.05, 0.02  # of a test, and how far its share of rejections may be from it
TITLES = {
    "explicit": "Explicit models",
    "codes": "Codes",
    "samples": "Samples",
    "two_sample": "Two-sample tests: statistics and p-values",
    "features": "Features",
    "maps": "Maps and critics",
    "tests": "Two-sample tests: level and power",
}
Kept = dict[str, Any]


def found(family: str) -> Kept:
    """A family's file, or what an empty one holds."""
    file = KEPT / f"{family}.json"
    return json.loads(file.read_text()) if file.exists() else {"results": {}}


def cases(family: str) -> Iterator[tuple[str, Case | TestCase]]:
    """The family's cases, each with its metric and name."""
    if family == "tests":
        yield from ((test.name, test) for test in TESTS)
        return
    for metric, group in FAMILIES[family].items():
        yield from ((f"{metric}: {case.name}", case) for case in group)


def measure(family: str, again: bool) -> None:
    """Repeat the family's cases, and keep each one's rows as soon as they are there."""
    kept = found(family)
    for key, case in cases(family):
        there = kept["results"].get(key)
        if there is not None and there["repetitions"] == case.repetitions and not again:
            continue
        start = time.perf_counter()
        rows = rejected(case) if isinstance(case, TestCase) else repeated(case)
        seconds = round(time.perf_counter() - start, 1)
        told = {"repetitions": case.repetitions, "seconds": seconds, "revision": REVISION, "rows": rows}
        kept["results"][key] = told
        order = [key for key, _ in cases(family)]
        kept["results"] = {key: kept["results"][key] for key in order if key in kept["results"]}
        _write(family, kept)
        print(f"{family}, {key}: {seconds} s", flush=True)


def _write(family: str, kept: Kept) -> None:
    sys.path.append(str(HERE.parents[1] / "benchmarks"))
    from measure import machine

    command = shlex.join(["python", "docs/results/interval_coverage.py", "measure", "--only", family])
    told = {"command": command, "machine": machine(), "results": kept["results"]}
    KEPT.mkdir(exist_ok=True)
    (KEPT / f"{family}.json").write_text(json.dumps(told, indent=1) + "\n")


def verdict(row: Mapping[str, Any], bound: bool) -> str:
    """What a metric's repetitions say of its interval."""
    if row["error"] is None:
        return "no interval"
    if row["spread"] < 1e-12 * abs(row["truth"] or 1) and math.isclose(
        row["mean"], row["truth"], rel_tol=1e-6, abs_tol=1e-9
    ):
        return "exact"
    if row["covered"] < LEAST:
        return "**too short**"
    if bound:
        return "bounds"
    return "yes" if row["covered"] <= MOST else "longer"


def verdicts() -> Iterator[tuple[str, Case, str, Mapping[str, Any], str]]:
    """Family, case, metric, row and verdict of all that was measured."""
    for family in FAMILIES:
        results = found(family)["results"]
        for key, case in cases(family):
            assert isinstance(case, Case)
            for metric, row in results.get(key, {"rows": {}})["rows"].items():
                yield family, case, metric, row, verdict(row, metric in case.bounds)


def table(family: str) -> list[str]:
    """How a family was measured, and one line for each metric on each distribution."""
    kept = found(family)
    if not kept["results"]:
        return [f"Not measured: `python docs/results/interval_coverage.py measure --only {family}`.", ""]
    m, seconds = kept["machine"], sum(one["seconds"] for one in kept["results"].values())
    revisions = ", ".join(dict.fromkeys(str(one["revision"]) for one in kept["results"].values()))
    where = f"{m['cpu']}, {m['cores']} cores; torch's threads {m['threads']}, torch {m['torch']}, Python {m['python']}"
    lines = [f"`{kept['command']}` ({where}; revision {revisions}; {seconds:.0f} s)", ""]
    lines += _levels(kept) if family == "tests" else _intervals(family, kept)
    return [*lines, ""]


def _intervals(family: str, kept: Kept) -> list[str]:
    heads = "metric | distribution | truth | mean | spread | stated error / spread | bias / spread | covered | within"
    lines, notes = [_line(heads.split(" | ")), _line(["---"] * 9)], []
    for key, case in cases(family):
        assert isinstance(case, Case)
        for metric, row in kept["results"].get(key, {"rows": {}})["rows"].items():
            said = verdict(row, metric in case.bounds)
            if metric in case.known:
                notes.append(f"- `{metric}`, {case.name}: {case.known[metric]}")
            numbers = [f"{row[name]:.4g}" for name in ("truth", "mean", "spread")]
            numbers[0] += " (own)" if metric in case.own else ""
            spread = row["spread"]
            over = "" if not spread or row["error"] is None else f"{row['error'] / spread:.2f}"
            bias = f"{(row['mean'] - row['truth']) / spread:+.2f}" if spread else ""
            lines.append(_line([metric, case.name, *numbers, over, bias, _share(row), said]))
    return [*lines, *([""] if notes else []), *notes]


def _share(row: Mapping[str, Any]) -> str:
    """Covered, with the binomial error of that."""
    if row["covered"] is None:
        return ""
    p, n = row["covered"], row["repetitions"]
    return f"{100 * p:.1f} ± {100 * math.sqrt(max(p * (1 - p), 1 / n / n) / n):.1f} % of {n}"


def _levels(kept: Kept) -> list[str]:
    names = list(next(iter(kept["results"].values()))["rows"])
    lines = [_line(["distributions", "is", *names]), _line(["---"] * (2 + len(names)))]
    for key, case in cases("tests"):
        assert isinstance(case, TestCase)
        if key in kept["results"]:
            rows = kept["results"][key]["rows"]
            shares = [f"{100 * rows[name]['rejected']:.1f} %" for name in names]
            lines.append(_line([case.name, "level" if case.same else "power", *shares]))
    notes = [
        f"- {case.name}: {case.note}"
        for _, case in cases("tests")
        if isinstance(case, TestCase) and case.note
    ]
    return [*lines, "", *notes]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


TEXT = """\
# Intervals under repetition

Each metric that has a population value, on three distributions of its own or more whose value is known by another
route: a closed form, quadrature, or many draws by other means.
{own}

The metric is computed on fresh draws as often as the last column but one says; the share of the nominal 95 % intervals
(`Estimate.interval()`) that cover the truth should be 90 to 99 %. `stated error / spread` is the root mean square of
the stated errors over the standard deviation of the values, near 1 where there is no interval of another kind;
`bias / spread` is the mean less the truth in these spreads.

The last column: *yes*, 90 to 99 %; *longer*, more than that: intervals of counts and of probabilities near 0 or 1 are
exact, which covers at least 95 %, and errors at a null where the statistic degenerates are too large; *exact*, the
same number each time, and it is the truth; *bounds*, the metric is a lower bound in expectation, and its low end is not
above the truth; *too short*, the interval fails there, for the reason below the table. `make coverage` measures all of
it again, `make coverage-page` makes the page alone; a quick version is among the tests.

In short: {summary}

{tables}## What has no line

{exempt}

A metric whose name ends in `_data`, `_code` or `_joint` is the same estimate of other data or of another critic.
"""


def summary() -> str:
    """How many lines there are of each verdict."""
    said = [verdict for *_, verdict in verdicts()]
    counts = {name: said.count(name) for name in ("yes", "longer", "exact", "bounds", "**too short**")}
    metrics = {metric for _, _, metric, *_ in verdicts()}
    parts = ", ".join(f"{count} {name.strip('*')}" for name, count in counts.items())
    return f"{len(metrics)} metrics, {len(said)} lines: {parts}."


def own() -> str:
    """What has no other route to its truth."""
    names = dict.fromkeys(metric for _, case, metric, *_ in verdicts() if metric in case.own)
    listed = ", ".join(f"`{name}`" for name in names)
    return (
        f"For {listed} alone the truth, marked\n(own), is the metric's own mean over many other seeds: these lines "
        "tell whether intervals are long enough,\nand not whether the function is right."
    )


def page() -> str:
    """The whole page."""
    tables = [line for name, title in TITLES.items() for line in (f"## {title}", "", *table(name))]
    exempt = "\n".join(f"- `{metric}`: {reason}." for metric, reason in EXEMPT.items())
    return TEXT.format(own=own(), summary=summary(), tables="\n".join(tables) + "\n", exempt=exempt)


def main() -> None:
    """Measure, or make the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="?", choices=["page", "measure"], default="page")
    parser.add_argument("--only", nargs="*", default=[], choices=[*TITLES])
    parser.add_argument("--again", action="store_true", help="measure what is there already, too")
    options = parser.parse_args()
    if options.what == "measure":
        torch.set_num_threads(1)
        for family in options.only or TITLES:
            measure(family, options.again)
    PAGE.write_text(page())


if __name__ == "__main__":
    main()
