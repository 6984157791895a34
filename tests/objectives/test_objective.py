"""Sums of terms: what they print, whom they move, what they ask for, and what they refuse."""

from __future__ import annotations

from collections import Counter
from dataclasses import FrozenInstanceError, replace
from functools import partial

import pytest
import torch

from contracts.toys import batch, generator, linear_nets
from distmatch.errors import BadInput
from distmatch.objectives.comparisons import COMPARISONS, MINIMAX, REVERSE_KL, WASSERSTEIN
from distmatch.objectives.noise import Noise
from distmatch.objectives.objective import Objective
from distmatch.objectives.penalties import clipping, dragan, gradient_penalty, r1
from distmatch.objectives.term import MODEL_NETS, Critics
from distmatch.objectives.terms.distance import Distance
from distmatch.objectives.terms.likelihood import IWAE, KL, NLL
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import VARIABLES, X_GEN, X_REC, Z_CODE, Z_PRIOR, Z_REC, X, draw
from distmatch.systems import (
    SYSTEMS,
    aae,
    ali,
    find,
    gan,
    vae,
    vgh,
    vgh_plus_plus,
    wgan,
    wgan_gp,
)

every = pytest.mark.parametrize("objective", [s.objective() for s in SYSTEMS.values()], ids=SYSTEMS)

PRINTED = {
    vae(): "E[-log p(x|ẑ)] + E KL[q(z|x) ‖ p(z)]",
    vae(0.5): "E[-log p(x|ẑ)] + 0.5·E KL[q(z|x) ‖ p(z)]",
    gan(): "D[p(x̃) ‖ p*(x)]",
    gan(MINIMAX): "JS[p(x̃) ‖ p*(x)]",
    gan(REVERSE_KL): "KL[p(x̃) ‖ p*(x)]",
    wgan(): "W₁[p(x̃), p*(x)] (critic data: penalty |weights| ≤ 0.01)",
    wgan_gp(): "W₁[p(x̃), p*(x)] (critic data: penalty 10·E[(‖∇f‖ - 1)²] between)",
    aae(): "E[-log p(x|ẑ)] + D[q(z) ‖ p(z)]",
    ali(): "D[p(x̃, z) ‖ q(x, ẑ)]",
    vgh(): "10·E‖x - x̂‖₁/dim(x) + D[p(x̂) ‖ p*(x)] + D[q(z) ‖ p(z)]",
    vgh_plus_plus(): "10·E‖x - x̂‖₁/dim(x) + D[p(x̂) ‖ p*(x)] + D[q(z) ‖ p(z)] + D[p(x̃) ‖ p*(x)]",
    vae().with_labels(): "E[-log p(x|ẑ)] + E KL[q(z|x) ‖ p(z)], all given y",
    2.5 * gan(): "2.5·D[p(x̃) ‖ p*(x)]",
    Objective(Distance(Z_PRIOR, Z_REC, order=2)): "E‖z - z̃‖₂²",
}


@pytest.mark.parametrize(("objective", "text"), PRINTED.items(), ids=PRINTED.values())
def test_printed(objective, text):
    assert str(objective) == text


def test_a_weight_of_a_lane_prints_as_lambda():
    assert str(torch.tensor([1.0, 2.0]) * KL()) == "λ·E KL[q(z|x) ‖ p(z)]"


# Who is moved

GROUPS = {
    vae(): {("encoder", "decoder"): (0, 1)},
    gan(): {("decoder",): (0,)},
    aae(): {("encoder", "decoder"): (0, 1)},
    ali(): {("encoder", "decoder"): (0,)},
    vgh(): {("encoder", "decoder"): (0, 2), ("decoder",): (1,)},
    vgh(encoder_sees_critic=True): {("encoder", "decoder"): (0, 1, 2)},
    vgh_plus_plus(): {("encoder", "decoder"): (0, 2, 3), ("decoder",): (1,)},
    Objective(KL()): {("encoder",): (0,)},
    Objective(Distance().to("encoder"), Distance().to("decoder")): {("encoder",): (0,), ("decoder",): (1,)},
    Objective(Distance().to("decoder"), Match(X_GEN, X)): {("decoder",): (0, 1)},
    Objective(Distance().to("decoder", "encoder")): {("encoder", "decoder"): (0,)},
}


@pytest.mark.parametrize(("objective", "groups"), GROUPS.items(), ids=map(str, GROUPS))
def test_groups(objective, groups):
    assert objective.groups == groups


@every
def test_each_term_is_in_one_group_that_holds_its_nets(objective):
    grouped = Counter(i for terms in objective.groups.values() for i in terms)
    assert grouped == {i: 1 for i, t in enumerate(objective.terms) if t.nets}
    for nets, terms in objective.groups.items():
        for i in terms:
            t = objective.terms[i]
            assert set(t.nets) <= set(nets)
            assert not t.restricted or t.nets == nets, "a restricted term would leak into a net"
    assert objective.nets == tuple(p for p in MODEL_NETS if any(p in g for g in objective.groups))


@every
def test_every_net_in_use_learns(objective):
    """`nets` are those moved, `uses` the nets that draws pass through."""
    assert set(objective.nets) <= set(objective.uses) <= set(MODEL_NETS)
    assert objective.nets == objective.uses


@every
def test_variables_come_after_what_they_are_made_from(objective):
    order = [v.name for v in objective.variables]
    assert order == [n for n in VARIABLES if n in order]
    for v in (*objective.variables, *objective.distributions):
        assert set(v.parents) <= set(order)


@pytest.mark.parametrize("by", COMPARISONS.values(), ids=COMPARISONS)
def test_a_match_moves_whom_its_scored_sides_can(by):
    assert Match(X_GEN, X, by=by).nets == ("decoder",)
    assert Match(Z_CODE, Z_PRIOR, by=by).nets == ("encoder",)
    assert Match((X, Z_CODE), (X_GEN, Z_PRIOR), by=by).nets == ("encoder", "decoder")


def test_a_target_without_nets_is_not_moved():
    avb = NLL() + Match((X, Z_CODE), (X, Z_PRIOR), by=REVERSE_KL, critic="joint")
    assert avb.terms[1].nets == ("encoder",)
    assert avb.critics == {"joint": ("x", "z")}
    assert str(avb) == "E[-log p(x|ẑ)] + KL[q(x, ẑ) ‖ p*(x)p(z)]"


@pytest.mark.parametrize(
    ("joint", "text"),
    [
        ((X, Z_CODE), "q(x, ẑ)"),
        ((X_GEN, Z_PRIOR), "p(x̃, z)"),
        ((X, Z_PRIOR), "p*(x)p(z)"),
        ((X_REC, Z_PRIOR), "p(x̂)p(z)"),
        ((X_GEN, Z_CODE), "p(x̃)q(z)"),
        ((X, X_REC), "q(x, x̂)"),
        ((X, X), "p*(x, x)"),
        ((Z_PRIOR, Z_REC), "q(z, z̃)"),
    ],
    ids=str,
)
def test_a_joint_is_printed_as_a_product_where_its_draws_are_independent(joint, text):
    """Draws are dependent where they come from the same data or the same z."""
    other = tuple((X_REC if v == X_GEN else X_GEN) if v.space == "x" else Z_CODE for v in joint)
    assert str(Match(other, joint, critic="c")).endswith(f"‖ {text}]")


def test_to_restricts():
    term = Match(X_REC, X)
    assert not term.restricted
    assert (term.to("decoder").nets, term.to("decoder").restricted) == (("decoder",), True)
    both = term.to("decoder", "encoder")
    assert (both.nets, both.restricted) == (("encoder", "decoder"), False)
    assert term.to("decoder").to("encoder").nets == ("encoder",)
    assert (3.0 * term.to("decoder")).nets == ("decoder",)
    assert not Match(X_GEN, X).to("decoder").restricted


# Critics


def test_critics_are_named_after_their_space():
    assert Match(X_GEN, X).critics == {"data": ("x",)}
    assert Match(Z_CODE, Z_PRIOR).critics == {"code": ("z",)}
    assert Match((X, Z_CODE), (X_GEN, Z_PRIOR)).critics == {"joint": ("x", "z")}
    assert Match((Z_CODE, X), (Z_PRIOR, X_GEN)).critics == {"zx": ("z", "x")}
    assert Match((X, X_REC), (X, X)).critics == {"xx": ("x", "x")}
    assert Match(X_GEN, X, critic="own").critics == {"own": ("x",)}


def test_critics_are_asked_once_for_each_joint():
    objective = vgh_plus_plus()
    nets, b = linear_nets(objective), batch(objective, generator())
    calls: Counter[str] = Counter()

    def counting(name):
        def score(*inputs, **given):
            calls[name] += 1
            return nets[name](*inputs, **given)

        return score

    draws = draw(objective.variables, nets, b.x, b.noise)
    critics = Critics({n: counting(n) for n in objective.critics}, draws)
    for _ in range(2):
        for t in objective.terms:
            t.critic_losses(draws, critics)
            t.loss(draws, critics)
    assert calls == {"data": 3, "code": 2}
    assert {k for k, _ in critics.seen()} == {
        ("data", (X,)), ("data", (X_REC,)), ("data", (X_GEN,)), ("code", (Z_PRIOR,)), ("code", (Z_CODE,))
    }  # fmt: skip
    critics.at("data", draws[X])
    assert calls["data"] == 4


PER_EXAMPLE = (NLL, KL, IWAE, Distance, Match)


def test_losses_are_per_example():
    """Or a scalar, where a term is of the whole batch; of packs, where the critic is given several at once."""
    for system in SYSTEMS.values():
        objective = system.objective()
        nets, b = linear_nets(objective), batch(objective, generator(), size=7)
        draws = draw(objective.variables, nets, b.x, b.noise, b.y, objective.distributions, objective.samples)
        critics = Critics({n: nets[n] for n in objective.critics}, draws)
        ramps = objective.over(10).ramps
        fixed = objective.with_numbers({path: ramp.at(3) for path, ramp in ramps.items()})
        for t in fixed.terms:
            for loss in (t.loss(draws, critics), *t.critic_losses(draws, critics).values()):
                assert loss.shape == (7 // t.pack,) or (loss.shape == () and not isinstance(t, PER_EXAMPLE))


def test_distances_sum_over_coordinates():
    objective = Objective(Distance(order=1), Distance(order=2), Distance(order=1, reduction="mean"))
    nets, b = linear_nets(objective), batch(objective, generator(), size=7)
    draws = draw(objective.variables, nets, b.x, b.noise)
    one, two, mean = (t.loss(draws, Critics({}, draws)) for t in objective.terms)
    difference = draws[X] - draws[X_REC]
    torch.testing.assert_close(one, difference.norm(p=1, dim=1))
    torch.testing.assert_close(two, difference.norm(dim=1) ** 2)
    torch.testing.assert_close(mean, difference.norm(p=1, dim=1) / difference.shape[1])


# Arithmetic, names, numbers


def test_arithmetic_makes_new_ones():
    term, total = NLL(), NLL() + KL()
    assert 3 * term == NLL(weight=3.0)
    assert term == NLL()
    assert 2 * (3 * term) == NLL(weight=6.0)
    assert (2.0 * total).terms == (NLL(weight=2.0), KL(weight=2.0))
    assert (term + total).terms == (NLL(), NLL(), KL())
    assert (total + total).terms == (NLL(), KL(), NLL(), KL())
    assert (total.with_labels() + KL()).labels
    assert (KL() + total.with_labels()).labels
    assert (2 * total.with_labels()).labels
    with pytest.raises(FrozenInstanceError):
        term.weight = 2.0  # type: ignore[misc]


def test_equal_objectives_are_equal():
    assert vgh() == vgh(10.0)
    assert vgh() != vgh(5.0)
    assert vae() != vae().with_labels()
    assert {vae(), vae(), gan()} == {vae(), gan()}


@every
def test_repr_is_complete(objective):
    same = replace(objective.terms[0], weight=123.0)
    assert repr(Objective(same, *objective.terms[1:], labels=objective.labels)) != repr(objective)
    assert "123.0" in repr(Objective(same))


def test_a_second_term_of_the_same_name_is_numbered():
    objective = Distance() + Distance(order=2) + KL() + Distance()
    assert objective.names == ("distance(x, x_rec)", "distance(x, x_rec)#2", "kl", "distance(x, x_rec)#3")


@every
def test_names_are_unique(objective):
    assert len(set(objective.names)) == len(objective.terms)


@every
def test_numbers_round_trip(objective):
    numbers = objective.numbers()
    assert {f"{i}.weight" for i in range(len(objective.terms))} <= numbers.keys() | objective.ramps.keys()
    assert objective.with_numbers(numbers) == objective
    doubled = {path: 2 * value for path, value in numbers.items()}
    other = objective.with_numbers(doubled)
    assert other.numbers() == doubled
    assert (other.names, other.groups, other.labels) == (objective.names, objective.groups, objective.labels)
    assert objective.numbers() == numbers


def test_numbers_reach_into_penalties():
    assert wgan_gp().numbers() == {"0.weight": 1.0, "0.penalty.weight": 10.0}
    assert wgan().numbers() == {"0.weight": 1.0, "0.penalty.bound": 0.01}
    other = wgan_gp().with_numbers({"0.penalty.weight": 3.0})
    assert other == wgan_gp(3.0)


@pytest.mark.parametrize(
    ("whole", "exact"),
    [
        (Objective(NLL(weight=2), KL()), Objective(NLL(weight=2.0), KL())),
        (wgan_gp(10), wgan_gp(10.0)),
        (wgan(1), wgan(1.0)),
    ],
    ids=["term", "penalty", "bound"],
)
def test_whole_numbers_are_numbers_too(whole, exact):
    assert whole.numbers() == exact.numbers()


def test_numbers_may_be_tensors():
    w = torch.tensor([1.0, 2.0])
    assert vae().with_numbers({"1.weight": w}).numbers()["1.weight"] is w


# Options and refusals


@pytest.mark.parametrize("name", SYSTEMS)
def test_a_systems_options_are_the_arguments_of_its_declaration(name):
    system = find(name)
    assert system is SYSTEMS[name]
    assert system.objective(**system.options) == system.objective()
    assert system.objective().labels == system.labels
    assert system.summary
    assert system.reference
    with pytest.raises(BadInput, match="unknown"):
        system.objective(no_such_option=1.0)


@pytest.mark.parametrize("name", SYSTEMS)
def test_every_number_among_the_options_changes_the_objective(name):
    system = SYSTEMS[name]
    for option, value in system.options.items():
        if isinstance(value, str) or (option == "pack" and system.labels):
            continue
        other = (not value) if isinstance(value, bool) else 2 * value
        assert system.objective(**{option: other}) != system.objective()


def test_needs_likelihood():
    assert [n for n, s in SYSTEMS.items() if s.objective().needs_likelihood] == [
        n for n, s in SYSTEMS.items() if any(isinstance(t, NLL | IWAE) for t in s.objective().terms)
    ]


def test_refusals():
    with pytest.raises(BadInput, match="at least one term"):
        Objective()
    with pytest.raises(BadInput, match=r"does not depend on 'encoder'"):
        Match(X_GEN, X).to("encoder")
    with pytest.raises(BadInput, match=r"does not depend on 'critic'"):
        NLL().to("critic")
    with pytest.raises(BadInput, match=r"does not depend on 'decoder'"):
        KL().to("decoder")
    with pytest.raises(BadInput, match="same spaces, in order"):
        Match(X_GEN, Z_PRIOR)
    with pytest.raises(BadInput, match="same spaces, in order"):
        Match((X, Z_CODE), (Z_PRIOR, X_GEN))
    with pytest.raises(BadInput, match="same spaces, in order"):
        Match((X, Z_CODE), X)
    with pytest.raises(BadInput, match="same spaces"):
        Match((), ())
    with pytest.raises(BadInput, match="different spaces"):
        Distance(X, Z_CODE)
    with pytest.raises(BadInput, match="order 1 or 2, not 3"):
        Distance(order=3)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="reduction is sum or mean"):
        Distance(reduction="max")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="name one of them differently"):
        _ = (Match(X_GEN, X, critic="c") + Match(Z_CODE, Z_PRIOR, critic="c")).critics
    with pytest.raises(BadInput, match="did you mean 'vgh'"):
        find("vhg")


def test_penalties_are_seen_in_the_noise_asked_for():
    own = "penalty/match(x_gen, x)"
    assert Match(X_GEN, X, penalty=gradient_penalty()).noise == {own: Noise("uniform", "each")}
    assert Match(X_GEN, X, penalty=dragan()).noise == {own + "/0": Noise("uniform", "x")}
    assert Match(X_GEN, X, penalty=gradient_penalty(place="target")).noise == {}
    assert Match(X_GEN, X, penalty=clipping()).noise == {}


def test_terms_that_share_a_critic_share_its_loss():
    assert (Match(X_GEN, X) + Match(X_REC, X, by=MINIMAX)).critics == {"data": ("x",)}
    with pytest.raises(BadInput, match="two different losses"):
        _ = (Match(X_GEN, X) + Match(X_REC, X, by=WASSERSTEIN)).critics
    apart = Match(X_GEN, X) + Match(X_REC, X, by=WASSERSTEIN, critic="other")
    assert apart.critics == {"data": ("x",), "other": ("x",)}


def test_objectives_that_differ_print_differently():
    """Over all systems, and a match with each thing that its equation does not show."""
    match = partial(Match, X_GEN, X)
    variants = [
        match(),
        match(penalty=gradient_penalty(10.0)),
        match(penalty=gradient_penalty(5.0)),
        match(penalty=gradient_penalty(10.0, 0.0)),
        match(penalty=r1(1.0)),
        match(instance_noise=0.1),
        match(instance_noise=0.2),
        match(pack=2),
        match(pack=3, penalty=gradient_penalty(10.0), instance_noise=0.1),
    ]
    printed = [str(Objective(term)) for term in variants]
    assert len(set(printed)) == len(printed)
    assert printed[-1] == (
        "D[p(x̃) ‖ p*(x)] (critic data: penalty 10·E[(‖∇f‖ - 1)²] between, noise of σ = 0.1, packs of 3)"
    )
