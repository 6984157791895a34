"""The one exception for bad input: a sentence that says what is wrong, where, and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BadInput(ValueError):
    """Input that cannot be used. The command line prints its message alone and exits with code 2.

    >>> str(BadInput("batch size is 0; give at least 1"))
    'batch size is 0; give at least 1'
    """


class Doubt(UserWarning):
    """A warning of what may be meant, but seldom is; the command line shows it as a note.

    >>> issubclass(Doubt, UserWarning)
    True
    """


def unknown(kind: str, name: str, known: Iterable[str]) -> BadInput:
    """The error for a name that is not known, with the nearest one that is.

    >>> print(unknown("system", "vgh+", ["vae", "vgh", "vgh++"]))
    unknown system 'vgh+'; did you mean 'vgh++'? Known: vae, vgh, vgh++
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ";"
    return BadInput(f"unknown {kind} {name!r}{hint} Known: {', '.join(names)}")
