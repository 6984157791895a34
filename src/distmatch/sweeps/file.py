"""The sweep file: what is fixed, what varies, how long, and what is measured. TOML, or the same as JSON.

seeds = 3                          # or a list; each setting is run with each
evaluate = ["mmd", "elbo"]         # metrics of each finished run
[base]                             # what all runs share, by the paths of `--set`
data.name = "digits"
training.steps = 2000
[grid]                             # every combination
system = ["vae", "vgh++"]
training.lr = [1e-4, 3e-4, 1e-3]
[systems."vgh++".grid]             # what only one of the systems has
system.weight = [1, 10]
[random]                           # in each cell of the grid, n draws
n = 20
network.latent = {low = 2, high = 50, log = true}
[optuna]                           # instead of [random]: trials that learn from the earlier ones
trials = 50
metric = "validation/nll"
[halving]                          # at 500, 1500, 4500 … steps the best third goes on
metric = "validation/nll"
eta = 3
first = 500
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from distmatch.errors import BadInput, unknown
from distmatch.metrics import Options
from distmatch.sweeps.search import (
    Draws,
    Halving,
    Search,
    read_draws,
    read_halving,
    read_search,
)
from distmatch.sweeps.space import Space, Value, read_space, values_of

SECTIONS = ("base", "grid", "random", "optuna", "systems", "seeds", "halving", "evaluate", "samples")
OF_SYSTEMS = ("base", "grid", "random", "optuna")


@dataclass(frozen=True)
class Part:
    """The settings that one system has of its own, or that all have.

    Args:
        base: settings, by path.
        grid: path -> values.
        space: path -> what is searched.
    """

    base: dict[str, Value] = field(default_factory=dict)
    grid: dict[str, list[Value]] = field(default_factory=dict)
    space: Space = field(default_factory=dict)


@dataclass(frozen=True)
class SweepFile:
    """A sweep file, read and checked as far as it can be without the runs.

    Args:
        content: what was read, each section flat; `parse(content)` is the same again.
        common: what all systems have.
        systems: what each has of its own.
        seeds: of the runs of each setting; None for the one of `[base]`, or those of the grid.
        draws: how many at random.
        search: Optuna's part.
        halving: how hopeless runs are stopped.
        evaluate: metrics to run on each finished run.
        samples: for these.
    """

    content: dict[str, Any]
    common: Part
    systems: dict[str, Part]
    seeds: tuple[int, ...] | None = None
    draws: Draws | None = None
    search: Search | None = None
    halving: Halving | None = None
    evaluate: tuple[str, ...] = ()
    samples: int = Options.samples


def read(path: Path) -> dict[str, Any]:
    """The content of a sweep file, TOML or JSON by its name.

    Raises:
        BadInput: it cannot be read, or is neither.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise BadInput(f"cannot read the sweep file {path} ({why}); name another file") from error
    try:
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        kind = "JSON" if path.suffix == ".json" else "TOML"
        raise BadInput(f"the sweep file {path} is no {kind} ({error}); correct it there") from error
    if not isinstance(content, dict):
        raise BadInput(f"the sweep file {path} holds no table; see `distmatch sweep --help`")
    return content


def parse(content: Mapping[str, Any], of: str = "the sweep file") -> SweepFile:
    """A sweep file's content, understood.

    Args:
        content: as `read` gives it.
        of: how errors call it.

    Raises:
        BadInput: a section or key that is not known, a value of the wrong kind.

    >>> parse({"base": {"data": {"name": "ring"}}, "grid": {"training.lr": [0.1, 0.2]}}).common.grid
    {'training.lr': [0.1, 0.2]}
    """
    try:
        return _parse(content)
    except BadInput as error:
        raise BadInput(f"{of}: {error}") from error


def _parse(content: Mapping[str, Any]) -> SweepFile:
    for key in content:
        if key not in SECTIONS:
            raise unknown("section", key, SECTIONS)
    flat = {key: _flat(key, value) if isinstance(value, Mapping) else value for key, value in content.items()}
    flat["systems"] = {
        name: {
            key: _flat(f"systems.{name}.{key}", part)
            for key, part in _table(f"systems.{name}", parts).items()
        }
        for name, parts in _table("systems", content.get("systems", {})).items()
    }
    for key in ("base", "grid", "random", "optuna", "halving"):
        _table(key, flat.get(key, {}))
    both = [key for key in ("random", "optuna", "halving") if key in flat]
    for one, other in (("random", "optuna"), ("optuna", "halving")):
        if one in both and other in both:
            raise BadInput(f"[{one}] and [{other}] are both there; leave one of them out")
    draws, space = read_draws(flat["random"]) if "random" in flat else (None, {})
    search, searched = read_search(flat["optuna"]) if "optuna" in flat else (None, {})
    common = Part(flat.get("base", {}), _grid("grid", flat.get("grid", {})), {**space, **searched})
    systems = {name: _part(name, parts, flat) for name, parts in flat["systems"].items()}
    for part in (common, *systems.values()):
        _refuse_twice(common, part)
    return SweepFile(
        flat,
        common,
        systems,
        _seeds(flat.get("seeds"), common),
        draws,
        search,
        read_halving(flat["halving"]) if "halving" in flat else None,
        _names(flat.get("evaluate", [])),
        _count("samples", flat.get("samples", SweepFile.samples)),
    )


def _part(name: str, parts: Mapping[str, Any], flat: Mapping[str, Any]) -> Part:
    where = f"systems.{name}"
    for key in parts:
        if key not in OF_SYSTEMS:
            raise unknown(f"section of [{where}]", key, OF_SYSTEMS)
        if key in ("random", "optuna") and key not in flat:
            raise BadInput(
                f"[{where}.{key}] adds ranges to [{key}], which is not there; write it, with its count"
            )
    searched = next((key for key in ("random", "optuna") if key in parts), None)
    space = read_space(f"{where}.{searched}", parts[searched]) if searched else {}
    return Part(dict(parts.get("base", {})), _grid(f"{where}.grid", parts.get("grid", {})), space)


def _grid(section: str, content: Mapping[str, Any]) -> dict[str, list[Value]]:
    return {path: values_of(f"[{section}] {path}", values) for path, values in content.items()}


def _refuse_twice(common: Part, part: Part) -> None:
    """Raise `BadInput` for a path that is given two values at once."""
    for path in part.space:
        if path in part.grid or path in common.grid or (part is not common and path in common.space):
            raise BadInput(f"{path} is varied twice; leave it in one section")
    for path in common.grid.keys() & part.grid.keys() if part is not common else ():
        raise BadInput(f"{path} is varied twice; leave it in one section")
    for path in ("system", "seed"):
        if path in part.space or (part is not common and (path in part.grid or path in part.base)):
            raise BadInput(f"{path} can be varied by [grid] alone; put it there")


def _seeds(given: Any, common: Part) -> tuple[int, ...] | None:
    if given is None:
        return None
    if "seed" in common.grid or "seed" in common.base:
        raise BadInput("seeds are given, and a seed elsewhere; leave one of the two out")
    if isinstance(given, list):
        for seed in values_of("seeds", given):
            if isinstance(seed, bool) or not isinstance(seed, int) or seed < 0:
                raise BadInput(f"seeds names {seed!r}; give whole numbers, 0 or above")
        return tuple(given)
    return tuple(range(_count("seeds", given)))


def _names(given: Any) -> tuple[str, ...]:
    from distmatch.metrics import find

    names = [given] if isinstance(given, str) else given
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise BadInput(f"evaluate is {given!r}; give a list of metrics (`distmatch list metrics`)")
    return tuple(dict.fromkeys(find(name).name for name in names))


def _count(what: str, given: Any) -> int:
    if isinstance(given, bool) or not isinstance(given, int) or given < 1:
        raise BadInput(f"{what} is {given!r}; give a whole number, 1 or above")
    return given


def _table(where: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadInput(f"{where} is {value!r}; give a table of settings, [{where}]")
    return value


def _flat(section: str, content: Any, prefix: str = "") -> dict[str, Any]:
    """Nested tables as paths; a range is a leaf."""
    settings: dict[str, Any] = {}
    for key, value in _table(section, content).items():
        path = f"{prefix}{key}"
        nested = isinstance(value, Mapping) and not value.keys() & {"low", "high"}
        for place, item in (_flat(section, value, f"{path}.") if nested else {path: value}).items():
            if place in settings:
                raise BadInput(f"[{section}] {place} is given twice; leave one out")
            if not nested and not isinstance(item, bool | int | float | str | list | Mapping | None):
                raise BadInput(f"[{section}] {place} is {item}; give a number, true, false, text or a list")
            settings[place] = item
    return settings
