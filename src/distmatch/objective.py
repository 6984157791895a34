"""A system's objective: a sum of terms that reads like the equation in its paper.

A `Term` knows which draws it compares and so which players it moves; an `Objective` is their sum. Both are frozen:
arithmetic makes new ones.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any, Generic, Self, TypeVar

from torch import Tensor

from distmatch.errors import BadInput
from distmatch.noise import Noise
from distmatch.schedules import Ramp, over
from distmatch.variables import Z_CODE, Z_MARGINAL, Z_PRIOR, Draws, Variable, units_of, with_parents

Weight = float | Tensor | Ramp
PLAYERS = ("encoder", "decoder", "prior", "lens")


class Critics:
    """The critics at work on one record of draws. Each tuple of draws is scored once per critic, and its features,
    where they are asked for, are computed once.

    Args:
        nets: critic's name -> a callable from inputs `(B, ...)` (and labels) to scores `(B,)`.
        draws: what they score.
        unrolled: whether their weights depend on the draws, as those of critics do that have looked ahead; a score
            of the data then has a gradient too.
    """

    def __init__(
        self, nets: Mapping[str, Callable[..., Tensor]], draws: Draws, unrolled: bool = False
    ) -> None:
        self.nets = nets
        self.draws = draws
        self.unrolled = unrolled
        self._scores: dict[tuple[str, tuple[Variable, ...]], Tensor] = {}
        self._features: dict[tuple[str, tuple[Variable, ...]], Tensor] = {}

    def score(self, name: str, variables: tuple[Variable, ...]) -> Tensor:
        """The scores `(B,)` of a critic on a tuple of draws."""
        key = (name, variables)
        if key not in self._scores:
            self._scores[key] = self.at(name, *(self.draws[v] for v in variables))
        return self._scores[key]

    def features(self, name: str, variables: tuple[Variable, ...]) -> Tensor:
        """What a critic's last hidden layer makes of a tuple of draws, `(B, F)`."""
        key = (name, variables)
        if key not in self._features:
            given: dict[str, Any] = {} if self.draws.y is None else {"y": self.draws.y}
            inputs = (self.draws[v] for v in variables)
            self._features[key] = self.nets[name](*inputs, hidden=True, **given)
        return self._features[key]

    def seen(self) -> list[tuple[tuple[str, tuple[Variable, ...]], Tensor]]:
        """All scores so far: (critic, draws) -> scores `(B,)`."""
        return list(self._scores.items())

    def units(self, name: str) -> float:
        """Return the units of the critic's input in one unit of x: 2 for a built-in critic of pictures in [0, 1]."""
        return units_of(self.nets.get(name))

    def at(self, name: str, *inputs: Tensor) -> Tensor:
        """The scores `(B,)` of a critic at any other place."""
        given = {} if self.draws.y is None else {"y": self.draws.y}
        return self.nets[name](*inputs, **given)


@dataclass(frozen=True, kw_only=True)
class Term(ABC):
    """One comparison in the sum, to be minimised.

    Args:
        weight: the coefficient of the players' loss. What a critic minimises is not weighted.
        only: the players it may move; empty for all that its draws depend on.
    """

    weight: Weight = 1.0
    only: tuple[str, ...] = ()

    scores_codes = False  # whether it evaluates q(z|x), so that a posterior without a density will not do
    assumes_normal_prior = False  # whether it takes z for a draw of N(0, I)
    wants_whole_batches = False  # whether its critic must see a batch as a whole
    per_sample = (
        True  # whether its losses are means over the examples of a batch, so that ranks can share one
    )

    def __post_init__(self) -> None:
        if isinstance(self.weight, Tensor | Ramp):
            return
        if not 0 <= self.weight < math.inf:
            raise BadInput(f"a term's weight is {self.weight:g}; give a finite number, 0 or above")
        object.__setattr__(self, "weight", float(self.weight))

    @property
    @abstractmethod
    def name(self) -> str:
        """How the log and the command line call it, e.g. `match(x_gen, x)`."""

    @property
    @abstractmethod
    def variables(self) -> tuple[Variable, ...]:
        """The draws whose values it compares."""

    @abstractmethod
    def equation(self) -> str:
        """The term in mathematical notation, without its weight."""

    @abstractmethod
    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """What the players minimise, without its weight: `(B,)`, or a scalar."""

    def critic_losses(self, draws: Draws, critics: Critics) -> dict[str, Tensor]:
        """What its critic minimises, in parts that are logged apart: each `(B,)`, or a scalar."""
        return {}

    @property
    def critics(self) -> dict[str, tuple[str, ...]]:
        """The critics that it asks for: name -> the spaces of their arguments."""
        return {}

    @property
    def rule(self) -> Any:
        """What its critic minimises, None for a term that only asks it; terms that share a critic must agree."""
        return None

    @property
    def noise(self) -> Mapping[str, Noise]:
        """What it takes from `draws.noise`, by name."""
        return {}

    @property
    def samples(self) -> int:
        """How many codes it wants for each datum."""
        return 1

    @property
    def pack(self) -> int:
        """How many examples its critic is given at once."""
        return 1

    @property
    def laws(self) -> tuple[Variable, ...]:
        """Draws whose law it evaluates: its density, or a closed form. An implicit law has none."""
        return ()

    @property
    def players(self) -> tuple[str, ...]:
        """Who minimises it."""
        moved = {p for v in (*self.variables, *self.laws) for p in v.players}
        return tuple(p for p in PLAYERS if p in moved and (not self.only or p in self.only))

    @property
    def restricted(self) -> bool:
        """Whether it leaves a player alone on which it depends."""
        return bool(self.only) and self.players != replace(self, only=()).players

    def to(self, *players: str) -> Self:
        """The same term, minimised by these players alone.

        >>> from distmatch.terms import Distance
        >>> Distance().to("decoder").players
        ('decoder',)
        """
        for p in players:
            if p not in replace(self, only=()).players:
                raise BadInput(f"{self.name} does not depend on {p!r}, so it cannot be minimised by it alone")
        return replace(self, only=players)

    def __rmul__(self, weight: Any) -> Self:
        return replace(self, weight=weight * self.weight)

    def __add__(self, other: Term | Objective) -> Objective:
        return Objective(self) + other

    def __str__(self) -> str:
        return _weighted(self.weight) + self.equation()


T = TypeVar("T")


class _once(Generic[T]):  # noqa: N801
    """A property computed at the first look and kept.

    `functools.cached_property` holds a lock on Python 3.11, which `torch.compile(fullgraph=True)` cannot enter.
    """

    def __init__(self, compute: Callable[[Any], T]) -> None:
        self.compute = compute
        self.__doc__ = compute.__doc__

    def __get__(self, instance: Any, owner: type) -> T:
        value = self.compute(instance)
        instance.__dict__[self.compute.__name__] = value
        return value


class Objective:
    """A sum of terms, and what it asks for: draws, players, critics.

    >>> from distmatch.terms import KL, NLL
    >>> print(NLL() + 0.5 * KL())
    E[-log p(x|ẑ)] + 0.5·E KL[q(z|x) ‖ p(z)]
    """

    def __init__(self, *terms: Term, given: bool = False) -> None:
        if not terms:
            raise BadInput("an objective needs at least one term")
        for t in terms:
            if not t.players:
                raise BadInput(
                    f"{t.name} moves no player: what it compares depends on neither encoder nor decoder"
                )
        self.terms = terms
        self.given = given
        if Z_MARGINAL in self.laws and Z_PRIOR in self.variables:
            raise BadInput(
                "a term has a learned prior, and another draws z from the fixed one: "
                "leave kl(prior=learned) or the other term out"
            )
        if len({t.samples for t in terms if Z_CODE in with_parents((*t.variables, *t.laws))}) > 1:
            raise BadInput(
                "two terms want different numbers of codes for each datum: let iwae stand without other terms of ẑ"
            )
        if given and any(t.pack > 1 for t in terms):
            raise BadInput(
                "a critic of packs cannot be given the labels of their members: set pack=1, or leave '| y' out"
            )

    def __add__(self, other: Term | Objective) -> Objective:
        more = other.terms if isinstance(other, Objective) else (other,)
        given = self.given or (isinstance(other, Objective) and other.given)
        return Objective(*self.terms, *more, given=given)

    def __rmul__(self, weight: Weight) -> Objective:
        return Objective(*(weight * t for t in self.terms), given=self.given)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Objective) and (self.terms, self.given) == (other.terms, other.given)

    def __hash__(self) -> int:
        return hash((self.terms, self.given))

    def conditional(self) -> Objective:
        """The same objective given the label y, which every net then receives (CVAE, CGAN, ...)."""
        return Objective(*self.terms, given=True)

    @_once
    def names(self) -> tuple[str, ...]:
        """One name per term; a second term of the same name is numbered."""
        names: list[str] = []
        for t in self.terms:
            seen = sum(n == t.name or n.startswith(t.name + "#") for n in names)
            names.append(f"{t.name}#{seen + 1}" if seen else t.name)
        return tuple(names)

    @_once
    def variables(self) -> tuple[Variable, ...]:
        """Every draw whose value is needed, in the order in which they are made."""
        return with_parents((v for t in self.terms for v in t.variables), self.laws)

    @_once
    def laws(self) -> tuple[Variable, ...]:
        """Every draw whose law some term evaluates."""
        return tuple(dict.fromkeys(v for t in self.terms for v in t.laws))

    @_once
    def players(self) -> tuple[str, ...]:
        """The players that some term moves."""
        return tuple(p for p in PLAYERS if any(p in t.players for t in self.terms))

    @_once
    def unmoved(self) -> tuple[str, ...]:
        """The nets that its draws pass through and that no term moves: they stay as they were initialised.

        >>> from distmatch.terms import Distance
        >>> Objective(Distance().to("decoder")).unmoved
        ('encoder',)
        """
        moved = {p for t in self.terms if _ever_weighs(t.weight) for p in t.players}
        return tuple(p for p in self.uses if p not in moved)

    @_once
    def critics(self) -> dict[str, tuple[str, ...]]:
        """The critics: name -> the spaces of their arguments."""
        found: dict[str, tuple[str, ...]] = {}
        rules: dict[str, Any] = {}
        for t in self.terms:
            for name, spaces in t.critics.items():
                if t.rule is not None and rules.setdefault(name, t.rule) != t.rule:
                    raise BadInput(
                        f"critic {name!r} is asked to minimise two different losses; name one of them differently"
                    )
                if found.setdefault(name, spaces) != spaces:
                    raise BadInput(
                        f"critic {name!r} is asked to score both {found[name]} and {spaces}; "
                        "name one of them differently"
                    )
        for name in found.keys() - rules:
            raise BadInput(
                f"critic {name!r} is asked for its verdict, and no term trains it: add a match that does"
            )
        return found

    @_once
    def samples(self) -> int:
        """How many codes are drawn for each datum."""
        return max(t.samples for t in self.terms)

    @_once
    def ramps(self) -> dict[str, Ramp]:
        """The numbers that change while training goes on, by their path as in `numbers`."""
        return {f"{i}.{path}": r for i, t in enumerate(self.terms) for path, r in _leaves(t, Ramp).items()}

    @_once
    def penalties(self) -> dict[str, tuple[str, Any]]:
        """The terms that penalise their critic: term's name -> (critic, penalty)."""
        found = {n: getattr(t, "penalty", None) for n, t in zip(self.names, self.terms, strict=True)}
        critics = {n: next(iter(t.critics), "") for n, t in zip(self.names, self.terms, strict=True)}
        return {n: (critics[n], penalty) for n, penalty in found.items() if penalty is not None}

    @_once
    def groups(self) -> dict[tuple[str, ...], tuple[int, ...]]:
        """Terms that can be differentiated together: players -> positions in `terms`.

        Terms that move all that they depend on share one group, for a term's gradient is zero where it does not
        reach. A term restricted by `to` is differentiated apart, with those of the same restriction.

        >>> from distmatch.systems import vgh
        >>> vgh().groups
        {('encoder', 'decoder'): (0, 2), ('decoder',): (1,)}
        """
        found: dict[tuple[str, ...], list[int]] = {}
        for i, t in enumerate(self.terms):
            if t.players:
                found.setdefault(t.players if t.restricted else (), []).append(i)
        if () in found:
            free = found.pop(())
            reached = tuple(p for p in PLAYERS if any(p in self.terms[i].players for i in free))
            found = {reached: sorted([*free, *found.pop(reached, [])]), **found}
        return {players: tuple(terms) for players, terms in found.items()}

    @_once
    def uses(self) -> tuple[str, ...]:
        """The nets that its draws pass through, moved or not."""
        used = {p for v in (*self.variables, *self.laws) for p in v.players}
        return tuple(p for p in PLAYERS if p in used)

    @property
    def needs_likelihood(self) -> bool:
        """Whether some term evaluates the decoder's density."""
        return any(v.net == "decoder" for v in self.laws)

    def __str__(self) -> str:
        text = " + ".join(str(t) for t in self.terms)
        return f"{text}, all given y" if self.given else text

    def __repr__(self) -> str:
        return f"Objective({', '.join(map(repr, self.terms))}, given={self.given})"

    def numbers(self) -> dict[str, float | Tensor]:
        """Every number in the terms that a lane may have its own of, by its path: `"1.penalty.weight"`, ...

        >>> from distmatch.terms import KL, NLL
        >>> (NLL() + 0.5 * KL()).numbers()
        {'0.weight': 1.0, '1.weight': 0.5}
        """
        kinds = float | Tensor
        return {f"{i}.{path}": v for i, t in enumerate(self.terms) for path, v in _leaves(t, kinds).items()}

    def over(self, steps: int) -> Objective:
        """The same objective for a run of this many steps: ramps over a share of the run become ramps over steps.

        >>> from distmatch.systems import find
        >>> find("beta-vae").objective().over(1000).ramps
        {'1.weight': Ramp(start=0.0, end=4.0, steps=250, shape='linear')}
        """
        return Objective(*(over(t, steps) for t in self.terms), given=self.given)

    def with_numbers(self, numbers: Mapping[str, float | Tensor]) -> Objective:
        """The same objective with some of its numbers replaced; lanes put a tensor of their own there."""
        if not numbers:
            return self
        terms = list(self.terms)
        for path, value in numbers.items():
            i, *inner = path.split(".")
            terms[int(i)] = _replaced(terms[int(i)], inner, value)
        return Objective(*terms, given=self.given)


def _leaves(item: Any, kind: Any) -> dict[str, Any]:
    """The values of this kind that a term or a penalty holds, by their path, but for those marked static."""
    found: dict[str, Any] = {}
    for field in fields(item):
        value = getattr(item, field.name)
        if isinstance(value, kind):
            found |= {} if field.metadata.get("static") else {field.name: value}
        elif is_dataclass(value) and not isinstance(value, Ramp):
            found |= {f"{field.name}.{path}": v for path, v in _leaves(value, kind).items()}
    return found


def _replaced(item: Any, path: list[str], value: float | Tensor) -> Any:
    """As `dataclasses.replace` does, but for the constructor: the compiler of torch 2.11 cannot take its defaults."""
    name, *rest = path
    copy = object.__new__(type(item))
    for field in fields(item):
        object.__setattr__(copy, field.name, getattr(item, field.name))
    object.__setattr__(copy, name, _replaced(getattr(item, name), rest, value) if rest else value)
    if hasattr(copy, "__post_init__"):
        copy.__post_init__()
    return copy


def _ever_weighs(weight: Weight) -> bool:
    if isinstance(weight, Ramp):
        return weight.start > 0 or weight.end > 0
    return isinstance(weight, Tensor) or weight > 0


def _weighted(weight: Weight) -> str:
    if isinstance(weight, Ramp):
        return "λ(step)·"
    if isinstance(weight, Tensor):
        return "λ·"
    return "" if weight == 1 else f"{weight:g}·"
