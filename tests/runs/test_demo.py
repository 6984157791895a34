"""The main job: what it makes, and what it does the second time."""

import pytest

from distmatch.errors import BadInput
from distmatch.runs import demo


def test_the_demo(here, monkeypatch):
    small = {"training.steps": 3, "network.width": 8}
    monkeypatch.setattr(demo, "DEMO", {"vae": small, "gan": small})
    paths, page = demo.demo(here / "demo")
    assert [p.name for p in paths] == ["vae", "gan"]
    assert all((p / "metrics.json").exists() for p in paths)
    assert "<html" in page.read_text()
    log = (paths[0] / "log.jsonl").read_bytes()
    demo.demo(here / "demo")  # finished already: nothing is trained again
    assert (paths[0] / "log.jsonl").read_bytes() == log
    with pytest.raises(BadInput, match="holds another run than this demo's; give another --out"):
        demo.demo(here / "demo", seed=1)
