"""Learned priors: mass one, samples that follow the density, VampPrior by hand, and all of them when bound."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Distribution, Independent, MixtureSameFamily, Normal
from torch.func import functional_call, grad, vmap

from distmatch.distributions.flatten import flatten_distribution
from distmatch.errors import BadInput
from distmatch.networks import Shapes, build
from distmatch.networks.priors import (
    PRIORS,
    FlowPrior,
    MixturePrior,
    NormalMixture,
    VampPrior,
    prior,
)
from distmatch.training.engine.functional import bind

IMAGE = Shapes((1, 4, 4), 2)
NETS = ("encoder", "prior")


def seeded(make: Callable[[], nn.Module], seed: int = 0, spread: float = 0.1) -> nn.Module:
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


def model_nets(name: str, seed: int = 0, shapes: Shapes = IMAGE) -> dict[str, nn.Module]:
    return {
        "encoder": seeded(lambda: build("mlp", "encoder", shapes, options={"width": 8}), seed),
        "prior": seeded(lambda: prior(name, shapes, components=5), seed),
    }


def distribution_of(nets: dict[str, nn.Module]) -> Distribution:
    with torch.no_grad():
        return nets["prior"](nets["encoder"])


def weights_of(nets: dict[str, nn.Module]) -> dict[str, dict[str, Tensor]]:
    return {n: {k: p.detach() for k, p in net.named_parameters()} for n, net in nets.items()}


def samples(distribution: Distribution, n: int) -> Tensor:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return distribution.sample((n,))


@pytest.mark.parametrize("name", PRIORS)
def test_mass_is_one_in_two_dimensions_and_samples_follow_the_density(name):
    distribution = distribution_of(model_nets(name))
    axis = torch.linspace(-16, 16, 321, dtype=torch.float64)
    middles = (axis[1:] + axis[:-1]) / 2
    points = torch.cartesian_prod(middles, middles)
    cells = distribution.log_prob(points).exp().reshape(40, 8, 40, 8).sum((1, 3)) * (axis[1] - axis[0]) ** 2
    assert cells.sum().item() == pytest.approx(1, abs=2e-3)

    n = 20_000
    which = ((samples(distribution, n) + 16) / 32 * 40).floor().long().clamp(0, 39)
    counts = torch.bincount(which[:, 0] * 40 + which[:, 1], minlength=1600).double()
    expected = n * cells.flatten()
    kept = expected > 5
    chi2 = ((counts - expected).square() / expected)[kept].sum().item()
    freedom = int(kept.sum())
    assert freedom > 8
    assert abs(chi2 - freedom) < 5 * math.sqrt(2 * freedom)


@pytest.mark.parametrize("name", ["mixture", "vamp"])
def test_mass_is_one_in_one_dimension_and_samples_have_the_distribution_function(name):
    distribution = distribution_of(model_nets(name, shapes=Shapes((3,), 1, bounded=False)))
    z = torch.linspace(-15, 15, 4001, dtype=torch.float64)
    assert torch.trapezoid(distribution.log_prob(z[:, None]).exp(), z).item() == pytest.approx(1, abs=1e-6)

    n = 20_000
    draws = samples(distribution, n)[:, 0].sort().values
    each = Normal(distribution.loc[:, 0], distribution.scale[:, 0]).cdf(draws[:, None])
    cdf = each @ distribution.logits.softmax(-1)
    steps = torch.arange(1, n + 1, dtype=torch.float64) / n
    assert (cdf - steps + 0.5 / n).abs().max() < 1.95 / math.sqrt(n)  # Kolmogorov and Smirnov at 0.1 %


def test_a_mixture_is_torchs():
    distribution = NormalMixture(normals(3, 4), normals(3, 4, 2, seed=1), normals(3, 4, 2, seed=2).exp())
    theirs = MixtureSameFamily(
        Categorical(logits=distribution.logits), Independent(Normal(distribution.loc, distribution.scale), 1)
    )
    z = normals(7, 3, 2, seed=3)
    torch.testing.assert_close(distribution.log_prob(z), theirs.log_prob(z))
    torch.testing.assert_close((distribution.mean, distribution.variance), (theirs.mean, theirs.variance))
    draws = samples(distribution, 40_000)
    assert samples(distribution, 1)[0].shape == (3, 2)
    assert distribution.sample().shape == (3, 2)
    error = (distribution.variance / len(draws)).sqrt()
    assert ((draws.mean(0) - distribution.mean).abs() < 5 * error).all()
    torch.testing.assert_close(draws.var(0), distribution.variance, rtol=0.05, atol=0)


def test_a_mixture_is_finite_far_away():
    distribution = NormalMixture(torch.zeros(2), torch.tensor([[0.0], [1.0]]), torch.full((2, 1), 1e-3))
    assert distribution.log_prob(torch.tensor([100.0])).isfinite()


def test_a_mixture_crosses_the_border_of_vmap():
    distribution = NormalMixture(normals(2, 4), normals(2, 4, 3, seed=1), normals(2, 4, 3, seed=2).exp())
    tensors, _ = flatten_distribution(distribution)
    _, rebuild = flatten_distribution(
        NormalMixture(distribution.logits[0], distribution.loc[0], distribution.scale[0])
    )
    z = normals(5, 3, seed=3)
    lanes = vmap(lambda *tensors: rebuild(list(tensors)).log_prob(z))(*tensors)
    torch.testing.assert_close(lanes, distribution.log_prob(z[:, None]).T)


@pytest.mark.parametrize("bounded", [True, False])
def test_a_vamp_prior_is_the_mean_of_the_encoders_densities_at_its_pseudo_inputs(bounded):
    nets = model_nets("vamp", shapes=Shapes((1, 4, 4), 2, bounded=bounded))
    u, z = nets["prior"].pseudo_inputs, normals(7, 2)
    assert ((u > 0) & (u < 1)).all() == bounded
    q = nets["encoder"](u)
    by_hand = q.log_prob(z[:, None]).logsumexp(1) - math.log(5)
    torch.testing.assert_close(nets["prior"](nets["encoder"]).log_prob(z), by_hand)


def start(x: Tensor, seed: int) -> Tensor:
    """The pseudo-inputs of a VampPrior of 5 components made from these data after torch's global seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return VampPrior(Shapes(x.shape[1:], 2, bounded=x.ndim == 4), 5, x).pseudo_inputs.detach()


def test_a_vamp_prior_starts_from_different_data_picked_at_random():
    """Data may be sorted by their class, so the first of them will not do."""
    points = torch.arange(200.0)[:, None].expand(200, 3)
    picks = torch.stack([start(points, seed) for seed in range(300)])
    assert picks.eq(picks[:, :, :1]).all()
    rows = picks[:, :, 0]
    assert all(len(set(row.tolist())) == 5 for row in rows)
    assert set(rows.flatten().tolist()) <= set(range(200))
    assert len(rows.unique()) > 195  # of 1500 picks, 0.1 of the 200 are expected to be missed
    assert rows.mean().item() == pytest.approx(99.5, abs=6)  # four standard errors of 57.7/√1500
    assert start(points, 7).equal(picks[7])


def test_a_vamp_priors_images_stay_away_from_the_ends_of_the_sigmoid():
    x = torch.rand(5, 1, 4, 4)
    x[0] = 1
    found = start(x, 0)
    rows = (found[:, None] - x.clamp(0.01, 0.99)).abs().amax((2, 3, 4)) < 1e-5
    assert (rows.sum(0) == 1).all()
    assert (rows.sum(1) == 1).all()


def test_a_fresh_mixture_weighs_alike():
    distribution = MixturePrior(2, components=400)()
    torch.testing.assert_close(distribution.logits.softmax(-1), torch.full((400,), 1 / 400))
    assert distribution.scale.eq(1).all()
    torch.testing.assert_close(distribution.variance, torch.full((2,), 2.0), rtol=0.4, atol=0)


@pytest.mark.parametrize("name", PRIORS)
def test_a_fresh_prior_learns_two_clusters(name):
    """The fit ends near their entropy, far below what one normal can do."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = prior(name, Shapes((2,), 2, bounded=False), components=5)
    optimiser = torch.optim.Adam(net.parameters(), lr=0.02 if name == "mixture" else 0.01)
    z = 0.3 * normals(256, 2).float()
    z[::2, 0] += 1.5
    z[1::2, 0] -= 1.5

    def encode(u: Tensor) -> Distribution:
        return Independent(Normal(u, torch.full_like(u, 0.4)), 1)

    for _ in range(100):
        optimiser.zero_grad()
        loss = -net(encode).log_prob(z).mean()
        loss.backward()
        optimiser.step()
    entropy = math.log(2) + 2 * (0.5 * math.log(2 * math.pi * math.e) + math.log(0.3))
    one_normal = Independent(Normal(z.mean(0), z.std(0)), 1)
    assert loss.item() < entropy + 0.5 < -one_normal.log_prob(z).mean().item()


@pytest.mark.parametrize("name", PRIORS)
def test_a_bound_priors_law_is_of_the_bound_weights(name):
    nets, other, z = model_nets(name), model_nets(name, seed=1), normals(7, 2)
    parameters = weights_of(other)
    bound = {n: bind(nets[n], parameters[n]) for n in NETS}
    distribution = bound["prior"](bound["encoder"])
    assert (distribution.batch_shape, distribution.event_shape) == ((), (2,))
    torch.testing.assert_close(distribution.log_prob(z), distribution_of(other).log_prob(z))
    assert not torch.allclose(distribution.log_prob(z), distribution_of(nets).log_prob(z))


@pytest.mark.parametrize("name", PRIORS)
def test_gradients_reach_all_weights_alike_in_lanes_and_compiled(name):
    nets, z = model_nets(name), normals(7, 2)

    def loss(parameters: dict[str, dict[str, Tensor]]) -> Tensor:
        def encode(x: Tensor) -> Distribution:
            return functional_call(nets["encoder"], parameters["encoder"], (x,))

        return -functional_call(nets["prior"], parameters["prior"], (encode,)).log_prob(z).mean()

    own, another = weights_of(nets), weights_of(model_nets(name, seed=1))
    alone = grad(loss)(own)
    moved = NETS if PRIORS[name].needs_encoder else ("prior",)
    for n in NETS:
        for g in alone[n].values():
            assert g.isfinite().all()
            assert (g.abs().max() > 0) == (n in moved)
    stacked = {n: {k: torch.stack([own[n][k], another[n][k]]) for k in own[n]} for n in NETS}
    lanes = vmap(grad(loss))(stacked)
    for i, by_itself in enumerate((alone, grad(loss)(another))):
        torch.testing.assert_close({n: {k: v[i] for k, v in lanes[n].items()} for n in NETS}, by_itself)
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(grad(loss), fullgraph=True, backend="aot_eager")(own), alone)


@pytest.mark.parametrize("name", ["mixture", "flow"])
def test_labels_leave_the_prior_as_it_is(name):
    assert prior(name, Shapes((2,), 3, num_classes=10))().batch_shape == ()


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda: prior("vampire", IMAGE), "unknown prior 'vampire'; did you mean 'vamp'"),
        (lambda: prior("mixture", IMAGE, components=0), "components is 0"),
        (lambda: prior("vamp", Shapes((2,), 3, num_classes=10)), "train without labels"),
        (lambda: prior("vamp", IMAGE)(), "give it an encoder with a gaussian posterior"),
        (
            lambda: prior("vamp", IMAGE)(build("mlp", "encoder", IMAGE, posterior="deterministic")),
            "give it an encoder with a gaussian posterior",
        ),
        (lambda: prior("vamp", IMAGE, 5, torch.rand(4, 1, 4, 4)), "at least that many"),
        (lambda: prior("vamp", IMAGE, 5, torch.rand(9, 16)), r"data of shape \(1, 4, 4\)"),
        (lambda: FlowPrior(1), "latent is 1"),
    ],
)
def test_refusals(act, sentence):
    with pytest.raises(BadInput, match=sentence):
        act()
