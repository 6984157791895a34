"""Samples of a run, into a file."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from distmatch.errors import BadInput
from distmatch.report.figures import figure_to_svg, scatter_2d
from distmatch.report.grids import image_grid, png_bytes
from distmatch.runs.evaluation import load_trained
from distmatch.runs.folder import RunFolder
from distmatch.training.checkpoint import put


def sample_to(path: Path, n: int, out: Path, seed: int = 0, label: int | None = None) -> list[str]:
    """Draw n samples from the run at `path` into `out`: a .png grid, a .svg scatter plot or a .npy array.

    Args:
        path: the run folder.
        n: how many.
        out: the file; its ending says which kind.
        seed: of the prior draws.
        label: the class, for a conditional system; None draws all classes in turn.

    Returns:
        A sentence for each damaged checkpoint that was passed over.

    Raises:
        BadInput: a count below 1, an ending that is not known or does not fit the data, a label that is none.
    """
    if n < 1:
        raise BadInput(f"{n} samples were asked for; give at least 1")
    if out.suffix not in (".png", ".svg", ".npy"):
        raise BadInput(f"{out} must end in .png, .svg or .npy")
    trained, notes = load_trained(RunFolder.open(path))
    data, given = trained.assembly.data, trained.assembly.objective.given
    if label is not None and not given:
        raise BadInput("this system is not given labels; leave --label out")
    if label is not None and not 0 <= label < data.labels:
        raise BadInput(f"label {label} is not one of the {data.labels} classes, 0 to {data.labels - 1}")
    if out.suffix == ".png" and not data.is_image:
        raise BadInput(f"{data.name} has no images: take a .svg or .npy file")
    if out.suffix == ".svg" and data.shape != (2,):
        raise BadInput(f"a scatter plot is for points in the plane; {data.name} has shape {data.shape}")
    x = trained.sample(n, seed, None if label is None else torch.full((n,), label))
    if out.suffix == ".png":
        content = png_bytes(image_grid(x.clamp(0, 1)))
    elif out.suffix == ".svg":
        content = figure_to_svg(scatter_2d(x, data.test.x[:n], data.modes)).encode()
    else:
        buffer = io.BytesIO()
        np.save(buffer, x.numpy(), allow_pickle=False)
        content = buffer.getvalue()
    put(out, content)
    return notes
