"""The distributions: mass one, samples that follow them, tails, gradients, closed forms; and what carries them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.distributions import (
    AffineTransform,
    Bernoulli,
    Distribution,
    ExpTransform,
    Independent,
    Laplace,
    LogNormal,
    Normal,
    StickBreakingTransform,
    TanhTransform,
    TransformedDistribution,
    kl_divergence,
)
from torch.func import grad, vmap

from distmatch.distributions.autoregressive import TeacherForced
from distmatch.distributions.dequantised import Dequantised, QuantizedNormal, log_likelihood
from distmatch.distributions.flatten import _named_in, flatten_distribution
from distmatch.distributions.functions import (
    draw_and_score,
    is_diagonal_normal,
    kl_divergence_to_standard_normal,
    reparameterise,
    standard_normal,
)
from distmatch.distributions.likelihoods import LIKELIHOODS
from distmatch.distributions.pixels import LogitBernoulli, PixelCategorical
from distmatch.distributions.points import Delta, DensityAt, NoisyPoint
from distmatch.errors import BadInput

LEVELS = torch.arange(256, dtype=torch.float64) / 255
DOUBLE = {"dtype": torch.float64}


def normals(shape: tuple[int, ...], seed: int = 0, **kwargs) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), **kwargs)


@pytest.fixture
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


# Mass


@pytest.mark.parametrize(("loc", "scale"), [(0.5, 0.1), (0.3, 0.02), (0.7, 0.004)])
def test_quantized_normal_integrates_to_one(loc, scale):
    distribution = QuantizedNormal(torch.tensor(loc, **DOUBLE), torch.tensor(scale, **DOUBLE))
    nodes, weights = (torch.tensor(a, **DOUBLE) for a in np.polynomial.legendre.leggauss(8))
    u = (nodes + 1) / 2
    density = distribution.log_prob(LEVELS[:, None], u[None]).exp()
    cells = (density * weights / 2).sum(-1) / 256  # the probability of every level
    inside = stats.norm.cdf((1 - loc) / scale) - stats.norm.cdf(-loc / scale)
    assert cells.sum().item() == pytest.approx(inside, abs=1e-9)
    edges = torch.arange(257, **DOUBLE) / 256
    exact = Normal(distribution.loc, distribution.scale).cdf(edges).diff()
    torch.testing.assert_close(cells, exact, rtol=1e-8, atol=1e-10)


def test_quantized_normal_bounds_the_discrete_likelihood():
    distribution = QuantizedNormal(torch.tensor(0.4, **DOUBLE), torch.tensor(0.01, **DOUBLE))
    x = torch.tensor(99 / 255, **DOUBLE)
    u = (torch.arange(4000, **DOUBLE) + 0.5) / 4000
    bound = distribution.log_prob(x, u).mean() - math.log(256)
    exact = (distribution.log_prob(x, u).exp().mean() / 256).log()
    assert bound < exact
    torch.testing.assert_close(
        distribution.log_prob(x), distribution.log_prob(x, torch.tensor(0.5, **DOUBLE))
    )


def test_pixel_categorical_sums_to_one():
    distribution = PixelCategorical(3 * normals((5, 256), **DOUBLE))
    masses = distribution.log_prob(LEVELS[:, None]).exp()
    torch.testing.assert_close(masses.sum(0), torch.ones(5, **DOUBLE))
    torch.testing.assert_close(distribution.mean, (masses * LEVELS[:, None]).sum(0))
    torch.testing.assert_close(distribution.mode, LEVELS[masses.argmax(0)])


@pytest.mark.parametrize("name", ["gaussian", "laplace"])
def test_continuous_likelihoods_integrate_to_one(name):
    distribution = LIKELIHOODS[name](torch.zeros(1, 1, **DOUBLE), (1,), False, torch.tensor(-1.0, **DOUBLE))
    x = torch.linspace(-15, 15, 200_001, **DOUBLE)
    density = distribution.log_prob(x[:, None]).exp()
    assert torch.trapezoid(density, x).item() == pytest.approx(1, abs=1e-6)


def test_bernoulli_is_minus_the_cross_entropy_between_levels_too():
    logits, x = normals((4, 3)), torch.rand(4, 3, generator=torch.Generator().manual_seed(1))
    distribution = LIKELIHOODS["bernoulli"](logits, (3,))
    expected = -torch.nn.functional.binary_cross_entropy_with_logits(logits, x, reduction="none").sum(-1)
    torch.testing.assert_close(distribution.log_prob(x), expected)
    both = torch.stack([distribution.base_dist.log_prob(torch.full((4, 3), v)) for v in (0.0, 1.0)])
    torch.testing.assert_close(both.exp().sum(0), torch.ones(4, 3))


# Samples


@pytest.mark.parametrize(
    "distribution",
    [
        QuantizedNormal(torch.tensor([0.5, 0.99]), torch.tensor([0.02, 0.05])),
        PixelCategorical(2 * normals((2, 256))),
    ],
    ids=["quantized-normal", "categorical"],
)
def test_samples_follow_the_law(distribution, seeded):
    n = 20_000
    draws = distribution.sample((n,))
    assert draws.shape == (n, 2)
    counts = torch.stack([torch.bincount((255 * d).round().long(), minlength=256) for d in draws.T])
    if isinstance(distribution, PixelCategorical):
        expected = n * distribution.logits.softmax(-1)
    else:
        edges = torch.arange(257) / 256
        edges[0], edges[-1] = -torch.inf, torch.inf  # what is beyond the ends goes to the end levels
        expected = (
            n
            * Normal(distribution.loc, distribution.scale, validate_args=False)
            .cdf(edges[:, None])
            .diff(dim=0)
            .T
        )
    for c, e in zip(counts, expected, strict=True):
        rare = e < 5
        c = torch.cat([c[~rare], c[rare].sum()[None]]).double() + 1e-3
        e = torch.cat([e[~rare], e[rare].sum()[None]]).double() + 1e-3
        assert stats.chisquare(c, e * c.sum() / e.sum()).pvalue > 1e-3


def test_quantized_mean_is_that_of_its_samples(seeded):
    distribution = QuantizedNormal(torch.tensor([0.4, 0.6]), torch.tensor(0.05))
    torch.testing.assert_close(distribution.sample((40_000,)).mean(0), distribution.mean, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["implicit", "quantized-normal", "gaussian", "laplace"])
def test_means_of_bounded_locations_stay_in_the_unit_interval(name):
    raw = torch.tensor([[-100.0, -1.0, 0.0, 100.0]])
    mean = LIKELIHOODS[name](raw, (4,), True, torch.tensor(-1.0)).mean
    torch.testing.assert_close(mean, (raw.tanh() + 1) / 2)
    assert ((mean >= 0) & (mean <= 1)).all()


# Tails


@pytest.mark.parametrize("name", sorted(set(LIKELIHOODS) - {"implicit"}))
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_tails_are_finite_with_finite_gradients(name, size):
    likelihood = LIKELIHOODS[name]
    raw = size * normals((3, 2 * likelihood.channels)).sign()

    def total(raw: Tensor) -> Tensor:
        distribution = likelihood(raw, (2,), True, torch.tensor(-5.0) if likelihood.learned_scale else None)
        return log_likelihood(distribution, torch.tensor([[0.0, 1.0]]), torch.full((1, 2), 0.5)).sum()

    assert total(raw).isfinite()
    assert grad(total)(raw).isfinite().all()


# Reparameterisation


def test_reparameterise_is_the_draw_and_its_gradient():
    loc, scale, noise = normals((4, 3)), normals((4, 3), 1).exp(), normals((4, 3), 2)
    distribution = Independent(Normal(loc, scale), 1)
    torch.testing.assert_close(reparameterise(distribution, noise), loc + scale * noise)
    by_loc, by_scale = grad(lambda m, s: reparameterise(Normal(m, s, False), noise).sum(), (0, 1))(loc, scale)
    torch.testing.assert_close(by_loc, torch.ones_like(loc))
    torch.testing.assert_close(by_scale, noise)
    assert reparameterise(Delta(loc, 1), noise) is loc
    squashed = TransformedDistribution(
        distribution, [AffineTransform(1.0, 2.0, event_dim=1), TanhTransform()]
    )
    torch.testing.assert_close(reparameterise(squashed, noise), (1 + 2 * (loc + scale * noise)).tanh())


def test_reparameterised_draws_follow_the_law():
    draws = reparameterise(Normal(2.0, 3.0), normals((20_000,)))
    assert stats.kstest(draws, stats.norm(2, 3).cdf).pvalue > 1e-3


@pytest.mark.parametrize(
    "distribution",
    [Bernoulli(logits=torch.zeros(2)), Laplace(0.0, 1.0), PixelCategorical(torch.zeros(2, 256))],
)
def test_what_cannot_be_reparameterised_is_refused(distribution):
    with pytest.raises(BadInput, match=f"a draw from {type(distribution).__name__}"):
        reparameterise(distribution, torch.zeros(2))


# KL


def test_kl_is_torchs():
    q = Independent(Normal(normals((6, 4), **DOUBLE), normals((6, 4), 1, **DOUBLE).exp()), 1)
    p = Independent(Normal(torch.zeros(4, **DOUBLE), torch.ones(4, **DOUBLE)), 1)
    torch.testing.assert_close(kl_divergence_to_standard_normal(q), kl_divergence(q, p))
    assert standard_normal(4).log_prob(torch.zeros(4)).item() == pytest.approx(-2 * math.log(2 * math.pi))


@pytest.mark.parametrize(
    ("distribution", "sentence"),
    [
        (Delta(torch.zeros(2, 3), 1), "a deterministic encoder has no KL"),
        (Independent(Laplace(torch.zeros(2, 3), 1.0), 1), "needs a diagonal normal"),
        (Normal(torch.zeros(2), 1.0), "needs a diagonal normal"),
    ],
)
def test_kl_without_closed_form_is_refused(distribution, sentence):
    with pytest.raises(BadInput, match=sentence):
        kl_divergence_to_standard_normal(distribution)


# The point mass


def test_a_point_mass():
    loc = normals((4, 3))
    distribution = Delta(loc, 1)
    assert (distribution.batch_shape, distribution.event_shape) == ((4,), (3,))
    assert distribution.mean is loc
    assert not distribution.variance.any()
    assert distribution.sample((2,)).equal(torch.stack([loc, loc]))
    with pytest.raises(BadInput, match="no likelihood"):
        distribution.log_prob(loc)
    with pytest.raises(BadInput, match="no likelihood"):
        log_likelihood(Independent(Delta(loc), 1), loc)


def test_a_point_mass_expands():
    loc = normals((4, 3))
    distribution = Delta(loc, 1).expand((2, 4))
    assert (distribution.batch_shape, distribution.event_shape) == ((2, 4), (3,))
    assert distribution.mean.equal(torch.stack([loc, loc]))


def test_a_noisy_point_is_a_point_that_tells_the_moments_of_its_law():
    loc, mean, scale = normals((4, 3)), normals((4, 3), 1), normals((4, 3), 2).exp()
    distribution = NoisyPoint(loc, (mean, scale), 1)
    assert (distribution.batch_shape, distribution.event_shape) == ((4,), (3,))
    assert reparameterise(distribution, normals((4, 7))) is loc
    assert (distribution.moment_loc, distribution.moment_scale) == (mean, scale)
    with pytest.raises(BadInput, match="no likelihood"):
        distribution.log_prob(loc)
    tensors, rebuild = flatten_distribution(distribution)
    assert [t for t in tensors if t is loc or t is mean or t is scale] == tensors
    same = rebuild([2 * t for t in tensors])
    assert isinstance(same, NoisyPoint)
    assert same.moment_scale.equal(2 * scale)
    assert same.mean.equal(2 * loc)


# A draw with its density


def closed_form(distribution: Distribution, z: Tensor, log_q: Tensor) -> None:
    """Against the density that torch finds by inverting the transforms."""
    torch.testing.assert_close(log_q, distribution.log_prob(z), rtol=1e-9, atol=1e-9)
    assert log_q.shape == distribution.batch_shape


def test_draw_and_score_of_a_normal():
    loc, scale, noise = (normals((4, 3), s, **DOUBLE) for s in range(3))
    distribution = Independent(Normal(loc, scale.exp()), 1)
    z, log_q = draw_and_score(distribution, noise)
    torch.testing.assert_close(z, loc + scale.exp() * noise)
    expected = -0.5 * noise.square().sum(1) - scale.sum(1) - 1.5 * math.log(2 * math.pi)
    torch.testing.assert_close(log_q, expected)


def test_draw_and_score_of_a_log_normal_by_hand():
    """log q(z) = log N(log z; μ, σ²) - Σ log z."""
    loc, scale, noise = (normals((4, 3), s, **DOUBLE) for s in range(3))
    base = Independent(Normal(loc, scale.exp()), 1)
    z, log_q = draw_and_score(TransformedDistribution(base, [ExpTransform()]), noise)
    torch.testing.assert_close(log_q, base.log_prob(z.log()) - z.log().sum(1))
    torch.testing.assert_close(log_q, LogNormal(loc, scale.exp()).log_prob(z).sum(1), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "transforms",
    [
        [AffineTransform(1.0, -0.5)],
        [TanhTransform(), AffineTransform(torch.arange(12.0, **DOUBLE).reshape(4, 3), 2.0)],
        [
            AffineTransform(torch.ones(3, **DOUBLE), torch.arange(1.0, 4.0, **DOUBLE), event_dim=1),
            ExpTransform(),
        ],
        [StickBreakingTransform()],
    ],
    ids=["affine", "tanh-affine", "event", "simplex"],
)
@pytest.mark.parametrize("independent", [True, False])
def test_draw_and_score_of_transformed_laws(transforms, independent):
    loc, scale, noise = (normals((4, 3), s, **DOUBLE) for s in range(3))
    base: Distribution = Normal(loc, scale.exp(), validate_args=False)
    base = Independent(base, 1) if independent else base
    distribution = TransformedDistribution(base, transforms, validate_args=False)
    z, log_q = draw_and_score(distribution, noise)
    torch.testing.assert_close(z, reparameterise(distribution, noise))
    closed_form(distribution, z, log_q)
    nested = TransformedDistribution(distribution, [AffineTransform(0.5, 3.0)], validate_args=False)
    closed_form(nested, *draw_and_score(nested, noise))


def test_draw_and_score_of_many_draws_at_once():
    loc, scale, noise = (
        normals((4, 3), **DOUBLE),
        normals((4, 3), 1, **DOUBLE),
        normals((5, 4, 3), 2, **DOUBLE),
    )
    shift = AffineTransform(loc, 0.5)
    distribution = TransformedDistribution(Independent(Normal(loc, scale.exp()), 1), [TanhTransform(), shift])
    z, log_q = draw_and_score(distribution.expand((5, 4)), noise)
    for k in range(5):
        one, density = draw_and_score(distribution, noise[k])
        torch.testing.assert_close(z[k], one)
        torch.testing.assert_close(log_q[k], density)


def test_draw_and_score_needs_no_inverse_and_is_differentiable():
    class OneWay(TanhTransform):
        def _inverse(self, y: Tensor) -> Tensor:
            raise AssertionError("inverted")

    def total(loc: Tensor) -> Tensor:
        base = Independent(Normal(loc, torch.ones_like(loc), validate_args=False), 1, validate_args=False)
        distribution = TransformedDistribution(base, [OneWay()], validate_args=False)
        z, log_q = draw_and_score(distribution, torch.zeros_like(loc))
        return log_q.sum() + z.sum()

    loc = normals((4, 3), **DOUBLE)
    slope, step = grad(total)(loc), 1e-6
    for i in range(3):
        move = torch.zeros_like(loc)
        move[2, i] = step
        difference = (total(loc + move) - total(loc - move)) / (2 * step)
        assert slope[2, i].item() == pytest.approx(difference.item(), rel=1e-6)


# A density at one point


def test_a_density_at_a_point_is_known_there_alone():
    log_density, draw = normals((4,)), normals((4, 3), 1)
    distribution = DensityAt(log_density, draw)
    assert (distribution.batch_shape, distribution.event_shape) == ((4,), (3,))
    assert distribution.mean is draw
    assert distribution.log_prob(draw) is log_density
    bare = DensityAt(log_density)
    assert (bare.batch_shape, bare.event_shape) == ((4,), ())
    with pytest.raises(BadInput, match="at one point alone, and was not drawn from"):
        _ = bare.mean


@pytest.mark.parametrize("drawn", [True, False])
def test_a_density_at_a_point_crosses_vmap(drawn):
    log_density, draw = normals((5, 4)), normals((5, 4, 3), 1)
    rebuilds = []

    def tensors(log_density: Tensor, draw: Tensor) -> list[Tensor]:
        flat, rebuild = flatten_distribution(DensityAt(log_density, draw if drawn else None))
        rebuilds.append(rebuild)
        return flat

    lanes = vmap(tensors)(log_density, draw)
    assert len(lanes) == 1 + drawn
    outside = rebuilds[0](lanes)
    assert outside.batch_shape == (5, 4)
    assert outside.log_prob(draw).equal(log_density)
    assert not drawn or outside.mean.equal(draw)
    inner = vmap(lambda ts, z: rebuilds[0](ts).log_prob(z))(lanes, draw)
    assert inner.equal(log_density)


def test_diagonal_normals_are_told_from_others():
    diagonal = Independent(Normal(torch.zeros(4, 3), 1.0), 1)
    assert is_diagonal_normal(diagonal)
    others = [
        diagonal.base_dist,
        Independent(diagonal.base_dist, 2),
        Independent(Laplace(torch.zeros(4, 3), 1.0), 1),
        Independent(LogNormal(torch.zeros(4, 3), 1.0), 1),
        TransformedDistribution(diagonal, [TanhTransform()]),
        Delta(torch.zeros(4, 3), 1),
        DensityAt(torch.zeros(4), torch.zeros(4, 3)),
    ]
    assert not any(map(is_diagonal_normal, others))


def test_a_teacher_forced_law_is_scored_at_what_it_is_given_and_drawn_from_once():
    drawn = normals((4, 3))
    distribution = TeacherForced(
        lambda x: Independent(Normal(x.cumsum(1) - x, 1.0), 1), lambda: drawn, 4, (3,)
    )
    assert (distribution.batch_shape, distribution.event_shape) == ((4,), (3,))
    assert distribution.sample() is drawn
    x = normals((4, 3), 1)
    before = torch.stack([torch.zeros(4), x[:, 0], x[:, 0] + x[:, 1]], 1)
    torch.testing.assert_close(distribution.log_prob(x), Normal(before, 1.0).log_prob(x).sum(1))
    with pytest.raises(BadInput, match="once for each code"):
        distribution.sample((2,))


# Likelihoods


def test_dequantisation_noise_reaches_only_the_law_that_wants_it():
    x, u = torch.full((2, 3), 0.2), torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    for name, likelihood in LIKELIHOODS.items():
        if name == "implicit":
            continue
        distribution = likelihood(normals((2, 3 * likelihood.channels)), (3,), True, torch.tensor(-2.0))
        plain, noisy = log_likelihood(distribution, x), log_likelihood(distribution, x, u)
        torch.testing.assert_close(plain, distribution.log_prob(x))
        assert plain.equal(noisy) != likelihood.needs_dequantisation


@pytest.mark.parametrize("name", sorted(LIKELIHOODS))
def test_unbounded_data_is_refused_where_it_has_no_law(name):
    likelihood = LIKELIHOODS[name]
    raw = torch.full((1, 2 * likelihood.channels), 3.0)
    if likelihood.unbounded:
        torch.testing.assert_close(likelihood(raw, (2,), False).mean, torch.full((1, 2), 3.0))
    else:
        with pytest.raises(BadInput, match=r"needs data in \[0, 1\]"):
            likelihood(raw, (2,), False)


# Across vmap


def distribution_of(name: str, raw: Tensor) -> Distribution:
    return LIKELIHOODS[name](raw, (2, 2, 2), True, raw.mean())


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_laws_cross_vmap(name):
    raw = normals((5, 3, 2 * LIKELIHOODS[name].channels, 2, 2))
    rebuilds = []

    def tensors(raw: Tensor) -> list[Tensor]:
        flat, rebuild = flatten_distribution(distribution_of(name, raw))
        rebuilds.append(rebuild)
        return flat

    lanes = vmap(tensors)(raw)
    outside = rebuilds[0](lanes)
    assert (outside.batch_shape, outside.event_shape) == ((5, 3), (2, 2, 2))
    x = torch.rand(3, 2, 2, 2, generator=torch.Generator().manual_seed(1))
    for i in range(5):
        alone = distribution_of(name, raw[i])
        torch.testing.assert_close(outside.mean[i], alone.mean)
        if name != "implicit":
            torch.testing.assert_close(outside.log_prob(x)[i], alone.log_prob(x), rtol=1e-4, atol=1e-4)
            inner = vmap(lambda ts: rebuilds[0](ts).log_prob(x))(lanes)
            torch.testing.assert_close(inner, outside.log_prob(x))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_laws_compile(name):
    raw = normals((3, 2 * LIKELIHOODS[name].channels, 2, 2))

    def loss(raw: Tensor) -> Tensor:
        flat, rebuild = flatten_distribution(distribution_of(name, raw))
        distribution = rebuild([1.5 * t for t in flat])
        value = distribution.mean.sum()
        x = torch.full((3, 2, 2, 2), 0.25)
        return (
            value
            if name == "implicit"
            else value + log_likelihood(distribution, x, torch.full_like(x, 0.1)).sum()
        )

    torch.compiler.reset()
    compiled = torch.compile(grad(loss), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(raw), grad(loss)(raw), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_the_class_of_a_law_names_all_that_it_holds(name):
    """Which the compiler of torch 2.11 cannot list."""
    point = torch.zeros(3, 2)
    distribution = distribution_of(name, normals((3, 2 * LIKELIHOODS[name].channels, 2, 2)))
    flow = TransformedDistribution(Independent(Normal(point, point + 1), 1), [TanhTransform()])
    others = [
        flow,
        flow.base_dist,
        NoisyPoint(point, (point, point), 1),
        DensityAt(point),
        Dequantised(distribution),
    ]
    for one in (distribution, getattr(distribution, "base_dist", distribution), *others):
        assert set(vars(one)) <= set(_named_in(type(one))), type(one)


def test_flatten_leaves_out_what_was_computed_and_keeps_sharing():
    distribution = Bernoulli(logits=torch.zeros(3), validate_args=False)
    _ = distribution.probs
    tensors, rebuild = flatten_distribution(distribution)
    assert [t.tolist() for t in tensors] == [[0.0, 0.0, 0.0]]
    new = rebuild([torch.full((3,), 100.0)])
    assert new.mean.tolist() == [1.0, 1.0, 1.0]
    assert new.entropy().isfinite().all()
    assert distribution.mean.tolist() == [0.5, 0.5, 0.5]
    by_probs, rebuild = flatten_distribution(Bernoulli(probs=torch.full((3,), 0.25)))
    assert rebuild(by_probs).logits.sigmoid().tolist() == pytest.approx([0.25] * 3)


def test_flatten_follows_nested_laws():
    base = Independent(Normal(normals((4, 3)), normals((4, 3), 1).exp()), 1)
    distribution = TransformedDistribution(base, [TanhTransform()])
    tensors, rebuild = flatten_distribution(distribution)
    assert len(tensors) == 2
    x = torch.full((4, 3), 0.5)
    torch.testing.assert_close(rebuild(tensors).log_prob(x), distribution.log_prob(x))
    assert rebuild([t.expand(2, 4, 3) for t in tensors]).batch_shape == (2, 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_logit_bernoulli_is_torchs_bernoulli(dtype):
    logits = torch.tensor([-200.0, -45.0, -21.0, -1.5, 0.0, 0.5, 21.0, 39.0, 41.0, 200.0], dtype=dtype)
    x = torch.tensor([0.0, 1.0, 0.25], dtype=dtype)[:, None]

    def scored(kind):
        leaf = logits.clone().requires_grad_()
        score = kind(leaf).log_prob(x)
        return score.detach(), torch.autograd.grad(score.sum(), leaf)[0]

    ours, slope = scored(LogitBernoulli)
    theirs, their_slope = scored(lambda at: Bernoulli(logits=at, validate_args=False))
    eps = torch.finfo(dtype).eps
    assert torch.allclose(ours, theirs, rtol=4 * eps, atol=4 * eps * 50)
    assert torch.allclose(slope, their_slope, atol=8 * eps)


def test_logit_bernoulli_keeps_what_is_left_of_a_sure_zero():
    score = LogitBernoulli(torch.tensor([-30.0])).log_prob(torch.zeros(1))
    assert score.item() == pytest.approx(-9.357622968840175e-14, rel=1e-6)


def test_logit_bernoulli_is_one_operation_of_lanes_each():
    """What torch's own form is not: it falls into exp, log, where and more, each a pass over memory."""
    with torch.profiler.profile() as seen:
        torch.func.vmap(lambda at, x: LogitBernoulli(at).log_prob(x))(torch.zeros(3, 5), torch.ones(3, 5))
    names = {event.key for event in seen.key_averages() if event.key.startswith("aten::")}
    assert "aten::softplus" in names
    assert not names & {"aten::exp", "aten::exp_", "aten::log", "aten::where", "aten::log1p"}
