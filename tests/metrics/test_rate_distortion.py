"""Rate and distortion of linear Gaussian models, whose plane is known in closed form."""

import math

import pytest
import torch
from torch.distributions import Independent, Normal

from distmatch.errors import BadInput
from distmatch.metrics import METRICS, Estimate, evidence_lower_bound
from distmatch.metrics.likelihood.elbo import rate_plane
from distmatch.metrics.likelihood.rate_distortion import rate_distortion
from distmatch.metrics.model import Model, Options
from distmatch.metrics.plots import RatePlane
from distmatch.random import seeded

ENTROPY = 0.5 * math.log(2 * math.pi * math.e * 2)  # of x ~ N(0, 2), in nats


def data(n, seed=0):
    return math.sqrt(2) * torch.randn(n, 1, generator=seeded(seed), dtype=torch.float64)


def decoder(z):
    return Independent(Normal(z, 1.0), 1)


def encoder(a, s):
    return lambda x: Independent(Normal(a * x, torch.full_like(x, s)), 1)


def parts(a, s):
    """R and D of q = N(ax, s²), p(x|z) = N(z, 1), p = N(0, 1), x ~ N(0, 2)."""
    rate = 0.5 * (2 * a**2 + s**2 - 1 - 2 * math.log(s))
    return rate, 0.5 * (2 * (1 - a) ** 2 + s**2) + 0.5 * math.log(2 * math.pi)


SWEEP = {0.1: (0.9, 0.3), 1.0: (0.5, math.sqrt(0.5)), 10.0: (0.0, 1.0)}


def test_the_sweep_lies_where_the_closed_form_says():
    models = {beta: (encoder(*q), decoder, None) for beta, q in SWEEP.items()}
    seen = []
    found = rate_distortion(models, data(4000), samples=4, progress=seen.append)
    assert list(found.points) == ["10.0", "1.0", "0.1"]
    assert seen == [1 / 3, 2 / 3, 1.0]
    for beta, q in SWEEP.items():
        point, (rate, distortion) = found.points[str(beta)], parts(*q)
        assert point.rate.value == pytest.approx(rate, abs=4 * point.rate.standard_error + 1e-9)
        assert point.distortion.value == pytest.approx(distortion, abs=4 * point.distortion.standard_error)
        assert point.negative_elbo.value == pytest.approx(point.rate.value + point.distortion.value)
    best = found.points["1.0"]  # the posterior itself: D + R = H
    assert best.negative_elbo.value == pytest.approx(ENTROPY, abs=4 * best.negative_elbo.standard_error)
    assert found.entropy.value == best.negative_elbo.value
    assert best.excess.value == 0.0
    assert math.isnan(best.excess.standard_error)
    assert found.points["10.0"].excess.standard_error > 0
    assert found.feasible is None
    assert {point.feasible for point in found.points.values()} == {None}
    assert found.points["10.0"].rate.value == pytest.approx(0.0, abs=1e-9)


def test_a_prior_that_fits_the_codes_lowers_the_rate_alone():
    """q(z) = N(0, 0.5² 2 + 0.3²) exactly, so with it as prior the rate falls by KL(q(z)‖N(0, 1))."""
    aggregate = Normal(0.0, math.sqrt(0.5 + 0.09))
    learned = Independent(Normal(torch.zeros(1).double(), aggregate.scale), 1)
    models = {"fixed": (encoder(0.5, 0.3), decoder, None), "learned": (encoder(0.5, 0.3), decoder, learned)}
    found = rate_distortion(models, data(4000, 5)).points
    gain = float(torch.distributions.kl_divergence(aggregate, Normal(0.0, 1.0)))
    error = 4 * found["fixed"].distortion.standard_error
    assert found["fixed"].rate.value - found["learned"].rate.value == pytest.approx(gain, abs=0.03)
    assert found["fixed"].distortion.value == pytest.approx(found["learned"].distortion.value, abs=2 * error)


def test_a_point_below_the_entropy_is_seen():
    models = {"vae": (encoder(*SWEEP[1.0]), decoder, None)}
    good = rate_distortion(models, data(2000), entropy=Estimate(ENTROPY, 0.0, 10**6))
    assert good.feasible is True
    assert math.isfinite(good.points["vae"].excess.standard_error)
    assert good.plane.entropy == good.entropy == Estimate(ENTROPY, 0.0, 10**6)
    bad = rate_distortion(models, data(2000), entropy=Estimate(ENTROPY + 0.5, 0.01, 2000))
    assert bad.feasible is bad.points["vae"].feasible is False
    assert bad.points["vae"].excess.value == pytest.approx(-0.5, abs=0.1)


def test_the_errors_of_all_three_parts_cover_the_truth():
    a, s = 0.6, 0.9
    rate, distortion = parts(a, s)
    truth = {"rate": rate, "distortion": distortion, "elbo": -(rate + distortion)}
    repeats, hits = 300, dict.fromkeys(truth, 0)
    for seed in range(repeats):
        found = evidence_lower_bound(encoder(a, s), decoder, data(100, seed), seed=seed)
        for name, value in truth.items():
            low, high = getattr(found, name).interval()
            hits[name] += low <= value <= high
    assert all(0.90 <= hit / repeats <= 0.99 for hit in hits.values()), hits


def test_the_plane_of_one_model():
    x = data(300)
    model = Model(
        encode=lambda x, y: encoder(0.5, 0.7)(x), decode=lambda z, y: decoder(z), has_likelihood=True, test=x
    )
    found = METRICS["elbo"](model, Options())
    (plane,) = found.plots
    assert isinstance(plane, RatePlane)
    assert plane.points == {"this model": (found.metrics["rate"], found.metrics["distortion"])}
    assert plane.entropy.value == -found.metrics["elbo"].value


def test_the_plane_takes_a_better_bound():
    found = evidence_lower_bound(encoder(0.5, 0.7), decoder, data(50))
    assert rate_plane({"a": found}, Estimate(1.0, 0.1, 5)).entropy.value == 1.0


def test_refusals():
    model = {"a": (encoder(0.5, 0.7), decoder, None)}
    with pytest.raises(BadInput, match="models is empty"):
        rate_distortion({}, data(10))
    with pytest.raises(BadInput, match="the entropy is nan"):
        rate_distortion(model, data(10), entropy=Estimate(math.nan, 0.1, 5))
    with pytest.raises(BadInput, match="too small"):
        rate_distortion(model, data(1))
    with pytest.raises(BadInput, match="NaN"):
        rate_distortion(model, data(5) * math.inf)


@pytest.mark.parametrize(("errors", "feasible"), [(2.9, True), (3.1, False)])
def test_a_point_may_lie_three_errors_of_both_below_the_bound(errors, feasible):
    models = {"vae": (encoder(0.5, 0.7), decoder, None)}
    sum_of_both = rate_distortion(models, data(200)).points["vae"].negative_elbo
    error = math.sqrt(2) * sum_of_both.standard_error
    bound = Estimate(sum_of_both.value + errors * error, sum_of_both.standard_error, 200)
    (point,) = rate_distortion(models, data(200), entropy=bound).points.values()
    assert point.feasible is feasible
    assert point.excess.value == pytest.approx(-errors * error)
    assert point.excess.standard_error == pytest.approx(error)


def test_of_several_models_the_lowest_sum_bounds_the_entropy():
    models = {str(q): (encoder(*q), decoder, None) for q in ((0.9, 0.3), (0.5, 0.8), (0.0, 1.0))}
    found = rate_distortion(models, data(500))
    sums = {name: point.negative_elbo for name, point in found.points.items()}
    assert found.entropy.value == min(e.value for e in sums.values())
    assert all(point.excess.value >= 0 for point in found.points.values())
    for name, (rate, distortion) in found.plane.points.items():
        assert rate.value + distortion.value == pytest.approx(sums[name].value)
        assert rate == found.points[name].rate


def test_examples_go_with_their_labels_and_draws_with_their_seed():
    """q(z|x, y) = N((x - y)/2, ½) is the posterior of x - y, which alone has the density N(0, 2)."""
    y = 50 * torch.arange(40, dtype=torch.float64)[:, None]
    x = data(40) + y
    models = {"a": (lambda x, y: encoder(0.5, 0.5**0.5)(x - y), lambda z, y: decoder(z + y), None)}
    found = rate_distortion(models, x, y=y, samples=3, batch_size=7, seed=2)
    plain = {"a": (encoder(0.5, 0.5**0.5), decoder, None)}
    assert found.points["a"].negative_elbo.value == pytest.approx(
        rate_distortion(plain, data(40), samples=3, batch_size=7, seed=2).points["a"].negative_elbo.value
    )
    other = rate_distortion(models, x, y=y, samples=3, batch_size=7, seed=3)
    assert other.points["a"].distortion.value != found.points["a"].distortion.value
