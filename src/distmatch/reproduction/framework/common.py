"""Parts of the experiments of seeds 000 and 003: sizes, training with measurements on the way, scores, figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from distmatch.data import load, to_unit
from distmatch.metrics import (
    FeatureNet,
    frechet_distance,
    image_features,
    inception_score,
)
from distmatch.metrics.features.classifiers import load_classifier
from distmatch.metrics.seeds import interval, named
from distmatch.reproduction.framework.experiment import Bench, Results, Scale
from distmatch.reproduction.framework.sweeps import Value, difference
from distmatch.reproduction.framework.train import config_of, train_run
from distmatch.runs.build import assemble
from distmatch.runs.folder import RunFolder
from distmatch.runs.model import Trained, finalize, load_trained
from distmatch.training import Diverged

if TYPE_CHECKING:
    from matplotlib.axes import Axes

T = TypeVar("T")
POINTS = 200  # of a curve that is kept, at most
LEVELS, TOGETHER = 16, 13  # grey levels of a kept picture; pixels to a number: 13 · 4 bits < 2⁵³


def sized(scale: Scale, smoke: T, cpu: T, paper: T) -> T:
    """The value for this scale."""
    return {"smoke": smoke, "cpu": cpu, "paper": paper}[scale]


def digits_of(scale: Scale) -> dict[str, Any]:
    """MNIST, or at the scale smoke the small digits that need no files."""
    return {"data.name": sized(scale, "digits", "mnist", "mnist")}


def digits(bench: Bench, split: str, count: int) -> Tensor:
    """The first images of a split of `digits_of`, in [0, 1]."""
    data = load(digits_of(bench.scale)["data.name"], bench.data_dir)
    return to_unit(getattr(data, split).x[:count])


@dataclass(frozen=True)
class Watched:
    """A run that was measured on its way: the last nets, the steps of the measurements, and their numbers."""

    trained: Trained
    steps: list[int]
    seen: dict[str, list[float]]
    losses: dict[str, list[float]]


def watched(
    settings: Mapping[str, Any],
    seed: int,
    bench: Bench,
    looks: int,
    look: Callable[[Trained], Mapping[str, float]],
) -> Watched | None:
    """Train in memory and measure the nets `looks` times, evenly; None where the run diverged.

    Args:
        settings: as of `train_run`, with `training.steps`.
        look: from the nets in evaluation mode to numbers.
    """
    assembly = assemble(config_of(settings, seed, bench))
    trainer, total = assembly.trainer, assembly.config.training.steps
    assert total is not None
    steps, seen, losses = [], dict[str, list[float]](), dict[str, list[float]]()
    try:
        for k in range(looks):
            steps.append((k + 1) * total // looks)
            for _ in range(steps[-1] - trainer.steps_done - 1):
                trainer.advance()
            norms = {n: float(v) for n, v in trainer.advance(norms=True).items() if n.startswith("gradient")}
            for name, number in {**trainer.collect(), **norms}.items():
                losses.setdefault(name, []).append(number)
            trainer.check()
            trained = finalize(assembly)
            for name, number in look(trained).items():
                seen.setdefault(name, []).append(number)
            if k + 1 < looks:
                for net in trainer.nets.values():
                    net.train()
    except Diverged:
        return None
    return Watched(trained, steps, seen, losses)


def finished(settings: Mapping[str, Any], seed: int, bench: Bench, name: str = "run") -> Trained | None:
    """The nets that `train_run` leaves, with one sample grid at its end; None where the run diverged."""
    more = {"training.sample_every": settings["training.steps"]} if "training.steps" in settings else {}
    path = train_run({**settings, **more}, seed, bench, name)
    return None if path is None else load_trained(RunFolder.open(path))[0]


def at_28(images: Tensor) -> Tensor:
    """Grey images of 28×28 for the shipped classifier: the small digits three times as large, with a margin."""
    images = images.clamp(0, 1)
    return images if images.shape[-1] == 28 else F.pad(F.interpolate(images, scale_factor=3.0), (2, 2, 2, 2))


class Judge:
    """Fréchet distance to real images and Inception score (of one part), by the shipped classifier of MNIST.

    Real images go through the classifier once. Heusel et al., arXiv:1706.08500; Salimans et al., arXiv:1606.03498.

    Arguments:
        count: samples and real images at most.
        seed: of the samples.
    """

    def __init__(self, count: int, seed: int) -> None:
        self.count, self.seed = count, seed
        self.name, self.net, _ = load_classifier()
        self.known: Tensor | None = None

    def __call__(self, trained: Trained) -> dict[str, float]:
        """Scores of a run's samples, against its held-out data without any lens."""
        if self.known is None:
            self.known = self.features(trained.prepared("test", self.count))
        return self.of(trained.sample(self.count, self.seed), self.known)

    def of(self, images: Tensor, known: Tensor) -> dict[str, float]:
        """Scores of these images, against the features of real ones."""
        features = self.features(images)
        with torch.no_grad():
            score = inception_score(self.net.logits(features), splits=1)
        return {"frechet": frechet_distance(known, features).value, "inception": score.value}

    def features(self, images: Tensor) -> Tensor:
        """The classifier's features of images, (n, 128)."""
        return image_features(FeatureNet(self.name, self.net.features), at_28(images))


def thin(values: Sequence[float]) -> list[float]:
    """At most `POINTS` of the values, evenly spaced, the last among them, to five digits.

    >>> thin([1.0, 2.123456789])
    [1.0, 2.1235]
    """
    every = math.ceil(len(values) / POINTS)
    return [float(f"{v:.5g}") for v in values[(len(values) - 1) % every :: every]] if values else []


def pack(images: Tensor) -> list[float]:
    """Pictures `(n, 1, h, w)` in [0, 1] as few whole numbers: 16 grey levels, 13 pixels in each number."""
    levels = (images.clamp(0, 1) * (LEVELS - 1)).round().long().flatten(1)
    rows = F.pad(levels, (0, -levels.shape[1] % TOGETHER)).view(-1, TOGETHER)
    return [float(v) for v in (rows * LEVELS ** torch.arange(TOGETHER)).sum(1)]


def unpack(numbers: Sequence[float], side: int) -> Tensor:
    """The inverse of `pack`, `(n, side, side)`.

    >>> images = torch.tensor([[[[0.0, 0.2], [1.0, 0.6]]]])
    >>> unpack(pack(images), 2)
    tensor([[[0.0000, 0.2000],
             [1.0000, 0.6000]]])
    """
    each = math.ceil(side * side / TOGETHER)
    whole = torch.tensor(numbers, dtype=torch.float64).long()[:, None]
    levels = whole // LEVELS ** torch.arange(TOGETHER) % LEVELS
    return levels.view(-1, each * TOGETHER)[:, : side * side].view(-1, side, side) / (LEVELS - 1)


def show(axes: Axes, images: Tensor, columns: int) -> None:
    """Pictures `(n, h, w)` in rows, black on white."""
    n, h, w = images.shape
    sheet = F.pad(images, (1, 1, 1, 1)).view(n // columns, columns, h + 2, w + 2)
    sheet = sheet.permute(0, 2, 1, 3).reshape(n // columns * (h + 2), columns * (w + 2))
    axes.imshow(1 - sheet.numpy(), cmap="gray", vmin=0, vmax=1, interpolation="nearest")
    axes.set_axis_off()


def kept(results: Results, name: str, **where: str | int | float) -> list[Sequence[float]]:
    """A curve of the runs that have it: not of those that diverged, nor of seeds that kept none."""
    curves = [record.numbers.curves.get(name, ()) for record in results.of(**where)]
    return [curve for curve in curves if len(curve)]


def label_of(label: str, results: Results, name: str, **where: str | int | float) -> str:
    """The label of what `kept` gives, with how many of the runs diverged and are not in it."""
    runs = results.of(**where)
    return named(label, [0.0 if len(run.numbers.curves.get(name, ())) else math.nan for run in runs])


def numbers(results: Results, name: str, **where: str | int | float) -> list[float]:
    """A number of one cell, for each seed; NaN where the run diverged."""
    return [record.numbers.values.get(name, math.nan) for record in results.of(**where)]


def value(name: str, cell: Mapping[str, Any]) -> Value:
    """The number in this cell."""
    return lambda results: results.values(name, **cell)


def cell_difference(name: str, a: Mapping[str, Any], b: Mapping[str, Any]) -> Value:
    """Return the number in cell a less that in cell b, paired by seed."""
    return difference(value(name, a), value(name, b))


def mean_curve(
    axes: Axes, x: Sequence[float], curves: Sequence[Sequence[float]], label: str, colour: str
) -> None:
    """The mean over seeds with its 95 % interval; nothing where no run has the curve."""
    if not curves:
        return
    middle, reach = zip(*(interval(values) for values in zip(*curves, strict=True)), strict=True)
    axes.plot(x, middle, color=colour, label=label)
    low, high = ([m + s * r for m, r in zip(middle, reach, strict=True)] for s in (-1, 1))
    axes.fill_between(x, low, high, color=colour, alpha=0.2, linewidth=0)


def mean_rows(axes: Axes, values: Mapping[str, Sequence[float]], colours: Sequence[str]) -> None:
    """Means over seeds with their 95 % intervals, and every seed as a dot; where some diverged, no mean."""
    for k, of_seeds in enumerate(values.values()):
        if of_seeds:
            middle, reach = interval(of_seeds)
            axes.barh(k, middle, xerr=reach, color=colours[k % len(colours)], alpha=0.75, ecolor="#333333")
            axes.plot(of_seeds, [k] * len(of_seeds), ".", color="#333333", markersize=4)
    axes.set_yticks(range(len(values)), [named(*row) for row in values.items()])
    axes.invert_yaxis()


def correlation(x: Sequence[float], y: Sequence[float]) -> float:
    """Spearman's rank correlation; 0 where one of them does not vary.

    >>> correlation([1, 2, 3], [1, 4, 9])
    1.0
    """
    from scipy.stats import spearmanr

    if len(set(x)) < 2 or len(set(y)) < 2:
        return 0.0
    return float(spearmanr(x, y).statistic)
