"""Flows against autograd and quadrature, the noise encoder against its own draws, and all of them when bound."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal
from torch.func import functional_call, grad, jacrev, stack_module_state, vmap

from distmatch.distributions.functions import draw_and_score
from distmatch.distributions.points import Delta, NoisyPoint
from distmatch.errors import BadInput
from distmatch.networks import Shapes, build
from distmatch.networks.layers.latent_flow import AffineCoupling, LatentFlow
from distmatch.networks.posteriors import (
    POSTERIORS,
    FlowPosterior,
    Mixing,
    gaussian_posterior,
    sphere_posterior,
)
from distmatch.training.engine.functional import bind

BATCH, LATENT = 6, 3
SHAPES = Shapes((1, 4, 4), LATENT)


def seeded(make: Callable[[], nn.Module], seed: int = 0, spread: float = 0.3) -> nn.Module:
    """A double-precision module from a fixed seed, moved away from its start so that nothing in it is zero."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = make().double()
        with torch.no_grad():
            for p in module.parameters():
                p.add_(spread * torch.randn_like(p))
    return module


def normals(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


NOISE = normals(BATCH, LATENT, seed=5)


def encoder(posterior: str, seed: int = 0) -> nn.Module:
    return seeded(
        lambda: build("mlp", "encoder", SHAPES, posterior=posterior, options={"width": 6}), seed, 0.1
    )


def given(net: nn.Module) -> dict[str, Tensor]:
    return {"noise": normals(BATCH, net.noise_size, seed=4)} if net.noise_size else {}


def everything(distribution: Distribution) -> Tensor:
    """A number that has all that a distribution tells in it."""
    if isinstance(distribution, NoisyPoint):
        return (
            distribution.loc.sin().sum()
            + distribution.moment_loc.cos().sum()
            + distribution.moment_scale.log().sum()
        )
    if isinstance(distribution, Delta):
        return distribution.loc.sin().sum()
    z, log_q = draw_and_score(distribution, NOISE)
    return z.sin().sum() + log_q.sum() + distribution.log_prob(NOISE.cos()).sum()


def grid(reach: float, points: int) -> tuple[Tensor, float]:
    axis = torch.linspace(-reach, reach, points, dtype=torch.float64)
    return torch.cartesian_prod(axis, axis), float(axis[1] - axis[0]) ** 2


@pytest.mark.parametrize("swap", [False, True])
@pytest.mark.parametrize("latent", [2, 5])
def test_a_coupling_is_the_equation(latent, swap):
    first = latent // 2
    kept, moved = (latent - first, first) if swap else (first, latent - first)
    weight, bias = normals(2 * moved, kept), normals(2 * moved, seed=1)
    x = normals(latent, seed=2)
    a, b = (x[first:], x[:first]) if swap else (x[:first], x[first:])
    s, t = (weight @ a + bias).split(moved)
    s = 2 * torch.tanh(s / 2)
    image = b * s.exp() + t
    expected = torch.cat([image, a] if swap else [a, image])
    coupling = AffineCoupling([(weight, bias)], first, swap)
    torch.testing.assert_close(coupling(x), expected)
    torch.testing.assert_close(coupling.log_abs_det_jacobian(x, expected), s.sum())


@pytest.mark.parametrize("latent", [2, 3, 7])
def test_log_determinants_are_autograds(latent):
    flow = seeded(lambda: LatentFlow(latent, width=8))
    distribution = flow(Independent(Normal(normals(latent), normals(latent, seed=1).exp()), 1))
    x = normals(latent, seed=2)
    z, log_q = draw_and_score(distribution, x)

    def whole(z0: Tensor) -> Tensor:
        for transform in distribution.transforms:
            z0 = transform(z0)
        return z0

    start = distribution.base_dist.base_dist.loc + distribution.base_dist.base_dist.scale * x
    _, determinant = torch.linalg.slogdet(jacrev(whole)(start))
    assert determinant.abs() > 0.01
    torch.testing.assert_close(z, whole(start))
    torch.testing.assert_close(log_q, distribution.base_dist.log_prob(start) - determinant)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
def test_the_inverse_undoes_the_flow(dtype, tolerance):
    distribution = seeded(lambda: FlowPosterior(LatentFlow(8)), spread=0.06).to(dtype)(
        normals(50, 16).to(dtype)
    )
    z0 = normals(50, 8, seed=1).to(dtype)
    z = z0
    for transform in distribution.transforms:
        z = transform(z)
    assert (z - z0).abs().max() > 0.5
    back = z
    for transform in reversed(distribution.transforms):
        back = transform.inv(back)
    assert (back - z0).abs().max() < tolerance


def test_the_score_on_the_way_is_the_density_at_the_draw():
    distribution = seeded(lambda: FlowPosterior(LatentFlow(3, width=8)))(normals(BATCH, 6))
    z, log_q = draw_and_score(distribution, normals(BATCH, 3, seed=1))
    torch.testing.assert_close(distribution.log_prob(z), log_q)
    copies = distribution.expand((2, BATCH))
    many, scores = draw_and_score(copies, normals(2, BATCH, 3, seed=2))
    torch.testing.assert_close(distribution.log_prob(many), scores)


def test_a_flow_integrates_to_one():
    distribution = seeded(lambda: FlowPosterior(LatentFlow(2, width=8)), spread=0.1)(normals(3, 4))
    points, cell = grid(12, 361)
    mass = distribution.log_prob(points[:, None]).exp().sum(0) * cell
    torch.testing.assert_close(mass, torch.ones_like(mass), rtol=2e-3, atol=0)


def test_a_fresh_flow_is_near_its_base():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        distribution = FlowPosterior(LatentFlow(4))(torch.zeros(1, 8))
    z = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    difference = distribution.log_prob(z) - gaussian_posterior(torch.zeros(1, 8)).log_prob(z)
    assert 0 < difference.abs().mean() < 0.2


def test_the_flows_stand_in_for_the_mean_is_the_image_of_the_bases():
    distribution = seeded(lambda: FlowPosterior(LatentFlow(3, width=8)))(normals(BATCH, 6))
    torch.testing.assert_close(
        distribution.mean, draw_and_score(distribution, torch.zeros(BATCH, 3, dtype=torch.float64))[0]
    )


def test_under_autocast_a_density_keeps_its_precision():
    distribution = seeded(lambda: FlowPosterior(LatentFlow(3))).float()(normals(BATCH, 6).float())
    z = normals(BATCH, 3, seed=1).float()
    plain = distribution.log_prob(z)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(distribution.log_prob(z), plain)
        net = encoder("noise").float()
        moments = net(torch.rand(BATCH, 1, 4, 4), noise=given(net)["noise"].float())
    assert moments.loc.dtype == moments.moment_scale.dtype == torch.float32


def test_the_sphere_has_its_radius_and_the_direction():
    raw = normals(BATCH, LATENT)
    z = sphere_posterior(raw).mean
    torch.testing.assert_close(z.norm(dim=-1), torch.full((BATCH,), LATENT**0.5, dtype=torch.float64))
    torch.testing.assert_close(z * raw.norm(dim=-1, keepdim=True) / LATENT**0.5, raw)
    assert grad(lambda raw: sphere_posterior(raw).mean.sum())(torch.zeros(1, 2)).isfinite().all()


def test_the_noise_posterior_is_the_equation():
    head = seeded(lambda: Mixing(2, bases=3, noise_size=4, width=5))
    raw, noise = normals(BATCH, 8), normals(BATCH, 4, seed=1)
    distribution = head(raw, noise)
    v = head.net(noise).reshape(BATCH, 3, 2)
    for row in range(BATCH):
        z = raw[row, :2].clone()
        for k in range(3):
            z += (1 + raw[row, 2 * (k + 1) : 2 * (k + 2)]) / math.sqrt(3) * v[row, k]
        torch.testing.assert_close(distribution.loc[row], z)


def test_the_noise_posteriors_moments_are_those_of_its_draws():
    head = seeded(lambda: Mixing(2, bases=3, noise_size=4, width=5))
    raw, noise = normals(BATCH, 8), normals(40, 4, seed=1)
    whole = head(raw.repeat(7, 1)[:40], noise)
    for row in range(BATCH):
        draws = head(raw[row].expand(40, 8), noise).loc  # one x under each noise of the batch
        torch.testing.assert_close(whole.moment_loc[row], draws.mean(0))
        torch.testing.assert_close(whole.moment_scale[row], draws.std(0, correction=0))


def test_the_noise_posterior_of_one_row_or_no_spread_is_finite():
    head = seeded(lambda: Mixing(2, bases=3, noise_size=4, width=5))
    for raw, noise in [(normals(1, 8), normals(1, 4)), (-torch.ones(5, 8).double(), normals(5, 4))]:
        distribution = head(raw, noise)
        torch.testing.assert_close(
            distribution.moment_scale, torch.full_like(distribution.moment_scale, 1e-6)
        )
        slope = grad(lambda raw, noise=noise: head(raw, noise).moment_scale.log().sum())(raw)
        assert slope.isfinite().all()


@pytest.mark.parametrize("family", ["mlp", "dcgan"])
def test_a_fresh_noise_encoder_spreads_like_the_prior(family):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build(family, "encoder", Shapes((1, 8, 8), 5), posterior="noise")
        distribution = net(torch.rand(64, 1, 8, 8), noise=torch.randn(64, net.noise_size))
    assert 0.5 < distribution.moment_scale.mean() < 2
    assert distribution.moment_loc.abs().mean() < 2


@pytest.mark.parametrize("name", POSTERIORS)
def test_a_bound_encoders_law_is_of_the_bound_weights(name):
    net, other = encoder(name), encoder(name, seed=1)
    x = torch.rand(BATCH, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    distribution = bind(net, {k: p.detach() for k, p in other.named_parameters()})(x, **given(net))
    assert distribution.batch_shape == (BATCH,)
    assert distribution.event_shape == (LATENT,)
    torch.testing.assert_close(everything(distribution), everything(other(x, **given(other))))
    assert not torch.allclose(everything(distribution), everything(net(x, **given(net))))


@pytest.mark.parametrize("name", POSTERIORS)
def test_gradients_reach_all_weights_alike_in_lanes_and_compiled(name):
    net, other = encoder(name), encoder(name, seed=1)
    x = torch.rand(BATCH, 1, 4, 4, generator=torch.Generator().manual_seed(0)).double()

    outside = given(net)

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        return everything(functional_call(net, parameters, (x,), outside))

    own = {k: p.detach() for k, p in net.named_parameters()}
    alone = grad(loss)(own)
    assert all(g.isfinite().all() and g.abs().max() > 0 for g in alone.values())
    stacked = {k: v.detach() for k, v in stack_module_state([net, other])[0].items()}
    lanes = vmap(grad(loss))(stacked)
    for i in range(2):
        by_itself = grad(loss)({k: v[i] for k, v in stacked.items()})
        torch.testing.assert_close({k: v[i] for k, v in lanes.items()}, by_itself)
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(grad(loss), fullgraph=True, backend="aot_eager")(own), alone)


def test_labels_and_noise_go_together():
    shapes = Shapes((2,), LATENT, num_classes=3, bounded=False)
    net = build("mlp", "encoder", shapes, posterior="noise", options={"width": 6})
    x, noise = torch.randn(BATCH, 2), torch.randn(BATCH, net.noise_size)
    first, second = (net(x, y=torch.full((BATCH,), y), noise=noise).loc for y in (0, 2))
    assert not torch.allclose(first, second)


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda: build("mlp", "encoder", Shapes((2,), 1), posterior="flow"), "latent is 1: take at least 2"),
        (lambda: encoder("noise")(torch.rand(1, 1, 4, 4).double()), r"noise of size 32: give it noise"),
        (
            lambda: encoder("flow")(torch.rand(1, 1, 4, 4).double(), noise=torch.zeros(1, 32)),
            "noise of size 0: leave the noise out",
        ),
        (lambda: build("mlp", "encoder", SHAPES, posterior="flwo"), "did you mean 'flow'"),
    ],
)
def test_refusals(act, sentence):
    with pytest.raises(BadInput, match=sentence):
        act()


@pytest.mark.parametrize("name", POSTERIORS)
def test_a_posterior_says_whether_it_has_a_density(name):
    net = encoder(name)
    distribution = net(torch.rand(BATCH, 1, 4, 4).double(), **given(net))
    if POSTERIORS[name].has_density:
        assert distribution.log_prob(normals(BATCH, LATENT)).shape == (BATCH,)
    else:
        with pytest.raises(BadInput, match="has no likelihood"):
            distribution.log_prob(normals(BATCH, LATENT))
