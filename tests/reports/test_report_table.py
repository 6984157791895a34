"""Numbers in words, and who is clear of whom."""

import io

import pytest
from rich.console import Console

from distmatch.reports.table import comparison_rows, comparison_table, format_estimate

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (-97.9312, 0.3127, "-97.93 ± 0.31"),
        (97.0, 0.0996, "97.00 ± 0.10"),
        (0.5, 0.096, "0.500 ± 0.096"),
        (12.0, 1.5, "12.0 ± 1.5"),
        (12.0, 15.0, "12 ± 15"),
        (123456.0, 3456.0, "123500 ± 3500"),
        (0.0, 0.02, "0.000 ± 0.020"),
        (-0.001, 0.5, "0.00 ± 0.50"),
        (3e-7, 2e-8, "(3.00 ± 0.20)×10⁻⁷"),
        (4.2e9, 1e8, "(4.20 ± 0.10)×10⁹"),
        (0.0, 3e-9, "(0.0 ± 3.0)×10⁻⁹"),
        (5.0, 0.0, "5 ± 0"),
        (5.0, None, "5"),
        (5.0, NAN, "5"),
        (NAN, 0.1, "nan"),
        (-INF, 0.1, "-inf"),
        (None, None, "—"),
        (1.0, 1e-13, "1 ± 1e-13"),
    ],
)
def test_format(value, error, text):
    assert format_estimate(value, error) == text


def test_unit():
    assert format_estimate(12.34, 0.5, "%") == "12.34 ± 0.50 %"


def entry(value, error, better=None):
    return {"value": value, "standard_error": error, "better": better}


@pytest.mark.parametrize(
    ("a", "b", "clear"),
    [
        (entry(1.0, 0.1, "lower"), entry(2.0, 0.1, "lower"), [True, False]),
        (entry(1.0, 0.1, "higher"), entry(2.0, 0.1, "higher"), [False, True]),
        (entry(1.0, 0.3, "lower"), entry(2.0, 0.3, "lower"), [False, False]),
        (entry(1.0, 0.1), entry(2.0, 0.1), [False, False]),
        (entry(1.0, 0.1, "lower"), entry(NAN, 0.1, "lower"), [False, False]),
        (entry(1.0, None, "lower"), entry(2.0, 0.1, "lower"), [False, False]),
        (entry(1.0, 9.0, "higher") | {"limits": [0.9, 1.0]}, entry(0.5, 0.1, "higher"), [True, False]),
        (entry(1.0, 0.0, "higher") | {"limits": [0.6, 1.0]}, entry(0.5, 0.1, "higher"), [False, False]),
    ],
)
def test_a_value_is_clear_only_if_the_intervals_are(a, b, clear):
    [cells] = comparison_rows({"a": {"m": a}, "b": {"m": b}}).values()
    assert [c.clear for c in cells] == clear


def test_the_terminal_shows_everything_and_reads_no_markup():
    runs = {"[red]a": {"nll [bold]": entry(1.0, 0.1)}, "b": {}}
    console = Console(file=io.StringIO(), width=100)
    console.print(comparison_table(runs, {"b": {"nll [bold]": "no likelihood", "fid": "too few"}}))
    text = console.file.getvalue()
    for part in ("[red]a", "nll [bold]", "1.00 ± 0.10", "no likelihood"):
        assert part in text
    assert "fid" not in text  # no run has it: there is no row to compare
