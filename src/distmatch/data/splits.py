"""Data sets: three splits, held as they are stored, and their source."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Split:
    """One split, held as it is stored.

    x: uint8 `(N, C, H, W)` for images (perhaps a memory map), float32 `(N, D)` for toys.
    y: int64 `(N,)`, or `None` where there are no labels.
    """

    x: Tensor
    y: Tensor | None = None

    def __len__(self) -> int:
        return len(self.x)

    def first(self, n: int) -> Split:
        """The first `n` examples (all, if there are fewer), without a copy."""
        return Split(self.x[:n], None if self.y is None else self.y[:n])


@dataclass(frozen=True, eq=False)
class DataSet:
    """Three splits, and what must be said beside any number measured on them.

    classes: the labels' names; empty where there are no labels.
    bits: whether these are the bits that others publish numbers on, for example `"original bits"`.
    modes: `(K, D)`, the centres of a toy's modes; `mode_scale` is the standard deviation about each.

    >>> from distmatch.data import load
    >>> digits = load("digits")
    >>> digits.shape, digits.is_image, digits.num_classes, len(digits.test)
    ((1, 8, 8), True, 10, 300)
    """

    name: str
    train: Split
    validation: Split
    test: Split
    classes: tuple[str, ...] = ()
    source: str = ""
    licence: str = ""
    bits: str = ""
    modes: Tensor | None = None
    mode_scale: float | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one example."""
        return tuple(self.train.x.shape[1:])

    @property
    def is_image(self) -> bool:
        """True where an example is an image, `(C, H, W)`."""
        return len(self.shape) == 3

    @property
    def num_classes(self) -> int:
        """The number of classes; 0 where there are no labels."""
        return len(self.classes)

    def first(self, n: int) -> DataSet:
        """The first `n` examples of each split, without a copy."""
        return replace(
            self, train=self.train.first(n), validation=self.validation.first(n), test=self.test.first(n)
        )


@dataclass(frozen=True)
class Request:
    """Arguments of `load` for a data set's own function.

    limit: no more than this many examples of a split will be kept, so no more need be decoded.
    """

    data_dir: Path | None = None
    seed: int = 0
    size: int | None = None
    limit: int | None = None


@dataclass(frozen=True)
class Entry:
    """One line of `DATA_SETS`: how to load it, and what to tell somebody who chooses.

    takes_size: whether `load(..., size=...)` sets the images' side.
    """

    name: str
    load: Callable[[Request], DataSet]
    description: str
    shape: str
    licence: str
    takes_size: bool = False
