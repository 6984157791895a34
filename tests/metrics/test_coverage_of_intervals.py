"""Nominal 95 % intervals cover the population's value: the quickest of the cases of `make coverage`."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

import programs

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "results"))

case = import_module("interval_cases.case")
program = programs.program("docs/results/interval_coverage.py")
QUICK = 0.004  # seconds of one repetition, as it was measured
REPETITIONS, LEAST = 60, 49  # an interval of 95 % covers fewer than 49 of 60 times once in 30,000
CASES = {
    key: one
    for family in program.FAMILIES
    for key, one in program.cases(family)
    if (there := program.found(family)["results"].get(key))
    and there["seconds"] < QUICK * there["repetitions"]
}


@pytest.mark.parametrize("key", CASES)
def test_intervals_cover_the_populations_value(key: str) -> None:
    """By closed forms and quadrature, on distributions of the metric's own."""
    one: Any = CASES[key]
    rows = case.repeated(one, REPETITIONS)
    covered = {metric: row["covered"] for metric, row in rows.items() if metric not in one.known}
    assert all(share is None or share * REPETITIONS >= LEAST for share in covered.values()), covered


def test_quick_cases_are_many() -> None:
    assert len(CASES) > 30


def test_a_test_rejects_one_true_null_in_twenty() -> None:
    """More than 16 of 150 happens once in 700 times."""
    shares = {name: row["rejected"] for name, row in case.rejected(program.TESTS[0], 150).items()}
    assert all(0 < share <= 16 / 150 for share in shares.values()), shares


def test_an_interval_that_is_half_too_short_is_seen() -> None:
    """The program itself: errors of half their size cover two times in three, and are called too short."""
    from dataclasses import replace

    def halved(seed: int) -> dict[str, Any]:
        found = case.Estimate.mean(case.normal(seed, 100))
        return {"mean": replace(found, standard_error=found.standard_error / 2)}

    row = case.repeated(case.Case("N(0, 1)", halved, lambda: {"mean": 0.0}))["mean"]
    assert 0.6 < row["covered"] < 0.75
    assert 0.45 < row["error"] / row["spread"] < 0.55
    assert program.verdict(row, bound=False) == "**too short**"
