"""The settings of a run, by paths such as `training.lr`: read off the declarations in `config`."""

from __future__ import annotations

import inspect
import re
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from distmatch.runs.config import SECTIONS, Bound, RunConfig

SHORT = {
    "system": "system",
    "terms": "terms",
    "labels": "labels",
    "data": "data.name",
    "data_dir": "data.dir",
    "limit": "data.limit",
    "binarise": "data.binarise",
    "steps": "training.steps",
    "epochs": "training.epochs",
    "batch_size": "training.batch_size",
    "latent": "network.latent",
    "network": "network.family",
    "likelihood": "network.likelihood",
    "seed": "seed",
    "device": "device",
    "precision": "training.precision",
}
"""Settings with a name of their own, in `distmatch train --NAME` and `train(NAME=...)` -> its path."""


@dataclass(frozen=True)
class Setting:
    """One setting.

    Args:
        path: what `--set` calls it.
        text: what it is.
        default: what it is where nobody says anything.
        kinds: the types that it takes, but None.
        choices: the words that it takes, where it takes no others.
        bound: of its numbers.
    """

    path: str
    text: str
    default: Any
    kinds: tuple[Any, ...]
    choices: tuple[Any, ...]
    bound: Bound | None

    @property
    def is_number(self) -> bool:
        """Return whether it takes numbers alone."""
        return self.kinds[0] in (int, float)

    @property
    def sentence(self) -> str:
        """Return its text as a sentence, with the default that it does not tell itself.

        >>> SETTINGS["training.batch_size"].sentence, SETTINGS["training.critic_lr"].sentence
        ('Examples a step (64).', "The critics'; the same, if there is none.")
        """
        formula = "(" in self.text.split()[0]
        text = self.text if formula else self.text[0].upper() + self.text[1:]
        told = "" if self.default in (None, "") else f" ({self.default})"
        return f"{text.removesuffix('.')}{told}."


def settings_text() -> str:
    """Return every setting that `--set` takes, a line each, from the docstrings in `config`.

    >>> print(settings_text().splitlines()[0])
    data.name: a data set (`distmatch list data`).
    """
    texts = {section: _texts(kind) for section, kind in SECTIONS.items()}
    return "\n".join(
        f"{section}.{name}: {text}" for section, own in texts.items() for name, text in own.items()
    )


def _settings(section: str, kind: type) -> list[Setting]:
    """Return the settings of one section; one without a name is that of a run itself."""
    hints, texts = get_type_hints(kind, include_extras=True), _texts(kind)
    return [
        Setting(
            f"{section}.{f.name}" if section else f.name,
            texts[f.name],
            None if f.default is MISSING else f.default,
            *_read(hints[f.name]),
        )
        for f in fields(kind)
        if f.name not in ("options", *SECTIONS)
    ]


def _read(hint: Any) -> tuple[tuple[Any, ...], tuple[Any, ...], Bound | None]:
    """Return the types that an annotation allows, its words where it allows nothing else, and its bound."""
    if hasattr(hint, "__metadata__"):
        return (hint.__origin__,), (), next((m for m in hint.__metadata__ if isinstance(m, Bound)), None)
    if get_origin(hint) is Literal:
        return (str,), get_args(hint), None
    if type(None) in get_args(hint):
        rest = [part for part in get_args(hint) if part is not type(None)]
        if len(rest) == 1:
            return _read(rest[0])
    return tuple(get_args(hint)) or (hint,), (), None


def _texts(kind: type) -> dict[str, str]:
    """Return the line of each field in a declaration's docstring."""
    text = inspect.cleandoc(kind.__doc__ or "").partition("Args:")[2]
    entries = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, flags=re.MULTILINE)
    return {name: " ".join(entry.split()) for name, entry in entries}


SETTINGS = {
    setting.path: setting
    for section, kind in {"": RunConfig, **SECTIONS}.items()
    for setting in _settings(section, kind)
}
"""Every path there is, but for the options of systems and nets."""
