"""Every data set by name, and the one function that loads them."""

from __future__ import annotations

from pathlib import Path

from distmatch.data.splits import DataSet, Entry, Request
from distmatch.declared import declared
from distmatch.errors import BadInput, unknown

FIRST = (  # the order of lists; others follow
    *(
        "digits",
        "mnist",
        "fashion_mnist",
        "cifar10",
        "celeba",
        "color_mnist",
        "stacked_mnist",
        "folder",
        "toys",
    ),
)
DATA_SETS = declared("distmatch.data", Entry, FIRST)


def load(
    name: str,
    data_dir: str | Path | None = None,
    *,
    limit: int | None = None,
    seed: int = 0,
    size: int | None = None,
) -> DataSet:
    """The data set of this name.

    data_dir: a folder D; files are looked for in `D/<name>` and in `D`, and nothing is downloaded. Without
        it they are looked for in the cache (`$DISTMATCH_DATA`, or the platform's) and downloaded to it.
    limit: keep the first `limit` examples of each split.
    seed: of what is made at random here (toys, colours, stacks); splits do not depend on it.
    size: the side of the images, for `folder` and `celeba`.

    Raises `BadInput`, one sentence with a remedy, for an unknown name, an impossible argument, or files
    that are missing, unreadable, damaged or foreign.

    >>> load("digits", limit=100).train.x.shape
    torch.Size([100, 1, 8, 8])
    >>> load("rings")
    Traceback (most recent call last):
        ...
    distmatch.errors.BadInput: unknown data set 'rings'; did you mean 'ring'? Known: ...
    """
    if name not in DATA_SETS:
        raise unknown("data set", name, DATA_SETS)
    entry = DATA_SETS[name]
    if limit is not None and limit < 1:
        raise BadInput(f"limit is {limit}; give at least 1, or none for all examples")
    if not 0 <= seed < 2**63:
        raise BadInput(f"seed is {seed}; give a whole number from 0 to 2^63 - 1")
    if size is not None and not entry.takes_size:
        raise BadInput(f"{name} has images of one size only ({entry.shape}); leave size out")
    if size is not None and not 4 <= size <= 1024:
        raise BadInput(f"size is {size}; give a side from 4 to 1024")
    folder = None if data_dir is None else Path(data_dir).expanduser()
    data = entry.load(Request(folder, seed, size, limit))
    return data if limit is None else data.first(limit)
