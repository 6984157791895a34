"""Modules as functions of their parameters, at little more than the price of a plain call."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call

from distmatch.distributions.flatten import flatten_distribution
from distmatch.errors import BadInput
from distmatch.objectives.variables import units_of

Slots = list[tuple[dict[str, Any], str, str]]
_SLOTS: WeakKeyDictionary[nn.Module, Slots] = WeakKeyDictionary()


class Bound:
    """A net at given parameters: a callable that leaves the module as it found it.

    It does what `torch.func.functional_call` does where all parameters are given, without looking them up anew at
    each call: it remembers where a net's parameters live, so a net that was bound once keeps its layers.

    Args:
        net: the module, whose own parameters are not touched.
        params: parameters, and buffers that evolve, by their names as the module has them; one that is left out
            (because it is frozen) is the module's own.
        half: whether it runs under autocast to bf16. It returns float32 all the same, and what is made of that
            (draws, densities, losses) is computed outside.
    """

    def __init__(self, net: nn.Module, params: Mapping[str, Tensor], half: bool = False) -> None:
        self.net = net
        self.params = params
        self.half = half
        self.x_units = units_of(net)
        self.teacher_forced = getattr(net, "teacher_forced", False)
        self.density_needs_code = getattr(net, "density_needs_code", True)
        self.noise_size = getattr(net, "noise_size", 0)

    def __call__(self, *inputs: Any, **given: Any) -> Any:
        """Return the net's output at these parameters."""
        if self.half:
            held = next(chain(self.params.values(), self.net.parameters()), None)
            with torch.autocast("cpu" if held is None else held.device.type, torch.bfloat16):
                output = self._called(*inputs, **given)
            return _full(output)
        return self._called(*inputs, **given)

    def _called(self, *inputs: Any, **given: Any) -> Any:
        if torch.compiler.is_compiling():
            return functional_call(self.net, dict(self.params), inputs, given)
        slots = [slot for slot in _slots(self.net) if slot[2] in self.params]
        own = [home[key] for home, key, _ in slots]
        try:
            for home, key, name in slots:
                home[key] = self.params[name]
            return self.net(*inputs, **given)
        finally:
            for (home, key, _), value in zip(slots, own, strict=True):
                home[key] = value


_AT_WORK: WeakKeyDictionary[nn.Module, int] = WeakKeyDictionary()
_AT_WORK_LOCK = threading.Lock()


@contextmanager
def held_by_this_thread(nets: Iterable[nn.Module]) -> Iterator[None]:
    """Keep other threads from stepping the same nets inside the block: a `Bound` net holds one run's weights at a time.

    Raises:
        BadInput: another thread is stepping one of them.

    >>> with held_by_this_thread([nn.Linear(1, 1)]):
    ...     pass
    """
    own, nets = threading.get_ident(), list(nets)
    with _AT_WORK_LOCK:
        if any(_AT_WORK.get(net, own) != own for net in nets):
            raise BadInput(
                "another thread is training the same net: give each trainer nets of its own (copy.deepcopy)"
            )
        outermost = [net for net in nets if net not in _AT_WORK]
        for net in outermost:
            _AT_WORK[net] = own
    try:
        yield
    finally:
        with _AT_WORK_LOCK:
            for net in outermost:
                del _AT_WORK[net]


def _full(output: Any) -> Any:
    """A tensor or a distribution in float32, where autocast left it in fewer bits."""
    if isinstance(output, Tensor):
        return output.float() if output.dtype == torch.bfloat16 else output
    tensors, rebuild = flatten_distribution(output)
    return rebuild([_full(t) for t in tensors]) if any(t.dtype == torch.bfloat16 for t in tensors) else output


def bind(net: nn.Module, params: Mapping[str, Tensor], half: bool = False) -> Bound:
    """The net at these parameters, under autocast to bf16 where `half` says so.

    >>> net = nn.Linear(1, 1)
    >>> bind(net, {"weight": torch.ones(1, 1), "bias": torch.ones(1)})(torch.ones(1, 1))
    tensor([[2.]])
    """
    return Bound(net, params, half)


def evolved(net: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The evolving buffers of a net after one step of theirs, by their names.

    A module with a state of its own (spectral normalisation's power iteration) names its buffers in `evolving` and
    returns their next values from `evolve(tensors)`; the step keeps them in its state.

    Args:
        net: the module, whose own parameters and buffers are used only where they are not given (frozen ones).
        tensors: parameters and buffers by their names in the net.
    """
    buffers: dict[str, Tensor] = {}
    for name, module in net.named_modules():
        if getattr(module, "evolving", ()):
            home = f"{name}." if name else ""
            own = {**module._parameters, **module._buffers}
            at = {key: tensors.get(home + key, value) for key, value in own.items()}
            buffers |= {home + key: value for key, value in module.evolve(at).items()}
    return buffers


def evolving(net: nn.Module) -> dict[str, Tensor]:
    """The buffers of a net that evolve, by their names."""
    names = [
        f"{name}.{key}" if name else key
        for name, module in net.named_modules()
        for key in getattr(module, "evolving", ())
    ]
    return {name: net.get_buffer(name) for name in names}


def _slots(net: nn.Module) -> Slots:
    """Return the home of each parameter and evolving buffer: its module's own dict, its key there, its name.

    Parameters that are tied have one name.
    """
    if net not in _SLOTS:
        names = {id(p): name for name, p in net.named_parameters()}
        names |= {id(b): name for name, b in evolving(net).items()}
        _SLOTS[net] = [
            (home, key, names[id(value)])
            for module in net.modules()
            for home in (module._parameters, module._buffers)
            for key, value in home.items()
            if value is not None and id(value) in names
        ]
    return _SLOTS[net]
