"""The command line. torch is imported only by the commands that compute."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction, arg

from distmatch.errors import BadInput

if TYPE_CHECKING:
    from rich.console import Console

    from distmatch.runs.loop import Progress

Runs = Positional[tuple[Path, ...]]


@dataclass(frozen=True)
class Train:
    """Train a system, or an objective of your own, into a run folder."""

    system: Positional[str | None] = None
    """A named system (`distmatch list systems`); leave it out with --terms."""
    terms: str | None = None
    """An objective of your own, e.g. "nll + 0.5*match(z_code, z_prior, by=wasserstein, penalty=gp(10))"."""
    data: str | None = None
    """A data set (`distmatch list data`)."""
    data_dir: Path | None = None
    """The folder of its files: D/<name>/ and D itself are looked in. Without it, a cache with downloads."""
    limit: int | None = None
    """Use only the first examples of each split."""
    binarise: Literal["none", "threshold", "dynamic", "dequantise"] | None = None
    """What is done to images: nothing, x > 1/2, a draw from Bernoulli(x) at each step, or (255x + u)/256."""
    steps: int | None = None
    """The players' steps."""
    epochs: float | None = None
    """Times through the data (20 if neither is given)."""
    batch_size: int | None = None
    """Examples a step (64)."""
    latent: int | None = None
    """The size of z (20)."""
    network: str | None = None
    """A family of nets (`distmatch list networks`)."""
    likelihood: str | None = None
    """p(x|z): bernoulli, gaussian, laplace, quantized-normal, categorical, implicit, ..."""
    seed: int | None = None
    """Of everything random (0)."""
    out: Path | None = None
    """The run folder (runs/<system>-<data>)."""
    device: str | None = None
    """auto, cpu, cuda, cuda:1, ... (auto)."""
    precision: Literal["float32", "bf16"] | None = None
    """Of the nets; bf16 runs them under autocast (float32)."""
    set: UseAppendAction[tuple[str, ...]] = ()
    """Any other setting as path=value, e.g. --set system.weight=5 --set training.lr=2e-4; may be repeated."""
    config: Path | None = None
    """A configuration as JSON, such as a run's config.json; options given here override it."""
    dry_run: bool = False
    """Print what would run, and stop."""
    tensorboard: bool = False
    """Write TensorBoard event files into the run folder too."""

    def layers(self) -> list[dict[str, Any]]:
        """The configuration's layers: file, options, --set."""
        from distmatch.runs.config import assignment, read_layer

        options = {
            "system": self.system,
            "terms": self.terms,
            "data.name": self.data,
            "data.dir": None if self.data_dir is None else os.fspath(self.data_dir.expanduser().absolute()),
            "data.limit": self.limit,
            "data.binarise": self.binarise,
            "training.steps": self.steps,
            "training.epochs": self.epochs,
            "training.batch_size": self.batch_size,
            "training.precision": self.precision,
            "network.latent": self.latent,
            "network.family": self.network,
            "network.likelihood": self.likelihood,
            "seed": self.seed,
            "device": self.device,
        }
        given = {k: v for k, v in options.items() if v is not None}
        base = {} if self.config is None else read_layer(self.config)
        for one, other in (("system", "terms"), ("training.steps", "training.epochs")):
            if (one in given) != (other in given):
                base.pop(other if one in given else one, None)
        return [base, given, *(assignment(text) for text in self.set)]

    def run(self, console: Console) -> None:
        """Train."""
        from distmatch.runs.assemble import assemble, layered
        from distmatch.runs.loop import train

        config = layered(*self.layers())
        name = config.system or "terms"
        out = self.out or Path("runs") / f"{name}-{config.data.name}"
        if self.dry_run:
            assembly = assemble(config)
            _print_plan(console, assembly, out)
            return
        with _progress(console) as bar:
            outcome = train(config, out, bar(name))
        _finish_training(console, outcome.folder.path, self.tensorboard)


@dataclass(frozen=True)
class Resume:
    """Go on with a run that was interrupted or killed, from its last good checkpoint."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run folder."""
    tensorboard: bool = False
    """Write TensorBoard event files into the run folder too."""

    def run(self, console: Console) -> None:
        """Resume."""
        from distmatch.runs.loop import resume

        with _progress(console) as bar:
            outcome = resume(self.run_folder, bar(self.run_folder.name))
        _notes(console, outcome.notes)
        _finish_training(console, self.run_folder, self.tensorboard)


@dataclass(frozen=True)
class Sample:
    """Draw samples from a trained run, as a picture or as an array."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run folder."""
    n: Annotated[int, arg(aliases=["-n"])] = 64
    """How many."""
    out: Path = Path("samples.png")
    """A .png grid (images), a .svg scatter plot (2-D toys), or a .npy array (any data)."""
    seed: int = 0
    """Of the prior draws."""
    label: int | None = None
    """The class to draw, for a conditional system."""

    def run(self, console: Console) -> None:
        """Sample."""
        from distmatch.runs.sampling import sample_to

        _notes(console, sample_to(self.run_folder, self.n, self.out, self.seed, self.label))
        console.print(f"{self.n} samples in [bold]{self.out}[/]")


@dataclass(frozen=True)
class Evaluate:
    """Measure a run: every diagnostic that applies; those that do not are listed with the reason."""

    run_folder: Annotated[Positional[Path], arg(metavar="RUN")]
    """The run folder."""
    only: tuple[str, ...] = ()
    """Names of diagnostics (`distmatch list diagnostics`); all that apply if none is given."""
    samples: int = 10_000
    """Codes, samples or examples at most."""
    seed: int = 0
    """Of what is drawn."""

    def run(self, console: Console) -> None:
        """Evaluate."""
        from distmatch.report.table import comparison_table
        from distmatch.runs.evaluation import evaluate
        from distmatch.runs.view import measured, report

        with console.status("measuring") as status:
            _, notes = evaluate(
                self.run_folder,
                self.only or None,
                self.samples,
                self.seed,
                lambda name: status.update(f"measuring {name}"),
            )
        _notes(console, notes)
        metrics, skipped = measured([self.run_folder])
        console.print(comparison_table(metrics, skipped))
        for name, reason in next(iter(skipped.values())).items():
            console.print(f"[dim]{name}: {reason}[/]")
        console.print(f"page: [bold]{report([self.run_folder])}[/]")


@dataclass(frozen=True)
class Compare:
    """Print the metrics of several runs side by side."""

    runs: Annotated[Runs, arg(metavar="RUN ...")]
    """Run folders that have been evaluated."""

    def run(self, console: Console) -> None:
        """Compare."""
        from distmatch.report.table import comparison_table
        from distmatch.runs.view import measured

        if not self.runs:
            raise BadInput("give the run folders to compare")
        console.print(comparison_table(*measured(self.runs)))


@dataclass(frozen=True)
class Report:
    """Write a self-contained HTML page of one run, or of several side by side."""

    runs: Annotated[Runs, arg(metavar="RUN ...")]
    """Run folders."""
    out: Path | None = None
    """The page (RUN/report.html for one run, report.html for several)."""

    def run(self, console: Console) -> None:
        """Report."""
        from distmatch.runs.view import report

        console.print(f"page: [bold]{report(self.runs, self.out)}[/]")


@dataclass(frozen=True)
class List:
    """List systems, data sets, diagnostics or networks."""

    what: Positional[Literal["systems", "data", "diagnostics", "networks"]]
    """Which."""

    def run(self, console: Console) -> None:
        """List."""
        from distmatch.runs.listing import table_of

        console.print(table_of(self.what))


@dataclass(frozen=True)
class Show:
    """Show a system: equation, players of each term, critics, nets, defaults, reference."""

    system: Positional[str]
    """A named system, or an objective as text."""

    def run(self, console: Console) -> None:
        """Show."""
        from distmatch.runs.listing import description_of

        console.print(description_of(self.system))


@dataclass(frozen=True)
class Demo:
    """Train a VAE, a GAN and VGH++ on small digits, measure all three, and write one page."""

    out: Path = Path("runs/demo")
    """Where the runs and the page go."""
    seed: int = 0
    """Of everything random."""

    def run(self, console: Console) -> None:
        """Demo."""
        from distmatch.report.table import comparison_table
        from distmatch.runs.demo import demo
        from distmatch.runs.view import measured

        with _progress(console) as bar:
            paths, page = demo(self.out, self.seed, bar)
        console.print(comparison_table(*measured(paths)))
        console.print(f"page: [bold]{page}[/]")


COMMANDS = {c.__name__.lower(): c for c in (Train, Resume, Sample, Evaluate, Compare, Report, List, Show, Demo)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, and exit: 0, 2 for bad input, 3 for a diverged run, 130 for Ctrl-C."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code."""
    from rich.console import Console

    command: Any = tyro.extras.subcommand_cli_from_dict(
        COMMANDS,
        prog="distmatch",
        description="Declare which distributions are matched and how they are compared; train; measure.",
        args=arguments,
        config=(OmitArgPrefixes,),
    )
    console, errors = Console(highlight=False), Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        command.run(console)
    except BadInput as error:
        errors.print(f"distmatch: {error}", markup=False)
        return 2
    except KeyboardInterrupt as error:
        errors.print(f"distmatch: {error or 'interrupted'}", markup=False)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except RuntimeError as error:
        if type(error).__name__ != "Diverged":
            raise
        errors.print(f"distmatch: {error}", markup=False)
        return 3
    return 0


def _notes(console: Console, notes: Sequence[str]) -> None:
    for note in notes:
        console.print(f"note: {note}; the checkpoint before it is used", markup=False)


def _finish_training(console: Console, path: Path, tensorboard: bool) -> None:
    """The page, event files if asked for, and what to do next."""
    from distmatch.runs.view import report, view_of

    if tensorboard:
        from distmatch.report.tensorboard import write_events

        write_events(view_of(path).log, path / "tensorboard")
    page = report([path])
    console.print(f"run:  [bold]{path}[/]\npage: [bold]{page}[/]\nnext: distmatch evaluate {path}")


def _print_plan(console: Console, assembly: Any, out: Path) -> None:
    """What a run would be."""
    import json

    from distmatch.runs.listing import objective_lines

    for line in objective_lines(assembly.objective):
        console.print(line)
    sizes = {n: sum(p.numel() for p in net.parameters()) for n, net in assembly.trainer.nets.items()}
    console.print("weights:   " + ", ".join(f"{n} {size:,}" for n, size in sizes.items()))
    console.print(f"data:      {assembly.data.name}, {len(assembly.data.train):,} examples ({assembly.data.bits})")
    console.print(f"folder:    {out}")
    console.print(json.dumps(assembly.config.as_dict(), indent=2), markup=False)


@contextmanager
def _progress(console: Console) -> Iterator[Callable[[str], Progress]]:
    """Progress bars, one for each name that training is started under."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        TextColumn("[dim]{task.fields[losses]}"),
    )
    with Progress(*columns, console=console) as bars:

        def start(name: str) -> Any:
            task = bars.add_task(name, total=None, losses="")

            def advance(step: int, steps: int, losses: dict[str, float]) -> None:
                shown = "  ".join(f"{k} {v:.3g}" for k, v in losses.items() if not k.startswith("critic/"))
                bars.update(task, completed=step, total=steps, losses=shown)

            return advance

        yield start
