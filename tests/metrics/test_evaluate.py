import dataclasses
import json
import math

import pytest
import torch
from torch.distributions import Independent, Normal

from distmatch.errors import BadInput
from distmatch.metrics import (
    BETTER,
    METRICS,
    Estimate,
    Model,
    by_key,
    evaluate,
)
from distmatch.metrics.model import REASONS
from distmatch.random import seeded

MODES = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])


def draw(n, seed):
    g = seeded(seed)
    return MODES[torch.randint(2, (n,), generator=g)] + 0.1 * torch.randn(n, 2, generator=g)


def normal(loc, scale):
    return Independent(Normal(loc, torch.full_like(loc, scale)), 1)


TOY = Model(
    sample=draw,
    encode=lambda x, y: normal(x / 2, math.sqrt(0.5)),
    decode=lambda z, y: normal(z, 1.0),
    has_likelihood=True,
    latent=2,
    train=lambda: draw(500, 1),
    test=draw(300, 2),
    modes=MODES,
    mode_scale=0.1,
)
FACES = Model(
    sample=lambda n, seed: 2 * torch.rand(n, 1, 16, 16, generator=seeded(seed)) - 1,
    test=2 * torch.rand(400, 1, 16, 16, generator=seeded(5)) - 1,
    is_image=True,
    image_range=(-1.0, 1.0),
)


def test_runs_all_that_apply_and_says_why_the_rest_do_not():
    heard = {}
    results = evaluate(TOY, samples=1000, quick=True, progress=lambda name, done: heard.update({name: done}))
    skipped = {
        "bits_per_dim": REASONS["log_prob"],
        "class_agreement": REASONS["sample_with_labels"],
        "ms_ssim_diversity": REASONS["is_image"],
    }
    slow = {name for name, entry in METRICS.items() if not entry.quick}
    assert set(skipped) <= set(results.skipped)
    assert all(results.skipped[name] == reason for name, reason in skipped.items())
    assert {*METRICS} - {*results.skipped} <= {*heard}
    assert slow <= set(results.skipped)
    assert {
        *("elbo", "rate", "distortion", "log_likelihood", "mse", "l1", "code_mean", "code_covariance"),
        *(
            "empirical_marginal_kl",
            "marginal_rate",
            "mutual_information",
            "total_correlation",
            "dimension_wise_kl",
        ),
        *("modes", "high_quality", "mode_kl", "active_units"),
    } <= set(results.metrics)
    assert results.metrics["modes"].value == 2
    assert all(isinstance(e, Estimate) and e.how and math.isfinite(e.value) for e in results.metrics.values())
    assert json.loads(json.dumps(results.as_dict()))["metrics"]["elbo"]["n"] == 300


def test_a_model_that_knows_its_density_and_its_labels_is_measured_so():
    known = Model(
        sample_with_labels=lambda y, seed: MODES[y] + 0.01,
        log_prob=lambda x, y: normal(torch.zeros(2), 1.0).log_prob(x),
        train=MODES.repeat(10, 1),
        train_labels=torch.arange(20) % 2,
        test=draw(300, 2),
        test_labels=(draw(300, 2)[:, 0] > 0).long(),
    )
    found = evaluate(known, samples=100).metrics
    assert set(found) == {"bits_per_dim", "nll", "class_agreement", "class_agreement_data"}
    assert found["nll"].value == pytest.approx(2 * math.log(2) * found["bits_per_dim"].value)
    assert found["class_agreement"].value == found["class_agreement_data"].value == 1.0
    dequantised = dataclasses.replace(known, grey_levels=256)
    assert set(evaluate(dequantised, only=["bits_per_dim"]).metrics) == {"bits_per_dim"}
    assert evaluate(dequantised, only=["bits_per_dim"], samples=100).metrics[
        "bits_per_dim"
    ].value == pytest.approx(8 + found["bits_per_dim"].value)


def test_images_get_both_conventions_and_the_data_beside_them():
    found = evaluate(FACES, "ms_ssim_diversity").metrics
    assert set(found) == {
        f"ms_ssim_diversity_{convention}{suffix}"
        for convention in ("rescaled", "fixed")
        for suffix in ("", "_data")
    }
    alone = evaluate(dataclasses.replace(FACES, test=None), "ms_ssim_diversity").metrics
    assert len(alone) == 2


def test_an_empty_subject_gets_a_reason_for_everything():
    results = evaluate(Model())
    assert not results.metrics
    assert set(results.skipped) == set(METRICS)
    assert all(reason.startswith("needs ") for reason in results.skipped.values())


def test_a_generator_alone_has_no_elbo():
    implicit = dataclasses.replace(TOY, has_likelihood=False)
    assert METRICS["elbo"].missing(implicit) == REASONS["has_likelihood"]
    assert METRICS["reconstruction"].missing(implicit) is None


def test_only_what_was_asked_for():
    assert set(evaluate(TOY, ["elbo"]).metrics) == {"elbo", "rate", "distortion"}
    assert set(evaluate(TOY, "elbo").metrics) == {"elbo", "rate", "distortion"}
    with pytest.raises(BadInput, match="unknown metric 'elbow'; did you mean 'elbo'"):
        evaluate(TOY, ["elbow"])
    with pytest.raises(BadInput, match="ms_ssim_diversity needs images"):
        evaluate(TOY, ["elbo", "ms_ssim_diversity"])


def test_labels_follow_their_data():
    """Labels say where the datum is; a subset must keep them together."""
    x = torch.arange(200.0)[:, None]

    def encode(x, y):
        assert torch.equal(x[:, 0], y.float())
        return normal(x / 200, 1.0)

    labelled = dataclasses.replace(
        TOY, encode=encode, train=x, test=x, train_labels=x[:, 0].long(), test_labels=lambda: x[:, 0].long()
    )
    assert (
        evaluate(labelled, ["code_moments", "empirical_marginal_kl", "elbo"], samples=50).metrics["elbo"].n
        == 50
    )
    with pytest.raises(BadInput, match="199 labels"):
        evaluate(dataclasses.replace(labelled, test_labels=torch.zeros(199)), ["elbo"])


def test_repeats_by_seed_and_leaves_global_randomness_alone():
    before = torch.random.get_rng_state()
    first, again = (evaluate(TOY, samples=100, seed=3).metrics for _ in range(2))
    assert first == again
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_an_older_version_left_out_has_no_metrics_here():
    assert by_key({"marginal_kl": "needs an encoder", "code_moments": "too few"}) == {
        "code_mean": "too few",
        "code_covariance": "too few",
    }


def test_every_entry_needs_only_what_has_a_reason():
    for name, entry in METRICS.items():
        assert entry.name == name
        assert set(entry.needs) <= set(REASONS) <= {f.name for f in dataclasses.fields(Model)}
        assert entry.question.endswith("?")


def test_no_p_value_is_better_than_another():
    """Their intervals are of the permutations alone, and a large one does not say that distributions are equal."""
    known = {key: way for key, way in BETTER.items() if "_p_" in key}
    assert len(known) >= 4
    assert set(known.values()) == {""}
