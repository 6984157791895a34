"""E7: density ratios between Gaussians whose KL is known, for estimating and for learning."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch

from distmatch.objectives.comparisons import REVERSE_KL
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
from distmatch.reproduction.framework.losses import generator_loss
from distmatch.reproduction.framework.seed_spread import dots, median_curve
from distmatch.reproduction.framework.verdict import Expected
from distmatch.reproduction.rosca2018.gaussian_pairs import (
    Affine,
    classifier,
    gaussian_kl,
    random_affine,
    step,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Sizes(NamedTuple):
    """A scale: hidden units, steps up to 100 dimensions and above, learning rate of both, batch, draws judged by."""

    width: int
    steps: tuple[int, int]
    lr: float
    batch: int
    judged: int


SIZES: dict[Scale, Sizes] = {
    "smoke": Sizes(8, (20, 2), 1e-3, 16, 100),
    "cpu": Sizes(128, (2000, 400), 1e-3, 64, 2000),
    "paper": Sizes(5600, (1_000_000, 1_000_000), 1e-4, 64, 10_000),
}
DIMENSIONS = (1, 10, 100, 1000)
DISTRIBUTIONS = {"normal": "A of independent normals", "near-identity": "A near the identity"}
LOOKS = 25
SOURCE = "seed 002, appendix D"


def run(cell: Cell, seed: int, bench: Bench) -> Numbers:
    """Train a classifier of a fixed pair, or with it the second Gaussian, and watch the KL and its estimate."""
    sizes, d, learns = SIZES[bench.scale], int(cell["d"]), cell["task"] == "learn"
    steps = sizes.steps[d > 100]
    with own_randomness(1000 * seed + d):
        target, q = random_affine(d, str(cell["distribution"])), random_affine(d, str(cell["distribution"]))
        model = Affine(q.a.requires_grad_(learns), q.b.requires_grad_(learns))
        critic = classifier(d, sizes.width)
        critics = torch.optim.Adam(critic.parameters(), lr=sizes.lr, betas=(0.5, 0.9))
        optimiser = torch.optim.Adam([model.a, model.b], lr=sizes.lr, betas=(0.5, 0.9)) if learns else None
        start = gaussian_kl(model, target)
        curves: dict[str, list[float]] = {"step": [], "true": [], "estimate": []}
        for done in range(steps + 1):
            if done % max(1, steps // LOOKS) == 0 or done == steps:
                with torch.no_grad():
                    estimate = float(generator_loss(REVERSE_KL, critic(model.draws(sizes.judged))[:, 0]))
                curves["step"].append(done)
                curves["true"].append(gaussian_kl(model, target) if learns else start)
                curves["estimate"].append(estimate)
            step(critic, critics, optimiser, model, target, sizes.batch)
    values = {"start": start, "true": curves["true"][-1], "estimate": curves["estimate"][-1]}
    if not all(map(math.isfinite, values.values())):
        return Numbers({"diverged": 1.0, "start": start})
    return Numbers(values, {name: [float(f"{v:.5g}") for v in curve] for name, curve in curves.items()})


def off(d: int, distribution: str) -> Callable[[Results], list[float]]:
    """|estimate - KL| / KL of a fixed pair, for each seed."""

    def value(results: Results) -> list[float]:
        runs = [r.numbers.values for r in results.of(task="estimate", d=d, distribution=distribution)]
        return [abs(v["estimate"] - v["true"]) / v["true"] for v in runs]

    return value


def change(d: int, distribution: str) -> Callable[[Results], list[float]]:
    """log₁₀ of the true KL after learning over that before, for each seed."""

    def value(results: Results) -> list[float]:
        runs = [r.numbers.values for r in results.of(task="learn", d=d, distribution=distribution)]
        return [math.log10(v["true"] / v["start"]) for v in runs]

    return value


CLAIMS = (
    *(
        Claim(
            f"In {d:,} dimension{'s' * (d > 1)} the estimate of the true KL is not accurate ({words}).",
            SOURCE,
            "|estimate - KL| over KL of a fixed pair",
            off(d, distribution),
            Expected(low=0.1),
        )
        for distribution, words in DISTRIBUTIONS.items()
        for d in DIMENSIONS
    ),
    *(
        Claim(
            f"In {d:,} dimension{'s' * (d > 1)} "
            + ("the model decreases the true KL" if d <= 10 else "learning diverges")
            + f" ({words}).",
            SOURCE,
            "log₁₀ of the true KL after learning over that before",
            change(d, distribution),
            Expected(high=0) if d <= 10 else Expected(low=0),
        )
        for distribution, words in DISTRIBUTIONS.items()
        for d in DIMENSIONS
    ),
)


@styled
def _learning(results: Results) -> Figure:
    figure, panels = new_figure(2, 4, (2.6, 2.5))
    for axes, (distribution, d) in zip(
        panels, ((distribution, d) for distribution in DISTRIBUTIONS for d in DIMENSIONS), strict=True
    ):
        runs = [
            r.numbers.curves
            for r in results.of(task="learn", d=d, distribution=distribution)
            if r.numbers.curves
        ]
        axes.set_title(f"d = {d:,}")
        if runs:
            median_curve(axes, runs[0]["step"], [c["true"] for c in runs], COLOURS[0], "true KL")
            median_curve(
                axes, runs[0]["step"], [c["estimate"] for c in runs], COLOURS[1], "estimate", ls="--"
            )
        if d > 1:
            axes.set_yscale("symlog", linthresh=1)
        axes.set_xlabel("step")
        axes.set_ylabel(f"KL, nats ({DISTRIBUTIONS[distribution]})" if d == 1 else "KL, nats", fontsize=7.5)
    panels[0].legend()
    return figure


@styled
def _estimating(results: Results) -> Figure:
    figure, panels = new_figure(1, 2, (3.4, 3.0))
    for axes, distribution in zip(panels, DISTRIBUTIONS, strict=True):
        for place, d in enumerate(DIMENSIONS):
            runs = [r.numbers.values for r in results.of(task="estimate", d=d, distribution=distribution)]
            values = [v["estimate"] / v["true"] for v in runs if "true" in v]
            if values:
                dots(axes, place, values, COLOURS[0])
        axes.axhline(1, color=INK, lw=0.8, ls="--", label="exact")
        axes.set_xticks(range(4), [f"{d:,}" for d in DIMENSIONS])
        axes.set_xlabel(f"dimensions ({DISTRIBUTIONS[distribution]})")
        axes.set_ylabel("estimated over true KL")
        legend(axes)
    return figure


def figures(results: Results) -> Mapping[str, Figure]:
    """Figures 18 to 20."""
    return {"estimating": _estimating(results), "learning": _learning(results)}


def cells(scale: Scale) -> Sequence[Cell]:
    """Both tasks in every dimension, for both distributions of A."""
    return [
        {"task": task, "d": d, "distribution": distribution}
        for distribution in DISTRIBUTIONS
        for task in ("estimate", "learn")
        for d in DIMENSIONS
    ]


E7 = Experiment(
    name="E7",
    title="Learning and estimating with density ratios: Gaussians in 1 to 1,000 dimensions",
    seed="002",
    about="x = Az + b with z as large as x; KL(q‖p) in closed form. First a classifier is trained on a fixed pair, and "
    "its estimate judged; then q's A and b are learned from the same start with -E_q log r, classifier and model in "
    "turn. The document's learning rates and its distribution of A are lost, so two are tried: independent entries "
    "of variance 1/d, whose covariance is nearly singular and KL huge, and I plus half of such a matrix. At scale cpu "
    f"the classifier has 4 layers of {SIZES['cpu'].width} units and {SIZES['cpu'].steps[0]:,} steps "
    f"({SIZES['cpu'].steps[1]:,} in 1,000 dimensions) where the document has 100 million weights and 1,000,000.",
    cells=cells,
    run=run,
    claims=CLAIMS,
    figures=figures,
)
