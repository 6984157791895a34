"""Folders in which files are looked for, and one clear sentence when a file cannot be read."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from distmatch.data.splits import Request
from distmatch.errors import BadInput

ELSEWHERE = "set DISTMATCH_DATA to a folder you can write in"  # where the cache cannot be written
AGAIN = "fetch it again, or name another folder with --data-dir"


def cache_folder() -> Path:
    """`$DISTMATCH_DATA` if set, otherwise the platform's cache folder."""
    if folder := os.environ.get("DISTMATCH_DATA"):
        return Path(folder).expanduser()
    import pooch

    return Path(pooch.os_cache("distmatch"))


def existing_folder(folder: Path) -> Path:
    """The folder itself; raises `BadInput` if it is not there, or is not a folder."""
    if os.path.isdir(folder):
        if os.access(folder, os.R_OK | os.X_OK):
            return folder
        raise BadInput(f"data folder {folder} may not be read (no permission); give yourself the right to")
    what = "is a file, not a folder" if os.path.exists(folder) else "does not exist or may not be read"
    raise BadInput(f"data folder {folder} {what}; give a folder with --data-dir")


def folders(request: Request, *names: str) -> list[Path]:
    """Folders to look in, in order: `D/<name>` for each name, then `D` itself; without D the cache folder."""
    if request.data_dir is None:
        return [cache_folder() / names[0]]
    root = existing_folder(request.data_dir)
    return [f for f in (*(root / name for name in names), root) if os.path.isdir(f)]


@contextmanager
def reading(path: Path, *damage: type[Exception]) -> Iterator[None]:
    """Turns what a damaged or forbidden file raises (and `damage`) into one `BadInput` that names it."""
    signs: tuple[type[Exception], ...] = (OSError, EOFError, zlib.error, *damage)
    try:
        yield
    except BadInput:
        raise
    except FileNotFoundError as error:
        raise BadInput(
            f"{path} does not exist; put it there, or name another folder with --data-dir"
        ) from error
    except PermissionError as error:
        raise BadInput(
            f"{path} may not be read (no permission); give yourself the right to read it"
        ) from error
    except IsADirectoryError as error:
        raise BadInput(f"{path} is a folder where a file is expected; {AGAIN}") from error
    except signs as error:
        why = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise BadInput(f"{path} is damaged or cannot be read ({why}); {AGAIN}") from error


def missing(name: str, files: str, looked: list[Path]) -> BadInput:
    """The error for a data set whose files are in none of the folders where they were looked for."""
    where = " or ".join(str(f) for f in looked)
    return BadInput(f"{name}: no files found; put {files} in {where}, or name their folder with --data-dir")
