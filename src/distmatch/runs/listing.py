"""Lists, descriptions of systems and plans of runs as plain data, which `catalogue` prints."""

from __future__ import annotations

import json
import re
from pathlib import Path

from distmatch.data import DATA_SETS
from distmatch.files import put
from distmatch.metrics import METRICS
from distmatch.networks import NETWORKS
from distmatch.objectives.objective import Objective
from distmatch.runs.build import DEFAULT_LATENT, assemble
from distmatch.runs.catalogue import Content, Line, table
from distmatch.runs.config import RunConfig
from distmatch.runs.folder import refuse_taken
from distmatch.runs.settings import SETTINGS
from distmatch.runs.view import terms_of
from distmatch.systems import SYSTEMS, find

INDEX = Path(__file__).with_name("index.json")


def index() -> Content:
    """Return what `distmatch list` and `distmatch show` print, as plain data: `make index` writes it to a file.

    >>> index()["lists"]["data"]["rows"][0][0]
    'digits'
    """
    lists = {
        "systems": table(
            ("system", "equation", "what", "reference"),
            [(n, str(s.objective()), s.summary, s.reference) for n, s in SYSTEMS.items()],
        ),
        "data": table(
            ("data set", "what", "shape", "licence"),
            [(n, e.description, e.shape, e.licence) for n, e in DATA_SETS.items()],
        ),
        "metrics": table(
            ("metric", "question", "needs", "reference"),
            [(n, m.question, ", ".join(m.needs), m.reference) for n, m in METRICS.items()],
        ),
        "networks": table(
            ("network", "what", "options", "reference"),
            [
                (n, f.description, ", ".join(f.options.__dataclass_fields__), f.reference)
                for n, f in NETWORKS.items()
            ],
        ),
    }
    return {"lists": lists, "systems": {name: description_of(name) for name in SYSTEMS}}


def write_index(path: Path = INDEX) -> None:
    """Write the index."""
    put(path, (json.dumps(index(), indent=1, ensure_ascii=False) + "\n").encode())


def description_of(system: str) -> list[Line]:
    """Return a system, or an objective as text: equation, who minimises each term, critics, nets, defaults, reference.

    Raises:
        BadInput: there is no such system, or the text is not an objective.
    """
    if not re.fullmatch(r"[\w-]+\+*", system):
        from distmatch.objectives.parser import parse

        return objective_lines(parse(system))
    named = find(system)
    options = ", ".join(f"system.{k}={v}" for k, v in named.options.items())
    common = {
        path: s.default
        for path, s in SETTINGS.items()
        if path.startswith("training.") and s.default is not None
    }
    training = {**common, **named.defaults}
    auto = "mlp" if named.objective().needs_likelihood else "dcgan for images of its sizes, else mlp"
    family = named.defaults.get("network.family", auto)
    latent = "as large as the data" if family in NETWORKS and NETWORKS[family].flow else DEFAULT_LATENT
    return [
        named.summary,
        *objective_lines(named.objective()),
        f"options:   {options or 'none'}",
        f"family:    {family}; latent {latent}",
        f"defaults:  {', '.join(f'{k}={v}' for k, v in training.items())}",
        f"reference: {named.reference}",
    ]


def objective_lines(objective: Objective) -> list[Line]:
    """Return an objective's equation, its terms and who minimises them, the nets and critics that it needs."""
    critics = "; ".join(f"{n} scores ({', '.join(s)})" for n, s in objective.critics.items())
    return [
        f"minimise   {objective}",
        table(("term", "minimised by", "critic"), terms_of(objective)),
        f"nets:      {', '.join((*objective.uses, *objective.critics))}",
        f"critics:   {critics or 'none'}",
    ]


def plan_of(config: RunConfig, out: Path) -> list[Line]:
    """Return the plan of a run: its objective, sizes, data, folder and whole configuration.

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
