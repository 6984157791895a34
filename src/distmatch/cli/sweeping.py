"""The command that trains many runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from distmatch.errors import BadInput
from distmatch.runs.options import Count, Name, Place, one_of, option

if TYPE_CHECKING:
    from rich.console import Console

    from distmatch.sweeps.folder import Sweep as Opened
    from distmatch.sweeps.sweep import Machine


@dataclass(frozen=True)
class Sweep:
    """Train many runs: every combination of a grid, draws at random, or Optuna's trials, from one file.

    The file is TOML (or the same as JSON): seeds and evaluate at its top, then [base], [grid], [systems.NAME.grid],
    [random], [optuna] and [halving]; settings are named as in `distmatch train --set`. Every run is checked before
    any starts, and is a run folder of its own under DIR/runs. Kill it at any moment: the same command, or
    `distmatch sweep DIR`, goes on. The table of all runs is DIR/table.csv, and DIR/table.json; DIR/report.html shows
    it.
    """

    sweep: Annotated[Positional[Path], arg(metavar="FILE|DIR")]
    """A sweep file, or the folder of a sweep to go on with."""
    out: Place = None
    """Where a new sweep goes (runs/<name of the file>)."""
    lanes: Annotated[str, option("auto|N", str, "auto or a number")] = "auto"
    """Runs of one structure that are trained as one program; auto measures first; 1 trains them one by one."""
    jobs: Count = None
    """Workers at a time, each a process of one thread (one for each processor, or one for a GPU)."""
    engine: Annotated[str, one_of("local", "ray")] = "local"
    """Where: processes on this machine, or tasks on a Ray cluster (needs distmatch[ray])."""
    address: Name = None
    """Of the Ray cluster; without it Ray is started on this machine."""
    gpu_share: Annotated[float, option("X", float, "a number")] = 0.0
    """Of a GPU that each task on Ray takes, such as 0.5."""
    evaluate: Annotated[
        UseAppendAction[tuple[tuple[str, ...], ...]], arg(metavar="NAME ...", help_behavior_hint="")
    ] = ()
    """Metrics to run on each finished run, besides those that the file names."""
    samples: Count = None
    """Codes, samples or examples for these at most (10000)."""
    plan: bool = False
    """Say how many runs, lanes and steps there are, how long they would take here and how much memory, and write
    nothing."""

    def run(self, console: Console) -> None:
        """Sweep."""
        from distmatch.runs.terminal import note
        from distmatch.sweeps.cost import price_lines
        from distmatch.sweeps.folder import opened
        from distmatch.sweeps.progress import watching
        from distmatch.sweeps.sweep import perform

        machine = self._machine()
        names = [name for names in self.evaluate for name in names]
        if self.samples is not None and self.samples < 1:
            raise BadInput(f"--samples is {self.samples}; give at least 1")
        out = None if self.out is None else self.out.expanduser()
        opened_sweep = opened(self.sweep.expanduser(), out, names, self.samples)
        for text in opened_sweep.notes:
            note(text)
        if self.plan:
            for line in price_lines(opened_sweep, machine):
                console.print(line, soft_wrap=not hasattr(line, "columns"))
            return
        with watching(console, opened_sweep.folder) as watch:
            table = perform(opened_sweep, machine, watch)
        _say_end(console, opened_sweep, table)

    def _machine(self) -> Machine:
        """Return the machine that the options describe."""
        from distmatch.sweeps.sweep import Machine

        lanes = None if self.lanes == "auto" else _number("--lanes", self.lanes)
        if self.jobs is not None and self.jobs < 1:
            raise BadInput(f"--jobs is {self.jobs}; give at least 1")
        if self.engine == "local":
            if self.address is not None or self.gpu_share:
                raise BadInput("--address and --gpu-share are for Ray; add --engine ray, or leave them out")
            return Machine(self.jobs, lanes)
        if not 0 <= self.gpu_share <= 1:
            raise BadInput(f"--gpu-share is {self.gpu_share:g}; give a number from 0 to 1")
        from distmatch.sweeps.pool.ray import RayCluster, ray_package

        ray_package()
        return Machine(self.jobs, lanes, lambda jobs: RayCluster(self.address, jobs, self.gpu_share))


def _number(option: str, text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise BadInput(f"{option} is {text!r}; give auto, or a number of at least 1")
    return int(text)


def _say_end(console: Console, sweep: Opened, table: dict[str, Any]) -> None:
    """Print the number of runs by how they ended, the best trials, and the places of table and page."""
    from distmatch.reports.sweeps import report_sweep
    from distmatch.runs.terminal import say
    from distmatch.sweeps.sweep import counts

    number = counts(table)
    words = [f"{number[state]} {word}" for state, word in WORDS.items() if number[state]]
    say(console, f"runs:  {len(table['runs'])}: {', '.join(words)}")
    for line in sweep.trials.best() if sweep.trials is not None else ():
        say(console, line)
    say(console, f"table: {sweep.folder / 'table.csv'}")
    if table["runs"]:
        say(console, f"page:  {report_sweep(sweep.folder)}")


WORDS = {
    "finished": "finished",
    "diverged": "diverged (why is in the table)",
    "stopped": "stopped by halving",
    "interrupted": "interrupted",
    "running": "not ended",
    "waiting": "not begun",
}
