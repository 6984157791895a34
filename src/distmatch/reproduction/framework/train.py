"""Training and measuring a system as one run of an experiment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from distmatch.reproduction.framework.experiment import Bench, Numbers
from distmatch.runs.build import layered
from distmatch.runs.config import RunConfig
from distmatch.runs.evaluation import evaluate
from distmatch.runs.folder import RunFolder
from distmatch.runs.train import resume, train
from distmatch.training import Diverged


def train_run(settings: Mapping[str, Any], seed: int, bench: Bench, name: str = "run") -> Path | None:
    """Train a run into the bench's folder, or resume the one that is there; None where it diverged.

    Args:
        settings: the configuration by paths, such as {"system": "vae", "data.name": "mnist", "network.latent": 10}.
        seed: of everything random.
        name: of the run folder, where a cell trains several.
    """
    path = bench.folder / name
    try:
        if (path / "config.json").exists():
            if RunFolder.open(path).status().startswith("diverged"):
                return None
            resume(path)
        else:
            train(config_of(settings, seed, bench), path)
    except Diverged:
        return None
    return path


def config_of(settings: Mapping[str, Any], seed: int, bench: Bench) -> RunConfig:
    """Return the configuration of a run of an experiment: these settings, on the bench's data and device."""
    own: dict[str, Any] = {"seed": seed, "device": "auto" if bench.scale == "paper" else "cpu"}
    if bench.data_dir is not None:
        own["data.dir"] = str(bench.data_dir)
    return layered(settings, own)


def measure_run(path: Path | None, only: Sequence[str], samples: int = 10_000, seed: int = 0) -> Numbers:
    """The metrics of a run by name; nothing but `diverged` = 1 where there is no run.

    Args:
        path: what `train_run` gave.
        only: names of metrics.
    """
    if path is None:
        return Numbers({"diverged": 1.0})
    results, _ = evaluate(path, only, samples=samples, seed=seed)
    values = {name: estimate.value for name, estimate in results.metrics.items()}
    return Numbers({"diverged": 0.0} | {name: v for name, v in values.items() if math.isfinite(v)})


def logged(path: Path | None, name: str) -> list[float]:
    """A curve of the run's log, such as "nll"; empty where there is no run."""
    return [] if path is None else [line[name] for line in RunFolder.open(path).read_log() if name in line]
