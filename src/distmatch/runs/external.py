"""Measuring samples of a model that was trained elsewhere."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from distmatch.data import DataSet, load, to_unit
from distmatch.errors import BadInput
from distmatch.files import put
from distmatch.metrics import Model, Options, Results
from distmatch.metrics import evaluate as run_bench
from distmatch.metrics.features.nets import feature_net
from distmatch.reports.grids import image_grid, png_bytes
from distmatch.reports.html import RunView, write_report
from distmatch.revision import revision
from distmatch.runs.pictures import save_plots
from distmatch.runs.view import saved_plots

SHOWN = 64


def diagnose(
    path: Path,
    data_name: str,
    data_dir: Path | None,
    out: Path,
    *,
    only: Iterable[str] | None = None,
    samples: int = Options.samples,
    seed: int = 0,
    quick: bool = False,
    features: str | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> tuple[Results, list[str]]:
    """Measure the samples in a file against a data set; `metrics.json`, `figures/` and `report.html` are written.

    Args:
        path: a .npy or .npz file, as `read_samples` takes it.
        data_name, data_dir: the data set and the folder of its files.
        out: the folder that is written to.
        only, samples, seed, quick, progress: as in `distmatch.metrics.evaluate`; features: the feature net's name.

    Returns:
        What was measured, and sentences on how the file was read.
    """
    net = None if features is None else feature_net(features)
    data = load(data_name, data_dir)
    x, note = read_samples(path, data)
    model = model_of(x, data)
    results = run_bench(
        model,
        only=only,
        samples=min(samples, len(x)),
        seed=seed,
        quick=quick,
        progress=progress,
        features=net,
    )
    out.mkdir(parents=True, exist_ok=True)
    shown = save_plots(out, results)
    about = {"samples": path.name, "n": len(x), "data": data.name, "seed": seed, "revision": revision()}
    content = {**about, **results.as_dict(), "plots": shown}
    put(out / "metrics.json", (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    pictures = {"Samples": png_bytes(image_grid(x[:SHOWN], columns=8))} if data.is_image else {}
    view = RunView(
        name=path.stem,
        environment={**about, "data": data.bits},
        metrics=results.as_dict()["metrics"],
        skipped=results.skipped,
        pictures=pictures,
        plots=saved_plots(out, shown),
        status=f"measured against {data.name}",
    )
    write_report(out / "report.html", [view])
    return results, [note] if note else []


def model_of(x: Tensor, data: DataSet) -> Model:
    """Samples and data as a model that can be measured. More samples than there are cannot be had."""

    def sample(n: int, seed: int) -> Tensor:
        if n > len(x):
            raise BadInput(f"needs {n} samples; the file holds {len(x)}")
        return x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:n]]

    prepare: Callable[[Tensor], Tensor] = to_unit if data.is_image else lambda values: values
    return Model(
        sample=sample,
        train=lambda: prepare(data.train.x),
        test=(lambda: prepare(data.test.x)) if len(data.test) else None,
        modes=data.modes,
        mode_scale=data.mode_scale,
        is_image=data.is_image,
        stacked_digits=data.name == "stacked-mnist",
    )


def read_samples(path: Path, data: DataSet) -> tuple[Tensor, str]:
    """The samples as the data's own shape: images (n, c, h, w) in [0, 1], float32.

    Bytes are divided by 255; numbers that reach below zero are taken to lie in [-1, 1].

    Returns:
        The samples, and a sentence where something was assumed.

    Raises:
        BadInput: no such file or none of numpy's, another shape than the data's, values outside, NaN, fewer than two.
    """
    array = _array(path)
    if array.dtype.kind not in "uif":
        raise BadInput(f"{path} holds {array.dtype}; give numbers")
    x = torch.from_numpy(np.ascontiguousarray(array))
    x = _shaped(x, data, path)
    if len(x) < 2:
        raise BadInput(f"{path} holds {len(x)} samples; give at least two")
    if not torch.isfinite(x.double()).all():
        raise BadInput(f"{path} holds NaN or infinite values")
    return (x.float(), "") if not data.is_image else _unit(x, path)


def _array(path: Path) -> NDArray[Any]:
    try:
        content = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, zipfile.BadZipFile):
        raise BadInput(f"{path} is no .npy or .npz file of numbers; save one with numpy.save") from None
    if isinstance(content, np.ndarray):
        return content
    with content:
        if len(content.files) != 1:
            raise BadInput(f"{path} holds {len(content.files)} arrays; give a file with one")
        array: NDArray[Any] = content[content.files[0]]
    return array


def _shaped(x: Tensor, data: DataSet, path: Path) -> Tensor:
    """Grey images may lack their channel, and channels may come last."""
    got = tuple(x.shape)
    if data.is_image and x.ndim == 3 and data.shape[0] == 1:
        x = x[:, None]
    if (
        data.is_image
        and x.ndim == 4
        and x.shape[1:] != data.shape
        and x.movedim(-1, 1).shape[1:] == data.shape
    ):
        x = x.movedim(-1, 1)
    if x.shape[1:] != data.shape:
        raise BadInput(f"{path} has shape {got}; {data.name} needs (n, {', '.join(map(str, data.shape))})")
    return x


def _unit(x: Tensor, path: Path) -> tuple[Tensor, str]:
    if x.dtype == torch.uint8:
        return to_unit(x), ""
    x = x.float()
    low, high = float(x.min()), float(x.max())
    if low < -1.001 or high > 1.001:
        raise BadInput(
            f"{path} has values from {low:.4g} to {high:.4g}; give bytes (uint8), or numbers in [0, 1] or [-1, 1]"
        )
    if low < -0.001:
        return ((x + 1) / 2).clamp(
            0, 1
        ), f"values of {path} reach {low:.2g}, so they are read as lying in [-1, 1]"
    return x.clamp(0, 1), ""
