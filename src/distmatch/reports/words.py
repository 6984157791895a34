"""Wording of a run's settings and times on the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


def flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings by their dotted names, as the command line takes them.

    >>> flatten({"seed": 0, "optimiser": {"lr": 0.0002, "betas": [0.5, 0.9]}})
    {'seed': '0', 'optimiser.lr': '0.0002', 'optimiser.betas': '0.5, 0.9'}
    """
    flat: dict[str, str] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple) and not any(isinstance(v, Mapping) for v in value):
            flat[f"{prefix}{key}"] = ", ".join(map(_plain, value))
        elif isinstance(value, list | tuple):
            flat |= flatten({str(i): v for i, v in enumerate(value)}, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = _plain(value)
    return flat


def differences(configs: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Settings that are not the same in all runs, with a cell per run; what a run lacks is empty.

    >>> differences([{"seed": 0, "beta": 4.0}, {"seed": 0}])
    {'beta': ['4', '']}
    """
    flat = [flatten(config) for config in configs]
    keys = dict.fromkeys(key for settings in flat for key in settings)
    rows = {key: [settings.get(key, "") for settings in flat] for key in keys}
    return {key: row for key, row in rows.items() if len(set(row)) > 1}


def facts(
    log: Sequence[Mapping[str, Any]], timing: Mapping[str, Any], environment: Mapping[str, Any]
) -> dict[str, str]:
    """The few numbers under a run's name; other timings follow under their own names.

    >>> facts([{"step": 12000}], {"seconds": 754, "steps_per_second": 15.92}, {"seed": 0, "torch": "2.13"})
    {'steps': '12\u202f000', 'time': '12 min 34 s', 'steps/s': '15.9', 'seed': '0'}
    """
    shown: dict[str, str] = {}
    last = max((line.get("step", 0) for line in log), default=None)
    timing = {key: value for key, value in timing.items() if value is not None}
    steps = timing.pop("steps", last)
    if steps is not None:
        shown["steps"] = f"{steps:,}".replace(",", "\u202f")
    if "seconds" in timing:
        shown["time"] = duration(float(timing.pop("seconds")))
    if "steps_per_second" in timing:
        shown["steps/s"] = f"{float(timing.pop('steps_per_second')):.3g}"
    if "peak_memory_mb" in timing:
        shown["peak memory"] = f"{float(timing.pop('peak_memory_mb')):.0f} MB"
    shown |= {k.replace("_", " "): f"{v:.4g}" if isinstance(v, float) else str(v) for k, v in timing.items()}
    return shown | {key: str(environment[key]) for key in ("device", "seed") if key in environment}


def _plain(value: Any) -> str:
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Seconds as people say them.

    >>> duration(8.25), duration(754), duration(7384), duration(200_000)
    ('8.2 s', '12 min 34 s', '2 h 03 min', '2.3 days')
    """
    if not seconds < 1e9:
        return f"{seconds} s"
    minutes, rest = divmod(round(seconds), 60)
    if seconds < 60:
        return f"{seconds:.1f} s"
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{seconds / 86_400:.1f} days"


def count(number: int, noun: str) -> str:
    """A number with its noun, singular or plural.

    >>> count(1, "metric"), count(3, "metric")
    ('1 metric', '3 metrics')
    """
    return f"{number} {noun}" + ("" if number == 1 else "s")


def distinct(names: Sequence[str]) -> list[str]:
    """Names made different, so that each can be a column.

    >>> distinct(["a", "b", "a"])
    ['a', 'b', 'a (2)']
    """
    unique: list[str] = []
    for name in names:
        candidate, k = name, 2
        while candidate in unique:
            candidate, k = f"{name} ({k})", k + 1
        unique.append(candidate)
    return unique
