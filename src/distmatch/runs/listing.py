"""What there is, and what a system is, for the terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from distmatch.data import DATA_SETS
from distmatch.metrics import METRICS
from distmatch.networks import NETWORKS
from distmatch.objectives.objective import Objective
from distmatch.runs.build import DEFAULT_LATENT, assemble
from distmatch.runs.config import RunConfig, TrainingConfig
from distmatch.runs.folder import refuse_taken
from distmatch.runs.view import players_of
from distmatch.systems import SYSTEMS, find


def table_of(what: str) -> Table:
    """The systems, data, metrics or networks, a row each."""
    if what == "systems":
        return _table(
            ("system", "equation", "what", "reference"),
            [(n, str(s.objective()), s.summary, s.reference) for n, s in SYSTEMS.items()],
        )
    if what == "data":
        return _table(
            ("data set", "what", "shape", "licence"),
            [(n, e.description, e.shape, e.licence) for n, e in DATA_SETS.items()],
        )
    if what == "metrics":
        return _table(
            ("metric", "question", "needs", "reference"),
            [(n, d.question, ", ".join(d.needs), d.reference) for n, d in METRICS.items()],
        )
    return _table(
        ("network", "what", "options", "reference"),
        [
            (n, f.description, ", ".join(f.options.__dataclass_fields__), f.reference)
            for n, f in NETWORKS.items()
        ],
    )


def description_of(system: str) -> Group:
    """A system, or an objective as text: equation, players of each term, critics, nets, defaults, reference."""
    if not re.fullmatch(r"[\w-]+\+*", system):
        from distmatch.objectives.parser import parse

        return Group(*objective_lines(parse(system)))
    found = find(system)
    parts = [Text(found.summary, style="bold"), *objective_lines(found.objective())]
    options = ", ".join(f"system.{k}={v}" for k, v in found.options.items())
    common = {f"training.{k}": v for k, v in asdict(TrainingConfig()).items() if v is not None}
    training = {**common, **found.defaults}
    auto = "mlp" if found.objective().needs_likelihood else "dcgan for images of its sizes, else mlp"
    family = found.defaults.get("network.family", auto)
    latent = "as large as the data" if family in NETWORKS and NETWORKS[family].flow else DEFAULT_LATENT
    parts += [
        Text(f"options:   {options or 'none'}"),
        Text(f"family:    {family}; latent {latent}"),
        Text(f"defaults:  {', '.join(f'{k}={v}' for k, v in training.items())}"),
        Text(f"reference: {found.reference}"),
    ]
    return Group(*parts)


def objective_lines(objective: Objective) -> list[Text | Table]:
    """An objective's equation, its terms and players, the nets and critics that it needs."""
    table = _table(("term", "minimised by", "critic"), players_of(objective))
    critics = "; ".join(f"{n} scores ({', '.join(s)})" for n, s in objective.critics.items())
    penalties = "; ".join(f"{name}: {p.equation()}" for name, (_, p) in objective.penalties.items())
    lines: list[Text | Table] = [Text(f"minimise   {objective}"), table]
    lines.append(Text(f"nets:      {', '.join((*objective.uses, *objective.critics))}"))
    lines.append(Text(f"critics:   {critics or 'none'}"))
    if penalties:
        lines.append(Text(f"penalties: {penalties}"))
    return lines


def plan_of(config: RunConfig, out: Path) -> list[Text | Table | str]:
    """What a run would be: its objective, sizes, data, folder and whole configuration.

    Raises:
        BadInput: all that `train` would raise before it trains.
    """
    refuse_taken(out)
    plan = assemble(config)
    sizes = {n: sum(p.numel() for p in net.parameters()) for n, net in plan.trainer.nets.items()}
    return [
        *objective_lines(plan.objective),
        "weights:   " + ", ".join(f"{n} {size:,}" for n, size in sizes.items()),
        f"data:      {plan.data.name}, {len(plan.data.train):,} examples ({plan.data.bits})",
        f"folder:    {out}",
        *(f"note:      {text}" for text in plan.notes),
        json.dumps(plan.config.as_dict(), indent=2),
    ]


def _table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table
