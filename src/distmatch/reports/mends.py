"""Mends of the source that stored results were made before, and what a page says beside such a result."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distmatch.revision import holds


@dataclass(frozen=True)
class Mend:
    """A change of the source that changes numbers.

    Attributes:
        name: a word.
        what: a sentence: what was wrong, or what is different now.
        results: folder of docs/results -> the stored results in it whose numbers it changes.
        commit: of the mend; where there is none, every result that knows its revision was made after it.
    """

    name: str
    what: str
    results: Mapping[str, Sequence[str]]
    commit: str | None = None

    def is_after(self, revisions: Sequence[str | None]) -> bool:
        """True where something was made before it: by a revision that is not known, or does not hold its commit.

        >>> mend = Mend("units", "Pixels are in [-1, 1].", {"zoo": ["vae"]})
        >>> mend.is_after([None, "0123456789ab"]), mend.is_after(["0123456789ab"]), mend.is_after([])
        (True, False, True)
        """
        known = [r for r in revisions if r is not None]
        if not known or len(known) < len(revisions):
            return True
        return self.commit is not None and not all(holds(r, self.commit) for r in known)


def read_mends(file: Path) -> tuple[Mend, ...]:
    """The mends of a file such as docs/results/mends.toml, in its order; none where there is no file."""
    if not file.is_file():
        return ()
    return tuple(Mend(**entry) for entry in tomllib.loads(file.read_text(encoding="utf-8"))["mend"])


def made_before(mends: Iterable[Mend], folder: str, name: str, revisions: Sequence[str | None]) -> list[str]:
    """The names of the mends that a stored result was made before, of those that change it.

    Args:
        folder: of docs/results, such as "zoo".
        name: of the result there.
        revisions: of the source that it, or each part of it, was made with.
    """
    touching = [m for m in mends if name in m.results.get(folder, ())]
    return [m.name for m in touching if m.is_after(revisions)]


def revisions_of(run: Mapping[str, Any]) -> list[str | None]:
    """The revisions that a stored run was trained and measured with."""
    return [run["environment"].get("revision"), *(m.get("revision") for m in run["metrics"].values())]


def explained(mends: Iterable[Mend], named: Iterable[str]) -> list[str]:
    """Lines of Markdown that say what the named mends are; no line where none is named.

    >>> mends = [Mend("units", "Pixels are in [-1, 1].", {}), Mend("gmmn", "Its batch is 1,000.", {})]
    >>> for line in explained(mends, ["units", "units"]):
    ...     print(line)
    What was made before a mend of the source says so, and would come out otherwise today. The mends:
    <BLANKLINE>
    - units: Pixels are in [-1, 1].
    """
    known = set(named)
    if not known:
        return []
    first = (
        "What was made before a mend of the source says so, and would come out otherwise today. The mends:"
    )
    return [first, "", *(f"- {m.name}: {m.what}" for m in mends if m.name in known)]
