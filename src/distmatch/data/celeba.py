"""CelebA: 202,599 faces, aligned and cropped by its authors. Never downloaded: its licence asks you to."""

from __future__ import annotations

import os
from pathlib import Path

import torch

from distmatch.data.folder import pictures_tensor
from distmatch.data.places import AGAIN, folders, missing, reading
from distmatch.data.splits import DataSet, Entry, Request, Split
from distmatch.errors import BadInput

FOLDER, PARTITION, ATTRIBUTES = "img_align_celeba", "list_eval_partition.txt", "list_attr_celeba.txt"
WANTED = f"the unpacked folder {FOLDER} and {PARTITION} (and, for labels, {ATTRIBUTES})"
CROP = 148
LABEL = "Smiling"
SIZE = 64


def load_celeba(request: Request) -> DataSet:
    """The official partition, 162,770 / 19,867 / 19,962 faces, uint8 `(N, 3, size, size)`.

    What was chosen: the centre 148×148 of the 178×218 picture (some use 108 or 140), resized (bicubic,
    antialiased) to `size`, default 64; made once and kept in the cache. If `list_attr_celeba.txt` is there,
    y is its attribute Smiling (0 or 1), otherwise there are no labels. Files in `D/celeba` or `D`.

    Source: Liu, Luo, Wang & Tang, Deep learning face attributes in the wild, 2015.
    Raises `BadInput` for files that are missing, damaged, or not those.
    """
    places = folders(request, "celeba")
    root = next((p for p in places if os.path.isdir(p / FOLDER)), None)
    if root is None:
        raise missing("celeba", WANTED, places)
    names = _partition(root / PARTITION)
    smiles = _attribute(root / ATTRIBUTES) if os.path.exists(root / ATTRIBUTES) else None

    def split(files: list[str]) -> Split:
        files = files[: request.limit]
        x = pictures_tensor("celeba", [root / FOLDER / f for f in files], request.size or SIZE, CROP)
        if smiles is None:
            return Split(x)
        lacking = next((f for f in files if f not in smiles), None)
        if lacking is not None:
            raise BadInput(f"{root / ATTRIBUTES} has no line for {lacking}; {AGAIN}")
        return Split(x, torch.tensor([smiles[f] for f in files]))

    train, validation, test = (split(files) for files in names)
    return DataSet(
        "celeba",
        train,
        validation,
        test,
        () if smiles is None else (f"not {LABEL.lower()}", LABEL.lower()),
        "Liu et al., Deep learning face attributes in the wild, 2015",
        "non-commercial research only",
        f"centre {CROP}×{CROP}, bicubic to {request.size or SIZE}×{request.size or SIZE}",
    )


def _lines(path: Path) -> list[list[str]]:
    with reading(path, UnicodeDecodeError):
        return [line.split() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]


def _partition(path: Path) -> tuple[list[str], list[str], list[str]]:
    """The file names of the three splits; a line is `000001.jpg 0`."""
    names: tuple[list[str], list[str], list[str]] = ([], [], [])
    for words in _lines(path):
        if len(words) != 2 or words[1] not in ("0", "1", "2") or os.path.basename(words[0]) != words[0]:
            raise BadInput(f"{path} has the line {' '.join(words)[:60]!r}, not 'name.jpg 0'; {AGAIN}")
        names[int(words[1])].append(words[0])
    if not all(names):
        raise BadInput(f"{path} names no picture for one of the splits 0, 1, 2; {AGAIN}")
    return names


def _attribute(path: Path) -> dict[str, int]:
    """File name to 0 or 1. A count, then the 40 names, then `000001.jpg -1 1 ...` a line."""
    lines = _lines(path)
    if len(lines) < 3 or LABEL not in lines[1]:
        raise BadInput(
            f"{path} is not CelebA's list of attributes (no {LABEL!r} on its second line); {AGAIN}"
        )
    column = 1 + lines[1].index(LABEL)
    for words in lines[2:]:
        if len(words) != 1 + len(lines[1]) or words[column] not in ("-1", "1"):
            raise BadInput(f"{path} has the broken line {' '.join(words)[:60]!r}; {AGAIN}")
    return {words[0]: int(words[column] == "1") for words in lines[2:]}


DATA_SET = Entry(
    "celeba",
    load_celeba,
    "202,599 aligned faces (not downloaded)",
    "3×64×64",
    "non-commercial research only",
    True,
)
