"""Imports point downward only (the table is the architecture)."""

import ast
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "distmatch"

# Each room, and the rooms it may import, from the ground up.
GROUND = {"errors", "files", "schedules", "noise", "distributions", "variables", "batch_statistics"}
TERMS = {"comparisons", "penalties", "objective", "terms", "moments", "geometry", "critic_terms"}
MAY_IMPORT = {
    "errors": set(),
    "files": {"errors"},
    "revision": set(),
    "schedules": {"errors"},
    "noise": set(),
    "batch_statistics": set(),
    "distributions": {"errors"},
    "variables": {"errors", "distributions"},
    "likelihoods": {"errors", "distributions"},
    "comparisons": {"errors"},
    "piecewise": set(),
    "penalties": {"errors", "schedules", "noise", "piecewise"},
    "objective": GROUND,
    "terms": GROUND | {"comparisons", "penalties", "objective"},
    "moments": GROUND | {"comparisons", "objective"},
    "geometry": GROUND | {"penalties", "objective"},
    "critic_terms": GROUND | {"comparisons", "objective"},
    "grammar": GROUND | TERMS,
    "systems": GROUND | TERMS | {"grammar"},
    "networks": GROUND | {"likelihoods"},
    "data": {"errors", "files"},
    "diagnostics": {"errors"},
    "testbed": {"errors", "comparisons", "penalties", "schedules"},
    "training": GROUND | {"comparisons", "penalties", "objective", "terms"},
}
LOWER = set(MAY_IMPORT)
MAY_IMPORT |= {
    "report": LOWER,
    "runs": LOWER | {"report"},
    "experiments": LOWER | {"runs", "report"},
    "sweeps": LOWER | {"runs", "report"},
    "cli": LOWER | {"runs", "report", "experiments", "sweeps"},
}


def imported_rooms(path: Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = (
                [f"{node.module}.{a.name}" for a in node.names]
                if node.module == "distmatch"
                else [node.module]
            )
        rooms |= {n.split(".")[1] for n in names if n.startswith("distmatch.")}
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
