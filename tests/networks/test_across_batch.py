"""Layers that look across the batch, by hand; and maxout."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn.functional import conv2d, leaky_relu

from distmatch.networks import Shapes, build
from distmatch.networks.layers.maxout import Maxout
from distmatch.networks.layers.minibatch import MinibatchDiscrimination, MinibatchStddev
from distmatch.networks.layers.symmetric import Symmetric


def test_minibatch_discrimination_of_three_rows_by_hand():
    net = MinibatchDiscrimination(2, kernels=2, dims=2).double()
    with torch.no_grad():  # kernel 0 sees (h0, h1), kernel 1 sees (2·h0, 0)
        net.transform.weight.copy_(torch.tensor([[1.0, 0], [0, 1], [2, 0], [0, 0]]))
        net.bias.copy_(torch.tensor([0.5, -1.0]))
    h = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 2.0]], dtype=torch.float64)
    e = [math.exp(-d) for d in range(4)]
    expected = [
        [0, 0, e[1] + e[3] + 0.5, 2 * e[2] - 1],
        [1, 0, e[1] + e[2] + 0.5, e[2] + 1 - 1],
        [1, 2, e[3] + e[2] + 0.5, e[2] + 1 - 1],
    ]
    torch.testing.assert_close(net(h), torch.tensor(expected, dtype=torch.float64))


def test_minibatch_stddev_by_hand():
    h = torch.arange(8.0).reshape(8, 1, 1, 1) ** 2
    out = MinibatchStddev()(h)  # groups of 4: rows 0, 2, 4, 6 and rows 1, 3, 5, 7
    assert out[:, :1].equal(h)
    for i in range(8):
        group = h[i % 2 :: 2]
        torch.testing.assert_close(out[i, 1, 0, 0], group.std(correction=0))
    assert MinibatchStddev()(torch.rand(6, 2, 3, 3)).shape == (6, 3, 3, 3)  # two groups of 3
    alone = MinibatchStddev()(torch.rand(7, 2, 3, 3))[:, 2]
    torch.testing.assert_close(alone, torch.full_like(alone, 1e-4))


def test_symmetric_layer_by_hand():
    net = Symmetric(nn.Linear, 2, 1)
    with torch.no_grad():
        net.own.weight.copy_(torch.tensor([[1.0, 2.0]]))
        net.mean.weight.copy_(torch.tensor([[10.0, 100.0]]))
        net.own.bias.fill_(0.5)
    out = net(torch.tensor([[1.0, 0.0], [3.0, 1.0]]))  # the mean is (2, ½)
    torch.testing.assert_close(out, torch.tensor([[1 + 70.5], [5 + 70.5]]))


def test_symmetric_convolution_by_hand():
    net = Symmetric(nn.Conv2d, 1, 1, 2, bias=False)
    with torch.no_grad():
        net.own.weight.copy_(torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]]))  # the upper left pixel of four
        net.mean.weight.fill_(1.0)  # the sum of the mean's four pixels
    h = torch.stack([torch.arange(6.0).reshape(1, 2, 3), torch.full((1, 2, 3), 2.0)])
    sums = [[0.5 * (0 + 1 + 3 + 4) + 4, 0.5 * (1 + 2 + 4 + 5) + 4]]
    torch.testing.assert_close(net(h), torch.tensor([[sums], [sums]]) + h[:, :, :1, :2])
    assert net.mean.bias is None


def seeing(h: Tensor, state: dict[str, Tensor], name: str) -> Tensor:
    """A row's own h times one matrix, the batch's mean times the other, and the bias where there is one."""
    own, mean = state[f"{name}.own.weight"], state[f"{name}.mean.weight"]
    return h @ own.T + h.mean(0) @ mean.T + state.get(f"{name}.own.bias", 0.0)


def seeing_maps(h: Tensor, state: dict[str, Tensor], name: str, stride: int, padding: int) -> Tensor:
    """The same of maps: a convolution of each, and another of their mean."""
    own, mean = state[f"{name}.own.weight"], state[f"{name}.mean.weight"]
    out = conv2d(h, own, state.get(f"{name}.own.bias"), stride, padding)
    return out + conv2d(h.mean(0)[None], mean, None, stride, padding)


def symmetric_critic(name: str, shapes: Shapes, **options: int) -> tuple[nn.Module, dict[str, Tensor]]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build(
            name, "critic", shapes, options={"symmetric": True, "batch_norm": False} | options
        ).double()
        with torch.no_grad():
            for p in net.parameters():
                p.copy_(torch.randn_like(p) / p[0].numel() ** 0.5 if p.ndim > 1 else torch.randn_like(p))
    return net, net.state_dict()


def test_every_layer_of_a_fully_connected_critic_sees_the_batch():
    net, state = symmetric_critic("mlp", Shapes((3,), 2, bounded=False), width=5, depth=2)
    x = torch.randn(4, 3, dtype=torch.float64)
    h = seeing(x, state, "body.0").relu()
    h = seeing(h, state, "body.2").relu()
    torch.testing.assert_close(net(x), seeing(h, state, "body.4")[:, 0])
    # twice the weights of the plain critic, and as many biases
    assert sum(p.numel() for p in net.parameters()) == 2 * (3 * 5 + 5 * 5 + 5) + 5 + 5 + 1


def test_every_layer_of_a_convolutional_critic_sees_the_batch():
    net, state = symmetric_critic("dcgan", Shapes((1, 8, 8), 2), width=4)
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    h = 2 * x - 1
    for i, stride in (0, 1), (2, 2), (4, 1):
        kernel = state[f"features.{i}.own.weight"].shape[-1]
        h = leaky_relu(seeing_maps(h, state, f"features.{i}", stride, kernel // 2 if kernel == 3 else 1), 0.2)
    torch.testing.assert_close(net(x), seeing(h.flatten(1), state, "head.0")[:, 0])
    weights = 1 * 2 * 9 + 2 * 4 * 16 + 4 * 8 * 9 + 8 * 4 * 4
    assert (
        sum(p.numel() for p in net.parameters()) == 2 * weights + 4 + 8
    )  # no bias in the first and the last


@pytest.mark.parametrize(("name", "shape"), [("mlp", (3,)), ("dcgan", (1, 8, 8))])
def test_symmetric_critics_run_as_lanes_and_compiled(name, shape):
    net, state = symmetric_critic(name, Shapes(shape, 2, bounded=False), width=4)
    lanes = {k: torch.stack([v, 2 * v]) for k, v in state.items()}
    x = torch.randn(2, 5, *shape, dtype=torch.float64)
    found = vmap(lambda s, x: functional_call(net, s, (x,)))(lanes, x)
    for i in range(2):
        torch.testing.assert_close(
            found[i], functional_call(net, {k: v[i] for k, v in lanes.items()}, (x[i],))
        )
    whole = torch.compile(net, fullgraph=True, backend="aot_eager")  # one graph, or an error
    torch.testing.assert_close(whole(x[0]), net(x[0]))


@pytest.mark.parametrize("options", [{"symmetric": True}, {"minibatch_kernels": 4, "symmetric": True}])
@pytest.mark.parametrize(
    ("name", "spaces"), [("mlp", ("x",)), ("mlp", ("z",)), ("dcgan", ("x",)), ("dcgan", ("x", "z"))]
)
def test_critics_are_equivariant_and_see_the_whole_batch(name, spaces, options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build(
            name,
            "critic",
            Shapes((1, 8, 8), 3),
            spaces=spaces,
            options=options | {"width": 4, "code_width": 4, "batch_norm": False},
        ).double()
        with torch.no_grad():
            for p in net.parameters():
                p.mul_(4)  # dcgan's start is too small to see the difference
        inputs = [torch.rand(6, 1, 8, 8).double() if s == "x" else torch.randn(6, 3).double() for s in spaces]
        order = torch.randperm(6)
    scores = net(*inputs)
    assert scores.shape == (6,)
    torch.testing.assert_close(net(*(v[order] for v in inputs)), scores[order])
    assert not torch.allclose(net(*(v[:3] for v in inputs)), scores[:3], rtol=1e-6)


def test_maxout_is_the_largest_piece():
    h = torch.randn(5, 6)
    out = Maxout(3)(h)
    assert out[:, 0].equal(h[:, :3].amax(1))
    assert out[:, 1].equal(h[:, 3:].amax(1))


def test_lanes_share_no_batch_statistics():
    net = MinibatchDiscrimination(3, 2)
    state = {k: torch.stack([p.detach(), 2 * p.detach()]) for k, p in net.named_parameters()}
    h = torch.randn(2, 4, 3)
    lanes = vmap(lambda s, h: functional_call(net, s, (h,)))(state, h)
    for i in range(2):
        torch.testing.assert_close(
            lanes[i], functional_call(net, {k: v[i] for k, v in state.items()}, (h[i],))
        )
