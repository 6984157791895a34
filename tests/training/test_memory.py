"""keep_heap: what the allocator is told, and when it is left alone."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys

import pytest

from distmatch.training.engine import memory
from distmatch.training.engine.memory import keep_heap

GLIBC = platform.libc_ver()[0] == "glibc"


class Library:
    """A C library that records what its allocator is told, and refuses what it is told to refuse."""

    def __init__(self, refused: tuple[tuple[int, int], ...] = ()) -> None:
        self.calls: list[tuple[int, int]] = []
        self.refused = refused

    def gnu_get_libc_version(self) -> bytes:
        return b"2.36"

    def mallopt(self, name: int, value: int) -> int:
        self.calls.append((name, value))
        return int((name, value) not in self.refused)


@pytest.fixture
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in (*memory.USER, "GLIBC_TUNABLES"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def load(monkeypatch: pytest.MonkeyPatch, library: object) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)


def test_both_thresholds_are_raised(plain_environment):
    library = Library()
    load(plain_environment, library)
    assert keep_heap()
    assert dict(library.calls) == {memory.MMAP_THRESHOLD: memory.GIB, memory.TRIM_THRESHOLD: memory.GIB}


def test_an_older_glibc_gets_the_most_it_takes(plain_environment):
    library = Library(refused=((memory.MMAP_THRESHOLD, memory.GIB),))
    load(plain_environment, library)
    assert keep_heap()
    assert (memory.MMAP_THRESHOLD, 32 * memory.MIB) in library.calls


def test_the_trim_threshold_is_not_set_alone(plain_environment):
    sizes = (memory.GIB, 32 * memory.MIB)
    library = Library(refused=tuple((memory.MMAP_THRESHOLD, size) for size in sizes))
    load(plain_environment, library)
    assert not keep_heap()
    assert memory.TRIM_THRESHOLD not in dict(library.calls)


@pytest.mark.parametrize(
    ("name", "value"),
    [*((name, "65536") for name in memory.USER), ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=65536")],
)
def test_the_users_environment_is_respected(plain_environment, name, value):
    library = Library()
    load(plain_environment, library)
    plain_environment.setenv(name, value)
    assert not keep_heap()
    assert library.calls == []


def test_tunables_of_other_parts_of_glibc_do_not_count(plain_environment):
    load(plain_environment, Library())
    plain_environment.setenv("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=2048")
    assert keep_heap()


@pytest.mark.parametrize("error", [OSError, TypeError])
def test_without_a_c_library_nothing_happens(plain_environment, error):
    def fail(name: object) -> None:
        raise error("no such library")

    plain_environment.setattr(ctypes, "CDLL", fail)
    assert not keep_heap()


def test_without_glibc_nothing_happens(plain_environment):
    load(plain_environment, object())
    assert not keep_heap()


@pytest.mark.skipif(not GLIBC, reason="glibc's allocator")
def test_freed_memory_comes_back_without_page_faults():
    """In a process of its own, for the setting lasts as long as the process."""
    program = """
import resource, sys
import torch
from distmatch.training.engine.memory import keep_heap

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        blocks = [torch.ones(1 << 20) for _ in range(4)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

plain = faults()
assert keep_heap()
faults()
print(plain, faults())
"""
    quiet = {k: v for k, v in os.environ.items() if k not in (*memory.USER, "GLIBC_TUNABLES")}
    found = subprocess.run(
        [sys.executable, "-c", program], env=quiet, capture_output=True, text=True, check=True
    )
    plain, kept = map(int, found.stdout.split())
    assert kept < plain / 10
