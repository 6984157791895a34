"""The git revision of the source that a result is made with."""

from __future__ import annotations

import os
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = ("src", "benchmarks", "docs/results/*.py")  # what makes results; these themselves change nothing
LENGTH = 12


@cache
def revision(root: Path = ROOT) -> str | None:
    """Return the revision of the checkout at `root`, with a + where a source is changed; None where there is none.

    Git is asked once in a process, so that it is the revision of when it was first asked: ask before the work.
    """
    if not (root / ".git").exists():
        return None  # a wheel's folder may lie in a checkout of something else
    told = _git(root, "status", "--porcelain=v2", "--branch", "--untracked-files=all", "--", *SOURCES)
    if told is None or told.returncode:
        return None
    lines = told.stdout.splitlines()
    commits = [line.split()[-1] for line in lines if line.startswith("# branch.oid ")]
    if commits in ([], ["(initial)"]):
        return None
    return commits[0][:LENGTH] + "+" * any(not line.startswith("#") for line in lines)


def holds(made_with: str, commit: str, root: Path = ROOT) -> bool:
    """Return whether a revision has a commit in its history; False where git cannot tell."""
    told = _git(root, "merge-base", "--is-ancestor", commit, made_with.removesuffix("+"))
    return told is not None and told.returncode == 0


def _git(root: Path, *words: str) -> subprocess.CompletedProcess[str] | None:
    command = ["git", "--no-optional-locks", "-C", os.fspath(root), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
