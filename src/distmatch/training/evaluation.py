"""Nets as they are evaluated: batch norm with statistics of each draw apart, as each was normalised in training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from distmatch.batch_statistics import gathers, recording, twin
from distmatch.objectives.objective import Objective
from distmatch.objectives.variables import VARIABLES, Z_MARGINAL, draw, with_parents
from distmatch.training.batches import Feed

RECORDED_BATCHES = 50
EVALUATION_SEED = 1  # of the order and the noise of the batches that are recorded

Net = TypeVar("Net", bound=Callable[..., Any])

PASSES: Mapping[str, str] = {v.name: v.net for v in VARIABLES.values() if v.net} | {
    Z_MARGINAL.name: "encoder",
    "prior": "prior",
}
"""What passes through which net: each draw through the net that makes it, a VampPrior's inputs through the encoder."""


def by_draw(
    objective: Objective,
    nets: Mapping[str, nn.Module],
    feed: Feed,
    at: Callable[[str, nn.Module], Net],
) -> dict[str, Net]:
    """The nets that have batch norm, in evaluation mode, by the draws that they make and by their own names.

    A net is trained on each draw apart: the encoder normalises data by the data's statistics and samples by the
    samples', the decoder codes and the prior's draws. So each draw has statistics of its own, of whole batches in
    training mode. **The rule where training does not make a draw** (a VAE no x̃, a GAN no x̂): it has those of the
    first draw in `PASSES` that training makes by the same net; and so has the net under its own name.

    Args:
        objective: which draws training makes.
        nets: the model's, by name, their modules left as they are: `twin`s with their parameters are what is recorded.
        feed: training batches, which are taken: one `beside` training's own.
        at: (name, net) -> the net at the parameters that are meant.

    Returns:
        The nets that `draw` takes in addition to the model's; empty where no net has batch norm.
    """
    normalised = {n for n, net in nets.items() if gathers(net)}
    trained = {
        v.name
        for v in (*with_parents(objective.variables, objective.distributions), *objective.distributions)
    }
    made = {
        name: role
        for name, role in PASSES.items()
        if role in normalised and (name in trained or name == role)
    }
    if not made:
        return {}
    twins = {name: twin(nets[role]).train() for name, role in made.items()}
    running = {name: at(made[name], net) for name, net in twins.items()}
    everyone = {n: at(n, net) for n, net in nets.items()} | running
    values = [v for v in objective.variables if v.net in normalised]
    distributions = [
        v for v in objective.distributions if v.net in normalised or PASSES[v.name] in normalised
    ]
    with torch.no_grad(), recording(*twins.values()):
        for _ in range(min(RECORDED_BATCHES, feed.batches_per_epoch)):
            b = feed.next()
            draw(values, everyone, b.x, b.noise, b.y, distributions, objective.samples)
    for net in twins.values():
        net.eval()
    nets_by_draw: dict[str, Net] = {}
    for name, role in PASSES.items():
        if role in normalised:
            first = next(n for n, p in made.items() if p == role)
            nets_by_draw[name] = running.get(name, running[first])
            nets_by_draw.setdefault(role, running[first])
    return nets_by_draw
