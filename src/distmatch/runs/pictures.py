"""The pictures that a run leaves in `samples/`: grids of images, scatter plots of toys."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch.distributions import TransformedDistribution

from distmatch.files import put
from distmatch.metrics import Results
from distmatch.random import own_randomness
from distmatch.reports.figures import figure_to_svg, scatter_2d
from distmatch.reports.grids import image_grid, png_bytes, reconstruction_grid
from distmatch.reports.plots import drawn
from distmatch.runs.build import Assembly
from distmatch.runs.folder import RunFolder
from distmatch.runs.model import Trained, finalize

COUNT = 64
SCATTERED = 2500
GRID_SEED = 0
PICTURE = re.compile(r"step-\d+\.(png|svg)")


def save_samples(assembly: Assembly, folder: RunFolder, step: int, trained: Trained | None = None) -> None:
    """Samples of fixed prior draws at a step: the same z each time, so that one sees them grow."""
    if "decoder" not in assembly.objective.uses:
        return
    try:
        _save_samples(assembly, folder, step, trained or finalize(assembly))
    finally:
        for net in assembly.trainer.nets.values() if trained is None else ():
            net.train()


def _save_samples(assembly: Assembly, folder: RunFolder, step: int, model: Trained) -> None:
    stem = folder.samples / f"step-{step:08d}"
    if assembly.data.is_image:
        columns = (
            assembly.data.num_classes if assembly.objective.labels and assembly.data.num_classes <= 16 else 8
        )
        x = model.sample(COUNT if columns == 8 else 6 * columns, GRID_SEED)
        put(stem.with_suffix(".png"), png_bytes(image_grid(x.clamp(0, 1), columns=columns)))
    elif assembly.data.shape == (2,):
        x = model.sample(SCATTERED, GRID_SEED)
        data = assembly.data.test.x[:SCATTERED]
        put(stem.with_suffix(".svg"), figure_to_svg(scatter_2d(x, data, assembly.data.modes)).encode())


def save_reconstructions(trained: Trained, folder: RunFolder) -> None:
    """Test images over their reconstructions, where there is an encoder."""
    assembly = trained.assembly
    both = {"encoder", "decoder"} <= trained.nets.keys()
    if not (both and assembly.data.is_image and len(assembly.data.test)):
        return
    x = trained.prepared("test", COUNT // 2)
    y = trained.labels("test")
    with torch.no_grad(), own_randomness(GRID_SEED):
        code = trained.encode(x, None if y is None else y[: len(x)])
        z = code.sample() if isinstance(code, TransformedDistribution) else code.mean
    x_rec = trained.decoded(z, None if y is None else y[: len(x)])
    put(folder.path / "reconstructions.png", png_bytes(reconstruction_grid(x, x_rec.clamp(0, 1), columns=8)))


def save_plots(folder: Path, results: Results) -> dict[str, list[dict[str, str]]]:
    """Draw what the metrics show into `figures/`.

    Returns:
        For each metric, the captions and the files' places in the folder.
    """
    saved: dict[str, list[dict[str, str]]] = {}
    for name, plots in results.plots.items():
        for number, plot in enumerate(plots, 1):
            picture = drawn(plot)
            kind, content = ("svg", picture.encode()) if isinstance(picture, str) else ("png", picture)
            place = f"figures/{name}-{number}.{kind}"
            (folder / "figures").mkdir(exist_ok=True)
            put(folder / place, content)
            saved.setdefault(name, []).append({"caption": plot.caption, "file": place})
    return saved


def newest_samples(folder: RunFolder) -> Path | None:
    """The last picture of samples."""
    grids = sorted(p for p in folder.samples.glob("step-*") if PICTURE.fullmatch(p.name))
    return grids[-1] if grids else None
