"""Pictures into bytes: decoded with Pillow, cut square, resized, and kept in the cache as one `.npy` file."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch
from torch import Tensor

from distmatch.data.places import ELSEWHERE, cache_folder
from distmatch.errors import BadInput
from distmatch.files import cannot_write

if TYPE_CHECKING:
    from PIL import Image

T = TypeVar("T")
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
BLOCK = 256


def decode(what: Path | bytes, name: str) -> Image.Image:
    """The picture in a file or in memory, upright, as 8-bit RGB. Raises `BadInput`, which names it."""
    from PIL import Image, ImageOps

    try:
        with Image.open(what if isinstance(what, Path) else io.BytesIO(what), formats=FORMATS) as image:
            if image.mode.startswith(("I", "F")):
                raise BadInput(f"{name} has more than 8 bits a channel; convert it to 8 bits")
            upright = ImageOps.exif_transpose(image)
            return upright.convert("RGB")
    except (BadInput, MemoryError):
        raise
    except PermissionError as error:
        raise BadInput(
            f"{name} may not be read (no permission); give yourself the right to read it"
        ) from error
    except Exception as error:  # a decoder may raise anything at damaged bytes
        why = "it is not a picture that can be read" if "cannot identify" in str(error) else str(error)
        raise BadInput(f"{name} is damaged or not an image ({why}); remove it or fetch it again") from error


def square(image: Image.Image, size: int, side: int | None = None) -> np.ndarray:
    """The centre square of the given side (default: the shorter one), resized: uint8 `(3, size, size)`.

    Cut first, so that nothing outside the square is mixed in; bicubic with Pillow's own antialiasing.
    """
    from PIL import Image

    w, h = image.size
    side = min(w, h) if side is None else side
    left, top = (w - side) // 2, (h - side) // 2
    cut = image.crop((left, top, left + side, top + side))
    out = cut.resize((size, size), Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(out).transpose(2, 0, 1))


def in_threads(function: Callable[[T], np.ndarray], items: Sequence[T]) -> Iterator[np.ndarray]:
    """`map`, in order, over a few threads (decoders release the lock), a bounded number at a time."""
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for i in range(0, len(items), BLOCK):
            yield from pool.map(function, items[i : i + BLOCK])


def fingerprint(path: Path) -> str:
    """A file's name, time and size: changes when the file does."""
    stat = path.stat()
    return f"{os.path.abspath(path)}\0{stat.st_mtime_ns}\0{stat.st_size}"


def cached(
    name: str, key: Iterable[str], shape: tuple[int, ...], rows: Callable[[], Iterable[np.ndarray]]
) -> Tensor:
    """The uint8 tensor of this shape made of `rows()`, mapped from the cache, where it is made only once.

    key: strings that change whenever the content does. The file is written under a temporary name and
    then renamed, so it is never half there. Raises `BadInput` if the cache cannot be written.
    """
    text = "\n".join([repr(shape), *key])
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]
    path = cache_folder() / name / f"{digest}.npy"
    with suppress(OSError, ValueError, EOFError):
        return _mapped(path, shape)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, shape, rows())
        return _mapped(path, shape)
    except OSError as error:
        raise cannot_write(path, error, ELSEWHERE) from error


def _mapped(path: Path, shape: tuple[int, ...]) -> Tensor:
    array = np.load(path, mmap_mode="c", allow_pickle=False)
    if array.shape != shape or array.dtype != np.uint8:
        raise ValueError(f"{path} is not what was kept there")
    return torch.from_numpy(array)


def _write(path: Path, shape: tuple[int, ...], rows: Iterable[np.ndarray]) -> None:
    handle, temporary = tempfile.mkstemp(prefix=path.stem, suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as out:
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(out, header)
            for row in rows:
                out.write(np.ascontiguousarray(row).data)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
