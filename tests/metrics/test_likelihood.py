import math

import pytest
import torch
from torch.distributions import Bernoulli, Independent, LogNormal, MultivariateNormal, Normal

from distmatch.errors import BadInput
from distmatch.metrics import evidence_lower_bound
from distmatch.random import seeded

X = torch.randn(300, 3, generator=seeded(0)) * math.sqrt(2)


def diagonal(loc, scale):
    return Independent(Normal(loc, torch.full_like(loc, scale)), 1)


def posterior(x):
    return diagonal(x / 2, math.sqrt(0.5))


def decoder(z):
    return diagonal(z, 1.0)


def exact():
    return float(Normal(0, math.sqrt(2)).log_prob(X).sum(1).mean())


def test_is_log_p_at_the_true_posterior():
    found = evidence_lower_bound(posterior, decoder, X, samples=200)
    assert found.elbo.value == pytest.approx(exact(), abs=0.02)
    assert found.elbo.value == pytest.approx(-found.rate.value - found.distortion.value, abs=1e-9)
    expected = (0.5 * (X.square() / 4 + 0.5 - 1 - math.log(0.5))).sum(1).mean()
    assert found.rate.value == pytest.approx(float(expected), abs=1e-5)


def test_samples_when_no_closed_form_is_registered():
    class Unregistered(MultivariateNormal):
        pass

    def encoder(x):
        return Unregistered(x / 2, 0.5 * torch.eye(3))

    kl = torch.distributions.kl_divergence
    with pytest.raises(NotImplementedError):
        kl(encoder(X), diagonal(X, 1.0))
    found = evidence_lower_bound(encoder, decoder, X, samples=100)
    assert found.elbo.value == pytest.approx(exact(), abs=0.02)


def test_wrapped_or_not_is_the_same():
    plain = evidence_lower_bound(
        lambda x: Normal(x / 2, math.sqrt(0.5)), lambda z: Normal(z, torch.ones_like(z)), X
    )
    wrapped = evidence_lower_bound(posterior, decoder, X)
    assert plain.elbo.value == pytest.approx(wrapped.elbo.value, abs=1e-6)
    assert plain.rate.value == pytest.approx(wrapped.rate.value, abs=1e-6)


def test_batches_and_labels_and_images():
    x = (torch.rand(50, 1, 4, 4, generator=seeded(1)) > 0.5).float()
    y = torch.arange(50) % 10

    def encoder(x, y):
        return diagonal(x.flatten(1)[:, :2] + y[:, None], 1.0)

    def image_decoder(z, y):
        return Independent(Bernoulli(logits=torch.zeros(len(z), 1, 4, 4)), 3)

    found = evidence_lower_bound(encoder, image_decoder, x, y=y, batch_size=7)
    assert found.distortion.value == pytest.approx(16 * math.log(2), abs=1e-5)
    assert found.elbo.n == 50


def test_global_randomness_is_left_alone():
    before = torch.random.get_rng_state()
    first, again = (evidence_lower_bound(posterior, decoder, X, seed=3) for _ in range(2))
    assert first == again
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_is_not_a_distribution_is_refused():
    with pytest.raises(BadInput, match="the decoder returned a tensor"):
        evidence_lower_bound(posterior, lambda z: z, X)
    with pytest.raises(BadInput, match="the encoder returned Tensor"):
        evidence_lower_bound(lambda x: x, decoder, X)
    with pytest.raises(BadInput, match="for a batch of"):
        evidence_lower_bound(lambda x: diagonal(torch.zeros(2, 3), 1.0), decoder, X)


def test_a_density_that_refuses_passes_through():
    class Implicit(Normal):
        def log_prob(self, value):
            raise BadInput("this decoder has no density")

    with pytest.raises(BadInput, match="no density"):
        evidence_lower_bound(posterior, lambda z: Implicit(z, 1.0), X)


@pytest.mark.parametrize(
    ("x", "options"),
    [
        (X[:1], {}),
        (X[:0], {}),
        (X * math.nan, {}),
        (X, {"samples": 0}),
        (X, {"batch_size": 0}),
        (X, {"y": torch.zeros(2)}),
    ],
)
def test_degenerate_input_is_refused(x, options):
    with pytest.raises(BadInput):
        evidence_lower_bound(posterior, decoder, x, **options)


def test_non_finite_densities_are_refused():
    with pytest.raises(BadInput, match="NaN or infinite"):
        evidence_lower_bound(posterior, lambda z: Normal(z * float("nan"), 1.0, validate_args=False), X)
    with pytest.raises(BadInput, match=r"support \(GreaterThan\(lower_bound=0.0\)\) does not hold"):
        evidence_lower_bound(posterior, lambda z: LogNormal(z, 1.0, validate_args=False), X)
