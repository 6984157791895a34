"""What the README and the results page point at is there."""

import re
from pathlib import Path

import pytest

from distmatch.sweeps.folder import opened

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("page", ["README.md", "docs/results/mnist.md", "docs/zoo.md"])
def test_links_lead_somewhere(page: str) -> None:
    text = re.sub(
        r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL
    )  # code is no link
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / page).parent.joinpath(link).exists()] == []


def test_the_sweep_of_the_readme_can_be_planned(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (toml,) = re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "sweep.toml").write_text(toml, encoding="utf-8")
    assert len(opened(tmp_path / "sweep.toml", tmp_path / "out", [], None).runs) == 27
