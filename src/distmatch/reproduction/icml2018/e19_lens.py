"""E19: the lens: what a GAN loses at first and wins later where the critic sees the data through one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from distmatch.reproduction.framework.common import (
    Judge,
    cell_difference,
    digits_of,
    kept,
    label_of,
    mean_curve,
    sized,
    thin,
    watched,
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

LOSSES = {"non_saturating": "non-saturating", "least_squares": "least squares"}
SOURCE = "seed 000, Tempered Adversarial Networks"


def cells(scale: Scale) -> list[Cell]:
    """Two losses, with and without the lens."""
    return [{"by": by, "lens": lens} for by in LOSSES for lens in ("with", "without")]


def run(cell: Cell, seed: int, bench: Bench) -> Numbers:
    """The Fréchet distance to the data themselves, not to what the lens makes of them, on the way."""
    scale = bench.scale
    steps, looks = sized(scale, 24, 800, 200_000), sized(scale, 4, 10, 40)
    lens: dict[str, Any] = {
        "system": "lens-gan",
        "system.steps": "50%",
        "network.lens_width": sized(scale, 4, 8, 32),
        "network.lens_blocks": sized(scale, 1, 2, 8),
    }
    settings = {
        **digits_of(scale),
        "system.by": cell["by"],
        "network.family": "dcgan",
        "network.width": sized(scale, 4, 16, 64),
        "network.latent": sized(scale, 8, 64, 100),
        "training.lr": sized(scale, 5e-4, 5e-4, 2e-4),
        "training.precision": sized(scale, "float32", "bf16", "float32"),
        "training.steps": steps,
        **(lens if cell["lens"] == "with" else {"system": "gan"}),
    }
    count = sized(scale, 60, 2000, 10_000)
    training = watched(settings, seed, bench, looks, Judge(count, seed))
    if training is None:
        return Numbers({"diverged": 1.0})
    logs = [math.log(v) for v in training.seen["frechet"]]
    moves = [b - a for a, b in pairwise(logs)]
    values = {
        "early": logs[looks // 4 - 1],
        "late": logs[-1],
        "rises": sum(max(m, 0.0) for m in moves),
    }
    return Numbers(values, {"step": thin(training.steps), "frechet": thin(training.seen["frechet"])})


def figures(results: Results) -> Mapping[str, Figure]:
    """The distance on the way, a panel for each loss."""
    from distmatch.reports.style import COLOURS, GREY, legend, new_figure, styled

    @styled
    def training() -> Figure:
        figure, panels = new_figure(1, 2, (3.6, 2.9))
        for axes, (by, name) in zip(panels, LOSSES.items(), strict=True):
            for lens, colour in zip(("with", "without"), COLOURS, strict=False):
                curves = kept(results, "frechet", by=by, lens=lens)
                steps = kept(results, "step", by=by, lens=lens)[0] if curves else []
                mean_curve(
                    axes,
                    steps,
                    curves,
                    label_of(f"{lens} lens", results, "frechet", by=by, lens=lens),
                    colour,
                )
                if curves and lens == "with":
                    axes.axvline(steps[-1] / 2, color=GREY, lw=0.8, ls=":", label="the lens is removed")
            axes.set(xlabel=f"steps, {name} loss", ylabel="Fréchet distance (95 % over seeds)", yscale="log")
            legend(axes)
        return figure

    return {"training": training()}


def pair(by: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The cells with and without a lens."""
    return {"by": by, "lens": "with"}, {"by": by, "lens": "without"}


E19 = Experiment(
    name="E19",
    title="The lens of Tempered Adversarial Networks",
    seed="000",
    about="A DCGAN on MNIST (16 maps, 800 steps at the scale cpu); the lens's adversarial weight falls as 1 - sin over "
    "the first half of training, then the lens is removed, as in the paper, where that takes 100,000 steps. The lens "
    "has 8 maps and 2 blocks at the scale cpu, 32 and 8 in the paper. Distances by the shipped classifier of MNIST.",
    cells=cells,
    run=run,
    claims=tuple(
        claim
        for by, name in LOSSES.items()
        for claim in (
            Claim(
                f"With a lens the distance is higher at first ({name}).",
                "the paper's figures, arXiv:1802.04374",
                "log Fréchet distance after a fifth of training, with less without",
                cell_difference("early", *pair(by)),
                Expected(low=0.0),
            ),
            Claim(
                f"In the end it is lower ({name}).",
                SOURCE,
                "log Fréchet distance after training, with less without",
                cell_difference("late", *pair(by)),
                Expected(high=0.0),
            ),
            Claim(
                f"It declines more smoothly and steadily ({name}).",
                SOURCE,
                "sum of the rises of the log Fréchet distance between looks, with less without",
                cell_difference("rises", *pair(by)),
                Expected(high=0.0),
            ),
        )
    ),
    figures=figures,
)
