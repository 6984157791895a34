"""Declare which distributions are matched and how they are compared; train; measure. `import distmatch as dm`.

The stub beside this file, `__init__.pyi`, is the list of what can be imported from here, and where each name is from;
a name is loaded when it is first asked for, so that what needs no torch loads none.

>>> import distmatch as dm
>>> print(dm.NLL() + dm.KL())
E[-log p(x|ẑ)] + E KL[q(z|x) ‖ p(z)]
"""

import ast
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

__version__ = "0.2.0"


@cache
def _homes() -> dict[str, tuple[str, str]]:
    """Name -> the module that it is imported from, and its name there, as the stub says."""
    stub = ast.parse(Path(__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    return {
        alias.asname or alias.name: (node.module, alias.name)
        for node in stub.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


def __getattr__(name: str) -> Any:
    if name not in _homes():
        raise AttributeError(f"module 'distmatch' has no attribute {name!r}")
    module, attribute = _homes()[name]
    home = None if module == "distmatch" else import_module(module)
    value = getattr(home, attribute, None) or import_module(f"{module}.{attribute}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return ["__version__", *_homes()]
