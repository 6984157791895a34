"""Ramps and noise: their values, what they refuse, how they are written, and what an objective makes of them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from distmatch.errors import BadInput
from distmatch.grammar import parse, unparse
from distmatch.noise import Noise
from distmatch.objective import Objective
from distmatch.penalties import PENALTIES, number_text, r1, roth
from distmatch.schedules import SHAPES, Ramp, now
from distmatch.terms import KL, NLL, Match, TargetRate
from distmatch.variables import X_GEN, X

VALUES = st.floats(0, 1e300)
RAMPS = st.builds(Ramp, VALUES, VALUES, st.integers(1, 10**6), st.sampled_from(list(SHAPES)))
every_shape = pytest.mark.parametrize("shape", SHAPES)

HALFWAY = {"linear": 0.5, "sine": math.sqrt(0.5), "cosine": 0.5}
EARLY = {"linear": 0.1, "sine": math.sin(0.05 * math.pi), "cosine": 0.5 - 0.5 * math.cos(0.1 * math.pi)}


@every_shape
def test_values(shape):
    up, down = Ramp(1, 3, 10, shape), Ramp(3, 1, 10, shape)
    for step, share in {0: 0.0, 1: EARLY[shape], 5: HALFWAY[shape], 10: 1.0, 11: 1.0, 10**9: 1.0}.items():
        assert up.at(step) == pytest.approx(1 + 2 * share, rel=1e-12)
        assert down.at(step) == pytest.approx(3 - 2 * share, rel=1e-12)


@every_shape
def test_a_ramp_goes_one_way(shape):
    values = [Ramp(0, 1, 50, shape).at(t) for t in range(60)]
    assert values == sorted(values)
    assert len(set(values)) == 51


@given(RAMPS, st.integers(0, 10**7))
def test_a_ramp_starts_and_ends_where_it_says_and_stays_between(ramp, step):
    """To the bit, also where end - start has lost all digits of the end."""
    assert ramp.at(0) == ramp.start
    assert ramp.at(ramp.steps) == ramp.at(ramp.steps + step) == ramp.end
    low, high = sorted((ramp.start, ramp.end))
    assert low * (1 - 1e-12) <= ramp.at(step) <= high * (1 + 1e-12)


def test_a_factor_is_taken_on_both_sides():
    assert 2 * Ramp(0, 1, 5, "sine") == Ramp(0, 1, 5, "sine") * 2 == Ramp(0.0, 2.0, 5, "sine")
    assert (0.5 * Ramp(2, 4, 5)).at(0) == 1
    with pytest.raises(BadInput, match="the end of a ramp is -1; give a finite number, 0 or above"):
        -1 * Ramp(0, 1, 5)
    with pytest.raises(TypeError):
        Ramp(0, 1, 5) * Ramp(0, 1, 5)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Ramp(-0.1, 1, 5), "the start of a ramp is -0.1"),
        (lambda: Ramp(0, math.inf, 5), "the end of a ramp is inf"),
        (lambda: Ramp(math.nan, 1, 5), "the start of a ramp is nan"),
        (lambda: Ramp(0, 1, 0), "a ramp takes 0 steps; give at least 1"),
        (lambda: Ramp(0, 1, 5, "steep"), "a ramp's shape is linear, sine or cosine, not 'steep'"),  # type: ignore[arg-type]
    ],
)
def test_refusals(make, words):
    with pytest.raises(BadInput, match=words):
        make()


def test_numbers_become_floats():
    ramp = Ramp(0, 1, 5)
    assert (type(ramp.start), type(ramp.end)) == (float, float)
    assert Ramp(0, 1, 5) == Ramp(0.0, 1.0, 5)


def test_now_is_a_number_and_never_a_ramp():
    half = torch.tensor(0.5)
    assert now(2.0) == 2.0
    assert now(half) is half
    with pytest.raises(BadInput, match="has no value by itself"):
        now(Ramp(0, 1, 5))


# In an objective

WARM = Ramp(0, 1, 100)


@pytest.mark.parametrize(
    "term", [WARM * KL(), 1.0 * (WARM * KL()), KL(weight=WARM)], ids=["ramp", "one", "given"]
)
def test_a_ramp_may_be_a_weight(term):
    assert term.weight == WARM
    assert str(NLL() + term) == "E[-log p(x|ẑ)] + λ(step)·E KL[q(z|x) ‖ p(z)]"


def test_weights_multiply_ramps():
    assert (2.0 * (WARM * KL())).weight == (WARM * (2.0 * KL())).weight == Ramp(0, 2, 100)
    both = WARM * (NLL() + 3.0 * KL())
    assert [t.weight for t in both.terms] == [WARM, Ramp(0, 3, 100)]


def test_ramps_are_found_by_the_path_of_the_number_that_they_stand_for():
    objective = Objective(
        NLL(),
        WARM * KL(),
        TargetRate(Ramp(0, 8, 10)),
        Match(X_GEN, X, instance_noise=Ramp(1, 0, 10), penalty=r1(Ramp(4, 2, 10))),
    )
    assert objective.ramps == {
        "1.weight": WARM,
        "2.target": Ramp(0, 8, 10),
        "3.instance_noise": Ramp(1, 0, 10),
        "3.penalty.weight": Ramp(2, 1, 10),
    }
    assert not objective.ramps.keys() & objective.numbers().keys()
    fixed = objective.with_numbers({path: ramp.at(5) for path, ramp in objective.ramps.items()})
    assert fixed.ramps == {}
    assert fixed.numbers().items() >= {"1.weight": 0.05, "2.target": 4.0, "3.penalty.weight": 1.5}.items()
    assert (fixed.names, fixed.groups) == (objective.names, objective.groups)


@given(RAMPS)
def test_a_ramp_is_read_as_it_is_written(ramp):
    for objective in (
        NLL() + ramp * KL(),
        Objective(TargetRate(ramp)),
        Objective(Match(X_GEN, X, instance_noise=ramp, penalty=roth(ramp))),
    ):
        assert parse(unparse(objective)) == objective


def test_a_ramp_in_a_text():
    assert parse("nll + ramp(0, 1, 100)*kl") == NLL() + WARM * KL()
    assert parse("2*ramp(0, 1, steps=100)*0.5*kl") == Objective(WARM * KL())
    assert parse("Ramp(1, 0, 9, shape=cosine) * (nll + 2*kl)") == Ramp(1, 0, 9, "cosine") * (
        NLL() + 2.0 * KL()
    )
    assert unparse(NLL() + WARM * KL()) == "nll + ramp(0, end=1, steps=100)*kl"


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("ramp*kl", 1, "ramp needs start and end and steps"),
        ("nll + ramp(0, 1)*kl", 7, "ramp needs steps"),
        ("ramp(0, 1, 1.5)*kl", 12, "steps of ramp is a whole number, not 1.5"),
        ("ramp(-1, 1, 5)*kl", 1, "the start of a ramp is -1"),
        ("ramp(0, 1, 5, steep)*kl", 15, "unknown shape 'steep'"),
        ("ramp(0, 1, 5)*ramp(0, 1, 5)*kl", 1, "one ramp to a term: two of them cannot be multiplied"),
        ("ramp(0, 1, 5)", 14, "a weight is followed by '*' and a term"),
        ("1e200*ramp(0, 1e200, 5)*kl", 1, "the end of a ramp is inf"),
        ("-ramp(0, 1, 5)*kl", 1, "a weight cannot be negative"),
    ],
)
def test_bad_ramps_in_a_text(text, column, words):
    with pytest.raises(BadInput) as caught:
        parse(text)
    assert str(caught.value).startswith(f"column {column}: ")
    assert words in str(caught.value)


@pytest.mark.parametrize("name", PENALTIES)
def test_every_penalty_may_have_a_ramp_and_prints_it(name):
    penalty = PENALTIES[name](Ramp(1, 2, 5))
    assert "λ(step)" in penalty.equation()
    assert len(Objective(Match(X_GEN, X, penalty=penalty)).ramps) == 1
    assert number_text(Ramp(1, 2, 5)) == "λ(step)"


# Noise

SIZES = {"x": (50, 1, 8, 8), "z": (50, 200)}


@pytest.mark.parametrize(
    ("shape", "size"), [("each", (50,)), ("x", (50, 1, 8, 8)), ("z", (50, 200)), ("batch", ())]
)
@pytest.mark.parametrize("law", ["uniform", "normal"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_has_the_shape_and_law_that_it_names(law, shape, size, dtype):
    def drawn():
        return Noise(law, shape).draw(SIZES, torch.Generator().manual_seed(3), dtype)

    u = drawn()
    assert (u.shape, u.dtype) == (size, dtype)
    assert torch.equal(u, drawn())
    if u.numel() > 1000:
        mean, variance = {"uniform": (0.5, 1 / 12), "normal": (0.0, 1.0)}[law]
        assert u.mean().item() == pytest.approx(mean, abs=4 * math.sqrt(variance / u.numel()))
        assert u.var().item() == pytest.approx(variance, rel=0.1)
        assert (u.min() >= 0) == (law == "uniform")
