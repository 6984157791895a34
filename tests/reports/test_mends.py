"""Stored results that a mend of the source would change are marked on their pages, until they are made again."""

import json
from pathlib import Path

import pytest

from distmatch.reports import mends as room
from distmatch.reports.mends import Mend, explained, made_before, read_mends, revisions_of
from distmatch.reproduction.framework.page import page_of, verdicts
from distmatch.reproduction.registry import EXPERIMENTS
from programs import ROOT, program

RESULTS = ROOT / "docs" / "results"
UNITS = Mend("units", "Pixels are in [-1, 1].", {"zoo": ["vae"]})
LATER = Mend("later", "And another.", {"zoo": ["vae", "gan"]}, commit="c0ffee")


@pytest.fixture(autouse=True)
def history(monkeypatch):
    """The revision `new` holds the later mend's commit, and `old` does not."""
    monkeypatch.setattr(room, "holds", lambda made_with, commit: (made_with, commit) == ("new", "c0ffee"))


@pytest.mark.parametrize(
    ("name", "revisions", "expected"),
    [
        ("vae", [None], ["units", "later"]),
        ("vae", ["old"], ["later"]),
        ("vae", ["new"], []),
        ("vae", ["new", "old"], ["later"]),
        ("vae", ["new", None], ["units", "later"]),
        ("vae", [], ["units", "later"]),
        ("gan", [None], ["later"]),
        ("aae", [None], []),
    ],
)
def test_a_result_was_made_before_what_its_revisions_do_not_hold(name, revisions, expected):
    assert made_before([UNITS, LATER], "zoo", name, revisions) == expected
    assert made_before([UNITS, LATER], "mnist", name, revisions) == []


def test_a_run_is_as_old_as_its_training_and_its_oldest_measurement():
    metrics = {"elbo": {"value": 1.0, "revision": "new"}, "mse": {"value": 1.0}}
    assert revisions_of({"environment": {"git": "f655778-dirty"}, "metrics": metrics}) == [None, "new", None]


def test_only_mends_that_are_named_are_explained():
    assert explained([UNITS, LATER], []) == []
    assert explained([UNITS, LATER], ["later", "later"])[2:] == ["- later: And another."]


def test_there_may_be_no_file(tmp_path):
    assert read_mends(tmp_path / "mends.toml") == ()


def test_the_file_names_what_is_there():
    mends = read_mends(RESULTS / "mends.toml")
    assert len({m.name for m in mends}) == len(mends) > 0
    for mend in mends:
        for folder, names in mend.results.items():
            kept = {p.stem for p in (RESULTS / folder).glob("*.json")}
            known = set(EXPERIMENTS) if folder == "experiments" else kept
            assert set(names) <= known, (mend.name, folder)


def zoo_row(revision: str | None) -> str:
    zoo = program("docs/results/zoo.py")
    zoo.MENDS = [UNITS, LATER]
    row = next(r for r in zoo.ROWS if r.name == "vae")
    stored = json.loads((RESULTS / "zoo" / "vae.json").read_text())
    stored["environment"]["revision"] = revision
    for metric in stored["metrics"].values():
        metric["revision"] = revision
    heads, _, cells = zoo.table([row], {"vae": stored})
    return cells.split(" | ")[-1] if "made before" in heads else ""


def test_the_zoo_marks_its_rows():
    assert zoo_row(None) == "units, later |"
    assert zoo_row("old") == "later |"
    assert zoo_row("new") == ""


def test_other_pages_mark_theirs(monkeypatch, tmp_path):
    mnist, performance = program("docs/results/mnist.py"), program("docs/results/performance.py")
    for page in (mnist, performance):
        page.MENDS = [Mend("units", "Told.", {"mnist": ["vae"], "benchmarks": ["step"]})]
    assert "| made before | units | – |" in mnist.page()
    assert performance.page().count("Made before: units.") == 1
    for text in (mnist.page(), performance.page()):
        assert "- units: Told." in text
    for page in (mnist, performance):
        page.MENDS = []
    for text in (mnist.page(), performance.page()):
        assert "ade before" not in text
        assert "\n\n\n" not in text


@pytest.fixture
def experiment(tmp_path) -> Path:
    """A results folder with E17 alone, beside a file of mends."""
    (tmp_path / "experiments" / "E17").mkdir(parents=True)
    (tmp_path / "mends.toml").write_text(
        '[[mend]]\nname = "game"\nwhat = "Told."\nresults = {experiments = ["E17"]}\n'
    )
    text = (RESULTS / "experiments" / "E17" / "cpu.json").read_text()
    (tmp_path / "experiments" / "E17" / "cpu.json").write_text(text)
    return tmp_path / "experiments"


def test_the_page_of_experiments_and_their_list_mark_theirs(experiment):
    kept = json.loads((experiment / "E17" / "cpu.json").read_text())

    def shown(*revisions: str | None) -> tuple[str, set[str]]:
        for run, revision in zip(kept["runs"], [*revisions, *["new"] * len(kept["runs"])], strict=False):
            run["revision"] = revision
        (experiment / "E17" / "cpu.json").write_text(json.dumps(kept))
        return page_of(experiment, experiment), {where for _, where in verdicts(experiment, "E17").values()}

    page, where = shown(None)  # one of its runs alone
    assert "Made before: game.\n" in page
    assert "- game: Told." in page
    assert where == {"cpu, made before game"}
    page, where = shown()
    assert "ade before" not in page
    assert where == {"cpu"}
