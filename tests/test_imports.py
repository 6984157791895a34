"""Imports point downward only (the table is the architecture)."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "distmatch"

# Each room, and the rooms it may import, from the ground up.
GROUND = {"errors", "declared", "random", "files", "schedules", "distributions", "batch_statistics"}
MAY_IMPORT = {
    "errors": set(),
    "declared": set(),
    "random": set(),
    "revision": set(),
    "batch_statistics": set(),
    "files": {"errors"},
    "schedules": {"errors"},
    "distributions": {"errors"},
    "objectives": {"errors", "declared", "schedules", "distributions"},
    "systems": {"errors", "declared", "schedules", "objectives"},
    "networks": GROUND,
    "data": {"errors", "declared", "files", "random"},
    "metrics": {"errors", "declared", "random", "distributions", "objectives"},
    "dirac": {"errors", "schedules", "objectives"},
    "training": GROUND | {"objectives"},
}
LOWER = set(MAY_IMPORT)
MAY_IMPORT |= {
    "reports": LOWER,
    "testing": {*GROUND, "objectives", "networks", "metrics"} - {"files", "batch_statistics"},
    "runs": LOWER | {"reports"},
    "reproduction": LOWER | {"runs", "reports"},
    "sweeps": LOWER | {"runs", "reports"},
    "cli": LOWER | {"runs", "reports", "reproduction", "sweeps"},
}
# Within `objectives`, each may import those before it; a sum of terms is an objective, and so `term` names that.
ORDER = (
    "noise",
    "variables",
    "piecewise",
    "numbers",
    "comparisons",
    "penalties",
    "term",
    "objective",
    "terms",
    "vocabulary",
    "parser",
    "printer",
)
SUMS = {("term", "objective")}


def imported_rooms(path: Path, package: str = "distmatch") -> set[str]:
    """The rooms of a package that a file imports."""
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [f"{node.module}.{a.name}" for a in node.names] if node.module == package else [node.module]
            )
        rooms |= {n.removeprefix(f"{package}.").split(".")[0] for n in names if n.startswith(f"{package}.")}
    return rooms


def test_imports_point_downward():
    wrong = []
    for path in SOURCE.rglob("*.py"):
        room = path.relative_to(SOURCE).parts[0].removesuffix(".py")
        if room.startswith("__"):
            continue
        for other in imported_rooms(path) - {room} - MAY_IMPORT[room]:
            wrong.append(f"{path.relative_to(SOURCE)} imports {other}")
    assert not wrong, wrong


def test_imports_within_objectives_point_downward():
    folder = SOURCE / "objectives"
    wrong = []
    for path in folder.rglob("*.py"):
        room = path.relative_to(folder).parts[0].removesuffix(".py")
        if room.startswith("__"):
            continue
        below = {room, *ORDER[: ORDER.index(room)]}
        for other in imported_rooms(path, "distmatch.objectives") - below:
            if (room, other) not in SUMS:
                wrong.append(f"{path.relative_to(folder)} imports {other}")
    assert not wrong, wrong
