"""The six draws: made once, in order, from what they say; and the record that holds them."""

from __future__ import annotations

from itertools import chain, combinations

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from contracts.toys import LABELS, LinearDecoder, LinearEncoder, generator
from distmatch.variables import (
    VARIABLES,
    X_GEN,
    X_REC,
    Z_CODE,
    Z_PRIOR,
    Z_REC,
    Draws,
    Variable,
    X,
    draw,
    with_parents,
)

B = 6
SUBSETS = list(chain.from_iterable(combinations(VARIABLES.values(), n) for n in range(7)))
EXPLICIT = {"explicit": True, "implicit": False}


class Counting(nn.Module):
    """A net that counts its forwards."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.count = net, 0

    def forward(self, *inputs: Tensor, **given: Tensor) -> Distribution:
        self.count += 1
        return self.net(*inputs, **given)


def setting(explicit: bool = True, labels: int = 0) -> tuple[dict[str, Counting], Tensor, dict[str, Tensor]]:
    g = generator()
    nets = {
        "encoder": Counting(LinearEncoder(g, 3, 2, labels)),
        "decoder": Counting(LinearDecoder(g, 3, 2, labels, explicit, True)),
    }
    noise = {n: torch.randn(B, 2, generator=g, dtype=torch.float64) for n in ("z_prior", "z_code", "z_rec")}
    return nets, torch.randn(B, 3, generator=g, dtype=torch.float64), noise


def test_the_table():
    assert list(VARIABLES) == ["x", "z_prior", "z_code", "x_rec", "x_gen", "z_rec"]
    assert "".join(map(str, VARIABLES.values())) == "xzẑx̂x̃z̃"
    assert [v.space for v in VARIABLES.values()] == ["x", "z", "z", "x", "x", "z"]
    for v in VARIABLES.values():
        made_by = {p for parent in v.parents for p in VARIABLES[parent].players}
        assert made_by <= set(v.players)


@pytest.mark.parametrize("wanted", SUBSETS, ids=lambda vs: "+".join(v.name for v in vs) or "none")
def test_each_draw_is_made_once_and_only_if_needed(wanted: tuple[Variable, ...]):
    nets, x, noise = setting()
    draws = draw(wanted, nets, x, noise)
    needed = with_parents(wanted)
    assert set(draws.values) == {v.name for v in needed} >= {v.name for v in wanted}
    for role, space in (("encoder", "z"), ("decoder", "x")):
        assert nets[role].count == sum(v.space == space and bool(v.parents) for v in needed)
    assert list(draws.values) == [n for n in VARIABLES if n in draws.values]


def test_laws_alone_are_not_drawn_from():
    nets, x, noise = setting()
    draws = draw([], nets, x, {"z_code": noise["z_code"]}, laws=[X_REC])
    assert set(draws.values) == {"x", "z_code"}
    assert set(draws.laws) == {"z_code", "x_rec"}
    draws = draw([], nets, x, {}, laws=[Z_CODE])
    assert (set(draws.values), set(draws.laws)) == ({"x"}, {"z_code"})
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
    assert set(draws.laws) == {"z_code", "x_rec", "x_gen", "z_rec"}


def test_labels_go_to_every_net():
    nets, x, noise = setting(labels=LABELS)
    y = torch.arange(B) % LABELS
    draws = draw(VARIABLES.values(), nets, x, noise, y)
    assert draws.y is y
    other = draw(VARIABLES.values(), nets, x, noise, y.flip(0))
    for v in (Z_CODE, X_REC, X_GEN, Z_REC):
        assert not torch.equal(draws[v], other[v])
    with pytest.raises(AssertionError, match="called without it"):
        draw([Z_CODE], nets, x, noise)


def test_gradients_reach_who_the_table_says():
    nets, x, noise = setting()
    draws = draw(VARIABLES.values(), nets, x, noise)
    for v in VARIABLES.values():
        if not v.players:
            assert not draws[v].requires_grad
            continue
        for role, net in nets.items():
            slopes = torch.autograd.grad(
                draws[v].square().sum(), list(net.parameters()), retain_graph=True, allow_unused=True
            )
            assert any(s is not None for s in slopes) == (role in v.players)


def test_detach_cuts_every_value_and_leaves_the_laws():
    nets, x, noise = setting()
    draws = draw(VARIABLES.values(), nets, x, noise)
    cut = draws.detach()
    assert cut.values.keys() == draws.values.keys()
    assert not any(v.requires_grad for v in cut.values.values())
    assert all(torch.equal(cut.values[k], v) for k, v in draws.values.items())
    assert cut.laws == {}
    assert cut.noise is draws.noise
    assert draws.laws
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
    assert same.laws.keys() == draws.laws.keys()
    for name, law in draws.laws.items():
        other = same.laws[name]
        assert type(other) is type(law)
        assert (other.batch_shape, other.event_shape) == (law.batch_shape, law.event_shape)
        assert torch.equal(other.mean, law.mean)
        if explicit:
            assert torch.equal(other.log_prob(law.mean + 0.1), law.log_prob(law.mean + 0.1))


def test_flatten_carries_new_tensors():
    nets, x, noise = setting()
    tensors, rebuild = draw(VARIABLES.values(), nets, x, noise).flatten()
    moved = rebuild([t + 1 for t in tensors])
    torch.testing.assert_close(moved[X], x + 1)
    torch.testing.assert_close(moved.laws["z_code"].base_dist.loc, nets["encoder"].net.loc(x) + 1)


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
        return -draws.laws["x_rec"].log_prob(draws[X]) + draws.laws["z_code"].log_prob(draws[Z_CODE])

    flat = torch.func.vmap(first)(lanes)
    found = torch.func.vmap(lambda tensors: loss(kept[0](tensors)))(flat)
    for k in range(2):
        alone = draw(VARIABLES.values(), nets, lanes["x"][k], {n: v[k] for n, v in lanes.items()})
        torch.testing.assert_close(found[k], loss(alone))
