"""Which rows, labels and draws metrics ask of a model."""

import pytest
import torch
from torch.distributions import Independent, Normal

from distmatch.errors import BadInput
from distmatch.metrics.inputs import codes, gaussians, held_out, load, subset, training
from distmatch.metrics.model import Model, Options

N = 40
SUBJECT = Model(
    encode=lambda x, y: Independent(Normal(x + (0 if y is None else 1000 * y[:, None]), 0.25), 1),
    train=torch.arange(100.0, 100 + N)[:, None],
    test=lambda: torch.arange(N, dtype=torch.float32)[:, None],
    train_labels=torch.arange(N) + 5,
    test_labels=lambda: torch.arange(N),
)


def test_held_out_examples_go_with_their_labels():
    x, y = held_out(SUBJECT, Options(samples=9, seed=2))
    assert torch.equal(x[:, 0], y.float())
    assert len(x) == len(y.unique()) == 9
    assert set(y.tolist()) != set(range(9))  # a random subset
    assert not torch.equal(x, held_out(SUBJECT, Options(samples=9, seed=3))[0])
    whole, labels = held_out(SUBJECT, Options(samples=N))
    assert torch.equal(whole, load(SUBJECT.test))
    assert torch.equal(labels, torch.arange(N))
    with pytest.raises(BadInput, match="40 examples and 3 labels"):
        held_out(Model(test=SUBJECT.test, test_labels=torch.zeros(3)), Options())


def test_training_examples_go_with_their_labels_and_follow_the_seed():
    x, y = training(SUBJECT, 9, Options(seed=2))
    assert torch.equal(x[:, 0], 95.0 + y)
    assert len(y.unique()) == 9
    assert not torch.equal(x, training(SUBJECT, 9, Options(seed=3))[0])


def test_a_subset_has_each_row_once_at_most():
    rows = subset(torch.arange(30), 12, 0)
    assert len(rows.unique()) == 12
    assert not torch.equal(rows, subset(torch.arange(30), 12, 1))


def test_codes_are_draws_for_each_row_and_label():
    x, y = held_out(SUBJECT, Options())
    z = codes(SUBJECT, x, y, Options(batch_size=7))
    off = z[:, 0] - x[:, 0] - 1000 * y
    assert off.abs().max() < 1.5
    assert float(off.std()) == pytest.approx(0.25, rel=0.3)
    assert torch.equal(z, codes(SUBJECT, x, y, Options(batch_size=7)))
    assert not torch.equal(z, codes(SUBJECT, x, y, Options(batch_size=7, seed=1)))


def test_gaussians_are_of_the_training_data_with_their_labels():
    loc, scale = gaussians(SUBJECT, Options(batch_size=7))
    number = torch.arange(N)
    assert torch.equal(loc[:, 0], 100.0 + number + 1000 * (number + 5))
    assert scale.unique().tolist() == [0.25]
    assert loc.shape == scale.shape == (N, 1)
