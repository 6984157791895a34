"""The declaration of a system: its objective, choices, defaults and source."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from distmatch.errors import unknown
from distmatch.objectives.objective import Objective
from distmatch.objectives.parser import read_option
from distmatch.objectives.printer import option_text


@dataclass(frozen=True)
class System:
    """A named declaration.

    Args:
        name: what it is asked for by.
        build: the function from its options to the objective.
        summary: one line on what it is.
        reference: where it comes from.
        defaults: what a run takes where the user says nothing, as dotted paths of its configuration.
        choices: options of the declaration that differ from its own defaults; both are the paper's.
        labels: whether every net is given the label y.
    """

    name: str
    build: Callable[..., Objective]
    summary: str
    reference: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    choices: Mapping[str, Any] = field(default_factory=dict)
    labels: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """The options with their defaults: numbers and switches as they are, everything else as it is written.

        >>> from distmatch.systems import gan
        >>> System("two", gan, "", "", choices={"pack": 2}).options
        {'by': 'non_saturating', 'generator': 'none', 'penalty': 'none', 'pack': 2, 'instance_noise': 'none'}
        """
        defaults = {p.name: p.default for p in inspect.signature(self.build).parameters.values()}
        return {
            name: value if isinstance(value, int | float) else option_text(value)
            for name, value in (defaults | dict(self.choices)).items()
        }

    def objective(self, **options: Any) -> Objective:
        """The objective at these options: objects, or what the command line says, read by the option's annotation.

        Raises `BadInput` for an option that it does not have, or a value that means nothing.
        """
        known = inspect.signature(self.build).parameters
        for name in options:
            if name not in known:
                raise unknown("option of this system", name, known)
        read = {
            name: read_option(self.build, name, value) if isinstance(value, str | int | float) else value
            for name, value in options.items()
        }
        built = self.build(**{**self.choices, **read})
        return built.with_labels() if self.labels else built
