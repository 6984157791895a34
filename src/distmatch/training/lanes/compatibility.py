"""Compatibility of two trainers as lanes of one program: they compute the same thing, at other numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from functools import partial
from types import CodeType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn

from distmatch.objectives.numbers import ANY_NUMBER
from distmatch.training.batches import Feed
from distmatch.training.engine.functional import evolving
from distmatch.training.optimisers import Optimiser
from distmatch.training.step import Settings
from distmatch.training.trainer import Trainer

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))


def alike(a: Trainer, b: Trainer) -> str | None:
    """Return the reason why two trainers cannot share lanes; None if they can.

    They may differ in seed, data of one shape, weights that are trained, learning rates, and the numbers of the
    objective (`Objective.numbers`, ramps). Nets, frozen weights, fixed buffers, the order of updates and the shapes of
    batches must be the same.
    """
    if _structure(a) != _structure(b):
        return f"their objectives differ by more than numbers: {a.objective} and {b.objective}"
    for what, name in (("critic_steps", "critic steps"), ("engine", "engines")):
        if (ours := getattr(a, what)) != (theirs := getattr(b, what)):
            return f"their {name} differ: {ours} and {theirs}"
    return _settings(a.settings, b.settings) or _feeds(a.feed, b.feed) or _nets(a, b)


def _structure(trainer: Trainer) -> Any:
    """Return the objective with `ANY_NUMBER` for every number, and the numbers' paths."""
    objective = trainer.objective
    paths = sorted({*objective.numbers(), *objective.ramps})
    return paths, objective.with_numbers(dict.fromkeys(paths, ANY_NUMBER))


def _settings(a: Settings, b: Settings) -> str | None:
    for f in fields(Settings):
        ours, theirs = getattr(a, f.name), getattr(b, f.name)
        if isinstance(ours, Optimiser) and type(ours) is type(theirs):
            ours, theirs = replace(ours, lr=0.0), replace(theirs, lr=0.0)
            for g in fields(ours):
                mine, other = getattr(ours, g.name), getattr(theirs, g.name)
                if not same(mine, other):
                    return (
                        f"{g.name} of the optimiser of the {f.name} differs: {_said(mine)} and {_said(other)}"
                    )
        elif not same(ours, theirs):
            return f"the setting {f.name} differs: {_said(ours)} and {_said(theirs)}"
    return None


def _feeds(a: Feed, b: Feed) -> str | None:
    facts = {
        "batch sizes": lambda f: f.batch_size,
        "devices": lambda f: f.device,
        "shapes of the data": lambda f: tuple(f.x.shape[1:]),
        "types of the data": lambda f: f.x.dtype,
        "sizes of the code": lambda f: f.latent,
        "sizes of the encoder's noise": lambda f: f.code_noise,
        "preparations of the data": lambda f: f.prepare,
        "needs of noise to prepare the data": lambda f: f.prepare_noise,
        "needs of noise to dequantise": lambda f: f.dequantise,
        "needs of labels": lambda f: f.y is not None,
    }
    for what, fact in facts.items():
        if not same(fact(a), fact(b)):
            return f"their {what} differ: {_said(fact(a))} and {_said(fact(b))}"
    return None


def _nets(a: Trainer, b: Trainer) -> str | None:
    a.tell_nets()  # so that buffers and levels are those of the step that each is at
    b.tell_nets()
    for name, ours in a.nets.items():
        if why := _modules(dict(ours.named_modules()), dict(b.nets[name].named_modules())):
            return f"the nets {name!r} differ: {why}"
        evolve = set(evolving(ours))
        theirs = dict(b.nets[name].named_parameters()) | dict(b.nets[name].named_buffers())
        unused = _unused(ours)
        for key, p in (*ours.named_parameters(), *ours.named_buffers()):
            q = theirs.pop(key, None)
            if q is None or (p.shape, p.dtype, p.requires_grad) != (q.shape, q.dtype, q.requires_grad):
                return f"the nets {name!r} differ: {key}"
            if not (p.requires_grad or key in evolve or key in unused or torch.equal(p, q)):
                return f"{key} of the net {name!r} is not trained, and differs"
        if theirs:
            return f"the nets {name!r} differ: {min(theirs)}"
    return None


def _unused(net: nn.Module) -> set[str]:
    """The buffers that are for evaluation, and that training neither reads nor writes."""
    return {
        f"{name}.{key}" if name else key
        for name, module in net.named_modules()
        for key in getattr(module, "for_evaluation", ())
    }


def _modules(ours: Mapping[str, nn.Module], theirs: Mapping[str, nn.Module]) -> str | None:
    if ours.keys() != theirs.keys():
        return f"their layers are {len(ours)} and {len(theirs)}, or of other names"
    for name, a in ours.items():
        b, place = theirs[name], name or "the net itself"
        if type(a) is not type(b):
            return f"{place} is a {type(a).__name__} and a {type(b).__name__}"
        mine, other = ({k: v for k, v in vars(m).items() if k not in _OF_EVERY_MODULE} for m in (a, b))
        for key in mine.keys() | other.keys():
            if not same(mine.get(key), other.get(key)):
                return f"{key} of {place} is {_said(mine.get(key))} and {_said(other.get(key))}"
    return None


def same(a: Any, b: Any, seen: frozenset[tuple[int, int]] = frozenset()) -> bool:
    """True where two values do the same, as far as can be told: functions by their code and what they close over.

    >>> same(partial(max, 1), partial(max, 1)), same(partial(max, 1), partial(max, 2))
    (True, False)
    >>> def power(k): return lambda x: x**k
    >>> same(power(2), power(2)), same(power(2), power(3))
    (True, False)
    """
    if a is b or (id(a), id(b)) in seen:
        return True
    if type(a) is not type(b):
        return False
    seen |= {(id(a), id(b))}
    if isinstance(a, Tensor):
        return (a.shape, a.dtype) == (b.shape, b.dtype) and torch.equal(a, b)
    if isinstance(a, nn.Module):
        return _modules(dict(a.named_modules()), dict(b.named_modules())) is None
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y, seen) for x, y in zip(a, b, strict=True))
    if isinstance(a, Mapping):
        return a.keys() == b.keys() and all(same(a[k], b[k], seen) for k in a)
    if parts := _parts(a):
        return same(parts, _parts(b), seen)
    return bool(a == b) or (hasattr(a, "__dict__") and same(vars(a), vars(b), seen))


def _parts(value: Any) -> tuple[Any, ...]:
    """Return the parts of a function; nothing for what is not a function."""
    if isinstance(value, partial):
        return value.func, value.args, value.keywords
    if isinstance(value, MethodType):
        return value.__func__, value.__self__
    if isinstance(value, FunctionType):
        code: CodeType = value.__code__
        closed = tuple(cell.cell_contents for cell in value.__closure__ or ())
        return code, closed, value.__defaults__ or (), value.__kwdefaults__ or {}
    return ()


def _said(value: Any) -> str:
    """A value in a sentence."""
    text = getattr(value, "__qualname__", None) or str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
