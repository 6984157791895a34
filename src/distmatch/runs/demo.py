"""The main job on embedded data: three systems, trained, measured, side by side in one page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from distmatch.errors import BadInput
from distmatch.runs.build import assemble, layered
from distmatch.runs.evaluation import evaluate
from distmatch.runs.folder import RunFolder
from distmatch.runs.train import Progress, resume, train
from distmatch.runs.view import report

LATENT = 10
DEMO: dict[str, dict[str, Any]] = {
    "vae": {"training.epochs": 200, "network.width": 256, "network.likelihood": "gaussian"},
    "gan": {"training.steps": 4000, "network.width": 32, "training.ema": 0.999},
    "vgh++": {
        "training.steps": 3000,
        "network.width": 32,
        "network.code_width": 200,
        "training.ema": 0.999,
    },
}
"""What each system trains with: sized so that all three take under three minutes on two cores."""


def demo(
    out: Path,
    seed: int = 0,
    progress: Callable[[str], Progress] | None = None,
    measuring: Callable[[str, float], None] | None = None,
) -> tuple[list[Path], Path]:
    """Train and measure each of `DEMO` on the digits; a run that is there already is resumed.

    Returns:
        The run folders, and the page.
    """
    paths = []
    for system, settings in DEMO.items():
        path = out / system
        shown = progress(system) if progress is not None else None
        chosen = {"system": system, "data.name": "digits", "network.latent": LATENT, "seed": seed}
        if not (path / "config.json").exists():
            train(layered(chosen, settings), path, shown)
        elif RunFolder.open(path).config() == assemble(layered(chosen, settings)).config:
            resume(path, shown)
        else:
            raise BadInput(f"{path} holds another run than this demo's; give another --out")
        evaluate(path, samples=2000, progress=measuring, quick=True)
        paths.append(path)
    return paths, report(paths, out / "report.html")
