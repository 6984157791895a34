"""Bits per dimension, and whether a conditional model draws what it is asked for."""

import math

import pytest
import torch
from torch.distributions import Bernoulli, Beta, Distribution, Independent, Normal, Uniform

from distmatch.errors import BadInput
from distmatch.metrics import METRICS, Estimate, Model, Options, bits_per_dim, class_agreement
from distmatch.random import seeded


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
    with pytest.raises(BadInput, match="grey_levels is 1"):
        bits_per_dim(torch.zeros(3), 4, grey_levels=1)
    with pytest.raises(BadInput, match="mean nan"):
        bits_per_dim(Estimate(math.nan, 0.0, 5), 4)


def test_permuting_the_pixels_of_a_factorised_model_changes_nothing():
    x = torch.rand(40, 12, generator=seeded(0)).double()
    order = torch.randperm(12, generator=seeded(1))
    distribution = Beta(torch.full((12,), 2.0).double(), torch.linspace(1, 3, 12).double())
    mixed = Beta(distribution.concentration1[order], distribution.concentration0[order])
    plain = bits_per_dim(distribution.log_prob(x).sum(1), 12, 256)
    assert bits_per_dim(mixed.log_prob(x[:, order]).sum(1), 12, 256).value == pytest.approx(plain.value)


def test_dequantised_bits_bound_those_of_the_levels():
    """A density that is constant within each of four levels loses nothing; a sloped one does."""
    p, g = torch.tensor([0.1, 0.2, 0.3, 0.4]).double(), seeded(0)
    levels = torch.multinomial(p, 200_000, replacement=True, generator=g)
    x = (levels + torch.rand(len(levels), generator=g).double()) / 4
    exact = bits_per_dim(p.log()[levels], 1)
    flat = bits_per_dim((4 * p).log()[(4 * x).long()], 1, grey_levels=4)
    sloped = bits_per_dim((0.25 + 1.5 * x).log(), 1, grey_levels=4)
    assert flat.value == pytest.approx(exact.value)
    assert sloped.value > exact.value
    assert "no dequantisation" in exact.how
    assert "uniform noise on 4 levels" in flat.how


def test_a_bound_of_its_mean_gives_a_bound_and_says_so():
    log_p = torch.randn(50, generator=seeded(2)).double() - 9
    one = bits_per_dim(log_p, 6, 256)
    mean = Estimate.mean(log_p, how="importance-weighted")
    other = bits_per_dim(mean, 6, 256, bound=True)
    assert (one.value, one.standard_error) == pytest.approx((other.value, other.standard_error))
    assert one.how.startswith("exact log p(x)")
    assert other.how.startswith("upper bound, from: importance-weighted")


def binary_subject(**changes):
    """x is one of 8 pixels on or off by a fair coin, whatever z: exactly one bit per pixel."""
    x = (torch.rand(60, 1, 2, 4, generator=seeded(3)) > 0.5).float()
    made = {
        "encode": lambda x, y: Independent(Normal(torch.zeros(len(x), 2), 1.0), 1),
        "decode": lambda z, y: Independent(Bernoulli(logits=torch.zeros(len(z), 1, 2, 4)), 3),
        "has_likelihood": True,
        "test": x,
    }
    return Model(**{**made, **changes})


def test_the_bound_of_a_model_with_a_code():
    found = METRICS["bits_per_dim_bound"](binary_subject(), Options()).metrics["bits_per_dim_bound"]
    assert found.value == pytest.approx(1.0)
    assert found.how.startswith("upper bound, from: importance-weighted lower bound, 50 draws")

    def uniform(z, y):
        return Independent(Uniform(torch.zeros(len(z), 1, 2, 4), 1.0), 3)

    noisy = binary_subject(decode=uniform, test=torch.rand(20, 1, 2, 4, generator=seeded(4)), grey_levels=256)
    assert METRICS["bits_per_dim_bound"](noisy, Options()).metrics[
        "bits_per_dim_bound"
    ].value == pytest.approx(8.0)


def test_a_density_of_undequantised_data_has_no_bits():
    def normal(z, y):
        return Independent(Normal(torch.zeros(len(z), 1, 2, 4), 1.0), 3)

    with pytest.raises(BadInput, match="this decoder's is a density"):
        METRICS["bits_per_dim_bound"](binary_subject(decode=normal), Options())
    grey = torch.full((20, 1, 2, 4), 0.3)
    with pytest.raises(BadInput, match="values that this decoder's distribution excludes"):
        METRICS["bits_per_dim_bound"](binary_subject(test=grey), Options())

    class Silent(Distribution):
        support = None

    with pytest.raises(BadInput, match="Silent does not say"):
        METRICS["bits_per_dim_bound"](
            binary_subject(decode=lambda z, y: Silent((len(z),), validate_args=False)), Options()
        )


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


def test_agreement_of_all_is_not_certain():
    data, classes = clusters(400, 0)
    x, y = clusters(30, 1)
    found = class_agreement(x, y, data, classes)
    assert found.value == 1.0
    assert found.standard_error > 0
    assert found.interval() == (pytest.approx(0.025 ** (1 / 30)), 1.0)  # Clopper and Pearson's of 30 of 30


@pytest.mark.parametrize("level", [0.0, 0.3, -1.0])
def test_a_constant_image_agrees_with_no_class(level):
    data, classes = torch.rand(60, 1, 4, 4, generator=seeded(0)), torch.arange(60) % 3
    blank = torch.full((9, 1, 4, 4), level) + 1e-8 * torch.rand(9, 1, 4, 4, generator=seeded(1)) * abs(level)
    asked = torch.arange(9) % 3
    found = class_agreement(blank, asked, data, classes)
    assert found.value == 0
    assert "9 constant images" in found.how
    both = class_agreement(torch.cat([blank, data]), torch.cat([asked, classes]), data, classes)
    alone = class_agreement(data, classes, data, classes)
    assert both.value == pytest.approx(alone.value * 60 / 69)
    assert class_agreement(data, classes, torch.cat([blank, data]), torch.cat([asked, classes])) == alone


def test_a_faint_image_is_still_judged():
    data, classes = torch.rand(60, 1, 4, 4, generator=seeded(0)), torch.arange(60) % 3
    near = torch.cat([data + 0.01 * torch.rand(60, 1, 4, 4, generator=seeded(s)) for s in (1, 2, 3)])
    faint = 0.5 + 1e-3 * data.double()
    assert class_agreement(faint, classes, near, classes.repeat(3)).value == 1.0
    with pytest.raises(BadInput, match="0 data are there to judge by"):
        class_agreement(data, classes, torch.zeros_like(data), classes)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_of_three_classes_the_nearest_decides(order):
    data, classes = torch.tensor([[1.0], [2.0], [3.0]]), torch.tensor(order)
    found = class_agreement(torch.zeros(2, 1), classes[:1].repeat(2), data, classes)
    assert found.value == 1.0


def test_agreement_refuses_what_does_not_fit():
    data, classes = clusters(20, 0)
    with pytest.raises(BadInput, match="must agree"):
        class_agreement(data[:, :3], classes, data, classes)
    with pytest.raises(BadInput, match="must agree"):
        class_agreement(data, classes[:5], data, classes)
