"""The lens: its layers, its skip, and its removal."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from distmatch.networks import Shapes, build

CASES = [
    ("mlp", Shapes((2,), 2, bounded=False)),
    ("mlp", Shapes((1, 8, 8), 2)),
    ("dcgan", Shapes((3, 16, 16), 2)),
]


@pytest.mark.parametrize(("name", "shapes"), CASES)
def test_keeps_the_shape_and_is_the_data_plus_a_residual(name, shapes):
    net, x = build(name, "lens", shapes), torch.rand(4, *shapes.x)
    assert net(x).shape == x.shape
    assert not torch.allclose(net(x), x)
    with torch.no_grad():
        [*layers] = [m for m in net.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
        layers[-1].weight.zero_()
        layers[-1].bias.zero_()
    assert net(x).equal(x)


def test_is_removed_from_its_step_on_and_comes_back_before():
    net, x = build("dcgan", "lens", Shapes((1, 8, 8), 2), until=10), torch.rand(4, 1, 8, 8)
    before = net(x)
    for step, removed in [(9, False), (10, True), (1000, True), (0, False)]:
        net.at(step)
        assert (net(x) is x) == removed
        assert removed or net(x).equal(before)
    forever = build("dcgan", "lens", Shapes((1, 8, 8), 2))
    forever.at(10**9)
    assert forever(x) is not x


def test_the_published_lens():
    net = build("dcgan", "lens", Shapes((3, 32, 32), 2))
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.out_channels, m.kernel_size, m.stride) for m in convolutions] == [
        *[(32, (3, 3), (1, 1))] * 17,
        (3, (3, 3), (1, 1)),
    ]


def test_labels_may_be_given_and_are_not_looked_at():
    net, x = build("mlp", "lens", Shapes((2,), 2, num_classes=3, bounded=False)), torch.rand(4, 2)
    assert net(x, y=torch.tensor([0, 1, 2, 0])).equal(net(x))
