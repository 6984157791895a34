"""Lists and descriptions for the terminal, printed from an index, so that nothing else is loaded."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

Content = dict[str, Any]
Line = str | Content
"""A line of text, or a table as plain data: `headings` and `rows`."""


@cache
def index() -> Content:
    """Return the index, which `make index` writes from the declarations."""
    content: Content = json.loads(files("distmatch.runs").joinpath("index.json").read_text(encoding="utf-8"))
    return content


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Content:
    """Return a table as plain data."""
    return {"headings": list(headings), "rows": [list(row) for row in rows]}


def list_of(what: str) -> Table:
    """Return the systems, data, metrics or networks, a row each."""
    return _drawn(index()["lists"][what])


def description_of(system: str) -> Group | None:
    """Return a system as it is shown; None where there is none of this name."""
    if system not in index()["systems"]:
        return None
    summary, *lines = index()["systems"][system]
    return Group(Text(summary, style="bold"), printed(lines))


def printed(lines: Sequence[Line]) -> Group:
    """Return lines and tables as they are printed."""
    return Group(*(Text(line) if isinstance(line, str) else _drawn(line) for line in lines))


def _drawn(content: Content) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for heading in content["headings"]:
        drawn.add_column(heading, overflow="fold")
    for row in content["rows"]:
        drawn.add_row(*map(Text, row))
    return drawn
