"""What training costs as its work grows: nothing in a step may cost more than the work it asks for.

    python benchmarks/scaling.py [--json FILE] [--device cuda] [--threads N] [time] [memory]

`time`: steps per second as one of these doubles, from a small GAN of convolutional nets: the side of the image (28 to
32 and 64), the width of the nets, the batch, the critics. `work` is how the floating point operations of a step grow,
`time` how its seconds grow; `time / work` above 1 is a cost that the work does not explain, below 1 a machine that was
not filled.

`memory`: the peak of one step's memory as the data set and the latents (to 10,000) grow: on a CUDA device by torch's
own count, on a CPU by the process's (Linux), one process for each size. `data` is what the data set itself takes, and
`libraries` what is there before anything is built.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from measure import interleaved, print_machine, print_table, write_json

from distmatch.networks import Shapes, build
from distmatch.objectives.objective import Objective
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import X_GEN, X
from distmatch.systems import vae
from distmatch.training import Feed, Settings, Trainer
from distmatch.training.profiling import work

MIB = 2**20


@dataclass(frozen=True)
class Size:
    """How large a training is."""

    side: int = 32
    width: int = 16
    batch: int = 64
    critics: int = 1


GROWING: dict[str, list[Size]] = {
    "side": [Size(side=s) for s in (28, 32, 64)],
    "width": [Size(width=w) for w in (8, 16, 32, 64)],
    "batch": [Size(batch=b) for b in (16, 32, 64, 128, 256)],
    "critics": [Size(critics=c) for c in (1, 2, 4, 8)],
}


def trainer_of(size: Size, device: str, engine: str = "auto") -> Trainer:
    """A GAN with so many critics of the same samples, each with weights of its own."""
    matches = [Match(X_GEN, X, critic=f"critic{i}") for i in range(size.critics)]
    objective = Objective(*matches)
    shapes = Shapes(x=(3, size.side, size.side), latent=64)
    options = {"width": size.width}
    torch.manual_seed(0)
    nets = {"decoder": build("dcgan", "decoder", shapes, likelihood="implicit", options=options)}
    nets |= {name: build("dcgan", "critic", shapes, options=options) for name in objective.critics}
    if device == "cpu":
        nets = {n: net.to(memory_format=torch.channels_last) for n, net in nets.items()}
    x = torch.randint(0, 256, (4 * size.batch, *shapes.x), dtype=torch.uint8)
    feed = Feed(objective, x, latent=64, batch_size=size.batch, device=device)
    return Trainer(objective, nets, feed, Settings(), engine=engine)


def times(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each size."""
    rows: list[dict[str, Any]] = []
    for what, sizes in GROWING.items():
        trainers = [trainer_of(size, options.device) for size in sizes]
        for trainer in trainers:
            trainer.run(20 if options.device != "cpu" else 2)
        runs = {str(i): lambda t=t: t.run(options.steps) for i, t in enumerate(trainers)}
        timed = list(interleaved(runs, calls=1, blocks=options.blocks, warm_up=1).values())
        done = [work(trainer_of(size, options.device, "eager"))[0] for size in sizes]
        found = [
            {
                "what": what,
                "size": getattr(size, what),
                "steps/s": round(options.steps / t.median, 2),
                "GFLOP a step": round(flops / 1e9, 4),
                "work": 1.0,
                "time": 1.0,
                "time / work": 1.0,
            }
            for size, t, flops in zip(sizes, timed, done, strict=True)
        ]
        for (before, t0, w0), (after, t1, w1) in pairwise(zip(found, timed, done, strict=True)):
            after["work"], after["time"] = round(w1 / w0, 3), round(t1.median / t0.median, 3)
            after["time / work"] = round(t1.median / t0.median / (w1 / w0), 3)
            assert before["what"] == after["what"]
        rows += found
    return rows


MEMORY = {
    "data": [(n, 20) for n in (10_000, 60_000, 240_000)],
    "latents": [(10_000, latent) for latent in (10, 100, 1_000, 10_000)],
}


def memory(options: argparse.Namespace) -> list[dict[str, Any]]:
    """A row for each size, each in a process of its own."""
    rows = []
    for what, sizes in MEMORY.items():
        for examples, latent in sizes:
            command = [sys.executable, __file__, "--peak", str(examples), str(latent)]
            said = subprocess.run(
                [*command, "--device", options.device], capture_output=True, text=True, check=True
            )
            rows.append({"what": what, "examples": examples, "latent": latent} | json.loads(said.stdout))
    return rows


def peak(examples: int, latent: int, device: str) -> dict[str, float]:
    """The memory of an MLP VAE that has taken a few steps, in MiB."""
    shapes, before = Shapes(x=(1, 28, 28), latent=latent), most(device)
    nets = {role: build("mlp", role, shapes) for role in ("encoder", "decoder")}
    x = torch.randint(0, 256, (examples, *shapes.x), dtype=torch.uint8)
    trainer = Trainer(vae(), nets, Feed(vae(), x, latent=latent, device=device), Settings(), engine="auto")
    trainer.run(20)
    parameters = sum(p.numel() for net in nets.values() for p in net.parameters())
    return {
        "data, MiB": round(x.numel() / MIB, 1),
        "parameters, MiB": round(4 * parameters / MIB, 1),
        "libraries, MiB": round(before / MIB, 1),
        "peak beside them, MiB": round((most(device) - before) / MIB, 1),
    }


def most(device: str) -> int:
    """The most bytes that this process has held: of the device's memory, or by Linux's count of its own."""
    if device != "cpu":
        return torch.cuda.max_memory_reserved()
    status = Path("/proc/self/status").read_text()  # getrusage counts what held the process before it as well
    return 1024 * next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parts", nargs="*", help="time, memory; default both")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--blocks", type=int, default=7, help="stretches for each size")
    parser.add_argument("--steps", type=int, help="in a stretch; 4, or on a CUDA device 100")
    parser.add_argument("--threads", type=int, help="of torch; default: as torch decides")
    parser.add_argument("--peak", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.peak:
        print(json.dumps(peak(*options.peak, options.device)))
        return
    options.steps = options.steps or (4 if options.device == "cpu" else 100)
    print_machine()
    found = {}
    for part in options.parts or ("time", "memory"):
        found[part] = {"time": times, "memory": memory}[part](options)
        print_table(found[part])
        print()
    write_json(options.json, found)


if __name__ == "__main__":
    main()
