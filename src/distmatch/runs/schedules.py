"""Schedules of a run: shares of it become steps when it is put together, and one that ends after the run is named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from distmatch.networks.families.growth import Growing
from distmatch.objectives.objective import Objective
from distmatch.objectives.parser import in_steps
from distmatch.runs.config import RunConfig
from distmatch.schedules import Share


def arrived(config: RunConfig, steps: int) -> RunConfig:
    """The configuration with its objective's shares of the run in steps of it, as they are stored."""
    return replace(
        config,
        terms=None if config.terms is None else in_steps(config.terms, steps),
        options={name: _option(value, steps) for name, value in config.options.items()},
    )


def late(objective: Objective, nets: Mapping[str, nn.Module], steps: int) -> tuple[str, ...]:
    """A sentence on each schedule that does not arrive in so many steps: a ramp's end, a growing net's last level."""
    sentences = []
    for path, ramp in objective.ramps.items():
        term, _, number = path.partition(".")
        assert isinstance(ramp.steps, int)
        if ramp.steps > steps and ramp.start != ramp.end:
            sentences.append(
                f"{number} of {objective.names[int(term)]} goes from {ramp.start:g} to {ramp.end:g} in "
                f"{ramp.steps:,} steps, and the run has {steps:,}: it ends at {ramp.at(steps):.3g}; "
                "give more steps, or a share of the run, as in ramp(0, 1, 50%)"
            )
    whole = max(
        (m.growth.whole for n in nets.values() for m in n.modules() if isinstance(m, Growing)), default=0
    )
    if whole >= steps:
        sentences.append(
            f"the nets grow until step {whole:,}, and the run has {steps:,}: their last level is never trained alone; "
            "give more steps, or leave network.stable and network.fade out"
        )
    return tuple(sentences)


def _option(value: Any, steps: int) -> Any:
    """Return a system's option for a run of this many steps: a share of the run, or a text that names some."""
    if not isinstance(value, str):
        return value
    return Share.read(value).of(steps) if value.endswith("%") else in_steps(value, steps)
