"""Modules as functions of their parameters, at little more than the price of a plain call."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.func import functional_call

Slots = list[tuple[dict[str, Any], str, str]]
_SLOTS: WeakKeyDictionary[nn.Module, Slots] = WeakKeyDictionary()


def bind(net: nn.Module, params: Mapping[str, Tensor]) -> Callable[..., Any]:
    """The net at these parameters: a callable that leaves the module as it found it.

    It does what `torch.func.functional_call` does where all parameters are given, without looking them up anew at
    each call: it remembers where a net's parameters live, so a net that was bound once keeps its layers.

    Args:
        net: the module, whose own parameters are not touched.
        params: parameters by their names, as `net.named_parameters()` has them; one that is left out (because it is
            frozen) is the module's own.

    >>> net = nn.Linear(1, 1)
    >>> bind(net, {"weight": torch.ones(1, 1), "bias": torch.ones(1)})(torch.ones(1, 1))
    tensor([[2.]])
    """
    if torch.compiler.is_compiling():
        return lambda *inputs, **given: functional_call(net, dict(params), inputs, given)
    return partial(_call, net, params)


def _call(net: nn.Module, params: Mapping[str, Tensor], *inputs: Tensor, **given: Tensor) -> Any:
    slots = [slot for slot in _slots(net) if slot[2] in params]
    own = [home[key] for home, key, _ in slots]
    try:
        for home, key, name in slots:
            home[key] = params[name]
        return net(*inputs, **given)
    finally:
        for (home, key, _), value in zip(slots, own, strict=True):
            home[key] = value


def _slots(net: nn.Module) -> Slots:
    """Where each parameter lives: its module's own dict, its key there, its name (one for parameters that are tied)."""
    if net not in _SLOTS:
        names = {id(p): name for name, p in net.named_parameters()}
        _SLOTS[net] = [
            (module._parameters, key, names[id(value)])
            for module in net.modules()
            for key, value in module._parameters.items()
            if value is not None
        ]
    return _SLOTS[net]
