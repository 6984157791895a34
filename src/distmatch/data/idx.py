"""IDX, the format of MNIST and similar data sets: four files, gzipped or not.

A file is two zero bytes, the type (8: unsigned byte), the number of dimensions, each dimension as a
big-endian 32-bit integer, then the bytes. Reference: LeCun, Cortes & Burges, The MNIST database.
"""

from __future__ import annotations

import hashlib
import math
import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distmatch.data.download import fetch
from distmatch.data.places import AGAIN, folders, missing, reading
from distmatch.data.splits import DataSet, Request, Split
from distmatch.errors import BadInput

FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True)
class IdxSource:
    """Source of a data set in IDX. `packed`, `unpacked`: the four MD5s, with and without gzip."""

    name: str
    classes: tuple[str, ...]
    mirrors: tuple[str, ...]
    packed: tuple[str, ...]
    unpacked: tuple[str, ...]
    source: str
    licence: str


def read_idx(path: Path, dims: int) -> tuple[Tensor, bytes]:
    """The uint8 tensor `(N, ...)` of `dims` dimensions in the file, and the unpacked file itself.

    Raises `BadInput` for a file that is unreadable, empty, truncated, too long or not such an IDX file.
    """
    with reading(path):
        raw = path.read_bytes()
        if raw[:2] == b"\x1f\x8b":
            raw = _gunzip(raw)
    start = 4 * (1 + dims)
    if not raw:
        raise BadInput(f"{path} is empty; {AGAIN}")
    if raw[:4] != bytes([0, 0, 8, dims]):
        raise BadInput(
            f"{path} is not an IDX file of bytes in {dims} dimensions (it begins with {raw[:4].hex()}); {AGAIN}"
        )
    shape = tuple(int.from_bytes(raw[i : i + 4], "big") for i in range(4, start, 4))
    needed, present = math.prod(shape), len(raw) - start
    if present != needed:
        what = "truncated" if present < needed else "too long"
        raise BadInput(
            f"{path} is {what} (shape {shape} needs {needed} bytes, it has {max(present, 0)}); {AGAIN}"
        )
    if needed == 0:
        raise BadInput(f"{path} holds no data (its shape is {shape}); {AGAIN}")
    return torch.from_numpy(np.frombuffer(raw, np.uint8, offset=start).copy()).view(shape), raw


def load_idx(about: IdxSource, request: Request, *also: str) -> DataSet:
    """Official training images but the last twelfth, that twelfth (5,000 of 60,000), official test images.

    also: names of folders in D to look in first. x: uint8 `(N, 1, H, W)`. `bits` is `"original bits"` only
    if all four checksums are the official ones.
    """
    download = request.data_dir is None
    names = (about.name,) if download else (*also, about.name)
    paths = _find(about, folders(request, *names), download)
    original = True
    tensors = []
    for i, path in enumerate(paths):
        tensor, raw = read_idx(path, dims=3 if i % 2 == 0 else 1)
        original = original and _is_original(about, i, path, raw)
        tensors.append(tensor)
    train, test = _pair(about, paths[:2], tensors[:2]), _pair(about, paths[2:], tensors[2:])
    held_out = max(1, len(train) // 12)
    if len(train) < 2:
        raise BadInput(f"{paths[0]} holds one image; at least 2 are needed for training and validation")
    return DataSet(
        about.name,
        train.first(len(train) - held_out),
        Split(train.x[-held_out:], None if train.y is None else train.y[-held_out:]),
        test,
        about.classes,
        about.source,
        about.licence,
        "original bits" if original else "not the original bits (a checksum differs or is unknown)",
    )


def _find(about: IdxSource, places: Sequence[Path], download: bool) -> list[Path]:
    """The four files, all in one folder. Without a folder of the user's, missing files are downloaded."""
    if download:
        return [
            _present(places[0], stem)
            or fetch([m + f"{stem}.gz" for m in about.mirrors], places[0] / f"{stem}.gz", md5)
            for stem, md5 in zip(FILES, about.packed, strict=True)
        ]
    for place in places:
        paths = {stem: path for stem in FILES if (path := _present(place, stem))}
        if len(paths) == len(FILES):
            return list(paths.values())
        if paths:
            lacking = ", ".join(f"{stem}.gz" for stem in FILES if stem not in paths)
            raise BadInput(f"{about.name}: {place} lacks {lacking}; put it beside the others")
    raise missing(about.name, ", ".join(f"{stem}.gz" for stem in FILES), list(places))


def _present(place: Path, stem: str) -> Path | None:
    return next((p for p in (place / f"{stem}.gz", place / stem) if os.path.exists(p)), None)


def _gunzip(raw: bytes) -> bytes:
    """All members of a gzip file; its own last four bytes say how much room the last one needs."""
    out = []
    while raw:
        member = zlib.decompressobj(31)
        out.append(member.decompress(raw))
        if not member.eof:
            raise EOFError("the gzip stream ends too early")
        raw = member.unused_data.lstrip(b"\0")
    return out[0] if len(out) == 1 else b"".join(out)


def _is_original(about: IdxSource, i: int, path: Path, raw: bytes) -> bool:
    if about.unpacked:
        return hashlib.md5(raw, usedforsecurity=False).hexdigest() == about.unpacked[i]
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() == about.packed[i]


def _pair(about: IdxSource, paths: Sequence[Path], tensors: Sequence[Tensor]) -> Split:
    images, labels = tensors
    if len(images) != len(labels):
        raise BadInput(f"{paths[0]} holds {len(images)} images but {paths[1]} {len(labels)} labels; {AGAIN}")
    if (largest := int(labels.max())) >= len(about.classes):
        raise BadInput(
            f"{paths[1]} has the label {largest}, and {about.name} {len(about.classes)} classes; {AGAIN}"
        )
    return Split(images.unsqueeze(1), labels.long())
