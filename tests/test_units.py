"""Pictures are seen in [-1, 1] by every built-in net, and penalties, noise, lenses, slopes and distances are in these
units, as in the papers; a net of the user's own gets what is given, and they are in its units.

Each value is computed here by plain torch on u = 2x - 1, or on x.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from contracts.toys import generator
from distmatch.distributions.points import Delta
from distmatch.metrics import gradient_norms
from distmatch.networks import NETWORKS, Shapes, build
from distmatch.networks.lens import image_lens
from distmatch.objectives.comparisons import NON_SATURATING, WASSERSTEIN
from distmatch.objectives.penalties import PENALTIES, GradientPenalty, Penalty, Roth, gradient_penalty
from distmatch.objectives.term import Critics, Term
from distmatch.objectives.terms.clamp import Clamp
from distmatch.objectives.terms.distance import Distance
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import (
    X_GEN,
    X_LENS,
    X_NEAR,
    X_REC,
    Z_CODE,
    Z_PRIOR,
    Draws,
    X,
    draw,
)
from distmatch.runs.build import assemble
from distmatch.runs.layers import configure
from distmatch.runs.model import finalize
from distmatch.training.engine.functional import bind

SHAPES = Shapes((1, 4, 4), latent=3)
SIZES = {
    "mlp": (1, 5, 5),
    "dcgan": (1, 8, 8),
    "progressive": (1, 8, 8),
    "pixelcnn": (1, 8, 8),
    "real-nvp": (1, 8, 8),
}
SMALL: dict[str, dict[str, Any]] = {
    "mlp": {"width": 8},
    "dcgan": {"width": 4, "batch_norm": False},
    "progressive": {"width": 4, "most": 4},
    "pixelcnn": {"width": 4, "layers": 2, "encoder_width": 4},
    "real-nvp": {"width": 4, "blocks": 1, "critic_width": 4},
}


class Own(nn.Module):
    """A critic of one's own: w·x (and v·z), and what it was given."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        self.weights = nn.ParameterList(
            torch.randn(n, generator=generator(n), dtype=torch.float64) for n in sizes
        )
        self.given: list[tuple[Tensor, ...]] = []

    def forward(self, *inputs: Tensor) -> Tensor:
        self.given.append(inputs)
        return sum(u.flatten(1).tanh() @ w for u, w in zip(inputs, self.weights, strict=True))


class BuiltIn(Own):
    """The same of 2x - 1, which says so: as a built-in critic of pictures."""

    x_units = 2.0

    def forward(self, *inputs: Tensor) -> Tensor:
        x, *z = inputs
        return super().forward(2 * x - 1, *z)


class Decoder(nn.Module):
    """Points on pictures; `units` as of a built-in one."""

    def __init__(self, units: float | None = None) -> None:
        super().__init__()
        self.map = torch.randn(16, 3, generator=generator(5), dtype=torch.float64)
        if units is not None:
            self.x_units = units

    def forward(self, z: Tensor) -> Delta:
        return Delta(linear(z, self.map).sigmoid().unflatten(1, (1, 4, 4)), 3)


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=generator(seed), dtype=torch.float64)


def seen_first(net: nn.Module, *inputs: Tensor, **given: Any) -> Tensor:
    """What the first layer with weights is given."""
    kept: list[Tensor] = []
    hooks = [
        m.register_forward_pre_hook(lambda _, args: kept.append(args[0].detach()))
        for m in net.modules()
        if m._parameters
    ]
    with torch.no_grad():
        net(*inputs, **given)
    for hook in hooks:
        hook.remove()
    return kept[0]


@pytest.mark.parametrize("role", ["encoder", "critic", "lens", "joint critic"])
@pytest.mark.parametrize("family", NETWORKS)
def test_every_family_sees_pictures_in_minus_one_to_one(family, role):
    if role == "lens" and NETWORKS[family].lens is None:
        pytest.skip("it has no lens")
    shapes = Shapes(SIZES[family], latent=2)
    kind, spaces = ("critic", ("x", "z")) if role == "joint critic" else (role, ("x",))
    net = build(family, kind, shapes, spaces=spaces, options=SMALL[family])
    assert net.x_units == 2
    more = (torch.zeros(4, 2),) if len(spaces) == 2 else ()
    for value in (0.0, 0.25, 1.0):
        seen = seen_first(net, torch.full((4, *shapes.x), value), *more)
        if len(spaces) == 2 and seen.ndim == 2:
            seen = seen[:, : shapes.x_size]
        assert seen.unique().tolist() == [2 * value - 1]


def test_a_pixelcnn_sees_the_pixels_before_in_minus_one_to_one():
    net = build("pixelcnn", "decoder", Shapes((1, 8, 8), 2), options=SMALL["pixelcnn"])
    seen = seen_first(net.body, torch.ones(4, 1, 8, 8), torch.zeros(4, 2))
    assert set(seen.unique().tolist()) <= {0.0, 1.0}  # zeros pad the border


@pytest.mark.parametrize("family", ["mlp", "real-nvp"])
def test_points_stay_as_they_are(family):
    net = build(family, "critic", Shapes((2,), 2, bounded=False), options=SMALL[family])
    assert net.x_units == 1
    assert seen_first(net, torch.full((3, 2), 0.25)).unique().tolist() == [0.25]


def losses(
    term: Match, critic: nn.Module, x: Tensor, fake: Tensor, noise: dict[str, Tensor]
) -> dict[str, Tensor]:
    z = {"z_code": numbers(len(x), 3, seed=8), "z_prior": numbers(len(x), 3, seed=9)}
    draws = Draws({"x": x, "x_gen": fake, **z}, {}, noise)
    bound = bind(critic, dict(critic.named_parameters()))
    return term.critic_losses(draws, Critics({term.critic: bound}, draws))


def noise_of(term: Term, size: int) -> dict[str, Tensor]:
    shapes = {"x": (size, 1, 4, 4), "z": (size, 3), "each": (size,)}
    return {
        name: numbers(*shapes[kind.shape], seed=3 + i) for i, (name, kind) in enumerate(term.noise.items())
    }


def by_hand(penalty: Penalty, f: Any, p: list[Tensor], q: list[Tensor], noise: list[Tensor]) -> Tensor:
    """The penalty in the units of `f`, by plain autograd."""

    def squared(at: list[Tensor]) -> Tensor:
        leaves = [u.detach().requires_grad_() for u in at]
        found = torch.autograd.grad(f(*leaves).sum(), leaves)
        return sum(g.flatten(1).square().sum(1) for g in found)

    if isinstance(penalty, Roth):
        d, e = f(*p).sigmoid(), f(*q).sigmoid()
        return penalty.gamma / 2 * ((1 - d) ** 2 * squared(p) + e**2 * squared(q))
    assert isinstance(penalty, GradientPenalty)
    if penalty.place == "between":
        alpha = noise[0]
        places = [
            alpha.view(-1, *[1] * (a.ndim - 1)) * a + (1 - alpha.view(-1, *[1] * (a.ndim - 1))) * b
            for a, b in zip(p, q, strict=True)
        ]
    elif penalty.place == "around":
        places = [a + 0.5 * a.std() * u for a, u in zip(p, noise, strict=True)]
    else:
        places = p if penalty.place == "target" else q
    paid = penalty.weight * (squared(places).sqrt() - penalty.centre) ** 2
    return paid if penalty.drift is None else paid + penalty.drift * f(*p) ** 2


KINDS = {name: make() for name, make in PENALTIES.items() if name != "clip"}
KINDS["gp with drift"] = gradient_penalty(10, drift=0.3)


@pytest.mark.parametrize("joint", [False, True], ids=["x", "x and z"])
@pytest.mark.parametrize("kind", [BuiltIn, Own])
@pytest.mark.parametrize("penalty", KINDS.values(), ids=KINDS)
def test_a_penalty_is_in_the_critics_units(penalty, kind, joint):
    model, target = ((X_GEN, Z_PRIOR), (X, Z_CODE)) if joint else (X_GEN, X)
    term = Match(model, target, by=NON_SATURATING, critic="c", penalty=penalty)
    critic, x, fake = kind(16, 3) if joint else kind(16), numbers(6, 1, 4, 4), numbers(6, 1, 4, 4, seed=1)
    noise = noise_of(term, 6)
    found = losses(term, critic, x, fake, noise)["penalty"]
    plain = Own(16, 3) if joint else Own(16)
    see = (lambda u: 2 * u - 1) if kind is BuiltIn else (lambda u: u)
    p = [see(x), *([numbers(6, 3, seed=8)] if joint else [])]
    q = [see(fake), *([numbers(6, 3, seed=9)] if joint else [])]
    torch.testing.assert_close(
        found, by_hand(penalty, plain, p, q, list(noise.values())), rtol=1e-12, atol=1e-12
    )


def test_r1_of_a_linear_critic_is_half_gamma_of_its_weights_square():
    """f(u) = w·u of u = 2x - 1: ½γ‖w‖², where the slope in x would make it four times as much."""
    net = build("mlp", "critic", SHAPES, options={"width": 1, "depth": 1}).double()
    net.body = nn.Sequential(nn.Identity(), nn.Linear(16, 1, dtype=torch.float64))
    term = Match(X_GEN, X, penalty=PENALTIES["r1"](10.0))
    paid = losses(term, net, numbers(5, 1, 4, 4), numbers(5, 1, 4, 4, seed=1), {})["penalty"]
    torch.testing.assert_close(paid, (5 * net.body[1].weight.square().sum()).expand(5))


@pytest.mark.parametrize("pack", [1, 2])
def test_instance_noise_is_in_the_critics_units(pack):
    """A built-in critic sees 2x - 1 + σε, one's own x + σε."""
    term = Match(X_GEN, X, by=WASSERSTEIN, critic="c", instance_noise=0.3, pack=pack)
    x, fake, noise = numbers(6, 1, 4, 4), numbers(6, 1, 4, 4, seed=1), noise_of(term, 6)
    on_fake, on_x = noise.values()
    for kind, units, shift in ((BuiltIn, 2, 1), (Own, 1, 0)):
        critic = kind(*[16] * pack)
        if kind is BuiltIn and pack == 2:
            critic.forward = lambda a, b, c=critic: Own.forward(c, 2 * a - 1, 2 * b - 1)
        losses(term, critic, x, fake, noise)
        for given, clean, e in zip(critic.given, (x, fake), (on_x, on_fake), strict=True):
            expected = units * clean - shift + 0.3 * e
            torch.testing.assert_close(torch.cat(given), expected, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("order", "reduction"), [(1, "sum"), (1, "mean"), (2, "sum"), (2, "mean")])
@pytest.mark.parametrize(
    ("nets", "units"), [(("b", "b"), 2), (("o", "o"), 1), (("o", "b"), 1), (("b", "o"), 1)]
)
def test_a_distance_is_in_the_nets_units_where_they_agree(order, reduction, nets, units):
    x, back = numbers(6, 1, 4, 4), numbers(6, 1, 4, 4, seed=1)
    known = {n: 2.0 for n, kind in zip(("encoder", "decoder"), nets, strict=True) if kind == "b"}
    draws = Draws({"x": x, "x_rec": back}, {}, {}, x_units=known)
    found = Distance(X, X_REC, order, reduction).loss(draws, Critics({}, draws))
    each = (units * (x - back)).flatten(1).abs() ** order
    torch.testing.assert_close(found, each.sum(1) if reduction == "sum" else each.mean(1))


def test_distances_of_codes_are_as_they_are():
    draws = Draws(
        {"z_prior": torch.zeros(2, 3), "z_code": torch.ones(2, 3)}, {}, {}, x_units={"encoder": 2.0}
    )
    assert Distance(Z_PRIOR, Z_CODE).loss(draws, Critics({}, draws)).tolist() == [3, 3]


@pytest.mark.parametrize(("units", "slope"), [(2.0, 2), (None, 1)], ids=["built-in", "own"])
def test_a_clamp_is_of_slopes_in_the_decoders_units(units, slope):
    z, step = numbers(6, 3), numbers(6, 3, seed=1) - 0.5
    draws = draw(
        [X_GEN, X_NEAR], {"decoder": Decoder(units)}, torch.zeros(6, 1, 4, 4), {"z_prior": z, "z_near": step}
    )
    moved = Decoder()(z + step / step.norm(dim=1, keepdim=True)).mean - Decoder()(z).mean
    q = slope * moved.flatten(1).norm(dim=1)
    low, high = q.min().item() + 0.01, q.max().item() - 0.01
    found = Clamp(low, high).loss(draws, Critics({}, draws))
    torch.testing.assert_close(found, (q - high).clamp_min(0) ** 2 + (low - q).clamp_min(0) ** 2)


def test_a_lens_and_its_distance_are_in_the_units_that_it_sees():
    """L(u) = u + r(u) on u = 2x - 1, and ‖u - L(u)‖² = ‖r(u)‖²."""
    net = image_lens(SHAPES, None, 4, 1).double()
    x = numbers(6, 1, 4, 4)
    residual = net.body[1:](2 * x - 1)
    draws = draw([X_LENS], {"lens": net}, x, {})
    torch.testing.assert_close(2 * draws[X_LENS] - 1, 2 * x - 1 + residual)
    found = Distance(X, X_LENS, order=2).loss(draws, Critics({}, draws))
    torch.testing.assert_close(found, residual.square().flatten(1).sum(1))


def test_a_net_of_ones_own_gets_the_very_tensor():
    critic, x = Own(16), numbers(6, 1, 4, 4)
    losses(Match(X_GEN, X, critic="c"), critic, x, x, {})
    assert critic.given[0][0] is x


def test_a_progressive_generator_ends_in_a_linear_layer():
    """x = (a + 1)/2 of raw images a: a generator of a = 3 gives 2, which tanh would have held at 1."""
    net = build(
        "progressive", "decoder", Shapes((1, 8, 8), 2), likelihood="implicit", options=SMALL["progressive"]
    )
    with torch.no_grad():
        for layer in net.body.images:
            layer.weight.zero_()
            layer.bias.fill_(3.0)
    assert net(torch.zeros(2, 2)).mean.unique().tolist() == [2.0]


def test_a_trained_critics_slopes_are_in_its_units():
    """What the metric says of a run's critic is what its penalty saw: ‖∇f‖ by u = 2x - 1, at places between."""
    assembly = assemble(
        configure({"system": "wgan-gp", "data.name": "digits", "network.family": "mlp", "network.width": 8})
    )
    trained = finalize(assembly)
    (critic,) = trained.critics(20).values()
    x, net = critic.target[0] / 2, trained.critic_nets["data"]
    torch.testing.assert_close(critic.score(2 * x), net(x))
    leaf = x.clone().requires_grad_()
    (by_x,) = torch.autograd.grad(net(leaf).sum(), leaf)
    found = gradient_norms(critic.score, (2 * x,), (2 * x,), seed=0)
    assert found.mean.value == pytest.approx(by_x.flatten(1).norm(dim=1).mean().item() / 2, rel=1e-4)
