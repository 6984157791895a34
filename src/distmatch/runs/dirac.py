"""Methods on the Dirac problem, from the command line's words to a table and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from distmatch.dirac import METHODS, SCHEDULES, Dirac, Schedule, find, from_comparison
from distmatch.errors import BadInput
from distmatch.files import put
from distmatch.objectives.comparisons import by_name
from distmatch.objectives.parser import read_option
from distmatch.objectives.penalties import Penalty
from distmatch.reports.phase import dirac_table, phase_gallery, phase_portrait
from distmatch.reports.style import figure_to_svg
from distmatch.systems import gan


def methods_of(
    method: str | None = None, by: str | None = None, penalty: str | None = None, noise: float | None = None
) -> dict[str, Dirac]:
    """The method of a name, or the one that a comparison and a penalty make, or all of them.

    Raises:
        BadInput: a name that is not known, a penalty that cannot be read, or words that do not go together.

    >>> list(methods_of("r1")), list(methods_of(by="wasserstein", penalty="gp(0.35)"))
    (['r1'], ['wasserstein'])
    """
    if by is None and (penalty is not None or noise is not None):
        raise BadInput("a penalty or noise goes with a comparison; name one by --by")
    if by is None:
        return {name: make() for name, make in METHODS.items()} if method is None else {method: find(method)}
    if method is not None:
        raise BadInput(f"{method} is a method and --by makes another; give one of them")
    return {by: from_comparison(by_name(by), None if penalty is None else penalty_of(penalty), noise or 0.0)}


def penalty_of(text: str) -> Penalty:
    """A penalty as it stands in an objective.

    >>> penalty_of("clip(0.5)")
    Clip(bound=0.5)
    """
    try:
        penalty: Penalty | None = read_option(gan, "penalty", text)
    except BadInput as error:
        raise BadInput(str(error).replace("system.penalty", "--penalty", 1)) from None
    if penalty is None:
        raise BadInput("--penalty none is not a penalty; leave it out")
    return penalty


def schedules_of(
    order: Any = None, critic_steps: int | None = None, first: Any = None
) -> tuple[Schedule, ...]:
    """The schedule of these words, or without an order all of the table's.

    >>> [str(s) for s in schedules_of("alternating", 5, "critic")], len(schedules_of())
    (['alternating, 5 D, critic first'], 3)
    """
    if order is None and (critic_steps is not None or first is not None):
        raise BadInput("the critic's steps and who is first belong to one order; add --order alternating")
    if order is None:
        return SCHEDULES
    return (Schedule(order, 1 if critic_steps is None else critic_steps, first or "generator"),)


def draw(
    methods: Mapping[str, Dirac], schedules: Sequence[Schedule], h: float, steps: int, out: Path
) -> Table:
    """Write the phase portrait of one method, or the gallery of many, as .svg; give the table."""
    if out.suffix != ".svg":
        raise BadInput(f"{out} is not a .svg file; give a name that ends so")
    table = dirac_table(methods, h, steps, schedules)
    if len(methods) == 1:
        figure = phase_portrait(next(iter(methods.values())), h, steps, schedules)
    else:
        figure = phase_gallery(list(methods.values()), h, steps, schedules[:2])
    put(out, figure_to_svg(figure).encode())
    return table
