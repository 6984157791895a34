"""Grouping of a log's numbers into pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

NOT_CURVES = {"step", "epoch", "time", "seconds", "lane"}
NATS = {"nll", "kl", "elbo"}
NAMES = {  # key before the slash -> title, unit, logarithmic
    "gradient_norm": ("gradient norms", "norm", True),
    "lr": ("learning rates", "learning rate", False),
}
ORDER = ("critic", "score", "gradient_norm", "validation")
CRITIC_PARTS = {  # key of a critic -> panel, label
    "target": ("loss", "real (target)"),
    "model": ("loss", "fake (model)"),
    "penalty": ("penalty", "penalty"),
}

Line = tuple[NDArray[Any], NDArray[Any]]  # steps (n,), values (n,)


@dataclass
class Panel:
    """Curves that share an axis: label -> (steps, values)."""

    title: str
    unit: str
    lines: dict[str, Line]
    log_scale: bool = False


def panels(log: Sequence[Mapping[str, Any]]) -> list[Panel]:
    """The model's terms one by one; each critic's losses, scores and penalty; gradient norms; the rest.

    >>> log = [{"step": 0, "nll": 2.0, "critic/data/target": 0.7, "critic/data/model": 0.6, "lr/all": 1e-3}]
    >>> [(p.title, list(p.lines)) for p in panels(log)]
    [('nll', ['nll']),
     ('critic data: loss', ['real (target)', 'fake (model)']),
     ('learning rates', ['all'])]
    """
    by_title: dict[str, Panel] = {}
    for key, line in sorted(curves(log).items(), key=lambda item: _rank(item[0])):
        title, unit, label, log_scale = _place(key)
        by_title.setdefault(title, Panel(title, unit, {}, log_scale)).lines[label] = line
    return list(by_title.values())


def curves(log: Sequence[Mapping[str, Any]]) -> dict[str, Line]:
    """Each named number with the steps at which it was logged; null and words for nan count as nan.

    >>> {k: v.tolist() for k, (_, v) in curves([{"step": 0, "kl": 1}, {"step": 5, "kl": None}]).items()}
    {'kl': [1.0, nan]}
    """
    points: dict[str, tuple[list[float], list[float]]] = {}
    for index, entry in enumerate(log):
        for key, value in entry.items():
            number = _number(value)
            if key not in NOT_CURVES and number is not None:
                steps, values = points.setdefault(key, ([], []))
                steps.append(float(entry.get("step", index)))
                values.append(number)
    return {key: (np.array(steps), np.array(values)) for key, (steps, values) in points.items()}


def _number(value: Any) -> float | None:
    if value is None:
        return float("nan")
    try:
        return float(value)
    except (TypeError, ValueError):
        return None  # a word, not a number


def _rank(key: str) -> int:
    """Terms, critics, gradient norms, validation, the rest; the log's order within each."""
    head, slash, _ = key.partition("/")
    return ORDER.index(head) if head in ORDER else len(ORDER) * bool(slash) or -1


def _place(key: str) -> tuple[str, str, str, bool]:
    """Title, unit, label and scale of the panel for one key."""
    head, _, rest = key.partition("/")
    if not rest or head == "validation":
        return key.replace("/", ": "), "nats" if (rest or head) in NATS else "", key, False
    if head == "critic":
        critic, _, part = rest.rpartition("/")
        panel, label = CRITIC_PARTS.get(part, (part, part))
        return f"critic {critic}: {panel}", "", label, False
    if head == "score":
        critic, _, draws = rest.partition("/")
        return f"critic {critic}: score", "", draws.replace("+", ", "), False
    title, unit, log_scale = NAMES.get(head, (head, "", False))
    return title, unit, rest, log_scale
