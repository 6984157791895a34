"""Spectral norm against the singular value decomposition, its gradients against the paper's equation."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.func import functional_call, grad, jacrev, vmap
from torch.nn import functional as F

from distmatch.networks import Shapes, build
from distmatch.networks.layers.minibatch import MinibatchDiscrimination
from distmatch.networks.layers.spectral_norm import (
    SpectralConv2d,
    SpectralLinear,
    power_iteration,
    spectrally_normalised,
)


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(0)


def evolve(net: nn.Module, steps: int = 1) -> None:
    """What the engine does between steps."""
    for _ in range(steps):
        for m in net.modules():
            if getattr(m, "evolving", ()):
                m.u = m.evolve()["u"]


@pytest.mark.parametrize("layer", [SpectralLinear(7, 5), SpectralConv2d(3, 6, 4, 2, 1), SpectralLinear(4, 1)])
def test_converges_to_the_largest_singular_value(layer):
    layer = layer.double()
    evolve(layer, 2000)
    w = layer.weight.detach().flatten(1)
    torch.testing.assert_close(
        spectrally_normalised(layer.weight, layer.u).detach().flatten(1), w / torch.linalg.matrix_norm(w, 2)
    )
    u = torch.linalg.svd(w).U[:, 0]
    torch.testing.assert_close(layer.u.dot(u).abs(), torch.ones((), dtype=torch.float64))


def test_forward_is_the_plain_layer_at_the_normalised_weight():
    linear, conv = SpectralLinear(3, 2), SpectralConv2d(3, 4, 3, 2, 1)
    h, image = torch.randn(5, 3), torch.randn(2, 3, 8, 8)
    torch.testing.assert_close(
        linear(h), h @ spectrally_normalised(linear.weight, linear.u).t() + linear.bias
    )
    weight = spectrally_normalised(conv.weight, conv.u)
    torch.testing.assert_close(conv(image), F.conv2d(image, weight, conv.bias, 2, 1))
    u = linear.u.clone()
    linear(h)
    linear.evolve()
    assert linear.u.equal(u)  # read, never written


def test_first_and_second_derivatives_hold_u_and_v_fixed(generator):
    w, x = (torch.randn(s, generator=generator, dtype=torch.float64) for s in ((4, 3), (5, 3)))
    u = F.normalize(torch.randn(4, generator=generator, dtype=torch.float64), dim=0)
    v = F.normalize(w.t() @ u, dim=0)

    def ours(w):
        return (x @ spectrally_normalised(w, u).t()).pow(3).sum()

    def fixed(w):
        return (x @ (w / (u @ w @ v)).t()).pow(3).sum()

    torch.testing.assert_close(grad(ours)(w), grad(fixed)(w))
    torch.testing.assert_close(jacrev(jacrev(ours))(w), jacrev(jacrev(fixed))(w))
    bar, sigma = w / (u @ w @ v), u @ w @ v  # Miyato et al., equation 12
    g = 3 * (x @ bar.t()).square().t() @ x
    torch.testing.assert_close(grad(ours)(w), (g - (g * bar).sum() * torch.outer(u, v)) / sigma)


def test_sigma_keeps_its_precision_under_autocast(generator):
    w, u = torch.randn(4, 30, generator=generator), F.normalize(torch.ones(4), dim=0)
    with torch.autocast("cpu", torch.bfloat16):
        weight, new = spectrally_normalised(w, u), power_iteration(w, u)
        assert (
            build("dcgan", "critic", Shapes((1, 8, 8), 2), options=OPTIONS)(torch.rand(3, 1, 8, 8))
            .isfinite()
            .all()
        )
    assert weight.equal(spectrally_normalised(w, u))
    assert new.equal(power_iteration(w, u))


def test_lanes_evolve_each_for_itself(generator):
    w, u = torch.randn(3, 4, 2, 2, generator=generator), torch.randn(3, 4, generator=generator)
    lanes = vmap(power_iteration)(w, u)
    for i in range(3):
        torch.testing.assert_close(lanes[i], power_iteration(w[i], u[i]))
    layer = SpectralLinear(3, 4)
    state = {"weight": torch.randn(2, 4, 3), "bias": torch.randn(2, 4), "u": F.normalize(torch.randn(2, 4))}
    h = torch.randn(5, 3)
    outs = vmap(lambda s: functional_call(layer, s, (h,)))(state)
    for i in range(2):
        torch.testing.assert_close(outs[i], functional_call(layer, {k: s[i] for k, s in state.items()}, (h,)))


OPTIONS = {"width": 4, "code_width": 4, "spectral_norm": True, "minibatch_kernels": 2, "symmetric": True}


@pytest.mark.parametrize("spaces", [("x",), ("x", "z"), ("z",)])
@pytest.mark.parametrize("name", ["mlp", "dcgan"])
def test_all_layers_of_a_critic_are_normalised(name, spaces):
    net = build(name, "critic", Shapes((1, 8, 8), 2), spaces=spaces, options=OPTIONS)
    apart = {m.transform for m in net.modules() if isinstance(m, MinibatchDiscrimination)}
    layers = [m for m in net.modules() if isinstance(m, (nn.Linear, nn.Conv2d)) and m not in apart]
    assert layers
    assert all(isinstance(m, (SpectralLinear, SpectralConv2d)) for m in layers)


def test_a_spectrally_normalised_mlp_has_slope_below_one(generator):
    net = build("mlp", "critic", Shapes((6,), 2, bounded=False), options={"width": 16, "spectral_norm": True})
    with torch.no_grad():
        for p in net.parameters():
            p.mul_(5)
    evolve(net, 300)
    x = torch.randn(2, 500, 6, generator=generator)
    slopes = (net(x[0]) - net(x[1])).abs() / (x[0] - x[1]).norm(dim=1)
    assert slopes.max() < 1
