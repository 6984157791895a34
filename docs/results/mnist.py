"""The MNIST results: train, measure, keep the numbers, make the page.

    python docs/results/mnist.py train [--data-dir DIR]  trains what is not trained yet, measures all, writes mnist/*
    python docs/results/mnist.py page                    makes docs/results/mnist.md from these files

Every measured number on the page comes from a JSON file that the program wrote. Each system is trained by the
command that the page shows, in a process of its own, so that memory and time are its own.
"""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from sklearn.neighbors import KNeighborsClassifier

from distmatch.data import load, to_unit
from distmatch.reports.mends import explained, made_before, read_mends, revisions_of
from distmatch.reports.table import format_estimate

HERE = Path(__file__).parent
KEPT = HERE / "mnist"
MENDS = read_mends(HERE / "mends.toml")
ORDER = ("vae", "aae", "vgh++", "gan", "wgan-gp")
TITLES = {"gan": "gan (DCGAN)"}
OPTIONS = {
    "vae": "--binarise dynamic --epochs 20 --set training.schedule=cosine",
    "aae": "--epochs 15",
    "vgh++": "--steps 6000 --precision bf16 --set network.width=32 training.ema=0.999",
    "gan": "--steps 9000 --latent 64 --precision bf16 --set network.width=32 training.ema=0.999",
    "wgan-gp": "--steps 2500 --latent 64 --precision bf16 --set network.width=32 training.ema=0.999",
}
ROWS = (
    "elbo",
    "rate",
    "distortion",
    "population_marginal_kl",
    "empirical_marginal_kl",
    "mutual_information",
    "marginal_rate",
    "mse",
    "code_mean",
    "code_covariance",
    "ms_ssim_diversity_rescaled",
    "ms_ssim_diversity_fixed",
)


def command(system: str) -> str:
    """The command line that trains a system."""
    return f"distmatch train {system} --data mnist {OPTIONS[system]}"


def train(data_dir: Path | None, runs: Path, only: list[str]) -> None:
    """Train and measure each system, and keep what the page needs."""
    for system in only or ORDER:
        run = runs / system
        if (run / "config.json").exists():
            words = ["resume", str(run)]
        else:
            words = [*shlex.split(command(system))[1:], "--out", str(run)]
            words += ["--data-dir", str(data_dir)] if data_dir else []
        subprocess.run([sys.executable, "-m", "distmatch", *words], check=True)
        subprocess.run([sys.executable, "-m", "distmatch", "evaluate", str(run)], check=True)
        keep(system, run, data_dir)


def classes(run: Path, data_dir: Path | None) -> list[int]:
    """How many of 1,000 samples a 3-nearest-neighbour classifier of 10,000 real digits gives to each class."""
    samples = run / "samples.npy"
    words = ["sample", str(run), "-n", "1000", "--out", str(samples)]
    subprocess.run([sys.executable, "-m", "distmatch", *words], check=True)
    digits = load("mnist", data_dir, limit=10_000).train
    judge = KNeighborsClassifier(3).fit(to_unit(digits.x).flatten(1).numpy(), digits.y.numpy())
    found = judge.predict(np.load(samples).reshape(1000, -1))
    return np.bincount(found, minlength=10).tolist()


def keep(system: str, run: Path, data_dir: Path | None) -> None:
    """Copy a run's numbers and pictures to where the page finds them."""
    about = json.loads((run / "config.json").read_text())
    about["config"]["data"]["dir"] = None  # a folder of one machine
    found = {
        "system": system,
        "command": command(system),
        "equation": about["equation"],
        "config": about["config"],
        "environment": about["environment"],
        "classes": classes(run, data_dir),
        "timing": json.loads((run / "timing.json").read_text()),
        **json.loads((run / "metrics.json").read_text()),
    }
    KEPT.mkdir(exist_ok=True)
    (KEPT / f"{system}.json").write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    shutil.copy(max((run / "samples").glob("*.png")), KEPT / f"{system}-samples.png")
    if (run / "reconstructions.png").exists():
        shutil.copy(run / "reconstructions.png", KEPT / f"{system}-reconstructions.png")


def page() -> str:
    """The page, in Markdown."""
    found = {s: json.loads((KEPT / f"{s}.json").read_text()) for s in ORDER if (KEPT / f"{s}.json").exists()}
    titles = [TITLES.get(s, s) for s in found]
    lines = [
        "# MNIST",
        "",
        "Made by `make results` from the JSON files in `mnist/`, which the program wrote.",
        "Original bits, 55,000 images for training, 10,000 for testing. Each number is followed by its standard error.",
        "",
        "| | " + " | ".join(titles) + " |",
        "|---|" + "---|" * len(titles),
    ]
    for row in (r for r in ROWS if any(r in f["metrics"] for f in found.values())):
        lines.append(f"| {row} | " + " | ".join(cell(found[s], row) for s in found) + " |")
    for label, key, unit, places in (
        ("time per step", "milliseconds_per_step", "ms", 1),
        ("steps", "steps", "", None),
        ("peak memory", "peak_memory_mb", "MB", None),
    ):
        values = (f"{round(found[s]['timing'][key], places):,} {unit}".strip() for s in found)
        lines.append(f"| {label} | " + " | ".join(values) + " |")
    shares = (" ".join(str(n) for n in found[s]["classes"]) for s in found)
    lines.append("| digits 0 to 9 among 1,000 samples | " + " | ".join(shares) + " |")
    mended = {s: made_before(MENDS, "mnist", s, revisions_of(found[s])) for s in found}
    if any(mended.values()):
        lines.append(
            "| made before | " + " | ".join(", ".join(names) or "–" for names in mended.values()) + " |"
        )
    lines += ["", *notes(found)]
    if told := explained(MENDS, (name for names in mended.values() for name in names)):
        lines += ["", *told]
    for system, title in zip(found, titles, strict=True):
        lines += ["", *section(system, title, found[system])]
    return "\n".join(lines) + "\n"


def composite(systems: list[str]) -> None:
    """One picture for the README: a corner of each system's samples, side by side."""
    grids = [Image.open(KEPT / f"{s}-samples.png").convert("RGB") for s in systems]
    width, height, margin, title = grids[0].width * 5 // 8, grids[0].height * 5 // 8, 16, 28
    canvas = Image.new("RGB", ((width + margin) * len(grids) - margin, height + title), "white")
    pen = ImageDraw.Draw(canvas)
    for i, (system, grid) in enumerate(zip(systems, grids, strict=True)):
        left = i * (width + margin)
        pen.text((left, 2), TITLES.get(system, system), fill="black", font_size=20)
        canvas.paste(grid.crop((0, 0, width, height)), (left, title))
    canvas.save(KEPT / "samples.png", optimize=True)


def cell(found: dict, row: str) -> str:
    """One metric of one system, or a dash."""
    m = found["metrics"].get(row)
    return format_estimate(m["value"], m["standard_error"], m["unit"].split(" per ")[0]) if m else "–"


def notes(found: dict) -> list[str]:
    """What must be said beside the numbers."""
    environment = next(iter(found.values()))["environment"]
    return [
        "- elbo, rate and distortion are nats per test image; the VAE's are on dynamically binarised images, the AAE's",
        "  on grey ones, so their likelihoods are not comparable with each other.",
        "- empirical_marginal_kl is that of the mixture of the 55,000 training posteriors (Algorithm 2 of",
        "  arXiv:1802.06847), whose mutual_information saturates at ln 55,000 = 10.9: it cannot be below",
        "  marginal_rate - 10.9, whatever the population's KL(q(z) ‖ p(z)) is.",
        "- The digits among samples are counted by a 3-nearest-neighbour classifier of 10,000 real ones.",
        "- A dash: the metric does not apply; the JSON says why.",
        f"- torch {environment['torch']}, {environment['machine']}, device {environment['device']}, "
        f"{environment['threads']} thread(s). The machine was shared, so times are upper bounds.",
    ]


def section(system: str, title: str, found: dict) -> list[str]:
    """A system's equation, command and pictures."""
    lines = [f"## {title}", "", f"`{found['equation']}`", "", f"`{found['command']}`", ""]
    lines.append(f"![64 samples of {title}](mnist/{system}-samples.png)")
    if (KEPT / f"{system}-reconstructions.png").exists():
        lines += ["", "Test images, each above its reconstruction:", ""]
        lines.append(f"![reconstructions by {title}](mnist/{system}-reconstructions.png)")
    return lines


def main() -> None:
    """Train, or make the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["train", "page"])
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--runs", type=Path, default=Path("runs/mnist"))
    parser.add_argument("--only", nargs="*", default=[])
    arguments = parser.parse_args()
    if arguments.what == "train":
        train(arguments.data_dir, arguments.runs, arguments.only)
    (HERE / "mnist.md").write_text(page())
    composite([s for s in ORDER if (KEPT / f"{s}-samples.png").exists()])


if __name__ == "__main__":
    main()
