"""A run's trained critics, each with fresh draws of what it tells apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from distmatch.metrics.model import Critic
from distmatch.networks.layers.batch_norm import judges_batches, mixes_batch
from distmatch.objectives.comparisons.comparison import identity
from distmatch.objectives.objective import Objective
from distmatch.objectives.term import Term
from distmatch.objectives.variables import draw, units_of
from distmatch.runs.build import Assembly, feed_of
from distmatch.runs.sides import Collected, sided

CHUNK = 1000


def trained_critics(
    assembly: Assembly,
    nets: Mapping[str, nn.Module],
    critic_nets: Mapping[str, nn.Module],
    n: int,
    seed: int,
) -> dict[str, Critic]:
    """Every critic that tells two distributions apart, by its name, with about n draws of both sides.

    The draws are those of a training step, with what the terms do to them (noise, packs, standardised codes), but of
    held-out data where there are some, of the nets as they are evaluated, and in the critic's units, so that slopes
    are those of its penalty. Where terms share a critic, its two sides are the mixtures of their targets and of their
    models. Labels are an input too.

    A critic of whole batches (`mixed_batch`) is left out: it has no score of one example. Training shows a critic
    each side of each term as a batch by itself, so one whose layers mix a batch's rows is another function there: its
    last input says which side of which term a row is of. Its batch norm has the statistics of that side (`sided`), and
    scores each row for itself; other layers that mix rows (minibatch features) are shown batches of that side alone.

    Args:
        assembly: the run.
        nets: encoder, decoder, ... in evaluation mode.
        critic_nets: the critics.
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
    units = {
        name: [units_of(critic_nets[name]) if s == "x" else 1.0 for s in objective.critics[name]]
        for name in taught
    }
    collected = {name: Collected(mixes_batch(critic_nets[name]), units[name]) for name in taught}
    apart = sided(assembly, objective, nets, critic_nets, taught)
    wanted = order[: max(1, n)]
    with torch.no_grad():
        for start in range(0, len(wanted), CHUNK):
            batch = feed.batch(wanted[start : start + CHUNK].to(feed.x.device))
            variables, distributions = objective.variables, objective.distributions
            draws = draw(variables, nets, batch.x, batch.noise, batch.y, distributions, objective.samples)
            for name, terms in taught.items():
                for i, term in enumerate(terms):
                    collected[name].add(i, term, draws, critic_nets, slice(i, None, len(terms)))
    return {
        name: Critic(
            _score(
                apart.get(name, [critic_nets[name]] * 2 * len(terms)),
                units[name],
                feed.device,
                objective.labels,
                assembly.config.training.batch_size,
            ),
            *collected[name].joined(),
            is_log_ratio=all(_scores_the_ratio(t) for t in terms),
            apart=name in apart,
        )
        for name, terms in taught.items()
    }


def _as_it_is_now(assembly: Assembly) -> Objective:
    """The objective with its ramps where training left them."""
    objective, step = assembly.objective, assembly.trainer.steps_done
    return objective.with_numbers({k: torch.tensor(r.at(step)) for k, r in objective.ramps.items()})


def _scores_the_ratio(term: Term) -> bool:
    """True where the critic's score is, at best, log p/q itself."""
    by = getattr(term, "by", None)
    return by is not None and by.log_ratio is identity


def _score(
    nets: Sequence[nn.Module], units: Sequence[float], device: torch.device, labelled: bool, batch_size: int
) -> Callable[..., Tensor]:
    """(*draws in the critic's units) -> (n,), from the CPU to the CPU, by the net of each row's side."""

    def of_rows(net: nn.Module, draws: Sequence[Tensor]) -> Tensor:
        inputs = [v.to(device) for v in draws]
        labels = {"y": inputs.pop()} if labelled else {}
        return net(*(v / u if u != 1 else v for v, u in zip(inputs, units, strict=True)), **labels).cpu()

    def of_batches(net: nn.Module, draws: Sequence[Tensor]) -> Tensor:
        parts = max(1, round(len(draws[0]) / batch_size))
        split = zip(*(v.tensor_split(parts) for v in draws), strict=True)
        return torch.cat([of_rows(net, part) for part in split])

    def by_side(*draws: Tensor) -> Tensor:
        *inputs, side = draws
        order = side.argsort(stable=True)
        ones = [(int(k), (side == k).nonzero()[:, 0]) for k in side.unique()]
        scores = [each(nets[k], [v[rows] for v in inputs]) for k, rows in ones]
        return torch.cat(scores)[order.argsort()]

    each = of_batches if judges_batches(nets[0]) else of_rows
    return by_side if mixes_batch(nets[0]) else lambda *draws: of_rows(nets[0], draws)
