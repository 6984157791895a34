"""Every data set by name, and the one function that loads them."""

from __future__ import annotations

from pathlib import Path

from distmatch.data.celeba import load_celeba
from distmatch.data.cifar10 import load_cifar10
from distmatch.data.color_mnist import load_color_mnist
from distmatch.data.digits import load_digits
from distmatch.data.fashion_mnist import load_fashion_mnist
from distmatch.data.folder import load_folder
from distmatch.data.mnist import load_mnist
from distmatch.data.splits import DataSet, Entry, Request
from distmatch.data.stacked_mnist import load_stacked_mnist
from distmatch.data.toys import load_gaussians, load_grid, load_lines, load_ring
from distmatch.errors import BadInput, unknown

MADE = "none needed (made here)"

DATA_SETS: dict[str, Entry] = {
    "digits": Entry(load_digits, "1,797 small digits, always there", "1×8×8", "CC BY 4.0"),
    "mnist": Entry(load_mnist, "70,000 handwritten digits", "1×28×28", "CC BY-SA 3.0"),
    "fashion-mnist": Entry(load_fashion_mnist, "70,000 pictures of clothes", "1×28×28", "MIT"),
    "cifar10": Entry(
        load_cifar10, "60,000 colour pictures, 10 classes", "3×32×32", "none stated; cite the source"
    ),
    "celeba": Entry(
        load_celeba, "202,599 aligned faces (not downloaded)", "3×64×64", "non-commercial research only", True
    ),
    "color-mnist": Entry(load_color_mnist, "MNIST, each digit in a random colour", "3×28×28", "CC BY-SA 3.0"),
    "stacked-mnist": Entry(
        load_stacked_mnist, "three MNIST digits as channels, 1,000 modes", "3×28×28", "CC BY-SA 3.0"
    ),
    "folder": Entry(load_folder, "any folder of pictures", "3×64×64", "the images' own", True),
    "ring": Entry(load_ring, "8 Gaussians on the unit circle, σ 0.01", "2", MADE),
    "grid": Entry(load_grid, "25 Gaussians on a 5×5 grid, σ 0.05", "2", MADE),
    "gaussians": Entry(load_gaussians, "5 Gaussians at 0 and (±2, ±2), σ 0.2", "2", MADE),
    "lines": Entry(load_lines, "two parallel lines without width", "2", MADE),
}


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
