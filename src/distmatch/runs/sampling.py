"""Samples of a run, into a file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from distmatch.data import DataSet
from distmatch.errors import BadInput
from distmatch.files import put
from distmatch.reports.figures import figure_to_svg, scatter_2d
from distmatch.reports.grids import image_grid, png_bytes
from distmatch.runs.folder import RunFolder
from distmatch.runs.model import load_trained


def sample_to(
    path: Path, n: int, out: Path | None = None, seed: int = 0, label: int | None = None
) -> tuple[Path, list[str]]:
    """Draw n samples from the run at `path` into `out`: a .png grid, a .svg scatter plot or a .npy array.

    Args:
        path: the run folder.
        n: how many.
        out: the file; its ending says which kind. By default samples.png of images, samples.svg of points in the
            plane, samples.npy of other data.
        seed: of the prior draws.
        label: the class, for a conditional system; None draws all classes in turn.

    Returns:
        The file, and sentences as of `load_trained`.

    Raises:
        BadInput: a count below 1, an ending that is not known or does not fit the data, a label that is none.
    """
    if n < 1:
        raise BadInput(f"{n} samples were asked for; give at least 1")
    if out is not None:
        _check_place(out)
    trained, notes = load_trained(RunFolder.open(path))
    data, labels = trained.assembly.data, trained.assembly.objective.labels
    if label is not None and not labels:
        raise BadInput("this system is not given labels; leave --label out")
    if label is not None and not 0 <= label < data.num_classes:
        raise BadInput(
            f"label {label} is not one of the {data.num_classes} classes, 0 to {data.num_classes - 1}"
        )
    out = out or Path("samples" + (".png" if data.is_image else ".svg" if data.shape == (2,) else ".npy"))
    if out.suffix == ".png" and not data.is_image:
        raise BadInput(f"{data.name} has no images: take a .svg or .npy file")
    if out.suffix == ".svg" and data.shape != (2,):
        raise BadInput(f"a scatter plot is for points in the plane; {data.name} has shape {data.shape}")
    x = trained.sample(n, seed, None if label is None else torch.full((n,), label))
    put(out, _content(x, out.suffix, data))
    return out, notes


def _check_place(out: Path) -> None:
    if out.suffix not in (".png", ".svg", ".npy"):
        raise BadInput(f"{out} is of no kind that is known; give an --out that ends in .png, .svg or .npy")
    if not out.parent.is_dir():
        raise BadInput(f"there is no folder {out.parent}; make it, or give another --out")


def _content(x: Tensor, suffix: str, data: DataSet) -> bytes:
    if suffix == ".png":
        return png_bytes(image_grid(x.clamp(0, 1)))
    if suffix == ".svg":
        return figure_to_svg(scatter_2d(x, data.test.x[: len(x)], data.modes)).encode()
    buffer = io.BytesIO()
    np.save(buffer, x.numpy(), allow_pickle=False)
    return buffer.getvalue()
