"""E21: the geometry score: toys whose holes are known, and a collapsed DCGAN that the Inception score passes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from distmatch.metrics import mean_relative_living_times
from distmatch.reproduction.framework.common import (
    Judge,
    Value,
    digits,
    digits_of,
    finished,
    kept,
    mean_curve,
    sized,
    thin,
    value,
)
from distmatch.reproduction.framework.experiment import (
    Bench,
    Cell,
    Claim,
    Experiment,
    Numbers,
    Results,
    Scale,
)
from distmatch.reproduction.framework.verdict import Expected

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HOLES = {"circle": 1, "disk": 0, "half-circle": 0, "two circles": 2, "three circles": 3}
IMAGES = {"test": "test images", "train": "training images", "dcgan": "DCGAN", "bad-dcgan": "bad DCGAN"}
SHOWN = 6  # numbers of holes in the toys' panels
SOURCE = "seed 000, Geometry Score"


def cells(scale: Scale) -> list[Cell]:
    """Toys, then images."""
    return [{"set": name} for name in (*HOLES, *IMAGES)]


def toy(name: str, count: int, seed: int) -> Tensor:
    """Points (count, 2) of one of the toys."""
    generator = torch.Generator().manual_seed(seed)
    angle, radius = (
        2 * math.pi * torch.rand(count, generator=generator),
        torch.rand(count, generator=generator),
    )
    number = {"two circles": 2, "three circles": 3}.get(name, 1)
    which = torch.randint(number, (count,), generator=generator)
    circle = torch.stack([angle.cos(), angle.sin()], 1)
    if name == "disk":
        return circle * radius.sqrt()[:, None]
    if name == "half-circle":
        return torch.stack([(angle / 2).cos(), (angle / 2).sin()], 1)
    return circle + torch.stack([2.5 * which, torch.zeros(count)], 1)


def run(cell: Cell, seed: int, bench: Bench) -> Numbers:
    """Mean relative living times, and for images their scores."""
    scale, name = bench.scale, str(cell["set"])
    if name in HOLES:
        points = toy(name, sized(scale, 300, 5000, 5000), seed)
        plane = {"landmarks": 32, "gamma": 1 / 8, "i_max": 10, "draws": sized(scale, 10, 100, 100)}
        times = mean_relative_living_times(points, seed=seed, jobs=1, **plane).mean  # type: ignore[arg-type]
        return Numbers({"own": float(times[HOLES[name]])}, {"times": thin(times.tolist())})
    count = sized(scale, 100, 2000, 10_000)
    real = digits(bench, "test", count)
    if name in ("test", "train"):
        images = digits(bench, name, count)
    elif (trained := finished(settings_of(name, scale), seed, bench)) is not None:
        images = trained.sample(count, seed)
    else:
        return Numbers({"diverged": 1.0})
    draws = sized(scale, 4, 100, 1000)
    times = mean_relative_living_times(images, draws=draws, seed=seed, jobs=1).mean
    judge = Judge(count, seed)
    return Numbers(judge.of(images, judge.features(real)), {"times": thin(times.tolist())})


def settings_of(name: str, scale: Scale) -> dict[str, Any]:
    """A DCGAN, and a bad one as in the paper: smaller nets and a code of 8."""
    bad = name == "bad-dcgan"
    return {
        **digits_of(scale),
        "system": "dcgan",
        "network.width": sized(scale, 4, 4 if bad else 16, 8 if bad else 64),
        "network.latent": 8 if bad else sized(scale, 8, 64, 100),
        "training.lr": sized(scale, 5e-4, 5e-4, 2e-4),
        "training.ema": sized(scale, 0.5, 0.99, 0.999),
        "training.precision": sized(scale, "float32", "bf16", "float32"),
        "training.steps": sized(scale, 10, 1000, 20_000),
    }


def score(name: str) -> Value:
    """The geometry score of a set of images against test images: Σ_i (MRLT(i) - MRLT'(i))²."""

    def squared(results: Results) -> list[float]:
        pairs = zip(results.curves("times", set=name), results.curves("times", set="test"), strict=True)
        return [sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for x, y in pairs]

    return squared


def toys_apart(results: Results) -> list[float]:
    """The geometry score of a circle against a disk."""
    pairs = zip(results.curves("times", set="circle"), results.curves("times", set="disk"), strict=True)
    return [sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for x, y in pairs]


def ratio_of_scores(results: Results) -> list[float]:
    """The bad DCGAN's geometry score over the good one's."""
    return [
        a / max(b, 1e-12) for a, b in zip(score("bad-dcgan")(results), score("dcgan")(results), strict=True)
    ]


def inception_lost(results: Results) -> list[float]:
    """Share by which the bad DCGAN's Inception score is below the good one's."""
    pairs = zip(*(results.values("inception", set=name) for name in ("bad-dcgan", "dcgan")), strict=True)
    return [1 - a / b for a, b in pairs]


def figures(results: Results) -> Mapping[str, Figure]:
    """Living times of the toys and of the images."""
    from distmatch.reports.style import COLOURS, legend, new_figure, styled

    @styled
    def gallery() -> Figure:
        figure, panels = new_figure(2, len(HOLES), (1.6, 1.6))
        for k, name in enumerate(HOLES):
            points = toy(name, 1500, 0)
            panels[k].plot(points[:, 0], points[:, 1], ",", color=COLOURS[k])
            panels[k].set(title=name, aspect="equal", xticks=[], yticks=[])
            below, curves = panels[k + len(HOLES)], kept(results, "times", set=name)
            if curves:
                heights = [sum(c[i] for c in curves) / len(curves) for i in range(SHOWN)]
                below.bar(range(SHOWN), heights, color=COLOURS[k])
            below.set(xlabel="holes", ylim=(0, 1), xticks=range(SHOWN))
        panels[len(HOLES)].set_ylabel("share of scales")
        return figure

    @styled
    def images() -> Figure:
        figure, [axes] = new_figure(1, 1, (4.8, 3.0))
        for (name, title), colour in zip(IMAGES.items(), COLOURS, strict=False):
            curves = kept(results, "times", set=name)
            mean_curve(axes, range(len(curves[0])) if curves else [], curves, title, colour)
        axes.set(xlabel="one-dimensional holes", ylabel="share of scales (95 % over seeds)", ylim=(0, None))
        legend(axes)
        return figure

    return {"toys": gallery(), "images": images()}


E21 = Experiment(
    name="E21",
    title="The geometry score: toys, and a DCGAN that has collapsed",
    seed="000",
    about="Toys of 5,000 points, 32 landmarks, γ = 1/8, 100 draws, as in the authors' code. The paper's images are "
    "CelebA; here MNIST, 2,000 images of each kind, 64 landmarks and 100 draws at the scale cpu. As in the paper the "
    "bad DCGAN has smaller nets (4 maps against 16) and a code of 8; both take 1,000 steps.",
    cells=cells,
    run=run,
    claims=(
        *(
            Claim(
                f"Mean relative living times tell how many holes there are: {name}.",
                f"{SOURCE}, figure of toys",
                f"share of scales with {holes} hole{'s' * (holes != 1)}",
                value("own", {"set": name}),
                Expected(low=0.5),
            )
            for name, holes in HOLES.items()
        ),
        Claim(
            "The score of a circle against a disk is the published one.",
            "the authors' notebook: 1.83, reruns 1.85 to 1.87",
            "geometry score",
            toys_apart,
            Expected(low=1.75, high=1.95),
        ),
        Claim(
            "The geometry score tells a collapsed DCGAN from a good one.",
            f"{SOURCE}, figure of CelebA",
            "geometry score against test images, bad DCGAN over good one",
            ratio_of_scores,
            Expected(low=2.0),
        ),
        Claim(
            "The Inception score barely shows a difference.",
            f"{SOURCE}, figure of CelebA",
            "share of the good DCGAN's Inception score that the bad one lacks",
            inception_lost,
            Expected(low=-0.1, high=0.1),
        ),
    ),
    figures=figures,
)
