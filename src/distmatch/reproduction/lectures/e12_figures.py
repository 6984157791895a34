"""The figures of E12."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from distmatch.reports.style import COLOURS, INK, legend, new_figure, styled
from distmatch.reproduction.framework.seed_spread import median_curve

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from distmatch.reproduction.framework.experiment import Results

LINES = ("-", "--", ":", "-.")


@styled
def ratios(results: Results, grid: Sequence[float], families: Mapping[str, Sequence[str]]) -> Figure:
    """Recovered log-ratios of N(1, 1) to N(0, 1), a panel for each family."""
    figure, panels = new_figure(1, 3, (3.1, 3.2))
    for axes, (family, names) in zip(panels, families.items(), strict=True):
        axes.plot(grid, [x - 0.5 for x in grid], color=INK, lw=0.8, label="truth")
        for i, name in enumerate(names):
            runs = [
                r.numbers.curves
                for r in results.of(**{"ratio loss": name})
                if "log ratio" in r.numbers.curves
            ]
            if runs:
                median_curve(
                    axes, grid, [c["log ratio"] for c in runs], COLOURS[i], name.replace("_", " "), ls="--"
                )
        axes.set_ylim(-5, 5)
        axes.set_title(family)
        axes.set_xlabel("x")
        axes.set_ylabel("log r(x), nats")
        axes.legend(fontsize=7, loc="upper left")
    return figure


@styled
def gradients(results: Results, separations: Sequence[float], generators: Sequence[str]) -> Figure:
    """Gradients of every generator loss against separation: at the exact ratio, at a classifier's, by moments."""
    figure, panels = new_figure(1, 3, (3.4, 3.6))
    for axes, ratio in zip(panels, ("exact", "logistic", "moments"), strict=True):
        runs = [r.numbers.values for r in results.of(**{"ratio loss": ratio})]
        names = ("mmd", "wasserstein") if ratio == "moments" else generators
        for i, name in enumerate(names):
            places = [m for m in separations if all(f"{name} at {m:g}" in v for v in runs)]
            if places:
                curves = [[max(v[f"{name} at {m:g}"], 1e-12) for m in places] for v in runs]
                label = name.replace("_", " ")
                median_curve(axes, places, curves, COLOURS[i], label, ls=LINES[i % 4], marker=".")
        axes.set_yscale("log")
        axes.set_ylim(1e-7, 1e7)
        axes.set_xlabel("separation m of the means, in σ")
        axes.set_ylabel("|gradient|, median minibatch")
        words = {"exact": "exact ratio", "logistic": "classifier's ratio", "moments": "moments"}
        axes.set_title(words[ratio], pad=52)
        legend(axes)
    return figure


@styled
def crossed(results: Results, m: float, ratio_losses: Sequence[str], generators: Sequence[str]) -> Figure:
    """Every ratio loss with every generator loss at one separation: the median over seeds of log₁₀ |gradient|."""
    table = np.full((len(ratio_losses), len(generators)), np.nan)
    for i, ratio in enumerate(ratio_losses):
        for j, generator in enumerate(generators):
            runs = [
                r.numbers.values.get(f"{generator} at {m:g}") for r in results.of(**{"ratio loss": ratio})
            ]
            sizes = [v for v in runs if v is not None]
            if sizes:
                table[i, j] = np.log10(max(float(np.median(sizes)), 1e-12))
    figure, (axes,) = new_figure(1, 1, (6.2, 4.6))
    shown = axes.imshow(table, cmap="PuOr", vmin=-6, vmax=6, aspect="auto")
    for (i, j), value in np.ndenumerate(table):
        text, dark = ("–", False) if np.isnan(value) else (f"{value:.1f}", abs(value) > 4)
        axes.text(j, i, text, ha="center", va="center", fontsize=7.5, color="white" if dark else INK)
    axes.set_xticks(
        range(len(generators)), [g.replace("_", " ") for g in generators], rotation=35, ha="right"
    )
    axes.set_yticks(range(len(ratio_losses)), [r.replace("_", " ") for r in ratio_losses])
    axes.grid(visible=False)
    axes.set_xlabel("generator loss")
    axes.set_ylabel("ratio loss")
    figure.colorbar(shown, label=f"log₁₀ |gradient| at separation {m:g}")
    return figure
