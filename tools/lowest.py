"""The lowest versions that pyproject.toml promises to work with, as requirements: what `make compat` installs.

    python tools/lowest.py > requirements.txt

Every dependency, and what of the extra `dev` is an extra by itself too, at its lower bound; the tools that only run the
tests, as constraints.txt pins them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
NO_TESTS = ("mypy", "ruff")  # tools that the tests do without


def lowest(requirement: str) -> str:
    """A requirement held at its lower bound.

    >>> lowest("scikit-learn>=1.4")
    'scikit-learn==1.4'
    """
    if not re.fullmatch(r"[\w.-]+>=[\d.]+", requirement):
        raise ValueError(f"{requirement!r} in pyproject.toml has no lower bound: write it as name>=version")
    return requirement.replace(">=", "==")


def requirements(project: dict, pinned: str) -> Iterator[str]:
    """One line for each package.

    Args:
        project: pyproject.toml's table of this name.
        pinned: constraints.txt.

    >>> extras = {"ray": ["ray>=2.9"], "dev": ["pytest>=8.2", "ray>=2.9", "ruff>=0.6"]}
    >>> project = {"dependencies": ["torch>=2.11"], "optional-dependencies": extras}
    >>> list(requirements(project, "pytest==9.2.0\\nray==2.60.0\\n"))
    ['torch==2.11', 'pytest==9.2.0', 'ray==2.9']
    """
    extras = dict(project["optional-dependencies"])
    tools = extras.pop("dev")
    offered = {one for extra in extras.values() for one in extra}
    pins = {line.split("==")[0].lower(): line for line in pinned.splitlines() if "==" in line}
    yield from map(lowest, project["dependencies"])
    for tool in tools:
        name = tool.split(">=")[0]
        if name not in NO_TESTS:
            yield lowest(tool) if tool in offered else pins[name]


if __name__ == "__main__":
    about = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    print(*requirements(about["project"], (ROOT / "constraints.txt").read_text(encoding="utf-8")), sep="\n")
