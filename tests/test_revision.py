"""Every kept result says which source it was made with: the revision of a checkout, marked where it is changed."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from distmatch.revision import holds, revision
from programs import program

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="needs git")


def git(root: Path, *words: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, "-C", root, *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit(root: Path, text: str) -> str:
    (root / "src").mkdir(parents=True, exist_ok=True)
    (root / "src" / "a.py").write_text(text)
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", text)
    return git(root, "rev-parse", "HEAD")


@pytest.fixture(autouse=True)
def asked_anew():
    revision.cache_clear()
    yield
    revision.cache_clear()


@pytest.fixture
def checkout(tmp_path):
    commit(tmp_path, "one")
    return tmp_path


def test_a_clean_checkout_has_its_revision(checkout):
    head = git(checkout, "rev-parse", "HEAD")
    assert head.startswith(revision(checkout))
    assert len(revision(checkout)) == 12


@pytest.mark.parametrize("file", ["src/a.py", "src/new.py", "benchmarks/new.py", "docs/results/zoo.py"])
def test_a_changed_or_a_new_source_marks_it(checkout, file):
    (checkout / file).parent.mkdir(parents=True, exist_ok=True)
    (checkout / file).write_text("changed")
    assert revision(checkout) == git(checkout, "rev-parse", "HEAD")[:12] + "+"


@pytest.mark.parametrize("file", ["docs/results/zoo/vae.json", "notes.txt", "runs/vae/config.json"])
def test_results_do_not_mark_it(checkout, file):
    (checkout / file).parent.mkdir(parents=True, exist_ok=True)
    (checkout / file).write_text("new")
    assert revision(checkout) == git(checkout, "rev-parse", "HEAD")[:12]


def test_a_worktree_has_its_own(checkout, tmp_path_factory):
    other = tmp_path_factory.mktemp("other") / "tree"
    git(checkout, "worktree", "add", "--quiet", str(other), "-b", "other")
    assert commit(other, "two").startswith(revision(other))
    assert revision(other) != revision(checkout)


def test_there_is_none_without_git_without_a_checkout_and_without_a_commit(checkout, tmp_path, monkeypatch):
    inside = checkout / ".venv" / "lib" / "python3"  # where a wheel lies, in a checkout of something else
    inside.mkdir(parents=True)
    assert revision(inside) is None
    empty = tmp_path / "empty"
    empty.mkdir()
    git(empty, "init", "--quiet")
    assert revision(empty) is None
    monkeypatch.setenv("PATH", "")
    assert revision(checkout) is None


def test_a_revision_holds_what_came_before_it(checkout):
    first = git(checkout, "rev-parse", "HEAD")
    second = commit(checkout, "two")
    assert holds(second[:12] + "+", first, checkout)
    assert holds(first, first, checkout)
    assert not holds(first, second, checkout)
    assert not holds("0" * 12, first, checkout)


def test_git_runs_once_in_a_process_and_not_at_import():
    counted = """
import subprocess
asked, run = [], subprocess.run
subprocess.run = lambda command, **how: (command[0] == "git" and asked.append(command)) or run(command, **how)
import distmatch.cli, distmatch.reproduction.framework.runner, distmatch.runs.folder
from distmatch.runs.config import RunConfig
assert not asked, asked
for _ in range(3):
    distmatch.runs.folder.environment(RunConfig(system="vae", device="cpu"))
    distmatch.reproduction.framework.runner._environment()
print(len(asked))
"""
    done = subprocess.run([sys.executable, "-c", counted], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_benchmarks_and_classifiers_write_it(tmp_path):
    measure = program("benchmarks/measure.py")
    measure.write_json(tmp_path / "a.json", [])
    assert json.loads((tmp_path / "a.json").read_text())["machine"]["revision"] == revision()
    classifiers = program("docs/results/classifiers.py")
    found = classifiers.describe(classifiers.RECIPES["mnist"], 0, 1, 1.0, "cpu")
    assert found["environment"]["revision"] == revision()
