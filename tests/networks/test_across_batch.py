"""Layers that look across the batch, by hand; and maxout."""

from __future__ import annotations

import math

import pytest
import torch
from torch.func import functional_call, vmap

from distmatch.networks import Shapes, build
from distmatch.networks.maxout import Maxout
from distmatch.networks.minibatch import MinibatchDiscrimination, MinibatchStddev
from distmatch.networks.symmetric import Symmetric


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
    net = Symmetric(2, 1)
    with torch.no_grad():
        net.own.weight.copy_(torch.tensor([[1.0, 2.0]]))
        net.mean.weight.copy_(torch.tensor([[10.0, 100.0]]))
        net.own.bias.fill_(0.5)
    out = net(torch.tensor([[1.0, 0.0], [3.0, 1.0]]))  # the mean is (2, ½)
    torch.testing.assert_close(out, torch.tensor([[1 + 70.5], [5 + 70.5]]))


@pytest.mark.parametrize("options", [{"symmetric": True}, {"minibatch_kernels": 4, "symmetric": True}])
@pytest.mark.parametrize(("name", "spaces"), [("mlp", ("x",)), ("dcgan", ("x",)), ("dcgan", ("x", "z"))])
def test_critics_are_equivariant_and_see_the_whole_batch(name, spaces, options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = build(
            name,
            "critic",
            Shapes((1, 8, 8), 3),
            spaces=spaces,
            options=options | {"width": 4, "batch_norm": False},
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
