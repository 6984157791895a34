"""Bits per dimension, and whether a conditional model draws what it is asked for."""

import math

import pytest
import torch
from torch.distributions import Uniform

from distmatch.diagnostics import bits_per_dim, class_agreement
from distmatch.errors import BadInput


def test_the_uniform_density_has_eight_bits():
    log_p = Uniform(0.0, 1.0).log_prob(torch.rand(50, 12)).sum(1)
    assert bits_per_dim(log_p, 12, grey_levels=256).value == 8.0
    assert bits_per_dim(log_p, 12, grey_levels=17).value == pytest.approx(math.log2(17))


def test_probabilities_of_levels_need_no_offset():
    fair = torch.full((10,), 5 * math.log(0.5))
    assert bits_per_dim(fair, 5).value == pytest.approx(1.0)


def test_its_error_is_that_of_the_examples():
    log_p = torch.tensor([0.0, 2.0]) * math.log(2)
    found = bits_per_dim(log_p, 2)
    assert (found.value, found.standard_error, found.n) == pytest.approx((-0.5, 0.5, 2))


def test_bits_refuse_what_is_not_a_number():
    with pytest.raises(BadInput):
        bits_per_dim(torch.tensor([0.0, float("nan")]), 4)
    with pytest.raises(BadInput, match="dimensions is 0"):
        bits_per_dim(torch.zeros(3), 0)


def clusters(n, seed):
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(4, (n,), generator=g)
    centres = 5 * torch.eye(4)
    return centres[y] + 0.3 * torch.randn(n, 4, generator=g), y


def test_agreement_counts_what_lies_among_its_class():
    data, classes = clusters(400, 0)
    x, y = clusters(200, 1)
    assert class_agreement(x, y, data, classes).value == 1.0
    wrong = y.clone()
    wrong[:50] = (wrong[:50] + 1) % 4
    assert class_agreement(x, wrong, data, classes).value == 0.75
    assert class_agreement(x.reshape(200, 1, 2, 2), y, data.reshape(400, 1, 2, 2), classes).value == 1.0


def test_agreement_refuses_what_does_not_fit():
    data, classes = clusters(20, 0)
    with pytest.raises(BadInput, match="must agree"):
        class_agreement(data[:, :3], classes, data, classes)
    with pytest.raises(BadInput, match="must agree"):
        class_agreement(data, classes[:5], data, classes)
