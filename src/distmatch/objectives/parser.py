"""Objectives as text, for the command line and for configuration files: `parse` reads, `printer.unparse` writes.

>>> hybrid = parse("nll + 0.5*match(z_code, z_prior, by=wasserstein, penalty=gp(10)) + match(x_gen, x)")
>>> print(hybrid)
E[-log p(x|ẑ)] + 0.5·W₁[q(z), p(z)] + D[p(x̃) ‖ p*(x)] (critic code: penalty 10·E[(‖∇f‖ - 1)²] between)
>>> print(parse("10*distance + match((x_gen, z_prior), (x, z_code), by=non-saturating).to(decoder) | y"))
10·E‖x - x̂‖₁ + D[p(x̃, z) ‖ q(x, ẑ)], all given y

The grammar, in EBNF; white space means nothing:

    objective = sum, [ "|", "y" ] ;                            everything is given the label
    sum       = product, { "+", product } ;
    product   = { weight, "*" }, ( "(", sum, ")" | term ) ;
    weight    = number | "ramp", "(", argument, { ",", argument }, ")" ;   a ramp changes with the step
    term      = call, [ ".", "to", "(", net, { ",", net }, ")" ] ;
    call      = name, [ "(", [ argument, { ",", argument } ], ")" ] ;
    argument  = [ name, "=" ], value ;
    value     = [ "+" | "-" ], number | share | call | "(", name, { ",", name }, ")" ;
    net       = "encoder" | "decoder" | "prior" | "lens" ;
    number    = 3 | 0.5 | .5 | 1e-3 ;
    share     = number, "%" ;                                  of a run, for a length of time: ramp(0, 1, 50%)
    name      = letter, { letter | digit | "_" | "-" } ;       never ends in "-", no digit after "-"

Names are those of `TERMS`, `VARIABLES`, `COMPARISONS` and `PENALTIES`, hyphens as good as underscores; what a call
takes is read off its signature. So a term or a penalty that is added to its dict can be written at once.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from inspect import signature
from types import FunctionType
from typing import Any, NamedTuple, get_type_hints

from distmatch.errors import BadInput, unknown
from distmatch.objectives.objective import Objective
from distmatch.objectives.term import MODEL_NETS, Term
from distmatch.objectives.vocabulary import TERMS, Argument, argument_of, arguments, key_of
from distmatch.schedules import Ramp, Share

MAX_LENGTH = 10_000
MAX_DEPTH = 20
_TOKEN = re.compile(
    r"(?P<number>(\d+\.?\d*|\.\d+)(e[+-]?\d+)?)(?P<share>\s*%)?"
    r"|(?P<name>[a-z_]\w*(-[a-z_]\w*)*)|(?P<symbol>[-+*|().,=])|\s+",
    re.ASCII | re.IGNORECASE,
)
_MISPLACED = {
    ")": "this ')' closes nothing",
    "-": "terms are added, never subtracted",
    "*": "a weight is a number, and stands before its term, as in 0.5*kl",
    ".": ".to(...) follows a single term, once",
}


def parse(text: str) -> Objective:
    """The objective that a text says.

    Whatever cannot be read raises `BadInput`: a sentence with the column, the text, and a caret under it.

    >>> parse("nll + 0.5*klx")
    Traceback (most recent call last):
    ...
    distmatch.errors.BadInput: column 11: unknown term 'klx'; did you mean 'kl'? Known: ...
      nll + 0.5*klx
                ^
    """
    return _Reader(text).objective()


def read_option(build: Callable[..., Any], name: str, value: str | float | bool) -> Any:
    """Return a text, a number or a switch as an argument of a declaration, read by the argument's annotation.

    >>> from distmatch.systems import gan, vae
    >>> read_option(gan, "penalty", "r1(10)").equation(), read_option(vae, "beta", "ramp(0, 1, 1000)").end
    ('5·E[‖∇f‖²] target', 1.0)
    """
    argument = argument_of(signature(build).parameters[name], get_type_hints(build)[name])
    if isinstance(value, int | float) and argument.takes(value):
        return float(value) if argument.number == "number" else int(value)
    if isinstance(value, bool) and any(entry is value for entry in argument.names.values()):
        return value
    text = value if isinstance(value, str) else str(value).lower()
    try:
        reader = _Reader(text)
        value = reader.value(name, argument)
        if reader.token.kind != "end":
            raise reader.error(reader.token.column, f"nothing is expected after it, but {reader.token}")
        return value
    except BadInput as error:
        sentence = str(error).splitlines()[0].partition(": ")[2]
        raise BadInput(f"system.{name} cannot be {short(text)!r}: {sentence}") from None


def in_steps(text: str, steps: int) -> str:
    """The same text for a run of this many steps: each share of a run becomes a number of steps.

    >>> in_steps("nll + ramp(0, 1, 50%)*kl", 1000)
    'nll + ramp(0, 1, 500)*kl'
    """
    for token in reversed(_Reader(text).tokens):
        if token.kind == "share":
            start, end = token.column - 1, token.column - 1 + len(token.text)
            text = f"{text[:start]}{Share.read(token.text).of(steps)}{text[end:]}"
    return text


class _Token(NamedTuple):
    kind: str
    text: str
    column: int

    @property
    def key(self) -> str:
        return key_of(self.text)

    def __str__(self) -> str:
        return "the text ends" if self.kind == "end" else f"found {short(self.text)!r}"


class _Reader:
    """One pass over a text, a method for each rule of the grammar."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = list(self._split())
        self.at = 0
        self.opened: list[int] = []

    def objective(self) -> Objective:
        if self.token.kind == "end":
            raise self.error(1, "the objective is empty; write at least one term, such as nll")
        terms = self.sum()
        labels = self.take("|") is not None
        if labels and (label := self.step()).key != "y":
            raise self.error(label.column, f"only the label can be given, as in nll + kl | y, but {label}")
        if self.token.kind != "end":
            expected = "nothing after '| y'" if labels else "'+', '| y' or the end"
            sentence = _MISPLACED.get(self.token.text, f"expected {expected}, but {self.token}")
            raise self.error(self.token.column, sentence)
        owners: dict[str, Term] = {}
        for term, _ in sorted(terms, key=lambda t: t[0].rule is None):
            owners |= {critic: term for critic in term.critics if critic not in owners}
        for term, column in terms:
            with self.blaming(column):
                for critic in term.critics:
                    _ = Objective(owners[critic], term).critics

        def refused(count: int) -> bool:
            try:
                Objective(*(term for term, _ in terms[:count]), labels=labels)
            except BadInput:
                return True
            return False

        with self.blaming(terms[bisect_left(range(1, len(terms)), True, key=refused)][1]):
            return Objective(*(term for term, _ in terms), labels=labels)

    def sum(self) -> list[tuple[Term, int]]:
        terms = self.product()
        while self.take("+"):
            terms += self.product()
        return terms

    def product(self) -> list[tuple[Term, int]]:
        factors: list[tuple[float | Ramp, int]] = []
        while self.token.kind == "number" or self.token.text in ("+", "-") or self.token.key == "ramp":
            sign = self.take("+", "-")
            if sign and sign.text == "-":
                raise self.error(sign.column, "a weight cannot be negative: every term is minimised")
            column = self.token.column
            ramp = self.token.key == "ramp"
            factors.append((self.call(self.step(), Ramp) if ramp else self.number(), column))
            if not self.take("*"):
                hint = f"a weight is followed by '*' and a term, as in 0.5*kl, but {self.token}"
                raise self.error(self.token.column, hint)
        if self.take("("):
            terms = self.sum()
            self.close("'+'")
        else:
            terms = [self.term()]
        for factor, column in reversed(factors):
            terms = [(self.weighted(factor, t, column), where) for t, where in terms]
        return terms

    def weighted(self, factor: float | Ramp, term: Term, column: int) -> Term:
        if isinstance(factor, Ramp) or isinstance(term.weight, Ramp):
            if isinstance(factor, Ramp) and isinstance(term.weight, Ramp):
                raise self.error(column, "one ramp to a term: two of them cannot be multiplied")
            with self.blaming(column):
                return factor * term
        weight = factor * term.weight
        if not math.isfinite(weight) or (weight == 0 != factor and term.weight != 0):
            raise self.error(column, "the product of the weights is beyond the range of floating point")
        return replace(term, weight=weight)

    def term(self) -> tuple[Term, int]:
        name = self.step()
        if name.key in ("nan", "inf", "infinity"):
            raise self.error(name.column, f"a weight is a finite number, not {name.text}")
        if name.kind == "share":
            raise self.error(
                name.column, f"{name.text} of a run is not a weight; write a number, such as 0.5"
            )
        if name.kind != "name":
            raise self.error(name.column, f"expected a term, such as nll, but {name}")
        term: Term = self.call(name, TERMS[self.find("term", name, TERMS)])
        if self.take("."):
            if (to := self.step()).key != "to" or not self.take("("):
                raise self.error(to.column, f"expected to(...) after '.', as in {name.text}.to(decoder)")
            term = self.restricted(term)
        return term, name.column

    def restricted(self, term: Term) -> Term:
        nets: list[str] = []

        def net() -> None:
            token = self.name("a net, encoder or decoder")
            name = self.find("net", token, MODEL_NETS)
            with self.blaming(token.column):
                term.to(name)
                if name in nets:
                    raise BadInput(f"{name} is named twice")
            nets.append(name)

        self.listed(net)
        return term.to(*nets)

    def call(self, name: _Token, build: Callable[..., Any]) -> Any:
        """Return what a function or a class makes of the arguments that follow, if any do."""
        known = arguments(build)
        given: dict[str, Any] = {}

        def argument() -> None:
            parameter = self.parameter(name.text, known, given)
            given[parameter.name] = self.value(f"{parameter.name} of {name.text}", parameter)

        if self.take("("):
            if self.token.text == ")":
                self.close()
            else:
                self.listed(argument)
        if missing := [a.name for a in known.values() if a.required and a.name not in given]:
            raise self.error(name.column, f"{name.text} needs {' and '.join(missing)}")
        with self.blaming(name.column):
            return build(**given)

    def parameter(self, owner: str, known: Mapping[str, Argument], given: Mapping[str, Any]) -> Argument:
        """Return the parameter that the next argument is for: its keyword is read, its value is not."""
        token = self.token
        places = [a.name for a in known.values() if a.positional]
        keyword = token.kind == "name" and self.tokens[self.at + 1].text == "="
        if not known or (not keyword and len(given) >= len(places)):
            takes = f"only these arguments: {', '.join(known)}" if known else "no arguments"
            raise self.error(token.column, f"{owner} takes {takes}")
        if not keyword:
            if list(given) != places[: len(given)]:
                raise self.error(token.column, "an argument without a name stands before those with one")
            return known[places[len(given)]]
        self.at += 2
        name = self.find(f"argument of {owner}", token, known)
        if name in given:
            raise self.error(token.column, f"{name} of {owner} is given twice")
        return known[name]

    def value(self, what: str, argument: Argument) -> Any:
        token = self.token
        if argument.joint and self.take("("):
            joint: list[Any] = []
            self.listed(lambda: joint.append(self.named(argument, f"a {argument.word}")))
            return tuple(joint)
        if token.kind == "share" and argument.share:
            with self.blaming(token.column):
                return Share.read(self.step().text)
        if token.kind == "share":
            raise self.error(
                token.column, f"{what} is not a length of time, which alone can be a share of a run"
            )
        if token.kind != "number" and token.text not in ("+", "-"):
            one = "name" if argument.keeps and not argument.names else argument.one
            return self.named(argument, f"a {one} as {what}")
        if not argument.number:
            raise self.error(token.column, f"{what} is a name, not a number")
        sign = self.take("+", "-")
        number = self.number() * (-1 if sign and sign.text == "-" else 1)
        if argument.number == "number":
            return number
        if not argument.takes(number):
            raise self.error(token.column, f"{what} is a {argument.one}, not {number:g}")
        return int(number)

    def named(self, argument: Argument, what: str) -> Any:
        """Return what a name stands for: a constant, the result of a call, or itself."""
        token = self.name(what)
        if argument.keeps and token.key not in map(key_of, argument.names):
            return token.text
        if not argument.names or (argument.number and token.key not in map(key_of, argument.names)):
            raise self.error(token.column, f"expected {what}, but {token}")
        entry = argument.names[self.find(argument.word, token, argument.names)]
        return self.call(token, entry) if isinstance(entry, FunctionType | type) else entry

    def listed(self, read: Callable[[], None]) -> None:
        """Items parted by commas, up to and with the closing parenthesis."""
        read()
        while self.take(","):
            read()
        self.close()

    def number(self) -> float:
        token = self.step()
        if token.kind != "number":
            raise self.error(token.column, f"expected a number, but {token}")
        value = float(token.text)
        if math.isinf(value) or (value == 0 and re.match(r"[0.]*[1-9]", token.text)):
            raise self.error(token.column, f"{short(token.text)} is beyond the range of floating point")
        return value

    def name(self, what: str) -> _Token:
        if self.token.kind != "name":
            raise self.error(self.token.column, f"expected {what}, but {self.token}")
        return self.step()

    def find(self, kind: str, token: _Token, known: Mapping[str, Any] | tuple[str, ...]) -> str:
        """The known name that a token stands for."""
        names = {key_of(name): name for name in known}
        if token.key not in names:
            raise self.error(token.column, str(unknown(kind, short(token.text), known)))
        return names[token.key]

    @property
    def token(self) -> _Token:
        return self.tokens[self.at]

    def step(self) -> _Token:
        token = self.token
        self.at += token.kind != "end"
        return token

    def take(self, *symbols: str) -> _Token | None:
        """The next token if it is one of these symbols, else None; an opening one is kept in mind."""
        if self.token.kind != "symbol" or self.token.text not in symbols:
            return None
        if self.token.text == "(":
            self.opened.append(self.token.column)
            if len(self.opened) > MAX_DEPTH:
                raise self.error(self.token.column, f"more than {MAX_DEPTH} parentheses inside each other")
        return self.step()

    def close(self, expected: str = "','") -> None:
        opened = self.opened.pop()
        if self.token.kind == "end":
            raise self.error(opened, "this '(' is never closed")
        if not self.take(")"):
            better = _MISPLACED if expected == "'+'" else {}
            sentence = better.get(self.token.text, f"expected {expected} or ')', but {self.token}")
            raise self.error(self.token.column, sentence)

    def _split(self) -> Iterator[_Token]:
        if len(self.text) > MAX_LENGTH:
            sentence = f"a text of {len(self.text)} characters is too long; at most {MAX_LENGTH} are read"
            raise self.error(MAX_LENGTH + 1, sentence)
        at = 0
        while at < len(self.text):
            match = _TOKEN.match(self.text, at)
            if match is None:
                character = self.text[at]
                why = "means nothing here" if character.isascii() else "is not ASCII; write plain letters"
                raise self.error(at + 1, f"the character {character!r} {why}")
            if match.lastgroup:
                yield _Token(match.lastgroup, match.group(), at + 1)
            at = match.end()
        yield _Token("end", "", len(self.text) + 1)

    @contextmanager
    def blaming(self, column: int) -> Iterator[None]:
        """Give a column to what a term or a penalty itself refuses."""
        try:
            yield
        except ValueError as error:
            raise self.error(column, str(error)) from None

    def error(self, column: int, sentence: str) -> BadInput:
        start = max(0, column - 61)
        cut = "..." if start else ""
        shown = cut + _shown(self.text[start : start + 100])
        return BadInput(f"column {column}: {sentence}\n  {shown}\n  {' ' * (len(cut) + column - 1 - start)}^")


def short(text: str) -> str:
    """Return a text cut to what a sentence can quote."""
    return text if len(text) <= 40 else text[:40] + "..."


def _shown(text: str) -> str:
    """One place on the screen for each character, whatever it is."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in text)
