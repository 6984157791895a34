"""The numbers that terms and penalties hold, by their path."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor, tensor

from distmatch.schedules import Ramp

ANY_NUMBER: Tensor = tensor(1.0)
"""What stands for each number where only the structure of objectives is compared; no term checks a tensor's range."""


def leaves(item: Any, kind: Any) -> dict[str, Any]:
    """The values of this kind that a term or a penalty holds, by their path, but for those marked static."""
    values: dict[str, Any] = {}
    for field in fields(item):
        value = getattr(item, field.name)
        if isinstance(value, kind):
            values |= {} if field.metadata.get("static") else {field.name: value}
        elif is_dataclass(value) and not isinstance(value, Ramp):
            values |= {f"{field.name}.{path}": v for path, v in leaves(value, kind).items()}
    return values


def replaced(item: Any, path: list[str], value: float | Tensor) -> Any:
    """As `dataclasses.replace` does, but for the constructor: the compiler of torch 2.11 cannot take its defaults."""
    name, *rest = path
    copy = object.__new__(type(item))
    for field in fields(item):
        object.__setattr__(copy, field.name, getattr(item, field.name))
    object.__setattr__(copy, name, replaced(getattr(item, name), rest, value) if rest else value)
    if hasattr(copy, "__post_init__"):
        copy.__post_init__()
    return copy
