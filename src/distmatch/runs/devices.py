"""Outputs of nets on a device, moved to the CPU where they are measured."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.distributions import Distribution, Transform


def on_cpu(distribution: Distribution) -> Distribution:
    """The same distribution with all that it holds on the CPU; its draws and densities stay differentiable.

    >>> import torch
    >>> on_cpu(torch.distributions.Normal(torch.zeros(2), 1.0))
    Normal(loc: torch.Size([2]), scale: torch.Size([2]))
    """
    return mapped(distribution, Tensor.cpu)


def mapped(held: Any, change: Callable[[Tensor], Tensor], made: dict[int, Any] | None = None) -> Any:
    """A copy of what a distribution holds with every tensor changed: distributions, transforms, lists and dicts are
    followed.

    What appears twice (a distribution's parameter, and the same as its own `_param`) is one object again. Attributes of
    another kind stay as they are.

    >>> import torch
    >>> mapped(torch.distributions.Bernoulli(logits=torch.zeros(2)), torch.Tensor.double).logits
    tensor([0., 0.], dtype=torch.float64)
    """
    made = {} if made is None else made
    if id(held) in made:
        return made[id(held)]
    if isinstance(held, Tensor):
        made[id(held)] = change(held)
    elif type(held) in (list, tuple):
        made[id(held)] = type(held)(mapped(v, change, made) for v in held)
    elif isinstance(held, dict):
        made[id(held)] = {k: mapped(v, change, made) for k, v in held.items()}
    elif isinstance(held, Distribution | Transform):
        made[id(held)] = copy = object.__new__(type(held))
        copy.__dict__.update({k: mapped(v, change, made) for k, v in vars(held).items()})
    else:
        return held
    return made[id(held)]
