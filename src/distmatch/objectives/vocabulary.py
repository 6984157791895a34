"""The words of an objective as text: the names of its terms and of what they take, read off their signatures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from inspect import Parameter, signature
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from distmatch.objectives.comparisons import COMPARISONS, GENERATOR_LOSSES, Comparison, GeneratorLoss
from distmatch.objectives.penalties import PENALTIES, Penalty
from distmatch.objectives.term import Term
from distmatch.objectives.terms.clamp import Clamp
from distmatch.objectives.terms.critic import AdaptiveContrast, FeatureDistance, MixedBatch
from distmatch.objectives.terms.distance import CosineDistance, Distance
from distmatch.objectives.terms.likelihood import IWAE, KL, NLL, TargetRate
from distmatch.objectives.terms.match import Match
from distmatch.objectives.terms.moments import MMD, CodeKL
from distmatch.objectives.variables import VARIABLES, Variable
from distmatch.schedules import Ramp, Share

TERMS: dict[str, Callable[..., Term]] = {
    "nll": NLL,
    "kl": KL,
    "target_rate": TargetRate,
    "iwae": IWAE,
    "distance": Distance,
    "match": Match,
    "mmd": MMD,
    "code_kl": CodeKL,
    "cosine_distance": CosineDistance,
    "feature_distance": FeatureDistance,
    "clamp": Clamp,
    "adaptive_contrast": AdaptiveContrast,
    "mixed_batch": MixedBatch,
}
# What an annotation lets a name stand for: type -> how it is called, and the names.
NAMED: dict[Any, tuple[str, Mapping[str, Any]]] = {
    Variable: ("variable", VARIABLES),
    Comparison: ("comparison", COMPARISONS),
    GeneratorLoss: ("generator loss", GENERATOR_LOSSES),
    Ramp: ("ramp", {"ramp": Ramp}),
    **dict.fromkeys(get_args(Penalty) or (Penalty,), ("penalty", PENALTIES)),
    bool: ("switch", {"true": True, "false": False}),
}
TERM_FIELDS = {f.name for f in fields(Term)}


class Argument(NamedTuple):
    """The values that a parameter of a call takes.

    They are names (`word` says of what), any other name, a number, a share of a run, or a tuple of names.
    """

    name: str
    required: bool
    positional: bool
    names: dict[str, Any]
    word: str
    keeps: bool
    number: str
    share: bool
    joint: bool

    @property
    def one(self) -> str:
        """The values that it takes, in words."""
        numbers = [self.number, "share of the run such as 50%"] if self.share else [self.number]
        return " or ".join([*numbers, *self.names]) if self.number else self.word

    def takes(self, number: float) -> bool:
        """Return whether a number stands for it: a finite one, and a whole one where that is asked for."""
        if not self.number or isinstance(number, bool) or not math.isfinite(number):
            return False
        return self.number == "number" or (float(number).is_integer() and abs(number) <= 2**53)


def arguments(build: Callable[..., Any]) -> dict[str, Argument]:
    """The parameters of a call that can be written in it; a term's weight and nets are written outside."""
    hints = get_type_hints(build)
    own = TERM_FIELDS if isinstance(build, type) and issubclass(build, Term) else set()
    arguments = [argument_of(p, hints.get(p.name)) for p in signature(build).parameters.values()]
    return {a.name: a for a in arguments if a.name not in own and (a.names or a.keeps or a.number)}


def argument_of(parameter: Parameter, hint: Any) -> Argument:
    """Return what a parameter takes, by its annotation."""
    kinds = tuple(_kinds(hint))
    held = [inner for k in kinds if get_origin(k) is tuple for inner in get_args(k)]
    named = [NAMED[k] for k in (*kinds, *held) if k in NAMED]
    names = {name: entry for _, known in named for name, entry in known.items()}
    names |= {k: k for k in kinds if isinstance(k, str)} | ({"none": None} if type(None) in kinds else {})
    whole = "whole number" if any(k is int or type(k) is int for k in kinds) else ""
    return Argument(
        parameter.name,
        required=parameter.default is Parameter.empty,
        positional=parameter.kind is not Parameter.KEYWORD_ONLY,
        names=names,
        word=" or ".join(dict.fromkeys(word for word, _ in named)) or parameter.name,
        keeps=str in kinds,
        number="number" if float in kinds else whole,
        share=Share in kinds,
        joint=bool(held),
    )


def _kinds(hint: Any) -> Iterator[Any]:
    """The types and literal values that an annotation is made of."""
    if get_origin(hint) in (Union, UnionType):
        for inner in get_args(hint):
            yield from _kinds(inner)
    else:
        yield from get_args(hint) if get_origin(hint) is Literal else (hint,)


def key_of(name: str) -> str:
    """Return a name as it is looked up: hyphens are as good as underscores."""
    return name.lower().replace("-", "_")
