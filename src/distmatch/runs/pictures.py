"""The pictures that a run leaves in `samples/`: grids of images, scatter plots of toys."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from distmatch.report.figures import figure_to_svg, scatter_2d
from distmatch.report.grids import image_grid, reconstruction_grid, save_png
from distmatch.runs.folder import RunFolder
from distmatch.training.checkpoint import put

if TYPE_CHECKING:
    from distmatch.runs.assemble import Assembly
    from distmatch.runs.evaluation import Trained

COUNT = 64
SCATTERED = 2500
GRID_SEED = 0


def save_samples(assembly: Assembly, folder: RunFolder, step: int, trained: Trained | None = None) -> None:
    """Samples of fixed prior draws at a step: the same z each time, so that one sees them grow."""
    from distmatch.runs.evaluation import settle

    if "decoder" not in assembly.objective.uses:
        return
    training = trained is None
    model = settle(assembly) if trained is None else trained
    stem = folder.samples / f"step-{step:08d}"
    if assembly.data.is_image:
        columns = assembly.data.labels if assembly.objective.given and assembly.data.labels <= 16 else 8
        x = model.sample(COUNT if columns == 8 else 6 * columns, GRID_SEED)
        save_png(image_grid(x.clamp(0, 1), columns=columns), stem.with_suffix(".png"))
    elif assembly.data.shape == (2,):
        x = model.sample(SCATTERED, GRID_SEED)
        data = assembly.data.test.x[:SCATTERED]
        put(stem.with_suffix(".svg"), figure_to_svg(scatter_2d(x, data, assembly.data.modes)).encode())
    if training:
        for net in assembly.trainer.nets.values():
            net.train()


def save_reconstructions(trained: Trained, folder: RunFolder) -> None:
    """Test images over their reconstructions, where there is an encoder."""
    assembly = trained.assembly
    if not (assembly.data.is_image and {"encoder", "decoder"} <= trained.nets.keys()):
        return
    x = trained.prepared("test", COUNT // 2)
    y = trained.labels("test")
    with torch.no_grad():
        code = trained.encode(x, None if y is None else y[: len(x)]).mean
    x_rec = trained.decoded(code, None if y is None else y[: len(x)])
    save_png(reconstruction_grid(x, x_rec.clamp(0, 1), columns=8), folder.path / "reconstructions.png")


def newest_samples(folder: RunFolder) -> Path | None:
    """The last picture of samples."""
    found = sorted(folder.samples.glob("step-*.*"))
    return found[-1] if found else None
