"""Randomness that leaves torch's global state as it was."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seeded(seed: int) -> torch.Generator:
    """Return a CPU generator of its own, so that global random state is never touched.

    >>> torch.rand(1, generator=seeded(1)).equal(torch.rand(1, generator=seeded(1)))
    True
    """
    return torch.Generator().manual_seed(seed)


@contextmanager
def own_randomness(seed: int) -> Iterator[None]:
    """Put torch's global generators at this seed inside the block, and back as they were after it.

    >>> state = torch.get_rng_state()
    >>> with own_randomness(1):
    ...     first = torch.rand(1)
    >>> bool((torch.get_rng_state() == state).all()), bool(first == torch.rand(1, generator=seeded(1)))
    (True, True)
    """
    devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(seed)
        yield
