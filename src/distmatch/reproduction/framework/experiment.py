"""Experiments: cells to run, numbers that each gives, and claims about them that were decided before."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distmatch.errors import BadInput
from distmatch.reproduction.framework.verdict import Expected, Verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Scale = Literal["smoke", "cpu", "paper"]
SCALES: tuple[Scale, ...] = ("smoke", "cpu", "paper")
Cell = Mapping[str, str | int | float]
"""One setting of a sweep, such as {"system": "vae", "latent": 50}; every seed runs it once."""


@dataclass(frozen=True)
class Numbers:
    """Numbers of one run by name, and its curves by name for the figures."""

    values: Mapping[str, float]
    curves: Mapping[str, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Record:
    """One run: its cell, its seed, what it gave, the seconds that it took, and the revision of the source."""

    cell: Cell
    seed: int
    numbers: Numbers
    seconds: float
    revision: str | None = None


@dataclass(frozen=True)
class Bench:
    """The scale of a run, a folder of its own that survives an interruption, and the data's folder."""

    scale: Scale
    folder: Path
    data_dir: Path | None = None


@dataclass(frozen=True)
class Results:
    """All runs of an experiment.

    >>> results = Results([Record({"d": 1}, s, Numbers({"kl": float(s)}), 0.1) for s in (0, 1)])
    >>> results.values("kl", d=1), results.cells()
    ([0.0, 1.0], [{'d': 1}])
    """

    records: Sequence[Record]

    def cells(self, **where: str | int | float) -> list[dict[str, str | int | float]]:
        """The cells that agree with `where`, in the order in which they were run."""
        cells: list[dict[str, str | int | float]] = []
        for record in self.records:
            cell = dict(record.cell)
            if cell not in cells and all(cell.get(k) == v for k, v in where.items()):
                cells.append(cell)
        return cells

    def of(self, **where: str | int | float) -> list[Record]:
        """The runs of the one cell that agrees with `where`, by seed."""
        cells = self.cells(**where)
        if len(cells) != 1:
            raise BadInput(f"{len(cells)} cells of this experiment agree with {where}; one must")
        return sorted((r for r in self.records if dict(r.cell) == cells[0]), key=lambda r: r.seed)

    def values(self, name: str, **where: str | int | float) -> list[float]:
        """A number of one cell, for each seed."""
        return [record.numbers.values[name] for record in self.of(**where)]

    def curves(self, name: str, **where: str | int | float) -> list[Sequence[float]]:
        """A curve of one cell, for each seed."""
        return [record.numbers.curves[name] for record in self.of(**where)]


@dataclass(frozen=True)
class Claim:
    """A sentence of a seed, and how it is put to the test.

    Attributes:
        sentence: what the seed says.
        source: where, such as "seed 002, figure 1".
        quantity: what is measured, in words, with its unit.
        value: from the results to one number for each seed.
        expected: where the mean, or the median, over seeds must lie.
        late: decided after the runs that the page shows, in the place of a claim that is withdrawn.
    """

    sentence: str
    source: str
    quantity: str
    value: Callable[[Results], Sequence[float]]
    expected: Expected
    late: bool = False

    def judge(self, results: Results) -> Verdict:
        """The verdict on the results. A run that diverged has no numbers, and leaves the claim inconclusive."""
        try:
            values = list(self.value(results))
        except KeyError:
            values = []
        return self.expected.judge(values)


@dataclass(frozen=True)
class Withdrawn:
    """A claim that is no longer judged, since what was measured could not decide it.

    Attributes:
        sentence: what the seed says.
        source: where.
        quantity: what was measured.
        reason: why that is not evidence, in words that end a sentence.
    """

    sentence: str
    source: str
    quantity: str
    reason: str


@dataclass(frozen=True)
class Experiment:
    """A figure, table or finding of the seeds.

    Attributes:
        name: E1 to E23 as in the plan of the seeds' experiments, or a word.
        title: a line.
        seed: the document that it is from, 000 to 003, or "" for our own.
        about: a paragraph: what is done, and how it differs from the document's.
        cells: (scale) -> what is run; every cell once for each seed.
        run: (cell, seed, bench) -> its numbers. A pure function of these, but for the bench's folder.
        claims: decided before the run.
        figures: results -> file name -> figure.
        seeded: False where nothing is random: one seed is run.
        withdrawn: claims that were judged once; no verdict counts them.
    """

    name: str
    title: str
    seed: str
    about: str
    cells: Callable[[Scale], Sequence[Cell]]
    run: Callable[[Cell, int, Bench], Numbers]
    claims: tuple[Claim, ...]
    figures: Callable[[Results], Mapping[str, Figure]] = field(default=lambda results: {})
    seeded: bool = True
    withdrawn: tuple[Withdrawn, ...] = ()


def label(cell: Cell) -> str:
    """A cell's name, for folders and tables.

    >>> label({"system": "vae", "latent": 50, "lr": 1e-4})
    'system=vae,latent=50,lr=0.0001'
    """
    text = ",".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in cell.items())
    return re.sub(r"[^\w.=,+-]+", "-", text)


def as_json(record: Record) -> dict[str, Any]:
    """A record as data for a JSON file; `from_json` is its inverse."""
    return {
        "cell": dict(record.cell),
        "seed": record.seed,
        "values": dict(record.numbers.values),
        "curves": {k: list(v) for k, v in record.numbers.curves.items()},
        "seconds": record.seconds,
        "revision": record.revision,
    }


def from_json(stored: Mapping[str, Any]) -> Record:
    """A record from a file.

    >>> record = Record({"d": 1}, 0, Numbers({"kl": 1.5}, {"loss": [1.0, 0.5]}), 0.1)
    >>> from_json(as_json(record)) == record
    True
    """
    numbers = Numbers(stored["values"], stored["curves"])
    return Record(stored["cell"], stored["seed"], numbers, stored["seconds"], stored.get("revision"))
