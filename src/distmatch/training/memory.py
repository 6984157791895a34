"""Freed memory stays with the process while it trains."""

from __future__ import annotations

import ctypes
import os
import sys

TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3  # mallopt's names for them, from glibc's malloc.h
KEPT = 1 << 30


def keep_heap() -> bool:
    """todo"""
    if not sys.platform.startswith("linux"):
        return False
    if any(v.startswith("MALLOC_") for v in os.environ) or "glibc.malloc" in os.environ.get("GLIBC_TUNABLES", ""):
        return False
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version
        mallopt = libc.mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(TRIM_THRESHOLD, KEPT)) and bool(mallopt(MMAP_THRESHOLD, KEPT))
