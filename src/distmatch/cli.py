"""The command line. torch is imported only by the commands that compute."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, Positional, UseAppendAction, arg

from distmatch.errors import BadInput
from distmatch.runs.config import settings_text
from distmatch.runs.options import (
    PLAIN,
    Binarise,
    Count,
    Name,
    Place,
    Precision,
    Real,
    Run,
    Runs,
    one_of,
    option,
)

if TYPE_CHECKING:
    from rich.console import Console


@dataclass(frozen=True)
class Train:
    """Train a system, or an objective of your own, into a run folder."""

    system: Annotated[Positional[str | None], arg(metavar="SYSTEM", help_behavior_hint="")] = None
    """A named system (`distmatch list systems`); leave it out with --terms."""
    terms: Name = None
    """An objective of your own, e.g. "nll + 0.5*match(z_code, z_prior, by=wasserstein, penalty=gp(10))"."""
    labels: bool = False
    """Give every net the label (any system; cvae and cgan do so by themselves)."""
    data: Name = None
    """A data set (`distmatch list data`)."""
    data_dir: Place = None
    """The folder of its files: PATH/<name>/ and PATH itself are looked in. Without it, a cache with downloads."""
    limit: Count = None
    """Use only the first examples of each split (all)."""
    binarise: Binarise = None
    """What is done to images: nothing, x > 1/2, a draw from Bernoulli(x) at each step, or (255x + u)/256 (auto: this
    for a flow, nothing otherwise)."""
    steps: Count = None
    """The players' steps."""
    epochs: Real = None
    """Times through the data (20 if neither is given)."""
    batch_size: Count = None
    """Examples a step (64)."""
    latent: Count = None
    """The size of z (20; for a flow that of the data)."""
    network: Name = None
    """A family of nets (`distmatch list networks`); auto suits data and objective (auto)."""
    likelihood: Name = None
    """p(x|z): bernoulli, gaussian, laplace, quantized-normal, categorical, implicit, ... (auto)."""
    seed: Count = None
    """Of everything random (0)."""
    out: Place = None
    """The run folder (runs/<system>-<data>, or runs/terms-<data>)."""
    device: Name = None
    """auto, cpu, cuda, cuda:1, ... (auto)."""
    precision: Precision = None
    """Of the nets; bf16 runs them under autocast (float32)."""
    set: Annotated[
        UseAppendAction[tuple[tuple[str, ...], ...]], arg(metavar="PATH=VALUE ...", help_behavior_hint="")
    ] = ()
    """Any other setting: --set system.weight=5 training.lr=2e-4. May be repeated; --dry-run shows all paths."""
    config: Place = None
    """A configuration as JSON, such as a run's config.json; options given here override it.
    With another system, terms or data than its own, its nets and training are left behind."""
    dry_run: bool = False
    """Print what would run, and write nothing."""
    tensorboard: bool = False
    """Write TensorBoard event files into the run folder too."""

    def layers(self) -> list[dict[str, Any]]:
        """The configuration's layers: file, options, --set."""
        from distmatch.runs.config import assignment, read_layer

        options = {
            "system": self.system,
            "terms": self.terms,
            "conditional": self.labels or None,
            "data.name": self.data,
            "data.dir": None if self.data_dir is None else os.fspath(self.data_dir.expanduser().resolve()),
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
        base = {} if self.config is None else read_layer(self.config.expanduser())
        settings = [assignment(text) for texts in self.set for text in texts]
        newer = given | {path: value for layer in settings for path, value in layer.items()}
        for one, other in (("system", "terms"), ("training.steps", "training.epochs")):
            if (one in newer) != (other in newer):
                base.pop(other if one in newer else one, None)
        base = _that_still_holds(base, newer)
        return [base, given, *settings]

    def run(self, console: Console) -> None:
        """Train."""
        from distmatch.runs.assemble import layered
        from distmatch.runs.listing import plan_of
        from distmatch.runs.loop import train
        from distmatch.runs.terminal import progress_bars

        _need_tensorboard(self.tensorboard)
        config = layered(*self.layers())
        name = config.system or "terms"
        out = self.out.expanduser() if self.out else Path("runs") / f"{name}-{config.data.name}"
        if self.dry_run:
            for line in plan_of(config, out):
                console.print(line, soft_wrap=isinstance(line, str))
            return
        with progress_bars(console) as bar:
            outcome = train(config, out, bar(name))
        _finish_training(console, outcome.folder.path, self.tensorboard)


Train.__doc__ = (
    f"{Train.__doc__}\n\nSettings for --set, beside system.OPTION (`distmatch show SYSTEM`):\n\n"
    + (settings_text().replace("\n", "\n\n"))
)


def _that_still_holds(base: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    """What a configuration file still says once its system, data or length has been replaced."""

    def changed(*paths: str) -> bool:
        return any(p in newer and newer[p] != base.get(p) for p in paths)

    dropped: tuple[str, ...] = ()
    if changed("system", "terms"):
        dropped += ("system.",)
    if changed("system", "terms", "data.name"):
        dropped += ("network.", "training.")
    if changed("training.steps", "training.epochs"):
        dropped += ("training.log_every", "training.checkpoint_every", "training.sample_every")
    return {k: v for k, v in base.items() if not k.startswith(dropped)} if dropped else base


@dataclass(frozen=True)
class Resume:
    """Go on with a run that was interrupted or killed, from its last good checkpoint.

    A run that diverged is refused: the same bits would diverge again at the same step.
    """

    run_folder: Run
    """The run folder."""
    tensorboard: bool = False
    """Write TensorBoard event files into the run folder too."""

    def run(self, console: Console) -> None:
        """Resume."""
        from distmatch.runs.loop import resume
        from distmatch.runs.terminal import note, progress_bars

        _need_tensorboard(self.tensorboard)
        with progress_bars(console) as bar:
            outcome = resume(self.run_folder, bar(self.run_folder.name))
        for text in outcome.notes:
            note(text)
        _finish_training(console, self.run_folder, self.tensorboard)


@dataclass(frozen=True)
class Sample:
    """Draw samples from a trained run, as a picture or as an array."""

    run_folder: Run
    """The run folder."""
    n: Annotated[int, option("N", int, "a whole number"), arg(aliases=["-n"])] = 64
    """How many."""
    out: Place = None
    """A .png grid (images), a .svg scatter plot (2-D toys), or a .npy array (any data); by default samples.* in
    the folder where you are, of the kind that suits the data."""
    seed: Annotated[int, option("N", int, "a whole number")] = 0
    """Of the prior draws."""
    label: Count = None
    """The class to draw, for a conditional system; all in turn without it."""

    def run(self, console: Console) -> None:
        """Sample."""
        from distmatch.runs.sampling import sample_to
        from distmatch.runs.terminal import note, say

        out, notes = sample_to(self.run_folder, self.n, self.out, self.seed, self.label)
        for text in notes:
            note(text)
        say(console, f"{self.n} samples in {out}")


@dataclass(frozen=True)
class Evaluate:
    """Measure a run: every diagnostic that applies; those that do not are listed with the reason."""

    run_folder: Run
    """The run folder."""
    only: Annotated[
        UseAppendAction[tuple[tuple[str, ...], ...]], arg(metavar="NAME ...", help_behavior_hint="")
    ] = ()
    """Names of diagnostics (`distmatch list diagnostics`); all that apply if none is given. Earlier results of the
    same checkpoint are kept beside them."""
    samples: Annotated[int, option("N", int, "a whole number")] = 10_000
    """Codes, samples or examples at most."""
    seed: Annotated[int, option("N", int, "a whole number")] = 0
    """Of what is drawn."""
    quick: bool = False
    """Leave out the diagnostics that take more than seconds."""
    features: Name = None
    """The feature net of scores on images: mnist, inception (needs distmatch[fidelity]), pixels, or the .safetensors
    of a classifier; the one that is made for the data, if any."""

    def run(self, console: Console) -> None:
        """Evaluate."""
        from distmatch.report.table import comparison_table
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
    """Measure samples of any model against a data set: every diagnostic that needs samples alone."""

    samples: Annotated[Path, option("PATH", Path, "a path")]
    """A .npy file, or a .npz with one array: images (n, h, w), (n, h, w, c) or (n, c, h, w), of bytes or of numbers in
    [0, 1] or [-1, 1]; or points (n, d)."""
    data: Annotated[str, option("NAME", str, "a name")]
    """The data set that the model was trained on (`distmatch list data`)."""
    data_dir: Place = None
    """The folder of its files: PATH/<name>/ and PATH itself are looked in. Without it, a cache with downloads."""
    only: Annotated[
        UseAppendAction[tuple[tuple[str, ...], ...]], arg(metavar="NAME ...", help_behavior_hint="")
    ] = ()
    """Names of diagnostics (`distmatch list diagnostics`); all that apply if none is given."""
    at_most: Annotated[int, option("N", int, "a whole number")] = 10_000
    """Samples and examples at most."""
    seed: Annotated[int, option("N", int, "a whole number")] = 0
    """Of what is drawn."""
    quick: bool = False
    """Leave out the diagnostics that take more than seconds."""
    features: Name = None
    """The feature net of scores on images: mnist, inception (needs distmatch[fidelity]), pixels, or the .safetensors
    of a classifier; the one that is made for the data, if any."""
    out: Place = None
    """The folder for metrics.json, figures/ and report.html (diagnosis/<name of the samples>)."""

    def run(self, console: Console) -> None:
        """Diagnose."""
        from distmatch.report.table import comparison_table
        from distmatch.runs.foreign import diagnose
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
    """Write a self-contained HTML page of one run, or of several side by side."""

    runs: Runs
    """Run folders."""
    out: Place = None
    """The page (RUN/report.html for one run, report.html for several)."""

    def run(self, console: Console) -> None:
        """Report."""
        from distmatch.runs.terminal import say
        from distmatch.runs.view import report

        say(console, f"page: {report(self.runs, self.out)}")


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

    out: Annotated[Path, option("PATH", Path, "a path")] = Path("runs/demo")
    """Where the runs and the page go."""
    seed: Annotated[int, option("N", int, "a whole number")] = 0
    """Of everything random."""

    def run(self, console: Console) -> None:
        """Demo."""
        from distmatch.runs.demo import demo
        from distmatch.runs.terminal import progress_bars, say
        from distmatch.runs.view import comparison

        with progress_bars(console) as bar:
            paths, page = demo(self.out, self.seed, bar)
        console.print(comparison(paths))
        say(console, f"page: {page}")


@dataclass(frozen=True)
class Dirac:
    """Show how methods move in the smallest game: one data point, one model point, a critic of one slope.

    Prints the distance from the equilibrium after all rounds and the eigenvalues there, and draws the phase portrait.
    """

    method: Annotated[Positional[str | None], arg(metavar="METHOD", help_behavior_hint="")] = None
    """gan, ns-gan, wgan, wgan-gp, instance-noise, r1, r1-critical, consensus or ns-r1; all without it."""
    by: Name = None
    """Instead of a method: a comparison, whose field is derived (wasserstein, f-kl, lsif/kl, ...)."""
    penalty: Name = None
    """A penalty that goes with --by, as in an objective: "gp(0.35, centre=1)", "r1(0.3)", "clip(1)"."""
    noise: Real = None
    """The standard deviation of instance noise that goes with --by (0)."""
    order: Annotated[str | None, one_of("simultaneous", "alternating"), PLAIN] = None
    """Of the updates; without it, simultaneous, alternating and alternating with five critic steps."""
    critic_steps: Count = None
    """The critic's steps in a round of alternating updates (1)."""
    first: Annotated[str | None, one_of("generator", "critic"), PLAIN] = None
    """Who moves first in a round of alternating updates (generator)."""
    steps: Annotated[int, option("N", int, "a whole number")] = 500
    """Rounds."""
    h: Annotated[float, option("X", float, "a number")] = 0.2
    """The size of a step."""
    out: Annotated[Path, option("PATH", Path, "a path")] = Path("dirac.svg")
    """The figure."""

    def run(self, console: Console) -> None:
        """Dirac."""
        from distmatch.runs.dirac import draw, methods_of, schedules_of
        from distmatch.runs.terminal import say

        methods = methods_of(self.method, self.by, self.penalty, self.noise)
        schedules = schedules_of(self.order, self.critic_steps, self.first)
        console.print(draw(methods, schedules, self.h, self.steps, self.out.expanduser()))
        say(console, f"figure: {self.out}")


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
    data_dir: Place = None
    """The folder of the data sets' files: PATH/<name>/ and PATH itself are looked in."""
    work: Annotated[Path, option("PATH", Path, "a path")] = Path("runs/reproduce")
    """Where the runs go."""
    out: Annotated[Path, option("PATH", Path, "a path")] = Path("docs/results/experiments")
    """Where results and figures go."""

    def run(self, console: Console) -> None:
        """Reproduce."""
        from distmatch.experiments.listing import claims_table, list_experiments
        from distmatch.experiments.page import write_page
        from distmatch.experiments.running import reproduce
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


STYLE = (OmitArgPrefixes, FlagCreatePairsOff)
COMMANDS: dict[str, Callable[..., object]] = {
    command.__name__.lower(): command
    for command in (
        Train,
        Resume,
        Sample,
        Evaluate,
        Diagnose,
        Compare,
        Report,
        List,
        Show,
        Dirac,
        Reproduce,
        Demo,
    )
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, and exit: 0, 2 for bad input, 3 for a diverged run, 130 for Ctrl-C."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """Run a command; its exit code. Errors are one sentence on stderr."""
    try:
        return _obey(arguments)
    except BadInput as error:
        return _fail(error, 2)
    except KeyboardInterrupt as error:
        return _fail(str(error) or "interrupted", 130)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        return _fail(f"{place}{error.strerror or error}", 2)
    except RuntimeError as error:
        if type(error).__name__ != "Diverged":  # whose module would import torch
            raise
        return _fail(error, 3)


def _obey(arguments: Sequence[str] | None) -> int:
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            command: Any = tyro.extras.subcommand_cli_from_dict(
                COMMANDS,
                prog="distmatch",
                description="Declare which distributions are matched and how they are compared; train; measure.",
                args=arguments,
                config=STYLE,
            )
    except SystemExit as stop:
        if not stop.code:
            sys.stdout.flush()
            return 0
        from distmatch.runs.terminal import sentence

        raise BadInput(sentence(said.getvalue())) from None
    from distmatch.runs.terminal import console_on

    command.run(console_on())
    sys.stdout.flush()
    return 0


def _fail(message: object, code: int) -> int:
    print(f"distmatch: {message}", file=sys.stderr)
    return code


def _need_tensorboard(wanted: bool) -> None:
    """Before anything is trained: what writes the events is there."""
    from importlib.util import find_spec

    if wanted and find_spec("tensorboard") is None:
        raise BadInput('TensorBoard is not installed; run: pip install "distmatch[tensorboard]"')


def _finish_training(console: Console, path: Path, tensorboard: bool) -> None:
    """The page, event files if asked for, and what to do next."""
    from distmatch.runs.terminal import say
    from distmatch.runs.view import report, view_of

    if tensorboard:
        from distmatch.report.tensorboard import write_events

        write_events(view_of(path).log, path / "tensorboard")
    page = report([path])
    say(console, f"run:  {path}\npage: {page}\nnext: distmatch evaluate {quote(str(path))}")
