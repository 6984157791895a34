"""Layers of settings, `path -> value`, and the configuration that they make.

Values are merged, later over earlier: the defaults of `RunConfig`, the system's defaults, a configuration file, options
of the command line, `--set`. A path such as `training.lr` names one value.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distmatch.errors import BadInput, unknown
from distmatch.runs.config import SECTIONS, RunConfig, check_ranges

if TYPE_CHECKING:
    from pydantic import TypeAdapter


NUMBERS = {"seed"} | {
    f"{section}.{f.name}"
    for section, kind in SECTIONS.items()
    for f in fields(kind)
    if str(f.type).startswith(("int", "float"))
}


def configure(*layers: Mapping[str, Any]) -> RunConfig:
    """The configuration that results from these layers of `path -> value`, later over earlier.

    Raises:
        BadInput: a path that does not exist, with the nearest that does; a value of the wrong kind or range.

    >>> configure({"system": "vae", "data.name": "ring", "training.lr": 1e-3}, {"training.lr": 5e-4}).training.lr
    0.0005
    """
    nested: dict[str, Any] = {}
    for layer in layers:
        for path, value in layer.items():
            where, key = _place(path)
            target = nested
            for part in where:
                target = target.setdefault(part, {})
            if isinstance(value, bool) and path in NUMBERS:
                raise BadInput(f"{path} is {str(value).lower()}; give a number")
            target[key] = value
    config = _validated(nested)
    check_ranges(config)
    return config


def layer_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """A nested configuration, as JSON holds it, as one layer of `path -> value`.

    >>> layer_of({"system": "vae", "options": {"beta": 4.0}, "data": {"name": "ring"}})
    {'system': 'vae', 'system.beta': 4.0, 'data.name': 'ring'}
    """
    layer: dict[str, Any] = {}
    for key, value in config.items():
        section = "system" if key == "options" else key
        for path, item in value.items() if isinstance(value, Mapping) else ():
            if path == "options" and isinstance(item, Mapping):
                layer |= {f"{section}.{k}": v for k, v in item.items()}
            else:
                layer[f"{section}.{path}"] = item
        if not isinstance(value, Mapping):
            layer[key] = value
    return layer


def read_layer(path: Path) -> dict[str, Any]:
    """A configuration file as a layer: a RunConfig as JSON, or the `config.json` of a run.

    Raises:
        BadInput: it cannot be read, is not a JSON object, or names what is not a setting.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(
            f"cannot read the configuration {path} ({error.strerror}); name another file"
        ) from error
    except ValueError as error:
        raise BadInput(
            f"the configuration {path} is not JSON ({error}); a run's config.json is one"
        ) from error
    inner = content.get("config", content) if isinstance(content, dict) else None
    if not isinstance(inner, dict):
        raise BadInput(f"the configuration {path} holds no JSON object; a run's config.json does")
    layer = layer_of(inner)
    for place in layer:
        try:
            _place(place)
        except BadInput as error:
            raise BadInput(f"the configuration {path} cannot be used: {error}") from error
    return layer


def assignment(text: str) -> dict[str, Any]:
    """One `--set path=value` as a layer; the value is JSON where it can be, else text.

    >>> assignment("training.betas=[0.5, 0.9]"), assignment("network.family=mlp")
    ({'training.betas': [0.5, 0.9]}, {'network.family': 'mlp'})
    """
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise BadInput(f"--set {text!r} is not of the form path=value, such as training.lr=0.0002")
    try:
        return {path.strip(): json.loads(value)}
    except ValueError:
        return {path.strip(): value.strip()}


def settings_text() -> str:
    """Every setting that `--set` takes, a line each, from the docstrings of the structure.

    >>> print(settings_text().splitlines()[0])
    data.name: a data set (`distmatch list data`).
    """
    lines = []
    for section, kind in SECTIONS.items():
        text = inspect.cleandoc(kind.__doc__ or "").partition("Args:")[2]
        for entry in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, flags=re.MULTILINE):
            lines.append(f"{section}.{entry[0]}: {' '.join(entry[1].split())}")
    return "\n".join(lines)


def _place(path: str) -> tuple[tuple[str, ...], str]:
    """Return the sections of the nested configuration that a path names, and its last key."""
    section, dot, key = path.partition(".")
    if not dot:
        known = {f.name for f in fields(RunConfig)} - {"options", *SECTIONS}
        if section not in known:
            raise unknown("setting", path, _paths())
        return (), section
    if section == "system":
        return ("options",), key
    if section not in SECTIONS:
        raise unknown("setting", path, _paths())
    if key in {f.name for f in fields(SECTIONS[section])} - {"options"}:
        return (section,), key
    if section == "network" and key.isidentifier():
        return ("network", "options"), key
    raise unknown("setting", path, _paths())


def _paths() -> list[str]:
    """Every path there is, but for the options of systems and nets."""
    paths = [f.name for f in fields(RunConfig) if f.name not in ("options", *SECTIONS)]
    for section, kind in SECTIONS.items():
        paths += [f"{section}.{f.name}" for f in fields(kind) if f.name != "options"]
    return paths


@cache
def _adapter() -> TypeAdapter[RunConfig]:
    """Return the reader of nested values as a RunConfig; made once, because a sweep reads thousands."""
    from pydantic import ConfigDict, TypeAdapter

    for kind in (RunConfig, *SECTIONS.values()):
        kind.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    return TypeAdapter(RunConfig)


def _validated(nested: dict[str, Any]) -> RunConfig:
    from pydantic import ValidationError

    try:
        return _adapter().validate_python(nested)
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        message = first["msg"][0].lower() + first["msg"][1:]
        if "options" in path:  # what follows the option's name is which of its types was tried
            path = path[: path.index("options") + 2]
            message = "give a number, true, false, or text"
        where = ".".join(path).replace("network.options.", "network.").replace("options.", "system.")
        raise BadInput(f"{where} is {first['input']!r}: {message}") from error
