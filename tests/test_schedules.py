"""Ramps and noise: their values, what they refuse, how they are written, and what an objective makes of them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distmatch.errors import BadInput
from distmatch.objectives.noise import Noise
from distmatch.objectives.objective import Objective
from distmatch.objectives.parser import in_steps, parse, read_option
from distmatch.objectives.penalties import PENALTIES, number_text, r1, roth
from distmatch.objectives.printer import option_text, unparse
from distmatch.objectives.terms.likelihood import KL, NLL, TargetRate
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import X_GEN, X
from distmatch.schedules import SHAPES, Ramp, Share, now, over
from distmatch.systems import find, vae

VALUES = st.floats(0, 1e300)
SHARES = st.builds(Share, st.floats(0, 1, exclude_min=True))
SUMS = [shape for shape in SHAPES if shape != "exponential"]


def ramps(steps):
    """Ramps of every shape that are so long."""
    above = st.floats(1e-300, 1e300)
    return st.builds(Ramp, VALUES, VALUES, steps, st.sampled_from(SUMS)) | st.builds(
        Ramp, above, above, steps, st.just("exponential")
    )


RAMPS = ramps(st.integers(1, 10**6))

HALFWAY = {"linear": 0.5, "sine": math.sqrt(0.5), "cosine": 0.5}
EARLY = {"linear": 0.1, "sine": math.sin(0.05 * math.pi), "cosine": 0.5 - 0.5 * math.cos(0.1 * math.pi)}


@pytest.mark.parametrize("shape", SUMS)
def test_values(shape):
    up, down = Ramp(1, 3, 10, shape), Ramp(3, 1, 10, shape)
    for step, share in {0: 0.0, 1: EARLY[shape], 5: HALFWAY[shape], 10: 1.0, 11: 1.0, 10**9: 1.0}.items():
        assert up.at(step) == pytest.approx(1 + 2 * share, rel=1e-12)
        assert down.at(step) == pytest.approx(3 - 2 * share, rel=1e-12)


def test_an_exponential_ramp_loses_the_same_share_at_each_step():
    values = [Ramp(8, 2, 10, "exponential").at(t) for t in range(12)]
    assert values[:11] == pytest.approx([8 * 0.25 ** (t / 10) for t in range(11)], rel=1e-12)
    assert values[5] == pytest.approx(math.sqrt(8 * 2), rel=1e-12)
    assert values[11] == 2


def test_roths_weight_is_the_authors():
    """γ·0.01^(t/T), whose mean over a run is γ(1 - 0.01)/ln 100 = 0.43 for γ = 2."""
    for steps in (100, 5000):
        (ramp,) = find("gan-roth").objective().over(steps).ramps.values()
        gammas = [ramp.at(t) for t in range(steps)]
        assert gammas == pytest.approx([2 * 0.01 ** (t / steps) for t in range(steps)], rel=1e-12)
        assert sum(gammas) / steps == pytest.approx(2 * 0.99 / math.log(100), rel=3 / steps)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_ramp_goes_one_way(shape):
    values = [Ramp(1, 2, 50, shape).at(t) for t in range(60)]
    assert values == sorted(values)
    assert len(set(values)) == 51


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)  # on a machine that does much else
@given(RAMPS, st.integers(0, 10**7))
def test_a_ramp_starts_and_ends_where_it_says_and_stays_between(ramp, step):
    """To the bit, also where end - start has lost all digits of the end."""
    assert ramp.at(0) == ramp.start
    assert ramp.at(ramp.steps) == ramp.at(ramp.steps + step) == ramp.end
    low, high = sorted((ramp.start, ramp.end))
    assert low * (1 - 1e-12) <= ramp.at(step) <= high * (1 + 1e-12)


# As a share of a run


@given(SHARES)
def test_a_share_is_read_as_it_is_written(share):
    assert Share.read(str(share)) == share
    assert Share.read(str(share).replace("%", " %")) == share


@pytest.mark.parametrize(
    ("share", "steps", "expected"),
    [(0.5, 1000, 500), (1.0, 7, 7), (0.25, 10, 2), (0.3, 10, 3), (0.01, 10, 1), (0.001, 1, 1)],
)
def test_a_share_of_some_steps(share, steps, expected):
    assert Share(share).of(steps) == expected


@given(ramps(SHARES), st.integers(1, 10**6))
def test_a_ramp_over_a_share_is_one_over_its_steps(ramp, steps):
    known = over(ramp, steps)
    assert (known.start, known.end, known.shape) == (ramp.start, ramp.end, ramp.shape)
    assert known.steps == max(1, round(ramp.steps.value * steps))
    assert known.at(steps) == ramp.end
    assert over(known, 3 * steps) is known


def test_a_ramp_over_a_share_has_no_value_before_the_run_is_known():
    with pytest.raises(
        BadInput, match=r"a ramp takes 50% of a run, and nobody said .* objective\.over\(steps\)"
    ):
        Ramp(0, 1, Share(0.5)).at(0)


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
        (lambda: Ramp(0, 1, 0), "a ramp takes 0 steps; give a whole number, at least 1"),
        (lambda: Ramp(0, 1, 0.5), "a ramp takes 0.5 steps; give a whole number, at least 1, or Share"),
        (
            lambda: Ramp(0, 1, 5, "steep"),
            "a ramp's shape is linear, sine, cosine or exponential, not 'steep'",
        ),  # type: ignore[arg-type]
        (lambda: Ramp(0, 1, 5, "exponential"), "the start of an exponential ramp is 0; give a number above"),
        (lambda: Ramp(1, 0, 5, "exponential"), "the end of an exponential ramp is 0; give a number above"),
        (lambda: Share(0), "a share of a run is 0%; give one above 0% and at most 100%"),
        (lambda: Share(1.5), "a share of a run is 150%; give one above 0% and at most 100%"),
        (lambda: Share(math.nan), "a share of a run is nan%"),
        (lambda: Share.read("half"), "a share of a run is written as 50%, not 'half'"),
        (lambda: Share.read("50"), "a share of a run is written as 50%, not '50'"),
        (lambda: Share.read("five%"), "a share of a run is written as 50%, not 'five%'"),
        (lambda: Share.read("1e9999999%"), "a share of a run is"),
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


def test_an_objective_over_some_steps():
    """Wherever in its terms a share stands; ramps over steps, and all else, stay as they are."""
    objective = Objective(
        NLL(),
        Ramp(0, 1, Share(0.5)) * KL(),
        TargetRate(Ramp(0, 8, Share(0.1))),
        Match(
            X_GEN, X, instance_noise=Ramp(1, 0, 77), penalty=roth(Ramp(2, 0.02, Share(1.0), "exponential"))
        ),
        labels=True,
    )
    known = objective.over(1000)
    assert {path: ramp.steps for path, ramp in known.ramps.items()} == {
        "1.weight": 500,
        "2.target": 100,
        "3.instance_noise": 77,
        "3.penalty.gamma": 1000,
    }
    assert known.over(9) == known
    assert (known.labels, known.names, known.numbers()) == (True, objective.names, objective.numbers())
    assert parse(in_steps(unparse(objective), 1000)) == known


@given(RAMPS | ramps(SHARES))
def test_a_ramp_is_read_as_it_is_written(ramp):
    for objective in (
        NLL() + ramp * KL(),
        Objective(TargetRate(ramp)),
        Objective(Match(X_GEN, X, instance_noise=ramp, penalty=roth(ramp))),
    ):
        assert parse(unparse(objective)) == objective
        assert read_option(vae, "beta", option_text(ramp)) == ramp


def test_a_ramp_in_a_text():
    assert parse("nll + ramp(0, 1, 100)*kl") == NLL() + WARM * KL()
    assert parse("2*ramp(0, 1, steps=100)*0.5*kl") == Objective(WARM * KL())
    assert parse("Ramp(1, 0, 9, shape=cosine) * (nll + 2*kl)") == Ramp(1, 0, 9, "cosine") * (
        NLL() + 2.0 * KL()
    )
    assert parse("ramp(0, 1, 50%)*kl") == parse("ramp(0, end=1, steps=50 %)*kl")
    assert parse("ramp(0, 1, 12.5%)*kl") == Objective(Ramp(0, 1, Share(0.125)) * KL())
    assert unparse(NLL() + WARM * KL()) == "nll + ramp(0, 1, 100)*kl"
    fading = roth(Ramp(2, 0.02, Share(1.0), "exponential"))
    assert option_text(fading) == "roth(ramp(2, 0.02, 100%, exponential))"


@pytest.mark.parametrize("text", ["ramp(0, end=4, steps=5000)", "ramp(0, 4, 5000)", "ramp(0, 4, steps=5000)"])
def test_what_earlier_runs_have_stored_is_read(text):
    assert read_option(vae, "beta", text) == Ramp(0, 4, 5000)
    assert in_steps(text, 7) == text


def test_only_shares_change_in_a_text():
    text = "2*ramp(0, 0.5, 25%)*kl + match(x_gen, x, penalty=roth( ramp(2, 0.02, steps = 100 %,exponential)))"
    assert in_steps(text, 400) == (
        "2*ramp(0, 0.5, 100)*kl + match(x_gen, x, penalty=roth( ramp(2, 0.02, steps = 400,exponential)))"
    )


@pytest.mark.parametrize(
    ("text", "column", "words"),
    [
        ("ramp*kl", 1, "ramp needs start and end and steps"),
        ("nll + ramp(0, 1)*kl", 7, "ramp needs steps"),
        (
            "ramp(0, 1, 1.5)*kl",
            12,
            "steps of ramp is a whole number or share of the run such as 50%, not 1.5",
        ),
        ("ramp(-1, 1, 5)*kl", 1, "the start of a ramp is -1"),
        ("ramp(0, 1, 5, steep)*kl", 15, "unknown shape 'steep'"),
        ("ramp(0, 1, 5)*ramp(0, 1, 5)*kl", 1, "one ramp to a term: two of them cannot be multiplied"),
        ("ramp(0, 1, 5)", 14, "a weight is followed by '*' and a term"),
        ("1e200*ramp(0, 1e200, 5)*kl", 1, "the end of a ramp is inf"),
        ("-ramp(0, 1, 5)*kl", 1, "a weight cannot be negative"),
        ("ramp(0, 1, 0%)*kl", 12, "a share of a run is 0%; give one above 0% and at most 100%"),
        ("ramp(0, 1, 150%)*kl", 12, "a share of a run is 150%"),
        ("ramp(0, 1, -50%)*kl", 13, "expected a number, but found '50%'"),
        ("ramp(0, 1, half)*kl", 12, "a whole number or share of the run such as 50% as steps of ramp"),
        ("ramp(0, 50%, 5)*kl", 9, "end of ramp is not a length of time, which alone can be a share of a run"),
        ("kl + 50%*nll", 6, "50% of a run is not a weight; write a number, such as 0.5"),
        ("iwae(50%)", 6, "samples of iwae is not a length of time"),
        ("match(x_gen, x, pack=50%)", 22, "pack of match is not a length of time"),
        ("match(x_gen, x, critic=50%)", 24, "critic of match is not a length of time"),
        ("nll % kl", 5, "the character '%' means nothing here"),
        ("ramp(1, 0, 50%, exponential)*kl", 1, "the end of an exponential ramp is 0"),
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
@pytest.mark.parametrize("distribution", ["uniform", "normal"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_noise_has_the_shape_and_law_that_it_names(distribution, shape, size, dtype):
    def drawn():
        return Noise(distribution, shape).draw(SIZES, torch.Generator().manual_seed(3), dtype)

    u = drawn()
    assert (u.shape, u.dtype) == (size, dtype)
    assert torch.equal(u, drawn())
    if u.numel() > 1000:
        mean, variance = {"uniform": (0.5, 1 / 12), "normal": (0.0, 1.0)}[distribution]
        assert u.mean().item() == pytest.approx(mean, abs=4 * math.sqrt(variance / u.numel()))
        assert u.var().item() == pytest.approx(variance, rel=0.1)
        assert (u.min() >= 0) == (distribution == "uniform")
