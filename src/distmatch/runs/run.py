"""The verbs of a run, from Python: train, load, evaluate, report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from distmatch.errors import BadInput
from distmatch.metrics.evaluation import Results
from distmatch.metrics.evaluation import evaluate as evaluate_model
from distmatch.metrics.model import Model, Options
from distmatch.runs import evaluation, view
from distmatch.runs.build import layered
from distmatch.runs.config import RunConfig
from distmatch.runs.folder import RunFolder
from distmatch.runs.layers import absolute
from distmatch.runs.model import Trained, load_trained
from distmatch.runs.settings import SHORT
from distmatch.runs.train import Progress, resume
from distmatch.runs.train import train as train_config


class Run:
    """A run in its folder: its configuration, and the model of its newest checkpoint.

    Args:
        path: the folder.

    Raises:
        BadInput: there is no run.

    >>> import tempfile
    >>> run = train("gan", data="ring", steps=2, out=tempfile.mkdtemp() + "/gan")
    >>> run.config.training.steps, run.sample(5).shape
    (2, torch.Size([5, 2]))
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self.folder = RunFolder.open(Path(path))

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r})"

    @property
    def path(self) -> Path:
        """The folder."""
        return self.folder.path

    @property
    def config(self) -> RunConfig:
        """Everything that fixes the run, resolved."""
        return self.folder.config()

    @property
    def status(self) -> str:
        """Running, interrupted, diverged or finished, in words."""
        return self.folder.status()

    @cached_property
    def trained(self) -> Trained:
        """The nets of the newest good checkpoint, in evaluation mode."""
        return load_trained(self.folder)[0]

    def sample(self, n: int, seed: int = 0, y: Tensor | None = None) -> Tensor:
        """Return n draws of the model, `(n, *x_shape)`; of the labels y `(n,)` where it is given labels."""
        return self.trained.sample(n, seed, y)

    def encode(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        """Return q(z|x), batch shape `(n,)`."""
        return self.trained.encode(x, y)

    def decode(self, z: Tensor, y: Tensor | None = None) -> Distribution:
        """Return p(x|z), batch shape `(n,)`."""
        return self.trained.decode(z, y)

    def resume(self, progress: Progress | None = None) -> Run:
        """Go on from the newest good checkpoint to the end, and return the run."""
        return Run(resume(self.path, progress).folder.path)


def train(
    system: str | None = None,
    *,
    data: str,
    out: str | PathLike[str] | None = None,
    terms: str | None = None,
    settings: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
    **given: Any,
) -> Run:
    """Train a system, or an objective given as terms, on a data set into a run folder, and return the run.

    Args:
        system: a named system (`distmatch.systems.SYSTEMS`).
        data: a data set (`distmatch.data.DATA_SETS`).
        out: the folder; `runs/<system>-<data>` without it.
        terms: in place of a system, such as `"nll + kl"`.
        settings: any setting by its path, such as `{"training.lr": 1e-4, "system.weight": 5}`.
        progress: called after each logged step with the step, all steps, and the losses.
        given: other settings, as `distmatch train` calls them: `seed`, `device`, `steps`, `latent`, `limit`, ...

    Raises:
        BadInput: what cannot be run, in one sentence; no folder is left behind.
        Diverged: a loss or weight is not finite; the last good checkpoint is kept.

    >>> import tempfile
    >>> run = train("vae", data="digits", steps=2, latent=2, out=tempfile.mkdtemp() + "/vae")
    >>> run.status, run.sample(3).shape
    ('finished', torch.Size([3, 1, 8, 8]))
    """
    if unknown := set(given) - set(SHORT):
        raise BadInput(
            f"train knows no {', '.join(sorted(unknown))}; give {', '.join(sorted(SHORT))}, "
            "or any path in `settings`"
        )
    options = {"system": system, "terms": terms, "data": data, **given}
    layer = {SHORT[name]: value for name, value in options.items() if value is not None}
    config = layered(absolute(layer), settings or {})
    path = Path("runs") / f"{config.system or 'terms'}-{data}" if out is None else Path(out)
    return Run(train_config(config, path, progress).folder.path)


def load(path: str | PathLike[str]) -> Run:
    """Return the run in a folder.

    Raises:
        BadInput: there is none.

    >>> import tempfile
    >>> where = train("gan", data="ring", steps=2, out=tempfile.mkdtemp() + "/gan").path
    >>> load(where).status
    'finished'
    """
    return Run(path)


def evaluate(
    model: Run | Model | str | PathLike[str],
    only: Iterable[str] | None = None,
    *,
    samples: int = Options.samples,
    seed: int = 0,
    quick: bool = False,
    progress: Callable[[str, float], None] | None = None,
) -> Results:
    """Return the metrics of a run, which are written into its folder too, or of any model.

    Args:
        model: a run, its folder, or a `Model` of callables and tensors.
        only: metrics or keys of their results; None for all that apply.
        samples: codes, samples or examples at most.
        seed: of all that is random in measuring.
        quick: leave out the metrics that take more than seconds.
        progress: called with a metric's name and the share of it that is done.

    Raises:
        BadInput: a metric that is not known, or one that was asked for and does not apply.

    >>> import torch
    >>> spread = Model(sample=lambda n, seed: torch.zeros(n, 2), test=torch.ones(50, 2))
    >>> evaluate(spread, "mmd", samples=50).metrics["mmd"].value > 0.5
    True
    """
    if isinstance(model, Model):
        return evaluate_model(model, only, samples, seed, progress, quick=quick)
    path = model.path if isinstance(model, Run) else Path(model)
    return evaluation.evaluate(path, only, samples=samples, seed=seed, progress=progress, quick=quick)[0]


def report(
    runs: Run | str | PathLike[str] | Sequence[Run | str | PathLike[str]],
    out: str | PathLike[str] | None = None,
) -> Path:
    """Write a self-contained HTML page of one run, or of several side by side, and return its path.

    Args:
        runs: runs or their folders.
        out: the file; `report.html` in the folder of one run without it.

    >>> import tempfile
    >>> report(train("gan", data="ring", steps=2, out=tempfile.mkdtemp() + "/gan")).name
    'report.html'
    """
    several = [runs] if isinstance(runs, Run | str | PathLike) else runs
    paths = [run.path if isinstance(run, Run) else Path(run) for run in several]
    return view.report(paths, None if out is None else Path(out))
