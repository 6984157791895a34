"""A distribution as its tensors and back, for lanes and compiled steps."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
)


def flatten_distribution(
    distribution: Distribution,
) -> tuple[list[Tensor], Callable[[list[Tensor]], Distribution]]:
    """Every tensor that a distribution holds, and the way back: what carries distributions across `torch.func.vmap`.

    Nested distributions (`Independent`, `TransformedDistribution`) are followed; transforms stay as they are. Values
    that a distribution computed from its parameters and kept (`Bernoulli.probs`) are left out, and computed anew.

    Returns:
        The tensors, and `rebuild(tensors)`: a copy of the distribution on other tensors, without validation. Where
        they have leading dimensions more than the old ones, the batch shape has them too.

    >>> from torch.distributions import Independent, Normal
    >>> tensors, rebuild = flatten_distribution(Independent(Normal(torch.zeros(2), torch.ones(2)), 1))
    >>> rebuild([t.expand(5, 2) for t in tensors]).batch_shape
    torch.Size([5])
    """
    tensors: list[Tensor] = []
    places: dict[str, int] = {}
    nested: dict[str, tuple[int, int, Callable[[list[Tensor]], Distribution]]] = {}
    other: dict[str, object] = {}
    for name, value in _own_attributes(distribution).items():
        if isinstance(value, Tensor):
            same = [i for i, t in enumerate(tensors) if t is value]
            places[name] = same[0] if same else len(tensors)
            tensors += [] if same else [value]
        elif isinstance(value, Distribution):
            inner, inner_rebuild = flatten_distribution(value)
            nested[name] = (len(tensors), len(inner), inner_rebuild)
            tensors += inner
        else:
            other[name] = value
    kind, batch_shape, dims = type(distribution), distribution.batch_shape, tensors[0].ndim if tensors else 0

    def rebuild(new: list[Tensor]) -> Distribution:
        copy = object.__new__(kind)
        for name, value in other.items():
            setattr(copy, name, value)
        for name, place in places.items():
            setattr(copy, name, new[place])
        for name, (start, length, inner_rebuild) in nested.items():
            setattr(copy, name, inner_rebuild(new[start : start + length]))
        if new and new[0].ndim > dims:
            copy._batch_shape = new[0].shape[: new[0].ndim - dims] + batch_shape
        return copy

    return tensors, rebuild


def _own_attributes(distribution: Distribution) -> dict[str, object]:
    """A distribution's attributes, but for what `lazy_property` computed from others and kept.

    The compiler of torch 2.11 looks names up in an instance's `__dict__`, but cannot list them: there the class tells.
    """
    kind, held = type(distribution), distribution.__dict__
    source = held.get("_param")
    names = _named_in(kind) if torch.compiler.is_compiling() else tuple(held)
    own: dict[str, object] = {}
    for name in names:
        if name in held and (held[name] is source or not hasattr(kind, name) or name.startswith("_")):
            own[name] = held[name]
    return own


@torch.compiler.assume_constant_result
def _named_in(kind: type) -> tuple[str, ...]:
    """Every name in the code of a class's methods: what they may set on an instance, and more.

    >>> from torch.distributions import Normal
    >>> {"loc", "scale", "_batch_shape"} <= set(_named_in(Normal))
    True
    """
    methods = [f for base in kind.__mro__ for f in vars(base).values() if isinstance(f, FunctionType)]
    return tuple(dict.fromkeys(name for method in methods for name in method.__code__.co_names))
