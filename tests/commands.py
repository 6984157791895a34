"""Fixtures of tests that run command lines: one thread, an empty folder, and the command line in it."""

import pytest
import torch

from distmatch import cli


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def distmatch(here, capfd):
    """Run a command line in an empty folder: (exit code, stdout, stderr)."""

    def run(*arguments):
        code = cli.run([str(a) for a in arguments])
        return (code, *capfd.readouterr())

    return run
