"""The inception score: closed forms, the published formula, its error, degenerate input."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from distmatch.errors import BadInput
from distmatch.metrics.features.inception_score import inception_score
from distmatch.random import seeded


def test_one_for_a_classifier_that_says_nothing_and_k_for_one_that_is_sure_and_even():
    assert inception_score(torch.zeros(100, 10)).value == pytest.approx(1.0, abs=1e-12)
    certain = 1e4 * torch.eye(10).repeat(20, 1)
    found = inception_score(certain, seed=None)
    assert found.value == pytest.approx(10.0, rel=1e-12)
    assert found.n == 200
    assert inception_score(certain[:1].repeat(50, 1)).value == pytest.approx(1.0)  # sure, but one class only


def test_is_the_published_formula_on_contiguous_splits():
    logits = 3 * torch.randn(503, 7, generator=seeded(1))
    p = softmax(logits.double().numpy(), axis=1)
    scores = []
    for i in range(10):
        part = p[i * 503 // 10 : (i + 1) * 503 // 10]
        scores.append(np.exp(np.mean(np.sum(part * (np.log(part) - np.log(part.mean(0))), 1))))
    found = inception_score(logits, seed=None, classifier="net abc")
    assert found.value == pytest.approx(np.mean(scores), rel=1e-12)
    assert f"standard deviation {np.std(scores):.3g}" in found.how
    assert "net abc" in found.how


def test_the_order_of_the_images_hardly_matters():
    classes = torch.randint(10, (2000,), generator=seeded(0))
    logits = 8.0 * torch.nn.functional.one_hot(classes, 10)
    found, by_class = inception_score(logits), inception_score(logits[classes.argsort()])
    assert by_class.value == pytest.approx(found.value, abs=2 * found.standard_error)
    assert inception_score(logits[classes.argsort()], seed=None).value < 2 < 9 < found.value


def test_shuffling_is_by_a_seed_and_leaves_the_global_state_alone():
    logits = torch.arange(60.0).view(30, 2)[:, [1, 0]] * torch.tensor([1.0, 1.01])
    before = torch.random.get_rng_state()
    assert inception_score(logits, 3, seed=1) == inception_score(logits, 3, seed=1)
    assert inception_score(logits, 3, seed=1).value != inception_score(logits, 3, seed=None).value
    assert torch.random.get_rng_state().equal(before)


@pytest.mark.parametrize("splits", [1, 5])
def test_the_error_covers_what_the_score_is_on_average(splits):
    generator = seeded(0)
    found = [inception_score(3 * torch.randn(500, 10, generator=generator), splits) for _ in range(300)]
    truth = sum(e.value for e in found) / len(found)
    covered = sum(low <= truth <= high for low, high in (e.interval() for e in found)) / len(found)
    assert 0.9 <= covered <= 0.99


@pytest.mark.parametrize(
    ("logits", "splits", "words"),
    [
        (torch.zeros(5, 3), 3, "splits is 3"),
        (torch.zeros(5, 3), 0, "splits is 0"),
        (torch.zeros(50, 1), 2, "one class"),
        (torch.zeros(1, 3), 1, "too small"),
        (torch.full((20, 3), float("nan")), 2, "NaN"),
        (torch.zeros(20), 2, "shape"),
    ],
)
def test_says_what_is_wrong(logits, splits, words):
    with pytest.raises(BadInput, match=words):
        inception_score(logits, splits)


def test_the_order_follows_the_seed():
    logits = 3 * torch.randn(40, 4, generator=seeded(1))
    order = torch.randperm(40, generator=seeded(7))
    assert inception_score(logits, 4, seed=7) == inception_score(logits[order], 4, seed=None)


def test_the_error_by_hand():
    """Of each part exp(m) s/√n, and of the mean of two parts half the root of the sum of squares."""
    logits = 3 * torch.randn(12, 3, generator=seeded(2), dtype=torch.float64)
    variance = 0.0
    for part in logits.split(6):
        p = part.softmax(1)
        kl = (p * (p / p.mean(0)).log()).sum(1)
        variance += float(kl.mean().exp() ** 2 * kl.var() / 6)
    assert inception_score(logits, 2, seed=None).standard_error == pytest.approx(variance**0.5 / 2)
