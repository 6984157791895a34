"""What the terms beyond `Match` compute in closed form, what they refuse, and how options are read from text."""

from __future__ import annotations

import math
import re

import pytest
import torch
from torch import Tensor

from contracts.toys import batch, generator, linear_nets
from distmatch.errors import BadInput
from distmatch.objectives.comparisons import GENERATOR_LOSSES, LSIF, WASSERSTEIN
from distmatch.objectives.objective import Objective
from distmatch.objectives.parser import parse
from distmatch.objectives.penalties import r1
from distmatch.objectives.term import Critics
from distmatch.objectives.terms.clamp import Clamp
from distmatch.objectives.terms.critic import AdaptiveContrast, FeatureDistance, MixedBatch
from distmatch.objectives.terms.distance import CosineDistance
from distmatch.objectives.terms.likelihood import KL, NLL
from distmatch.objectives.terms.moments import MMD, CodeKL
from distmatch.objectives.variables import X_GEN, X_NEAR, Z_CODE, Z_PRIOR, Z_REC, Draws, X, draw
from distmatch.schedules import Ramp
from distmatch.systems import SYSTEMS, avb_ac, find, gan


def value(term, **values):
    return term.loss(Draws({k: torch.tensor(v) for k, v in values.items()}, {}, {}), Critics({}, None))


def test_the_normal_fitted_to_codes_has_their_moments():
    codes = [[1.0], [3.0]]
    expected = 0.5 * (4 + 1 - 1 - 0)
    assert value(CodeKL(), z_code=codes).item() == pytest.approx(expected)
    assert value(CodeKL(maximise=True), z_code=codes).item() == pytest.approx(-expected)
    wide = [[1.0, 1.0], [3.0, 3.0]]
    assert value(CodeKL(reduction="mean"), z_code=wide).item() == pytest.approx(expected)
    assert value(CodeKL(), z_code=wide).item() == pytest.approx(2 * expected)


def test_codes_that_coincide_have_a_finite_divergence_and_gradient():
    codes = torch.ones(3, 2, requires_grad=True)
    loss = CodeKL().loss(Draws({"z_code": codes}, {}, {}), Critics({}, None))
    loss.backward()
    assert loss.isfinite()
    assert codes.grad.isfinite().all()


def test_angles():
    term = CosineDistance(reduction="mean")
    found = value(term, z_prior=[[1.0, 0.0], [1.0, 1.0]], z_rec=[[0.0, 2.0], [-3.0, -3.0]])
    torch.testing.assert_close(found, torch.tensor([0.5, 1.0]))


def test_slopes_outside_the_bounds_are_paid_for():
    near = [[0.5, 0.0], [3.0, 0.0], [0.0, 30.0], [0.0, 0.0]]
    found = value(Clamp(), x_gen=[[0.0, 0.0]] * 4, x_near=near)
    torch.testing.assert_close(found, torch.tensor([0.25, 0.0, 100.0, 1.0]))


def test_near_codes_are_at_distance_one():
    objective, g = Objective(Clamp()), generator()
    nets, data = linear_nets(objective), batch(objective, g)
    draws = draw(objective.variables, nets, data.x, data.noise)
    lengths = (draws.values["z_near"] - draws.values["z_prior"]).norm(dim=1)
    torch.testing.assert_close(lengths, torch.ones(5, dtype=torch.float64))


def mixed_draws(drawn: float, choices: list[float]) -> Draws:
    """Real rows of 0 and made ones of 1, real where the choice is below the share that was drawn."""
    noise = {
        "share/mixed_batch(x_gen, x)": torch.tensor(drawn),
        "choice/mixed_batch(x_gen, x)": torch.tensor(choices),
    }
    n = len(choices)
    return Draws({"x": torch.zeros(n, 2), "x_gen": torch.ones(n, 2)}, {}, noise)


def test_the_share_that_became_real_is_what_the_critic_of_a_mixed_batch_learns():
    """Scores that say it exactly pay its entropy, and no other constant pays less; 0.3 was drawn, 1/4 became real."""
    draws, share = mixed_draws(0.3, [0.5, 0.31, 0.1, 0.9]), 0.25
    for average in ("output", "element"):

        def paid(t: float, average: str = average) -> float:
            critics = Critics({"data": lambda u: torch.full((4,), t)}, draws)
            return MixedBatch(average=average).critic_losses(draws, critics)["mixed"].mean().item()

        best = math.log(share / (1 - share))
        assert paid(best) == pytest.approx(-share * math.log(share) - (1 - share) * math.log(1 - share))
        assert paid(best) < min(paid(best - 0.1), paid(best + 0.1))


@pytest.mark.parametrize("average", ["output", "element"])
def test_a_mixed_batch_by_hand(average):
    """Four of five are real; the critic's score is 2 on them and -1 on the made one."""
    draws = mixed_draws(0.9, [0.2, 0.89, 0.91, 0.0, 0.5])
    seen = []

    def critic(x: Tensor) -> Tensor:
        seen.append(x[:, 0])
        return 2 - 3 * x[:, 0]

    def sigmoid(t: float) -> float:
        return 1 / (1 + math.exp(-t))

    found = MixedBatch(average=average).critic_losses(draws, Critics({"data": critic}, draws))["mixed"].mean()
    assert seen[0].tolist() == [0, 0, 1, 0, 0]
    outputs = [sigmoid(2)] * 4 + [sigmoid(-1)]
    if average == "output":
        outputs = [sum(outputs) / 5]
    paid = [-0.8 * math.log(d) - 0.2 * math.log(1 - d) for d in outputs]
    assert found.item() == pytest.approx(sum(paid) / len(paid))


@pytest.mark.parametrize("drawn", [0.0, 1.0])
def test_a_batch_of_one_kind_alone_is_finite(drawn):
    """A critic that is sure and right pays next to nothing."""
    draws = mixed_draws(drawn, [0.1, 0.6])
    sure = Critics({"data": lambda x: 50 - 100 * x[:, 0]}, draws)
    for average in ("output", "element"):
        paid = MixedBatch(average=average).critic_losses(draws, sure)["mixed"].mean()
        assert paid.item() == pytest.approx(0, abs=1e-12)


def test_adaptive_contrast_is_the_rate_where_the_moments_say_all():
    """For a normal q, standardised codes are the contrast: t = 0, and what is left is log q(ẑ|x) - log p(ẑ)."""
    objective, g = avb_ac(), generator(1)
    nets, data = linear_nets(objective), batch(objective, g)
    draws = draw(objective.variables, nets, data.x, data.noise, distributions=objective.distributions)
    critics = Critics({"joint": lambda x, z: torch.zeros(len(x), dtype=x.dtype)}, draws)
    distribution, z = draws.distributions["z_code"], draws[Z_CODE]
    expected = distribution.log_prob(z) - torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)
    torch.testing.assert_close(AdaptiveContrast().loss(draws, critics), expected)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: MMD(X_GEN, Z_PRIOR), "different spaces"),
        (lambda: MMD(X_GEN, X, kernel="cosine"), "unknown kernel"),
        (lambda: CodeKL(X), "of codes"),
        (lambda: CodeKL(Z_REC, reduction="max"), "sum or mean"),
        (lambda: CosineDistance(X, Z_REC), "different spaces"),
        (lambda: CosineDistance(reduction="max"), "sum or mean"),
        (lambda: Clamp(-1.0), "0 or above"),
        (lambda: Clamp(2.0, 1.0), "above its high end"),
        (lambda: FeatureDistance(X, Z_REC), "different spaces"),
        (lambda: MixedBatch(X_GEN, Z_PRIOR), "different spaces"),
        (lambda: MixedBatch(average="batch"), "each output or over each element"),
        (lambda: AdaptiveContrast(WASSERSTEIN), "no density ratio"),
        (lambda: (KL() + FeatureDistance()).critics, "no term trains it"),
    ],
)
def test_what_means_nothing_is_refused(make, sentence):
    with pytest.raises(BadInput, match=re.escape(sentence)):
        make()


def test_an_encoder_without_moments_has_no_adaptive_contrast():
    distribution = torch.distributions.Beta(torch.ones(1, 2), torch.ones(1, 2))
    draws = Draws({"x": torch.zeros(1, 2), "z_code": torch.zeros(1, 2)}, {"z_code": distribution}, {})
    with pytest.raises(BadInput, match="noise or a gaussian posterior"):
        AdaptiveContrast().loss(draws, Critics({}, draws))


def test_options_are_read_from_text_as_from_objects():
    text = {"by": "lsif", "generator": "kl", "penalty": "r1(ramp(10, 0, 100))", "instance_noise": "0.1"}
    built = {"by": LSIF, "generator": GENERATOR_LOSSES["kl"], "penalty": r1(Ramp(10, 0, 100))}
    assert find("gan").objective(**text) == gan(**built, instance_noise=0.1)
    assert find("gan-r1").objective(penalty="none", pack=2) == gan(pack=2)
    assert find("beta-vae").objective(beta=1) == NLL() + KL()
    assert find("veegan").objective(encoder_sees_critic="false") != find("veegan").objective()


@pytest.mark.parametrize("name", SYSTEMS)
def test_shown_options_can_be_written_back(name):
    system = SYSTEMS[name]
    assert system.objective(**system.options) == system.objective()


@pytest.mark.parametrize(
    ("system", "options", "sentence"),
    [
        (
            "gan",
            {"by": "lsiff"},
            "system.by cannot be 'lsiff': unknown comparison 'lsiff'; did you mean 'lsif'?",
        ),
        ("gan", {"penalty": "r1(10) r2"}, "nothing is expected after it"),
        ("gan", {"pack": 1.5}, "a whole number"),
        ("gan", {"pack": True}, "system.pack cannot be 'true'"),
        ("vae", {"beta": "large"}, "expected a number or ramp"),
        ("wae-gan", {"weight": "1e999"}, "beyond the range"),
        ("vgh", {"weights": 1.0}, "did you mean 'weight'"),
        ("wgan", {"generator": "kl"}, "no density ratio"),
    ],
)
def test_options_that_mean_nothing_are_refused_in_one_line(system, options, sentence):
    with pytest.raises(BadInput, match=re.escape(sentence)) as caught:
        find(system).objective(**options)
    assert "\n" not in str(caught.value)


def test_every_term_has_a_text():
    text = (
        "kl + feature_distance(x, x_rec, critic=data) + match(x_gen, x) + clamp(0.5, high=2) + mmd(x_gen, x)"
    )
    assert parse(text) == (
        KL() + FeatureDistance() + parse("match(x_gen, x)") + Clamp(0.5, 2) + MMD(X_GEN, X)
    )
    assert Clamp().variables == (X_GEN, X_NEAR)
