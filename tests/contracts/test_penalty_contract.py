"""Every penalty: what it is by finite differences, per sample; or, for a projection, what it does to weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from contracts.toys import batch, generator, linear_nets
from distmatch.objectives.comparisons import COMPARISONS
from distmatch.objectives.objective import Objective
from distmatch.objectives.penalties import PENALTIES, GradientPenalty, Penalty
from distmatch.objectives.term import Critics
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import X_GEN, Z_CODE, Z_PRIOR, X, draw
from distmatch.schedules import Ramp
from distmatch.testing import check_penalty
from distmatch.training.optimisers import SGD
from distmatch.training.step import Settings, init, step

B, H = 6, 1e-6
DOUBLE = {"dtype": torch.float64}
every = pytest.mark.parametrize("make", PENALTIES.values(), ids=PENALTIES)
SMOOTH = [n for n, make in PENALTIES.items() if make().per_sample]
smooth = pytest.mark.parametrize("make", [PENALTIES[n] for n in SMOOTH], ids=SMOOTH)
joint = pytest.mark.parametrize("shapes", [((3,),), ((1, 2, 2),), ((3,), (2,))], ids=["x", "image", "joint"])


def critic(shapes: tuple[tuple[int, ...], ...], weights: Tensor):
    """A curved critic, sample by sample."""

    def score(*inputs: Tensor) -> Tensor:
        u = torch.cat([v.flatten(1) for v in inputs], 1)
        assert u.shape[1] == weights.shape[0]
        return (u @ weights).tanh().square().sum(1) + u.prod(1)

    return score


def case(shapes: tuple[tuple[int, ...], ...], penalty: Penalty, seed: int = 0):
    """Weights of the critic, samples of the target and of the model, and the noise that the penalty takes."""
    g = generator(seed)
    size = sum(torch.Size(s).numel() for s in shapes)
    weights = torch.randn(size, 3, generator=g, **DOUBLE)
    p, q = ([torch.randn(B, *s, generator=g, **DOUBLE) for s in shapes] for _ in range(2))
    if not penalty.needs_noise:
        return weights, p, q, None
    drawn = [penalty.noise.draw({"x": (B, *s)}, g, torch.float64) for s in shapes]
    return weights, p, q, drawn[0] if penalty.noise.shape == "each" else drawn


def row(noise: Tensor | list[Tensor] | None, i: int) -> Tensor | list[Tensor] | None:
    if isinstance(noise, list):
        return [u[i : i + 1] for u in noise]
    return None if noise is None else noise[i : i + 1]


def held(
    penalty: Penalty, p: list[Tensor], noise: Tensor | list[Tensor] | None
) -> tuple[Penalty, list[Tensor]]:
    """The penalty with the spread of the whole batch, where it takes that, put into its samples beforehand."""
    if isinstance(penalty, GradientPenalty) and penalty.place == "around":
        assert noise is not None
        return replace(penalty, place="target"), [
            v + 0.5 * v.std() * u for v, u in zip(p, noise, strict=True)
        ]
    return penalty, p


@every
def test_it_keeps_the_contract(make):
    check_penalty(make())


@smooth
@joint
def test_it_is_per_sample(make, shapes):
    """Changing one sample of the batch changes its own penalty alone.

    It is turned round, so that the batch keeps its standard deviation, which DRAGAN's may depend on.
    """
    penalty = make()
    weights, p, q, noise = case(shapes, penalty)
    before = penalty(critic(shapes, weights), p, q, noise)
    assert before.shape == (B,)
    other = [[v.clone() for v in side] for side in (p, q)]
    for side in other:
        for v in side:
            v[2] = v[2].flatten().flip(0).view_as(v[2])
    after = penalty(critic(shapes, weights), *other, noise)
    same = torch.arange(B) != 2
    torch.testing.assert_close(after[same], before[same], rtol=1e-13, atol=0)
    assert (after[2] - before[2]).abs() > 1e-3


@smooth
@joint
def test_a_batch_is_its_samples_one_by_one(make, shapes):
    penalty = make()
    weights, p, q, noise = case(shapes, penalty)
    together = penalty(critic(shapes, weights), p, q, noise)
    single, points = held(penalty, p, noise)
    alone = [
        single(
            critic(shapes, weights), [v[i : i + 1] for v in points], [v[i : i + 1] for v in q], row(noise, i)
        )
        for i in range(B)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=1e-12)


@smooth
@joint
def test_its_gradient_in_the_critics_weights_equals_finite_differences(make, shapes):
    """Double backward, eager and by `torch.func`."""
    penalty = make()
    weights, p, q, noise = case(shapes, penalty)

    def value(w: Tensor) -> Tensor:
        return penalty(critic(shapes, w), p, q, noise).mean()

    leaf = weights.clone().requires_grad_()
    (slope,) = torch.autograd.grad(value(leaf), leaf)
    torch.testing.assert_close(torch.func.grad(value)(weights), slope, rtol=1e-10, atol=1e-12)
    for i in range(0, weights.numel(), 2):
        step = torch.zeros_like(weights)
        step.view(-1)[i] = H
        difference = (value(weights + step) - value(weights - step)) / (2 * H)
        torch.testing.assert_close(slope.reshape(-1)[i], difference, rtol=1e-6, atol=1e-7)


@smooth
def test_its_first_number_is_a_factor_and_may_differ_from_lane_to_lane(make):
    shapes = ((3,),)
    weights, p, q, noise = case(shapes, make())
    one = make(1.0)(critic(shapes, weights), p, q, noise)
    torch.testing.assert_close(make(2.5)(critic(shapes, weights), p, q, noise), 2.5 * one)
    lanes = torch.func.vmap(lambda w: make(w)(critic(shapes, weights), p, q, noise))
    factors = torch.tensor([0.0, 1.0, 3.0], **DOUBLE)
    torch.testing.assert_close(lanes(factors), factors[:, None] * one)


@pytest.mark.parametrize("by", COMPARISONS.values(), ids=COMPARISONS)
@every
def test_a_term_takes_it_with_any_comparison(make, by):
    """What the critic pays is the comparison's two sides and the penalty, called by hand."""
    penalty = make()
    objective = Objective(Match(X_GEN, X, by=by, penalty=penalty))
    (term,) = objective.terms
    nets, b = linear_nets(objective), batch(objective, generator(1))
    draws = draw(objective.variables, nets, b.x, b.noise)
    score = nets["data"]
    parts = term.critic_losses(draws, Critics({"data": score}, draws))
    sides = {"target": (by.critic.target, b.x), "model": (by.critic.model, draws[X_GEN])}
    for part, (integrand, u) in sides.items():
        assert (part in parts) == (integrand is not None)
        if integrand is not None:
            torch.testing.assert_close(parts[part], integrand(score(u)))
    assert ("penalty" in parts) == penalty.per_sample
    if penalty.per_sample:
        own = "penalty/match(x_gen, x)"
        noise = b.noise.get(own, [b.noise[own + "/0"]] if own + "/0" in b.noise else None)
        torch.testing.assert_close(parts["penalty"], penalty(score, [b.x], [draws[X_GEN]], noise))
    settings = Settings(model=SGD(0.01), critics=SGD(0.01))
    _, logs = step(objective, nets, init(objective, nets, settings), [b], settings)
    assert all(v.isfinite() for v in logs.values())


NOISE = {
    "each": lambda own: {own: (B,)},
    "x": lambda own: {own + "/0": (B, 2), own + "/1": (B, 3)},
}


@every
def test_it_asks_for_its_noise(make):
    """One number for each sample under the term's name, or as many as each argument has under theirs."""
    penalty = make()
    term = Match((X_GEN, Z_PRIOR), (X, Z_CODE), penalty=penalty)
    sizes = {"x": (B, 2), "z": (B, 3)}
    found = {n: distribution.draw(sizes, generator()).shape for n, distribution in term.noise.items()}
    wanted = NOISE[penalty.noise.shape](f"penalty/{term.name}") if penalty.needs_noise else {}
    assert found == wanted


@every
def test_it_prints_and_may_have_a_ramp(make):
    assert make().equation()
    assert isinstance(make().per_sample, bool)
    assert len(Objective(Match(X_GEN, X, penalty=make(Ramp(1, 2, 10)))).ramps) == 1
