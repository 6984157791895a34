"""Numbers with their errors: one wording and one table, for the terminal and for the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Metrics = Mapping[str, Mapping[str, Any]]  # name -> {"value", "standard_error", "n", "unit", "how"}
MISSING = "—"
SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def format_estimate(
    value: float | None,
    standard_error: float | None = None,
    unit: str = "",
    limits: Sequence[float] | None = None,
) -> str:
    """A number with as many digits as its standard error allows (two of the error's own).

    An interval of its own, `limits`, is shown in place of the error.

    >>> format_estimate(-97.9312, 0.3127, "nats")
    '-97.93 ± 0.31 nats'
    >>> format_estimate(12345.6, 678.9), format_estimate(1.23456e-8, 1.2e-10)
    ('12350 ± 680', '(1.235 ± 0.012)×10⁻⁸')
    >>> format_estimate(0.97315), format_estimate(60000), format_estimate(float("nan"), 0.1)
    ('0.9731', '60000', 'nan')
    >>> format_estimate(1.0, 0.04, limits=(0.8843, 1.0))
    '1.000 [0.884, 1.000]'
    """
    if value is None:
        return MISSING
    value = float(value)
    error = None if standard_error is None or math.isnan(standard_error) else abs(float(standard_error))
    if limits is not None:
        text = _with_limits(value, *map(float, limits))
    elif not math.isfinite(value):
        text = str(value)
    elif error is None:
        text = _plain(value)
    elif not math.isfinite(error):
        text = f"{_plain(value)} ± {error}"
    elif error == 0.0:
        text = f"{_plain(value)} ± 0"
    else:
        text = _with_error(value, error)
    return f"{text} {unit}" if unit else text


def _plain(value: float) -> str:
    """Four digits, integers in full.

    >>> _plain(0.0), _plain(-12.3456), _plain(2.5e-7), _plain(123456.7)
    ('0', '-12.35', '2.5×10⁻⁷', '123457')
    """
    size = abs(value)
    if not math.isfinite(value):
        return str(value)
    if size and not 1e-4 <= size < 1e7:
        mantissa, exponent = f"{value:.3e}".split("e")
        return f"{float(mantissa):g}×10{str(int(exponent)).translate(SUPERSCRIPT)}"
    return f"{value:.0f}" if size >= 1e4 or value == int(value) else f"{value:.4g}"


def _with_limits(value: float, low: float, high: float) -> str:
    """All three to the decimals that a standard error of a quarter of the interval would have, where they are plain."""
    error = (high - low) / 4
    if error > 0 and all(end == 0 or 1e-4 <= abs(end) < 1e4 for end in (value, low, high)):
        shown = max(1 - math.floor(math.log10(float(f"{error:.1e}"))), 0)
        return f"{value:.{shown}f} [{low:.{shown}f}, {high:.{shown}f}]"
    return f"{_plain(value)} [{_plain(low)}, {_plain(high)}]"


def _with_error(value: float, error: float) -> str:
    size = max(abs(value), error)
    exponent = math.floor(math.log10(size))
    if not -4 <= exponent < 7:
        scaled = _with_error(value / 10.0**exponent, error / 10.0**exponent)
        return f"({scaled})×10{str(exponent).translate(SUPERSCRIPT)}" if "(" not in scaled else scaled
    error = float(f"{error:.1e}")  # 0.0996 becomes 0.10, and its digits are counted after that
    digits = 1 - math.floor(math.log10(error))
    if digits > 8:  # an error below rounding: the value is what matters
        return f"{_plain(value)} ± {error:.1g}"
    shown = max(digits, 0)
    return f"{round(value, digits) + 0.0:.{shown}f} ± {round(error, digits):.{shown}f}"


@dataclass(frozen=True)
class Cell:
    """One metric of one run: what is shown, what explains it, and whether it stands clear of the others."""

    text: str
    note: str = ""  # n and how, or why there is no value
    clear: bool = False

    @property
    def warning(self) -> str:
        """The metric's warning, in a sentence; empty where there is none."""
        return self.note.partition("WARNING: ")[2]


def warnings_of(rows: Mapping[str, Sequence[Cell]], runs: Sequence[str]) -> list[str]:
    """Warnings of the metrics of a comparison, with metric and run.

    >>> how = "by 10 codes; WARNING: R > ln N - 2"
    >>> columns = {"a": {"kl": {"value": 3.0, "standard_error": 0.1, "how": how}}}
    >>> warnings_of(comparison_rows(columns), ["a"])
    ['kl of a: R > ln N - 2']
    """
    return [
        f"{name} of {run}: {cell.warning}"
        for name, cells in rows.items()
        for run, cell in zip(runs, cells, strict=True)
        if cell.warning
    ]


def comparison_rows(
    columns: Mapping[str, Metrics], skipped: Mapping[str, Mapping[str, str]] | None = None
) -> dict[str, list[Cell]]:
    """Every metric that any run has, in order of appearance, with one cell per run; one it skipped says why.

    A cell is `clear` only if the metric says which way is better (`"better": "lower"` or `"higher"`) and the
    best value's interval, ± 2 standard errors or its own limits, overlaps no other.

    >>> rows = comparison_rows({"a": {"nll": {"value": 97.93, "standard_error": 0.31, "n": 100}}, "b": {}},
    ...                        {"b": {"nll": "no likelihood"}})
    >>> [(c.text, c.note) for c in rows["nll"]]
    [('97.93 ± 0.31', 'n = 100'), ('—', 'no likelihood')]
    """
    skipped = skipped or {}
    names = dict.fromkeys(name for part in columns.values() for name in part)
    rows = {}
    for name in names:
        entries = {run: metrics.get(name) for run, metrics in columns.items()}
        best = _clear_best(entries)
        rows[name] = [
            _cell(entry, skipped.get(run, {}).get(name, "not measured"), run == best)
            for run, entry in entries.items()
        ]
    return rows


def comparison_table(
    columns: Mapping[str, Metrics], skipped: Mapping[str, Mapping[str, str]] | None = None
) -> Table:
    """Metrics as rows and runs as columns, for the terminal; a dot marks a value clear of all others.

    Arguments:
        columns: run -> metric -> {"value", "standard_error", "n", "unit", "how"[, "better"]}.
        skipped: run -> metric -> why there is no value.

    >>> comparison_table({"vae": {"nll": {"value": 97.93, "standard_error": 0.31}}}).row_count
    1
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold", show_edge=False, pad_edge=False)
    table.add_column("metric")
    for run in columns:
        table.add_column(Text(run), justify="right")
    rows = comparison_rows(columns, skipped)
    for name, cells in rows.items():
        shown = []
        for cell in cells:
            text = Text(cell.text + (" •" if cell.clear else "") + (" !" if cell.warning else ""))
            if cell.text == MISSING:
                text.append(f" {cell.note}", style="dim")
            shown.append(text)
        table.add_row(Text(name), *shown)
    if warnings := warnings_of(rows, list(columns)):
        table.caption = Text("\n".join(f"! {warning}" for warning in warnings), justify="left")
    return table


def _cell(entry: Mapping[str, Any] | None, reason: str, clear: bool) -> Cell:
    if entry is None:
        return Cell(MISSING, reason)
    unit, limits = entry.get("unit") or "", entry.get("limits")
    text = format_estimate(entry.get("value"), entry.get("standard_error"), unit, limits)
    parts = [f"n = {entry['n']}" if entry.get("n") is not None else "", str(entry.get("how") or "")]
    note = "; ".join(part for part in parts if part)
    return Cell(text, note or (reason if text == MISSING else ""), clear)


def interval_of(entry: Mapping[str, Any]) -> tuple[float, float] | None:
    """The metric's own limits, or ± 2 standard errors; None where it has neither.

    >>> interval_of({"value": 1.0, "standard_error": 0.1}), interval_of({"value": 1.0, "standard_error": None})
    ((0.8, 1.2), None)
    """
    if entry.get("limits") is not None:
        low, high = entry["limits"]
        return float(low), float(high)
    value, error = entry.get("value"), entry.get("standard_error")
    if value is None or error is None or not math.isfinite(float(error)):
        return None
    return float(value) - 2 * float(error), float(value) + 2 * float(error)


def _clear_best(entries: Mapping[str, Mapping[str, Any] | None]) -> str | None:
    """The run whose interval (± 2 standard errors, or its own) is better than every other run's, if there is one."""
    present = {run: e for run, e in entries.items() if e is not None and e.get("value") is not None}
    sign = {"lower": 1.0, "higher": -1.0}.get(
        next((e["better"] for e in present.values() if e.get("better")), "")
    )
    if sign is None or len(present) < 2 or any(e.get("stale") for e in present.values()):
        return None
    intervals = {}
    for run, e in present.items():
        interval = interval_of(e)
        if interval is None or not math.isfinite(float(e["value"])):
            return None
        low, high = sorted(sign * end for end in interval)
        intervals[run] = (low, high)
    best = min(intervals, key=lambda run: intervals[run][1])
    others = [low for run, (low, _) in intervals.items() if run != best]
    return best if intervals[best][1] < min(others) else None
