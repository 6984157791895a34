"""The two sides of every term that teaches a critic, each a batch by itself in training: what is shown there, and how
batch norm sees it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from distmatch.batch_statistics import gathers, recording, twin
from distmatch.objectives.objective import Objective
from distmatch.objectives.term import Critics, Term
from distmatch.objectives.variables import Draws, draw
from distmatch.runs.build import Assembly
from distmatch.training.evaluation import EVALUATION_SEED, RECORDED_BATCHES

Inputs = tuple[Tensor, ...]


class _Listening(Critics):
    """Critics that keep what they are asked to score, in place of scores."""

    def __init__(self, nets: Mapping[str, nn.Module], draws: Draws) -> None:
        super().__init__(nets, draws)
        self.asked: list[Inputs] = []

    def at(self, name: str, *inputs: Tensor) -> Tensor:
        """Zeros; the inputs are kept."""
        self.asked.append(inputs)
        return inputs[0].flatten(1).sum(1) * 0


def shown(term: Term, draws: Draws, critics: Mapping[str, nn.Module]) -> list[Inputs]:
    """Return what a term asks its critic to score, of its target and of its model; what follows is its penalty's."""
    listening = _Listening(critics, draws)
    term.critic_losses(draws, listening)
    return listening.asked[:2]


@dataclass
class Collected:
    """The inputs of a critic, of its target and of its model, batch after batch, on the CPU.

    With `numbered`, the number of the side of the term (2i for the target of term i, and then its model) comes last.
    `units`: how many units of the critic's each unit of each of its inputs is.
    """

    numbered: bool
    units: Sequence[float]
    target: list[Inputs] = field(default_factory=list)
    model: list[Inputs] = field(default_factory=list)

    def add(self, i: int, term: Term, draws: Draws, critics: Mapping[str, nn.Module], rows: slice) -> None:
        """These rows of what term i shows its critic."""
        labels = () if draws.y is None else (draws.y,)
        for k, (side, inputs) in enumerate(
            zip((self.target, self.model), shown(term, draws, critics), strict=True), start=2 * i
        ):
            seen = [u * v if u != 1 else v for v, u in zip(inputs, self.units, strict=True)]
            kept = tuple(v[rows].cpu() for v in (*seen, *labels))
            number = (torch.full((len(kept[0]),), k),) if self.numbered else ()
            side.append(kept + number)

    def joined(self) -> tuple[Inputs, Inputs]:
        """All batches as one, for both sides."""
        target, model = (tuple(map(torch.cat, zip(*side, strict=True))) for side in (self.target, self.model))
        return target, model


def sided(
    assembly: Assembly,
    objective: Objective,
    nets: Mapping[str, nn.Module],
    critic_nets: Mapping[str, nn.Module],
    taught: Mapping[str, Sequence[Term]],
) -> dict[str, list[nn.Module]]:
    """Each critic with batch norm once for each side of each of its terms, with the statistics of that side alone.

    They are gathered over training batches, as training makes and scores them: the model in training mode too.
    """
    twins = {
        name: [twin(critic_nets[name]).train() for _ in range(2 * len(terms))]
        for name, terms in taught.items()
        if gathers(critic_nets[name])
    }
    if not twins:
        return {}
    model = {n: twin(nets[n]).train() if gathers(nets[n]) else nets[n] for n in objective.uses}
    feed = assembly.trainer.feed.beside(EVALUATION_SEED)
    with torch.no_grad(), recording(*(net for own in twins.values() for net in own)):
        for _ in range(min(RECORDED_BATCHES, feed.batches_per_epoch)):
            b = feed.next()
            draws = draw(
                objective.variables, model, b.x, b.noise, b.y, objective.distributions, objective.samples
            )
            labels = {} if b.y is None else {"y": b.y}
            for name, own in twins.items():
                for i, term in enumerate(taught[name]):
                    for net, inputs in zip(
                        own[2 * i : 2 * i + 2], shown(term, draws, critic_nets), strict=True
                    ):
                        net(*inputs, **labels)
    for own in twins.values():
        for net in own:
            net.eval()
    return twins
