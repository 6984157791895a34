"""What purity costs: the engine's step against a loop written by hand, for the same nets.

    python benchmarks/step.py [--json FILE] [--threads N] [--plain-heap] [vae] [gan]

- `vae`: MLP 784-400-400-20, Bernoulli, batch 64.
- `gan`: DCGAN of 32×32 in three channels, 100 codes, batch 64.

The loops by hand are what a careful PyTorch user writes: gradients by `backward()` into `.grad`, `zero_grad`, one
forward of the generator for both sides, the critic frozen while the generator learns, torch's fused Adam. They call
the same layers and take their steps in place. Both sides draw their noise inside the step.

First each pair takes five steps from the same numbers, in double precision, and must arrive at the same weights
(`apart`: their distance over the distance moved). The operations of one step, in matrix products and convolutions,
are counted: where they are equal, the engine does nothing twice.

The goal is a ratio of at most 1.05. Threads of other processes on the same cores make torch's threads wait for one
another and the numbers worthless: look at the load, and at `--threads 1`.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import torch
from measure import interleaved, print_machine, print_table, write_json
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from distmatch.networks import Shapes, build
from distmatch.systems import find
from distmatch.training.engine.memory import keep_heap
from distmatch.training.optimisers import Adam
from distmatch.training.step import Batch, Settings, init, step

BATCH = 64
GOAL = 1.05
Nets = dict[str, nn.Module]
Loop = Callable[[Tensor | None], None]
"""One step, on the noise given or on its own."""


@dataclass(frozen=True)
class Pair:
    """A loop by hand with the nets that it trains, and the engine's with the parameters that it trains."""

    by_hand: Loop
    engine: Loop
    nets: Nets
    params: dict[str, dict[str, Tensor]]
    latent: int


def vae_nets() -> tuple[Nets, Shapes]:
    """Encoder and decoder 784-400-400-20."""
    shapes = Shapes(x=(1, 28, 28), latent=20)
    return {role: build("mlp", role, shapes) for role in ("encoder", "decoder")}, shapes


def vae_by_hand(nets: Nets, x: Tensor) -> Loop:
    """Negative ELBO with the reparameterised posterior of `gaussian_posterior`."""
    encoder, decoder = nets["encoder"].body, nets["decoder"].body
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)
    shift = math.log(math.e - 1)

    def run(noise: Tensor | None = None) -> None:
        mean, free = encoder((2 * x - 1).flatten(1)).chunk(2, 1)
        scale = F.softplus(free + shift) + 1e-6
        noise = torch.randn_like(mean) if noise is None else noise
        logits = decoder(mean + scale * noise)
        nll = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
        kl = 0.5 * (mean.square() + scale.square() - 1 - 2 * scale.log()).sum(1).mean()
        adam.zero_grad()
        (nll + kl).backward()
        adam.step()

    return run


def gan_nets() -> tuple[Nets, Shapes]:
    """DCGAN-32."""
    shapes = Shapes(x=(3, 32, 32), latent=100)
    decoder = build("dcgan", "decoder", shapes, likelihood="implicit")
    return {"decoder": decoder, "data": build("dcgan", "critic", shapes)}, shapes


def gan_by_hand(nets: Nets, x: Tensor) -> Loop:
    """The non-saturating pair; images live in [-1, 1] throughout, so that nothing is rescaled."""
    generator, features, head = nets["decoder"].body, nets["data"].features, nets["data"].head
    critic = nn.Sequential(features, head)
    x = 2 * x - 1
    adam = torch.optim.Adam(generator.parameters(), lr=1e-3, fused=True)
    critic_adam = torch.optim.Adam(critic.parameters(), lr=1e-3, fused=True)

    def run(noise: Tensor | None = None) -> None:
        fake = torch.tanh(generator(torch.randn(BATCH, 100) if noise is None else noise))
        critic_adam.zero_grad()
        loss = F.softplus(-critic(x)).mean() + F.softplus(critic(fake.detach())).mean()
        loss.backward()
        critic_adam.step()

        critic.requires_grad_(False)
        adam.zero_grad()
        F.softplus(-critic(fake)).mean().backward()
        adam.step()
        critic.requires_grad_(True)

    return run


def by_engine(
    system: str, name: str, nets: Nets, x: Tensor, latent: int
) -> tuple[Loop, dict[str, dict[str, Tensor]]]:
    """The engine's step with the noise under `name`, and the parameters that it moves."""
    objective, settings = find(system).objective(), Settings(Adam(1e-3), Adam(1e-3))
    state = init(objective, nets, settings)

    def run(noise: Tensor | None = None) -> None:
        noise = torch.randn(BATCH, latent) if noise is None else noise
        step(objective, nets, state, [Batch(x, {name: noise})], settings)

    return run, state.params


SYSTEMS = {"vae": (vae_nets, vae_by_hand, "z_code"), "gan": (gan_nets, gan_by_hand, "z_prior")}


def pair(system: str, dtype: torch.dtype = torch.float32) -> Pair:
    """Both loops over the same data, from the same weights."""
    torch.manual_seed(0)
    make, by_hand, name = SYSTEMS[system]
    nets, shapes = make()
    nets = {role: net.to(dtype) for role, net in nets.items()}
    x = torch.rand(BATCH, *shapes.x).round().to(dtype)
    engine, params = by_engine(system, name, deepcopy(nets), x, shapes.latent)
    return Pair(by_hand(nets, x), engine, nets, params, shapes.latent)


def compare(system: str, blocks: int, seconds: float) -> dict[str, object]:
    """One row: the time of each and their ratio; the work of each; whether they do the same."""
    apart = distance(pair(system, torch.float64))
    assert apart < 1e-6, f"engine and hand-written loop compute different things: {apart:.3g} apart"
    rivals = {"by hand": pair(system).by_hand, "engine": pair(system).engine}
    work = {name: operations(run) for name, run in rivals.items()}
    calls = max(1, round(seconds / interleaved(rivals, calls=3, blocks=2)["by hand"].median))
    times = interleaved(rivals, calls, blocks)
    low, high = times["engine"].spread(times["by hand"])
    return {
        "system": system,
        "by hand, ms": round(1e3 * times["by hand"].median, 3),
        "engine, ms": round(1e3 * times["engine"].median, 3),
        "ratio": round(times["engine"].over(times["by hand"]), 3),
        "quartiles": f"{low:.3f}-{high:.3f}",
        "goal": GOAL,
        "by hand, GFLOP": round(work["by hand"] / 1e9, 4),
        "engine, GFLOP": round(work["engine"] / 1e9, 4),
        "apart": f"{apart:.0e}",
    }


def distance(both: Pair) -> float:
    """How far the weights are apart after five steps on the same noise, relative to how far they moved."""
    start = {(n, k): p.detach().clone() for n, net in both.nets.items() for k, p in net.named_parameters()}
    for _ in range(5):
        noise = torch.randn(BATCH, both.latent, dtype=next(iter(start.values())).dtype)
        both.engine(noise)
        both.by_hand(noise)
    ends = {(n, k): p.detach() for n, net in both.nets.items() for k, p in net.named_parameters()}
    moved = sum((ends[at] - start[at]).square().sum() for at in start)
    apart = sum((ends[n, k] - both.params[n][k]).square().sum() for n, k in start)
    return float((apart / moved).sqrt())


def operations(run: Loop) -> int:
    """Floating point operations in the matrix products and convolutions of one step, both ways."""
    with FlopCounterMode(display=False) as counter:
        run(None)
    return counter.get_total_flops()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("systems", nargs="*", help="vae, gan; default both")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--blocks", type=int, default=40, help="blocks for each side")
    parser.add_argument("--seconds", type=float, default=0.1, help="length of a block")
    parser.add_argument(
        "--plain-heap", action="store_true", help="without keep_heap(): glibc's own thresholds"
    )
    parser.add_argument("--threads", type=int, help="of torch; default: as torch decides")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if not options.plain_heap:
        keep_heap()
    print_machine()
    rows = [compare(name, options.blocks, options.seconds) for name in options.systems or SYSTEMS]
    print_table(rows)
    write_json(options.json, rows)


if __name__ == "__main__":
    main()
