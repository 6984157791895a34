"""What metrics refuse or doubt: each call here gave a number that meant nothing."""

import math
import re

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Independent, Normal

from distmatch.errors import BadInput, Doubt
from distmatch.metrics import (
    Model,
    annealed_log_likelihood,
    bits_per_dim,
    class_agreement,
    evaluate,
    evidence_lower_bound,
    frechet_distance,
    gradient_norms,
    inception_score,
    kernel_distance,
    log_likelihood,
    maximum_mean_discrepancy,
    nearest_neighbour_two_sample,
    population,
    sliced_wasserstein,
)
from distmatch.random import seeded


def points(n=60, d=2, seed=0):
    return torch.randn(n, d, generator=seeded(seed))


def encoder(x):
    return Independent(Normal(x.reshape(len(x), -1)[:, :1] / 2, 0.7), 1)


BOUNDS = {
    "elbo": lambda decode, x: evidence_lower_bound(encoder, decode, x),
    "importance": lambda decode, x: log_likelihood(encoder, decode, x),
    "population": lambda decode, x: population(encoder, decode, x),
    "annealed": lambda decode, x: annealed_log_likelihood(decode, x, 1, temperatures=5, chains=2),
}
each_bound = pytest.mark.parametrize("bound", BOUNDS.values(), ids=BOUNDS)


@each_bound
@pytest.mark.parametrize(
    ("decode", "x", "said"),
    [
        # (n, n) densities of (n,) data: an ELBO of -104 for -2.0
        (lambda z: Normal(z, 1.0), points(d=1)[:, 0], r"and \d+ examples of shape \(\) need"),
        # one dimension of two is scored twice
        (
            lambda z: Independent(Normal(z, 1.0), 1),
            points(),
            r"event shape \(1,\), and \d+ examples of shape \(2,\)",
        ),
        # one distribution for all examples
        (
            lambda z: Independent(Normal(torch.zeros(2), 1.0), 1),
            points(),
            "it is one distribution for the whole batch; return one for each example",
        ),
    ],
    ids=["no second dimension", "one of two", "one for all"],
)
def test_a_decoder_scores_each_example_whole(bound, decode, x, said):
    with pytest.raises(BadInput, match=said):
        bound(decode, x)


@each_bound
def test_dimensions_need_no_independent_since_they_are_summed(bound):
    joined = bound(lambda z: Independent(Normal(z.expand(-1, 2), 1.0), 1), points())
    apart = bound(lambda z: Normal(z.expand(-1, 2), 1.0), points())
    values = [[float(v) for v in re.findall(r"value=([-\d.]+)", repr(found))] for found in (joined, apart)]
    assert values[0]
    assert values[0] == pytest.approx(values[1], rel=1e-6)


@pytest.mark.parametrize("bound", [v for k, v in BOUNDS.items() if k != "annealed"])
@pytest.mark.parametrize(
    ("x", "said"),
    [
        (2 * torch.rand(60, 4, generator=seeded(0)) - 1, r"bring x to \[0, 1\] by \(x \+ 1\) / 2"),
        (255 * torch.rand(60, 4, generator=seeded(0)), "divide x by 2"),
    ],
)
def test_data_outside_of_the_decoders_support(bound, x, said):
    """Unvalidated, such a 'likelihood' has no bound: nll = -6e10 in the report that found it."""
    with pytest.raises(BadInput, match=said):
        bound(lambda z: Independent(Bernoulli(logits=z.expand(-1, 4), validate_args=False), 1), x)


def test_grey_values_under_bernoulli_are_doubted_and_it_stands_in_the_result():
    x = torch.rand(60, 4, generator=seeded(0))

    def decode(z, y=None):
        return Independent(Bernoulli(logits=z.expand(-1, 4), validate_args=False), 1)

    with pytest.warns(Doubt, match="a cross-entropy, not a log-likelihood"):
        evidence_lower_bound(encoder, decode, x)
    model = Model(encode=lambda x, y: encoder(x), decode=decode, has_likelihood=True, test=x, latent=1)
    grey, binary = (
        evaluate(m, "elbo").metrics["elbo"].how
        for m in (model, Model(**{**model.__dict__, "test": x.round()}))
    )
    assert "WARNING: x has values between 0 and 1" in grey
    assert "WARNING" not in binary


def test_probabilities_beyond_0_and_1_are_not_clamped_in_silence():
    def decode(z):
        return Independent(Bernoulli(probs=z.expand(-1, 4) + 1.5, validate_args=False), 1)

    with pytest.raises(
        BadInput, match=r"the decoder returned probabilities from .*: end it in a sigmoid, or give logits"
    ):
        evidence_lower_bound(encoder, decode, points(d=4).sign().clamp(0, 1))


# Modes


def net(*layers):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(2, 2), *layers)


@pytest.mark.parametrize(
    "layer", [nn.Dropout(0.5), nn.BatchNorm1d(2), nn.InstanceNorm1d(2, track_running_stats=True)]
)
def test_nets_in_training_mode(layer):
    """Their numbers are of the batch and of chance, and the running statistics move while they are measured."""
    body = net(layer)
    model = Model(encode=lambda x, y: Independent(Normal(body(x), 1.0), 1), test=points(), latent=2)
    with pytest.raises(
        BadInput, match=rf"encode uses a net in training mode with {type(layer).__name__}: call eval"
    ):
        evaluate(model, "code_moments")
    moved = getattr(layer, "num_batches_tracked", None)
    assert moved is None or moved == 0
    with pytest.raises(BadInput, match="encoder uses a net in training mode"):
        evidence_lower_bound(
            lambda x: Independent(Normal(body(x), 1.0), 1), lambda z: Normal(z, 1.0), points()
        )
    if not isinstance(layer, nn.InstanceNorm1d):
        body.eval()
        assert evaluate(model, "code_moments").metrics


def test_a_net_that_has_no_mode_may_be_in_any():
    body = net(nn.ReLU(), nn.Dropout(0.0), nn.BatchNorm1d(2, track_running_stats=False).eval())
    body.train()
    body[3].eval()
    plain = net(nn.ReLU()).train()
    model = Model(encode=lambda x, y: Independent(Normal(plain(x), 1.0), 1), test=points(), latent=2)
    assert evaluate(model, "code_moments").metrics


@pytest.mark.parametrize(
    ("encode", "said"),
    [
        (lambda h: h + torch.rand_like(h), "another distribution for the same x at each call"),
        (lambda h: h - h.mean(0), "another distribution for an x when other examples are in the batch"),
    ],
)
def test_an_encoder_that_answers_by_chance_or_by_the_batch(encode, said):
    model = Model(encode=lambda x, y: Independent(Normal(encode(x), 1.0), 1), test=points(), latent=2)
    with pytest.raises(BadInput, match=said):
        evaluate(model, "code_moments")


# Sides and units


COMPARED = {
    "mmd": maximum_mean_discrepancy,
    "sliced": sliced_wasserstein,
    "neighbours": nearest_neighbour_two_sample,
    "frechet": frechet_distance,
    "kernel": kernel_distance,
}


@pytest.mark.parametrize("compare", COMPARED.values(), ids=COMPARED)
def test_a_sample_is_not_compared_with_itself(compare):
    x = points()
    with pytest.raises(BadInput, match="are the same tensor; give two sets of draws"):
        compare(x, x)
    assert compare(x, points(seed=1))


@pytest.mark.parametrize("compare", COMPARED.values(), ids=COMPARED)
def test_sides_in_other_units_are_doubted(compare):
    with pytest.warns(Doubt, match="are both in one unit"):
        compare(torch.rand(60, 2, generator=seeded(0)), 255 * torch.rand(60, 2, generator=seeded(1)))


def test_a_kernel_that_is_blind_at_the_datas_scale():
    a, b = points(), points(seed=1) + 3
    for bandwidth, value in ((1e-4, 0), (1e6, 1)):
        with pytest.raises(
            BadInput, match=rf"the kernel is {value} for all pairs, .* their median distance is [2-4]"
        ):
            maximum_mean_discrepancy(a, b, bandwidth=bandwidth)
    assert maximum_mean_discrepancy(a, b, bandwidth=2.0).p_value.value < 0.01


def images(scale=1.0, seed=0, shape=(1, 28, 28)):
    return lambda n, s=seed: scale * torch.rand(n, *shape, generator=seeded(s))


@pytest.mark.parametrize(
    ("sample", "test", "said"),
    [
        (images(255), images(255)(100), r"held-out data lie in \[0.*, 25.*\], .* divide by 255"),
        (
            images(255),
            images()(100),
            r"samples lie in \[0.*, 25.*\], and images were said to lie in \[0, 1\]",
        ),
        (lambda n, s: 2 * images()(n, s) - 1, images()(100), r"samples lie in \[-0.9.*\].* bring them there"),
    ],
)
def test_images_of_another_range_are_not_clamped(sample, test, said):
    """Bytes clamped at 1 are white, on both sides: a Frechet distance of 0.039 for 0.37."""
    with pytest.raises(BadInput, match=said):
        evaluate(Model(sample=sample, test=test, is_image=True), "frechet_distance")


def test_images_of_a_stated_range_and_a_small_overshoot_are_measured():
    def overshooting(n, seed):
        return images()(n, seed) * 1.02 - 0.01

    unit = evaluate(
        Model(sample=overshooting, test=images(seed=1)(100, 9), is_image=True), "frechet_distance"
    )
    stated = Model(
        sample=lambda n, s: 2 * overshooting(n, s) - 1,
        test=2 * images(seed=1)(100, 9) - 1,
        is_image=True,
        image_range=(-1.0, 1.0),
    )
    for key, value in evaluate(stated, "frechet_distance").metrics.items():
        assert value.value == pytest.approx(unit.metrics[key].value, rel=1e-3, abs=1e-4)


def test_images_with_their_channels_last():
    model = Model(sample=images(shape=(28, 28, 1)), test=images(shape=(28, 28, 1))(100), is_image=True)
    with pytest.raises(BadInput, match=r"\(n, h, w, c\)|28×28×1"):
        evaluate(model, "frechet_distance")


def test_probabilities_are_not_logits():
    """Ten sure and even classes: 1.07 for 10, since the softmax of 0 and 1 is nearly even."""
    one_hot = torch.eye(10).repeat(50, 1)
    with pytest.raises(BadInput, match="the logits are probabilities"):
        inception_score(one_hot)
    assert inception_score((one_hot + 1e-9).log(), splits=1).value == pytest.approx(10, rel=1e-3)


def test_bits_of_bits():
    first = bits_per_dim(points()[:, 0], 2)
    with pytest.raises(BadInput, match="log_prob is in bits per dimension; give it in nats"):
        bits_per_dim(first, 2)


def test_a_density_of_levels_without_noise_has_no_bits():
    """Spikes on the levels: -12 bits for each of 784 values of 256 levels."""
    with pytest.raises(BadInput, match="than no bits: score data to which uniform noise was added"):
        bits_per_dim(torch.full((20,), 20 * 784 * math.log(2)), 784, 256)
    assert bits_per_dim(torch.full((20,), 0.0), 784, 256).value == 8


@pytest.mark.parametrize("score", [lambda x: x[:, :1], lambda x: x.mean(), lambda x: x.mean(0)])
def test_a_score_is_one_number_for_each_row(score):
    with pytest.raises(BadInput, match="the score of 4 rows must have shape"):
        gradient_norms(score, points(5), points(5, seed=1))


# Labels


@pytest.mark.parametrize("count", [59, 61])
@pytest.mark.parametrize("split", ["train", "test"])
def test_labels_are_as_many_as_the_data(count, split):
    model = Model(
        encode=lambda x, y: Independent(Normal(x, 1.0), 1),
        latent=2,
        **{
            "train": points(),
            "test": points(),
            "train_labels": torch.arange(60),
            "test_labels": torch.arange(60),
        }
        | {f"{split}_labels": torch.arange(count)},
    )
    with pytest.raises(BadInput, match=rf"60 examples and {count} labels"):
        evaluate(model, ["code_moments", "empirical_marginal_kl"])


def test_a_class_that_the_data_lack_cannot_be_judged():
    data, classes = points(), torch.arange(60) % 3
    with pytest.raises(
        BadInput, match="the label 3 was asked for, and no example of the data is of that class"
    ):
        class_agreement(data, classes + 1, data.clone(), classes)
