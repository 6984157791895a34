"""bind: a module at other parameters, left as it was found."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from distmatch.networks import MLPOptions, Shapes, build
from distmatch.training.engine.functional import bind, evolved, evolving


class Residual(nn.Module):
    """Nested, with a parameter of its own, a buffer, and an empty slot."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.inner = nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3, bias=False))
        self.register_buffer("shift", torch.ones(3))
        self.register_parameter("unused", None)

    def forward(self, x: Tensor, gain: float = 1.0) -> Tensor:
        return x + gain * self.scale * self.inner(x) + self.shift


@pytest.fixture
def net() -> nn.Module:
    torch.manual_seed(0)
    return Residual()


def others(net: nn.Module, *lead: int) -> dict[str, Tensor]:
    return {k: torch.randn((*lead, *p.shape)) for k, p in net.named_parameters()}


def identities(net: nn.Module) -> dict[str, int]:
    return {k: id(p) for k, p in net.named_parameters()}


X = torch.linspace(-1, 1, 12).reshape(4, 3)


def test_it_is_functional_call(net):
    params = others(net)
    expected = functional_call(net, params, (X,), {"gain": 3.0})
    torch.testing.assert_close(bind(net, params)(X, gain=3.0), expected, rtol=0, atol=0)


def test_the_module_is_left_as_it_was_found(net):
    before, attributes, values = identities(net), set(vars(net)), copy.deepcopy(net.state_dict())
    bind(net, others(net))(X)
    assert identities(net) == before
    assert set(vars(net)) == attributes
    assert list(net.state_dict()) == list(values)
    torch.testing.assert_close(dict(net.state_dict()), dict(values), rtol=0, atol=0)
    assert all(p.grad is None and p.requires_grad for p in net.parameters())


def test_also_where_the_net_raises(net):
    before = identities(net)
    with pytest.raises(RuntimeError):
        bind(net, others(net))(torch.zeros(4, 5))
    assert identities(net) == before


def test_a_parameter_that_is_left_out_is_the_modules_own(net):
    before, params = identities(net), others(net)
    del params["inner.2.weight"]
    torch.testing.assert_close(bind(net, params)(X), functional_call(net, params, (X,)))
    assert identities(net) == before


def test_calls_may_be_nested(net):
    """As in the gradient of a critic within a critic's loss."""
    first, second, seen = others(net), others(net), []

    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            seen.append(bind(net, second)(x))
            return self.net(x)

    before = identities(net)
    found = bind(Outer(), {f"net.{k}": p for k, p in first.items()})(X)
    torch.testing.assert_close(found, functional_call(net, first, (X,)), rtol=0, atol=0)
    torch.testing.assert_close(seen[0], functional_call(net, second, (X,)), rtol=0, atol=0)
    assert identities(net) == before


def test_gradients_reach_the_given_parameters_alone(net):
    params = {k: p.requires_grad_() for k, p in others(net).items()}
    bind(net, params)(X).sum().backward()
    assert all(p.grad is not None for p in params.values())
    assert all(p.grad is None for p in net.parameters())


def test_a_copy_of_a_bound_net_has_places_of_its_own(net):
    bind(net, others(net))(X)
    twin = copy.deepcopy(net)
    params = others(twin)
    expected = functional_call(twin, params, (X,))
    torch.testing.assert_close(bind(twin, params)(X), expected, rtol=0, atol=0)
    torch.testing.assert_close(net(X), twin(X), rtol=0, atol=0)


def test_a_bound_net_can_be_collected():
    net = Residual()
    bind(net, others(net))(X)
    alive = weakref.ref(net)
    del net
    gc.collect()
    assert alive() is None


def test_under_vmap_each_lane_has_its_own_parameters(net):
    params = others(net, 5)
    found = vmap(lambda p: bind(net, p)(X))(params)
    for lane in range(5):
        expected = functional_call(net, {k: p[lane] for k, p in params.items()}, (X,))
        torch.testing.assert_close(found[lane], expected)


def test_under_grad_of_grad(net):
    params = others(net)

    def penalty(p: dict[str, Tensor], call) -> Tensor:
        return grad(lambda x: call(p, x).square().sum())(X).square().sum()

    found = grad(lambda p: penalty(p, lambda q, x: bind(net, q)(x)))(params)
    expected = grad(lambda p: penalty(p, lambda q, x: functional_call(net, q, (x,))))(params)
    torch.testing.assert_close(found, expected)


def test_compiled_it_follows_the_parameters(net):
    """A compiled call must not keep the parameters of its first call, nor change the module's."""
    before = identities(net)
    run = torch.compile(lambda params, x: bind(net, params)(x), backend="aot_eager", fullgraph=True)
    for _ in range(2):
        params = others(net)
        torch.testing.assert_close(run(params, X), functional_call(net, params, (X,)))
    assert identities(net) == before


@pytest.mark.parametrize("role", ["encoder", "decoder", "critic"])
def test_our_own_nets(role):
    torch.manual_seed(0)
    net = build(
        "mlp", role, Shapes(x=(1, 4, 4), latent=3), likelihood="gaussian", options=MLPOptions(width=8)
    )
    params = others(net)
    inputs = torch.rand(2, 3) if role == "decoder" else torch.rand(2, 1, 4, 4)
    found, expected = bind(net, params)(inputs), functional_call(net, params, (inputs,))
    if role != "critic":
        found, expected = found.mean, expected.mean
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_tied_weights_move_together():
    first, second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    second.weight = first.weight
    net = nn.Sequential(first, second)
    params = {"0.weight": 2 * torch.eye(3)}
    assert params.keys() == dict(net.named_parameters()).keys()
    torch.testing.assert_close(bind(net, params)(torch.ones(1, 3)), torch.full((1, 3), 4.0))


class Turning(nn.Module):
    """With a buffer that evolves and one that stays."""

    evolving = ("angle",)

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("angle", torch.zeros(3))
        self.register_buffer("shift", torch.ones(3))

    def evolve(self, at: Mapping[str, Tensor]) -> dict[str, Tensor]:
        return {"angle": at["angle"] + at["weight"]}

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight + self.angle + self.shift


def test_buffers_that_evolve_are_bound_like_parameters():
    net = nn.Sequential(Turning(), Turning())
    own = [net[0].angle, net[1].angle]
    assert list(evolving(net)) == ["0.angle", "1.angle"]
    given = {"0.angle": torch.full((3,), 2.0), "1.weight": torch.full((3,), 5.0)}
    found = bind(net, given)(X)
    torch.testing.assert_close(found, 5 * (X + 2 + 1) + 1)
    torch.testing.assert_close(found, functional_call(net, given, (X,)))
    assert all(a is b for a, b in zip(own, (net[0].angle, net[1].angle), strict=True))


def test_the_next_buffers_come_from_what_is_given_and_else_from_the_module():
    net = nn.Sequential(Turning(), Turning())
    new = evolved(net, {"0.angle": torch.full((3,), 2.0), "1.weight": torch.full((3,), 5.0)})
    assert {k: v.tolist() for k, v in new.items()} == {"0.angle": [3.0] * 3, "1.angle": [5.0] * 3}
    assert not net[0].angle.any()


def test_a_bound_net_tells_what_its_encoder_or_decoder_wants():
    net = Turning()
    bound = bind(net, {})
    assert (bound.teacher_forced, bound.density_needs_code, bound.noise_size) == (False, True, 0)
    net.teacher_forced, net.density_needs_code, net.noise_size = True, False, 7
    bound = bind(net, {})
    assert (bound.teacher_forced, bound.density_needs_code, bound.noise_size) == (True, False, 7)
