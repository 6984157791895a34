"""CIFAR-10 as others share it: encoded pictures inside Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from distmatch.data.images import cached, decode, fingerprint, in_threads
from distmatch.data.places import AGAIN, reading
from distmatch.data.splits import Split
from distmatch.errors import BadInput

JPEG = b"\xff\xd8"
BITS = (
    "CIFAR-10 in Parquet, not checked against the original bits",
    "CIFAR-10 (JPEG), not the original bits",
)


def load_parquet(folder: Path, limit: int | None = None) -> tuple[Split, Split, Split, str] | None:
    """Train, validation (the last tenth of train), test, and a note on the bits; `None` without such files.

    Reads `train*.parquet` and `test*.parquet` with a column `image` or `img` of `{bytes, path}` and a column
    `label` (0..9). Such files are often ordered by class, so the rows are first put in a fixed random order.
    Pictures are decoded once and kept in the cache.

    Raises `BadInput` for a damaged file, other columns, or a picture that is not 32×32.
    """
    with reading(folder):
        files = [sorted(folder.glob(f"{split}*.parquet")) for split in ("train", "test")]
    if not any(files):
        return None
    for split, paths in zip(("train", "test"), files, strict=True):
        if not paths:
            raise BadInput(f"cifar10: {folder} lacks {split}.parquet; put it beside the others")
    train, test = (_rows(paths) for paths in files)
    if len(train) < 2:
        raise BadInput(f"{files[0][0]} holds one picture; at least 2 are needed for training and validation")
    held_out = max(1, len(train) // 10)
    lossy = any(body.startswith(JPEG) for body, _, _ in (*train, *test))
    key = [fingerprint(path) for paths in files for path in paths]
    parts = {"train": train[:-held_out], "validation": train[-held_out:], "test": test}
    splits = [_split(name, rows[:limit], key) for name, rows in parts.items()]
    return splits[0], splits[1], splits[2], BITS[lossy]


def _rows(paths: list[Path]) -> list[tuple[bytes, int, str]]:
    """(encoded picture, label, its place) of every row, in the fixed random order."""
    rows = [row for path in paths for row in _read(path)]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    return [rows[i] for i in order.tolist()]


def _read(path: Path) -> Iterator[tuple[bytes, int, str]]:
    import pyarrow
    from pyarrow import parquet

    with reading(path, pyarrow.ArrowException), parquet.ParquetFile(path) as file:
        names = file.schema_arrow.names
        column = next((c for c in ("image", "img") if c in names), None)
        if column is None or "label" not in names:
            raise BadInput(
                f"{path} has the columns {', '.join(names)}, not image (or img) and label; {AGAIN}"
            )
        table = file.read([column, "label"])
    if len(table) == 0:
        raise BadInput(f"{path} holds no rows; {AGAIN}")
    pairs = zip(table[column].to_pylist(), table["label"].to_pylist(), strict=True)
    for i, (image, label) in enumerate(pairs):
        yield _body(image, path, i), _label(label, path, i), f"row {i} of {path}"


def _body(image: Any, path: Path, i: int) -> bytes:
    body = image.get("bytes") if isinstance(image, dict) else image
    if not isinstance(body, bytes) or not body:
        raise BadInput(
            f"row {i} of {path} holds no encoded picture (expected: image {{bytes, path}}); {AGAIN}"
        )
    return body


def _label(label: Any, path: Path, i: int) -> int:
    if not isinstance(label, int) or not 0 <= label <= 9:
        raise BadInput(f"row {i} of {path} has the label {label!r}, not one of 0..9; {AGAIN}")
    return label


def _split(name: str, rows: list[tuple[bytes, int, str]], key: list[str]) -> Split:
    def pixels(row: tuple[bytes, int, str]) -> np.ndarray:
        image = decode(row[0], row[2])
        if image.size != (32, 32):
            raise BadInput(f"{row[2]} is {image.size[0]}×{image.size[1]}, not 32×32; {AGAIN}")
        return np.asarray(image).transpose(2, 0, 1)

    shape = (len(rows), 3, 32, 32)
    x = cached("cifar10", [name, *key], shape, lambda: in_threads(pixels, rows))
    return Split(x, torch.tensor([label for _, label, _ in rows]))
