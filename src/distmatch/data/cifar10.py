"""CIFAR-10: 60,000 colour pictures, from the official binary archive or from Parquet."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path

import numpy as np
import torch

from distmatch.data.cifar10_parquet import load_parquet
from distmatch.data.download import fetch
from distmatch.data.places import AGAIN, folders, missing, reading
from distmatch.data.splits import DataSet, Entry, Request, Split
from distmatch.errors import BadInput

ARCHIVE, UNPACKED = "cifar-10-binary.tar.gz", "cifar-10-batches-bin"
URL = f"https://www.cs.toronto.edu/~kriz/{ARCHIVE}"
MD5 = "c32a1d4ab5d03f1284b67883e8d87530"
TRAIN, TEST = tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"
RECORD = 1 + 3 * 32 * 32
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SOURCE = "Krizhevsky, Learning multiple layers of features from tiny images, 2009"
LICENCE = "none stated; cite the source"


def load_cifar10(request: Request) -> DataSet:
    """45,000 / 5,000 / 10,000 pictures, uint8 `(N, 3, 32, 32)`: the last tenth of training validates.

    Read, in this order, from `cifar-10-binary.tar.gz` (never unpacked on disk), from the `.bin` files of a
    folder `cifar-10-batches-bin`, or from `train*.parquet` and `test*.parquet` in Hugging Face's image
    layout (see `load_parquet`), in `D/cifar10` or `D`; without D the archive is downloaded.

    Raises `BadInput` for files that are missing, damaged or foreign.
    """
    places = folders(request, "cifar10")
    for place in places:
        if (data := _look_in(place, request.limit)) is not None:
            return data
    if request.data_dir is None:
        return _held_out(*_from_archive(fetch([URL], places[0] / ARCHIVE, MD5)))
    raise missing("cifar10", f"{ARCHIVE} (or train.parquet and test.parquet)", places)


def _look_in(place: Path, limit: int | None) -> DataSet | None:
    if os.path.exists(place / ARCHIVE):
        return _held_out(*_from_archive(place / ARCHIVE))
    for unpacked in (place / UNPACKED, place):
        if any(os.path.exists(unpacked / name) for name in (*TRAIN, TEST)):
            return _held_out(*_from_folder(unpacked), "official binary files, not checked")
    if (splits := load_parquet(place, limit)) is not None:
        train, validation, test, bits = splits
        return DataSet("cifar10", train, validation, test, CLASSES, SOURCE, LICENCE, bits)
    return None


def _held_out(both: Split, test: Split, bits: str) -> DataSet:
    held_out = max(1, len(both) // 10)
    assert both.y is not None
    validation = Split(both.x[-held_out:], both.y[-held_out:])
    train = both.first(len(both) - held_out)
    return DataSet("cifar10", train, validation, test, CLASSES, SOURCE, LICENCE, bits)


def _from_archive(path: Path) -> tuple[Split, Split, str]:
    bodies: dict[str, bytes] = {}
    with reading(path, tarfile.TarError), tarfile.open(path, "r:gz") as archive:
        for member in archive:
            name = member.name.rpartition("/")[2]
            if member.isfile() and name in (*TRAIN, TEST):
                body = archive.extractfile(member)
                bodies[name] = body.read() if body else b""
    with open(path, "rb") as handle:
        same = hashlib.file_digest(handle, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == MD5
    bits = "original bits" if same else "not the original archive (its checksum differs)"
    return *_splits(bodies, path), bits


def _from_folder(folder: Path) -> tuple[Split, Split]:
    bodies: dict[str, bytes] = {}
    for name in (*TRAIN, TEST):
        with reading(folder / name):
            bodies[name] = (folder / name).read_bytes()
    return _splits(bodies, folder)


def _splits(bodies: dict[str, bytes], where: Path) -> tuple[Split, Split]:
    for name in (*TRAIN, TEST):
        if name not in bodies:
            raise BadInput(f"{where} holds no {name}; {AGAIN}")
    return _records([bodies[name] for name in TRAIN], TRAIN, where), _records([bodies[TEST]], (TEST,), where)


def _records(bodies: list[bytes], names: tuple[str, ...], where: Path) -> Split:
    """Records of a label and 3,072 bytes, planes red, green, blue. Every body is checked on its own."""
    for name, body in zip(names, bodies, strict=True):
        labels = np.frombuffer(body, np.uint8)[::RECORD]
        if not body or len(body) % RECORD:
            raise BadInput(
                f"{name} in {where} is truncated ({len(body)} bytes, not a multiple of {RECORD}); {AGAIN}"
            )
        if labels.max() > 9:
            raise BadInput(
                f"{name} in {where} is not a CIFAR-10 batch (it has the label {labels.max()}); {AGAIN}"
            )
    records = np.frombuffer(b"".join(bodies), np.uint8).reshape(-1, RECORD)
    x = torch.from_numpy(records[:, 1:].copy()).view(-1, 3, 32, 32)
    return Split(x, torch.from_numpy(records[:, 0].astype(np.int64)))


DATA_SET = Entry(
    "cifar10", load_cifar10, "60,000 colour pictures, 10 classes", "3×32×32", "none stated; cite the source"
)
