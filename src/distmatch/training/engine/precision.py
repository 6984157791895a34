"""Precision of the arithmetic of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def numerics(precision: str) -> Iterator[None]:
    """Inside the block, and where precision is `"tf32"`, CUDA devices take products of float32 matrices in TF32.

    Convolutions are left to torch's own setting, which is TF32 already; bf16 is autocast's, in the step. What was set
    before is set again afterwards.

    >>> with numerics("bf16"):
    ...     torch.get_float32_matmul_precision()
    'highest'
    """
    if precision != "tf32" or not torch.cuda.is_available():
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
