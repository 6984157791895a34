"""Every block of README and docs runs: Python by doctest, files of sweeps and commands here."""

import re
import shlex
import subprocess
from pathlib import Path

import numpy as np
import pytest

from data.fakes import batches, write_archive, write_idx
from distmatch.cli import entry

ROOT = Path(__file__).parents[1]
PAGES = subprocess.run(
    ["git", "ls-files", "README.md", "docs/*.md"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.split()
BLOCKS = [
    (page, language, body)
    for page in PAGES
    for language, body in re.findall(
        r"^```(\w*)\n(.*?)^```$", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
]
LINES = [
    (page, line.strip())
    for page, language, body in BLOCKS
    if language not in ("python", "toml")
    for line in body.replace("\\\n", " ").splitlines()
    if line.strip()
]
INLINE = [
    (page, line)
    for page in PAGES
    for line in re.findall(r"`(distmatch [^`\n]*)`", (ROOT / page).read_text(encoding="utf-8"))
    if not re.search(r"…|\||(^| )[A-Z]{2,}( |$)|^distmatch \w+( --\w+)?$", line)  # patterns and mentions
]
COMMANDS = sorted({line for _, line in [*LINES, *INLINE] if line.startswith("distmatch ")})
TRAINED = [line for line in COMMANDS if line.startswith("distmatch train ")]
OTHERS = [line for line in COMMANDS if line not in TRAINED]


def words_of(line: str) -> list[str]:
    return shlex.split(line, comments=True)[1:]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with what the pages' commands read: small data in the formats of the real ones, runs, files."""
    folder = tmp_path_factory.mktemp("pages")
    write_idx(folder / "data" / "mnist", n=(240, 30), side=28)
    write_archive(folder / "data" / "cifar-10-binary.tar.gz", batches())
    np.save(folder / "images.npy", np.random.default_rng(0).random((40, 1, 28, 28), dtype=np.float32))
    for name, body in zip(
        ("sweep.toml",), [b for _, language, b in BLOCKS if language == "toml"], strict=True
    ):
        (folder / name).write_text(body, encoding="utf-8")
    return folder


@pytest.fixture
def here(place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setenv("DISTMATCH_DATA", str(place / "data"))
    return place


def test_every_language_of_a_block_is_known():
    """Python is run by doctest; a block of another language needs its test here."""
    assert {language for _, language, _ in BLOCKS} == {"", "python", "toml"}
    for page, line in LINES:
        target = re.fullmatch(r"make (\w+) .*|pip install -e \..*", line)
        assert line.startswith("distmatch ") or target, f"{page}: {line!r} is not a command that is tested"
        if target and target[1]:
            assert f"\n{target[1]}:" in (ROOT / "Makefile").read_text(encoding="utf-8")


@pytest.mark.parametrize("line", TRAINED)
def test_a_training_command_can_be_planned(here, line):
    assert entry.run([*words_of(line), "--dry-run"]) == 0


@pytest.mark.parametrize("line", OTHERS)
def test_another_command_can_be_read(here, line, capsys):
    assert entry.parse(words_of(line)) is not None or "--help" in line


def test_the_commands_of_the_readme_run_one_after_the_other(here, capfd):
    """As written there, at a small size: runs of few steps, few samples, the cheap metrics."""
    small = {"train": ["--steps", "4"], "evaluate": ["--only", "mse", "--samples", "30"]}
    small |= {"diagnose": ["--only", "mmd"], "sweep": ["--plan"]}
    lines = [words_of(line) for page, line in LINES if page == "README.md" and line.startswith("distmatch ")]
    for words in lines:
        if "--epochs" in words:
            words = words[: words.index("--epochs")] + words[words.index("--epochs") + 2 :]
        assert entry.run([*words, *small.get(words[0], [])]) == 0, capfd.readouterr().err
    assert (here / "grid.png").exists()
