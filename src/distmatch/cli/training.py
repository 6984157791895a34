"""Commands that train, or draw from what was trained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import Positional, UseAppendAction, arg

from distmatch.errors import BadInput
from distmatch.runs.options import Count, DataDir, Place, Run, option, setting
from distmatch.runs.settings import SHORT, settings_text

if TYPE_CHECKING:
    from rich.console import Console

    from distmatch.runs.config import RunConfig


@dataclass(frozen=True)
class Train:
    """Train a system, or an objective of your own, into a run folder."""

    system: Annotated[Positional[str | None], arg(metavar="SYSTEM", help_behavior_hint="")] = None
    """A named system (`distmatch list systems`); leave it out with --terms."""
    terms: Annotated[str | None, *setting("terms")] = None
    labels: bool = False
    """Give every net the label (any system; cvae and cgan do so by themselves)."""
    data: Annotated[str | None, *setting("data")] = None
    data_dir: DataDir = None
    limit: Annotated[int | None, *setting("limit")] = None
    binarise: Annotated[str | None, *setting("binarise")] = None
    steps: Annotated[int | None, *setting("steps")] = None
    epochs: Annotated[float | None, *setting("epochs")] = None
    batch_size: Annotated[int | None, *setting("batch_size")] = None
    latent: Annotated[int | None, *setting("latent")] = None
    network: Annotated[str | None, *setting("network")] = None
    likelihood: Annotated[str | None, *setting("likelihood")] = None
    seed: Annotated[int | None, *setting("seed")] = None
    out: Place = None
    """The run folder (runs/<system>-<data>, or runs/terms-<data>)."""
    device: Annotated[str | None, *setting("device")] = None
    precision: Annotated[str | None, *setting("precision")] = None
    set: Annotated[
        UseAppendAction[tuple[tuple[str, ...], ...]], arg(metavar="PATH=VALUE ...", help_behavior_hint="")
    ] = ()
    """Any other setting: --set system.weight=5 training.lr=2e-4. May be repeated; --dry-run shows all paths."""
    config: Place = None
    """A configuration as JSON, such as a run's config.json; options given here override it.
    With another system, terms or data than its own, its nets and training are left behind."""
    dry_run: bool = False
    """Print what would run, and write nothing."""
    profile: bool = False
    """Say where a step's time goes, and how far it is from what this machine can do; train no further."""
    tensorboard: bool = False
    """Write TensorBoard event files into the run folder too."""

    def layers(self) -> list[dict[str, Any]]:
        """The configuration's layers: file, options, --set."""
        from distmatch.runs.layers import absolute, assignment, read_layer

        options = {path: getattr(self, name) for name, path in SHORT.items()}
        given = absolute(
            {path: value for path, value in options.items() if value is not None and value is not False}
        )
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
        from distmatch.runs.build import layered
        from distmatch.runs.catalogue import printed
        from distmatch.runs.listing import plan_of
        from distmatch.runs.terminal import progress_bars
        from distmatch.runs.torchrun import gathered
        from distmatch.runs.train import train

        _need_tensorboard(self.tensorboard)
        config = layered(*self.layers())
        name = config.system or "terms"
        out = self.out.expanduser() if self.out else Path("runs") / f"{name}-{config.data.name}"
        if self.dry_run:
            for line in plan_of(config, out):
                console.print(
                    line if isinstance(line, str) else printed([line]), soft_wrap=isinstance(line, str)
                )
            return
        if self.profile:
            self._profile(console, config, out)
            return
        with progress_bars(console) as bar, gathered() as ranks:
            outcome = train(config, out, bar(name), ranks)
        if ranks is None or ranks.leads:
            _finish_training(console, outcome.folder.path, self.tensorboard)

    def _profile(self, console: Console, config: RunConfig, out: Path) -> None:
        from distmatch.runs.profiling import profile, shown
        from distmatch.runs.terminal import say
        from distmatch.runs.torchrun import place

        if place() is not None:
            raise BadInput("--profile watches one process: start it without torchrun")
        console.print(shown(profile(config, out)))
        say(console, f"file: {out / 'profile.json'}\nnext: distmatch resume {quote(str(out))}")


Train.__doc__ = (
    f"{Train.__doc__}\n\nSettings for --set, beside system.OPTION (`distmatch show SYSTEM`):\n\n"
    + (settings_text().replace("\n", "\n\n"))
)


def _that_still_holds(base: dict[str, Any], newer: dict[str, Any]) -> dict[str, Any]:
    """Return what a configuration file still says once its system, data or length has been replaced."""

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
        from distmatch.runs.terminal import note, progress_bars
        from distmatch.runs.torchrun import gathered
        from distmatch.runs.train import resume

        _need_tensorboard(self.tensorboard)
        with progress_bars(console) as bar, gathered() as ranks:
            outcome = resume(self.run_folder, bar(self.run_folder.name), ranks)
        for text in outcome.notes:
            note(text)
        if ranks is None or ranks.leads:
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
        from distmatch.reports.tensorboard import write_events

        write_events(view_of(path).log, path / "tensorboard")
    page = report([path])
    say(console, f"run:  {path}\npage: {page}\nnext: distmatch evaluate {quote(str(path))}")
