"""E23: the generator's condition number over many runs, with and without Jacobian clamping, and a VAE's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

import torch

from distmatch.metrics import jacobian_spectrum
from distmatch.reproduction.framework.common import Judge, correlation, digits_of, sized, thin, watched
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
from distmatch.reproduction.framework.sweeps import Value
from distmatch.reproduction.framework.verdict import Expected
from distmatch.runs.model import Trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

RUNS = {"gan": 10, "clamped-gan": 10, "vae": 5}
NAMES = {"gan": "GAN", "clamped-gan": "GAN, clamped", "vae": "VAE"}
LOOKS = 4
SOURCE = "seed 000, Is Generator Conditioning Causally Related to GAN Performance?"


def cells(scale: Scale) -> list[Cell]:
    """Many runs of each system."""
    few = sized(scale, 3, 10, 10)
    return [{"system": system, "run": k} for system, many in RUNS.items() for k in range(min(few, many))]


def run(cell: Cell, seed: int, bench: Bench) -> Numbers:
    """The log condition number of JᵀJ on the way, the spectrum of E J and the quality of samples in the end."""
    scale, system = bench.scale, str(cell["system"])
    latent = sized(scale, 4, 16, 64)
    settings: dict[str, Any] = {
        **digits_of(scale),
        "system": system,
        "network.family": "dcgan",
        "network.width": sized(scale, 4, 8, 64),
        "network.latent": latent,
        "training.batch_size": sized(scale, 32, 32, 64),
        "training.lr": sized(scale, 1e-3, 1e-3, 2e-4),
        "training.steps": sized(scale, 12, 500, 100_000),
    }
    number = 1000 * seed + int(cell["run"])
    z = torch.randn(sized(scale, 8, 32, 64), latent, generator=torch.Generator().manual_seed(0))
    spectra: list[list[float]] = []

    def look(trained: Trained) -> dict[str, float]:
        spectrum = jacobian_spectrum(trained.generate, z)
        spectra.append(spectrum.of_mean.tolist())
        return {"log_cn": spectrum.log_condition_number.value}

    training = watched(settings, number, bench, LOOKS, look)
    if training is None:
        return Numbers({"diverged": 1.0})
    quality = Judge(sized(scale, 60, 2000, 10_000), 0)(training.trained)
    logs = training.seen["log_cn"]
    curves = {"log_cn": thin(logs), "step": thin(training.steps), "spectrum": thin(spectra[-1])}
    return Numbers({**quality, "log_cn": logs[-1], "early_log_cn": logs[0]}, curves)


def runs_of(results: Results, system: str, name: str) -> list[list[float]]:
    """For each seed, the number of every run of a system."""
    columns = [results.values(name, **cell) for cell in results.cells(system=system)]
    return [list(column) for column in zip(*columns, strict=True)]


def each(statistic: Callable[[list[float]], float], system: str, name: str) -> Value:
    """A statistic over the runs of a system, for each seed."""
    return lambda results: [statistic(values) for values in runs_of(results, system, name)]


def minus(a: Value, b: Value) -> Value:
    """The difference of two values, paired by seed."""
    return lambda results: [x - y for x, y in zip(a(results), b(results), strict=True)]


def related(name: str) -> Value:
    """Spearman's correlation over runs of the log condition number with a score."""
    return lambda results: [
        correlation(x, y)
        for x, y in zip(runs_of(results, "gan", "log_cn"), runs_of(results, "gan", name), strict=True)
    ]


def split(values: list[float]) -> float:
    """Share of the variance between the two clusters, low and high, of the best split."""
    ordered, total = sorted(values), sum((v - fmean(values)) ** 2 for v in values)
    best = 0.0
    for k in range(1, len(ordered)):
        low, high = ordered[:k], ordered[k:]
        between = k * (len(ordered) - k) / len(ordered) * (fmean(high) - fmean(low)) ** 2
        best = max(best, between / max(total, 1e-12))
    return best


def spectrum_spread(system: str) -> Value:
    """Spread of the spectrum of E J over runs: the mean deviation of log₁₀ σᵢ, of equally many runs of each system."""

    def spread(results: Results) -> list[float]:
        few = min(len(results.cells(system=name)) for name in ("gan", "vae"))
        columns = [results.curves("spectrum", **cell) for cell in results.cells(system=system)[:few]]
        seeds = [torch.tensor(spectra).clamp_min(1e-9).log10() for spectra in zip(*columns, strict=True)]
        return [float(logs.std(0).mean()) for logs in seeds]

    return spread


def figures(results: Results) -> Mapping[str, Figure]:
    """Condition numbers on the way, against scores, and spectra: a line or a dot for each run."""
    from distmatch.reports.style import COLOURS, legend, new_figure, styled

    @styled
    def conditioning() -> Figure:
        figure, panels = new_figure(1, 3, (3.0, 2.9))
        for (system, name), colour in zip(NAMES.items(), COLOURS, strict=False):
            records = [
                r for c in results.cells(system=system) for r in results.of(**c) if "step" in r.numbers.curves
            ]
            for k, record in enumerate(records):
                curves, values = record.numbers.curves, record.numbers.values
                panels[0].plot(curves["step"], curves["log_cn"], color=colour, lw=0.6, alpha=0.7)
                panels[1].plot(
                    values["log_cn"], values["frechet"], ".", color=colour, label="" if k else name
                )
                at = range(1, len(curves["spectrum"]) + 1)
                panels[2].plot(at, curves["spectrum"], color=colour, lw=0.6, alpha=0.7)
        panels[0].set(xlabel="steps", ylabel="log condition number of JᵀJ, nats")
        panels[1].set(xlabel="log condition number of JᵀJ, nats", ylabel="Fréchet distance", yscale="log")
        panels[2].set(xlabel="rank", ylabel="singular value of E J", yscale="log")
        legend(panels[1])
        return figure

    return {"conditioning": conditioning()}


TWO_CLUSTERS = "Runs fall into two clusters early in training, values within one being close."
BETWEEN = "share of the variance of ten early log condition numbers between two clusters"

E23 = Experiment(
    name="E23",
    title="The generator's condition number, its scores, and Jacobian clamping",
    seed="000",
    about="Ten GANs, ten clamped ones and five VAEs for each seed, every run from weights of its own; DCGAN nets on "
    "MNIST with a code of 16 (8 maps, 500 steps of 32 at 1e-3 at the scale cpu). Condition numbers are of "
    "JᵀJ at 32 codes, the mean of their logs; early is after a quarter of training. Slopes clamped "
    "between the published 1 and 20, of images in [-1, 1].",
    cells=cells,
    run=run,
    claims=(
        Claim(
            TWO_CLUSTERS,
            f"{SOURCE}, 1",
            f"{BETWEEN} (ten normal ones: 0.73, and below 0.86 in 95 % of cases)",
            each(split, "gan", "early_log_cn"),
            Expected(low=0.86),
            late=True,
        ),
        Claim(
            "The condition number correlates with the Fréchet distance.",
            SOURCE,
            "rank correlation over ten runs",
            related("frechet"),
            Expected(low=0.3),
        ),
        Claim(
            "The condition number correlates with the Inception score.",
            SOURCE,
            "rank correlation over ten runs",
            related("inception"),
            Expected(high=-0.3),
        ),
        Claim(
            "VAEs tend to have lower condition numbers than GANs.",
            f"{SOURCE}, 2b",
            "mean log condition number, VAE less GAN",
            minus(each(fmean, "vae", "log_cn"), each(fmean, "gan", "log_cn")),
            Expected(high=0.0, unit="nats"),
        ),
        Claim(
            "VAEs' spectra vary less from run to run.",
            f"{SOURCE}, 2a",
            "deviation over runs of log₁₀ of the singular values of E J, VAE less GAN",
            minus(spectrum_spread("vae"), spectrum_spread("gan")),
            Expected(high=0.0),
        ),
        Claim(
            "Jacobian clamping lowers the condition number.",
            SOURCE,
            "mean log condition number, clamped less not",
            minus(each(fmean, "clamped-gan", "log_cn"), each(fmean, "gan", "log_cn")),
            Expected(high=0.0, unit="nats"),
        ),
        Claim(
            "Clamping improves the mean score.",
            f"{SOURCE}; the paper's abstract",
            "mean Fréchet distance, clamped less not",
            minus(each(fmean, "clamped-gan", "frechet"), each(fmean, "gan", "frechet")),
            Expected(high=0.0),
        ),
        Claim(
            "Clamping makes runs differ less.",
            "the paper's abstract",
            "deviation over runs of the Fréchet distance, clamped less not",
            minus(each(stdev, "clamped-gan", "frechet"), each(stdev, "gan", "frechet")),
            Expected(high=0.0),
        ),
    ),
    figures=figures,
    withdrawn=(
        Withdrawn(
            TWO_CLUSTERS,
            f"{SOURCE}, 1",
            f"{BETWEEN} (normal ones: 0.6), above 0.8",
            "the mark was wrong: the best split of ten normal numbers has 0.73 of their variance, and more than 0.8 in "
            "one case of five",
        ),
        Withdrawn(
            "Roughly half of the runs get a low condition number.",
            f"{SOURCE}, 1",
            "share of runs in the lower cluster, 0.3 to 0.7",
            "the best split of a single cluster is near its middle too: of ten normal numbers in 79 % of cases",
        ),
    ),
)
