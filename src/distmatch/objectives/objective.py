"""A system's objective: a sum of terms that reads like the equation in its paper. Arithmetic makes new ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from torch import Tensor

from distmatch.errors import BadInput
from distmatch.objectives.numbers import leaves, replaced
from distmatch.objectives.term import MODEL_NETS, Term, Weight
from distmatch.objectives.variables import (
    Z_CODE,
    Z_MARGINAL,
    Z_PRIOR,
    Variable,
    with_parents,
)
from distmatch.schedules import Ramp, over

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
    """A sum of terms, and what it asks for: draws, nets, critics.

    >>> from distmatch.objectives.terms.likelihood import KL, NLL
    >>> print(NLL() + 0.5 * KL())
    E[-log p(x|ẑ)] + 0.5·E KL[q(z|x) ‖ p(z)]
    """

    def __init__(self, *terms: Term, labels: bool = False) -> None:
        if not terms:
            raise BadInput("an objective needs at least one term")
        for t in terms:
            if not t.nets:
                raise BadInput(
                    f"{t.name} moves no net: what it compares depends on neither encoder nor decoder"
                )
        self.terms = terms
        self.labels = labels
        if Z_MARGINAL in self.distributions and Z_PRIOR in self.variables:
            raise BadInput(
                "a term has a learned prior, and another draws z from the fixed one: "
                "leave kl(prior=learned) or the other term out"
            )
        if len({t.samples for t in terms if Z_CODE in with_parents((*t.variables, *t.distributions))}) > 1:
            raise BadInput(
                "two terms want different numbers of codes for each datum: let iwae stand without other terms of ẑ"
            )
        if labels and any(t.pack > 1 for t in terms):
            raise BadInput(
                "a critic of packs cannot be given the labels of their members: set pack=1, or leave '| y' out"
            )

    def __add__(self, other: Term | Objective) -> Objective:
        more = other.terms if isinstance(other, Objective) else (other,)
        labels = self.labels or (isinstance(other, Objective) and other.labels)
        return Objective(*self.terms, *more, labels=labels)

    def __rmul__(self, weight: Weight) -> Objective:
        return Objective(*(weight * t for t in self.terms), labels=self.labels)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Objective) and (self.terms, self.labels) == (other.terms, other.labels)

    def __hash__(self) -> int:
        return hash((self.terms, self.labels))

    def with_labels(self) -> Objective:
        """The same objective given the label y, which every net then receives (CVAE, CGAN, ...)."""
        return Objective(*self.terms, labels=True)

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
        return with_parents((v for t in self.terms for v in t.variables), self.distributions)

    @_once
    def distributions(self) -> tuple[Variable, ...]:
        """Every draw whose distribution some term evaluates."""
        return tuple(dict.fromkeys(v for t in self.terms for v in t.distributions))

    @_once
    def nets(self) -> tuple[str, ...]:
        """Names of the model's nets that some term moves."""
        return tuple(p for p in MODEL_NETS if any(p in t.nets for t in self.terms))

    @_once
    def unmoved(self) -> tuple[str, ...]:
        """The nets that its draws pass through and that no term moves: they stay as they were initialised.

        >>> from distmatch.objectives.terms.distance import Distance
        >>> Objective(Distance().to("decoder")).unmoved
        ('encoder',)
        """
        moved = {p for t in self.terms if _ever_weighs(t.weight) for p in t.nets}
        return tuple(p for p in self.uses if p not in moved)

    @_once
    def critics(self) -> dict[str, tuple[str, ...]]:
        """The critics: name -> the spaces of their arguments."""
        spaces_of: dict[str, tuple[str, ...]] = {}
        rules: dict[str, Any] = {}
        for t in self.terms:
            for name, spaces in t.critics.items():
                if t.rule is not None and rules.setdefault(name, t.rule) != t.rule:
                    raise BadInput(
                        f"critic {name!r} is asked to minimise two different losses; name one of them differently"
                    )
                if spaces_of.setdefault(name, spaces) != spaces:
                    raise BadInput(
                        f"critic {name!r} is asked to score both {spaces_of[name]} and {spaces}; "
                        "name one of them differently"
                    )
        for name in spaces_of.keys() - rules:
            raise BadInput(
                f"critic {name!r} is asked for its verdict, and no term trains it: add a match that does"
            )
        return spaces_of

    @_once
    def samples(self) -> int:
        """Number of codes that are drawn for each datum."""
        return max(t.samples for t in self.terms)

    @_once
    def ramps(self) -> dict[str, Ramp]:
        """The numbers that change while training goes on, by their path as in `numbers`."""
        return {f"{i}.{path}": r for i, t in enumerate(self.terms) for path, r in leaves(t, Ramp).items()}

    @_once
    def penalties(self) -> dict[str, tuple[str, Any]]:
        """The terms that penalise their critic: term's name -> (critic, penalty)."""
        penalties = {n: getattr(t, "penalty", None) for n, t in zip(self.names, self.terms, strict=True)}
        critics = {n: next(iter(t.critics), "") for n, t in zip(self.names, self.terms, strict=True)}
        return {n: (critics[n], penalty) for n, penalty in penalties.items() if penalty is not None}

    @_once
    def groups(self) -> dict[tuple[str, ...], tuple[int, ...]]:
        """Terms that can be differentiated together: nets -> positions in `terms`.

        Terms that move all that they depend on share one group, for a term's gradient is zero where it does not
        reach. A term restricted by `to` is differentiated apart, with those of the same restriction.

        >>> from distmatch.systems import vgh
        >>> vgh().groups
        {('encoder', 'decoder'): (0, 2), ('decoder',): (1,)}
        """
        groups: dict[tuple[str, ...], list[int]] = {}
        for i, t in enumerate(self.terms):
            if t.nets:
                groups.setdefault(t.nets if t.restricted else (), []).append(i)
        if () in groups:
            free = groups.pop(())
            reached = tuple(p for p in MODEL_NETS if any(p in self.terms[i].nets for i in free))
            groups = {reached: sorted([*free, *groups.pop(reached, [])]), **groups}
        return {nets: tuple(terms) for nets, terms in groups.items()}

    @_once
    def uses(self) -> tuple[str, ...]:
        """The nets that its draws pass through, moved or not."""
        used = {p for v in (*self.variables, *self.distributions) for p in v.nets}
        return tuple(p for p in MODEL_NETS if p in used)

    @property
    def needs_likelihood(self) -> bool:
        """True where some term evaluates the decoder's density."""
        return any(v.net == "decoder" for v in self.distributions)

    def __str__(self) -> str:
        text = " + ".join(str(t) for t in self.terms)
        told = [f"critic {next(iter(t.critics))}: {', '.join(t.clauses)}" for t in self.terms if t.clauses]
        text += f" ({'; '.join(told)})" if told else ""
        return f"{text}, all given y" if self.labels else text

    def __repr__(self) -> str:
        return f"Objective({', '.join(map(repr, self.terms))}, labels={self.labels})"

    def numbers(self) -> dict[str, float | Tensor]:
        """Every number in the terms that a lane may have its own of, by its path: `"1.penalty.weight"`, ...

        >>> from distmatch.objectives.terms.likelihood import KL, NLL
        >>> (NLL() + 0.5 * KL()).numbers()
        {'0.weight': 1.0, '1.weight': 0.5}
        """
        kinds = float | Tensor
        return {f"{i}.{path}": v for i, t in enumerate(self.terms) for path, v in leaves(t, kinds).items()}

    def over(self, steps: int) -> Objective:
        """The same objective for a run of this many steps: ramps over a share of the run become ramps over steps.

        >>> from distmatch.systems import find
        >>> find("beta-vae").objective().over(1000).ramps
        {'1.weight': Ramp(start=0.0, end=4.0, steps=250, shape='linear')}
        """
        return Objective(*(over(t, steps) for t in self.terms), labels=self.labels)

    def with_numbers(self, numbers: Mapping[str, float | Tensor]) -> Objective:
        """The same objective with some of its numbers replaced; lanes put a tensor of their own there."""
        if not numbers:
            return self
        terms = list(self.terms)
        for path, value in numbers.items():
            i, *inner = path.split(".")
            terms[int(i)] = replaced(terms[int(i)], inner, value)
        return Objective(*terms, labels=self.labels)


def _ever_weighs(weight: Weight) -> bool:
    if isinstance(weight, Ramp):
        return weight.start > 0 or weight.end > 0
    return isinstance(weight, Tensor) or weight > 0
