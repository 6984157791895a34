"""Nominal 95 % intervals cover the population's value: some cheap cases of docs/results/interval_cases."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "docs" / "results"))

repeated = import_module("interval_cases.case").repeated
ROOMS = [
    import_module(f"interval_cases.{room}").CASES for room in ("explicit", "maps", "samples", "features")
]
CHEAP = (
    "bits_per_dim",
    "reconstruction",
    "latent_usage",
    "gradient_norms",
    "ratio_calibration",
    "inception_score",
)
CASES = [(name, case) for room in ROOMS for name in CHEAP for case in room.get(name, ())]
REPETITIONS, LEAST = 60, 49  # an interval of 95 % covers fewer than 49 of 60 times once in 30,000


@pytest.mark.parametrize(("name", "case"), CASES, ids=[f"{name}: {case.name}" for name, case in CASES])
def test_intervals_cover_the_populations_value(name: str, case: object) -> None:
    """By closed forms and quadrature, on distributions of the metric's own."""
    rows = repeated(case, REPETITIONS)
    assert rows
    covered = {metric: row["covered"] for metric, row in rows.items() if metric not in case.known}
    assert all(share is None or share * REPETITIONS >= LEAST for share in covered.values()), covered
    assert any(share is not None for share in covered.values())
