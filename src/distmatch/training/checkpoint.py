"""Checkpoints that survive anything: written whole or not at all, and checked when read.

One checkpoint is `step-00001000.safetensors` and a JSON of the same name that holds its SHA-256. Each is written
to a temporary name, forced to the disk and renamed; the JSON comes last, so a checkpoint without one was never
finished. Two are kept, so that a damaged one has a good one before it.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from distmatch.errors import BadInput

FORMAT = 1
KEPT = 2


def write(folder: Path, step: int, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
    """Add the checkpoint of a step, and drop all but the two newest.

    Raises:
        BadInput: the disk is full or the folder cannot be written; what was there before is as it was.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / f"step-{step:08d}"
    content = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
    about = {"format": FORMAT, "step": step, "sha256": hashlib.sha256(content).hexdigest(), **info}
    put(stem.with_suffix(".safetensors"), content)
    put(stem.with_suffix(".json"), json.dumps(about, indent=1).encode())
    for old in steps(folder)[:-KEPT]:
        _remove(folder, old)


def steps(folder: Path) -> list[int]:
    """The steps of all finished checkpoints, oldest first."""
    return sorted(int(p.stem.removeprefix("step-")) for p in folder.glob("step-*.json"))


def read_latest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """The newest checkpoint that is whole.

    Returns:
        Its tensors, its JSON, and a sentence for each newer one that was passed over as damaged.

    Raises:
        BadInput: there is none.
    """
    passed: list[str] = []
    for step in reversed(steps(folder)):
        try:
            tensors, info = _read(folder / f"step-{step:08d}")
            return tensors, info, passed
        except BadInput as error:
            passed.append(str(error))
    if passed:
        raise BadInput(f"no checkpoint in {folder} can be used: {'; '.join(passed)}")
    raise BadInput(f"{folder} holds no finished checkpoint")


def drop_after(folder: Path, step: int) -> None:
    """Remove checkpoints later than a step, and what an interrupted write left behind."""
    for later in steps(folder):
        if later > step:
            _remove(folder, later)
    finished = {f"step-{s:08d}" for s in steps(folder)}
    for path in folder.glob("*"):
        if path.suffix == ".tmp" or path.stem not in finished:
            path.unlink(missing_ok=True)


def put(path: Path, content: bytes) -> None:
    """Write a file whole or not at all: a temporary name, forced to the disk, renamed.

    Raises:
        BadInput: it cannot be written.
    """
    temporary = path.with_name(f"{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise BadInput(f"cannot write {path}: {error.strerror}; free some space or choose another --out") from error


def _read(stem: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    name = stem.name
    try:
        info = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        content = stem.with_suffix(".safetensors").read_bytes()
        if not isinstance(info, dict) or info.get("format") != FORMAT:
            raise BadInput(f"checkpoint {name} is of a format that this version does not read")
        if hashlib.sha256(content).hexdigest() != info["sha256"]:
            raise BadInput(f"checkpoint {name} is damaged (its SHA-256 does not match)")
        return load(content), info
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, SafetensorError) as error:
        raise BadInput(f"checkpoint {name} is damaged ({error})") from error


def _remove(folder: Path, step: int) -> None:
    stem = folder / f"step-{step:08d}"
    for suffix in (".json", ".safetensors"):
        stem.with_suffix(suffix).unlink(missing_ok=True)
