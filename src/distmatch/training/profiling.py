"""Profile of a step: its time by part, beside what the machine can do.

The parts of a step are timed as it runs eager; on a CUDA device each is waited for, which costs the overlap of host and
device but tells the parts apart. Ceilings are measured there and then, by one large product of matrices and one copy.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.autograd.profiler_util import EventList
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from distmatch.training import step as stepping
from distmatch.training.batches import Feed
from distmatch.training.engine.precision import numerics
from distmatch.training.trainer import Trainer

WARM_UP, TRACED = 10, 5  # steps before anything is timed, and steps whose operators are listed
TOP = 10
REST = "the rest of the step"
PARTS: tuple[tuple[Any, str, str], ...] = (
    (Feed, "batch", "data and noise"),
    (stepping._Functions, "draws", "encoder and decoder, forward"),
    (stepping._Functions, "_critic_losses", "critics, forward"),
    (stepping._Functions, "critic_gradients", "critics, backward"),
    (stepping._Functions, "_model_losses", "model's losses, forward"),
    (stepping._Functions, "model_gradients", "model, backward"),
    (stepping._Functions, "consensus_gradients", "consensus, forward and backward"),
    (stepping, "_move", "optimiser"),
    (Trainer, "collect", "logging"),
)
"""The functions of a step, and what is done in each but for what the others in it do."""


class Clock:
    """Seconds by part; of parts inside parts, the inner one's alone count."""

    def __init__(self, wait: Callable[[], None]) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.wait = wait
        self._open = [REST]
        self._since = time.perf_counter()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """All of this block."""
        self._count()
        self._open.append(name)
        try:
            yield
        finally:
            self._count()
            self._open.pop()

    def _count(self) -> None:
        self.wait()
        now = time.perf_counter()
        self.seconds[self._open[-1]] += now - self._since
        self._since = now


@contextmanager
def _watched(clock: Clock) -> Iterator[None]:
    """The functions of a step with their clocks; they are as they were afterwards."""

    def timed(own: Callable[..., Any], name: str) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            with clock.part(name):
                return own(*given, **named)

        return run

    before = [(home, key, getattr(home, key)) for home, key, _ in PARTS]
    try:
        for (home, key, own), (_, _, name) in zip(before, PARTS, strict=True):
            setattr(home, key, timed(own, name))
        yield
    finally:
        for home, key, own in before:
            setattr(home, key, own)


def parts(trainer: Trainer, steps: int, log_every: int) -> dict[str, float]:
    """Seconds a step of each part, over this many steps; an eager trainer's."""
    clock = Clock(lambda: wait(trainer.feed.device))
    with _watched(clock):
        clock.seconds.clear()
        for i in range(steps):
            with clock.part(REST):
                trainer.advance(norms=(i + 1) % log_every == 0)
            if (i + 1) % log_every == 0:
                trainer.collect()
    return {name: seconds / steps for name, seconds in clock.seconds.items()}


def seconds_a_step(trainer: Trainer, steps: int) -> float:
    """Of a run that is not watched, by whatever engine it has."""
    wait(trainer.feed.device)
    start = time.perf_counter()
    trainer.run(steps)
    wait(trainer.feed.device)
    return (time.perf_counter() - start) / steps


def operators(trainer: Trainer) -> list[dict[str, Any]]:
    """The operators that take most of the time: their share, and their calls and milliseconds a step."""
    on_cuda = trainer.feed.device.type == "cuda"
    wanted = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_cuda else [])]
    with profile(activities=wanted, acc_events=True) as traced:
        for _ in range(TRACED):
            trainer.advance()
        wait(trainer.feed.device)
    events: EventList = traced.key_averages()
    spent = {e: e.self_device_time_total if on_cuda else e.self_cpu_time_total for e in events}
    total = sum(spent.values()) or 1
    most = sorted(spent, key=lambda e: spent[e], reverse=True)[:TOP]
    return [
        {
            "operator": e.key,
            "share": round(spent[e] / total, 4),
            "ms": round(spent[e] / TRACED / 1e3, 4),
            "calls": round(e.count / TRACED, 2),
        }
        for e in most
        if spent[e] > 0
    ]


class _Work(TorchDispatchMode):
    """Counts the operations of products and convolutions, and the bytes that all operators read and write.

    torch's own `FlopCounterMode` follows modules too, and fails where a penalty differentiates by a module's input.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = kwargs or {}
        out = func(*args, **named)
        if (count := flop_registry.get(func._overloadpacket)) is not None:
            self.flops += count(*args, **named, out_val=out)
        if not func.is_view:
            held = [t for t in tree_leaves((args, named, out)) if isinstance(t, Tensor)]
            self.bytes += sum(t.numel() * t.element_size() for t in held)
        return out


def work(trainer: Trainer) -> tuple[int, int]:
    """Return the work of one step: floating point operations of products and convolutions, and bytes that all operators
    read and write, if none of it stays in a cache; the trainer takes that step, and must be eager."""
    with _Work() as counted:
        trainer.advance()
    return counted.flops, counted.bytes


def ceilings(device: torch.device, precision: str = "float32", repeats: int = 5) -> tuple[float, float]:
    """Return what this machine does at best: FLOP/s of a large matrix product in this precision, bytes/s of a copy."""
    on_cuda = device.type == "cuda"
    size = 8192 if on_cuda else 1024
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a = torch.rand(size, size, device=device, dtype=dtype)
    source = torch.rand((256 if on_cuda else 16) * 2**20, device=device)
    target = torch.empty_like(source)
    with torch.no_grad(), numerics(precision):
        product = _best(lambda: a @ a, device, repeats)
    copy = _best(lambda: target.copy_(source), device, repeats)
    return 2 * size**3 / product, 2 * 4 * source.numel() / copy


def _best(run: Callable[[], Any], device: torch.device, repeats: int) -> float:
    run()
    seconds = []
    for _ in range(repeats):
        wait(device)
        start = time.perf_counter()
        run()
        wait(device)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def wait(device: torch.device) -> None:
    """Until the device has done all that it was asked for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
