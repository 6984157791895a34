"""Freed memory stays with the process while it trains."""

from __future__ import annotations

import ctypes
import os

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # their numbers in glibc's malloc.h
GIB, MIB = 1 << 30, 1 << 20
USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_")


def keep_heap() -> bool:
    """Tell glibc's allocator to keep what is freed, for the rest of the process; call it once before training.

    A step frees its activations and gradients at once. By its defaults glibc gives them back to the system, which
    hands out the same pages, zeroed, in the next step: 600 page faults per step of an MLP VAE. Without them the step
    takes 1.02 times what a loop by hand takes, with them 1.20 times (one thread of a CPU; `benchmarks/step.py`, and
    its `--plain-heap`). The most memory that is in use at once does not change, but up to 1 GiB of it stays.

    Other allocators are left alone, and so is glibc's where the user's environment sets these thresholds.

    Returns:
        Whether anything was set.
    """
    if any(name in os.environ for name in USER) or "glibc.malloc." in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        libc = ctypes.CDLL(None)
        _ = libc.gnu_get_libc_version  # glibc alone has it
        mallopt = libc.mallopt
    except (OSError, TypeError, AttributeError):  # no such library; no such name (TypeError: Windows)
        return False
    # Setting either stops glibc from adapting both, so none is set without the other. Old versions take 32 MiB at most.
    mapped = mallopt(MMAP_THRESHOLD, GIB) or mallopt(MMAP_THRESHOLD, 32 * MIB)
    return bool(mapped and mallopt(TRIM_THRESHOLD, GIB))
