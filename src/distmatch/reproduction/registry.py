"""Every experiment by name: what the files of the documents' folders declare."""

from __future__ import annotations

from distmatch.declared import declared
from distmatch.errors import unknown
from distmatch.reproduction.framework.experiment import Experiment

DOCUMENTS = ("rosca2018", "lectures", "mnist_notes", "icml2018", "own")
EXPERIMENTS: dict[str, Experiment] = {
    name: experiment
    for document in DOCUMENTS
    for name, experiment in declared(f"distmatch.reproduction.{document}", Experiment).items()
}


def find(name: str) -> Experiment:
    """The experiment of this name, in any case of letters.

    >>> find("e17").title
    'Dirac-GAN: which methods converge in the smallest game'
    """
    by_name = {known.lower(): e for known, e in EXPERIMENTS.items()}
    if name.lower() not in by_name:
        raise unknown("experiment", name, EXPERIMENTS)
    return by_name[name.lower()]
