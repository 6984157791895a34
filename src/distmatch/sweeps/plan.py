"""From a sweep file to its runs: every configuration is decided and checked before anything starts."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from distmatch.data import DataSet
from distmatch.errors import BadInput
from distmatch.metrics import BETTER
from distmatch.objectives.numbers import ANY_NUMBER
from distmatch.objectives.objective import Objective
from distmatch.runs.build import assemble, data_of, layered, objective_of, resolved
from distmatch.runs.config import RunConfig
from distmatch.runs.layers import absolute
from distmatch.sweeps.file import Part, SweepFile
from distmatch.sweeps.space import Choice, Range, Space, Value, draws

LONGEST_NAME = 120
Structure = tuple[Objective, str]
"""What runs must have in common to be lanes of one program, as far as a configuration tells."""


@dataclass(frozen=True)
class Run:
    """One run of a sweep.

    Args:
        name: of its folder.
        settings: what varies in the sweep, by path, as it is in this run.
        asked: its configuration, with what is left to the machine that trains it still `auto`.
        config: the same, resolved for a CPU.
        structure: of its program.
    """

    name: str
    settings: dict[str, Value]
    asked: RunConfig
    config: RunConfig
    structure: Structure


@dataclass(frozen=True)
class Cell:
    """One combination of the grid: what it fixes, how it is called, and what is searched in it."""

    settings: dict[str, Value]
    varied: tuple[str, ...]
    label: str
    space: Space


class Checker:
    """Turns settings into runs. Data are loaded once; each structure's nets are built once, to see that they can be."""

    def __init__(self) -> None:
        self._data: dict[object, DataSet] = {}
        self._built: dict[Structure, None] = {}
        self.notes: dict[str, list[str]] = {}  # what there is to know -> a run of each such structure

    def runs(
        self,
        settings: Mapping[str, Value],
        varied: Mapping[str, Value],
        label: str,
        seeds: Sequence[int] | None,
    ) -> list[Run]:
        """A setting with each of the seeds.

        Raises:
            BadInput: it cannot be run; the sentence names the run.
        """
        try:
            asked = layered(absolute(settings))
            data = self._data_of(asked)
            config = resolved(replace(asked, device="cpu"), data)
            structure = structure_of(config)
            if structure not in self._built:
                for note in assemble(config, data).notes:
                    self.notes.setdefault(note, []).append(label or "run")
                self._built[structure] = None
        except BadInput as error:
            raise BadInput(f"the run {label or 'of the sweep'}: {error}") from error
        if seeds is None:
            return [Run(label or "run", dict(varied), asked, config, structure)]
        many = len(seeds) > 1
        return [
            Run(
                ",".join(filter(None, (label, f"seed={seed}" if many or not label else ""))),
                {**varied, "seed": seed},
                replace(asked, seed=seed),
                replace(config, seed=seed),
                structure,
            )
            for seed in seeds
        ]

    def said(self) -> tuple[str, ...]:
        """Notes on the runs so far, each once, with the first settings that it holds for."""
        more = {
            note: f" and {len(names) - 1} more" if len(names) > 1 else ""
            for note, names in self.notes.items()
        }
        return tuple(f"{names[0]}{more[note]}: {note}" for note, names in self.notes.items())

    def _data_of(self, config: RunConfig) -> DataSet:
        """The data, those of the first seed for all: what is asked of them here does not depend on it."""
        key = replace(config.data, binarise="auto")
        if key not in self._data:
            self._data[key] = data_of(config)
        return self._data[key]


def cells(file: SweepFile) -> list[Cell]:
    """Every combination of the grid, system by system."""
    cells = []
    for system, part in _systems(file):
        grid = {**file.common.grid, **part.grid}
        grid.pop("system", None)
        base = {**file.common.base, **part.base}
        for values in itertools.product(*grid.values()):
            varied = dict(zip(grid, values, strict=True))
            if system is not None and len(_systems(file)) > 1:
                varied = {"system": system, **varied}
            settings = {**base, **varied, **({} if system is None else {"system": system})}
            cells.append(Cell(settings, tuple(varied), label_of(varied), {**file.common.space, **part.space}))
    return cells


def varied_paths(file: SweepFile) -> list[str]:
    """The paths that differ between runs, in the order of the file."""
    paths = ["system"] if len(_systems(file)) > 1 else []
    for part in (file.common, *file.systems.values()):
        paths += [*part.grid, *part.space]
    if file.seeds is not None:
        paths.append("seed")
    return [path for path in dict.fromkeys(paths) if path != "system" or len(_systems(file)) > 1]


def planned(file: SweepFile, checker: Checker | None = None) -> list[Run]:
    """All runs of a grid, or of draws at random; for Optuna's trials, which are not known yet, none.

    Raises:
        BadInput: a run cannot be; the first one is named.
    """
    checker = checker or Checker()
    if file.search is not None:
        return []
    runs: list[Run] = []
    for cell in cells(file):
        count, seed = (file.draws.n, file.draws.random_seed) if file.draws else (1, 0)
        for number, drawn in enumerate(draws(cell.space, count, seed)):
            mark = f"draw={number:0{len(str(count - 1))}d}" if file.draws else ""
            runs += checker.runs(
                {**cell.settings, **drawn},
                {**{path: cell.settings[path] for path in cell.varied}, **drawn},
                ",".join(filter(None, (cell.label, mark))),
                file.seeds,
            )
    return _named(runs)


def corners(cell: Cell) -> Iterator[dict[str, Value]]:
    """Settings at the ends of what is searched: all first values, then each other end and choice by itself."""
    ends = {path: _ends(axis) for path, axis in cell.space.items()}
    first = {path: values[0] for path, values in ends.items()}
    yield first
    for path, values in ends.items():
        for value in values[1:]:
            yield {**first, path: value}


def structure_of(config: RunConfig) -> Structure:
    """Return what two runs must share to be lanes: all but the seed, learning rates and numbers of the objective."""
    objective = objective_of(config)
    objective = objective.with_numbers(dict.fromkeys(objective.numbers(), ANY_NUMBER))
    about = config.as_dict()
    for name in ("seed", "system", "terms", "options"):
        about.pop(name)
    for name in ("lr", "critic_lr"):
        about["training"].pop(name)
    return objective, json.dumps(about, sort_keys=True)


def check_metric(metric: str, config: RunConfig, where: str, of_log: bool) -> None:
    """Raise `BadInput` for a metric that neither a run's log nor, unless `of_log`, a metric of models gives."""
    known = losses_of(config)
    if not of_log:
        known += BETTER
    if metric not in known:
        raise BadInput(
            f"[{where}] metric {metric!r} is none of a run of {config.system or config.terms}; "
            f"give one of {', '.join(known)}"
        )


def losses_of(config: RunConfig) -> list[str]:
    """The losses in the log of a run, those on validation data with `validation/` before them."""
    objective = objective_of(config)
    named = zip(objective.names, objective.terms, strict=True)
    return [*objective.names, *(f"validation/{name}" for name, term in named if not term.critics)]


def label_of(varied: Mapping[str, Value]) -> str:
    """Settings as the name of a folder.

    >>> label_of({"system": "vgh++", "training.lr": 1e-3, "training.betas": [0.5, 0.9]})
    'vgh++,lr=0.001,betas=0.5_0.9'
    """
    ends = Counter(path.rpartition(".")[2] for path in varied)
    parts = []
    for path, value in varied.items():
        end = path.rpartition(".")[2]
        text = "_".join(map(str, value)) if isinstance(value, list) else str(value)
        parts.append(text if path in ("system", "terms") else f"{end if ends[end] == 1 else path}={text}")
    return ",".join(parts)


def folder_name(run: Run) -> Run:
    """The same with a name that is a folder's."""
    clean = _clean(run.name)
    return replace(run, name=_short(run.name, clean) if len(clean) > LONGEST_NAME else clean)


def _clean(name: str) -> str:
    return re.sub(r"[^\w.+=,@-]+", "_", name).strip("._") or "run"


def _named(runs: Sequence[Run]) -> list[Run]:
    """The same with names that are folders' and differ."""
    clean = [_clean(run.name) for run in runs]
    times = Counter(name.lower() for name in clean)
    return [
        replace(
            run, name=_short(run.name, name) if times[name.lower()] > 1 or len(name) > LONGEST_NAME else name
        )
        for run, name in zip(runs, clean, strict=True)
    ]


def _short(full: str, name: str) -> str:
    return f"{name[: LONGEST_NAME - 9]}-{hashlib.sha256(full.encode()).hexdigest()[:8]}"


def _systems(file: SweepFile) -> list[tuple[str | None, Part]]:
    """The systems of a sweep, each with what it has of its own; None where it is not by system."""
    names: list[Any] = list(file.common.grid.get("system", []))
    if not names and "system" in file.common.base:
        names = [file.common.base["system"]]
    if not names:
        names = list(file.systems) or [None]
    for name in file.systems:
        if name not in names:
            raise BadInput(
                f"[systems.{name}] is of a system that is not in the sweep; add it to system in [grid]"
            )
    return [(name, file.systems.get(name, Part())) for name in names]


def _ends(axis: Range | Choice) -> list[Value]:
    return [axis.low, axis.high] if isinstance(axis, Range) else list(axis.values)


def by_structure(runs: Iterable[Run]) -> dict[Structure, list[Run]]:
    """Runs that can be lanes of one program, together, in order."""
    groups: dict[Structure, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.structure, []).append(run)
    return groups
