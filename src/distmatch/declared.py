"""The members of a registry, found in the files that declare them."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import TypeVar

T = TypeVar("T")


def declared(package: str, kind: type[T], first: Sequence[str] = ()) -> dict[str, T]:
    """Return the objects of a kind that modules of a package declare, alone or in a tuple, by their `name`.

    Adding one is adding a file, or a line to one. Modules come in the order of `first`, then by their names, and what
    they declare in the order of the file.

    Args:
        package: the modules directly in it are imported.
        kind: a class with a `name`.
        first: names of modules that come before the others.

    >>> from distmatch.systems.system import System
    >>> list(declared("distmatch.systems", System, ["hybrids"]))[:3]
    ['alpha-gan', 'vgh', 'vgh++']
    """
    names = sorted(name for _, name, _ in iter_modules(import_module(package).__path__))
    names.sort(key=lambda name: first.index(name) if name in first else len(first))
    members: dict[str, T] = {}
    for name in names:
        for value in vars(import_module(f"{package}.{name}")).values():
            for one in value if isinstance(value, tuple) else (value,):
                if isinstance(one, kind):
                    members.setdefault(one.name, one)  # type: ignore[attr-defined]
    return members
