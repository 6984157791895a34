"""E22: the birthday test: on a sampler of known support, on data, on two GANs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from distmatch.metrics import birthday_test, duplicate_threshold
from distmatch.reproduction.framework.common import (
    cell_difference,
    digits,
    digits_of,
    finished,
    mean_rows,
    numbers,
    sized,
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

NAMES = {"known": "known support", "data": "training images", "gan": "GAN", "dcgan": "DCGAN"}
SOURCE = "seed 000, Do GANs learn the distribution?"


def cells(scale: Scale) -> list[Cell]:
    """A cell for each sampler."""
    return [{"sampler": name} for name in NAMES]


def known(scale: Scale) -> int:
    """Number of different images that the sampler of known support draws from."""
    return sized(scale, 20, 500, 500)


def settings_of(sampler: str, scale: Scale) -> dict[str, Any]:
    """A fully connected GAN, or a DCGAN."""
    conv = sampler == "dcgan"
    return {
        **digits_of(scale),
        "system": sampler,
        "network.family": "dcgan" if conv else "mlp",
        "network.batch_norm": True,
        "network.critic_batch_norm": conv,
        "network.width": sized(scale, 4, 16 if conv else 256, 64 if conv else 512),
        "network.latent": sized(scale, 8, 64, 100),
        "training.lr": sized(scale, 5e-4, 5e-4, 2e-4),
        "training.ema": sized(scale, 0.5, 0.99, 0.999),
        "training.precision": sized(scale, "float32", "bf16" if conv else "float32", "float32"),
        "training.steps": sized(scale, 30, 800 if conv else 6000, 20_000 if conv else 140_000),
    }


def run(cell: Cell, seed: int, bench: Bench) -> Numbers:
    """The support that repeats as often as the sampler does, by near duplicates in pixels."""
    scale, sampler = bench.scale, str(cell["sampler"])
    count, generator = sized(scale, 300, 8000, 20_000), torch.Generator().manual_seed(seed)
    threshold, off = duplicate_threshold(digits(bench, "test", sized(scale, 300, 5000, 10_000))), {}
    if sampler in ("known", "data"):
        images = digits(bench, "train", 55_000)
        samples = images[torch.randperm(len(images), generator=generator)[:count]]
        if sampler == "known":
            threshold, drawn = 0.0, torch.randint(known(scale), (count,), generator=generator)
            samples = samples[drawn]
    elif (trained := finished(settings_of(sampler, scale), seed, bench)) is not None:
        samples = trained.sample(count, seed)
    else:
        return Numbers({"diverged": 1.0})
    estimate = birthday_test(samples, threshold)
    support = estimate.support.value if estimate.support is not None else estimate.support_interval[0]
    if sampler == "known":
        off = {"off": math.log10(support / known(scale))}
    half = {} if estimate.half is None else {"half": estimate.half.value}
    return Numbers({"log_support": math.log10(support), **half, **off})


def figures(results: Results) -> Mapping[str, Figure]:
    """Supports."""
    from distmatch.reports.style import COLOURS, new_figure, styled

    @styled
    def support() -> Figure:
        figure, [axes] = new_figure(1, 1, (4.6, 2.2))
        mean_rows(axes, {n: numbers(results, "log_support", sampler=s) for s, n in NAMES.items()}, COLOURS)
        axes.set(xlabel="log₁₀ of the support that repeats as often (95 % over seeds)")
        return figure

    return {"support": support()}


E22 = Experiment(
    name="E22",
    title="The birthday test on data and on GANs",
    seed="000",
    about="The authors have people judge the closest pairs of faces; here two digits are duplicates where they are "
    "closer in pixels than 99 % of 5,000 test images are to their nearest neighbour. Real images, which hold next to "
    "no duplicates, are the mark under the same rule. A sampler that draws from 500 images, repeats exact, "
    "checks the test itself. 8,000 samples at the scale cpu; where nothing repeats, the interval's lower end counts.",
    cells=cells,
    run=run,
    claims=(
        Claim(
            "The birthday paradox tells how large a population is from its repeats.",
            SOURCE,
            "log₁₀ of the estimated support over the true one, for a sampler of 500 images",
            value("off", {"sampler": "known"}),
            Expected(low=-0.1, high=0.1),
        ),
        *(
            Claim(
                f"{NAMES[name]}s lack the diversity of the data.",
                SOURCE,
                f"log₁₀ of the support, {NAMES[name]} less training images",
                cell_difference("log_support", {"sampler": name}, {"sampler": "data"}),
                Expected(high=0.0),
            )
            for name in ("gan", "dcgan")
        ),
    ),
    figures=figures,
)
