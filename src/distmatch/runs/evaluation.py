"""Measuring a run: its metrics, into `metrics.json`, and its pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from distmatch.data import DataSet
from distmatch.distributions.functions import reparameterise
from distmatch.distributions.likelihoods import LIKELIHOODS
from distmatch.errors import BadInput
from distmatch.metrics import Options, Results, find
from distmatch.metrics import evaluate as run_bench
from distmatch.metrics.features.nets import feature_net
from distmatch.revision import revision
from distmatch.runs.folder import RunFolder
from distmatch.runs.model import Trained, load_trained
from distmatch.runs.pictures import save_plots, save_reconstructions, save_samples


def evaluate(
    path: Path,
    only: Iterable[str] | None = None,
    samples: int = Options.samples,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
    quick: bool = False,
    features: str | None = None,
    data: DataSet | None = None,
) -> tuple[Results, list[str]]:
    """Measure a run: all metrics that apply, or those named; `metrics.json` and pictures are written.

    `quick` leaves out the metrics that take more than seconds; `features` names the feature net of the scores.
    `data` is what the run's configuration names, where it is at hand.
    With `only`, earlier results of the same step that are not measured again are kept.

    Returns:
        What was measured now, and sentences as of `load_trained`.
    """
    only = [only] if isinstance(only, str) else None if only is None else list(only)
    for name in only or ():
        find(name)  # before anything is loaded
    folder, made_with = RunFolder.open(path), revision()
    before = _earlier(folder) if only is not None else {}
    net = None if features is None else feature_net(features)
    trained, notes = load_trained(folder, data)
    _check_finite(trained, path)
    results = run_bench(
        trained.as_model(),
        only=only,
        samples=samples,
        seed=seed,
        progress=progress,
        quick=quick,
        features=net,
    )
    config = trained.assembly.config
    grey = trained.assembly.data.is_image and config.data.binarise not in ("threshold", "dynamic")
    if "elbo" in results.metrics and LIKELIHOODS[config.network.likelihood].binary and grey:
        notes.append(
            "elbo and distortion are of a Bernoulli likelihood on grey images: scores, no log-probabilities; "
            "--binarise dynamic makes them so"
        )
    step = trained.assembly.trainer.steps_done
    after = results.as_dict()
    made = {"step": step, "samples": samples, "seed": seed, "revision": made_with}
    for estimate in after["metrics"].values():
        estimate |= made | ({} if net is None else {"features": str(net)})
    if before.get("step") == step:
        after["metrics"] = {**before.get("metrics", {}), **after["metrics"]}
        after["skipped"] = {k: v for k, v in before.get("skipped", {}).items() if k not in (only or ())}
    elif before:
        notes.append(
            f"earlier results were of step {before.get('step')} and are dropped; these are of step {step}"
        )
    about = {"step": step, "data": trained.assembly.data.bits}
    shown = {
        **(before.get("plots", {}) if before.get("step") == step else {}),
        **save_plots(folder.path, results),
    }
    folder.write_json("metrics.json", {**about, **after, "plots": shown})
    save_samples(trained.assembly, folder, step, trained)
    save_reconstructions(trained, folder)
    return results, notes


def _check_finite(trained: Trained, path: Path) -> None:
    """Raise `BadInput` where there is nothing to measure: weights so large that the nets overflow."""
    made = []
    if "decoder" in trained.nets:
        made.append(trained.sample(16))
    if "encoder" in trained.nets:
        y = trained.labels("train")
        with torch.no_grad():
            x = trained.prepared("train", 16)
            distribution = trained.encode(x, None if y is None else y[:16])
            made.append(reparameterise(distribution, torch.zeros(len(x), trained.latent)))
    if not all(m.isfinite().all() for m in made):
        step = trained.assembly.trainer.steps_done
        raise BadInput(
            f"what the nets of {path} return is not finite at step {step}; train with a smaller training.lr"
        )


def _earlier(folder: RunFolder) -> dict[str, Any]:
    """Return the results that were measured before; damaged ones count as none."""
    try:
        return folder.read_json("metrics.json") or {}
    except BadInput:
        return {}
