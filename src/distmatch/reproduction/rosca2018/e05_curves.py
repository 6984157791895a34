"""E5: what can be watched while a VAE, an AAE and VEEGAN train."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from distmatch.reproduction.framework.common import correlation, sized, thin, watched
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
from distmatch.reproduction.rosca2018.latents import EMPIRICAL_KL, SATURATED, kl_of_codes, settings
from distmatch.runs.model import Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SYSTEMS = {"vae": "VAE", "aae": "AAE", "veegan": "VEEGAN"}
LATENT, STEPS = 50, 1_000
HELD_OUT = 2_000  # data whose codes the critic is asked about
SOURCE = "seed 002, section 4.2 and figure 5"


def cells(scale: Scale) -> list[Cell]:
    """A cell for each system."""
    return [{"system": name} for name in SYSTEMS]


def run(cell: Cell, seed: int, bench: Bench) -> Numbers:
    """Train, and note on the way what each system offers as a bound or a KL, beside the KL by Algorithm 2."""
    system = str(cell["system"])
    data = sized(bench.scale, "digits", "color-mnist", "color-mnist")
    chosen = settings(
        bench.scale, data, STEPS, network__latent=LATENT, network__posterior="gaussian", system=system
    )
    if bench.scale == "cpu" and system != "vae":
        chosen |= {"network.code_width": 300, "training.lr": 4e-4}
    seen = watched(
        chosen, seed, bench, sized(bench.scale, 3, 25, 100), lambda trained: _look(trained, system, bench)
    )
    if seen is None:
        return Numbers({"diverged": 1.0})
    losses = seen.losses
    if system == "vae":
        bound = [-nll - kl for nll, kl in zip(losses["nll"], losses["kl"], strict=True)]
    elif system == "aae":
        bound = [-kl for kl in seen.seen["estimate"]]
    else:
        (distance,) = (values for name, values in losses.items() if name.startswith("distance"))
        bound = [-kl - d for kl, d in zip(seen.seen["estimate"], distance, strict=True)]
    curves = {"step": [float(s) for s in seen.steps], "bound": thin(bound), "kl": thin(seen.seen["kl"])}
    values = {"monotone": correlation(seen.steps, bound), "bound": bound[-1], "kl": seen.seen["kl"][-1]}
    return Numbers(values, curves)


def _look(trained: Trained, system: str, bench: Bench) -> dict[str, float]:
    """KL(q̂(z)‖p(z)) by Algorithm 2, and the KL that the critic of the moment reports, E[-log of its ratio]."""
    codes = sized(bench.scale, 100, 1_000, 2_000)
    values = {"kl": kl_of_codes(trained.as_model(), codes=codes).empirical_marginal_kl.value}
    if system == "vae":
        return values
    (critic,) = trained.critics(HELD_OUT).values()
    return values | {"estimate": -float(critic.score(*critic.model).detach().mean())}


def number(name: str, system: str) -> Callable[[Results], list[float]]:
    """A number of a system, for each seed."""
    return lambda results: results.values(name, system=system)


LABELS = {
    "vae": "ELBO, nats",
    "aae": "minus the critic's KL, nats",
    "veegan": "estimated bound, nats",
}


def figures(results: Results) -> Mapping[str, Figure]:
    """Figures 5 and 23: what each system reports, and below it what its codes' KL is; a line for each seed."""
    from distmatch.reports.style import COLOURS, new_figure, styled

    @styled
    def draw() -> Figure:
        figure, panels = new_figure(2, len(SYSTEMS), (3.0, 2.4))
        for i, (system, name) in enumerate(SYSTEMS.items()):
            for row, what, label in ((0, "bound", LABELS[system]), (1, "kl", f"{EMPIRICAL_KL}, nats")):
                axes = panels[row * len(SYSTEMS) + i]
                for record in results.of(system=system):
                    curves = record.numbers.curves
                    if curves:
                        axes.plot(curves["step"], curves[what], color=COLOURS[i], linewidth=1.0)
                axes.set(xlabel="step", ylabel=label)
                if row == 0:
                    axes.set_title(name)
        return figure

    return {"curves": draw()}


TO_WATCH = "rank correlation with the steps"
E5 = Experiment(
    name="E5",
    title="What can be watched in training: VAE, AAE, VEEGAN",
    seed="002",
    about="ColorMNIST, codes of 50, all with Gaussian encoders. VAE: the ELBO of the training batches between two "
    "looks. AAE: KL(q(z)‖p(z)) by its critic of the moment, on held-out data. VEEGAN: its bound, less an unknown "
    "constant, from its critic of the moment and its distance of codes, weight 1. A quantity that tells of convergence "
    f"rises with the steps: its rank correlation with them is 1. Beside it stands {EMPIRICAL_KL} of the training "
    "data's posteriors, by Algorithm 2. At the scale cpu: fully connected nets with batch norm, 10,000 images, "
    "1,000 steps, 25 looks.",
    cells=cells,
    run=run,
    claims=(
        Claim(
            "The expected and desired behaviour is that the bound increases as training progresses: a VAE's ELBO does.",
            f"{SOURCE}; appendix H",
            f"{TO_WATCH} of the ELBO",
            number("monotone", "vae"),
            Expected(low=0.9, of="median"),
        ),
        Claim(
            "By density ratios AAE loses a meaningful estimate to report and to assess convergence with.",
            SOURCE,
            f"{TO_WATCH} of minus the estimated KL(q(z)‖p(z))",
            number("monotone", "aae"),
            Expected(high=0.9),
        ),
        Claim(
            "VEEGAN's bound does not increase as training progresses.",
            "seed 002, appendix H and figure 23",
            f"{TO_WATCH} of the estimated bound",
            number("monotone", "veegan"),
            Expected(high=0.9),
        ),
    ),
    figures=figures,
    withdrawn=(
        Withdrawn(
            "Binary classifiers underestimate KL divergences, all the more as the discriminator is updated online "
            "during training.",
            SOURCE,
            "KL(q(z)‖p(z)) by the AAE's own critic at the end of training, less that by Algorithm 2, below 0 nats",
            SATURATED,
        ),
    ),
)
