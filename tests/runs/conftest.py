"""Small runs: one thread, as in the processes that are killed, so that bits can be compared."""

# ruff: noqa: F401, F811  # fixtures are asked for by their names
import pytest

from commands import distmatch, here, one_thread

SMALL = ["--data", "digits", "--limit", "128", "--batch-size", "32", "--latent", "3", "--device", "cpu"]


@pytest.fixture
def train(distmatch):
    """Train a small system; returns its folder."""

    def run(system, *arguments, out="run", steps=6, width=8):
        given = [*SMALL, "--steps", str(steps), "--set", f"network.width={width}", "--out", out]
        code, _, errors = distmatch("train", *([system] if system else []), *given, *arguments)
        assert code == 0, errors
        return out

    return run


@pytest.fixture
def refused(distmatch, here):
    """A command that ends with code 2, one sentence on stderr, and nothing new in the folder."""

    def run(*arguments):
        before = sorted(here.rglob("*"))
        code, out, errors = distmatch(*arguments)
        assert code == 2, (out, errors)
        assert errors.startswith("distmatch: ")
        assert "Traceback" not in errors
        assert errors.count("\n") == 1, errors
        assert sorted(here.rglob("*")) == before
        return errors

    return run
