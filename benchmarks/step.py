"""What purity costs: the engine's step against a loop written by hand, for the same nets.

    python benchmarks/step.py [--json FILE] [--blocks N] [--seconds S] [vae] [gan]

- `vae`: MLP 784-400-400-20, Bernoulli, batch 64.
- `gan`: DCGAN of 32×32 in three channels, 100 codes, batch 64.

The loops by hand are what a careful PyTorch user writes: gradients by `backward()` into `.grad`, `zero_grad`, one
forward of the generator for both sides, the critic frozen while the generator learns, torch's fused Adam. They call
the same layers and take their steps in place. Both sides draw their noise inside the step. First each pair takes a
few steps from the same numbers and must arrive at the same weights.

The goal is a ratio of at most 1.05.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import torch
from measure import interleaved, print_machine, print_table, write_json
from torch import Tensor, nn
from torch.nn import functional as F

from distmatch.networks import Shapes, build
from distmatch.systems import find
from distmatch.training.memory import keep_heap
from distmatch.training.optimisers import Adam
from distmatch.training.step import Batch, Settings, init, step

BATCH = 64
GOAL = 1.05
Nets = dict[str, nn.Module]


def vae_nets() -> tuple[Nets, Shapes]:
    """Encoder and decoder 784-400-400-20."""
    shapes = Shapes(x=(1, 28, 28), latent=20)
    return {role: build("mlp", role, shapes) for role in ("encoder", "decoder")}, shapes


def vae_by_hand(nets: Nets, x: Tensor) -> Callable[[Tensor | None], None]:
    """Negative ELBO with the reparameterised posterior of `gaussian_posterior`."""
    encoder, decoder = nets["encoder"].body, nets["decoder"].body
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3, fused=True)
    shift = math.log(math.e - 1)

    def run(noise: Tensor | None = None) -> None:
        mean, free = encoder(x.flatten(1)).chunk(2, 1)
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


def gan_by_hand(nets: Nets, x: Tensor) -> Callable[[Tensor | None], None]:
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
) -> tuple[Callable[[Tensor | None], None], dict[str, dict[str, Tensor]]]:
    """The engine's step with the noise under `name`, and the parameters that it moves."""
    objective, settings = find(system).objective(), Settings(Adam(1e-3), Adam(1e-3))
    state = init(objective, nets, settings)

    def run(noise: Tensor | None = None) -> None:
        noise = torch.randn(BATCH, latent) if noise is None else noise
        step(objective, nets, state, [Batch(x, {name: noise})], settings)

    return run, state.params


SYSTEMS = {"vae": (vae_nets, vae_by_hand, "z_code"), "gan": (gan_nets, gan_by_hand, "z_prior")}


def compare(system: str, blocks: int, seconds: float) -> dict[str, object]:
    """One row: the time of each, and their ratio."""
    torch.manual_seed(0)
    make, by_hand, name = SYSTEMS[system]
    nets, shapes = make()
    x = torch.rand(BATCH, *shapes.x).round()
    engine, params = by_engine(system, name, deepcopy(nets), x, shapes.latent)
    hand = by_hand(nets, x)
    distance = agreement(engine, hand, params, nets, shapes.latent)
    calls = max(1, round(seconds / interleaved({"hand": hand}, calls=3, blocks=1)["hand"].median))
    times = interleaved({"by hand": hand, "engine": engine}, calls, blocks)
    low, high = times["engine"].spread(times["by hand"])
    return {
        "system": system,
        "by hand, ms": round(1e3 * times["by hand"].median, 3),
        "engine, ms": round(1e3 * times["engine"].median, 3),
        "ratio": round(times["engine"].over(times["by hand"]), 3),
        "quartiles": f"{low:.3f}-{high:.3f}",
        "goal": GOAL,
        "weights apart after 5 steps": f"{distance:.1e}",
    }


def agreement(
    engine: Callable[[Tensor | None], None],
    hand: Callable[[Tensor | None], None],
    params: dict[str, dict[str, Tensor]],
    nets: Nets,
    latent: int,
) -> float:
    """How far the two are apart after five steps on the same noise, relative to how far they moved."""
    start = {(n, k): p.detach().clone() for n, net in nets.items() for k, p in net.named_parameters()}
    for _ in range(5):
        noise = torch.randn(BATCH, latent)
        engine(noise)
        hand(noise)
    ends = [
        (params[n][k], p.detach(), start[n, k]) for n, net in nets.items() for k, p in net.named_parameters()
    ]
    moved = sum((b - s).square().sum() for _, b, s in ends).sqrt()
    apart = float(sum((a - b).square().sum() for a, b, _ in ends).sqrt() / moved)
    assert apart < 0.05, f"engine and hand-written loop compute different things: {apart:.3g} apart"
    return apart


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("systems", nargs="*", help="vae, gan; default both")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--blocks", type=int, default=15, help="blocks for each side")
    parser.add_argument("--seconds", type=float, default=0.5, help="length of a block")
    parser.add_argument("--plain-heap", action="store_true", help="without keep_heap(): glibc's own thresholds")
    options = parser.parse_args()
    if not options.plain_heap:
        keep_heap()
    print_machine()
    rows = [compare(name, options.blocks, options.seconds) for name in options.systems or SYSTEMS]
    print_table(rows)
    write_json(options.json, rows)


if __name__ == "__main__":
    main()
