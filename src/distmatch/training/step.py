"""The pure step: `step(objective, nets, state, batches, settings) -> (state, logs)`.

`state` holds everything that training changes; everything random comes in with the batches. Losses and gradients
are pure functions of these, so the same function runs eager, compiled, captured, and over lanes:

- **alternating** (the default): the critics' step, then the model's, against the critics just moved;
- **simultaneous**: all gradients at the old state, then all steps;
- **n critic steps**: n batches. The last one serves both sides: its encoder and decoder run forward once, its draws
  go to the critics detached and to the model's losses with their graph;
- **lanes**: every tensor in state and batches has a leading axis of K runs. Losses are vmapped; their sum is
  differentiated, which gives each lane its own gradient because lanes share nothing.

A net's gradient never computes another net's weights' gradients, nor a critic's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.func import grad, grad_and_value, vmap

from distmatch.errors import BadInput, unknown
from distmatch.objectives.objective import Objective
from distmatch.objectives.term import Critics
from distmatch.objectives.variables import Draws, Variable, draw, with_parents
from distmatch.schedules import now
from distmatch.training.distributed.ranks import Ranks
from distmatch.training.engine.functional import Bound, bind, evolved, evolving
from distmatch.training.optimisers import Adam, Moments, Optimiser

Precision = Literal["float32", "tf32", "bf16"]
PRECISIONS: tuple[str, ...] = get_args(Precision)
Params = dict[str, dict[str, Tensor]]
Logs = dict[str, Tensor]


@dataclass(frozen=True)
class Batch:
    """Data `(B, *x_shape)`, labels `(B,)` or None, and everything random that one round needs, by name.

    With `ranks` it is one rank's share of a batch, and its gradients and logs are averaged with the others'.
    """

    x: Tensor
    noise: Mapping[str, Tensor] = field(default_factory=dict)
    y: Tensor | None = None
    ranks: Ranks | None = None

    def tensors(self) -> dict[str, Tensor]:
        """All in one dict, as vmap wants it."""
        labels = {} if self.y is None else {"y": self.y}
        return {"x": self.x, **labels, **self.noise}


@dataclass(frozen=True)
class Settings:
    """Optimisers, order and arithmetic of a step.

    Args:
        model: the optimiser of the model's nets: encoder, decoder, learned prior, lens.
        critics: the optimiser of the critics.
        simultaneous: gradients of both sides at the old state.
        clip_gradient: a bound on the norm of all gradients of the model together, and of all critics'.
        ema: decay of the running average of the decoder's weights that is kept for evaluation.
        precision: `"bf16"` runs the nets, and nothing else, under autocast; `"tf32"` is for who calls the step
            (`numerics`).
        lanes: whether every tensor carries a leading axis of runs.
        consensus: γ of consensus optimisation: every gradient v becomes v + γ∇½‖v‖², v of model and critics together,
            which then move at once (Mescheder et al. 2017, arXiv:1705.10461).
        unroll: the model's losses are taken against critics that have made this many more steps, and differentiated
            through these (Metz et al. 2016, arXiv:1611.02163).
        functional: take gradients by `torch.func` alone, for `torch.compile`. The model's forward pass is then written
            twice, for the compiler to merge.
        norms: log gradient norms and mean scores too.

    Raises:
        BadInput: a number out of its range, an unknown precision.

    >>> Settings(model=Adam(lr=1e-4)).model.lr
    0.0001
    """

    model: Optimiser = field(default_factory=Adam)
    critics: Optimiser = field(default_factory=Adam)
    simultaneous: bool = False
    clip_gradient: float | None = None
    ema: float | None = None
    precision: Precision = "float32"
    consensus: float = 0.0
    unroll: int = 0
    lanes: bool = False
    functional: bool = False
    norms: bool = False

    def __post_init__(self) -> None:
        if self.precision not in PRECISIONS:
            raise unknown("precision", self.precision, PRECISIONS)
        if self.unroll < 0 or self.unroll != int(self.unroll):
            raise BadInput(f"unroll is {self.unroll}; give a whole number of steps, 0 or above")
        if not 0 <= self.consensus < math.inf:
            raise BadInput(f"consensus is {self.consensus}; give a finite number, 0 or above")
        if self.clip_gradient is not None and not 0 < self.clip_gradient < math.inf:
            raise BadInput(f"clip_gradient is {self.clip_gradient}; give a finite number above 0")
        if self.ema is not None and not 0 <= self.ema < 1:
            raise BadInput(f"ema is {self.ema}; give a decay of at least 0 and below 1, such as 0.999")


@dataclass
class State:
    """All that training changes: parameters by net, the optimisers' moments, the decoder's average, and the buffers
    that evolve (`binding.evolved`)."""

    params: Params
    moments: dict[str, Moments]
    ema: Params = field(default_factory=dict)
    buffers: Params = field(default_factory=dict)


def init(objective: Objective, nets: Mapping[str, nn.Module], settings: Settings) -> State:
    """The state before the first step, from the nets' own parameters (copied); frozen ones stay with the nets."""
    params = {
        n: {k: p.detach().clone() for k, p in net.named_parameters() if p.requires_grad}
        for n, net in nets.items()
    }
    moved = {"model": objective.nets, "critics": tuple(objective.critics)}
    moments = {
        side: getattr(settings, side).init(_flat(params, names)) for side, names in moved.items() if names
    }
    ema = {"decoder": {k: p.clone() for k, p in params["decoder"].items()}} if settings.ema else {}
    buffers = {n: {k: b.detach().clone() for k, b in evolving(net).items()} for n, net in nets.items()}
    return State(params, moments, ema, {n: b for n, b in buffers.items() if b})


def step(
    objective: Objective,
    nets: Mapping[str, nn.Module],
    state: State,
    batches: Sequence[Batch],
    settings: Settings,
    numbers: Mapping[str, Tensor] | None = None,
) -> tuple[State, Logs]:
    """Take one step of the model and the critics; `state` is written in place and returned.

    Args:
        objective: what is minimised.
        nets: the modules, by `"encoder"`, `"decoder"` and critics' names; of their own weights only frozen ones are
            used.
        state: from `init`, or from the last step.
        batches: one for each critic step; the last serves the model too.
        settings: optimisers and the order of updates.
        numbers: replacements for numbers of the objective (`Objective.numbers`), a tensor `(K,)` for K lanes.

    Returns:
        The state, and the logs: each term by its name, each critic's parts as `critic/<name>/<part>`; scalars, or
        `(K,)` over lanes.
    """
    functions = _Functions(objective, nets, settings, numbers or {}, state.buffers, batches[-1].ranks)
    model = {n: state.params[n] for n in objective.uses}
    critics = {n: state.params[n] for n in objective.critics}
    logs: Logs = {}
    functions.evolve(state, objective.uses)

    for batch in batches[:-1] if critics else ():
        draws = functions.draws(functions.scored, (), model, batch)
        functions.evolve(state, objective.critics)
        _move(functions, "critics", state, functions.critic_gradients(draws, critics, logs), logs)
    functions.evolve(state, objective.critics)

    if settings.consensus:
        gradients, moves = functions.consensus_gradients(model, critics, batches[-1], logs)
        _move(functions, "critics", state, gradients, logs)
        _move(functions, "model", state, moves, logs)
        return _averaged(state, settings), logs
    if settings.functional or settings.unroll:
        leaves = model
    else:
        leaves = {n: _leaves(p) if n in objective.nets else p for n, p in model.items()}
    draws = functions.draws(objective.variables, objective.distributions, leaves, batches[-1])
    gradients = functions.critic_gradients(draws, critics, logs) if critics else {}
    if gradients and not settings.simultaneous:
        _move(functions, "critics", state, gradients, logs)
    moves = functions.model_gradients(draws, leaves, critics, batches[-1], state.moments.get("critics"), logs)
    if gradients and settings.simultaneous:
        _move(functions, "critics", state, gradients, logs)
    _move(functions, "model", state, moves, logs)
    return _averaged(state, settings), logs


def _averaged(state: State, settings: Settings) -> State:
    """The decoder's running average one step on, in place."""
    if settings.ema:
        with torch.no_grad():
            kept, new = list(state.ema["decoder"].values()), list(state.params["decoder"].values())
            torch._foreach_lerp_(kept, new, 1.0 - settings.ema)
    return state


class _Functions:
    """Draws, losses and gradients as functions of parameters, for one run or for lanes of them."""

    def __init__(
        self,
        objective: Objective,
        nets: Mapping[str, nn.Module],
        settings: Settings,
        numbers: Mapping[str, Tensor],
        buffers: Params,
        ranks: Ranks | None = None,
    ) -> None:
        self.objective = objective
        self.current = objective.with_numbers(numbers)  # over lanes, with every lane's numbers
        self.nets = nets
        self.settings = settings
        self.numbers = dict(numbers)
        self.buffers = buffers
        self.ranks = ranks
        self.scored = with_parents(v for t in objective.terms if t.critics for v in t.variables)

    def draws(
        self, variables: Sequence[Variable], distributions: Sequence[Variable], model: Params, batch: Batch
    ) -> _Record:
        """Forward encoder and decoder once."""
        template: list[Callable[[list[Tensor]], Draws]] = []

        def one(model: Params, buffers: Params, tensors: dict[str, Tensor]) -> Any:
            rest = dict(tensors)
            x, y = rest.pop("x"), rest.pop("y", None)
            nets = self._bound(model, buffers)
            draws = draw(variables, nets, x, rest, y, distributions, self.objective.samples)
            if not self.settings.lanes:
                return draws
            flat, rebuild = draws.flatten()
            template.append(rebuild)
            return flat

        if not self.settings.lanes:
            return _Record(draws=one(model, self.buffers, batch.tensors()))
        flat = vmap(one)(model, self.buffers, batch.tensors())
        return _Record(flat=flat, rebuild=template[0], extra=batch.tensors())

    def critic_gradients(self, draws: _Record, critics: Params, logs: Logs) -> Params:
        """The gradient of all critics' losses; weights are clipped first where a penalty says so."""
        self._project(critics)
        total = partial(self._critics_total, draws=draws.detach())
        gradients, parts = _gradients(total, critics, self.settings.functional)
        logs.update({k: v.detach() for k, v in parts.items()})
        return gradients

    def model_gradients(
        self,
        draws: _Record,
        model: Params,
        critics: Params,
        batch: Batch,
        moments: Moments | None,
        logs: Logs,
    ) -> Params:
        """Return each net's gradient of the terms that it minimises."""
        critics = {n: {k: p.detach() for k, p in c.items()} for n, c in critics.items()}
        groups, looks_ahead = self.objective.groups, self.settings.unroll > 0 and moments is not None
        functional = self.settings.functional or self.settings.unroll > 0
        values = {} if functional else self._map(self._model_losses, draws, critics)
        gradients: Params = {}
        for k, (group, terms) in enumerate(groups.items()):
            moved = {p: model[p] for p in group}
            if functional:

                def total(moved: Params, terms: Sequence[int] = terms) -> tuple[Tensor, Logs]:
                    again = self.draws(
                        self.objective.variables, self.objective.distributions, model | moved, batch
                    )
                    ahead = self._unrolled(again, critics, moments) if looks_ahead else critics
                    values = self._map(partial(self._model_losses, unrolled=looks_ahead), again, ahead)
                    return self._weighted(values, terms), values

                slopes, values = _gradients(total, moved, True)
            else:
                slopes = _pull(self._weighted(values, terms), moved, keep=k + 1 < len(groups))
            _add(gradients, slopes)
        logs.update({k: v.detach() for k, v in values.items()})
        return gradients

    def _unrolled(self, draws: _Record, critics: Params, moments: Moments | None) -> Params:
        """The critics some steps on, as a differentiable function of the draws."""
        assert moments is not None
        names = tuple(critics)
        for _ in range(self.settings.unroll):
            critics = self._projected(critics)
            slopes, _ = grad(self._critics_total, has_aux=True)(critics, draws)
            grads = _flat(slopes, names)
            if self.settings.clip_gradient is not None:
                grads = _clipped(grads, _norm(grads, self.settings.lanes), self.settings.clip_gradient)
            flat, moments = self.settings.critics.updated(_flat(critics, names), grads, moments)
            new = iter(flat)
            critics = {n: {k: next(new) for k in c} for n, c in critics.items()}
        return critics

    def consensus_gradients(
        self, model: Params, critics: Params, batch: Batch, logs: Logs
    ) -> tuple[Params, Params]:
        """Return v + γ∇½‖v‖² for critics and model, v the gradients of all losses; weights are clipped first."""
        self._project(critics)
        moving = {n: p for n, p in model.items() if n in self.objective.nets}

        def of_the_model(moved: Params, moving: Params, critics: Params, terms: Sequence[int]) -> Any:
            everyone = model | moving | moved
            draws = self.draws(self.objective.variables, self.objective.distributions, everyone, batch)
            values = self._map(self._model_losses, draws, critics)
            return self._weighted(values, terms), values

        def half_square(both: tuple[Params, Params]) -> tuple[Tensor, tuple[Params, Params, Logs]]:
            critics, moving = both
            field, parts = {}, {}
            if critics:
                draws = self.draws(self.scored, (), model | moving, batch)
                field, parts = grad(self._critics_total, has_aux=True)(critics, draws)
            moves: Params = {}
            for group, terms in self.objective.groups.items():
                moved = {p: moving[p] for p in group}
                slopes, values = grad(of_the_model, has_aux=True)(moved, moving, critics, terms)
                _add(moves, slopes)
            all_of_it = [g for side in (field, moves) for net in side.values() for g in net.values()]
            return 0.5 * self._sum([g.square().sum() for g in all_of_it]), (field, moves, parts | values)

        correction, (field, moves, values) = grad(half_square, has_aux=True)((critics, moving))
        logs.update({k: v.detach() for k, v in values.items()})
        gamma = self.settings.consensus
        return (_plus(field, gamma, correction[0]), _plus(moves, gamma, correction[1]))

    def evolve(self, state: State, names: Iterable[str]) -> None:
        """One step of the buffers that evolve, in place."""
        with torch.no_grad():
            for n in names:
                if n not in state.buffers:
                    continue
                one = partial(evolved, self.nets[n])
                new = (vmap(one) if self.settings.lanes else one)(state.params[n] | state.buffers[n])
                for k, value in new.items():
                    state.buffers[n][k].copy_(value)

    def _project(self, critics: Params) -> None:
        """Project the critics' weights as their penalties say, before their step, in place."""
        with torch.no_grad():
            for critic, penalty in self.current.penalties.values():
                penalty.project(list(critics[critic].values()))

    def _projected(self, critics: Params) -> Params:
        """The same as a function."""
        new = dict(critics)
        for critic, penalty in self.current.penalties.values():
            if not penalty.per_sample:
                new[critic] = {k: p.clone() for k, p in new[critic].items()}
                penalty.project(list(new[critic].values()))
        return new

    def _critics_total(self, critics: Params, draws: _Record) -> tuple[Tensor, Logs]:
        """Return the sum of all critics' losses, and its parts."""
        parts = self._map(self._critic_losses, draws, critics)
        return self._sum([v for k, v in parts.items() if k.startswith("critic/")]), parts

    def _critic_losses(self, draws: Draws, critics: Mapping[str, Bound], objective: Objective) -> Logs:
        """Return the critics' losses by `critic/<name>/<part>`; mean scores too if the logs need them."""
        at_work = Critics(critics, draws)
        parts: Logs = {}
        for t in objective.terms:
            for part, value in t.critic_losses(draws, at_work).items():
                (name,) = t.critics
                key = f"critic/{name}/{part}"
                parts[key] = parts[key] + value.mean() if key in parts else value.mean()
        if self.settings.norms:
            for (name, variables), score in at_work.seen():
                parts[f"score/{name}/{'+'.join(v.name for v in variables)}"] = score.mean().detach()
        return parts

    def _model_losses(
        self, draws: Draws, critics: Mapping[str, Bound], objective: Objective, unrolled: bool = False
    ) -> Logs:
        """Return the model's losses by the term's name, without their weights."""
        at_work = Critics(critics, draws, unrolled)
        named = zip(self.objective.names, objective.terms, strict=True)
        return {name: t.loss(draws, at_work).mean() for name, t in named if t.nets}

    def _weighted(self, values: Logs, terms: Sequence[int]) -> Tensor:
        """The weighted sum of some terms."""
        names = self.objective.names
        return self._sum([self._weight(i) * values[names[i]] for i in terms])

    def _weight(self, i: int) -> float | Tensor:
        """The weight of a term, as it is now and in this lane."""
        return now(self.current.terms[i].weight)

    def _sum(self, losses: Sequence[Tensor]) -> Tensor:
        """The sum of losses, and over lanes, which share nothing."""
        total = sum(losses[1:], losses[0])
        return total.sum() if self.settings.lanes else total

    def _map(self, losses: Callable[..., Logs], draws: _Record, critics: Params) -> Logs:
        if not self.settings.lanes:
            assert draws.draws is not None
            return losses(draws.draws, self._bound(critics, self.buffers), self.current)

        def one(
            flat: list[Tensor], extra: dict[str, Tensor], critics: Params, buffers: Params, numbers: Any
        ) -> Logs:
            objective = self.objective.with_numbers(numbers)
            return losses(draws.one(flat, extra), self._bound(critics, buffers), objective)

        return vmap(one)(draws.flat, draws.extra, critics, self.buffers, self.numbers)

    def _bound(self, params: Params, buffers: Params) -> dict[str, Bound]:
        half = self.settings.precision == "bf16"
        return {n: bind(self.nets[n], p | buffers.get(n, {}), half) for n, p in params.items()}


@dataclass(frozen=True)
class _Record:
    """One record of draws; over lanes, its tensors `(K, ...)` and how to rebuild the record of one lane."""

    draws: Draws | None = None
    flat: list[Tensor] = field(default_factory=list)
    rebuild: Callable[[list[Tensor]], Draws] | None = None
    extra: dict[str, Tensor] = field(default_factory=dict)

    def detach(self) -> _Record:
        if self.draws is not None:
            return _Record(draws=self.draws.detach())
        return _Record(None, [t.detach() for t in self.flat], self.rebuild, self.extra)

    def one(self, flat: list[Tensor], extra: dict[str, Tensor]) -> Draws:
        assert self.rebuild is not None
        draws = self.rebuild(flat)
        noise = {k: v for k, v in extra.items() if k not in ("x", "y")}
        return replace(draws, noise=noise, y=extra.get("y"))


def _move(functions: _Functions, side: str, state: State, gradients: Params, logs: Logs) -> None:
    """Clip the gradients if asked, and take the optimiser's step."""
    settings = functions.settings
    names = functions.objective.nets if side == "model" else tuple(functions.objective.critics)
    params, grads = _flat(state.params, names), _flat(gradients, names)
    if functions.ranks is not None:  # the model moves last, when all logs are there
        grads = _over_ranks(functions.ranks, grads, logs if side == "model" else {})
    if not params:  # all frozen
        return
    if settings.norms or settings.clip_gradient is not None:
        norm = _norm(grads, settings.lanes)
        if settings.norms:
            logs[f"gradient_norm/{side}"] = norm
        if settings.clip_gradient is not None:
            grads = _clipped(grads, norm, settings.clip_gradient)
    getattr(settings, side).update(params, grads, state.moments[side])


def _over_ranks(ranks: Ranks, grads: list[Tensor], logs: Logs) -> list[Tensor]:
    """The gradients averaged over ranks, and in place the logs, by one exchange."""
    means = ranks.mean([*grads, *logs.values()])
    logs.update(zip(logs, means[len(grads) :], strict=True))
    return means[: len(grads)]


def _gradients(
    loss: Callable[[Params], tuple[Tensor, Logs]], params: Params, functional: bool
) -> tuple[Params, Logs]:
    if functional:
        gradients, (_, parts) = grad_and_value(loss, has_aux=True)(params)
        return gradients, parts
    leaves = {n: _leaves(p) for n, p in params.items()}
    total, parts = loss(leaves)
    return _pull(total, leaves, keep=False), parts


def _add(gradients: Params, more: Params) -> None:
    """Sum gradients net by net, into the first."""
    for n, grads in more.items():
        old = gradients.get(n)
        gradients[n] = {k: old[k] + g for k, g in grads.items()} if old else grads


def _plus(a: Params, factor: float, b: Params) -> Params:
    return {n: {k: g + factor * b[n][k] for k, g in p.items()} for n, p in a.items()}


def _pull(total: Tensor, leaves: Params, keep: bool) -> Params:
    """The slopes at the leaves; zeros, as of a constant, where the total depends on no weight at all any more."""
    flat = _flat(leaves, tuple(leaves))
    if not flat or not total.requires_grad:
        return {n: {k: torch.zeros_like(p) for k, p in net.items()} for n, net in leaves.items()}
    grads = iter(
        torch.autograd.grad(total, flat, retain_graph=keep, allow_unused=True, materialize_grads=True)
    )
    return {n: {k: next(grads) for k in p} for n, p in leaves.items()}


def _leaves(params: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k: p.detach().requires_grad_() for k, p in params.items()}


def _flat(params: Params, names: Sequence[str]) -> list[Tensor]:
    return [p for n in names for p in params[n].values()]


def _clipped(grads: list[Tensor], norm: Tensor, bound: float) -> list[Tensor]:
    """The gradients, scaled alike so that their norm together (over lanes each lane's, `(K,)`) is within a bound."""
    factor = (bound / (norm + 1e-6)).clamp(max=1.0)
    return [g * factor.reshape(factor.shape + (1,) * (g.dim() - factor.dim())) for g in grads]


def _norm(grads: list[Tensor], lanes: bool) -> Tensor:
    """The norm of all gradients together; of each lane's, `(K,)`, over lanes."""
    squares = [g.reshape(len(g), -1).square().sum(1) if lanes else g.square().sum() for g in grads]
    return torch.stack(squares).sum(0).sqrt()


__all__ = ["Batch", "Settings", "State", "init", "step"]
