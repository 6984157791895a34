"""Every experiment by name."""

from __future__ import annotations

from distmatch.errors import unknown
from distmatch.experiments.e17_dirac import E17
from distmatch.experiments.experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {e.name: e for e in (E17,)}


def find(name: str) -> Experiment:
    """The experiment of this name, in any case of letters.

    >>> find("e17").title
    'Dirac-GAN: which methods converge in the smallest game'
    """
    by_name = {known.lower(): e for known, e in EXPERIMENTS.items()}
    if name.lower() not in by_name:
        raise unknown("experiment", name, EXPERIMENTS)
    return by_name[name.lower()]
