"""Objectives written as the text that `parser` reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass, replace
from types import FunctionType
from typing import Any

from torch import Tensor

from distmatch.errors import BadInput
from distmatch.objectives.comparisons import Comparison
from distmatch.objectives.objective import Objective
from distmatch.objectives.parser import parse, short
from distmatch.objectives.term import Term
from distmatch.objectives.variables import Variable
from distmatch.objectives.vocabulary import NAMED, TERMS, arguments
from distmatch.schedules import Ramp, Share


def unparse(objective: Objective) -> str:
    """The text that `parse` reads as this objective; `BadInput` if there is none.

    Numbers are written, but for those that ask for nothing; names where they differ from what would be taken without
    them.

    >>> from distmatch.systems import vgh, wgan_gp
    >>> unparse(vgh())
    '10*distance(x, x_rec, order=1, reduction=mean) + match(x_rec, x).to(decoder) + match(z_code, z_prior)'
    >>> unparse(wgan_gp())
    'match(x_gen, x, by=wasserstein, penalty=gp(10, centre=1))'
    """
    if any(isinstance(number, Tensor) for number in objective.numbers().values()):
        raise BadInput("an objective that holds a tensor cannot be written as text; give it a number")
    text = " + ".join(_term(t) for t in objective.terms) + (" | y" if objective.labels else "")
    try:
        same = parse(text) == objective
    except BadInput as error:
        raise BadInput(f"this objective cannot be written as text: {str(error).splitlines()[0]}") from None
    if not same:
        raise BadInput(f"this objective cannot be written as text: {short(text)!r} says something else")
    return text


def option_text(value: Any) -> str:
    """The text that `read_option` reads as this value.

    >>> from distmatch.objectives.penalties import PENALTIES
    >>> option_text(None), option_text(PENALTIES["clip"](0.1)), option_text(Ramp(0, 1, 10))
    ('none', 'clip(0.1)', 'ramp(0, 1, 10)')
    """
    return value if isinstance(value, str) else _value(value)


def _term(term: Term) -> str:
    text = _said(replace(term, weight=1.0, only=()), TERMS)
    text += f".to({', '.join(term.only)})" if term.only else ""
    return text if term.weight == 1 else f"{_value(term.weight)}*{text}"


def _said(item: Any, known: Mapping[str, Any]) -> str:
    """The name, with arguments where it needs them, by which this item is known."""
    for name, entry in known.items():
        if entry == item:
            return name
        if isinstance(entry, type) and not isinstance(item, entry):
            continue
        if isinstance(entry, FunctionType | type) and (text := _call(name, entry, item)):
            return text
    raise BadInput(f"this objective cannot be written as text: its {type(item).__name__} has no name here")


def _call(name: str, build: Callable[..., Any], item: Any) -> str:
    """The call that makes this item; empty if none does."""

    def makes(values: dict[str, Any]) -> bool:
        try:
            return bool(build(**values) == item)
        except (TypeError, ValueError):
            return False

    known = arguments(build)
    values = {a: getattr(item, a) for a in known if hasattr(item, a)}
    if not makes(values):
        return ""
    quiet = {f.name for f in fields(build) if f.metadata.get("quiet")} if is_dataclass(build) else set()
    kinds = str | bool | Comparison
    for a in [a for a, v in values.items() if v is None or isinstance(v, kinds) or a in quiet][::-1]:
        less = {b: v for b, v in values.items() if b != a}
        if makes(less):
            values = less
    written: list[str] = []
    for a, v in values.items():
        bare = len(written) == list(known).index(a) and not any("=" in w for w in written)
        bare &= known[a].positional and (not written or build is Ramp or isinstance(v, Variable | tuple))
        written.append(_value(v) if bare else f"{a}={_value(v)}")
    return name + (f"({', '.join(written)})" if written else "")


def _value(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | str | Share):
        return str(value)
    if isinstance(value, float):
        return repr(float(value) + 0.0).removesuffix(".0")
    if isinstance(value, tuple):
        return _value(value[0]) if len(value) == 1 else f"({', '.join(map(_value, value))})"
    return _said(value, next((names for kind, (_, names) in NAMED.items() if isinstance(value, kind)), {}))
