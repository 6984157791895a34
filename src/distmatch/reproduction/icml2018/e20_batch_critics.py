"""E20: critics of whole batches, BGAN and M-BGAN, beside gradient penalties, spectral norm, minibatch features."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING, Any

from distmatch.reproduction.framework.common import (
    Judge,
    cell_difference,
    digits_of,
    finished,
    mean_rows,
    numbers,
    sized,
)
from distmatch.reproduction.framework.experiment import (
    Bench,
    Cell,
    Claim,
    Experiment,
    Numbers,
    Results,
    Scale,
    Withdrawn,
)
from distmatch.reproduction.framework.verdict import Expected

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OWN: dict[str, dict[str, Any]] = {
    "wgan-gp": {},
    "gan-gp": {},
    "sngan": {"training.betas": [0.5, 0.9]},
    "minibatch-gan": {"training.batch_size": 64, "network.minibatch_kernels": 20},
    "bgan": {},
    "m-bgan": {},
}
NAMES = {
    "wgan-gp": "WGAN-GP",
    "gan-gp": "GAN-GP",
    "sngan": "spectral norm",
    "minibatch-gan": "minibatch discrimination",
    "bgan": "BGAN",
    "m-bgan": "M-BGAN",
}
SCORES = (("inception", "Inception score", 1.0), ("frechet", "Fréchet distance", -1.0))
OTHERS = [name for name in NAMES if name != "m-bgan"]
SOURCE = "seed 000, Mixed batches and symmetric discriminators, table"


def cells(scale: Scale) -> list[Cell]:
    """The table's methods."""
    return [{"system": name} for name in NAMES]


def run(cell: Cell, seed: int, bench: Bench) -> Numbers:
    """Inception score and Fréchet distance after equally many steps of the generator."""
    scale, system = bench.scale, str(cell["system"])
    settings = {
        **digits_of(scale),
        "system": system,
        "network.family": "mlp",
        "network.width": sized(scale, 16, 256, 512),
        "network.depth": 3,
        "network.activation": "leaky-relu",
        "network.batch_norm": True,
        "network.critic_batch_norm": False,
        "network.latent": sized(scale, 8, 64, 128),
        "training.lr": sized(scale, 5e-4, 5e-4, 2e-4),
        "training.critic_steps": 1,
        "training.ema": sized(scale, 0.5, 0.99, 0.999),
        "training.steps": sized(scale, 10, 1500, 50_000),
        **OWN[system],
    }
    trained = finished(settings, seed, bench)
    if trained is None:
        return Numbers({"diverged": 1.0})
    return Numbers(Judge(sized(scale, 60, 5000, 10_000), seed)(trained))


def against_others(name: str, sign: float) -> Any:
    """The advantage of M-BGAN over the mean of the other methods of the same seed."""

    def value(results: Results) -> list[float]:
        gains = [cell_difference(name, {"system": "m-bgan"}, {"system": other})(results) for other in OTHERS]
        return [sign * fmean(column) for column in zip(*gains, strict=True)]

    return value


def figures(results: Results) -> Mapping[str, Figure]:
    """The table as bars."""
    from distmatch.reports.style import COLOURS, new_figure, styled

    @styled
    def table() -> Figure:
        figure, panels = new_figure(1, 2, (3.8, 2.4))
        for axes, name, label in zip(
            panels,
            ("inception", "frechet"),
            ("Inception score (higher is better)", "Fréchet distance (lower is better)"),
            strict=True,
        ):
            mean_rows(axes, {n: numbers(results, name, system=s) for s, n in NAMES.items()}, COLOURS)
            axes.set(xlabel=label)
        panels[0].set_title("means with 95 % intervals over seeds")
        panels[1].set_yticklabels([])
        return figure

    return {"table": table()}


E20 = Experiment(
    name="E20",
    title="BGAN and M-BGAN beside other critics",
    seed="000",
    about="The paper's table is of CIFAR-10; here MNIST, fully connected nets (3 × 256, 1,500 steps at the scale cpu), "
    "one critic step to each of the generator for all, one learning rate, scores by the shipped classifier. The "
    "generator's loss under a critic of batches is a substitute: the paper's is not known to us.",
    cells=cells,
    run=run,
    claims=(
        *(
            Claim(
                f"M-BGAN achieves a better score than the others: {label}.",
                SOURCE,
                f"{label}, M-BGAN's gain over the mean of the other methods of the same seed",
                against_others(name, sign),
                Expected(low=0.0),
                late=True,
            )
            for name, label, sign in SCORES
        ),
        Claim(
            "The mistake is better than what was meant: M-BGAN beats BGAN.",
            SOURCE,
            "Fréchet distance, BGAN less M-BGAN",
            cell_difference("frechet", {"system": "bgan"}, {"system": "m-bgan"}),
            Expected(low=0.0),
        ),
    ),
    figures=figures,
    withdrawn=tuple(
        Withdrawn(
            f"M-BGAN achieves the best score: {label}.",
            SOURCE,
            f"{label}, M-BGAN's gain over the best other method of the same seed, above 0",
            "one run was held against the best of five",
        )
        for _, label, _ in SCORES
    ),
)
