"""Measuring which modes of a known mixture, or of stacked MNIST, a trained run reaches."""

from __future__ import annotations

from pathlib import Path

import torch

from distmatch.metrics import mode_coverage, stacked_mnist_modes
from distmatch.reproduction.framework.experiment import Numbers
from distmatch.runs.folder import RunFolder
from distmatch.runs.model import Trained, load_trained

SAMPLES = 2_500  # of VEEGAN's protocol, in the plane
SHOWN = 200  # points that are kept for a picture


def covered(path: Path | None, seed: int, stacked: int = 26_000) -> Numbers:
    """Modes captured and reached, the share of samples of high quality, the KL of modes from even ones; some samples.

    Captured is as in VEEGAN's protocol, by one sample within 3σ. Reached is a mode to which a quarter of its even
    share of samples is nearest, however far they are. Of stacked MNIST, modes hit and their KL, by the shipped
    classifier.

    Args:
        path: what `train_run` gave; `diverged` = 1 where that is None.
        seed: of the samples.
        stacked: samples of stacked MNIST; the protocol has 26,000.
    """
    if path is None:
        return Numbers({"diverged": 1.0})
    trained, _ = load_trained(RunFolder.open(path))
    if trained.assembly.data.name == "stacked-mnist":
        return _stacked(trained, seed, stacked)
    modes, scale = trained.assembly.data.modes, trained.assembly.data.mode_scale
    assert modes is not None
    assert scale is not None
    samples = trained.sample(SAMPLES, seed)
    if not samples.isfinite().all():
        return Numbers({"diverged": 1.0})
    coverage = mode_coverage(samples, modes, scale)
    counts = torch.cdist(samples, modes).argmin(1).bincount(minlength=len(modes))
    values = {
        "modes": float(coverage.modes),
        "reached": float((counts >= SAMPLES / len(modes) / 4).sum()),
        "high_quality": coverage.high_quality.value,
        "mode_kl": coverage.kl.value,
    }
    points = {f"x{i + 1}": [round(v, 4) for v in samples[:SHOWN, i].tolist()] for i in range(2)}
    return Numbers({"diverged": 0.0} | values, points)


def _stacked(trained: Trained, seed: int, count: int) -> Numbers:
    samples = trained.sample(count, seed)
    if not samples.isfinite().all():
        return Numbers({"diverged": 1.0})
    coverage = stacked_mnist_modes(samples.clamp(0, 1))
    return Numbers({"diverged": 0.0, "modes": coverage.modes.value, "mode_kl": coverage.kl.value})
