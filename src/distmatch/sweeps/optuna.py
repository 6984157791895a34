"""Optuna's trials: settings are asked for in batches, and told how they did; its journal lies in the sweep's folder.

A trial's runs are named after its number, so a sweep that was killed finds them again: a trial that was asked for and
not told goes on with the settings that it was given.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from distmatch.errors import BadInput
from distmatch.metrics import BETTER, find
from distmatch.sweeps.file import SweepFile
from distmatch.sweeps.plan import (
    Cell,
    Checker,
    Run,
    cells,
    check_metric,
    corners,
    folder_name,
)
from distmatch.sweeps.search import DIRECTIONS, Search
from distmatch.sweeps.space import Axis, Range, Value, significant
from distmatch.sweeps.table import row_of, value_of

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import Trial

JOURNAL = "optuna.journal"


class Trials:
    """The trials of a sweep: one study in each cell of its grid.

    Args:
        file: the sweep file, with a part for Optuna.
        folder: of the sweep; None to look only.
        checker: makes runs.

    Raises:
        BadInput: Optuna is not installed, nothing is searched, or a setting at an end of what is searched cannot be.
    """

    def __init__(self, file: SweepFile, folder: Path | None, checker: Checker) -> None:
        assert file.search is not None
        self.optuna = _optuna()
        self.file, self.search, self.checker, self.folder = file, file.search, checker, folder
        self.cells = cells(file)
        self._known: dict[tuple[str, int, str], list[Run]] = {}
        for cell in self.cells:
            if not cell.space:
                raise BadInput(
                    "[optuna] has nothing to search; add a range, such as training.lr = {low = …, high = …}"
                )
        self.evaluate = _with_owner(file.evaluate, self.search.metric)
        self.examples = [self._checked(cell) for cell in self.cells]
        self._studies: dict[str, Study] = {}

    @property
    def runs_each(self) -> int:
        """Runs of a trial: one for each seed."""
        return len(self.file.seeds or (0,))

    def open(self) -> None:
        """Make the studies, or find them."""
        assert self.folder is not None
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        self.optuna.logging.set_verbosity(self.optuna.logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            storage = JournalStorage(JournalFileBackend(str(self.folder / JOURNAL)))
            for cell in self.cells:
                self._studies[cell.label] = self.optuna.create_study(
                    storage=storage,
                    study_name=cell.label or "sweep",
                    direction=DIRECTIONS[self.search.direction],
                    load_if_exists=True,
                )

    def known(self) -> list[Run]:
        """The runs of all trials so far."""
        runs: list[Run] = []
        for cell in self.cells if self._studies else ():
            for trial in self._studies[cell.label].get_trials(deepcopy=False):
                about = trial.user_attrs
                if "settings" in about and "refused" not in about:
                    runs += self._runs(cell, trial.number, about["settings"])
        return runs

    def batch(self) -> list[tuple[Cell, Trial, list[Run]]]:
        """The next trials of each cell, with their runs: first those that were asked for and never told."""
        asked = []
        for number, cell in enumerate(self.cells):
            study = self._studies[cell.label]
            trials = study.get_trials(deepcopy=False)
            study.sampler = _sampler(self.optuna, self.search, number, len(trials))
            waiting = [
                self.optuna.trial.Trial(study, t._trial_id) for t in trials if not t.state.is_finished()
            ]
            new = min(self.search.batch - len(waiting), self.search.trials - len(trials))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for trial in (*waiting, *(study.ask() for _ in range(max(0, new)))):
                    settings = {path: _suggest(trial, path, axis) for path, axis in cell.space.items()}
                    trial.set_user_attr("settings", settings)
                    try:
                        runs = self._runs(cell, trial.number, settings)
                    except BadInput as error:  # its ends can be, and this combination cannot
                        trial.set_user_attr("refused", str(error))
                        study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
                        continue
                    asked.append((cell, trial, runs))
        return asked

    def more(self) -> bool:
        """True while trials are left."""
        return any(
            len(study.get_trials(deepcopy=False)) < self.search.trials
            or any(not t.state.is_finished() for t in study.get_trials(deepcopy=False))
            for study in self._studies.values()
        )

    def tell(self, cell: Cell, trial: Trial, runs: Sequence[Run]) -> None:
        """Tell Optuna a trial's value, the mean over its runs; it has failed where a run diverged or has no value."""
        assert self.folder is not None
        values = [value_of(row_of(self.folder / "runs" / run.name, run), self.search.metric) for run in runs]
        study = self._studies[cell.label]
        if any(value is None or not math.isfinite(value) for value in values):
            study.tell(trial, state=self.optuna.trial.TrialState.FAIL)
        else:
            study.tell(trial, fmean(value for value in values if value is not None))

    def best(self) -> list[str]:
        """The best trial of each cell, a line each."""
        lines = []
        for cell in self.cells:
            study = self._studies[cell.label]
            if not any(t.value is not None for t in study.get_trials(deepcopy=False)):
                continue
            trial = study.best_trial
            shown = ", ".join(f"{path}={value}" for path, value in trial.user_attrs["settings"].items())
            where = f"{cell.label}: " if cell.label else ""
            lines.append(
                f"best: {where}trial {trial.number}, {self.search.metric} {trial.value:.6g} at {shown}"
            )
        return lines

    def _runs(self, cell: Cell, number: int, settings: dict[str, Value]) -> list[Run]:
        key = (cell.label, number, repr(settings))
        if key not in self._known:
            self._known[key] = self._checked_runs(cell, number, settings)
        return self._known[key]

    def _checked_runs(self, cell: Cell, number: int, settings: dict[str, Value]) -> list[Run]:
        digits = len(str(self.search.trials - 1))
        label = ",".join(filter(None, (cell.label, f"trial={number:0{digits}d}")))
        own = {path: cell.settings[path] for path in cell.varied}
        return [
            folder_name(run)
            for run in self.checker.runs(
                {**cell.settings, **settings}, {**own, **settings}, label, self.file.seeds
            )
        ]

    def _checked(self, cell: Cell) -> Run:
        """One run of the cell, after all ends of what is searched were seen to be possible."""
        first = None
        for settings in corners(cell):
            runs = self._runs(cell, 0, settings)
            first = first or runs[0]
            check_metric(self.search.metric, runs[0].config, "optuna", of_log=False)
        assert first is not None
        return first


def _suggest(trial: Trial, path: str, axis: Axis) -> Value:
    if isinstance(axis, Range):
        if axis.whole:
            return trial.suggest_int(path, int(axis.low), int(axis.high), log=axis.log)
        return significant(trial.suggest_float(path, axis.low, axis.high, log=axis.log))
    if any(isinstance(value, list) for value in axis.values):
        return axis.values[trial.suggest_categorical(path, list(range(len(axis.values))))]
    return trial.suggest_categorical(path, list(axis.values))  # type: ignore[arg-type]


def _with_owner(evaluate: Sequence[str], metric: str) -> tuple[str, ...]:
    """Return the metrics asked for, and the one whose result has this key, where there is one."""
    return tuple(dict.fromkeys([*evaluate, find(metric).name])) if metric in BETTER else tuple(evaluate)


def _sampler(optuna: Any, search: Search, cell: int, trials: int) -> Any:
    """The sampler for the trials to come. Its seed depends on how many there were, so that a sweep that goes on does
    not draw again what it drew first; but for a sequence, which is one."""
    seed = search.random_seed + 1000 * cell + (0 if search.sampler == "qmc" else trials)
    samplers = optuna.samplers
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if search.sampler == "tpe":
                return samplers.TPESampler(seed=seed, constant_liar=search.batch > 1)
            kinds = {
                "random": "RandomSampler",
                "qmc": "QMCSampler",
                "cmaes": "CmaEsSampler",
                "gp": "GPSampler",
            }
            return getattr(samplers, kinds[search.sampler])(seed=seed)
        except ImportError as error:
            raise BadInput(
                f"the sampler {search.sampler} needs another package ({error}); install it"
            ) from error


def _optuna() -> Any:
    try:
        import optuna
    except ImportError:
        raise BadInput('Optuna is not installed; run: pip install "distmatch[optuna]"') from None
    return optuna
