"""A sweep that was read and checked, and its folder: `sweep.json`, `runs/`, `table.json`, `table.csv`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import distmatch
from distmatch.errors import BadInput
from distmatch.files import put
from distmatch.runs.build import usable_device
from distmatch.runs.folder import RunFolder
from distmatch.runs.layers import absolute, layer_of
from distmatch.sweeps.file import SweepFile, parse, read
from distmatch.sweeps.halving import check_halving
from distmatch.sweeps.optuna import Trials
from distmatch.sweeps.plan import (
    Checker,
    Run,
    Structure,
    by_structure,
    planned,
    varied_paths,
)
from distmatch.sweeps.table import write_table

KEPT = "sweep.json"


@dataclass
class Sweep:
    """A sweep that was read and checked.

    Args:
        folder: where it goes.
        file: what is asked for.
        runs: all of them, but for Optuna's, which come with the trials.
        trials: Optuna's.
        varied: the paths that differ between runs.
        notes: what there is to know of its runs.
    """

    folder: Path
    file: SweepFile
    runs: list[Run]
    trials: Trials | None = None
    varied: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    @property
    def evaluate(self) -> tuple[str, ...]:
        """The metrics for each finished run."""
        return self.file.evaluate if self.trials is None else self.trials.evaluate

    @property
    def examples(self) -> dict[Structure, list[Run]]:
        """Runs by structure, to measure what they cost."""
        if self.trials is None:
            return by_structure(self.runs)
        each = self.trials.search.batch * self.trials.runs_each
        return {run.structure: [run] * each for run in self.trials.examples}

    def table(self) -> dict[str, Any]:
        """Write the table, as it is now."""
        runs = self.runs if self.trials is None else self.trials.known()
        about = {name: self.file.content.get(name) for name in ("halving", "optuna")}
        return write_table(self.folder, runs, self.varied, **about)


def opened(source: Path, out: Path | None, evaluate: Sequence[str] = (), samples: int | None = None) -> Sweep:
    """A sweep from its file, or from its folder to go on with it; all of its runs are checked.

    Args:
        source: a sweep file, or the folder of a sweep.
        out: where a new one goes; `runs/<name of the file>`.
        evaluate: metrics besides those that the file names.
        samples: for these.

    Raises:
        BadInput: a run cannot be; the folder holds another sweep.
    """
    if source.is_dir():
        if out is not None and out.resolve() != source.resolve():
            raise BadInput(f"{source} is the folder of a sweep, and goes on there; leave --out out")
        if not (source / KEPT).is_file():
            raise BadInput(
                f"{source} is not a sweep: it has no {KEPT}; name a sweep file, or the folder of a sweep"
            )
        kept = _kept_in(source)
        content, folder, name = dict(kept["file"]), source, str(source / KEPT)
    else:
        content, folder, name = read(source), out or Path("runs") / source.stem, str(source)
    content = _with_options(parse(content, name).content, evaluate, samples)
    file = parse(content, name)
    if (folder / KEPT).is_file() and not source.is_dir():
        _refuse_other(folder, file)
    checker = Checker()
    try:
        runs = planned(file, checker)
        if file.halving is not None:
            check_halving(file.halving, runs)
        trials = Trials(file, folder, checker) if file.search is not None else None
    except BadInput as error:
        raise BadInput(f"{name}: {error}") from error
    sweep = Sweep(folder, file, runs, trials, varied_paths(file), checker.said())
    _check_folder(sweep)
    return sweep


def _with_options(content: dict[str, Any], evaluate: Sequence[str], samples: int | None) -> dict[str, Any]:
    """The file's content with what the command line adds, and a folder of data that holds from anywhere."""
    names = content.get("evaluate", [])
    names = [names] if isinstance(names, str) else list(names)
    if evaluate:
        content = {**content, "evaluate": list(dict.fromkeys([*names, *evaluate]))}
    if samples is not None:
        content = {**content, "samples": samples}
    return {**content, "base": absolute(content["base"])} if "base" in content else content


def _kept_in(folder: Path) -> dict[str, Any]:
    """A folder's `sweep.json`."""
    kept = RunFolder(folder).read_json(KEPT)
    if kept is None or not isinstance(kept.get("file"), dict):
        raise BadInput(f"{folder / KEPT} is not that of a sweep; name the sweep file, and another --out")
    return kept


def _refuse_other(folder: Path, file: SweepFile) -> None:
    """Raise `BadInput` if a folder holds another sweep than this file's; what is measured may have grown."""
    there = parse(_kept_in(folder)["file"], str(folder / KEPT))
    measured = ("evaluate", "samples")
    mine, other = ({k: v for k, v in f.content.items() if k not in measured} for f in (file, there))
    if mine != other:
        odd = next(k for k in {**mine, **other} if mine.get(k) != other.get(k))
        raise BadInput(
            f"{folder} holds a sweep whose [{odd}] is another; give another --out, or name the folder to go on with it"
        )


def _check_folder(sweep: Sweep) -> None:
    """Raise `BadInput` where a run's folder holds another run."""
    for device in dict.fromkeys(run.asked.device for run in sweep.runs):
        usable_device(device)
    for run in sweep.runs:
        path = sweep.folder / "runs" / run.name
        if (path / "config.json").exists():
            kept = RunFolder(path).config()
            layers = (layer_of(config) for config in (kept, run.asked, run.config))
            if (odd := differs(*layers)) is not None:
                raise BadInput(
                    f"{path} holds another run than this sweep's ({odd} differs); give another --out"
                )


def differs(kept: Mapping[str, Any], asked: Mapping[str, Any], resolved: Mapping[str, Any]) -> str | None:
    """The first setting in which a run is neither as asked for nor as resolved here; what was left open may be any.

    >>> differs({"training.lr": 0.2, "device": "cpu"}, {"training.lr": 0.1, "device": "auto"}, {"training.lr": 0.1})
    'training.lr'
    """
    for path, value in asked.items():
        given = path != "device" and value not in (None, "auto")
        if given and kept.get(path) not in (value, resolved.get(path)):
            return path
    return None


def make_folder(sweep: Sweep) -> None:
    """The sweep's folder with its `sweep.json`."""
    folder = sweep.folder
    if not folder.exists() or not (folder / KEPT).exists():
        if folder.is_file():
            raise BadInput(f"{folder} is a file, not a folder; give another --out")
        if folder.is_dir() and any(folder.iterdir()):
            raise BadInput(
                f"{folder} holds other files, and a sweep needs a folder of its own; give another --out"
            )
    try:
        (folder / "runs").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(f"cannot make the folder {folder} ({error.strerror}); choose another --out") from error
    content = {
        "format": 1,
        "distmatch": distmatch.__version__,
        "torch": torch.__version__,
        "file": sweep.file.content,
    }
    put(folder / KEPT, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
