"""How far a lane ends from the same run alone: rounding, amplified by training, in float32 and float64.

    python benchmarks/lane_rounding.py [--steps N ...]

`dcgan` with batch norm on 8×8 digits, width 8, batch 32, three lanes of other seeds. The distance is that of the
decoder's weights, over the way that they have gone from their start.
"""

from __future__ import annotations

import argparse

import torch
from measure import print_machine, print_table
from torch import Tensor

from distmatch.data import load
from distmatch.networks import Shapes, build
from distmatch.systems import find
from distmatch.training import Adam, Feed, Settings, Trainer
from distmatch.training.lanes.lanes import Lanes


def trainer(seed: int, x: Tensor) -> Trainer:
    """Return a GAN of batch-normalised convolutions on these images."""
    objective, shapes = find("dcgan").objective(), Shapes(tuple(x.shape[1:]), latent=8)
    torch.manual_seed(seed)
    nets = {"decoder": build("dcgan", "decoder", shapes, likelihood="implicit", options={"width": 8})}
    nets["data"] = build("dcgan", "critic", shapes, spaces=("x",), options={"width": 8})
    adam = Adam(lr=2e-4, beta1=0.5)
    return Trainer(
        objective, nets, Feed(objective, x, latent=8, batch_size=32, seed=seed), Settings(adam, adam)
    )


def weights(made: Trainer) -> Tensor:
    """Return all of the decoder's weights in one vector."""
    return torch.cat([p.flatten().double() for p in made.state.params["decoder"].values()]).clone()


def main() -> None:
    """Print a row for each precision and number of steps."""
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--steps", type=int, nargs="+", default=[10, 100, 1000, 3000])
    steps = sorted(options.parse_args().steps)
    torch.set_num_threads(1)
    print_machine()
    rows = []
    for dtype in (torch.float32, torch.float64):
        torch.set_default_dtype(dtype)
        x = load("digits").train.x.to(dtype) / 255
        alone, members = trainer(0, x), [trainer(seed, x) for seed in range(3)]
        start, lanes = weights(alone), Lanes(members)
        for n in steps:
            while alone.steps_done < n:
                alone.advance()
                lanes.advance()
            moved = (weights(alone) - start).norm()
            off = (weights(lanes.trainers[0]) - weights(alone)).norm()
            off_by = f"{float(off / moved):.1e}"
            rows.append({"precision": str(dtype).removeprefix("torch."), "steps": n, "off / way": off_by})
    print_table(rows)


if __name__ == "__main__":
    main()
