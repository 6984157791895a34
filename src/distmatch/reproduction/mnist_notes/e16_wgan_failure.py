"""E16: Wasserstein GANs on MNIST, and what batch normalisation in the critic does to them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from distmatch.reproduction.framework.common import (
    Judge,
    cell_difference,
    digits_of,
    kept,
    label_of,
    mean_curve,
    pack,
    show,
    sized,
    thin,
    unpack,
    value,
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
from distmatch.runs.model import Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN = 25
CLIP, CLIP_NORM, GP, GAN = (
    {"method": method, "norm": norm}
    for method, norm in (("wgan", "off"), ("wgan", "on"), ("wgan-gp", "off"), ("gan", "off"))
)
NAMES = {
    "WGAN, clipped": CLIP,
    "WGAN, clipped, batch norm in the critic": CLIP_NORM,
    "WGAN-GP": GP,
    "GAN": GAN,
}
SOURCE = "seed 003, section 4.2.2"


def cells(scale: Scale) -> list[Cell]:
    """Weights clipped, with and without batch norm in the critic; the gradient penalty; a GAN beside them."""
    return list(NAMES.values())


def run(cell: Cell, seed: int, bench: Bench) -> Numbers:
    """Quality and variety of samples on the way, and the generator's gradients."""
    scale, method = bench.scale, str(cell["method"])
    looks = sized(scale, 4, 8, 20)
    count = sized(scale, 60, 2000, 10_000)
    judge = Judge(count, seed)
    rates = {"wgan": sized(scale, 5e-4, 5e-4, 5e-5), "wgan-gp": sized(scale, 5e-4, 5e-4, 1e-4)}
    settings: dict[str, Any] = {
        **digits_of(scale),
        "system": method,
        "network.family": "mlp",
        "network.width": sized(scale, 16, 256, 512),
        "network.depth": 3,
        "network.activation": "leaky-relu",
        "network.batch_norm": True,
        "network.critic_batch_norm": cell["norm"] == "on",
        "network.latent": sized(scale, 8, 64, 100),
        "training.lr": rates.get(method, sized(scale, 5e-4, 5e-4, 2e-4)),
        "training.steps": sized(scale, 40, 800, 50_000),
    }

    def look(trained: Trained) -> dict[str, float]:
        return {**judge(trained), "variety": variety(trained, count, seed)}

    training = watched(settings, seed, bench, looks, look)
    if training is None:
        return Numbers({"diverged": 1.0})
    frechet, norms = training.seen["frechet"], training.losses["gradient_norm/model"]
    values = {
        "frechet": frechet[-1],
        "fell": math.log(frechet[-1] / frechet[looks // 4 - 1]),
        "variety": training.seen["variety"][-1],
        "gradient": math.log10(sum(norms) / len(norms)),
    }
    curves = {"step": thin(training.steps), "frechet": thin(frechet)}
    if seed == 0:
        curves["samples"] = pack(training.trained.sample(SHOWN, seed))
    return Numbers(values, curves)


def variety(trained: Trained, count: int, seed: int) -> float:
    """Mean squared distance of two samples over that of two data: 0 where all samples are the same."""
    samples, data = trained.sample(count, seed), trained.prepared("test", count)
    return float(samples.flatten(1).var(0).sum() / data.flatten(1).var(0).sum())


def figures(results: Results) -> Mapping[str, Figure]:
    """The distance on the way; samples."""
    from distmatch.reports.style import COLOURS, legend, new_figure, styled

    @styled
    def training() -> Figure:
        figure, [axes] = new_figure(1, 1, (4.8, 3.2))
        for (name, cell), colour in zip(NAMES.items(), COLOURS, strict=False):
            curves = kept(results, "frechet", **cell)
            label = label_of(name, results, "frechet", **cell)
            mean_curve(axes, kept(results, "step", **cell)[0] if curves else [], curves, label, colour)
        axes.set(xlabel="the generator's steps", ylabel="Fréchet distance (95 % over seeds)", yscale="log")
        legend(axes)
        return figure

    @styled
    def samples() -> Figure:
        figure, panels = new_figure(1, len(NAMES), (2.2, 2.4))
        for axes, (name, cell) in zip(panels, NAMES.items(), strict=True):
            for packed in kept(results, "samples", **cell)[:1]:
                show(axes, unpack(packed, 28 if len(packed) > 10 * SHOWN else 8), 5)
            axes.set_title(name.replace(", batch", ",\nbatch"))
        return figure

    return {"training": training(), "samples": samples()}


E16 = Experiment(
    name="E16",
    title="WGANs with clipping and with a gradient penalty, and batch norm in the critic",
    seed="003",
    about="The document's fully connected nets (3 × 256 at the scale cpu), batch norm in the generator throughout and "
    "in the critic where it is said. Its authors blame their WGANs' failure on batch norm, which they removed in the "
    "end and still saw poor samples. distmatch refuses batch norm under a gradient penalty, which is defined for each "
    "sample alone, so it is switched on under weight clipping, where the bounds hold its own scales too. Five critic "
    "steps to each of the generator; learning rates of 5e-4 at the scale cpu, where training is short.",
    cells=cells,
    run=run,
    claims=(
        Claim(
            "With batch norm in the critic a WGAN does not train well.",
            f"{SOURCE}, batch norm on WGAN",
            "Fréchet distance under clipping, with batch norm less without",
            cell_difference("frechet", CLIP_NORM, CLIP),
            Expected(low=0.0),
        ),
        Claim(
            "Batch norm in the critic: the generator's samples are all very similar.",
            "seed 003, figure 12",
            "mean squared distance of two samples over that of two data, with batch norm",
            value("variety", CLIP_NORM),
            Expected(high=0.5),
        ),
        Claim(
            "Most gradients of the generator are very small, which may be related to batch norm.",
            "seed 003, figure 11",
            "log₁₀ of the mean norm of the generator's gradient under clipping, with batch norm less without",
            cell_difference("gradient", CLIP_NORM, CLIP),
            Expected(high=0.0),
        ),
        *(
            Claim(
                f"Not a failure of WGANs: without batch norm in the critic they do not stagnate ({name}).",
                f"{SOURCE}, which saw stagnation after a few epochs; our reading of its cause",
                "log of the Fréchet distance at the end over that after a quarter of training",
                value("fell", cell),
                Expected(high=math.log(0.8)),
            )
            for name, cell in (("clipping", CLIP), ("gradient penalty", GP))
        ),
        *(
            Claim(
                f"Nor do they collapse without it ({name}).",
                "seed 003, figure 12, which saw collapse; our reading of its cause",
                "mean squared distance of two samples over that of two data",
                value("variety", cell),
                Expected(low=0.5),
            )
            for name, cell in (("clipping", CLIP), ("gradient penalty", GP))
        ),
        *(
            Claim(
                f"Contrary to theory, WGANs are no better than a GAN ({name}).",
                SOURCE,
                f"Fréchet distance after as many steps of the generator, {name} less GAN",
                cell_difference("frechet", cell, GAN),
                Expected(low=0.0),
            )
            for name, cell in (("clipping", CLIP), ("gradient penalty", GP))
        ),
    ),
    figures=figures,
)
