"""E6: VAEs and AAEs with 1,000 and 10,000 latents."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from distmatch.metrics import latent_usage
from distmatch.reproduction.framework.common import cell_difference, kept, numbers, sized, thin
from distmatch.reproduction.framework.experiment import (
    Bench,
    Cell,
    Claim,
    Experiment,
    Numbers,
    Results,
    Scale,
)
from distmatch.reproduction.framework.train import train_run
from distmatch.reproduction.framework.verdict import Expected
from distmatch.reproduction.rosca2018.latents import (
    frechet,
    grouped_bars,
    images_of,
    model_of,
    posteriors,
    settings,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYSTEMS = {"vae": "VAE", "aae": "AAE"}
MANY: Mapping[Scale, tuple[int, int]] = {"smoke": (20, 40), "cpu": (1_000, 10_000), "paper": (1_000, 10_000)}
SHORT, LONG = 300, {"vae": 8_000, "aae": 1_000}  # steps, at the scale cpu
CPU: Mapping[str, Mapping[str, Any]] = {
    "vae": {"network.width": 128, "training.lr": 3e-3},
    "aae": {"network.width": 128, "training.lr": 1e-3, "network.code_width": 300},
}
LOOKED_AT = 1_000  # held-out images that are encoded
RESAMPLES = 2  # of the active units' error, which is not used
SOURCE = "seed 002, section 4.2 and figure 6"
SCALING = "seed 002, section 4.2 and figure 16"


def cells(scale: Scale) -> list[Cell]:
    """System, and whether it has few (1,000) or many (10,000) latents."""
    sizes = dict(zip(("few", "many"), MANY[scale], strict=True))
    return [{"system": s, "size": size, "latent": n} for size, n in sizes.items() for s in SYSTEMS]


def run(cell: Cell, seed: int, bench: Bench) -> Numbers:
    """Train; look at the Gaussians q(z|x) of held-out images, and at samples.

    At the scale cpu samples are those of a short training, the same for all cells, and the codes of 1,000 latents are
    looked at after a long one, since a VAE gives up a unit only after thousands of steps.
    """
    data = sized(bench.scale, "digits", "color-mnist", "color-mnist")
    system, latent = str(cell["system"]), cell["latent"]
    chosen = settings(bench.scale, data, SHORT, network__latent=latent, system=system)
    if bench.scale == "cpu":
        chosen |= CPU[system]
    sampled = coded = train_run(chosen, seed, bench)
    if bench.scale == "cpu" and cell["size"] == "few":
        coded = train_run({**chosen, "training.steps": LONG[system]}, seed, bench, "long")
    if sampled is None or coded is None:
        return Numbers({"diverged": 1.0})
    model = model_of(coded)
    x = images_of(model, "test", LOOKED_AT)
    loc, scale, _ = posteriors(model, x)
    used = latent_usage(loc, scale, resamples=RESAMPLES)
    spread = used.variances.sqrt().sort(descending=True).values
    return Numbers(
        {
            "active": used.active_by_variance.value / loc.shape[1],
            "units": used.active_by_variance.value,
            "mean_size": float(loc.square().mean().sqrt()),
            "scale": float(scale.median()),
            "frechet": frechet(model_of(sampled), LOOKED_AT),
        },
        {"spread": thin(spread.tolist()), "scales": thin(scale.mean(0).sort().values.tolist())},
    )


def number(name: str, system: str, size: str) -> Callable[[Results], list[float]]:
    """A number of a cell, for each seed."""
    return lambda results: results.values(name, system=system, size=size)


def wider(results: Results) -> list[float]:
    """For each seed, the size of an AAE's means over that of a VAE's, at 1,000 latents."""
    pair = (results.values("mean_size", system=system, size="few") for system in ("aae", "vae"))
    return [aae / max(vae, 1e-12) for aae, vae in zip(*pair, strict=True)]


def growth(system: str) -> Callable[[Results], list[float]]:
    """For each seed, the samples' Fréchet distance with many latents over that with few."""

    def ratio(results: Results) -> list[float]:
        pair = (results.values("frechet", system=system, size=size) for size in ("many", "few"))
        return [many / few for many, few in zip(*pair, strict=True)]

    return ratio


def figures(results: Results) -> Mapping[str, Figure]:
    """Figure 6: each unit's means and σ at 1,000 latents; and the quality of samples at 1,000 and 10,000."""
    from distmatch.reports.style import COLOURS, legend, new_figure, styled

    @styled
    def draw() -> Figure:
        figure, panels = new_figure(1, 3, (3.2, 2.8))
        for axes, name, label in (
            (panels[0], "spread", "spread of the unit's means"),
            (panels[1], "scales", "mean σ of the unit"),
        ):
            for i, (system, title) in enumerate(SYSTEMS.items()):
                for k, curve in enumerate(kept(results, name, system=system, size="few")):
                    axes.plot(_shares(curve), curve, color=COLOURS[i], label=title if k == 0 else None)
            axes.set(xlabel="share of the units, in order", ylabel=label)
            legend(axes)
        sizes = [cell["latent"] for cell in results.cells(system="vae")]
        series = {
            title: [numbers(results, "frechet", system=s, latent=n) for n in sizes]
            for s, title in SYSTEMS.items()
        }
        grouped_bars(panels[2], [f"{n:,}" for n in sizes], series)
        panels[2].set(xlabel="latents", ylabel="Fréchet distance of samples")
        legend(panels[2])
        return figure

    return {"latents": draw()}


def _shares(curve: Sequence[float]) -> list[float]:
    return [(i + 1) / len(curve) for i in range(len(curve))]


E6 = Experiment(
    name="E6",
    title="VAEs and AAEs with 1,000 and 10,000 latents",
    seed="002",
    about="ColorMNIST, a Bernoulli decoder, a diagonal Gaussian encoder in both; a unit is active where its mean "
    "varies over data with a variance above 0.01. Samples are judged by the Fréchet distance to held-out images in the "
    "features of a classifier of digits. At the scale cpu: fully connected nets of width 128 with batch norm, 10,000 "
    "images, a critic of codes of 3 × 300 units; samples after 300 steps in all cells, codes of 1,000 latents after "
    "8,000 steps (VAE) and 1,000 (AAE). CelebA is left out.",
    cells=cells,
    run=run,
    claims=(
        Claim(
            "With 1,000 latents VAEs learn sparse representations, using only a few latents and ignoring the rest.",
            SOURCE,
            "share of active units",
            number("active", "vae", "few"),
            Expected(high=0.1),
        ),
        Claim(
            "With 1,000 latents AAEs learn dense representations.",
            SOURCE,
            "share of active units",
            number("active", "aae", "few"),
            Expected(low=0.5, of="median"),
        ),
        Claim(
            "The posterior means of AAEs and VAEs contrast: sparse in a VAE, dense in an AAE.",
            SOURCE,
            "share of active units at 1,000 latents, AAE less VAE",
            cell_difference("active", {"system": "aae", "size": "few"}, {"system": "vae", "size": "few"}),
            Expected(low=0.0),
        ),
        Claim(
            "In an AAE the variance of the Gaussian collapses to 0.",
            SOURCE,
            "median σ of q(z|x) at 1,000 latents",
            number("scale", "aae", "few"),
            Expected(high=0.1),
        ),
        Claim(
            "In an AAE the mean has a much wider range around the prior mean than in a VAE.",
            SOURCE,
            "root mean square of the means of q(z|x) at 1,000 latents, AAE over VAE",
            wider,
            Expected(low=2.0),
        ),
        Claim(
            "VAEs learn to ignore extra latents and scale with no architectural changes to extra dimensions.",
            SCALING,
            "Fréchet distance of samples, 10,000 over 1,000 latents (half as much again would be no scaling)",
            growth("vae"),
            Expected(high=1.5),
        ),
        Claim(
            "AAEs struggle to model ColorMNIST with many latents: VAEs scale better to a latent size of 10,000.",
            SCALING,
            "log Fréchet distance of samples with 10,000 latents, AAE less VAE",
            lambda results: [
                math.log(a / b)
                for a, b in zip(
                    results.values("frechet", system="aae", size="many"),
                    results.values("frechet", system="vae", size="many"),
                    strict=True,
                )
            ],
            Expected(low=0.0),
        ),
    ),
    figures=figures,
)
