"""The draws: made once, in order, from what they say; and the record that holds them."""

from __future__ import annotations

from itertools import chain, combinations

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import (
    AffineTransform,
    Distribution,
    Independent,
    Normal,
    TanhTransform,
    TransformedDistribution,
)

from contracts.toys import LABELS, Linear, LinearDecoder, LinearEncoder, generator
from distmatch.distributions.points import Delta, DensityAt, NoisyPoint
from distmatch.errors import BadInput
from distmatch.objectives.variables import (
    VARIABLES,
    X_GEN,
    X_LENS,
    X_NEAR,
    X_REC,
    Z_CODE,
    Z_MARGINAL,
    Z_NEAR,
    Z_PRIOR,
    Z_REC,
    Draws,
    Variable,
    X,
    copied,
    draw,
    with_parents,
)

B = 6
SIX = (X, Z_PRIOR, Z_CODE, X_REC, X_GEN, Z_REC)
SUBSETS = [
    *chain.from_iterable(combinations(SIX, n) for n in range(7)),
    (X_LENS,),
    (Z_NEAR,),
    (X_NEAR,),
    (X_GEN, X_NEAR),
    (Z_NEAR, Z_REC),
    (X_REC, X_LENS, X_NEAR),
    tuple(VARIABLES.values()),
]
MADE_BY = {"encoder": "z_code z_rec", "decoder": "x_rec x_gen x_near", "lens": "x_lens"}
EXPLICIT = {"explicit": True, "implicit": False}


class Counting(nn.Module):
    """A net that counts its forwards."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.count = net, 0

    def forward(self, *inputs: Tensor, **given: Tensor) -> Distribution:
        self.count += 1
        return self.net(*inputs, **given)


def normals(seed: int, *shape: int) -> Tensor:
    return torch.randn(*shape, generator=generator(seed), dtype=torch.float64)


def setting(explicit: bool = True, labels: int = 0) -> tuple[dict[str, Counting], Tensor, dict[str, Tensor]]:
    g = generator()
    nets = {
        "encoder": Counting(LinearEncoder(g, 3, 2, labels)),
        "decoder": Counting(LinearDecoder(g, 3, 2, labels, explicit, True)),
        "lens": Counting(Linear(g, 3, 3, labels)),
    }
    drawn = ("z_prior", "z_near", "z_code", "z_rec")
    noise = {n: torch.randn(B, 2, generator=g, dtype=torch.float64) for n in drawn}
    return nets, torch.randn(B, 3, generator=g, dtype=torch.float64), noise


def test_the_table():
    assert list(VARIABLES) == [
        "x",
        "z_prior",
        "z_near",
        "x_lens",
        "z_code",
        "x_rec",
        "x_gen",
        "x_near",
        "z_rec",
    ]
    assert list(map(str, VARIABLES.values())) == ["x", "z", "z′", "x̄", "ẑ", "x̂", "x̃", "x̃′", "z̃"]
    assert "".join(v.space for v in VARIABLES.values()) == "xzzxzxxxz"
    for v in VARIABLES.values():
        made_by = {p for parent in v.parents for p in VARIABLES[parent].nets}
        assert made_by <= set(v.nets)
        assert (v.net in v.nets) == bool(v.net)


@pytest.mark.parametrize("wanted", SUBSETS, ids=lambda vs: "+".join(v.name for v in vs) or "none")
def test_each_draw_is_made_once_and_only_if_needed(wanted: tuple[Variable, ...]):
    nets, x, noise = setting()
    draws = draw(wanted, nets, x, noise)
    needed = with_parents(wanted)
    assert set(draws.values) == {v.name for v in needed} >= {v.name for v in wanted}
    for role, made in MADE_BY.items():
        assert nets[role].count == sum(v.name in made.split() for v in needed)
    assert list(draws.values) == [n for n in VARIABLES if n in draws.values]


def test_laws_alone_are_not_drawn_from():
    nets, x, noise = setting()
    draws = draw([], nets, x, {"z_code": noise["z_code"]}, distributions=[X_REC])
    assert set(draws.values) == {"x", "z_code"}
    assert set(draws.distributions) == {"z_code", "x_rec"}
    draws = draw([], nets, x, {}, distributions=[Z_CODE])
    assert (set(draws.values), set(draws.distributions)) == ({"x"}, {"z_code"})
    assert (nets["encoder"].count, nets["decoder"].count) == (2, 1)


def test_values_are_what_the_table_says():
    nets, x, noise = setting()
    draws = draw(VARIABLES.values(), nets, x, noise)
    encoder, decoder = nets["encoder"].net, nets["decoder"].net

    def code(x: Tensor, noise: Tensor) -> Tensor:
        return encoder.loc(x) + encoder.log_scale.exp() * noise

    assert draws[X] is x
    assert draws[Z_PRIOR] is noise["z_prior"]
    torch.testing.assert_close(draws[Z_CODE], code(x, noise["z_code"]))
    torch.testing.assert_close(draws[X_REC], decoder.loc(draws[Z_CODE]))
    torch.testing.assert_close(draws[X_GEN], decoder.loc(noise["z_prior"]))
    torch.testing.assert_close(draws[Z_REC], code(draws[X_GEN], noise["z_rec"]))
    torch.testing.assert_close(draws[X_LENS], nets["lens"].net(x))
    step = noise["z_near"] / noise["z_near"].square().sum(1, keepdim=True).sqrt()
    torch.testing.assert_close(draws[Z_NEAR], draws[Z_PRIOR] + step)
    torch.testing.assert_close(draws[X_NEAR], decoder.loc(draws[Z_NEAR]))
    assert set(draws.distributions) == {"z_code", "x_rec", "x_gen", "x_near", "z_rec"}


def test_z_near_is_one_away_from_z():
    nets, x, noise = setting()
    noise["z_near"] *= torch.logspace(-3, 3, B, dtype=torch.float64)[:, None]
    draws = draw([Z_NEAR], nets, x, noise)
    distance = (draws[Z_NEAR] - draws[Z_PRIOR]).norm(dim=1)
    torch.testing.assert_close(distance, torch.ones_like(distance))


def test_labels_go_to_every_net():
    nets, x, noise = setting(labels=LABELS)
    y = torch.arange(B) % LABELS
    draws = draw(VARIABLES.values(), nets, x, noise, y)
    assert draws.y is y
    other = draw(VARIABLES.values(), nets, x, noise, y.flip(0))
    for v in (X_LENS, Z_CODE, X_REC, X_GEN, X_NEAR, Z_REC):
        assert not torch.equal(draws[v], other[v])
    with pytest.raises(AssertionError, match="called without it"):
        draw([Z_CODE], nets, x, noise)


def test_gradients_reach_who_the_table_says():
    nets, x, noise = setting()
    draws = draw(VARIABLES.values(), nets, x, noise)
    for v in VARIABLES.values():
        if not v.nets:
            assert not draws[v].requires_grad
            continue
        for role, net in nets.items():
            slopes = torch.autograd.grad(
                draws[v].square().sum(), list(net.parameters()), retain_graph=True, allow_unused=True
            )
            assert any(s is not None for s in slopes) == (role in v.nets)


def test_detach_cuts_every_value_and_law():
    nets, x, noise = setting()
    draws = draw(VARIABLES.values(), nets, x, noise)
    cut = draws.detach()
    assert cut.values.keys() == draws.values.keys()
    assert not any(v.requires_grad for v in cut.values.values())
    assert all(torch.equal(cut.values[k], v) for k, v in draws.values.items())
    assert cut.distributions.keys() == draws.distributions.keys()
    for name, distribution in cut.distributions.items():
        assert torch.equal(distribution.mean, draws.distributions[name].mean)
        assert not distribution.mean.requires_grad
        assert not distribution.log_prob(draws.distributions[name].mean.detach()).requires_grad
        assert draws.distributions[name].mean.requires_grad
    assert cut.noise is draws.noise
    assert draws[X_REC].requires_grad


@pytest.mark.parametrize("explicit", EXPLICIT.values(), ids=EXPLICIT)
def test_flatten_round_trip(explicit):
    nets, x, noise = setting(explicit)
    draws = draw(VARIABLES.values(), nets, x, noise)
    tensors, rebuild = draws.flatten()
    assert all(isinstance(t, Tensor) for t in tensors)
    same = rebuild(tensors)
    assert list(same.values) == list(draws.values)
    assert all(same.values[k] is v for k, v in draws.values.items())
    assert same.distributions.keys() == draws.distributions.keys()
    for name, distribution in draws.distributions.items():
        other = same.distributions[name]
        assert type(other) is type(distribution)
        assert (other.batch_shape, other.event_shape) == (distribution.batch_shape, distribution.event_shape)
        assert torch.equal(other.mean, distribution.mean)
        if explicit:
            assert torch.equal(
                other.log_prob(distribution.mean + 0.1), distribution.log_prob(distribution.mean + 0.1)
            )


def test_flatten_carries_new_tensors():
    nets, x, noise = setting()
    tensors, rebuild = draw(VARIABLES.values(), nets, x, noise).flatten()
    moved = rebuild([t + 1 for t in tensors])
    torch.testing.assert_close(moved[X], x + 1)
    torch.testing.assert_close(moved.distributions["z_code"].base_dist.loc, nets["encoder"].net.loc(x) + 1)


def test_flatten_carries_a_record_through_vmap():
    """Drawn in one vmap, evaluated in another, as lanes do it."""
    nets, x, noise = setting()
    lanes = {k: torch.stack([v, 2 * v]) for k, v in (noise | {"x": x}).items()}
    kept = []

    def first(lane: dict[str, Tensor]) -> list[Tensor]:
        tensors, rebuild = draw(VARIABLES.values(), nets, lane["x"], lane).flatten()
        kept.append(rebuild)
        return tensors

    def loss(draws: Draws) -> Tensor:
        return -draws.distributions["x_rec"].log_prob(draws[X]) + draws.distributions["z_code"].log_prob(
            draws[Z_CODE]
        )

    flat = torch.func.vmap(first)(lanes)
    found = torch.func.vmap(lambda tensors: loss(kept[0](tensors)))(flat)
    for k in range(2):
        alone = draw(VARIABLES.values(), nets, lanes["x"][k], {n: v[k] for n, v in lanes.items()})
        torch.testing.assert_close(found[k], loss(alone))


# Distributions whose density has a price


class Squashed(nn.Module):
    """q(z|x): tanh of a normal, moved by x afterwards."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.shift = LinearEncoder(generator(5), 3, 2), Linear(generator(6), 3, 2)

    def forward(self, x: Tensor) -> Distribution:
        moved = [TanhTransform(), AffineTransform(self.shift(x), 0.5)]
        return TransformedDistribution(self.inner(x), moved, validate_args=False)


class Forced(nn.Module):
    """p(x|z) = N(x; z B + b + tril(x), I) of a net that wants x; the k-th coordinate sees those before it."""

    teacher_forced = True

    def __init__(self) -> None:
        super().__init__()
        self.loc, self.before = Linear(generator(7), 2, 3), normals(8, 3, 3).tril(-1)
        self.given: list[Tensor | None] = []

    def forward(self, z: Tensor, x: Tensor | None = None) -> Distribution:
        self.given.append(x)
        loc = self.loc(z) if x is None else self.loc(z) + x @ self.before.T
        return Independent(Normal(loc, 1.0), 1)


def test_a_law_that_is_no_diagonal_normal_is_scored_where_it_was_drawn():
    nets, x, noise = setting()
    nets["encoder"] = Counting(Squashed())
    draws = draw([Z_CODE], nets, x, noise, distributions=[Z_CODE])
    distribution = nets["encoder"].net(x)
    assert isinstance(draws.distributions["z_code"], DensityAt)
    assert nets["encoder"].count == 1
    torch.testing.assert_close(
        draws[Z_CODE], nets["encoder"].net.shift(x) + 0.5 * nets["encoder"].net.inner(x).base_dist.loc.add(
            nets["encoder"].net.inner(x).base_dist.scale * noise["z_code"]
        ).tanh()
    )  # fmt: skip
    torch.testing.assert_close(
        draws.distributions["z_code"].log_prob(draws[Z_CODE]), distribution.log_prob(draws[Z_CODE])
    )
    plain = draw([Z_CODE], nets, x, noise)
    assert isinstance(plain.distributions["z_code"], TransformedDistribution)
    torch.testing.assert_close(plain[Z_CODE], draws[Z_CODE])


@pytest.mark.parametrize("squashed", [False, True], ids=["normal", "transformed"])
def test_k_codes_for_each_datum_with_their_densities(squashed):
    """Row k·B + i is the k-th code of datum i, and so is its density."""
    nets, x, noise = setting()
    if squashed:
        nets["encoder"] = Counting(Squashed())
    noise["z_code"] = normals(9, 3 * B, 2)
    draws = draw([X, Z_CODE], nets, x, noise, distributions=[Z_CODE, X_REC], samples=3)
    assert draws[X].shape == (B, 3)
    assert draws[Z_CODE].shape == (3 * B, 2)
    assert draws.distributions["x_rec"].batch_shape == (3 * B,)
    assert (nets["encoder"].count, nets["decoder"].count) == (1, 1)
    for k in range(3):
        rows = slice(k * B, (k + 1) * B)
        one = draw([Z_CODE], nets, x, {"z_code": noise["z_code"][rows]}, distributions=[X_REC])
        torch.testing.assert_close(draws[Z_CODE][rows], one[Z_CODE])
        torch.testing.assert_close(
            draws.distributions["z_code"].log_prob(draws[Z_CODE])[rows],
            one.distributions["z_code"].log_prob(one[Z_CODE]),
        )
        torch.testing.assert_close(draws.distributions["x_rec"].mean[rows], one.distributions["x_rec"].mean)


def test_labels_go_with_their_codes():
    nets, x, noise = setting(labels=LABELS)
    y, noise["z_code"] = torch.arange(B) % LABELS, normals(9, 2 * B, 2)
    draws = draw([X_REC], nets, x, noise, y, distributions=[Z_CODE], samples=2)
    for k in range(2):
        rows = slice(k * B, (k + 1) * B)
        one = draw([X_REC], nets, x, {"z_code": noise["z_code"][rows]}, y)
        torch.testing.assert_close(draws[X_REC][rows], one[X_REC])


def test_copied_keeps_the_order():
    assert copied(torch.arange(3), 2).tolist() == [0, 1, 2, 0, 1, 2]
    u = torch.arange(6.0).reshape(3, 2)
    assert torch.equal(copied(u, 2), torch.cat([u, u]))
    assert copied(u, 1) is u


@pytest.mark.parametrize("samples", [1, 2])
def test_a_teacher_forced_decoder_is_given_the_data_where_its_density_is_asked_for(samples):
    nets, x, noise = setting()
    nets["decoder"], noise["z_code"] = Forced(), normals(9, samples * B, 2)
    draws = draw([], nets, x, noise, distributions=[Z_CODE, X_REC], samples=samples)
    (given,) = nets["decoder"].given
    assert torch.equal(given, copied(x, samples))
    loc = nets["decoder"].loc(draws[Z_CODE]) + copied(x @ nets["decoder"].before.T, samples)
    torch.testing.assert_close(draws.distributions["x_rec"].mean, loc)
    nets["decoder"].given.clear()
    draw([X_GEN], nets, x, noise)
    assert nets["decoder"].given == [None]
    nets["decoder"].given.clear()
    draw([], nets, x, noise, distributions=[X_GEN])
    assert torch.equal(nets["decoder"].given[0], x)


class Codeless(nn.Module):
    """p(x) = N(x; 0, I), which has a density without a code, and takes one where it is drawn from."""

    teacher_forced = True
    density_needs_code = False

    def __init__(self) -> None:
        super().__init__()
        self.given: list[tuple[bool, bool]] = []

    def forward(self, z: Tensor | None, x: Tensor | None = None) -> Distribution:
        self.given.append((z is not None, x is not None))
        return Independent(Normal(torch.zeros(B, 3), 1.0), 1)


@pytest.mark.parametrize(
    ("values", "distributions", "given"),
    [((), (X_GEN,), (False, True)), ((X_GEN,), (X_GEN,), (True, True)), ((X_GEN,), (), (True, False))],
    ids=["density", "both", "draw"],
)
def test_a_decoder_whose_density_needs_no_code_is_given_one_where_it_is_drawn_from(
    values, distributions, given
):
    nets, x, noise = setting()
    nets["decoder"] = Codeless()
    draws = draw(values, nets, x, noise, distributions=distributions)
    assert nets["decoder"].given == [given]
    assert ("x_gen" in draws.values) == (X_GEN in values)


class Asked(nn.Module):
    """m(z) that asks the encoder about two pseudo-inputs, and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.inputs = nn.Parameter(normals(10, 2, 3))

    def forward(self, encode: nn.Module) -> Distribution:
        distributions = encode(self.inputs)
        base = Normal(
            distributions.base_dist.loc.mean(0), distributions.base_dist.scale.mean(0), validate_args=False
        )
        return Independent(base, 1, validate_args=False)


def test_a_learned_prior_is_asked_for_its_density_at_the_codes():
    nets, x, noise = setting()
    nets["prior"] = Counting(Asked())
    assert [v.name for v in with_parents([], distributions=[Z_MARGINAL])] == ["x", "z_code"]
    draws = draw([], nets, x, {"z_code": noise["z_code"]}, distributions=[Z_MARGINAL])
    distribution = nets["prior"].net(nets["encoder"])
    assert isinstance(draws.distributions["z_marginal"], DensityAt)
    torch.testing.assert_close(
        draws.distributions["z_marginal"].log_density, distribution.log_prob(draws[Z_CODE])
    )
    assert "z_marginal" not in draws.values
    for net in ("prior", "encoder"):
        slopes = torch.autograd.grad(
            draws.distributions["z_marginal"].log_density.sum(),
            list(nets[net].parameters()),
            retain_graph=True,
        )
        assert sum(s.abs().sum() for s in slopes) > 0


class Implicit(nn.Module):
    """A code made of x and five numbers of noise."""

    noise_size = 5

    def __init__(self) -> None:
        super().__init__()
        self.body = Linear(generator(11), 8, 2)

    def forward(self, x: Tensor, noise: Tensor) -> Distribution:
        loc = self.body(torch.cat([x, noise], 1))
        return NoisyPoint(loc, (loc.detach(), torch.ones_like(loc)), 1)


def test_an_implicit_encoder_is_given_its_noise():
    nets, x, noise = setting()
    nets["encoder"] = Implicit()
    noise |= {"z_code": normals(12, B, 5), "z_rec": normals(13, B, 5)}
    draws = draw([Z_CODE, Z_REC], nets, x, noise, distributions=[Z_CODE])
    body = nets["encoder"].body
    torch.testing.assert_close(draws[Z_CODE], body(torch.cat([x, noise["z_code"]], 1)))
    torch.testing.assert_close(draws[Z_REC], body(torch.cat([draws[X_GEN], noise["z_rec"]], 1)))
    assert isinstance(draws.distributions["z_code"], NoisyPoint)
    torch.testing.assert_close(draws.distributions["z_code"].moment_loc, draws[Z_CODE])


@pytest.mark.parametrize("samples", [1, 2])
def test_a_point_has_no_density(samples):
    class Points(Linear):
        def forward(self, u: Tensor, y: Tensor | None = None) -> Delta:
            return Delta(super().forward(u), 1)

    nets, x, noise = setting()
    nets["encoder"], noise["z_code"] = Points(generator(), 3, 2), normals(9, samples * B, 2)
    with pytest.raises(BadInput, match="nor has a deterministic encoder a density"):
        draw([], nets, x, noise, distributions=[Z_CODE], samples=samples).distributions["z_code"].log_prob(x)


def test_flatten_carries_densities_at_points():
    nets, x, noise = setting()
    nets |= {"encoder": Squashed(), "prior": MixtureFree(), "decoder": Forced()}
    lanes = {k: torch.stack([v, 2 * v]) for k, v in (noise | {"x": x}).items()}
    kept = []

    def first(lane: dict[str, Tensor]) -> list[Tensor]:
        drawn = draw([Z_CODE], nets, lane["x"], lane, distributions=[Z_CODE, Z_MARGINAL, X_REC])
        tensors, rebuild = drawn.flatten()
        kept.append(rebuild)
        return tensors

    def loss(draws: Draws) -> Tensor:
        z = draws[Z_CODE]
        return sum(
            draws.distributions[n].log_prob(z if n[0] == "z" else draws[X]) for n in draws.distributions
        )

    found = torch.func.vmap(lambda tensors: loss(kept[0](tensors)))(torch.func.vmap(first)(lanes))
    for k in range(2):
        lane = {n: v[k] for n, v in lanes.items()}
        alone = draw([Z_CODE], nets, lane["x"], lane, distributions=[Z_CODE, Z_MARGINAL, X_REC])
        assert set(alone.distributions) == {"z_code", "z_marginal", "x_rec"}
        torch.testing.assert_close(found[k], loss(alone))


class MixtureFree(nn.Module):
    """N(m, 1), and no look at the encoder."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Parameter(normals(14, 2))

    def forward(self, encode: nn.Module | None = None) -> Distribution:
        return Independent(
            Normal(self.loc, torch.ones_like(self.loc), validate_args=False), 1, validate_args=False
        )
