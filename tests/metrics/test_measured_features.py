"""The scores on the bench: which net, which sets, which marks beside them."""

from dataclasses import replace

import pytest
import torch

from distmatch.errors import BadInput
from distmatch.metrics import METRICS, evaluate
from distmatch.metrics.features.nets import FeatureNet, pixel_features
from distmatch.metrics.model import Model, Options
from distmatch.random import seeded

SCORES = {n: m for n, m in METRICS.items() if m.group == "features" and n != "stacked_mnist_modes"}


def images(n, seed, level=1.0):
    return level * torch.rand(n, 1, 28, 28, generator=seeded(seed))


SUBJECT = Model(
    sample=lambda n, seed: images(n, seed + 100, 0.5),
    train=images(90, 1),
    test=lambda: images(70, 2),
    is_image=True,
)


@pytest.mark.parametrize("name", SCORES)
def test_every_score_comes_with_its_mark_on_data(name):
    shares = []
    found = SCORES[name](SUBJECT, Options(samples=60, progress=shares.append))
    assert set(found.metrics) == set(SCORES[name].better)
    for key, estimate in found.metrics.items():
        assert estimate.n == 60
        assert "mnist classifier" in estimate.how, key
    assert shares == sorted(shares)
    assert all(0 <= share <= 1 for share in shares)


def test_darker_samples_are_farther_than_training_data():
    for name in ("frechet_distance", "kernel_distance"):
        found = SCORES[name](SUBJECT, Options()).metrics
        assert found[name].value > 5 * abs(found[f"{name}_data"].value)
    found = SCORES["precision_recall_density_coverage"](SUBJECT, Options()).metrics
    assert found["coverage"].value < found["coverage_data"].value


def test_models_are_compared_by_the_frechet_distance_without_bias():
    assert SCORES["frechet_distance"].better == {
        "frechet_distance_unbiased": "lower",
        "frechet_distance": "",
        "frechet_distance_unbiased_data": "",
        "frechet_distance_data": "",
    }


def first_pixel(x):
    return torch.stack([20 * x[:, 0, 0, 0], torch.ones(len(x))], 1)


NET = FeatureNet("first pixel", first_pixel, first_pixel)


def test_the_net_that_is_given_makes_the_scores():
    for name in ("frechet_distance", "inception_score"):
        found = evaluate(SUBJECT, only=name, features=NET).metrics
        assert all("first pixel" in estimate.how for estimate in found.values())


def test_classes_have_the_mean_of_their_probabilities():
    (bars,) = SCORES["inception_score"](SUBJECT, Options(features=NET, samples=70)).plots
    expected = first_pixel(images(70, 2)).softmax(1).mean(0)
    assert any(torch.allclose(shares.to(expected), expected) for shares in bars.series.values())


def test_without_training_data_there_is_no_mark():
    found = SCORES["frechet_distance"](replace(SUBJECT, train=None), Options())
    assert set(found.metrics) == {"frechet_distance", "frechet_distance_unbiased"}


def test_the_range_of_the_images_is_undone():
    wide = replace(
        SUBJECT,
        sample=lambda n, seed: 2 * images(n, seed + 100, 0.5) - 1,
        test=2 * images(70, 2) - 1,
        train=None,
        image_range=(-1.0, 1.0),
    )
    one, other = (
        SCORES["frechet_distance"](s, Options()).metrics["frechet_distance"] for s in (SUBJECT, wide)
    )
    assert one.value == pytest.approx(other.value, rel=1e-3)


def test_other_images_need_a_net_to_be_named():
    colour = replace(
        SUBJECT,
        sample=lambda n, seed: torch.rand(n, 3, 8, 8, generator=seeded(seed)),
        test=torch.rand(40, 3, 8, 8),
        train=None,
    )
    with pytest.raises(
        BadInput, match=r"no feature net comes with images of 3×8×8; name one with --features"
    ):
        SCORES["frechet_distance"](colour, Options())
    found = SCORES["frechet_distance"](colour, Options(features=pixel_features())).metrics
    assert "pixels" in found["frechet_distance"].how
    with pytest.raises(BadInput, match="'pixels' has no logits"):
        SCORES["inception_score"](colour, Options(features=pixel_features()))


def test_stacked_digits_are_counted_over_26_000_samples():
    asked = []

    def sample(n, seed):
        asked.append(n)
        return torch.zeros(1, 3, 28, 28).expand(50, -1, -1, -1)

    entry = METRICS["stacked_mnist_modes"]
    found = entry(Model(sample=sample, is_image=True), Options())
    assert asked == [26_000]
    assert set(found.metrics) == set(entry.better)
    assert found.metrics["stacked_modes"].value == 1


def test_metrics_have_one_name_each():
    names = [name for metric in METRICS.values() for name in metric.better]
    assert len(names) == len(set(names))
