"""States side by side: one state with a leading axis of K, of which each run's own tensors are views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from distmatch.training.optimisers import COUNTS, dense
from distmatch.training.step import State


def join(states: Sequence[State]) -> State:
    """The states as one, `(K, ...)`; their tensors become views of it, so what is written to either is in both.

    The counts of the optimisers' steps are one for all, so all must have taken as many steps. A tensor at a time is
    copied, and its old memory given up.

    >>> a, b = (State({"net": {"w": torch.full((2,), float(k))}}, {}) for k in range(2))
    >>> whole = join([a, b])
    >>> _ = whole.params["net"]["w"].add_(1)
    >>> whole.params["net"]["w"].shape, b.params["net"]["w"]
    (torch.Size([2, 2]), tensor([2., 2.]))
    """
    whole = _frame(states[0])
    for (counts, held), *parts in zip(_holders(whole), *map(_holders, states), strict=True):
        for key in _keys(held):
            own = [part[key] for _, part in parts]
            held[key] = own[0].clone() if counts else _stacked(own)
            for (_, part), view in zip(parts, [held[key]] * len(own) if counts else held[key], strict=True):
                part[key] = view
    return whole


def part(state: State) -> None:
    """Give a state memory of its own.

    >>> a, b = (State({"net": {"w": torch.full((2,), float(k))}}, {}) for k in range(2))
    >>> whole = join([a, b])
    >>> part(a)
    >>> _ = whole.params["net"]["w"].zero_()
    >>> a.params["net"]["w"], b.params["net"]["w"]
    (tensor([0., 0.]), tensor([0., 0.]))
    """
    for _, held in _holders(state):
        for key in _keys(held):
            by_rows = torch.contiguous_format if held[key].dim() == 2 else torch.preserve_format
            held[key] = held[key].clone(memory_format=by_rows)


def overwrite(whole: State, lane: int, other: int) -> None:
    """Write what one lane holds over another, in place."""
    with torch.no_grad():
        for counts, held in _holders(whole):
            for key in () if counts else _keys(held):
                held[key][lane].copy_(held[key][other])


def size(state: State) -> int:
    """The bytes of all its tensors."""
    return sum(t.numel() * t.element_size() for _, held in _holders(state) for t in _values(held))


def _frame(state: State) -> State:
    """The same tensors in dicts and lists of their own."""
    return State(
        {n: dict(ps) for n, ps in state.params.items()},
        {side: {n: list(ms) for n, ms in moments.items()} for side, moments in state.moments.items()},
        {n: dict(ps) for n, ps in state.ema.items()},
        {n: dict(bs) for n, bs in state.buffers.items()},
    )


def _holders(state: State) -> Iterator[tuple[bool, Any]]:
    """Every dict or list of tensors in a state, always in the same order; whether they are counts."""
    for part in (state.params, state.ema, state.buffers):
        for held in part.values():
            yield False, held
    for moments in state.moments.values():
        for name, ms in moments.items():
            yield name in COUNTS, ms


def _stacked(own: Sequence[Tensor]) -> Tensor:
    """The tensors one after the other, each laid out as it was (channels last, say), but matrices by columns.

    The gradient of lanes' linear layers comes by columns, and where the weights lie so too, none has to be copied.
    """
    first = own[0]
    if not dense(first):  # with gaps, or expanded
        return torch.stack(list(own))
    laid = (1, first.shape[0]) if first.dim() == 2 else first.stride()
    whole = first.new_empty_strided((len(own), *first.shape), (first.numel(), *laid))
    for place, tensor in zip(whole, own, strict=True):
        place.copy_(tensor)
    return whole


def _keys(held: Any) -> list[Any]:
    return list(held) if isinstance(held, dict) else list(range(len(held)))


def _values(held: Any) -> list[Tensor]:
    return [held[key] for key in _keys(held)]
