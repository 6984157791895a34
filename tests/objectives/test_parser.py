"""Objectives as text: what is read, what is refused and where, and that writing and reading are inverse."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from distmatch.errors import BadInput
from distmatch.objectives import parser as grammar
from distmatch.objectives.comparisons import (
    COMPARISONS,
    GENERATOR_LOSSES,
    HINGE,
    LEAST_SQUARES,
    LSIF,
    NON_SATURATING,
    REVERSE_KL,
    WASSERSTEIN,
)
from distmatch.objectives.objective import Objective
from distmatch.objectives.parser import MAX_DEPTH, MAX_LENGTH, parse
from distmatch.objectives.penalties import PENALTIES, clipping, gradient_penalty, roth
from distmatch.objectives.printer import unparse
from distmatch.objectives.term import Term
from distmatch.objectives.terms.distance import Distance
from distmatch.objectives.terms.likelihood import IWAE, KL, NLL, TargetRate
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import VARIABLES, X_GEN, X_LENS, X_REC, Z_CODE, Z_PRIOR, X
from distmatch.objectives.vocabulary import TERMS
from distmatch.schedules import SHAPES, Ramp, Share
from distmatch.systems import SYSTEMS

ONE = Objective(Match(X_GEN, X))


def refusal(text: str) -> str | None:
    """What is said against a text; None if it is read, and then it can be written and read back too."""
    try:
        objective = parse(text)
    except BadInput as error:
        return str(error)
    assert parse(unparse(objective)) == objective
    return None


READ: dict[str, Objective] = {
    "nll": Objective(NLL()),
    "nll()": Objective(NLL()),
    "(nll)": Objective(NLL()),
    "((nll) + (kl))": NLL() + KL(),
    "nll + 0.5*kl": NLL() + 0.5 * KL(),
    "nll+.5*kl": NLL() + 0.5 * KL(),
    "1.*nll + 5e-1*kl": NLL() + 0.5 * KL(),
    "1E+1*nll + +2*kl": 10.0 * NLL() + 2.0 * KL(),
    "0*nll + 0.0*kl": 0.0 * NLL() + 0.0 * KL(),
    "2*3*kl": Objective(6.0 * KL()),
    "2*(nll + 3*kl)": 2.0 * NLL() + 6.0 * KL(),
    "2*(3*(nll + kl) + 0.5*nll) + kl": Objective(6.0 * NLL(), 6.0 * KL(), 1.0 * NLL(), KL()),
    "nll + (kl + nll)": Objective(NLL(), KL(), NLL()),
    "nll + kl | y": (NLL() + KL()).with_labels(),
    "2*(nll + kl)|Y": (2.0 * (NLL() + KL())).with_labels(),
    "distance": Objective(Distance(X, X_REC, order=1)),
    "distance(x, x_rec, 2)": Objective(Distance(X, X_REC, order=2)),
    "distance(order=2, second=z_prior, first=z_code)": Objective(Distance(Z_CODE, Z_PRIOR, order=2)),
    "distance(order=2.0)": Objective(Distance(order=2)),
    "match(x_gen, x)": ONE,
    "match(model=x_gen, target=x)": ONE,
    "match(target=x, model=x_gen)": ONE,
    "match((x_gen), (x))": ONE,
    "Match(X_GEN, X)": ONE,
    "match(x-gen, x)": ONE,
    "match(x_gen, x, by=non-saturating)": ONE,
    "match(x_gen, x, by=non_saturating)": ONE,
    "match(x_gen, x, critic=data, penalty=none)": ONE,
    "match(x_gen, x, least-squares)": Objective(Match(X_GEN, X, by=LEAST_SQUARES)),
    "match(x_gen, x, hinge, my-Critic)": Objective(Match(X_GEN, X, by=HINGE, critic="my-Critic")),
    "match(x_gen, x, hinge, c, gp)": Objective(Match(X_GEN, X, HINGE, "c", gradient_penalty())),
    "match(x_gen, x, penalty=gp())": Objective(Match(X_GEN, X, penalty=gradient_penalty())),
    "match(x_gen, x, penalty=gp(5, 0, model))": Objective(
        Match(X_GEN, X, penalty=gradient_penalty(5.0, 0.0, "model"))
    ),
    "match(x_gen, x, penalty=gp(weight=10, centre=0, place=target))": Objective(
        Match(X_GEN, X, penalty=gradient_penalty(10.0, 0.0, "target"))
    ),
    "match(x_gen, x, by=wasserstein, penalty=clip(0.01))": Objective(
        Match(X_GEN, X, by=WASSERSTEIN, penalty=clipping(0.01))
    ),
    "match((x_gen, z_prior), (x, z_code), critic=joint).to(decoder)": Objective(
        Match((X_GEN, Z_PRIOR), (X, Z_CODE), critic="joint").to("decoder")
    ),
    "nll.to(decoder, encoder)": Objective(NLL().to("decoder", "encoder")),
    "2*nll.to(encoder) + kl.to(encoder)": 2.0 * NLL().to("encoder") + KL().to("encoder"),
    "nll + 0.5*match(z_code, z_prior, by=wasserstein, penalty=gp(10)) + match(x_gen, x)": (
        NLL() + 0.5 * Match(Z_CODE, Z_PRIOR, WASSERSTEIN, penalty=gradient_penalty(10.0)) + Match(X_GEN, X)
    ),
    "match(x_gen, x) + match(x_rec, x)": Match(X_GEN, X) + Match(X_REC, X),
    "nll(x_rec) + kl(standard)": NLL() + KL(),
    "nll(x_gen)": Objective(NLL(X_GEN)),
    "nll + ramp(0, 1, 1000)*kl(prior=learned)": NLL() + Ramp(0, 1, 1000) * KL(prior="learned"),
    "target-rate(8) + target_rate(ramp(0, 8, 10, sine), learned)": TargetRate(8.0)
    + TargetRate(Ramp(0, 8, 10, "sine"), "learned"),
    "iwae + 2*iwae(5, prior=standard)": IWAE(5) + 2.0 * IWAE(5),
    "match(x_gen, x, by=lsif, generator=kl, pack=2, instance_noise=0.1)": Objective(
        Match(X_GEN, X, by=LSIF, generator=GENERATOR_LOSSES["kl"], pack=2, instance_noise=0.1)
    ),
    "match(x_gen, x, instance_noise=ramp(1, 0, 10), generator=none)": Objective(
        Match(X_GEN, X, instance_noise=Ramp(1, 0, 10))
    ),
    "match(x_rec, x, teach=false) + match(x_gen, x, teach=true)": Match(X_REC, X, teach=False)
    + Match(X_GEN, X),
    "match(x_gen, x, penalty=r1(4))": Objective(
        Match(X_GEN, X, penalty=gradient_penalty(2.0, 0.0, "target"))
    ),
    "match(x_gen, x, penalty=roth(ramp(2, 0, 10)))": Objective(Match(X_GEN, X, penalty=roth(Ramp(2, 0, 10)))),
    "match(x_gen, x, penalty=dragan)": Objective(
        Match(X_GEN, X, penalty=gradient_penalty(10.0, 1.0, "around"))
    ),
    "match(x_gen, x_lens).to(lens)": Objective(Match(X_GEN, X_LENS).to("lens")),
}


@pytest.mark.parametrize("text", READ)
def test_reads(text: str) -> None:
    assert parse(text) == READ[text]


@pytest.mark.parametrize("text", READ)
def test_white_space_means_nothing(text: str) -> None:
    tokens = [t.text for t in grammar._Reader(text).tokens]
    assert parse("".join(tokens)) == READ[text]
    assert parse(" \n\t".join(["", *tokens, ""])) == READ[text]


def test_numbers_become_the_kind_that_is_declared() -> None:
    term = parse("2*match(x_gen, x, penalty=gp(10, 1)) + distance(order=2)").terms
    assert isinstance(term[0], Match)
    assert isinstance(term[1], Distance)
    assert type(term[0].weight) is float
    assert type(term[0].penalty.weight) is float  # type: ignore[union-attr]
    assert type(term[1].order) is int
    found = parse("match(x_gen, x, penalty=gp(10, 1))").numbers()
    assert found == {"0.weight": 1.0, "0.penalty.weight": 10.0}


# (text, column, what the sentence holds)
REFUSED: list[tuple[str, int, str]] = [
    ("", 1, "the objective is empty; write at least one term"),
    (" \n ", 1, "empty"),
    # unknown names
    ("nll + klx", 7, "unknown term 'klx'; did you mean 'kl'? Known: "),
    ("nll-kl", 1, "unknown term 'nll-kl'"),
    ("vae", 1, "unknown term 'vae'"),
    ("match(x_gn, x)", 7, "unknown variable 'x_gn'; did you mean 'x_gen'?"),
    ("match(x_gen, (x, z_cod))", 18, "unknown variable 'z_cod'; did you mean 'z_code'?"),
    ("match(x_gen, x, by=wassertein)", 20, "unknown comparison 'wassertein'; did you mean 'wasserstein'?"),
    ("match(x_gen, x, by=gp(3))", 20, "unknown comparison 'gp'"),
    ("match(x_gen, x, by=none)", 20, "unknown comparison 'none'"),
    ("match(x_gen, x, penalty=gq(3))", 25, "unknown penalty 'gq'; did you mean 'gp'?"),
    (
        "match(x_gen, x, penalty=hinge)",
        25,
        "unknown penalty 'hinge'; Known: clip, dragan, gp, none, r1, r2, roth",
    ),
    ("match(x_gen, x, penalty=gp(place=targe))", 34, "unknown place 'targe'; did you mean 'target'?"),
    ("match(x_gen, x, penaltie=gp)", 17, "unknown argument of match 'penaltie'; did you mean 'penalty'?"),
    ("match(x_gen, x, penalty=gp(wight=3))", 28, "unknown argument of gp 'wight'; did you mean 'weight'?"),
    ("match(x_gen, x, weight=2)", 17, "unknown argument of match 'weight'"),
    ("match(x_gen, x, only=encoder)", 17, "unknown argument of match 'only'"),
    ("nll.to(decodr)", 8, "unknown net 'decodr'; did you mean 'decoder'?"),
    # arguments
    ("match", 1, "match needs model and target"),
    ("match()", 1, "match needs model and target"),
    ("nll + match(x_gen)", 7, "match needs target"),
    ("nll(3)", 5, "model of nll is a name, not a number"),
    ("nll(x_rec, x)", 12, "nll takes only these arguments: model"),
    ("kl(weight=2)", 4, "unknown argument of kl 'weight'; Known: prior"),
    ("kl(prior=flat)", 10, "unknown prior 'flat'; Known: learned, standard"),
    ("target_rate", 1, "target_rate needs target"),
    ("iwae(2.5)", 6, "samples of iwae is a whole number, not 2.5"),
    ("match(x_gen, x, generator=kll)", 27, "unknown generator loss 'kll'; did you mean 'kl'?"),
    ("match(x_gen, x, pack=two)", 22, "expected a whole number as pack of match, but found 'two'"),
    ("match(x_gen, x, teach=no)", 23, "unknown switch 'no'; Known: false, true"),
    (
        "distance(x, x_rec, 1, sum, 2)",
        28,
        "distance takes only these arguments: first, second, order, reduction",
    ),
    ("match(x_gen, x, by=hinge, by=hinge)", 27, "by of match is given twice"),
    ("match(x_gen, x, model=x)", 17, "model of match is given twice"),
    ("match(target=x, x_gen)", 17, "an argument without a name stands before those with one"),
    ("match(x_gen, by=hinge, x)", 24, "an argument without a name"),
    ("match(x_gen, x, by=)", 20, "expected a comparison as by of match, but found ')'"),
    ("match(x_gen, x, =hinge)", 17, "expected a comparison as by of match, but found '='"),
    ("match(x_gen, x, critic=)", 24, "expected a name as critic of match"),
    ("match(x_gen, x, by=hinge(3))", 25, "expected ',' or ')', but found '('"),
    # a number for a name, a name for a number
    ("distance(1, x)", 10, "first of distance is a name, not a number"),
    ("match(x_gen, x, by=3)", 20, "by of match is a name, not a number"),
    ("match(x_gen, x, critic=3)", 24, "critic of match is a name, not a number"),
    ("match(x_gen, x, penalty=-3)", 25, "penalty of match is a name, not a number"),
    ("match(x_gen, x, penalty=gp(ten))", 28, "expected a number or ramp as weight of gp, but found 'ten'"),
    (
        "match(x_gen, x, instance_noise=big)",
        32,
        "expected a number or ramp or none as instance_noise of match, but found 'big'",
    ),
    ("match(x_gen, x, penalty=gp(-))", 29, "expected a number, but found ')'"),
    ("distance(order=one)", 16, "expected a whole number as order of distance, but found 'one'"),
    ("distance(order=1.5)", 16, "order of distance is a whole number, not 1.5"),
    ("distance(order=1e300)", 16, "order of distance is a whole number"),
    ("match(x_gen, x, penalty=clip(nan))", 30, "expected a number or ramp as bound of clip, but found 'nan'"),
    ("match(x_gen, x, penalty=clip(1e999))", 30, "1e999 is beyond the range of floating point"),
    # punctuation
    ("match(x_gen x)", 13, "expected ',' or ')', but found 'x'"),
    ("match(x_gen, x + kl)", 16, "expected ',' or ')', but found '+'"),
    ("match(x_gen, x", 6, "this '(' is never closed"),
    ("match(x_gen, x, penalty=gp(10", 27, "this '(' is never closed"),
    ("2*(nll + kl", 3, "this '(' is never closed"),
    ("match((x_gen, z_prior, (x, z_code))", 24, "expected a variable, but found '('"),
    ("match((x_gen", 7, "this '(' is never closed"),
    ("match(x_gen,", 13, "expected a variable as target of match, but the text ends"),
    ("(", 2, "expected a term, such as nll, but the text ends"),
    ("()", 2, "expected a term, such as nll, but found ')'"),
    (")", 1, "expected a term"),
    ("nll + kl)", 9, "this ')' closes nothing"),
    ("match((), x)", 8, "expected a variable, but found ')'"),
    ("match((x_gen,), x)", 14, "expected a variable"),
    ("match(((x)), x)", 8, "expected a variable, but found '('"),
    ("distance((x, x), x)", 10, "expected a variable as first of distance, but found '('"),
    # sums and weights
    ("nll +", 6, "expected a term, such as nll, but the text ends"),
    ("+", 2, "expected a number, but the text ends"),
    ("nll ++ kl", 8, "expected a number, but found 'kl'"),
    ("nll nll", 5, "expected '+', '| y' or the end, but found 'nll'"),
    ("nll 0.5*kl", 5, "expected '+', '| y' or the end, but found '0.5'"),
    ("nll, kl", 4, "expected '+', '| y' or the end, but found ','"),
    ("(nll kl)", 6, "expected '+' or ')', but found 'kl'"),
    ("nll - kl", 5, "terms are added, never subtracted"),
    ("(nll - 0.5*kl)", 6, "terms are added, never subtracted"),
    ("nll-0.5*kl", 4, "terms are added, never subtracted"),
    ("nll + -0.5*kl", 7, "a weight cannot be negative: every term is minimised"),
    ("-kl", 1, "a weight cannot be negative"),
    ("2*-3*kl", 3, "a weight cannot be negative"),
    ("kl*2", 3, "a weight is a number, and stands before its term"),
    ("nll*kl", 4, "a weight is a number, and stands before its term"),
    ("(nll*kl)", 5, "a weight is a number, and stands before its term"),
    ("2kl", 2, "a weight is followed by '*' and a term, as in 0.5*kl, but found 'kl'"),
    ("1_0*kl", 2, "a weight is followed by '*'"),
    ("0x1*kl", 2, "a weight is followed by '*'"),
    ("nll + 5", 8, "a weight is followed by '*' and a term, as in 0.5*kl, but the text ends"),
    ("2*", 3, "expected a term"),
    ("2**kl", 3, "expected a term, such as nll, but found '*'"),
    ("nan*kl", 1, "a weight is a finite number, not nan"),
    ("nll + Infinity*kl", 7, "a weight is a finite number, not Infinity"),
    ("nll + inf * kl", 7, "a weight is a finite number, not inf"),
    ("1e999*kl", 1, "1e999 is beyond the range of floating point"),
    ("nll + 2*0.01e-999*kl", 9, "0.01e-999 is beyond the range of floating point"),
    ("1e300*(nll + 1e300*kl)", 1, "the product of the weights is beyond the range"),
    ("1e-300*1e-300*kl", 1, "the product of the weights is beyond the range"),
    # nets, and the label
    ("kl.to(decoder)", 7, "kl does not depend on 'decoder'"),
    ("match(x_gen, x).to(decoder, encoder)", 29, "match(x_gen, x) does not depend on 'encoder'"),
    ("nll.to(encoder, encoder)", 17, "encoder is named twice"),
    ("nll.to()", 8, "expected a net, encoder or decoder, but found ')'"),
    ("nll.to(3)", 8, "expected a net"),
    ("nll.to", 5, "expected to(...) after '.', as in nll.to(decoder)"),
    ("nll.into(encoder)", 5, "expected to(...) after '.'"),
    ("nll.", 5, "expected to(...) after '.'"),
    ("nll.to(encoder decoder)", 16, "expected ',' or ')', but found 'decoder'"),
    ("nll.to(encoder", 7, "this '(' is never closed"),
    ("nll.to(encoder).to(decoder)", 16, ".to(...) follows a single term, once"),
    ("2*(nll + kl).to(encoder)", 13, ".to(...) follows a single term, once"),
    ("nll | z", 7, "only the label can be given, as in nll + kl | y, but found 'z'"),
    ("nll |", 6, "only the label can be given"),
    ("nll | y | y", 9, "expected nothing after '| y', but found '|'"),
    ("nll | y + kl", 9, "expected nothing after '| y', but found '+'"),
    ("(nll | y)", 6, "expected '+' or ')', but found '|'"),
    ("| y", 1, "expected a term"),
    # what the terms and penalties themselves refuse
    ("nll + distance(x, z_code)", 7, "no distance between x and z_code: they live in different spaces"),
    ("2*distance(order=3)", 3, "a distance has order 1 or 2, not 3"),
    ("match((x, z_code), (z_prior, x_gen))", 1, "cannot match (x, z_code) with (z_prior, x_gen)"),
    ("match(x_gen, x, penalty=clip(-1))", 25, "the bound of a penalty is -1"),
    ("match(x_gen, x, critic=a) + match(z_code, z_prior, critic=a)", 29, "critic 'a' is asked to score both"),
    ("nll(z_code)", 1, "a likelihood is of x_rec"),
    ("kl + 2*target_rate(-1)", 8, "a target rate is -1; give a finite number of nats, 0 or above"),
    ("iwae(1)", 1, "iwae has 1 samples; give at least 2"),
    ("match(x_gen, x, pack=0)", 1, "a critic is given 0 samples at once"),
    ("match(x_gen, x, instance_noise=-1)", 1, "instance noise is -1"),
    ("match(x_gen, x, by=wasserstein, generator=kl)", 1, "the critic of wasserstein holds no density ratio"),
    ("match(x_gen, x, teach=false, penalty=r1)", 1, "does not teach its critic, so it cannot penalise it"),
    # what an objective refuses, at the term that is one too many
    (
        "match(x_rec, x) + match(x_gen, x, by=hinge)",
        19,
        "critic 'data' is asked to minimise two different losses",
    ),
    (
        "nll + match(x_gen, x, teach=false)",
        7,
        "critic 'data' is asked for its verdict, and no term trains it",
    ),
    ("kl + 2*iwae(5)", 8, "two terms want different numbers of codes for each datum"),
    ("nll(x_gen) + match(x_gen, x) + iwae(2) + kl + kl", 42, "two terms want different numbers of codes"),
    ("nll + kl(learned) + match(x_gen, x) + nll", 21, "another draws z from the fixed one"),
    ("nll + match(x_gen, x, pack=2) + kl | y", 7, "a critic of packs cannot be given the labels"),
    ("nll + match(x, x)", 7, "is matched with itself"),
    # characters
    ("nll + β*kl", 7, "the character 'β' is not ASCII; write plain letters"),
    ("nll + 0.5·kl", 10, "the character '·' is not ASCII"),
    ("nll + \u212al", 7, "is not ASCII"),  # Kelvin, which folds to k
    ("nll +\u00a0kl", 6, "is not ASCII"),
    ("٣*kl", 1, "is not ASCII"),
    ("nll + \udc80", 7, "the character '\\udc80' is not ASCII"),
    ("nll / 2", 5, "the character '/' means nothing here"),
    ("nll; import os", 4, "the character ';' means nothing here"),
    ("__import__('os')", 12, 'the character "\'" means nothing here'),
    ("nll + \x1b[31m", 7, "the character '\\x1b' means nothing here"),
    ("nll\x00", 4, "means nothing here"),
]


@pytest.mark.parametrize(("text", "column", "words"), REFUSED)
def test_refuses_with_column_and_caret(text: str, column: int, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse(text)
    assert type(caught.value) is BadInput
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    sentence, shown, caret = str(caught.value).split("\n")
    assert words in sentence
    assert sentence.startswith(f"column {column}: ")
    assert caret == " " * (2 + column - 1) + "^"
    assert shown.startswith("  ")
    assert len(shown) == 2 + len(text)
    assert all(a == b for a, b in zip(shown[2:], text, strict=True) if b.isprintable())
    assert shown.isprintable()
    str(caught.value).encode()


def test_a_long_text_is_shown_around_the_place() -> None:
    text = "nll" + " + kl" * 100 + " + kx" + " + kl" * 100
    with pytest.raises(BadInput, match="unknown term 'kx'") as caught:
        parse(text)
    sentence, shown, caret = str(caught.value).split("\n")
    assert sentence.startswith(f"column {text.index('kx') + 1}: ")
    assert max(len(shown), len(caret)) <= 110
    assert shown[caret.index("^") :].startswith("kx")


def test_a_long_name_is_cut_in_the_sentence() -> None:
    with pytest.raises(BadInput, match=r"unknown term 'a{40}\.\.\.'") as caught:
        parse("a" * 9000)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("open_", ["(", "2*(", "2*(nll + ", "match(", "nll.to(", "match(x, x, penalty=gp("])
def test_depth_and_length_are_limited(open_: str) -> None:
    for times in (30, 1000, MAX_LENGTH // len(open_), MAX_LENGTH):
        with pytest.raises(BadInput):
            parse(open_ * times)


def test_the_limits_are_where_they_are_said_to_be() -> None:
    assert parse("(" * MAX_DEPTH + "nll" + ")" * MAX_DEPTH) == Objective(NLL())
    with pytest.raises(BadInput, match=f"column {MAX_DEPTH + 1}: more than {MAX_DEPTH} parentheses inside"):
        parse("(" * (MAX_DEPTH + 1) + "nll" + ")" * (MAX_DEPTH + 1))
    assert parse("(nll) + " * (2 * MAX_DEPTH) + "nll").terms == (NLL(),) * (2 * MAX_DEPTH + 1)
    assert parse("nll".ljust(MAX_LENGTH)) == Objective(NLL())
    with pytest.raises(
        BadInput, match=f"column {MAX_LENGTH + 1}: a text of {MAX_LENGTH + 1} characters is too"
    ):
        parse("nll".ljust(MAX_LENGTH + 1))


def test_the_longest_texts_are_read_in_seconds_and_without_recursion() -> None:
    texts = ["kl+" * (MAX_LENGTH // 3 - 1) + "kl", "1*" * (MAX_LENGTH // 2 - 1) + "kl"]
    texts += ["9" * MAX_LENGTH, "9" * 5000 + "*kl", "a-" * (MAX_LENGTH // 2), "1e" * (MAX_LENGTH // 2)]
    for text in texts:
        before = time.process_time()
        with suppress(BadInput):
            parse(text)
        assert time.process_time() - before < 10


# Writing.


OTHERS: dict[str, list[Any]] = {
    "by": ["hinge", "lsif"],
    "generator": ["kl", "reverse_kl"],
    "penalty": ["gp(3)", "r1", "roth(3)", "clip(0.1)"],
    "instance_noise": [0.3, "ramp(1, 0, 10)"],
    "beta": [0.3, "ramp(0, 1, 10)"],
    "prior": ["learned"],
    "kernel": ["rbf", "imq"],
    "average": ["element", "output"],
    "cycle": ["adversarial", "distance"],
}


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_system_has_a_text(name: str) -> None:
    objective = SYSTEMS[name].objective()
    assert parse(unparse(objective)) == objective
    for option, default in SYSTEMS[name].options.items():
        for other in OTHERS.get(option, [not default if isinstance(default, bool) else 3]):
            try:
                changed = SYSTEMS[name].objective(**{option: other})
            except BadInput:
                continue
            assert parse(unparse(changed)) == changed


@pytest.mark.parametrize(
    ("objective", "text"),
    [
        (NLL() + KL(), "nll + kl"),
        (0.5 * (NLL() + KL()), "0.5*nll + 0.5*kl"),
        (1e-5 * NLL() + 1e22 * KL(), "1e-05*nll + 1e+22*kl"),
        (Objective(Distance(order=2)), "distance(x, x_rec, order=2)"),
        (Objective(Match(X_GEN, X, critic="data")), "match(x_gen, x)"),
        (Objective(Match(X_GEN, X, critic="other")), "match(x_gen, x, critic=other)"),
        (
            Objective(Match((X_GEN, Z_PRIOR), (X, Z_CODE), penalty=gradient_penalty(1, 0, "target"))),
            "match((x_gen, z_prior), (x, z_code), penalty=gp(1, centre=0, place=target))",
        ),
        (
            (3.0 * Match(X_GEN, X, by=REVERSE_KL, penalty=clipping()).to("decoder") + KL()).with_labels(),
            "3*match(x_gen, x, by=reverse_kl, penalty=clip(0.01)).to(decoder) + kl | y",
        ),
        (Objective(replace(NLL(), weight=np.float64(0.5))), "0.5*nll"),
        (Objective(replace(NLL(), weight=-0.0)), "0*nll"),
        (Objective(NLL(X_GEN)), "nll(x_gen)"),
        (NLL() + Ramp(0, 1, 9) * KL(prior="learned"), "nll + ramp(0, 1, 9)*kl(learned)"),
        (Objective(IWAE(3)), "iwae(3)"),
        (NLL() + 0.5 * TargetRate(8.0), "nll + 0.5*target_rate(8)"),
        (
            Objective(Match(X_GEN, X, by=LSIF, generator=GENERATOR_LOSSES["kl"], pack=2, instance_noise=0.5)),
            "match(x_gen, x, by=lsif, generator=kl, pack=2, instance_noise=0.5)",
        ),
        (
            Match(X_GEN, X, penalty=roth(3.0)) + Match(X_REC, X, teach=False),
            "match(x_gen, x, penalty=roth(3)) + match(x_rec, x, teach=false)",
        ),
    ],
)
def test_writes_as_one_would_by_hand(objective: Objective, text: str) -> None:
    assert unparse(objective) == text
    assert parse(text) == objective


@dataclass(frozen=True)
class Foreign(KL):
    """A term that the grammar has not heard of."""


@pytest.mark.parametrize(
    ("term", "words"),
    [
        (torch.tensor(2.0) * KL(), "holds a tensor"),
        (torch.ones(3) * KL(), "holds a tensor"),
        (Match(X_GEN, X, penalty=gradient_penalty(torch.ones(3))), "holds a tensor"),
        (Foreign(), "its Foreign has no name here"),
        (Match(X_GEN, X, by=replace(WASSERSTEIN, name="mine")), "its Comparison has no name here"),
        (Match(X_GEN, X, critic="two words"), "expected ',' or '\\)'"),
        (Match(X_GEN, X, critic="3"), "critic of match is a name"),
        (Match(X_GEN, X, critic="c, penalty=gp(10)"), "says something else"),
        (Distance(replace(X_GEN, name="xx"), X), "its Variable has no name here"),
    ],
)
def test_refuses_to_write_what_cannot_be_read(term: Term, words: str) -> None:
    with pytest.raises(BadInput, match=words) as caught:
        unparse(Objective(term))
    assert "\n" not in str(caught.value)
    assert "cannot be written as text" in str(caught.value)


def test_refuses_to_write_what_is_too_long() -> None:
    with pytest.raises(BadInput, match=r"cannot be written as text: .* is too long"):
        unparse(Objective(*[KL()] * MAX_LENGTH))


# The inverse, over random objectives.

NUMBERS = st.floats(0, sys.float_info.max) | st.integers(0, 1000).map(float)
VISIBLE = [v for v in VARIABLES.values() if v.space == "x"]
LATENT = [v for v in VARIABLES.values() if v.space == "z"]


def drawn(space: str) -> st.SearchStrategy[Any]:
    return st.sampled_from(VISIBLE if space == "x" else LATENT)


FACTORS = st.floats(0, 1e150) | st.integers(0, 1000).map(float)
TIMES = st.integers(1, 2**53) | st.builds(Share, st.floats(0, 1, exclude_min=True))
ABOVE = st.floats(1e-100, 1e150)
RAMPS = st.builds(
    Ramp, FACTORS, FACTORS, TIMES, st.sampled_from([s for s in SHAPES if s != "exponential"])
) | st.builds(Ramp, ABOVE, ABOVE, TIMES, st.just("exponential"))
PRIORS = st.sampled_from(["standard", "learned"])
PLACES = st.sampled_from(["between", "target", "model", "around"])
PENALISED: list[st.SearchStrategy[Any]] = [
    st.builds(gradient_penalty, NUMBERS | RAMPS, NUMBERS, PLACES),
    st.builds(clipping, st.floats(0, 1e9, exclude_min=True) | RAMPS),
    *(st.builds(PENALTIES[n], FACTORS | RAMPS) for n in ("r1", "r2", "dragan", "roth")),
]


@st.composite
def matches(draw: st.DrawFn) -> Term:
    spaces = draw(st.text("xz", min_size=1, max_size=3))
    model, target = (tuple(draw(drawn(s)) for s in spaces) for _ in range(2))
    assume(model != target)
    by = draw(st.sampled_from(list(COMPARISONS.values())))
    critic = draw(st.sampled_from(["", "none", "by", "x", "inf", "Critic-", "c_2"]))
    rule = [c.critic for c in COMPARISONS.values()].index(by.critic)  # a critic minimises one loss
    pack = draw(st.integers(1, 3))
    teach = draw(st.booleans())
    return Match(
        model,
        target,
        by,
        critic=f"{critic}{spaces}{rule}_{pack}" if critic or rule or pack > 1 else "",
        penalty=draw(st.none() | st.one_of(PENALISED)) if teach else None,
        generator=draw(st.none() | st.sampled_from(list(GENERATOR_LOSSES.values())))
        if by.log_ratio
        else None,
        pack=pack,
        instance_noise=draw(st.none() | NUMBERS | RAMPS),
        teach=teach,
    )


@st.composite
def distances(draw: st.DrawFn) -> Term:
    space = draw(st.sampled_from("xz"))
    how = draw(st.sampled_from([1, 2])), draw(st.sampled_from(["sum", "mean"]))
    return Distance(draw(drawn(space)), draw(drawn(space)), *how)


@st.composite
def terms(draw: st.DrawFn) -> Term:
    kinds: list[st.SearchStrategy[Term]] = [
        st.builds(NLL, st.sampled_from([X_REC, X_GEN])),
        st.builds(KL, PRIORS),
        st.builds(TargetRate, NUMBERS | RAMPS, PRIORS),
        st.builds(IWAE, st.integers(2, 9), PRIORS),
        distances(),
        matches(),
        matches(),
    ]
    term = draw(st.one_of(kinds))
    assume(term.nets)
    nets = draw(st.permutations(term.nets))
    term = term.to(*nets[: draw(st.integers(0, len(nets)))])
    return draw(FACTORS | RAMPS) * term


@st.composite
def objectives(draw: st.DrawFn) -> Objective:
    """Of the terms drawn, those that go together, in any order."""
    kept: list[Term] = []
    found = draw(st.lists(terms(), min_size=1, max_size=5))
    for term in sorted(found, key=lambda t: bool(t.critics) and t.rule is None):
        with suppress(BadInput):
            _ = Objective(*kept, term).critics
            kept.append(term)
    assume(kept)
    given = draw(st.booleans()) and all(t.pack == 1 for t in kept)
    return Objective(*draw(st.permutations(kept)), labels=given)


@settings(deadline=None, max_examples=150)
@given(objectives())
def test_writing_and_reading_are_inverse(objective: Objective) -> None:
    text = unparse(objective)
    back = parse(text)
    assert back == objective
    assert str(back) == str(objective)
    assert unparse(back) == text
    assert parse(text.replace(" ", "")) == objective


ALPHABET = [
    "nll",
    "kl",
    "distance",
    "match",
    "x",
    "x_gen",
    "z_code",
    "gp",
    "clip",
    "by",
    "hinge",
    "to",
    "decoder",
]
ALPHABET += [
    "y",
    "0.5",
    "2",
    "1e999",
    "(",
    ")",
    ",",
    "+",
    "-",
    "*",
    "|",
    ".",
    "=",
    " ",
    "β",
    "order",
    "penalty",
    "ramp(0,1,9)",
    "ramp",
    "iwae",
    "learned",
    "teach",
    "false",
]


@settings(deadline=None, max_examples=500)
@given(st.text() | st.lists(st.sampled_from(ALPHABET)).map("".join))
@example("(" * 9999)
def test_any_text_is_read_or_refused_in_three_lines(text: str) -> None:
    words = refusal(text)
    if words is not None:
        sentence, shown, caret = words.split("\n")
        assert 1 <= int(sentence.split(":")[0].removeprefix("column ")) <= len(text) + 1
        assert caret.strip() == "^"
        assert len(caret) <= len(shown) + 1


@settings(deadline=None, max_examples=300)
@given(st.sampled_from(list(READ)), st.data())
def test_a_slip_of_the_hand_never_crashes(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    length = data.draw(st.integers(0, 3))
    slip = text[:at] + data.draw(st.sampled_from(["", *ALPHABET])) + text[at + length :]
    words = refusal(slip)
    assert words is None or words.startswith("column ")


# What is added to the dicts later can be written without a change here.


@dataclass(frozen=True)
class Novel(Term):
    """A term with an argument of every kind."""

    of: Any
    where: Literal["inside", "outside"]
    steps: int = 3
    scale: float | None = None
    robust: bool = False
    label: str | None = None
    order: Literal[1, 2] = 1
    hidden: Any = None
    late: float = 0.0

    variables = (X_REC,)

    @property
    def name(self) -> str:
        """Its name."""
        return "novel"

    def equation(self) -> str:
        """Nothing."""
        return "novel"

    def loss(self, draws: Any, critics: Any) -> torch.Tensor:
        """Nothing."""
        return torch.zeros(())


Novel.__annotations__["of"] = "Variable | tuple[Variable, ...]"
Novel.__annotations__["late"] = "float"
Variable = type(X)


def test_a_new_term_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TERMS, "brand-new", Novel)
    texts = {
        "brand_new(x, inside)": Novel(X, "inside"),
        "Brand-New((x, z_code), outside, 4, -0.5, true, a)": Novel(
            (X, Z_CODE), "outside", 4, -0.5, True, "a"
        ),
        "brand-new(x, inside, scale=none, robust=false, label=none, late=2)": Novel(X, "inside", late=2.0),
        "2*brand-new(x, inside, steps=-7, order=2).to(encoder)": 2.0
        * Novel(X, "inside", steps=-7, order=2).to("encoder"),
    }
    for text, term in texts.items():
        assert parse(text) == Objective(term)
        assert parse(unparse(Objective(term))) == Objective(term)
    assert unparse(parse("brand-new(x, inside)")) == ("brand-new(x, where=inside, steps=3, order=1, late=0)")
    refused = {
        "brand-new(x, insid)": "unknown where 'insid'; did you mean 'inside'?",
        "brand-new(x, inside, 1.5)": "steps of brand-new is a whole number, not 1.5",
        "brand-new(x, inside, robust=maybe)": "unknown switch 'maybe'",
        "brand-new(x, inside, hidden=3)": "unknown argument of brand-new 'hidden'",
        "brand-new(x, inside, scale=big)": "expected a number or none as scale of brand-new, but found 'big'",
    }
    for text, words in refused.items():
        with pytest.raises(BadInput, match=words.replace("?", r"\?")):
            parse(text)
    with pytest.raises(BadInput, match="cannot be written as text"):
        unparse(Objective(Novel(X, "inside", hidden=5)))


def test_a_new_penalty_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def at_target(weight: float = 5.0) -> Any:
        return gradient_penalty(weight, 0.0, "target")

    monkeypatch.setitem(PENALTIES, "r1", at_target)
    monkeypatch.setitem(PENALTIES, "usual", gradient_penalty(10.0))
    for text, penalty in {"r1": at_target(), "r1(3)": at_target(3.0), "usual": gradient_penalty()}.items():
        objective = Objective(Match(X_GEN, X, penalty=penalty))
        assert parse(f"match(x_gen, x, penalty={text})") == objective
        assert parse(unparse(objective)) == objective


def test_a_new_comparison_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = replace(NON_SATURATING, name="mine")
    monkeypatch.setitem(COMPARISONS, "mine", mine)
    assert parse("match(x_gen, x, by=mine)") == Objective(Match(X_GEN, X, by=mine))
    assert unparse(parse("match(x_gen, x, by=mine)")) == "match(x_gen, x, by=mine)"


def test_what_a_term_refuses_by_a_plain_error_has_a_column(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(weight: float = 1.0) -> Any:
        raise ValueError(f"weight {weight:g} will not do")

    monkeypatch.setitem(PENALTIES, "broken", broken)
    with pytest.raises(BadInput, match="column 25: weight 2 will not do"):
        parse("match(x_gen, x, penalty=broken(2))")


def test_every_declared_name_can_be_written() -> None:
    for name in [*TERMS, *VARIABLES, *COMPARISONS, *PENALTIES]:
        assert [t.text for t in grammar._Reader(name).tokens] == [name, ""]
