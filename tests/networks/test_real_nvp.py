"""RealNVP: it inverts, its log-determinants are autograd's, its density integrates to one, and it can be trained."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value, jacrev, stack_module_state, vmap

from distmatch.batch_statistics import gathers
from distmatch.distributions.flatten import flatten_distribution
from distmatch.distributions.likelihoods import LIKELIHOODS
from distmatch.distributions.points import Delta, DensityAt
from distmatch.errors import BadInput
from distmatch.networks import POSTERIORS, Encoder, FlatCritic, ImageCritic, Shapes
from distmatch.networks.families.real_nvp import RealNVP, RealNVPOptions, critic, decoder, encoder
from distmatch.networks.layers.flow_couplings import Coupling, checkerboard, coupling_net, rows_of_squares
from distmatch.networks.layers.flow_layers import FactorOut, Logit, Squeeze
from distmatch.objectives.objective import Objective
from distmatch.objectives.terms.likelihood import NLL
from distmatch.objectives.variables import X_GEN, draw
from distmatch.training.engine.functional import bind

TINY = {"width": 4, "blocks": 1, "couplings": 2, "critic_width": 2, "code_width": 5}
LABELS = 3


def flow(
    x: tuple[int, ...], labels: int = 0, bounded: bool | None = None, seed: int | None = 0, **options: object
) -> RealNVP:
    """A small flow; every parameter moved by noise from `seed`, as training would, unless it is None."""
    shapes = Shapes(x, math.prod(x), labels, len(x) == 3 if bounded is None else bounded)
    with torch.random.fork_rng():
        torch.manual_seed(seed or 0)
        net = decoder(shapes, LIKELIHOODS["implicit"], RealNVPOptions(**{**TINY, **options}))
        if seed is not None:
            with torch.no_grad():
                for p in net.parameters():
                    p.add_(torch.randn_like(p) * (0.3 / math.sqrt(p[0].numel()) if p.ndim in (2, 4) else 0.1))
    return net


def rand(*shape: int, dtype: torch.dtype = torch.float64, normal: bool = False) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return (torch.randn if normal else torch.rand)(shape, generator=generator, dtype=dtype)


INVERTED = [
    ((1,), {}),
    ((2,), {}),
    ((5,), {"couplings": 4}),
    ((5,), {"bounded": True}),
    ((1, 4, 4), {}),
    ((3, 4, 6), {"bounded": False}),
    ((1, 5, 3), {"scales": 1}),
    ((1, 8, 8), {"scales": 3, "act_norm": False}),
    ((1, 8, 8), {"labels": LABELS}),
    ((1, 28, 28), {"scales": 3}),
    ((3, 16, 16), {"scales": 4, "couplings": 3}),
]


@pytest.mark.parametrize(("dtype", "most"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize(("x", "kwargs"), INVERTED)
def test_there_and_back(x, kwargs, dtype, most):
    net = flow(x, **kwargs).to(dtype)
    y = torch.arange(8) % LABELS if "labels" in kwargs else None
    data = rand(8, *x, dtype=dtype)
    with torch.no_grad():
        z, there = net.inverse(data, y)
        again, back = net.forward_with_log_det(z, y)
        assert (z.shape, there.shape, again.dtype) == ((8, math.prod(x)), (8,), dtype)
        assert (again - data).abs().max() < most
        assert ((there + back) / math.prod(x)).abs().max() < most
        codes = rand(8, math.prod(x), dtype=dtype, normal=True)
        draws = net(codes, y).mean
        z_again = net.inverse(draws, y)[0]
        assert (net(z_again, y).mean - draws).abs().max() < most
        if not net.shapes.bounded:  # the logit of a draw near its bound has lost digits
            assert (z_again - codes).abs().max() < most
        assert (z - flow(x, **{**kwargs, "seed": 2}).to(dtype).inverse(data, y)[0]).abs().max() > 0.1


@pytest.mark.parametrize(("x", "kwargs"), [c for c in INVERTED if math.prod(c[0]) <= 72])
def test_log_determinants_are_those_of_autograd(x, kwargs):
    net = flow(x, **kwargs).double()
    y = torch.tensor([2]) if "labels" in kwargs else None
    data = rand(*x)
    z, log_det = net.inverse(data[None], y)
    jacobian = jacrev(lambda v: net.inverse(v[None], y)[0][0])(data).reshape(data.numel(), -1)
    torch.testing.assert_close(log_det[0], torch.linalg.slogdet(jacobian).logabsdet, rtol=1e-9, atol=1e-9)
    back = jacrev(lambda v: net.forward_with_log_det(v[None], y)[0].flatten())(z[0])
    torch.testing.assert_close(
        net.forward_with_log_det(z, y)[1][0], torch.linalg.slogdet(back).logabsdet, rtol=1e-8, atol=1e-8
    )
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z[0]).sum() + log_det[0]
    torch.testing.assert_close(net(x=data[None], y=y).log_prob(data[None])[0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("size", [1, 2])
@pytest.mark.parametrize("bounded", [False, True])
def test_the_density_integrates_to_one(size, bounded):
    """Over all of the space of draws: the line, or with the logit (-α, 1-α) / (1-2α), a little more than [0, 1]."""
    net = flow((size,), bounded=bounded, alpha=0.1).double()
    n = 200_000 if size == 1 else 700
    low, high = (-0.1 / 0.8, 0.9 / 0.8) if bounded else (-12.0, 12.0)
    grid = low + (high - low) * (torch.arange(n, dtype=torch.float64) + 0.5) / n
    points = torch.cartesian_prod(*[grid] * size).reshape(-1, size)
    with torch.no_grad():
        density = net.log_prob(points).exp()
    cell = ((high - low) / n) ** size
    assert density.sum().item() * cell == pytest.approx(1, abs=2e-4)
    if bounded:
        inside = ((points >= 0) & (points <= 1)).all(1)
        assert 0.5 < density[inside].sum().item() * cell < 0.999


def untouched(x: tuple[int, ...], **kwargs: object) -> RealNVP:
    """A flow whose couplings are exactly the identity."""
    net = flow(x, seed=None, **kwargs)
    for m in net.modules():
        if isinstance(m, Coupling):
            torch.nn.init.zeros_(m.net[-1].weight)
            torch.nn.init.zeros_(m.net[-1].bias)
    return net


def test_bits_per_dimension_of_uniform_data_under_the_identity():
    """-∫₀¹ log₂[φ(v) dv/dx] dx + 8 with v = logit(α + (1-2α)x), by quadrature, is the mean over uniform data."""
    x = (torch.arange(100_000, dtype=torch.float64) + 0.5) / 100_000
    s = 0.05 + 0.9 * x
    v = (s / (1 - s)).log()
    each = 0.5 * v.square() + 0.5 * math.log(2 * math.pi) + (s * (1 - s)).log() - math.log(0.9)
    expected = each.mean().item() / math.log(2) + 8
    net = untouched((1, 4, 4)).double()
    with torch.no_grad():
        bits = -net.log_prob(rand(4_000, 1, 4, 4)).mean().item() / (16 * math.log(2)) + 8
    assert bits == pytest.approx(expected, abs=0.02)
    assert 8 < bits < 8.5  # no model of uniform data does better than 8


def test_the_logit_by_hand():
    z, log_det = Logit(0.05).double().inverse(torch.tensor([[0.0, 1.0, 0.5]], dtype=torch.float64))
    assert z[0].tolist() == pytest.approx([math.log(1 / 19), math.log(19), 0], abs=1e-12)
    slopes = [0.9 / (0.05 * 0.95), 0.9 / (0.05 * 0.95), 0.9 / 0.25]
    assert log_det.item() == pytest.approx(sum(map(math.log, slopes)))


def test_masks_and_squeeze():
    image = torch.arange(2 * 4 * 6.0).reshape(1, 2, 4, 6)
    z, log_det = Squeeze().inverse(image)
    assert (z.shape, log_det.tolist()) == ((1, 8, 2, 3), [0.0])
    assert z[0, :, 1, 2].tolist() == [
        16,
        40,
        23,
        47,
        17,
        41,
        22,
        46,
    ]  # (0, 0), (1, 1), (0, 1), (1, 0) of both
    assert Squeeze()(z)[0].equal(image)
    upper = (torch.arange(4)[:, None] % 2 == 0).expand(1, 2, 4, 6)
    assert Squeeze().inverse(upper)[0].equal(rows_of_squares(8).expand(1, 8, 2, 3))
    assert rows_of_squares(8, odd=True).equal(~rows_of_squares(8))
    for shape in [(3,), (1, 4, 5)]:
        assert checkerboard(shape, odd=True).equal(~checkerboard(shape))


@pytest.mark.parametrize("x", [(5,), (2, 4, 4)])
def test_a_coupling_keeps_its_part_and_reads_nothing_else(x):
    keep = checkerboard(x).expand(x)
    coupling = Coupling(checkerboard(x), coupling_net(x[0], 2 * x[0], 8, 1, len(x) == 3), x)
    a = rand(1, *x, dtype=torch.float32)
    b = torch.where(keep, a, a + 1)  # another x_b, and the same x_a
    (za, da), (zb, db) = coupling.inverse(a), coupling.inverse(b)
    assert za[:, keep].equal(a[:, keep])
    assert da.equal(db)
    torch.testing.assert_close((zb - za)[:, ~keep].log().sum(), da[0])  # Σ s, as x_b rose by one


def test_half_the_variables_leave_at_each_scale():
    net = flow((1, 8, 8), scales=3)
    data = rand(4, 1, 8, 8, dtype=torch.float32)
    before = net.inverse(data)[0]
    leaving = [m for m in net.modules() if isinstance(m, FactorOut)]
    assert len(leaving) == 2
    for factor_out, gone in zip(leaving, (32, 48), strict=True):
        with torch.no_grad():
            for p in factor_out.rest.parameters():
                p.add_(0.1)
        after = net.inverse(data)[0]
        assert after[:, :gone].equal(before[:, :gone])
        assert not torch.isclose(after[:, gone:], before[:, gone:]).any(0).all()
        before = after


@pytest.mark.parametrize("x", [(1, 8, 8), (3, 4, 4), (4,)])
def test_it_starts_near_the_identity_with_a_gradient_everywhere(x):
    net = flow(x, seed=None)
    data = rand(64, *x, dtype=torch.float32)
    z, log_det = net.inverse(data)
    exact, exact_log_det = untouched(x).inverse(data)
    assert 0 < (z - exact).abs().max() < 0.5
    assert (log_det - exact_log_det).abs().max() / data[0].numel() < 0.1
    draws = net(rand(64, data[0].numel(), dtype=torch.float32, normal=True)).mean
    for loss in (-net(x=data).log_prob(data).mean(), draws.pow(3).sum()):
        gradients = torch.autograd.grad(loss, list(net.parameters()), retain_graph=True)
        assert all(g.isfinite().all() and g.abs().max() > 0 for g in gradients)


@pytest.mark.parametrize("act_norm", [False, True])
def test_count_of_parameters(act_norm):
    """Per coupling: a first layer, two per block, a last 1×1, the scale; twice as wide after each squeeze."""

    def convolutional(c: int, width: int) -> int:
        net = 9 * c * width + width + 2 * (9 * width + 1) * width + (width + 1) * 2 * c
        return net + c + act_norm * 2 * c

    count = sum(p.numel() for p in flow((1, 8, 8), width=6, scales=2, act_norm=act_norm).parameters())
    assert count == 2 * convolutional(1, 6) + 2 * convolutional(4, 12) + 3 * convolutional(2, 12)
    count = sum(
        p.numel() for p in flow((3,), 2, width=6, couplings=2, blocks=2, act_norm=act_norm).parameters()
    )
    assert count == 4 * (6 * 6 + 4 * 7 * 6 + 7 * 6 + 3 + act_norm * 6)


def test_the_law_with_and_without_data():
    net = flow((1, 4, 4))
    z, x = rand(5, 16, dtype=torch.float32, normal=True), rand(5, 1, 4, 4, dtype=torch.float32)
    draw = net(z)
    assert isinstance(draw, Delta)
    assert (draw.batch_shape, draw.event_shape) == ((5,), (1, 4, 4))
    both = net(z, x=x)
    assert isinstance(both, DensityAt)
    assert both.mean.equal(draw.mean)
    assert (both.batch_shape, both.event_shape) == ((5,), (1, 4, 4))
    alone = net(x=x)
    assert alone.log_prob(x).equal(both.log_prob(x))
    torch.testing.assert_close(alone.log_prob(x)[:2], net(x=x[:2]).log_prob(x[:2]))  # rows do not mix
    with pytest.raises(BadInput, match="not drawn from"):
        _ = alone.mean
    with pytest.raises(BadInput, match="give it z to draw from it, or x for its density"):
        net()
    assert RealNVP.teacher_forced
    assert not gathers(net)


def test_maximum_likelihood_alone_runs_the_flow_in_one_direction(monkeypatch):
    """With a generator's term beside it both are run, and the density is the same."""
    runs = []

    def count(name, run):
        def counting(self, *given):
            runs.append(name)
            return run(self, *given)

        monkeypatch.setattr(RealNVP, name, counting)

    for name in ("inverse", "forward_with_log_det"):
        count(name, getattr(RealNVP, name))
    objective, net = Objective(NLL(X_GEN)), flow((1, 4, 4))
    x = rand(5, 1, 4, 4, dtype=torch.float32)
    noise = {"z_prior": rand(5, 16, dtype=torch.float32, normal=True)}
    nets = {"decoder": bind(net, dict(net.named_parameters()))}
    alone = draw(objective.variables, nets, x, noise, distributions=objective.distributions)
    assert runs == ["inverse"]
    both = draw([*objective.variables, X_GEN], nets, x, noise, distributions=objective.distributions)
    assert sorted(runs[1:]) == ["forward_with_log_det", "inverse"]
    assert alone.distributions["x_gen"].log_density.equal(both.distributions["x_gen"].log_density)
    assert both[X_GEN].equal(net(noise["z_prior"]).mean)


@pytest.mark.parametrize("x", [(1, 8, 8), (3,)])
def test_labels_change_draws_and_densities(x):
    net = flow(x, LABELS)
    z, data = rand(6, math.prod(x), dtype=torch.float32, normal=True), rand(6, *x, dtype=torch.float32)
    a, b = (net(z, y, data) for y in (torch.arange(6) % 3, (torch.arange(6) + 1) % 3))
    assert ((a.mean - b.mean).flatten(1).abs().amax(1) > 1e-3).all()
    assert ((a.log_density - b.log_density).abs() > 1e-3).all()
    with pytest.raises(BadInput, match=r"num_classes=3: give it y"):
        net(z)
    with pytest.raises(BadInput, match=r"num_classes=0: it takes no y"):
        flow(x)(x=data, y=torch.zeros(6, dtype=torch.long))


@pytest.mark.parametrize(("x", "labels"), [((1, 4, 4), LABELS), ((3,), 0)])
def test_a_lane_and_a_compiled_step_are_the_net_alone(x, labels):
    nets = [flow(x, labels, seed=seed, couplings=1) for seed in (0, 1)]
    z, data = rand(6, math.prod(x), dtype=torch.float32, normal=True), rand(6, *x, dtype=torch.float32)
    y = torch.arange(6) % labels if labels else None

    def loss(parameters: dict[str, Tensor]) -> Tensor:
        distribution = functional_call(nets[0], parameters, (z, y, data))
        density, draw = flatten_distribution(distribution)[0]
        return draw.square().mean() - density.mean()

    step = grad_and_value(loss)
    stacked = {k: v.detach() for k, v in stack_module_state(nets)[0].items()}
    lanes = vmap(step)(stacked)
    torch.compiler.reset()
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for i in range(2):
        parameters = {k: v[i] for k, v in stacked.items()}
        gradients, value = step(parameters)
        for other, index in ((lanes, i), (compiled(parameters), ...)):
            torch.testing.assert_close(other[1][index], value, rtol=1e-4, atol=1e-4)
            for k, g in gradients.items():
                size = g.abs().max() + 1e-6
                torch.testing.assert_close(other[0][k][index] / size, g / size, rtol=1e-3, atol=1e-3)


def test_reduced_precision_stays_inside_the_nets():
    net, data = flow((1, 8, 8)), rand(4, 1, 8, 8, dtype=torch.float32)
    exact = net(x=data).log_prob(data)
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(x=data).log_prob(data)
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).abs().max() < 0.02 * 64


def test_maximum_likelihood_reaches_the_entropy():
    """Of N(0, Σ) with correlation 0.9 the least -E log p is ½ log((2πe)² |Σ|); affine couplings hold this
    distribution."""
    covariance = torch.tensor([[1.0, 0.9], [0.9, 1.0]])
    entropy = 0.5 * math.log((2 * math.pi * math.e) ** 2 * 0.19)
    data = rand(4000, 2, dtype=torch.float32, normal=True) @ torch.linalg.cholesky(covariance).T
    net = flow((2,), seed=None, width=16)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for i in range(200):
        rows = data[(100 * i) % 4000 :][:100]
        loss = -net(x=rows).log_prob(rows).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        assert -net.log_prob(data).mean().item() == pytest.approx(entropy, abs=0.06)
        drawn = torch.corrcoef(net(rand(4000, 2, dtype=torch.float32, normal=True)).mean.T)[0, 1]
    assert drawn.item() == pytest.approx(0.9, abs=0.04)


@pytest.mark.parametrize(
    ("shapes", "likelihood", "options", "message"),
    [
        (Shapes((1, 28, 28), 20), "implicit", {}, r"latent is 20: set network\.latent=784"),
        (Shapes((2,), 3), "implicit", {}, r"set network\.latent=2"),
        (Shapes((1, 4, 4), 16), "bernoulli", {}, "exact density of its own.*use 'implicit'"),
        (
            Shapes((1, 28, 28), 784),
            "implicit",
            {"scales": 4},
            r"at 7×7 it cannot go on: set network\.scales=3",
        ),
        (Shapes((1, 4, 4), 16), "implicit", {"scales": 3}, r"at 1×1 it cannot go on: set network\.scales=2"),
        (Shapes((1, 1, 4), 4), "implicit", {}, "use mlp"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_number_to_give(shapes, likelihood, options, message):
    with pytest.raises(BadInput, match=message):
        decoder(shapes, LIKELIHOODS[likelihood], RealNVPOptions(**options))


def test_the_number_that_a_refusal_names_is_good():
    decoder(Shapes((1, 28, 28), 784), LIKELIHOODS["implicit"], RealNVPOptions(**TINY, scales=3))


@pytest.mark.parametrize(
    "bad", [{"width": 0}, {"blocks": 1.5}, {"couplings": True}, {"scales": 0}, {"alpha": 0.5}]
)
def test_bad_options_are_refused(bad):
    with pytest.raises(BadInput, match=next(iter(bad))):
        RealNVPOptions(**bad)


@pytest.mark.parametrize(("x", "image"), [((1, 28, 28), True), ((1, 16, 16), False), ((2,), False)])
def test_encoder_and_critics_are_those_of_dcgan_or_mlp(x, image):
    shapes, options = Shapes(x, math.prod(x), bounded=len(x) == 3), RealNVPOptions(**TINY)
    data, z = rand(4, *x, dtype=torch.float32), rand(4, math.prod(x), dtype=torch.float32)
    q = encoder(shapes, POSTERIORS["gaussian"], options)
    assert isinstance(q, Encoder)
    assert q(data).event_shape == (math.prod(x),)
    scores = critic(shapes, ("x",), options)
    assert isinstance(scores, ImageCritic if image else FlatCritic)
    assert scores(data).shape == critic(shapes, ("x", "z"), options)(data, z).shape == (4,)
    assert not any(map(gathers, (q, scores)))
    with_norm = RealNVPOptions(**TINY, critic_batch_norm=True)
    assert gathers(critic(shapes, ("x",), with_norm))
    assert not gathers(critic(shapes, ("z",), with_norm))


def test_density_of_draws_and_outside_the_domain():
    """At α = 0.05 the domain is (-1/18, 19/18), all of which the draws fill; beyond it the density is 0."""
    net = untouched((1, 4, 4))
    codes = rand(64, 16, dtype=torch.float32, normal=True)
    for scale in (1, 3, 100):  # at 100, draws are saturated: rounding puts them on the bound itself
        draws = net(scale * codes).mean
        assert net.log_prob(draws).isfinite().all()
        assert draws.max() > 1
        assert (draws - 0.5).abs().max() <= 0.5 + 1 / 18 + 1e-6
    outside = torch.full((1, 1, 4, 4), 0.5, requires_grad=True)
    density = net.log_prob(outside + 0.6 * torch.eye(4))
    assert density.item() == -math.inf
    inside = net.log_prob(outside + 0.5 * torch.eye(4))
    assert torch.autograd.grad(inside, outside)[0].isfinite().all()
