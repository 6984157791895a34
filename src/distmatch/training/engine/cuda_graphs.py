"""Runners of a trainer's step: as it is, compiled, or recorded once as a CUDA graph and replayed.

A step is a function of the places of its examples in the data, of the numbers that change with time, and of the
state, which it writes in place. Nothing in it asks the host. So a graph holds all of it: the gather of a batch from
bytes on the device, preparation, noise (from the run's generator, which the graph moves on as the step itself would),
critics and model with their second derivatives, optimiser, running average. Before a replay only places and numbers
are filled in.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from distmatch.objectives.objective import Objective
from distmatch.training.batches import Feed
from distmatch.training.step import Batch, Logs, Settings, State, step

Engine = Literal["auto", "eager", "compiled", "captured"]
Numbers = Mapping[str, Tensor]
Take = Callable[[Sequence[Tensor], Numbers, bool], Logs]
"""A step of the run: (places `(B,)`, one for each critic step; numbers; whether norms are wanted) -> logs."""
Pure = Callable[[State, Sequence[Batch], Numbers], tuple[State, Logs]]
"""The pure step with all that is fixed left out."""

WARM_UP = 3  # steps that run as they are before one is recorded, so that libraries have set themselves up
BLOCK = 8  # steps in one graph where nothing has to be looked at in between


class Recorder(Protocol):
    """The protocol of what records graphs."""

    def warm(self, run: Callable[[], Logs]) -> Logs:
        """Run it once, as it will be recorded."""

    def record(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """Record it without running it; what is returned replays it, and gives the same tensor, filled anew."""

    def abandon(self) -> None:
        """Leave all as it was before a recording that failed."""


class CudaGraphs:
    """Records on a stream of its own; all its graphs share one pool of memory, as they never run at once.

    Args:
        feeds: on a CUDA device; what is recorded draws its noise from their generators alone.
    """

    def __init__(self, *feeds: Feed) -> None:
        self.feeds, self.device = feeds, feeds[0].device
        self.stream = torch.cuda.Stream(self.device)
        self.pool = torch.cuda.graph_pool_handle()
        self.before = self._outside()

    def _outside(self) -> tuple[torch.cuda.Stream, list[Tensor]]:
        """Put back what a recording may leave changed: the stream, and the generators' states."""
        return torch.cuda.current_stream(self.device), [f.generator.get_state() for f in self.feeds]

    def warm(self, run: Callable[[], Logs]) -> Logs:
        """Run on the stream of the recordings, after all that was asked for before, and before all that follows."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            logs = run()
        current.wait_stream(self.stream)
        return logs

    def record(self, run: Callable[[], Tensor]) -> Callable[[], Tensor]:
        """One graph."""
        self.before = self._outside()
        graph = torch.cuda.CUDAGraph()
        for feed in self.feeds:
            graph.register_generator_state(feed.generator)
        with (
            torch.cuda.device(self.device),
            torch.cuda.graph(graph, self.pool, self.stream, capture_error_mode="thread_local"),
        ):
            out = run()

        def replay() -> Tensor:
            graph.replay()
            return out

        return replay

    def abandon(self) -> None:
        """Back to the stream and the noise from before: a failed recording has run nothing, but may keep both."""
        stream, states = self.before
        torch.cuda.set_stream(stream)
        with suppress(
            RuntimeError
        ):  # torch leaves the pool open, and then never frees memory for what is to come
            torch._C._cuda_endAllocateToPool(stream.device_index, self.pool)
        for feed, state in zip(self.feeds, states, strict=True):
            feed.generator = torch.Generator(self.device)
            feed.generator.set_state(state)


@dataclass(frozen=True)
class _Graph:
    """A recording, and what is filled in before it is replayed."""

    places: Tensor
    numbers: list[dict[str, Tensor]]
    replay: Callable[[], Tensor]

    def run(self, places: Sequence[Tensor], numbers: Sequence[Mapping[str, float]]) -> Tensor:
        torch.stack(list(places), out=self.places)
        for held, given in zip(self.numbers, numbers, strict=True):
            for name, value in given.items():
                held[name].fill_(value)
        return self.replay().clone()  # the next replay writes over it


class Stepper:
    """Takes a trainer's steps, one or several at once.

    Args:
        take: the step.
        recorder: what makes graphs; None: every step runs as it is.
    """

    def __init__(self, take: Take, recorder: Recorder | None = None) -> None:
        self.take, self.recorder = take, recorder
        self._taken = 0
        self._names: dict[bool, list[str]] = {}
        self._graphs: dict[tuple[int, bool], _Graph] = {}

    def fits(self, most: int, norms: bool) -> int:
        """Number of the coming steps that are taken at once, of at most this many."""
        return BLOCK if self.recorder and not norms and most >= BLOCK and self._warm(norms) else 1

    def steps(
        self, places: Sequence[Tensor], numbers: Sequence[Mapping[str, float]], norms: bool
    ) -> tuple[Logs, Tensor]:
        """Take as many steps as there are numbers for.

        Args:
            places: of each step's batches, one after the other; each `(B,)`, on the data's device.
            numbers: of each step.
            norms: whether norms and mean scores are wanted.

        Returns:
            The logs of the last step, and every step's losses `(steps, losses)`.
        """
        if self.recorder is not None and self._warm(norms):
            try:
                graph = self._graph(places, numbers, norms)
            except Exception as error:  # whatever a net, a schedule or a term does that a graph cannot hold
                self.recorder.abandon()
                self.recorder = None
                say_eager(_first_line(error.__context__ or error))
            else:
                rows = graph.run(places, numbers)
                names = self._names[norms]
                return dict(zip(names, rows[-1], strict=True)), rows[:, : len(losses_of(names))]
        rounds = len(places) // len(numbers)
        taken: list[Tensor] = []
        for i, given in enumerate(numbers):
            logs = self._as_it_is(places[i * rounds : (i + 1) * rounds], given, norms)
            taken.append(torch.stack([logs[k] for k in losses_of(logs)]))
        return logs, torch.stack(taken)

    def _as_it_is(self, places: Sequence[Tensor], numbers: Mapping[str, float], norms: bool) -> Logs:
        held = {k: torch.full((), v, device=places[0].device) for k, v in numbers.items()}
        if self.recorder is None:
            return self.take(places, held, norms)
        logs = self.recorder.warm(lambda: self.take(places, held, norms))
        self._taken += 1
        self._names[norms] = [*losses_of(logs), *(k for k in logs if k not in losses_of(logs))]
        return logs

    def _warm(self, norms: bool) -> bool:
        return self._taken >= WARM_UP and norms in self._names

    def _graph(self, places: Sequence[Tensor], numbers: Sequence[Mapping[str, float]], norms: bool) -> _Graph:
        """The graph of this many steps, recorded when it is first asked for."""
        assert self.recorder is not None
        key = (len(numbers), norms)
        if key not in self._graphs:
            names, rounds = self._names[norms], len(places) // len(numbers)
            static = torch.stack(list(places))
            held = [{k: torch.full((), v, device=static.device) for k, v in n.items()} for n in numbers]

            def run() -> Tensor:
                rows = []
                for i, given in enumerate(held):
                    logs = self.take(list(static[i * rounds : (i + 1) * rounds]), given, norms)
                    rows.append(torch.stack([logs[name] for name in names]))
                return torch.stack(rows)

            self._graphs[key] = _Graph(static, held, self.recorder.record(run))
        return self._graphs[key]


def pure_step(
    objective: Objective, nets: Mapping[str, nn.Module], settings: Settings, compiled: bool
) -> Pure:
    """The step of these nets, compiled by `torch.compile` at its first call if asked, and as it is if that fails."""

    def plain(state: State, batches: Sequence[Batch], numbers: Numbers) -> tuple[State, Logs]:
        return step(objective, nets, state, batches, settings, numbers)

    if not compiled:
        return plain
    plain.__code__ = (
        plain.__code__.replace()
    )  # torch limits recompilations by code object: each step has its own
    chosen: list[Pure] = [torch.compile(plain, fullgraph=True, dynamic=False)]

    def take(state: State, batches: Sequence[Batch], numbers: Numbers) -> tuple[State, Logs]:
        if chosen[0] is not plain and (name := _lost_by_compiler(state)):
            chosen[0] = plain
            say_eager(
                f"{name} is one number in float64 on a CPU, and the compiler loses what is written into it"
            )
        try:
            return chosen[0](state, batches, numbers)
        except torch._dynamo.exc.TorchDynamoException as error:  # before anything has run
            chosen[0] = plain
            say_eager(_first_line(error))
        return plain(state, batches, numbers)

    return take


def _lost_by_compiler(state: State) -> str | None:
    """A weight or buffer that torch.compile takes for a Python number, so that its updates are lost without a word."""
    held = [*state.params.items(), *state.buffers.items()]
    lost = (f"{k} of the net {n!r}" for n, net in held for k, t in net.items() if _python_number(t))
    return next(lost, None)


def _python_number(t: Tensor) -> bool:
    return t.dim() == 0 and t.dtype == torch.float64 and t.device.type == "cpu"


def cannot_be_captured(feed: Feed, changing: bool) -> str | None:
    """Return the reason why no graph can hold a step, as far as it is known beforehand; None where one can.

    >>> from distmatch.objectives.terms.likelihood import KL
    >>> cannot_be_captured(Feed(KL() + KL(), torch.zeros(9, 1), latent=1, batch_size=3), changing=False)
    'a CUDA graph needs a CUDA device, and this run is on cpu'
    """
    if feed.device.type != "cuda":
        return f"a CUDA graph needs a CUDA device, and this run is on {feed.device}"
    if feed.x.device.type != "cuda":
        return "the data do not fit on the device, and a CUDA graph cannot wait for the host"
    if changing:
        return "a net changes with time, and a CUDA graph is the same for ever"
    ranks = torch.distributed
    if ranks.is_available() and ranks.is_initialized() and ranks.get_world_size() > 1:
        return "several processes average their gradients"
    return None


def say_eager(why: str) -> None:
    """One line for whoever watches."""
    logging.getLogger(__name__).warning("note: steps run eager: %s", why)


def _first_line(error: BaseException) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)


def losses_of(logs: Logs | Sequence[str]) -> list[str]:
    """The names of the losses among the logs: all but norms and mean scores.

    >>> losses_of(["nll", "gradient_norm/model"])
    ['nll']
    """
    return [k for k in logs if not k.startswith(("score/", "gradient_norm/"))]
