"""Commands that measure and report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from tyro.conf import Positional, UseAppendAction, arg

from distmatch.errors import BadInput
from distmatch.runs.options import DataDir, Name, Place, Run, Runs, one_of, option

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Evaluate:
    """Measure a run: every metric that applies; those that do not are listed with the reason."""

    run_folder: Run
    """The run folder."""
    only: Annotated[
        UseAppendAction[tuple[tuple[str, ...], ...]], arg(metavar="NAME ...", help_behavior_hint="")
    ] = ()
    """Names of metrics (`distmatch list metrics`); all that apply if none is given. Earlier results of the
    same checkpoint are kept beside them."""
    samples: Annotated[int, option("N", int, "a whole number")] = 10_000
    """Codes, samples or examples at most."""
    seed: Annotated[int, option("N", int, "a whole number")] = 0
    """Of what is drawn."""
    quick: bool = False
    """Leave out the metrics that take more than seconds."""
    features: Name = None
    """The feature net of scores on images: mnist, inception (needs distmatch[fidelity]), pixels, or the .safetensors
    of a classifier; the one that is made for the data, if any."""

    def run(self, console: Console) -> None:
        """Evaluate."""
        from distmatch.reports.table import comparison_table
        from distmatch.runs.evaluation import evaluate
        from distmatch.runs.terminal import note, say
        from distmatch.runs.view import measured, report

        only = [name for names in self.only for name in names] or None
        with console.status("measuring") as status:

            def show(name: str, done: float) -> None:
                status.update(f"measuring {name}" + (f" ({done:.0%})" if done else ""))

            _, notes = evaluate(
                self.run_folder, only, self.samples, self.seed, show, self.quick, self.features
            )
        for text in notes:
            note(text)
        metrics, skipped = measured([self.run_folder])
        console.print(comparison_table(metrics))
        for name, reason in next(iter(skipped.values())).items():
            say(console, f"not measured: {name} {reason}")
        say(console, f"page: {report([self.run_folder])}")


@dataclass(frozen=True)
class Diagnose:
    """Measure samples of any model against a data set: every metric that needs samples alone."""

    samples: Annotated[Path, option("PATH", Path, "a path")]
    """A .npy file, or a .npz with one array: images (n, h, w), (n, h, w, c) or (n, c, h, w), of bytes or of numbers in
    [0, 1] or [-1, 1]; or points (n, d)."""
    data: Annotated[str, option("NAME", str, "a name")]
    """The data set that the model was trained on (`distmatch list data`)."""
    data_dir: DataDir = None
    only: Annotated[
        UseAppendAction[tuple[tuple[str, ...], ...]], arg(metavar="NAME ...", help_behavior_hint="")
    ] = ()
    """Names of metrics (`distmatch list metrics`); all that apply if none is given."""
    at_most: Annotated[int, option("N", int, "a whole number")] = 10_000
    """Samples and examples at most."""
    seed: Annotated[int, option("N", int, "a whole number")] = 0
    """Of what is drawn."""
    quick: bool = False
    """Leave out the metrics that take more than seconds."""
    features: Name = None
    """The feature net of scores on images: mnist, inception (needs distmatch[fidelity]), pixels, or the .safetensors
    of a classifier; the one that is made for the data, if any."""
    out: Place = None
    """The folder for metrics.json, figures/ and report.html (diagnosis/<name of the samples>)."""

    def run(self, console: Console) -> None:
        """Diagnose."""
        from distmatch.reports.table import comparison_table
        from distmatch.runs.external import diagnose
        from distmatch.runs.terminal import note, say

        only = [name for names in self.only for name in names] or None
        out = self.out or Path("diagnosis") / self.samples.stem
        with console.status("measuring") as status:

            def show(name: str, done: float) -> None:
                status.update(f"measuring {name}" + (f" ({done:.0%})" if done else ""))

            results, notes = diagnose(
                self.samples, self.data, self.data_dir, out,
                only=only, samples=self.at_most, seed=self.seed, quick=self.quick,
                features=self.features, progress=show,
            )  # fmt: skip
        for text in notes:
            note(text)
        console.print(comparison_table({self.samples.stem: results.as_dict()["metrics"]}))
        for name, reason in results.skipped.items():
            say(console, f"not measured: {name} {reason}")
        say(console, f"page: {out / 'report.html'}")


@dataclass(frozen=True)
class Compare:
    """Print the metrics of several runs side by side."""

    runs: Runs
    """Run folders that have been evaluated."""

    def run(self, console: Console) -> None:
        """Compare."""
        from distmatch.runs.view import comparison

        if not self.runs:
            raise BadInput("no run is named; give the run folders to compare")
        console.print(comparison(self.runs))


@dataclass(frozen=True)
class Report:
    """Write a self-contained HTML page of one run, of several side by side, or of a sweep."""

    runs: Runs
    """Run folders, or the folder of one sweep."""
    out: Place = None
    """The page (RUN/report.html for one run or a sweep, report.html for several)."""

    def run(self, console: Console) -> None:
        """Report."""
        from distmatch.reports.sweeps import is_sweep, report_sweep
        from distmatch.runs.terminal import say
        from distmatch.runs.view import report

        sweeps = [path for path in self.runs if is_sweep(path)]
        if sweeps and len(self.runs) > 1:
            raise BadInput(f"{sweeps[0]} is a sweep, and has a page of its own; name it alone")
        page = report_sweep(sweeps[0], self.out) if sweeps else report(self.runs, self.out)
        say(console, f"page: {page}")


@dataclass(frozen=True)
class Reproduce:
    """Run an experiment of the seeds and judge its claims; what was interrupted goes on.

    Each run is kept as it ends. Results and figures are written to --out, from which `make reproduction` makes
    docs/reproduction.md.
    """

    experiment: Annotated[Positional[str | None], arg(metavar="NAME", help_behavior_hint="")] = None
    """E1 to E23, or another name of --list."""
    list: bool = False
    """Print every experiment and claim with its last verdict."""
    page: Place = None
    """Write the page of all results to this file."""
    scale: Annotated[str, one_of("smoke", "cpu", "paper")] = "cpu"
    """smoke: seconds, to check that it runs; cpu: at most an hour on two cores; paper: the seeds' own, for a GPU."""
    seeds: Annotated[int, option("N", int, "a whole number")] = 3
    """Each setting is run with the seeds 0, 1, ..."""
    jobs: Annotated[int, option("N", int, "a whole number")] = 1
    """Runs at a time, each in a process of one thread."""
    data_dir: DataDir = None
    work: Annotated[Path, option("PATH", Path, "a path")] = Path("runs/reproduce")
    """Where the runs go."""
    out: Annotated[Path, option("PATH", Path, "a path")] = Path("docs/results/experiments")
    """Where results and figures go."""

    def run(self, console: Console) -> None:
        """Reproduce."""
        from distmatch.reproduction.framework.listing import claims_table, list_experiments
        from distmatch.reproduction.framework.page import write_page
        from distmatch.reproduction.framework.runner import reproduce
        from distmatch.runs.terminal import progress_bars, say

        if not (self.list or self.page or self.experiment):
            raise BadInput("no experiment is named; `distmatch reproduce --list` prints all")
        if self.list:
            console.print(list_experiments(self.out))
        if self.experiment:
            with progress_bars(console) as bar:
                shown = bar(self.experiment)
                written = reproduce(
                    self.experiment, self.scale, seeds=self.seeds, work=self.work, out=self.out,
                    data_dir=self.data_dir, jobs=self.jobs, told=lambda done, total, _: shown(done, total, {}),
                )  # fmt: skip
            console.print(claims_table(written))
            say(console, f"results: {self.out / written['experiment']}")
        if self.page:
            write_page(self.out, self.page)
            say(console, f"page: {self.page}")
