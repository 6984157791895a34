"""Which half, side, prior, label and seed reach the metrics of the generator's map and of critics."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from distmatch.metrics import METRICS
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.generator import independent_critic as module
from distmatch.metrics.generator.gradients import GradientNorms, gradient_norms, interpolates
from distmatch.metrics.generator.independent_critic import (
    IndependentCritic,
    critic_distance,
    independent_critic,
)
from distmatch.metrics.generator.inversion import inference_via_optimization
from distmatch.metrics.generator.jacobian import jacobian_spectrum
from distmatch.metrics.model import Critic, Model, Options
from distmatch.random import seeded

RUN = METRICS


class Remembers(nn.Module):
    """f(x) = w x²/2 of one number, which keeps what it was shown in training."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))
        self.shown = set()

    def forward(self, x):
        if self.training:
            self.shown |= set(x[:, 0].tolist())
        return self.weight * x[:, 0].square() / 2


def rows(first, n):
    """n whole numbers that no other set has, (n, 1)."""
    return torch.arange(first, first + n, dtype=torch.float32)[:, None] / 16


SETS = dict(samples=rows(0, 30), train=rows(100, 50), validation=rows(200, 21), test=rows(300, 40))


def shown_of(found, x):
    """Which rows of x the critic was trained on."""
    return torch.tensor([v in found.critic.shown for v in x[:, 0].tolist()])


def score(found, x):
    """The trained critic's scores, in numpy."""
    return float(found.critic.weight) * x[:, 0].double().numpy() ** 2 / 2


def apart(a, b):
    """The difference of two means, with its error, by hand."""
    return a.mean() - b.mean(), math.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b))


def test_a_critic_is_judged_where_it_was_not_trained():
    found = independent_critic(**SETS, critic=Remembers(), steps=40, rate=1e-3, batch_size=16)
    shown = {name: shown_of(found, x) for name, x in SETS.items()}
    assert {name: int(rows.sum()) for name, rows in shown.items()} == {
        "samples": 15,
        "train": 0,
        "validation": 10,
        "test": 0,
    }
    unseen = {name: score(found, x[~shown[name]]) for name, x in SETS.items()}
    for name in ("train", "validation", "test"):
        estimate = getattr(found, name)
        value, error = apart(unseen[name], unseen["samples"])
        assert estimate.value == pytest.approx(value, rel=1e-5)
        assert estimate.standard_error == pytest.approx(error, rel=1e-5)
        assert estimate.n == len(unseen[name]) + 15
    value, error = apart(unseen["test"], unseen["train"])
    assert found.overfitting.value == pytest.approx(value, rel=1e-5)
    assert found.overfitting.standard_error == pytest.approx(error, rel=1e-5)


def test_the_slope_is_taken_where_the_critic_was_not_trained():
    """Rows that it is trained on are 1 and all others 5, where f′ = 5w."""
    found = independent_critic(**SETS, critic=Remembers(), steps=60, batch_size=16)
    halves = {name: torch.where(shown_of(found, x)[:, None], 1.0, 5.0) for name, x in SETS.items()}
    found = independent_critic(**halves, critic=Remembers(), steps=1, rate=1e-6)
    assert found.slope.mean.value == pytest.approx(2.5, rel=1e-3)
    assert found.validation.value == found.test.value == 0


def test_the_halves_of_samples_and_of_data_are_drawn_apart():
    sets = {name: rows(100 * i, 30) for i, name in enumerate(SETS)}
    found = independent_critic(**sets, critic=Remembers(), steps=60, batch_size=16)
    assert not torch.equal(shown_of(found, sets["samples"]), shown_of(found, sets["validation"]))


def test_the_seed_is_of_the_critics_weights_too():
    first, second = (independent_critic(**SETS, steps=1, rate=1e-9, seed=s).critic[1].weight for s in (0, 1))
    assert (first - second).abs().max() > 0.1


def test_a_distance_is_over_all_rows_of_both_sets():
    g = seeded(0)
    real, model = torch.randn(700, 1, generator=g) * 3, torch.randn(40, 1, generator=g)
    found = critic_distance(lambda x: x[:, 0], real, model)
    value, error = apart(*(x[:, 0].double().numpy() for x in (real, model)))
    assert found.value == pytest.approx(value)
    assert found.standard_error == pytest.approx(error)


@pytest.fixture
def judged(monkeypatch):
    """What the entry gives the fresh critic, and metrics from results that all differ."""
    results = [Estimate(float(i), 0.0, 2) for i in range(6)]
    given = {}

    def stand_in(samples, train, validation, test, **more):
        given.update(samples=samples, train=train, validation=validation, test=test, **more)
        slope = GradientNorms(results[4], results[5], torch.zeros(2))
        return IndependentCritic(*results[:4], slope, torch.zeros(3), nn.Identity())

    monkeypatch.setattr(module, "independent_critic", stand_in)
    model = Model(
        sample=lambda n, seed: torch.full((n, 1), float(seed)),
        train=torch.arange(1000.0, 1300.0)[:, None],
        test=torch.arange(120.0)[:, None],
    )
    metrics = RUN["independent_critic"](model, Options(samples=50, seed=7)).metrics
    return given, {name: found.value for name, found in metrics.items()}


def test_critics_get_halves_of_the_held_out_data_and_the_training_data(judged):
    given, _ = judged
    validation, test, train = (set(given[k][:, 0].tolist()) for k in ("validation", "test", "train"))
    assert len(validation) == len(test) == len(train) == 50
    assert not validation & test
    assert validation | test <= set(range(120))
    assert train <= set(range(1000, 1300))
    assert min(validation) < 60 < max(validation)  # the data may be sorted: halves are drawn
    assert min(test) < 60 < max(test)
    assert given["samples"].unique().tolist() == [7]
    assert given["seed"] == 7


def test_each_of_the_critics_results_has_its_name(judged):
    assert judged[1] == {
        "critic_distance_train": 0,
        "critic_distance_validation": 1,
        "critic_distance_test": 2,
        "critic_overfitting": 3,
        "critic_slope": 4,
    }


def test_a_held_out_set_of_an_odd_size_is_halved_without_overlap(monkeypatch):
    given = []
    monkeypatch.setattr(module, "independent_critic", lambda *sets, **more: given.extend(sets) or 1 / 0)
    model = Model(sample=lambda n, seed: torch.zeros(n, 1), train=rows(0, 20), test=rows(100, 17))
    with pytest.raises(ZeroDivisionError):
        RUN["independent_critic"](model, Options())
    validation, test = (set(x[:, 0].tolist()) for x in given[2:])
    assert not validation & test
    assert len(validation | test) == 17
    assert max(validation) > min(test)  # the data may be sorted


class Seeds:
    """Draws that are all one number, and the seeds that were asked for."""

    def __init__(self, *value):
        self.value, self.seen = torch.tensor(value), []

    def __call__(self, n, seed):
        self.seen.append(seed)
        return self.value.expand(n, -1).clone()


def test_the_jacobian_is_looked_at_where_the_prior_draws():
    """G(z) = z²/2, so that J = diag(z): at (2, 4), cond(JᵀJ) = 4 everywhere."""
    prior = Seeds(2.0, 4.0)
    model = Model(generate=lambda z, y: z.square() / 2, draw_prior=prior)
    found = RUN["jacobian_spectrum"](model, Options(samples=20, seed=5)).metrics
    assert found["log_condition_number"].value == pytest.approx(2 * math.log(2))
    assert found["log_condition_number_spread"].value == pytest.approx(0, abs=1e-6)
    assert found["log_volume"].value == pytest.approx(math.log(8))
    assert set(prior.seen) == {5}


def test_all_classes_take_turns():
    seen = []
    model = Model(
        generate=lambda z, y: seen.append(y) or z * (1 + y[:, None]),
        draw_prior=Seeds(1.0),
        sample_with_labels=lambda y, seed: y,
        train_labels=torch.tensor([0, 2, 1]),
    )
    RUN["jacobian_spectrum"](model, Options(samples=7))
    assert seen[-1].tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_inverted_are_held_out_data_with_their_labels():
    """G makes nothing but 1 + y: the held-out 3 of class 1 are 1 away, and training data 0."""
    prior = Seeds(1.0, 0.0)
    model = Model(
        generate=lambda z, y: 0 * z + 1 + (0 if y is None else y[:, None]),
        draw_prior=prior,
        latent=2,
        train=torch.ones(20, 2),
        test=torch.full((30, 2), 3.0),
        test_labels=torch.ones(30),
    )
    found = RUN["inference_via_optimization"](model, Options(samples=10, seed=4)).metrics
    assert found["inversion_error"].value == pytest.approx(1)
    assert found["inversion_error"].n == 10
    assert set(prior.seen) == {4}
    unlabelled = dataclasses.replace(model, test_labels=None)
    found = RUN["inference_via_optimization"](unlabelled, Options(samples=10)).metrics
    assert found["inversion_error"].value == pytest.approx(4)


def test_codes_found_are_compared_with_the_models_own_prior():
    """All of whose draws have the norm 5, as have the codes of these data."""
    model = Model(
        generate=lambda z, y: z, draw_prior=Seeds(3.0, 4.0), latent=2, test=torch.tensor([[4.0, 3.0]] * 9)
    )
    found = RUN["inference_via_optimization"](model, Options()).metrics["inversion_code_norm"]
    assert found.value == pytest.approx(1, abs=0.01)


def test_inversion_starts_at_the_encoders_code():
    """exp(-50 (z - 6)²) is a needle that no draw of the prior finds."""
    needle = Model(
        generate=lambda z, y: (-50 * (z - 6) ** 2).exp(),
        encode=lambda x, y: Independent(Normal(torch.full((len(x), 1), 5.9), 1e-3), 1),
        draw_prior=lambda n, seed: torch.randn(n, 1, generator=seeded(seed)),
        latent=1,
        test=torch.ones(5, 1),
    )
    assert RUN["inference_via_optimization"](needle, Options()).metrics["inversion_error"].value < 1e-3
    blind = dataclasses.replace(needle, encode=None)
    assert RUN["inference_via_optimization"](blind, Options()).metrics["inversion_error"].value > 0.9


def test_each_example_has_its_own_start():
    x = torch.arange(7.0)[:, None]
    found = inference_via_optimization(lambda z: z, x, 1, start=x, batch_size=2, steps=1, rate=1e-6)
    assert found.errors.tolist() == [0] * 7


def test_the_error_of_a_ratio_of_norms_is_of_both_means():
    """By the delta method: √(s_c²/n + r² s_p²/m) / E‖z‖, from norms that are known."""
    g = seeded(1)
    x = torch.randn(12, 2, generator=g)
    draws = 3 + torch.randn(24, 2, generator=g)
    found = inference_via_optimization(
        lambda z: z, x, 2, draw_prior=lambda n, seed: draws, start=100 + x, restarts=2, rate=0.5, steps=300
    ).code_norm
    codes, prior = (v.double().norm(dim=1).numpy() for v in (x, draws))
    ratio = codes.mean() / prior.mean()
    of_codes, of_prior = (v.std(ddof=1) / math.sqrt(len(v)) for v in (codes, prior))
    assert found.value == pytest.approx(ratio, rel=0.01)
    assert found.standard_error == pytest.approx(
        math.hypot(of_codes, ratio * of_prior) / prior.mean(), rel=0.02
    )


def test_the_codes_are_those_of_the_least_errors():
    """Large steps overshoot: where the descent was best is not where it ended."""
    x = torch.linspace(-2, 2, 9)[:, None].expand(9, 3).contiguous()
    found = inference_via_optimization(torch.sinh, x, 3, rate=3.0, steps=7)
    torch.testing.assert_close(found.errors, (torch.sinh(found.codes) - x).square().mean(1).double())


def test_reconstructions_have_their_own_labels():
    y = torch.arange(7.0)
    found = inference_via_optimization(
        lambda z, y: 0 * z + y[:, None], y[:, None].clone(), 1, y=y, batch_size=3, steps=2
    )
    assert found.reconstructions[:, 0].tolist() == y.tolist()


def test_slopes_are_taken_between_the_two_sides():
    """f′(u) = u between a target at 0 and a model at 2: all slopes from 0 to 2, with the mean 1 and spread 2/√12."""
    critic = Critic(lambda u: u[:, 0].square() / 2, (torch.zeros(500, 1),), (torch.full((500, 1), 2.0),))
    seeds = []
    model = Model(critics=lambda n, seed: seeds.append(seed) or {"data": critic})
    found = RUN["gradient_norms"](model, Options(seed=3)).metrics
    assert found["gradient_norm_data"].value == pytest.approx(1, abs=0.1)
    assert found["gradient_norm_spread_data"].value == pytest.approx(2 / math.sqrt(12), rel=0.1)
    assert seeds == [3]


def test_places_follow_the_seed_and_are_one_for_all_inputs_of_a_pair():
    p, q = torch.zeros(50, 1), torch.ones(50, 1)
    x, z = interpolates((p, p), (q, q), 0)
    assert torch.equal(x, z)
    assert not torch.equal(x, interpolates(p, q, 1)[0])
    labels, others = torch.arange(50), torch.arange(50) + 100
    assert torch.equal(interpolates((p, labels), (q, others), 0)[1], labels)


def test_slopes_of_a_critic_with_a_function_for_each_side_are_refused_and_others_kept():
    one = Critic(lambda u: 3 * u[:, 0], (torch.zeros(5, 1),), (torch.ones(5, 1),))
    two = dataclasses.replace(one, apart=True)
    found = RUN["gradient_norms"](
        Model(critics=lambda n, seed: {"data": one, "code": two}), Options()
    ).metrics
    assert found.keys() == {"gradient_norm_data", "gradient_norm_spread_data"}
    assert gradient_norms(one.score, one.target, one.model).mean.value == 3


def test_calibration_knows_the_target_from_the_model():
    """t = ln 2 on the target and ln 3 on the model: E_q e^t = 3, E_p e^-t = ½."""
    ratio = Critic(
        lambda u: u[:, 0], (torch.full((6, 1), math.log(2)),), (torch.full((9, 1), math.log(3)),), True
    )
    other = dataclasses.replace(ratio, is_log_ratio=False)
    seeds = []
    model = Model(critics=lambda n, seed: seeds.append(seed) or {"data": ratio, "code": other})
    found = RUN["ratio_calibration"](model, Options(seed=3)).metrics
    assert found["calibration_model_data"].value == pytest.approx(3)
    assert found["calibration_target_data"].value == pytest.approx(0.5)
    assert found["critic_accuracy_data"].value == 0.5  # all of the target, none of the model
    assert not any(name.endswith("_code") for name in found)
    assert seeds == [3]


def test_the_mean_condition_number_is_of_the_metric_and_not_of_its_root():
    """A flat direction counts as 1/ε², where x has fewer coordinates than z too."""
    wide = jacobian_spectrum(lambda z: z[:, :2] * torch.tensor([1.0, 0.0]), torch.zeros(3, 4))
    assert wide.log_condition_number.value == pytest.approx(-2 * np.log(np.finfo(np.float32).eps), rel=1e-6)
