"""Checkpoints that survive anything: written whole or not at all, and checked when read.

One checkpoint is `step-00001000.safetensors` and a JSON of the same name, which holds the SHA-256 of both. Each is
written to a temporary name, forced to the disk and renamed; the JSON comes last, so a checkpoint without one was
never finished. Two are kept, so that a damaged one has a good one before it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.files import put

FORMAT = 1
KEPT = 2
NAME = re.compile(r"step-(\d{8,})\.json")


def write(folder: Path, step: int, tensors: Mapping[str, Tensor], info: Mapping[str, Any]) -> None:
    """Add the checkpoint of a step, and drop all but the two newest.

    Raises:
        BadInput: the disk is full or the folder cannot be written; what was there before is as it was.
    """
    stem = folder / f"step-{step:08d}"
    content = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()})
    about = {"format": FORMAT, "step": step, **info}
    about["sha256"] = _digest(content, about)
    put(stem.with_suffix(".safetensors"), content)
    put(stem.with_suffix(".json"), json.dumps(about, indent=1).encode())
    for old in steps(folder)[:-KEPT]:
        _remove(folder, old)


def steps(folder: Path) -> list[int]:
    """The steps of all finished checkpoints, oldest first."""
    return sorted(int(name[1]) for p in folder.glob("step-*.json") if (name := NAME.fullmatch(p.name)))


def read_latest(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """The newest checkpoint that is whole.

    Returns:
        Its tensors, its JSON, and a sentence if newer ones were passed over as damaged.

    Raises:
        BadInput: there is none.
    """
    passed: list[str] = []
    for step in reversed(steps(folder)):
        try:
            tensors, info = _read(folder / f"step-{step:08d}")
            notes = [f"{'; '.join(passed)}; the one of step {step} is used"] if passed else []
            return tensors, info, notes
        except BadInput as error:
            passed.append(str(error))
    if passed:
        raise BadInput(f"no checkpoint in {folder} can be used: {'; '.join(passed)}")
    raise BadInput(f"{folder} holds no finished checkpoint")


def drop_after(folder: Path, step: int) -> None:
    """Remove checkpoints later than a step, and those that were never finished."""
    for later in steps(folder):
        if later > step:
            _remove(folder, later)
    finished = {f"step-{s:08d}" for s in steps(folder)}
    for path in folder.glob("step-*.safetensors"):
        if path.stem not in finished:
            path.unlink(missing_ok=True)


def _digest(content: bytes, about: Mapping[str, Any]) -> str:
    """The SHA-256 of the tensors and of what is said about them."""
    rest = json.dumps({k: v for k, v in about.items() if k != "sha256"}, sort_keys=True)
    return hashlib.sha256(content + rest.encode()).hexdigest()


def _read(stem: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    name = stem.name
    try:
        info = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
        content = stem.with_suffix(".safetensors").read_bytes()
        if not isinstance(info, dict) or info.get("format") != FORMAT:
            raise BadInput(f"checkpoint {name} is damaged, or of a format that this version does not read")
        if _digest(content, info) != info["sha256"]:
            raise BadInput(f"checkpoint {name} is damaged (its SHA-256 does not match)")
        return load(content), info
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, KeyError, SafetensorError) as error:
        raise BadInput(f"checkpoint {name} is damaged ({error})") from error


def _remove(folder: Path, step: int) -> None:
    stem = folder / f"step-{step:08d}"
    for suffix in (".json", ".safetensors"):
        stem.with_suffix(suffix).unlink(missing_ok=True)
