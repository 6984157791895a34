"""The last question of seed 000: a generator of one dimension as an inverse CDF, inverted into a density."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from distmatch.random import own_randomness
from distmatch.reports.style import COLOURS, INK, legend, new_figure, styled
from distmatch.reproduction.framework.experiment import (
    Bench,
    Cell,
    Claim,
    Experiment,
    Numbers,
    Results,
    Scale,
)
from distmatch.reproduction.framework.seed_spread import dots
from distmatch.reproduction.framework.verdict import Expected
from distmatch.reproduction.icml2018.inverse_cdf_nets import (
    BINS,
    CENTRES,
    HIGH,
    LOW,
    Mixture,
    Sizes,
    pushed,
    total_variation,
    trained,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


DATA = {
    "smooth": Mixture((0.65, 0.35), (-0.6, 1.1), (0.6, 0.8)),
    "gap": Mixture((0.6, 0.4), (-1.5, 1.5), (0.3, 0.3)),
}
GENERATORS = {
    "free": "free net",
    "monotone": "monotone net",
    "noise": "second latent",
    "transport": "sorted batches",
}
SOURCE = "seed 000, last paragraph (a question, without a claim of its own)"


SIZES: dict[Scale, Sizes] = {
    "smoke": Sizes(8, 30, 64, 500, 4),
    "cpu": Sizes(64, 5000, 256, 20_000, 64),
    "paper": Sizes(256, 100_000, 1024, 1_000_000, 1000),
}


def run(cell: Cell, seed: int, bench: Bench) -> Numbers:
    """Train a generator, invert it, and compare the density with the truth."""
    sizes, distribution, kind = SIZES[bench.scale], DATA[str(cell["data"])], str(cell["generator"])
    with own_randomness(seed):
        data = distribution.draws(sizes.data)
        generator = trained(kind, data, sizes)
        x, at_zero = pushed(generator, 0.0)
        density = at_zero
        if kind == "noise":
            every = torch.special.ndtri((torch.arange(sizes.slices) + 0.5) / sizes.slices)
            density = torch.stack([pushed(generator, float(e))[1] for e in every]).mean(0)
    truth, width = distribution.density(CENTRES), (HIGH - LOW) / BINS
    if not density.isfinite().all():
        return Numbers({"diverged": 1.0})
    with torch.no_grad():
        steps = x.diff()
    backwards = float((steps * steps.sum().sign() < 0).float().mean())
    inside = (CENTRES.abs() < 0.5) if cell["data"] == "gap" else torch.zeros(BINS, dtype=torch.bool)
    values = {
        "distance": total_variation(density, truth),
        "distance at noise 0": total_variation(at_zero, truth),
        "histogram": total_variation(torch.histc(data, BINS, LOW, HIGH) / (len(data) * width), truth),
        "cdf": float(((density - truth).cumsum(0) * width).abs().max()),
        "backwards": backwards,
        "kl": float((truth * (truth.log() - density.clamp(min=1e-12).log())).sum() * width),
        "gap": float(density[inside].sum() * width),
        "true gap": float(truth[inside].sum() * width),
    }
    return Numbers(values, {"density": [float(f"{v:.4g}") for v in density.tolist()][25:225]})


def number(
    name: str, data: str, generator: str, less: tuple[str, str] | None = None
) -> Callable[[Results], list[float]]:
    """A number of one cell for each seed, less that of another cell if there is one."""

    def value(results: Results) -> list[float]:
        first = results.values(name, data=data, generator=generator)
        if less is None:
            return first
        second = results.values(name, data=less[0], generator=less[1])
        return [a - b for a, b in zip(first, second, strict=True)]

    return value


TV = "total variation between the recovered density and the true one"
CLAIMS = (
    Claim(
        "A free generator of smooth data becomes an inverse CDF by itself: it is monotone.",
        SOURCE,
        "share of prior mass where G runs against its direction",
        number("backwards", "smooth", "free"),
        Expected(high=0.01, of="median"),
    ),
    *(
        Claim(
            f"p(z)/|G'(z)| recovers the density of smooth data ({words}).",
            SOURCE,
            TV,
            number("distance", "smooth", generator),
            Expected(high=0.1),
        )
        for generator, words in GENERATORS.items()
    ),
    Claim(
        "It recovers a density with a gap less well (free net).",
        SOURCE,
        f"{TV}, gap less smooth data",
        number("distance", "gap", "free", ("smooth", "free")),
        Expected(low=0),
    ),
    Claim(
        "A continuous generator leaves mass in the gap (free net).",
        SOURCE,
        "recovered less true probability of |x| < ½, data with a gap",
        lambda results: [
            r.numbers.values["gap"] - r.numbers.values["true gap"]
            for r in results.of(data="gap", generator="free")
        ],
        Expected(low=0),
    ),
    Claim(
        "A net that is monotone by its weights helps where data have a gap.",
        SOURCE,
        f"{TV}, monotone less free net, data with a gap",
        number("distance", "gap", "monotone", ("gap", "free")),
        Expected(high=0),
    ),
    Claim(
        "The adversary costs accuracy: sorted batches, which transport exactly, do better (data with a gap).",
        SOURCE,
        f"{TV}, sorted batches less GAN, monotone nets",
        number("distance", "gap", "transport", ("gap", "monotone")),
        Expected(high=0),
    ),
    Claim(
        "With noise beside z the formula at one value of the noise is no density of the data.",
        SOURCE,
        f"{TV}, at noise 0 less averaged over the noise, smooth data",
        lambda results: [
            r.numbers.values["distance at noise 0"] - r.numbers.values["distance"]
            for r in results.of(data="smooth", generator="noise")
        ],
        Expected(low=0),
    ),
)


@styled
def _densities(results: Results) -> Figure:
    figure, panels = new_figure(2, 4, (2.7, 2.3))
    x = CENTRES[25:225].tolist()
    for axes, (data, kind) in zip(panels, ((d, g) for d in DATA for g in GENERATORS), strict=True):
        runs = [r for r in results.of(data=data, generator=kind) if r.numbers.curves]
        for i, record in enumerate(runs):
            seeds = "recovered, each seed" if i == 0 else None
            axes.plot(x, record.numbers.curves["density"], color=COLOURS[0], lw=0.8, alpha=0.7, label=seeds)
        truth = DATA[data].density(CENTRES[25:225])
        axes.plot(x, truth.tolist(), color=INK, lw=1, ls="--", label="truth")
        axes.set_ylim(0, 1.6 * float(truth.max()))
        axes.set_title(f"{data}: {GENERATORS[kind]}", fontsize=8)
        axes.set_xlabel("x")
        axes.set_ylabel("density")
    panels[0].legend(fontsize=7)
    return figure


@styled
def _distances(results: Results) -> Figure:
    figure, panels = new_figure(1, 2, (3.6, 3.2))
    for axes, data in zip(panels, DATA, strict=True):
        for place, kind in enumerate(GENERATORS):
            runs = [r.numbers.values for r in results.of(data=data, generator=kind) if r.numbers.curves]
            if runs:
                dots(axes, place, [v["distance"] for v in runs], COLOURS[0])
        base = [
            r.numbers.values["histogram"] for r in results.of(data=data, generator="free") if r.numbers.curves
        ]
        for value in base:
            axes.axhline(value, color=INK, lw=0.7, ls="--")
        axes.plot([], [], color=INK, lw=0.7, ls="--", label="histogram of the same data")
        axes.set_xticks(range(len(GENERATORS)), list(GENERATORS.values()), rotation=30, ha="right")
        axes.set_ylim(bottom=0)
        axes.set_ylabel("total variation to the truth")
        axes.set_xlabel(f"{data} data")
        legend(axes)
    return figure


def figures(results: Results) -> Mapping[str, Figure]:
    """The recovered densities, and how far they are from the truth."""
    return {"densities": _densities(results), "distances": _distances(results)}


def cells(scale: Scale) -> Sequence[Cell]:
    """Every generator on both data."""
    return [{"data": data, "generator": kind} for data in DATA for kind in GENERATORS]


INVERSE_CDF = Experiment(
    name="inverse-cdf",
    title="A generator as an inverse CDF: the density of the data from p(z)/|G'(z)|",
    seed="000",
    about="Data on the line: two overlapping normals (smooth), or two apart (gap); z ~ N(0, 1). Where G rises, "
    "G∘Φ⁻¹ is the inverse CDF of what it draws, and Σ p(z)/|G'(z)| over all z with G(z) = x its density. Generators: a "
    "tanh net, free or with positive weights, as a non-saturating GAN with R1; a free net with a second latent, "
    "averaged over it; and positive weights trained without an adversary, on sorted batches (W₂). The seed asks "
    "whether this works and claims nothing; the claims here are ours.",
    cells=cells,
    run=run,
    claims=CLAIMS,
    figures=figures,
)
