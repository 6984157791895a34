"""Phase portraits of methods on the Dirac problem, and their table."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from distmatch.dirac import (
    SCHEDULES,
    Dirac,
    Schedule,
    field_grid,
    jacobian_eigenvalues,
    trajectory,
    update_eigenvalues,
)
from distmatch.dirac.dynamics import START, STEP, STEPS
from distmatch.errors import BadInput
from distmatch.reports.style import COLOURS, INK, new_figure, styled
from distmatch.reports.table import MISSING, format_estimate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from rich.table import Table
    from torch import Tensor

LEAST_EXTENT, MOST_EXTENT = 1.4, 3.4
FLOOR, CEILING = 1e-18, 1e18  # norms beyond them are not drawn
MANY = 1e4  # a modulus from here on needs no four decimals
NO_EIGENVALUES = "no eigenvalues: v is not smooth at 0"


@styled
def phase_portrait(
    method: Dirac,
    h: float = STEP,
    steps: int = STEPS,
    schedules: Sequence[Schedule] = SCHEDULES,
    start: tuple[float, float] = START,
) -> Figure:
    """The field of a method with its trajectories, and beside it their distance from the equilibrium.

    >>> from distmatch.dirac import gan
    >>> [axes.get_xlabel() for axes in phase_portrait(gan(), steps=20).axes]
    ['θ, the model', 'round']
    """
    figure, [plane, norms] = new_figure(1, 2, (3.9, 3.8))
    paths = [_path(method, schedule, h, steps, start) for schedule in schedules]
    _portrait(plane, method, paths, schedules)
    plane.set(xlabel="θ, the model", ylabel="ψ, the critic's slope")
    for schedule, path, colour in zip(schedules, paths, COLOURS, strict=False):
        distances = path.norm(dim=-1)
        shown = (distances > FLOOR) & (distances < CEILING)
        label = f"{schedule}: {format_estimate(distances[-1].item())}"
        norms.plot(distances.where(shown, math.nan), color=colour, label=label)
    norms.set_yscale("log")
    norms.set(xlabel="round", ylabel="‖(θ, ψ)‖")
    norms.set_title(f"distance from the equilibrium, h = {h:g}\n{method.equation}")
    figure.legend(*norms.get_legend_handles_labels(), loc="outside lower center", ncols=len(paths))
    return figure


@styled
def phase_gallery(
    methods: Sequence[Dirac],
    h: float = STEP,
    steps: int = STEPS,
    schedules: Sequence[Schedule] = SCHEDULES[:2],
    columns: int = 3,
) -> Figure:
    """Phase portraits of many methods, a panel each.

    >>> from distmatch.dirac import gan, wgan
    >>> len(phase_gallery([gan(), wgan()], steps=20).axes)
    2
    """
    if not methods:
        raise BadInput("no method to draw; give at least one")
    columns = min(columns, len(methods))
    figure, panels = new_figure(math.ceil(len(methods) / columns), columns, (2.9, 3.05), used=len(methods))
    for k, (axes, method) in enumerate(zip(panels, methods, strict=True)):
        paths = [_path(method, schedule, h, steps) for schedule in schedules]
        _portrait(axes, method, paths, schedules)
        axes.set_ylabel("ψ" if k % columns == 0 else "")
        axes.set_xlabel("θ" if k + columns >= len(methods) else "")
    figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=len(schedules) + 2
    )
    return figure


def dirac_table(
    methods: Mapping[str, Dirac],
    h: float = STEP,
    steps: int = STEPS,
    schedules: Sequence[Schedule] = SCHEDULES,
) -> Table:
    """Per method, for the terminal: the field's eigenvalues, and per schedule ‖(θ, ψ)‖ after all rounds with |μ|.

    |μ| is the largest modulus of the update's eigenvalues at the equilibrium, the factor by which a round shrinks
    a small distance in the long run.

    >>> from distmatch.dirac import gan
    >>> dirac_table({"gan": gan()}, steps=10).row_count
    1
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(header_style="bold", show_edge=False, pad_edge=False)
    for heading in ("method", "what", "eigenvalues"):
        table.add_column(heading)
    for schedule in schedules:
        table.add_column(Text(f"{schedule}: ‖w‖"), justify="right")
        table.add_column(Text("|μ|"), justify="right")
    for name, method in methods.items():
        row = [name, method.name, eigenvalues_text(method)]
        for schedule in schedules:
            norm = _path(method, schedule, h, steps)[-1].norm()
            row += [format_estimate(norm.item()), _modulus(method, h, schedule)]
        table.add_row(*map(Text, row))
    return table


def eigenvalues_text(method: Dirac) -> str:
    """The eigenvalues of the field's derivative at the equilibrium, or why there are none.

    >>> from distmatch.dirac import gan, r1, wgan_gp
    >>> eigenvalues_text(gan()), eigenvalues_text(r1(0.3)), eigenvalues_text(r1(2.0))
    ('±0.5i', '-0.15 ± 0.477i', '-1.866, -0.134')
    >>> eigenvalues_text(wgan_gp())
    'no eigenvalues: v is not smooth at 0'
    """
    try:
        low, high = jacobian_eigenvalues(method).tolist()
    except BadInput:
        return NO_EIGENVALUES
    if high.imag < 1e-6:
        return f"{_rounded(low.real)}, {_rounded(high.real)}"
    real = _rounded(high.real)
    return f"{'' if real == '0' else real + ' '}±{'' if real == '0' else ' '}{_rounded(high.imag)}i"


@functools.lru_cache(maxsize=64)
def _path(
    method: Dirac, schedule: Schedule, h: float, steps: int, start: tuple[float, float] = START
) -> Tensor:
    """A trajectory, cached since the table and the figure both use it."""
    return trajectory(method, h, start, steps, *schedule)


def _portrait(axes: Axes, method: Dirac, paths: Sequence[Tensor], schedules: Sequence[Schedule]) -> None:
    """The field as streamlines, a path for each schedule, its start as a dot, and the equilibrium as a cross."""
    reach = max(float(p.nan_to_num(MOST_EXTENT).abs().max()) for p in paths)
    extent = min(max(1.12 * reach, LEAST_EXTENT), MOST_EXTENT)
    places, field = field_grid(method, extent, points=25)
    axis = places[0, :, 0].numpy()
    across, up = field.permute(2, 0, 1).numpy()
    axes.streamplot(axis, axis, across, up, color="#cfcfcf", density=0.6, linewidth=0.7, arrowsize=0.7)
    for schedule, path, colour in zip(schedules, paths, COLOURS, strict=False):
        near = path.where((path.abs() < 4 * extent).all(-1, keepdim=True), math.nan)
        axes.plot(*near.T, color=colour, linewidth=0.9, label=str(schedule))
    axes.plot(*paths[0][0], "o", color=INK, markersize=4, label="start", linestyle="none")
    axes.plot(0, 0, "X", color=COLOURS[3], markersize=7, markeredgecolor="white", label="equilibrium",
              linestyle="none", zorder=3)  # fmt: skip
    axes.set(xlim=(-extent, extent), ylim=(-extent, extent), aspect="equal")
    axes.locator_params(nbins=5)
    values = eigenvalues_text(method)
    axes.set_title(f"{method.name}\n{values if values == NO_EIGENVALUES else f'eigenvalues {values}'}")


def _modulus(method: Dirac, h: float, schedule: Schedule) -> str:
    try:
        modulus = update_eigenvalues(method, h, *schedule).abs().max().item()
    except BadInput:
        return MISSING
    return f"{modulus:.4f}" if modulus < MANY else format_estimate(modulus)


def _rounded(value: float) -> str:
    return f"{round(value, 3) + 0.0:.4g}"
