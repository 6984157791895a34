"""Experiments and their claims, for the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from distmatch.reports.table import MISSING
from distmatch.reproduction.framework.page import verdicts
from distmatch.reproduction.registry import EXPERIMENTS

COLOURS: dict[str, str] = {"holds": "green", "fails": "red", "tied": "blue", "inconclusive": "yellow"}


def list_experiments(results: Path) -> Table:
    """Every experiment and claim with its last verdict; those that are withdrawn too."""
    table = Table("experiment", "claim", "source", "expected", "verdict", show_lines=False)
    for name, experiment in EXPERIMENTS.items():
        outcomes = verdicts(results, name)
        for number, claim in enumerate(experiment.claims):
            verdict = outcomes.get(claim.sentence)
            word = "not run" if verdict is None else f"{verdict[0]} ({verdict[1]})"
            shown = Text(word, "" if verdict is None else COLOURS[verdict[0]])
            table.add_row("" if number else name, claim.sentence, claim.source, str(claim.expected), shown)
        for number, gone in enumerate(experiment.withdrawn, len(experiment.claims)):
            table.add_row(
                "" if number else name, gone.sentence, gone.source, MISSING, Text("withdrawn", "dim")
            )
    return table


def claims_table(written: dict[str, Any]) -> Table:
    """The verdicts of one run of an experiment; the smallest scale has none."""
    table = Table("claim", "expected", "found", "interval", "verdict")
    for claim in written["claims"]:
        measured = "—" if claim["value"] is None else f"{claim['value']:.4g}"
        bounds = "—" if claim["low"] is None else f"{claim['low']:.4g} to {claim['high']:.4g}"
        verdict = Text(claim["outcome"], COLOURS[claim["outcome"]])
        table.add_row(claim["sentence"], claim["expected"], measured, bounds, verdict)
    return table
