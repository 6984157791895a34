"""`make compat` installs what pyproject.toml promises, and no second list is kept."""

import tomllib

from programs import ROOT, program


def test_every_dependency_and_test_tool_has_a_version():
    lowest = program("tools/lowest.py")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = list(lowest.requirements(project, (ROOT / "constraints.txt").read_text()))
    asked = [*project["dependencies"], *project["optional-dependencies"]["dev"]]
    names = {line.split(">=")[0] for line in asked} - set(lowest.NO_TESTS)
    assert {line.split("==")[0] for line in lines} == names
    assert "torch==2.11" in lines
    assert not [name for name in names if "torchvision" in name]
