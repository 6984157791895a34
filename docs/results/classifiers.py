"""The classifiers that the scores use: train one, measure its error, keep its weights.

    python docs/results/classifiers.py mnist --data-dir DIR --seed 0
    python docs/results/classifiers.py cifar10 --data-dir DIR --device cuda

`mnist` writes the weights that the package ships; on one busy core it took half an hour. `cifar10` wants a GPU.
The numbers go to docs/results/classifiers/NAME.json. Nothing is chosen by the test set: the recipe is fixed, the last
weights are kept, and the held-out part of the training set only shows how it goes. On a CPU one seed, one version of
torch and one thread give the same weights.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from distmatch.data import DataSet, Split, load, to_unit
from distmatch.metrics.features import classifiers
from distmatch.metrics.features.classifiers import Classifier
from distmatch.revision import revision

HERE = Path(__file__).parent
BATCH = 128


@dataclass(frozen=True)
class Recipe:
    """Nesterov SGD with momentum 0.9; the rate rises for a tenth of the steps and falls as a cosine."""

    weights: Path
    epochs: int
    augment: Callable[[Tensor], Tensor]
    augmentation: str
    rate: float = 0.1
    weight_decay: float = 5e-4


def uniform(n: int, low: float, high: float, device: torch.device) -> Tensor:
    """n draws from U[low, high)."""
    return torch.empty(n, device=device).uniform_(low, high)


def turn(x: Tensor) -> Tensor:
    """Each digit turned by up to 12°, scaled by 0.9 to 1.1, sheared and moved by up to 2.5 pixels."""
    n, device = len(x), x.device
    angle, shear = uniform(n, -math.pi / 15, math.pi / 15, device), uniform(n, -0.15, 0.15, device)
    wide, high = uniform(n, 0.9, 1.1, device), uniform(n, 0.9, 1.1, device)
    across, down = uniform(n, -0.18, 0.18, device), uniform(n, -0.18, 0.18, device)
    rows = [
        wide * angle.cos(),
        -high * angle.sin() + shear,
        across,
        wide * angle.sin(),
        high * angle.cos(),
        down,
    ]
    grid = F.affine_grid(torch.stack(rows, 1).view(n, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def shift_and_mirror(x: Tensor) -> Tensor:
    """Each picture moved by up to four pixels over a reflected border, half of them mirrored, a 10×10 square grey."""
    n, _, h, w = x.shape
    down = torch.randint(9, (n, 1), device=x.device) + torch.arange(h, device=x.device)
    across = torch.randint(9, (n, 1), device=x.device) + torch.arange(w, device=x.device)
    across = torch.where(torch.rand(n, 1, device=x.device) < 0.5, across, across.flip(1))
    padded = F.pad(x, (4, 4, 4, 4), mode="reflect")
    moved = padded[torch.arange(n, device=x.device)[:, None, None], :, down[:, :, None], across[:, None, :]]
    near_row = (torch.arange(h, device=x.device) - torch.randint(h, (n, 1), device=x.device)).abs() < 5
    near_column = (torch.arange(w, device=x.device) - torch.randint(w, (n, 1), device=x.device)).abs() < 5
    square = near_row[:, None, :, None] & near_column[:, None, None, :]
    return moved.permute(0, 3, 1, 2).masked_fill(square, 0.5).contiguous()


RECIPES = {
    "mnist": Recipe(
        classifiers.SHIPPED, 14, turn, "rotation to 12°, scale 0.9 to 1.1, shear 0.15, shift to 2.5 pixels"
    ),
    "cifar10": Recipe(
        Path("cifar10.safetensors"), 100, shift_and_mirror, "shift to 4 pixels, mirror, a grey square of 10"
    ),
}


def train(net: Classifier, recipe: Recipe, data: DataSet, device: torch.device, steps: int | None) -> int:
    """Trains `net` in place; returns how many steps were taken."""
    x, y = data.train.x.to(device), data.train.y.to(device)
    per_epoch = len(x) // BATCH
    total = steps or recipe.epochs * per_epoch
    optimiser = torch.optim.SGD(
        net.parameters(), recipe.rate, 0.9, weight_decay=recipe.weight_decay, nesterov=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.rate, total, pct_start=0.1, cycle_momentum=False
    )
    for step in range(total):
        if step % per_epoch == 0:
            order = torch.randperm(len(x), device=device)
        net.train()
        rows = order[step % per_epoch * BATCH :][:BATCH]
        batch = recipe.augment(to_unit(x[rows]))
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            loss = F.cross_entropy(net(batch), y[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if (step + 1) % per_epoch == 0 or step + 1 == total:
            held_out = accuracy(net, data.validation, device)
            print(f"step {step + 1} of {total}, loss {loss.item():.4f}, held out {held_out:.4f}", flush=True)
    return total


@torch.no_grad()
def accuracy(net: Classifier, split: Split, device: torch.device) -> float:
    """The share of a split that the net names rightly."""
    net.eval()
    right = 0
    for x, y in zip(split.x.split(500), split.y.split(500), strict=True):
        right += int((net(to_unit(x.to(device))).argmax(1).cpu() == y).sum())
    return right / len(split)


def keep(net: nn.Module, path: Path) -> None:
    """The weights in half precision; what is measured afterwards is read back from this file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {k: v.cpu().half().contiguous() for k, v in net.state_dict().items() if v.is_floating_point()}
    save_file(state, path)


def measure(name: str, weights: Path, data: DataSet, device: torch.device) -> dict[str, Any]:
    """What the net that a file holds gets right."""
    _, net, digest = classifiers.load_classifier(weights)
    net.to(device)
    right, n = accuracy(net, data.test, device), len(data.test)
    return {
        "name": name,
        "sha256": digest,
        "accuracy": right,
        "standard_error": math.sqrt(right * (1 - right) / n),
        "n": n,
        "held_out_accuracy": accuracy(net, data.validation, device),
        "held_out_n": len(data.validation),
        "parameters": sum(p.numel() for p in net.parameters()),
        "bytes": weights.stat().st_size,
        "data": f"{data.source}; {data.bits}",
    }


def describe(recipe: Recipe, seed: int, steps: int, seconds: float, device: torch.device) -> dict[str, Any]:
    """How the net was made."""
    kept = {k: v for k, v in asdict(recipe).items() if k not in ("weights", "augment")}
    versions = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": str(device),
        "revision": revision(),
    }
    return {
        "seed": seed,
        "steps": steps,
        "batch": BATCH,
        "recipe": kept,
        "seconds": round(seconds),
        "environment": versions,
    }


def main() -> None:
    """Train, keep, measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=list(RECIPES))
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument(
        "--steps", type=int, help="only so many, on 1,000 images of each split, to see that it runs"
    )
    parser.add_argument("--weights", type=Path, help="where the weights go")
    parser.add_argument("--json", type=Path, help="where the numbers go")
    asked = parser.parse_args()
    revision()  # before the work, for what is changed meanwhile had no part in it
    recipe = RECIPES[asked.name]
    weights, numbers = (
        asked.weights or recipe.weights,
        asked.json or HERE / "classifiers" / f"{asked.name}.json",
    )
    data = load(asked.name, asked.data_dir, limit=1_000 if asked.steps else None)
    torch.manual_seed(asked.seed)
    if asked.device.type == "cpu":
        torch.set_num_threads(1)
    net = classifiers.CLASSIFIERS[asked.name]().to(asked.device)
    start = time.perf_counter()
    steps = train(net, recipe, data, asked.device, asked.steps)
    seconds = time.perf_counter() - start
    keep(net, weights)
    found = measure(asked.name, weights, data, asked.device)
    found |= describe(recipe, asked.seed, steps, seconds, asked.device)
    text = json.dumps(found, indent=1, ensure_ascii=False)
    numbers.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
