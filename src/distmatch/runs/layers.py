"""Configurations from layers of `path -> value`, where a path such as `training.lr` names one setting.

Layers are merged, later over earlier: the defaults in `config`, the system's defaults, a configuration file, options of
the command line, `--set`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from operator import attrgetter
from pathlib import Path
from typing import Any

from distmatch.errors import BadInput, unknown
from distmatch.runs.config import RunConfig, adapter
from distmatch.runs.settings import SETTINGS


def configure(*layers: Mapping[str, Any]) -> RunConfig:
    """Return the configuration that results from these layers of `path -> value`, later over earlier.

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
            if isinstance(value, bool) and path in SETTINGS and SETTINGS[path].is_number:
                raise BadInput(f"{path} is {str(value).lower()}; give a number")
            target[key] = value
    config = _validated(nested)
    _check_numbers(config)
    _check_together(config)
    return config


def read_config(content: Mapping[str, Any]) -> RunConfig:
    """Return the configuration that `RunConfig.as_dict` wrote.

    Raises:
        BadInput: it is another version's, or damaged.
    """
    return configure(layer_of(content))


def layer_of(config: RunConfig | Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration, or one nested as JSON holds it, as one layer of `path -> value`.

    >>> layer_of({"system": "vae", "options": {"beta": 4.0}, "data": {"name": "ring"}})
    {'system': 'vae', 'system.beta': 4.0, 'data.name': 'ring'}
    """
    layer: dict[str, Any] = {}
    for key, value in (config.as_dict() if isinstance(config, RunConfig) else config).items():
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
    """Return a configuration file as a layer: a RunConfig as JSON, or the `config.json` of a run.

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
    """Return one `--set path=value` as a layer; the value is JSON where it can be, else text.

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


def absolute(layer: Mapping[str, Any]) -> dict[str, Any]:
    """Return the layer with a folder of data that is the same from wherever one goes on."""
    folder = layer.get("data.dir")
    if not isinstance(folder, str | os.PathLike):
        return dict(layer)
    return {**layer, "data.dir": str(Path(folder).expanduser().resolve())}


def _place(path: str) -> tuple[tuple[str, ...], str]:
    """Return where in the nested configuration a path lies: its sections, and its key."""
    section, dot, key = path.partition(".")
    if path in SETTINGS:
        return ((section,), key) if dot else ((), section)
    if section == "system" and dot:
        return ("options",), key
    if section == "network" and key.isidentifier():
        return ("network", "options"), key
    raise unknown("setting", path, SETTINGS)


def _validated(nested: dict[str, Any]) -> RunConfig:
    from pydantic import ValidationError

    try:
        return adapter().validate_python(nested)
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        message = first["msg"][0].lower() + first["msg"][1:]
        if "options" in path:  # what follows the option's name is which of its types was tried
            path = path[: path.index("options") + 2]
            message = "give a number, true, false, or text"
        where = ".".join(path).replace("network.options.", "network.").replace("options.", "system.")
        raise BadInput(f"{where} is {first['input']!r}: {message}") from error


def _check_numbers(config: RunConfig) -> None:
    """Raise `BadInput` for a number beyond the bound that is declared with its setting."""
    for path, setting in SETTINGS.items():
        value = attrgetter(path)(config)
        if setting.bound is not None and value is not None and not setting.bound.holds(value):
            shown = f"{value:g}" if isinstance(value, float) else value
            raise BadInput(f"{path} is {shown}; {setting.bound.ask}")


def _check_together(config: RunConfig) -> None:
    """Raise `BadInput` for settings that leave something out, or contradict each other."""
    t = config.training
    if t.consensus and t.unroll:
        raise BadInput("training.consensus and training.unroll are both given; leave one of them out")
    if t.steps is not None and t.epochs is not None:
        raise BadInput("both --steps and --epochs are given; give one of them")
    if (config.system is None) == (config.terms is None):
        both = "a system and --terms are both given" if config.terms else "nothing says what to train"
        raise BadInput(f"{both}; give either a system's name (`distmatch list systems`) or --terms")
    if not config.data.name:
        raise BadInput("no data set is named; give --data, one of those that `distmatch list data` shows")
