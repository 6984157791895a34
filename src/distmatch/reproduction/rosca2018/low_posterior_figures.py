"""The figures of E3: pictures, distributions over three populations, maps of codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from distmatch.reports.style import COLOURS, GREY, legend, new_figure, styled
from distmatch.reproduction.framework.common import kept, unpack
from distmatch.reproduction.framework.experiment import Results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN, SIDE = 8, 16  # pictures of a population, and their side
POPULATIONS = {"data": "data", "neighbours": "nearest data", "low": "low-posterior samples"}
ROWS = {
    "samples": "samples",
    "low": "low-posterior\nsamples",
    "neighbours": "their nearest\ndata",
    "data": "data",
}
CODES = {"prior": "prior draws", "codes": "codes of data", "low": "low-posterior draws"}
AXES = {
    "elbo": "ELBO, nats",
    "rate": "KL(q(z|x)‖p(z)), nats",
    "pixel": "mean pixel",
    "log_q": "log q(z), nats",
}


@styled
def draw_pictures(results: Results) -> Figure:
    """Samples, low-posterior samples with the nearest data, and data, of seed 0."""
    members = results.cells()
    figure, panels = new_figure(1, len(members), (3.6, 2.7))
    for axes, cell in zip(panels, members, strict=True):
        rows = [unpack(row, SIDE) for name in ROWS for row in kept(results, f"pictures/{name}", **cell)]
        grid = torch.cat([torch.cat(list(row), dim=1) for row in rows]).numpy()
        axes.imshow(grid, cmap="gray", vmin=0, vmax=1)
        axes.set_yticks([(i + 0.5) * SIDE for i in range(len(ROWS))], list(ROWS.values()))
        axes.set_xticks([])
        axes.grid(visible=False)
        axes.set_title(str(cell["data"]))
    return figure


@styled
def draw_populations(results: Results) -> Figure:
    """Distributions of ELBO, cost, brightness and log q(z): a thin line for each seed."""
    members = results.cells()
    figure, panels = new_figure(len(members), len(AXES), (2.6, 2.5))
    for place, axes in enumerate(panels):
        cell, (what, label) = members[place // len(AXES)], list(AXES.items())[place % len(AXES)]
        names = {"prior": "prior draws", "codes": "codes of data"} if what == "log_q" else POPULATIONS
        for i, (name, title) in enumerate(names.items()):
            colour = COLOURS[i + 3] if what == "log_q" else COLOURS[i]
            for seed, values in enumerate(kept(results, f"{what}/{name}", **cell)):
                levels = [k / (len(values) - 1) for k in range(len(values))]
                axes.plot(values, levels, color=colour, linewidth=1.0, label=title if seed == 0 else None)
        axes.set(xlabel=f"{label}, {cell['data']}", ylabel="share below")
        if what == "log_q":
            axes.legend(loc="upper left")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=3)
    return figure


@styled
def draw_maps(results: Results) -> Figure:
    """t-SNE of prior draws, codes of data and low-posterior draws, of seed 0."""
    members = results.cells()
    figure, panels = new_figure(1, len(members), (3.6, 3.4))
    for axes, cell in zip(panels, members, strict=True):
        for i, (name, title) in enumerate(CODES.items()):
            x, y = (kept(results, f"map/{name}/{k}", **cell)[0] for k in (0, 1))
            colour = (GREY, COLOURS[0], COLOURS[1])[i]
            axes.scatter(x, y, s=9, color=colour, marker="o^s"[i], label=title, linewidths=0)
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set(xlabel=f"t-SNE, {cell['data']}")
        legend(axes)
    return figure
