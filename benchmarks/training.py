"""Whole training against what a user would write, and against pythae's trainer, in one run.

    python benchmarks/training.py [--json FILE] [--device cuda] [--threads N] [--batches 64 512] [--pythae] [CASE ...]

- `vae`: MLP 784-400-400-20, Bernoulli.
- `dcgan-28`, `dcgan-32`: the non-saturating GAN; 28×28 in one channel, 32×32 in three.
- `wgan-gp`: five critic steps of 28×28 for one of the generator.
- `vgh++`: 28×28; reconstructions and samples before one critic, codes before another.

All that training does is timed: data, noise, steps, losses read at the end of each stretch of at most 100 steps.
`by hand` is `benchmarks/by_hand.py`: a DataLoader over floats, `zero_grad()`, `backward()`, torch's own Adam. `ours` is
the package's trainer as `distmatch train` makes it. Same nets, batch and precision; first both take three steps from
the same numbers in double precision and must arrive at the same weights (`apart`: distance over distance moved).
`over by hand float32` is how much faster ours is than the hand-written loop in float32, in whatever precision it runs.

`--pythae` trains the same VAE with pythae's trainer, in a process of its own with the same number of threads; it is
installed into a virtual environment under the system's folder for temporary files, beside this interpreter's torch.
`bare, steps/s` is the VAE's matrix products and Adam alone, without losses, data, noise or autograd.
With `--device cuda`, `TFLOP/s` is what ours reaches, and `of ceiling` its share of one large product of matrices.

Rivals run in interleaved stretches; times are medians, and the quartiles those of the ratios of neighbours.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sysconfig
import tempfile
import venv
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import by_hand
import torch
from measure import Timing, interleaved, print_machine, print_table, write_json
from torch import Tensor

from distmatch.networks import Shapes, build
from distmatch.systems import find
from distmatch.training import Adam, Feed, Settings, Trainer
from distmatch.training.engine.memory import keep_heap
from distmatch.training.profiling import ceilings, work
from distmatch.training.step import Batch, init, step

STRETCH = 100
EXAMPLES = 60_000
PYTHAE = ("pythae==0.1.2", "cloudpickle", "imageio", "tqdm")


@dataclass(frozen=True)
class Case:
    """A system, its nets, and the loop by hand that trains them."""

    system: str
    loop: type[by_hand.Loop]
    family: str = "dcgan"
    shape: tuple[int, ...] = (1, 28, 28)
    latent: int = 100
    critic_steps: int = 1
    lr: float = 2e-4
    betas: tuple[float, float] = (0.5, 0.9)


CASES = {
    "vae": Case("vae", by_hand.VAE, "mlp", latent=20, lr=1e-3, betas=(0.9, 0.999)),
    "dcgan-28": Case("dcgan", by_hand.GAN),
    "dcgan-32": Case("dcgan", by_hand.GAN, shape=(3, 32, 32)),
    "wgan-gp": Case("wgan-gp", by_hand.WGANGP, critic_steps=5, lr=1e-4),
    "vgh++": Case("vgh++", by_hand.VGH),
}


def nets_of(case: Case, width: int | None = None) -> by_hand.Nets:
    """Encoder, decoder and critics, on the CPU."""
    objective, shapes = find(case.system).objective(), Shapes(x=case.shape, latent=case.latent)
    options: dict[str, Any] = {} if width is None else {"width": width, "code_width": width}
    if any(penalty.per_sample for _, penalty in objective.penalties.values()):
        options["critic_batch_norm"] = False
    likelihood = "bernoulli" if objective.needs_likelihood else "implicit"
    make = {p: build(case.family, p, shapes, likelihood=likelihood, options=options) for p in objective.uses}
    return make | {
        name: build(case.family, "critic", shapes, spaces=spaces, options=options)
        for name, spaces in objective.critics.items()
    }


def ours(case: Case, nets: by_hand.Nets, x: Tensor, batch: int, precision: str, engine: str) -> Trainer:
    """The package's trainer, as `distmatch train` makes it."""
    objective, bf16 = find(case.system).objective(), precision == "bf16"
    device = next(iter(nets["decoder"].parameters())).device
    if case.family == "dcgan" and (device.type == "cpu" or bf16):
        nets = {n: net.to(memory_format=torch.channels_last) for n, net in nets.items()}
    adam = Adam(case.lr, beta1=case.betas[0], beta2=case.betas[1])
    feed = Feed(objective, x, latent=case.latent, batch_size=batch, device=device)
    return Trainer(
        objective, nets, feed, Settings(adam, adam, precision=precision), case.critic_steps, engine
    )


def apart(case: Case) -> float:
    """How far narrow nets are apart after three steps of each loop on the same numbers, over how far they moved."""
    torch.manual_seed(0)
    nets = {n: net.double() for n, net in nets_of(case, width=8).items()}
    start = {(n, k): p.detach().clone() for n, net in nets.items() for k, p in net.named_parameters()}
    objective, adam = find(case.system).objective(), Adam(1e-3)
    engine, settings = deepcopy(nets), Settings(adam, adam)
    state = init(objective, engine, settings)
    feed = Feed(objective, torch.rand(64, *case.shape).double(), latent=case.latent, batch_size=8)
    loop = case.loop(nets, case.latent, critic_steps=case.critic_steps)
    for _ in range(3):
        batches = [feed.next() for _ in range(case.critic_steps)]
        batches = [Batch(b.x, {k: e.double() for k, e in b.noise.items()}) for b in batches]
        step(objective, engine, state, batches, settings)
        loop.take([(b.x, dict(b.noise)) for b in batches])
    ends = {(n, k): p.detach() for n, net in nets.items() for k, p in net.named_parameters()}
    moved = sum((ends[at] - start[at]).square().sum() for at in start)
    gap = sum((ends[n, k] - state.params[n][k]).square().sum() for n, k in start)
    return float((gap / moved).sqrt())


def rivals_of(name: str, batch: int, options: argparse.Namespace) -> dict[str, Callable[[int], Any]]:
    """What takes so many steps: by hand and ours, in each precision, and pythae's trainer if asked."""
    case, device = CASES[name], torch.device(options.device)
    torch.manual_seed(0)
    examples = max(options.examples, 2 * batch)
    x = torch.randint(0, 256, (examples, *case.shape), dtype=torch.uint8)
    found: dict[str, Callable[[int], Any]] = {}
    for precision in options.precisions:
        nets = {n: net.to(device) for n, net in nets_of(case).items()}
        loop = case.loop(
            deepcopy(nets), case.latent, case.lr, case.betas, precision == "bf16", case.critic_steps
        )
        loader = by_hand.loader_of(x, batch, device)
        found[f"by hand {precision}"] = lambda n, loop=loop, loader=loader: loop.run(loader, n)
        found[f"ours {precision}"] = ours(case, nets, x, batch, precision, options.engine).run
    return found


def measure(name: str, batch: int, options: argparse.Namespace, ceiling: dict[str, float]) -> dict[str, Any]:
    """One row for each precision."""
    case, device = CASES[name], torch.device(options.device)
    gap = apart(case)
    assert gap < 1e-6, f"{name}: engine and hand-written loop compute different things: {gap:.3g} apart"
    rivals = rivals_of(name, batch, options)
    for run in rivals.values():  # libraries set themselves up, graphs are recorded
        run(STRETCH if device.type == "cuda" else 3)
    alone = interleaved(
        {k: lambda run=run: run(1) for k, run in rivals.items()}, calls=2, blocks=2, warm_up=0
    )
    slowest = max(t.median for t in alone.values())
    steps = max(1, min(STRETCH, round(options.seconds / slowest)))
    calls = {k: lambda run=run: run(steps) for k, run in rivals.items()}
    if name == "vae":
        bare = products_alone(_placed(case, device), batch, case.lr)
        calls["bare"] = lambda: bare(steps)
        if options.pythae:
            calls["pythae float32"] = pythae(batch, steps, options)
    times = interleaved(calls, calls=1, blocks=options.blocks, warm_up=1)
    first = times[f"by hand {options.precisions[0]}"]
    flops = work(ours(case, _placed(case, device), _few(case, batch), batch, "float32", "eager"))[0]
    rows = []
    for precision in options.precisions:
        mine, theirs = times[f"ours {precision}"], times[f"by hand {precision}"]
        low, high = _inverse(mine.spread(theirs))
        row: dict[str, Any] = {
            "case": name,
            "batch": batch,
            "precision": precision,
            "by hand, steps/s": _digits(steps / theirs.median),
            "ours, steps/s": _digits(steps / mine.median),
            "ratio": round(theirs.over(mine), 3),
            "quartiles": f"{low:.3f}-{high:.3f}",
            f"over by hand {options.precisions[0]}": round(first.over(mine), 3),
            "GFLOP a step": round(flops / 1e9, 4),
            "TFLOP/s": _digits(flops * steps / mine.median / 1e12),
            "of ceiling": round(flops * steps / mine.median / ceiling[precision], 4),
            "apart": f"{gap:.0e}",
            "bare, steps/s": "",
            "pythae, steps/s": "",
            "over pythae": "",
        }
        if "bare" in times and precision == "float32":
            row["bare, steps/s"] = _digits(steps / times["bare"].median)
        if "pythae float32" in times and precision == "float32":
            row["pythae, steps/s"] = _digits(steps / times["pythae float32"].median)
            row["over pythae"] = round(times["pythae float32"].over(mine), 3)
        rows.append(row)
    return {"rows": rows, "seconds": {k: _seconds(t, steps) for k, t in times.items()}}


def products_alone(nets: by_hand.Nets, batch: int, lr: float) -> Callable[[int], None]:
    """What no loop can do without: each linear layer's three products, and one Adam step of all parameters."""
    layers = [m for net in nets.values() for m in net.modules() if isinstance(m, torch.nn.Linear)]
    weights = [(m.weight.detach(), m.bias.detach()) for m in layers]
    inputs = [torch.randn(batch, m.in_features, device=m.weight.device) for m in layers]
    slopes = [torch.randn(batch, m.out_features, device=m.weight.device) for m in layers]
    adam = torch.optim.Adam([p for m in layers for p in m.parameters()], lr=lr, fused=True)

    def run(steps: int) -> None:
        for _ in range(steps):
            for x, (weight, bias) in zip(inputs, weights, strict=True):
                torch.nn.functional.linear(x, weight, bias)
            for i in reversed(range(len(layers))):
                layers[i].weight.grad, layers[i].bias.grad = slopes[i].t() @ inputs[i], slopes[i].sum(0)
                if i:
                    _ = slopes[i] @ weights[i][0]
            adam.step()

    return run


def pythae(batch: int, steps: int, options: argparse.Namespace) -> Callable[[], None]:
    """Epochs of so many steps, in a process that waits for its turn; it needs a pipe's 0.1 ms an epoch."""
    command = [str(installed(options.wheels)), str(Path(__file__).with_name("pythae_vae.py"))]
    given = {"batch": batch, "steps": steps, "threads": torch.get_num_threads(), "device": options.device}
    command += [word for k, v in given.items() for word in (f"--{k}", str(v))]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    if process.stdout.readline().strip() != "ready":
        raise SystemExit("pythae's process did not start; its own words are above")

    def epoch() -> None:
        process.stdin.write("epoch\n")
        process.stdin.flush()
        assert process.stdout.readline().strip() == "done", "pythae's process has ended"

    return epoch


def installed(wheels: Path | None) -> Path:
    """The interpreter of an environment that has pythae, and for all else the packages of this one."""
    place = Path(tempfile.gettempdir()) / f"distmatch-pythae-{os.getuid()}"
    python = place / "bin" / "python"
    if not (place / "installed").exists():
        venv.create(place, with_pip=True, clear=True)
        where = ["--no-index", "--find-links", str(wheels)] if wheels else []
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--no-deps", *where, *PYTHAE], check=True)
        (lib,) = place.glob("lib/python*/site-packages")
        (lib / "this.pth").write_text(sysconfig.get_path("purelib") + "\n")
        (place / "installed").touch()
    return python


def _placed(case: Case, device: torch.device) -> by_hand.Nets:
    return {n: net.to(device) for n, net in nets_of(case).items()}


def _few(case: Case, batch: int) -> Tensor:
    return torch.zeros(2 * batch, *case.shape, dtype=torch.uint8)


def _seconds(timing: Timing, steps: int) -> dict[str, Any]:
    return {"steps": steps, "seconds a step": [block / steps for block in timing.blocks]}


def _inverse(spread: tuple[float, float]) -> tuple[float, float]:
    return 1 / spread[1], 1 / spread[0]


def _digits(value: float) -> float:
    return float(f"{value:.4g}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("cases", nargs="*", help=f"{', '.join(CASES)}; default all")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batches", type=int, nargs="+", help="64; on a CUDA device 64 512 4096")
    parser.add_argument("--precisions", nargs="+", default=["float32", "bf16"], help="float32 bf16 tf32")
    parser.add_argument("--engine", default="auto", help="of ours: auto, eager, compiled, captured")
    parser.add_argument("--blocks", type=int, default=10, help="stretches for each rival")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of a stretch, at most 100 steps")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="in the data set, random bytes")
    parser.add_argument("--threads", type=int, help="of torch; default: as torch decides")
    parser.add_argument("--pythae", action="store_true", help="and pythae's trainer, for the vae in float32")
    parser.add_argument(
        "--wheels", type=Path, help="a folder with pythae's wheel and what it needs, for no network"
    )
    options = parser.parse_args()
    if unknown := set(options.cases) - CASES.keys():
        parser.error(f"unknown cases: {', '.join(sorted(unknown))}")
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_heap()
    print_machine()
    device = torch.device(options.device)
    batches = options.batches or ([64, 512, 4096] if device.type == "cuda" else [64])
    ceiling = {p: ceilings(device, p)[0] for p in options.precisions}
    print("  ".join(f"{p}: {c / 1e12:.4g} TFLOP/s" for p, c in ceiling.items()), end="\n\n")
    found: list[dict[str, Any]] = []
    for name in options.cases or CASES:
        for batch in batches:
            found.append(measure(name, batch, options, ceiling))
            seen = {"ceilings, FLOP/s": ceiling, "measured": found}
            write_json(options.json, seen)  # all that there is so far, should time run out
    print_table([row for one in found for row in one["rows"]])


if __name__ == "__main__":
    main()
