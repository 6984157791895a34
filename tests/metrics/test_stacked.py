"""Modes of stacked MNIST: closed forms, the floor of a perfect sampler, its error, degenerate input."""

import math

import pytest
import torch
from torch.nn import functional as F

from distmatch.errors import BadInput
from distmatch.metrics.features.nets import FeatureNet
from distmatch.metrics.features.stacked import stacked_mnist_modes
from distmatch.random import seeded


def logits_of(triples):
    """Certain logits (n, 3, 10) of the modes 100 a + 10 b + c."""
    digits = torch.stack([triples // 100, triples // 10 % 10, triples % 10], 1)
    return 9.0 * F.one_hot(digits, 10)


def test_every_mode_equally_often():
    found = stacked_mnist_modes(logits_of(torch.arange(1000).repeat(4)))
    assert (found.modes.value, found.kl.value) == (1000, pytest.approx(0, abs=1e-12))
    assert found.counts.equal(torch.full((1000,), 4))


def test_one_mode_only():
    found = stacked_mnist_modes(logits_of(torch.full((50,), 407)))
    assert found.modes.value == 1
    assert found.kl.value == pytest.approx(math.log(1000))
    assert found.counts[407] == 50


def test_modes_that_were_not_seen_are_in_the_interval():
    found = stacked_mnist_modes(logits_of(torch.arange(10).repeat(300))).modes
    assert found.limits == (10.0, pytest.approx(10 - math.log(0.025)))
    assert stacked_mnist_modes(logits_of(torch.arange(1000).repeat(3))).modes.limits == (1000.0, 1000.0)


def test_a_perfect_sampler_has_the_published_floor():
    generator = seeded(0)
    found = [
        stacked_mnist_modes(logits_of(torch.randint(1000, (26_000,), generator=generator))) for _ in range(40)
    ]
    kl = torch.tensor([f.kl.value for f in found])
    assert float(kl.mean()) == pytest.approx(0.0193, abs=0.0004)
    assert float(kl.std()) == pytest.approx(0.0009, abs=0.0003)
    assert found[0].floor == pytest.approx(0.0193, abs=5e-5)
    assert found[0].floor == pytest.approx(float(kl.mean()), abs=0.0005)
    assert all(f.modes.value == 1000 for f in found)


def test_the_errors_cover_the_mean_of_modes_and_the_populations_kl():
    generator = seeded(1)
    shares = torch.cat([torch.ones(200), torch.full((800,), 0.01)])
    found = [
        stacked_mnist_modes(logits_of(torch.multinomial(shares, 4000, True, generator=generator)))
        for _ in range(300)
    ]
    truth = sum(f.modes.value for f in found) / 300
    covered = sum(low <= truth <= high for low, high in (f.modes.interval() for f in found))
    assert 0.9 <= covered / 300 <= 0.99
    even = shares / shares.sum()
    truth = float((even * (1000 * even).log()).sum())
    assert sum(low <= truth <= high for low, high in (f.kl.interval() for f in found)) / 300 >= 0.9
    values = torch.tensor([f.kl.value for f in found])
    assert float(values.std()) == pytest.approx(found[0].kl.standard_error, rel=0.15)
    assert float(values.mean()) - truth > 4 * float(values.std())  # which is why the low end is lower


def test_against_the_shares_of_the_data():
    triples = torch.arange(1000).repeat_interleave(torch.arange(1000) % 3 + 1)
    target = torch.bincount(triples).double()
    assert stacked_mnist_modes(logits_of(triples), target=7 * target).kl.value == pytest.approx(0, abs=1e-12)
    assert stacked_mnist_modes(logits_of(triples)).kl.value > 0.05


def test_each_channel_is_read_by_the_classifier():
    def read(x):  # the digit is the grey level, in ninths
        return -((9 * x.mean((2, 3)) - torch.arange(10.0)) ** 2)

    levels = torch.tensor([[3.0, 1.0, 4.0], [0.0, 0.0, 9.0]]) / 9
    images = levels[:, :, None, None].expand(2, 3, 28, 28)
    found = stacked_mnist_modes(images, classifier=FeatureNet("levels", read, read, "ab"), batch_size=2)
    assert found.counts.nonzero()[:, 0].tolist() == [9, 314]
    assert "levels ab" in found.kl.how
    assert "levels ab" in found.modes.how


def test_the_shipped_classifier_is_the_default():
    found = stacked_mnist_modes(torch.zeros(2, 3, 28, 28))
    assert "mnist classifier" in found.kl.how
    assert found.modes.value == 1


@pytest.mark.parametrize(
    ("samples", "options", "words"),
    [
        (torch.zeros(5, 3, 32, 32), {}, r"samples must have shape \(n, 3, 28, 28\)"),
        (torch.zeros(5, 1, 28, 28), {}, "samples must have shape"),
        (torch.zeros(5, 3, 9), {}, r"logits must have shape \(n, 3, 10\)"),
        (torch.full((5, 3, 10), float("nan")), {}, "NaN"),
        (torch.full((5, 3, 28, 28), 2.0), {}, r"in \[0, 1\]"),
        (torch.zeros(1, 3, 10), {}, "too small"),
        (torch.zeros(5, 3, 10), {"target": torch.zeros(1000)}, "1000 positive shares"),
        (torch.zeros(5, 3, 10), {"target": torch.ones(10)}, "1000 positive shares; got 10"),
    ],
)
def test_says_what_is_wrong(samples, options, words):
    with pytest.raises(BadInput, match=words):
        stacked_mnist_modes(samples, **options)
