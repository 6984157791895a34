"""The page of intervals is made of its files, every metric is on it, and what fails there says why."""

from pathlib import Path
from types import ModuleType

import pytest

import programs
from distmatch.metrics import METRICS

ROOT = Path(__file__).parents[1]


@pytest.fixture
def program() -> ModuleType:
    return programs.program("docs/results/interval_coverage.py")


def test_the_page_is_made_of_the_files(program: ModuleType) -> None:
    made = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
    assert program.page() == made, "make coverage-page"


def test_every_metric_of_the_bench_was_repeated_on_three_distributions(program: ModuleType) -> None:
    from interval_cases import EXEMPT, plain

    where: dict[str, set[str]] = {}
    for _, case, metric, *_ in program.verdicts():
        where.setdefault(metric, set()).add(case.name)
    metrics = {metric for entry in METRICS.values() for metric in entry.better}
    unknown = {metric for metric in metrics if not plain(metric, where | EXEMPT)}
    assert unknown == set(), (
        "give it cases in docs/results/interval_cases, or a reason in EXEMPT; then make coverage"
    )
    assert {metric: names for metric, names in where.items() if len(names) < 3} == {}
    assert set(EXEMPT) <= metrics - set(where)


def test_every_case_was_measured(program: ModuleType) -> None:
    for family in program.TITLES:
        missing = [key for key, _ in program.cases(family) if key not in program.found(family)["results"]]
        assert missing == [], f"python docs/results/interval_coverage.py measure --only {family}"


def test_an_interval_that_fails_says_why(program: ModuleType) -> None:
    short = {
        (case.name, metric) for _, case, metric, _, said in program.verdicts() if said == "**too short**"
    }
    known = {
        (case.name, metric)
        for family in program.FAMILIES
        for _, case in program.cases(family)
        for metric in case.known
    }
    assert short == known


def test_truths_that_are_the_metrics_own_are_marked(program: ModuleType) -> None:
    """And no others: a case names them in `own`."""
    own = {(metric, case.name) for _, case, metric, *_ in program.verdicts() if metric in case.own}
    cells = [line.split(" | ") for line in program.page().splitlines() if line.startswith("| ")]
    marked = {(line[0].removeprefix("| "), line[1]) for line in cells if line[2].endswith(" (own)")}
    assert marked == own != set()
    assert all(f"`{metric}`" in program.own() for metric, _ in own)


def test_two_sample_tests_have_their_level(program: ModuleType) -> None:
    results = program.found("tests")["results"]
    for name, test in program.cases("tests"):
        if test.same:
            assert results[name]["repetitions"] == 1000
            for row in results[name]["rows"].values():
                assert row["rejected"] <= program.LEVEL + program.APART
                assert row["rejected"] >= program.LEVEL - program.APART or test.note
    assert sum(not test.same for _, test in program.cases("tests")) >= 3


def test_families_that_were_not_measured_are_said_to_be_so(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(program, "KEPT", tmp_path)
    for family in program.TITLES:
        assert (
            f"Not measured: `python docs/results/interval_coverage.py measure --only {family}`."
            in program.page()
        )
