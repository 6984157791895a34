"""A run's trained critics, each with fresh draws of what it tells apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from distmatch.comparisons.comparison import identity
from distmatch.diagnostics.subject import Critic
from distmatch.networks.batch_norm import mixes_batch
from distmatch.objective import Critics, Objective, Term
from distmatch.runs.assemble import Assembly, feed_of
from distmatch.variables import Draws, draw

Inputs = tuple[Tensor, ...]
CHUNK = 1000


def trained_critics(
    assembly: Assembly, nets: Mapping[str, nn.Module], n: int, seed: int
) -> dict[str, Critic]:
    """Every critic that tells two laws apart, by its name, with about n draws of both sides.

    The draws are those of a training step, with what the terms do to them (noise, packs, standardised codes), but of
    held-out data where there are some, and of the nets as they are evaluated. Where terms share a critic, so do they
    the draws: its two sides are the mixtures of their targets and of their models. Labels are its last input.

    A critic of whole batches (`mixed_batch`) is left out: it has no score of one example. One whose layers mix a
    batch's rows (batch norm, minibatch features) scores as in training: batch after batch, each of one side alone.

    Args:
        assembly: the run.
        nets: encoder, decoder, ... in evaluation mode, and the critics.
        n: draws, as many as the data have at most.
        seed: of the choice of data and of all noise.
    """
    feed_seed = 2 + seed  # apart from what evaluation draws elsewhere
    objective = _as_it_is_now(assembly)
    taught = {
        name: [
            t
            for t in objective.terms
            if t.rule is not None and name in t.critics and not t.wants_whole_batches
        ]
        for name in objective.critics
    }
    taught = {name: terms for name, terms in taught.items() if terms}
    if not taught:
        return {}
    split = "test" if len(assembly.data.test) else "train"
    feed = feed_of(assembly.config, objective, assembly.data, split, feed_seed)
    order = torch.randperm(len(feed.x), generator=torch.Generator().manual_seed(feed_seed))
    collected = {name: _Sides() for name in taught}
    wanted = order[: max(1, n)]
    with torch.no_grad():
        for start in range(0, len(wanted), CHUNK):
            batch = feed.batch(wanted[start : start + CHUNK].to(feed.x.device))
            variables, laws = objective.variables, objective.laws
            draws = draw(variables, nets, batch.x, batch.noise, batch.y, laws, objective.samples)
            for name, terms in taught.items():
                for i, term in enumerate(terms):
                    collected[name].add(term, draws, slice(i, None, len(terms)))
    return {
        name: Critic(
            _score(nets[name], feed.device, objective.given, assembly.config.training.batch_size),
            *collected[name].joined(),
            is_log_ratio=all(_scores_the_ratio(t) for t in terms),
        )
        for name, terms in taught.items()
    }


def _as_it_is_now(assembly: Assembly) -> Objective:
    """The objective with its ramps where training left them."""
    objective, step = assembly.objective, assembly.trainer.steps_done
    return objective.with_numbers({k: torch.tensor(r.at(step)) for k, r in objective.ramps.items()})


def _scores_the_ratio(term: Term) -> bool:
    """Whether its critic's score is, at best, log p/q itself."""
    by = getattr(term, "by", None)
    return by is not None and by.log_ratio is identity


class _Listening(Critics):
    """Critics that keep what they are asked to score, in place of scores."""

    def __init__(self, draws: Draws) -> None:
        super().__init__({}, draws)
        self.asked: list[Inputs] = []

    def at(self, name: str, *inputs: Tensor) -> Tensor:
        """Zeros; the inputs are kept."""
        self.asked.append(inputs)
        return inputs[0].flatten(1).sum(1) * 0


@dataclass
class _Sides:
    """What a critic was shown of its target and of its model, batch after batch, on the CPU."""

    target: list[Inputs] = field(default_factory=list)
    model: list[Inputs] = field(default_factory=list)

    def add(self, term: Term, draws: Draws, rows: slice) -> None:
        """What a term shows its critic first are the target's draws and then the model's; rest is the penalty's."""
        listening = _Listening(draws)
        term.critic_losses(draws, listening)
        labels = () if draws.y is None else (draws.y,)
        for side, inputs in zip((self.target, self.model), listening.asked, strict=False):
            side.append(tuple(v[rows].cpu() for v in (*inputs, *labels)))

    def joined(self) -> tuple[Inputs, Inputs]:
        """All batches as one, for both sides."""
        target, model = (tuple(map(torch.cat, zip(*side, strict=True))) for side in (self.target, self.model))
        return target, model


def _score(net: nn.Module, device: torch.device, given: bool, batch_size: int) -> Callable[..., Tensor]:
    """(*draws) -> (n,), from the CPU to the CPU."""

    def of_rows(*draws: Tensor) -> Tensor:
        inputs = [v.to(device) for v in draws]
        labels = {"y": inputs.pop()} if given else {}
        return net(*inputs, **labels).cpu()

    def of_batches(*draws: Tensor) -> Tensor:
        parts = max(1, round(len(draws[0]) / batch_size))
        return torch.cat(
            [of_rows(*part) for part in zip(*(v.tensor_split(parts) for v in draws), strict=True)]
        )

    return of_batches if mixes_batch(net) else of_rows
