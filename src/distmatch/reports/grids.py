"""Pictures of samples: grids with visible pixels, and reconstructions under their originals."""

from __future__ import annotations

import io
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from distmatch.errors import BadInput
from distmatch.files import put

if TYPE_CHECKING:
    from PIL import Image

TILE = 56  # the side, in pixels on the screen, that small images are enlarged to
NOT_A_NUMBER = (213, 94, 0)  # vermillion: pixels that are nan or infinite are shown, not hidden
BLANK = 255


def image_grid(
    images: Any, columns: int | None = None, scale: int | None = None, gap: int = 1
) -> Image.Image:
    """Images in rows, each enlarged by a whole factor with its pixels kept sharp.

    Arguments:
        images: tensor or array (n, c, h, w) in [0, 1]; one channel is grey, two are averaged, of more than
            three the first three are shown. Values outside are clipped; nan and inf are painted vermillion.
        columns: images per row; by default the grid is about square.
        scale: the whole factor; by default small images become about 56 pixels high.
        gap: white pixels between images, before enlarging.

    >>> image_grid(np.zeros((6, 1, 28, 28)), columns=3).size  # 2 * (3 * 28 + 2)
    (172, 114)
    """
    tiles = _to_bytes(images)
    columns = _whole("columns", columns, math.ceil(math.sqrt(len(tiles))))
    rows = [tiles[i : i + columns] for i in range(0, len(tiles), columns)]
    return _compose(rows, [gap] * (len(rows) - 1), min(columns, len(tiles)), gap, scale)


def reconstruction_grid(
    x: Any, x_rec: Any, columns: int | None = None, scale: int | None = None, gap: int = 1
) -> Image.Image:
    """Rows of originals x, each with the row of its reconstructions x̂ right below; pairs stand apart.

    Arguments:
        x, x_rec: tensors or arrays (n, c, h, w) in [0, 1], paired by their index.
        columns: pairs per row; by default at most 8.

    >>> reconstruction_grid(np.zeros((4, 1, 8, 8)), np.ones((4, 1, 8, 8)), columns=4, scale=1).size
    (35, 17)
    """
    originals, reconstructions = _to_bytes(x), _to_bytes(x_rec)
    if originals.shape != reconstructions.shape:
        raise BadInput(
            f"originals {_shape(x)} and reconstructions {_shape(x_rec)} differ in shape; "
            "give each image with its own reconstruction"
        )
    columns = _whole("columns", columns, min(8, len(originals)))
    rows: list[NDArray[np.uint8]] = []
    for i in range(0, len(originals), columns):
        rows += [originals[i : i + columns], reconstructions[i : i + columns]]
    gaps = [gap if i % 2 == 0 else 3 * gap + 1 for i in range(len(rows) - 1)]
    return _compose(rows, gaps, min(columns, len(originals)), gap, scale)


def png_bytes(image: Image.Image) -> bytes:
    """The image as a PNG file in memory.

    >>> png_bytes(image_grid(np.zeros((1, 1, 2, 2))))[:4]
    b'\\x89PNG'
    """
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return buffer.getvalue()


def save_png(image: Image.Image, path: str | os.PathLike[str]) -> None:
    """Write a PNG file; a failure leaves the old file, or none."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    put(Path(path), png_bytes(image))


def _to_bytes(images: Any) -> NDArray[np.uint8]:
    """(n, c, h, w) in [0, 1] -> (n, h, w, 1 or 3) in 0..255."""
    array = images.detach().cpu().float().numpy() if hasattr(images, "detach") else np.asarray(images)
    if array.ndim != 4 or 0 in array.shape:
        raise BadInput(
            f"images have shape {tuple(array.shape)}; give at least one, as (n, channels, height, width)"
        )
    array = array.astype(np.float64)
    finite = np.isfinite(array)
    if array[finite].max(initial=0.0) > 2.0:
        raise BadInput(
            f"images reach {array[finite].max():.4g}; give values in [0, 1] (bytes: divide by 255)"
        )
    channels = array.shape[1]
    if channels == 2:
        array, finite = array.mean(axis=1, keepdims=True), finite.all(axis=1, keepdims=True)
    elif channels > 3:
        array, finite = array[:, :3], finite[:, :3]
    pixels = (
        np.rint(np.clip(np.where(finite, array, 0.0), 0.0, 1.0) * 255).astype(np.uint8).transpose(0, 2, 3, 1)
    )
    broken = ~finite.all(axis=1)
    if broken.any():
        pixels = np.broadcast_to(pixels, (*pixels.shape[:3], 3)).copy()
        pixels[broken] = NOT_A_NUMBER
    return pixels


def _compose(
    rows: list[NDArray[np.uint8]], gaps: list[int], columns: int, gap: int, scale: int | None
) -> Image.Image:
    """Rows (k, h, w, c) onto one white canvas; `gaps[i]` is the space below row i."""
    from PIL import Image

    _, h, w, _ = rows[0].shape
    channels = max(row.shape[3] for row in rows)
    scale = _whole("scale", scale, max(1, round(TILE / max(h, w))))
    canvas = np.full((h * len(rows) + sum(gaps), columns * (w + gap) - gap, channels), BLANK, dtype=np.uint8)
    top = 0
    for row, below in zip(rows, [*gaps, 0], strict=True):
        for k, tile in enumerate(row):
            canvas[top : top + h, k * (w + gap) : k * (w + gap) + w] = tile
        top += h + below
    canvas = canvas.repeat(scale, axis=0).repeat(scale, axis=1)
    return Image.fromarray(canvas[..., 0] if channels == 1 else canvas)


def _whole(name: str, value: int | None, default: int) -> int:
    if value is None:
        return default
    if value < 1:
        raise BadInput(f"{name} is {value}; give at least 1")
    return value


def _shape(images: Any) -> tuple[int, ...]:
    return tuple(images.shape)
