"""The page of speeds is what its program makes of the benchmarks' files, and names what can be run."""

import json
from pathlib import Path
from types import ModuleType

import pytest

import programs

ROOT = Path(__file__).parents[1]


@pytest.fixture
def program() -> ModuleType:
    return programs.program("docs/results/performance.py")


def test_the_page_is_made_of_the_files(program: ModuleType) -> None:
    made = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert program.page() == made, "make performance"


def test_every_benchmark_that_is_named_is_there(program: ModuleType) -> None:
    named = [words.split()[0] for words in program.COMMANDS.values()]
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_files_hold_no_place_of_a_machine() -> None:
    for file in (ROOT / "docs" / "results" / "benchmarks").rglob("*.json"):
        assert " /" not in json.loads(file.read_text()).get("command", ""), file


def test_a_benchmark_that_was_not_run_is_said_to_be_so(
    program: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(program, "KEPT", tmp_path)
    text = program.page()
    for words in program.COMMANDS.values():
        assert f"Not measured: `python {words}`." in text
    assert "No GPU was at hand." in text


def test_columns_that_are_empty_are_left_out(program: ModuleType) -> None:
    lines = program.table([{"a": 1, "b": "", "c": 2500.0}, {"a": 2, "b": "", "c": 0.12345}])
    assert lines == ["| a | c |", "| --- | --- |", "| 1 | 2,500 |", "| 2 | 0.1235 |"]
