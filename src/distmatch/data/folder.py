"""Any folder of pictures."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch

from distmatch.data.images import cached, decode, fingerprint, in_threads, square
from distmatch.data.places import existing_folder, reading
from distmatch.data.splits import DataSet, Entry, Request, Split
from distmatch.errors import BadInput

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})
SIZE = 64


def load_folder(request: Request) -> DataSet:
    """All pictures under `data_dir`, at any depth, as uint8 `(N, 3, size, size)`, 90 % / 5 % / 5 %.

    Turned upright, the centre square cut, resized (bicubic, antialiased) to `size` (default 64), made once
    and kept in the cache. The order is a fixed permutation of the sorted paths. If every picture lies in a
    sub-folder, the first sub-folders are the classes. Hidden files and files without a picture's suffix
    are skipped.

    Raises `BadInput` for no folder, fewer than 3 pictures, or a picture that cannot be read (named).
    """
    if request.data_dir is None:
        raise BadInput("folder: no folder of images is named; name it with --data-dir")
    root = existing_folder(request.data_dir)
    paths = _pictures(root)
    if len(paths) < 3:
        raise BadInput(
            f"{root} holds {len(paths)} pictures, and at least 3 are needed (one per split); "
            f"name a folder of {', '.join(sorted(SUFFIXES))} files"
        )
    classes, labels = _classes(root, paths)
    size = request.size or SIZE
    held_out = max(1, round(0.05 * len(paths)))
    order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(0)).tolist()

    def split(indices: list[int]) -> Split:
        indices = indices[: request.limit]
        x = pictures_tensor("folder", [paths[i] for i in indices], size)
        return Split(x, torch.tensor([labels[i] for i in indices]) if classes else None)

    train, validation, test = (
        split(part) for part in (order[: -2 * held_out], order[-2 * held_out : -held_out], order[-held_out:])
    )
    bits = f"centre square, bicubic to {size}×{size}"
    return DataSet("folder", train, validation, test, classes, str(root), "the images' own", bits)


def pictures_tensor(name: str, paths: list[Path], size: int, side: int | None = None) -> torch.Tensor:
    """The files as uint8 `(N, 3, size, size)`, from the cache; `side` as in `square`."""

    def pixels(path: Path) -> np.ndarray:
        image = decode(path, str(path))
        if side is not None and min(image.size) < side:
            raise BadInput(
                f"{path} is {image.size[0]}×{image.size[1]}, too small for the crop of {side}; fetch it again"
            )
        return square(image, size, side)

    key = [f"side {side}"]
    for path in paths:
        with reading(path):
            key.append(fingerprint(path))
    return cached(name, key, (len(paths), 3, size, size), lambda: in_threads(pixels, paths))


def _pictures(root: Path) -> list[Path]:
    def refuse(error: OSError) -> None:
        raise BadInput(
            f"{error.filename} may not be read ({error.strerror}); give yourself the right to read it"
        )

    pictures = []
    for folder, inner, files in os.walk(root, onerror=refuse):
        inner[:] = [d for d in inner if not d.startswith(".")]
        pictures += [
            Path(folder, f) for f in files if not f.startswith(".") and Path(f).suffix.lower() in SUFFIXES
        ]
    return sorted(pictures)


def _classes(root: Path, paths: list[Path]) -> tuple[tuple[str, ...], list[int]]:
    """Names of the sub-folders, and each picture's index among them; nothing if a picture lies in none."""
    parts = [path.relative_to(root).parts for path in paths]
    if any(len(p) == 1 for p in parts):
        return (), []
    names = sorted({p[0] for p in parts})
    index = {name: i for i, name in enumerate(names)}
    return tuple(names), [index[p[0]] for p in parts]


DATA_SET = Entry("folder", load_folder, "any folder of pictures", "3×64×64", "the images' own", True)
