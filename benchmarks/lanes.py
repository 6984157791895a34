"""Many runs at once: K lanes of one program, against the same K runs one after the other and in K processes at once.

    python benchmarks/lanes.py [--json FILE] [--most K] [--budget SECONDS] [--engine E] [vae-64] [vae-400] ...

- `vae-64`, `vae-400`: VAE of 28×28 images, MLPs of two hidden layers of that width, 20 codes.
- `wgan-gp-64`: WGAN-GP on the same images, MLPs of width 64, a gradient penalty at each step.
- `dcgan`: DCGAN of 32×32 in three channels, 100 codes, the package's default widths.

All at batch 64, with a learning rate and a seed for each run. A number is runs × steps per second, so that what a sweep
takes is its runs times its steps over it. Runs one after the other are one run's speed, measured beside the lanes in
interleaved blocks, in one process with all of torch's threads. Processes have one thread each on a CPU; on CUDA they
share the device. No more of them than `--processes` are started (default: twice the cores, on CUDA 8), as more gain
nothing and take memory.

K doubles from 1 until `--most`, the memory (measured on one run, half of what is free is used) or `--budget` for each
system ends it; the table says which. The last lines say where lanes stop paying: from which K on they are no faster
than one run after the other, and from which K on doubling them adds less than 10 %.

Other programs on the same cores make the numbers worthless: look at the load.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from queue import Empty
from threading import BrokenBarrierError
from typing import Any

import torch
import torch.multiprocessing as mp
from measure import interleaved, print_machine, print_table, write_json

from distmatch.networks import Shapes, build
from distmatch.systems import find
from distmatch.training import Adam, Feed, Settings, Trainer
from distmatch.training.lanes.benchmark import Memory, memory
from distmatch.training.lanes.lanes import Lanes

BATCH, EXAMPLES = 64, 2048
GAIN = 1.1  # doubling the lanes must add this much, or they have stopped paying
SHARE = 0.5  # of the free memory that lanes may take
PROCESS_SECONDS = 3.0
WAIT = 120.0  # seconds for processes to start


@dataclass(frozen=True)
class Subject:
    """What is trained."""

    system: str
    family: str
    width: int | None
    shapes: Shapes

    def trainer(self, seed: int, device: str, engine: str) -> Trainer:
        """One run, with a learning rate of its own."""
        torch.manual_seed(seed)
        objective = find(self.system).objective()
        explicit = objective.needs_likelihood
        options = {} if self.width is None else {"width": self.width}
        make = partial(build, self.family, shapes=self.shapes, options=options)
        nets = {n: make(n, likelihood="bernoulli" if explicit else "implicit") for n in objective.uses}
        nets |= {n: make("critic", spaces=spaces) for n, spaces in objective.critics.items()}
        bytes_ = torch.Generator().manual_seed(0)
        x = torch.randint(0, 256, (EXAMPLES, *self.shapes.x), generator=bytes_, dtype=torch.uint8)
        feed = Feed(objective, x, latent=self.shapes.latent, batch_size=BATCH, seed=seed, device=device)
        lr = 1e-4 * (1 + seed % 10)
        return Trainer(objective, nets, feed, Settings(Adam(lr), Adam(lr)), engine=engine)


SMALL = Shapes(x=(1, 28, 28), latent=20)
SUBJECTS = {
    "vae-64": Subject("vae", "mlp", 64, SMALL),
    "vae-400": Subject("vae", "mlp", 400, SMALL),
    "wgan-gp-64": Subject("wgan-gp", "mlp", 64, SMALL),
    "dcgan": Subject("gan", "dcgan", None, Shapes(x=(3, 32, 32), latent=100)),
}


@dataclass(frozen=True)
class Plan:
    """How far to go."""

    device: str
    engine: str
    most: int
    budget: float
    processes: int
    seconds: float
    blocks: int

    @property
    def together(self) -> int:
        """Steps for each call: as many as one recording holds, where steps are recorded."""
        return 8 if self.device == "cuda" else 1


def measure(name: str, plan: Plan) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """One row for each K, and where lanes stop paying."""
    subject, start = SUBJECTS[name], time.perf_counter()
    taken = memory(subject.trainer(0, plan.device, plan.engine))
    room = SHARE * free(plan.device)
    rows: list[dict[str, Any]] = []
    k, ended = 1, ""
    while not ended:
        began = time.perf_counter()
        rows.append(row(name, k, taken, plan))
        spent = time.perf_counter() - began
        left = plan.budget - (time.perf_counter() - start)
        k *= 2
        if k > plan.most:
            ended = "--most"
        elif k > taken.lanes(int(room)):
            ended = "memory"
        elif 2 * spent > left:
            ended = "--budget"
    return rows, verdict(name, rows, ended)


def row(name: str, k: int, taken: Memory, plan: Plan) -> dict[str, Any]:
    """Throughput of K lanes, of one run after the other, and of K processes at once, in runs × steps per second.

    The one that stands for all of the latter is new in each row, and so not trained further than the lanes.
    """
    alone = SUBJECTS[name].trainer(0, plan.device, plan.engine)
    trainers = [SUBJECTS[name].trainer(seed, plan.device, plan.engine) for seed in range(k)]
    lanes = Lanes(trainers)
    rivals = {
        "lanes": partial(forward, lanes, trainers, plan.together),
        "loop": partial(repeat, alone, k, plan),
    }
    once = interleaved(rivals, calls=1, blocks=2)
    calls = max(1, round(plan.seconds / once["lanes"].median))
    times = interleaved(rivals, calls, plan.blocks, warm_up=0)
    steps = k * plan.together
    rate = {who: steps / times[who].median for who in times}
    low, high = times["loop"].spread(times["lanes"])
    apart = at_once(name, k, plan) if k <= plan.processes else None
    return {
        "system": name,
        "K": k,
        "lanes": round(rate["lanes"], 1),
        "one by one": round(rate["loop"], 1),
        "processes": "not run" if apart is None else round(apart, 1),
        "lanes / one by one": round(rate["lanes"] / rate["loop"], 2),
        "quartiles": f"{low:.2f}-{high:.2f}",
        "lanes / processes": "-" if apart is None else round(rate["lanes"] / apart, 2),
        "MiB a lane": round((taken.state + taken.step) / 2**20, 1),
    }


def forward(pack: Lanes | Trainer, trainers: Sequence[Trainer], steps: int) -> None:
    """So many steps of all, without looking at the losses."""
    end = trainers[0].steps_done + steps
    while trainers[0].steps_done < end:
        pack.advance(most=end - trainers[0].steps_done)
    for trainer in trainers:
        trainer.pending.clear()


def repeat(alone: Trainer, k: int, plan: Plan) -> None:
    """As many steps of one run as K lanes take together."""
    for _ in range(k):
        forward(alone, [alone], plan.together)


def at_once(name: str, k: int, plan: Plan) -> float | None:
    """Runs × steps per second of K processes; each counts its steps while all are at it. None if one does not start."""
    context = mp.get_context("spawn")
    ready, done = context.Barrier(k + 1), context.Queue()
    job = (name, plan.device, plan.engine, plan.together, ready, done)
    workers = [context.Process(target=work, args=(seed, *job), daemon=True) for seed in range(k)]
    for worker in workers:
        worker.start()
    try:
        ready.wait(WAIT)
        return float(sum(done.get(timeout=WAIT) for _ in workers))
    except (BrokenBarrierError, Empty):
        return None
    finally:
        for worker in workers:
            worker.join(1)
            worker.kill()


def work(seed: int, name: str, device: str, engine: str, together: int, ready: Any, done: Any) -> None:
    """One process: warm up, wait for the others, count steps for a while."""
    torch.set_num_threads(1)
    trainer = SUBJECTS[name].trainer(seed, device, engine)
    for _ in range(5):
        forward(trainer, [trainer], together)
    ready.wait(WAIT)
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < PROCESS_SECONDS:
        forward(trainer, [trainer], together)
        if device == "cuda":
            torch.cuda.synchronize()
        steps += together
    done.put(steps / (time.perf_counter() - start))


def verdict(name: str, rows: Sequence[dict[str, Any]], ended: str) -> dict[str, Any]:
    """Where lanes stop paying."""
    pays = [r["K"] for r in rows if r["lanes / one by one"] > 1]
    best = max(rows, key=lambda r: r["lanes"])
    flat = next((a["K"] for a, b in pairwise(rows) if b["lanes"] < GAIN * a["lanes"]), None)
    return {
        "system": name,
        "pay from K": min(pays, default="never"),
        "to K": max(pays, default="-"),
        "best K": best["K"],
        "times one by one": best["lanes / one by one"],
        "doubling adds < 10 % from K": "not seen" if flat is None else flat,
        "ended by": ended,
    }


def free(device: str) -> float:
    """Bytes of memory that are free."""
    if device == "cuda":
        return float(torch.cuda.mem_get_info()[0])
    return float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("systems", nargs="*", help=f"{', '.join(SUBJECTS)}; default all")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--most", type=int, default=256, help="lanes at most")
    parser.add_argument("--budget", type=float, default=120.0, help="seconds for each system")
    parser.add_argument("--processes", type=int, help="processes at most; 0 for none")
    parser.add_argument("--engine", default="auto", help="auto, eager, compiled or captured")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cpu or cuda"
    )
    parser.add_argument("--seconds", type=float, default=0.2, help="length of a block")
    parser.add_argument("--blocks", type=int, default=6, help="blocks for each side")
    parser.add_argument("--threads", type=int, help="of torch; default: as torch decides")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    processes = options.processes
    if processes is None:
        processes = 8 if options.device == "cuda" else 2 * (os.cpu_count() or 1)
    plan = Plan(
        options.device,
        options.engine,
        options.most,
        options.budget,
        processes,
        options.seconds,
        options.blocks,
    )
    print_machine()
    rows, verdicts = [], []
    for name in options.systems or SUBJECTS:
        found, verdict_ = measure(name, plan)
        rows += found
        verdicts.append(verdict_)
        print_table(found)
        print()
        write_json(options.json, {"throughput": rows, "verdicts": verdicts})
    print_table(verdicts)


if __name__ == "__main__":
    main()
