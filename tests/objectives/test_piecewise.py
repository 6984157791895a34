"""ReLUs without a second derivative: the same numbers, and no zeros carried through a forward pass."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from distmatch.objectives.penalties import gradient_norms
from distmatch.objectives.piecewise import Piecewise

POINTS = torch.tensor([-3.0, -0.5, 0.0, 0.25, 7.0])
CALLS = {
    "F.relu": lambda x: F.relu(x),
    "torch.relu": lambda x: torch.relu(x),
    "method": lambda x: x.relu(),
    "by name": lambda x: F.leaky_relu(input=x, negative_slope=0.3),
    "by place": lambda x: F.leaky_relu(x, 0.2),
    "default slope": lambda x: F.leaky_relu(x),
    "module": nn.LeakyReLU(0.1),
    "another": torch.tanh,
}


class Counted(TorchDispatchMode):
    """Counts backward passes of convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.backwards = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.backwards += func is torch.ops.aten.convolution_backward.default
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", CALLS)
def test_values_gradients_and_precision_are_torchs_own(name, dtype):
    x = POINTS.to(dtype).requires_grad_()
    expected = CALLS[name](x)
    (slope,) = torch.autograd.grad(expected.sum(), x)
    with Piecewise():
        y = CALLS[name](x)
    (own_slope,) = torch.autograd.grad(y.sum(), x)
    assert y.dtype == dtype
    assert torch.equal(y, expected)
    assert torch.equal(own_slope, slope)


@pytest.mark.parametrize("net", [nn.ReLU(inplace=True), nn.LeakyReLU(0.2, inplace=True), lambda x: x.relu_()])
def test_forms_in_place_stay_in_place(net):
    h = POINTS.clone()
    with Piecewise():
        y = net(h)
    assert y.data_ptr() == h.data_ptr()
    assert h[0] > POINTS[0]


def test_places_by_number_count_as_in_place():
    h = POINTS.clone()
    with Piecewise():
        F.leaky_relu(h, 0.2, True)
    assert torch.equal(h, F.leaky_relu(POINTS, 0.2))


def test_a_penalty_does_not_go_back_through_the_forward_pass():
    """Three layers: each is gone back through once, for the gradient whose norm is asked, and never again."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(c, 4, 3, padding=1) for c in (1, 4, 4)]
    net = nn.Sequential(*(part for conv in layers for part in (conv, nn.LeakyReLU(0.2))))
    x = torch.randn(2, 1, 8, 8)

    def gradients_and_backwards(norms):
        net.zero_grad()
        with Counted() as counted:
            (norms(lambda x: net(x).sum((1, 2, 3)), [x]) - 1).square().sum().backward()
        return [conv.weight.grad.clone() for conv in layers], counted.backwards

    def plain_norms(score, inputs):
        scores, pull = torch.func.vjp(score, *inputs)
        return pull(torch.ones_like(scores))[0].flatten(1).square().sum(1).sqrt()

    ours, backwards = gradients_and_backwards(gradient_norms)
    plain, plain_backwards = gradients_and_backwards(plain_norms)
    assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))
    assert backwards == 3
    assert plain_backwards > 3


def test_what_bends_keeps_its_second_derivative():
    """Only what is straight between kinks loses it: ELU and tanh keep theirs."""
    w = torch.tensor([0.7], requires_grad=True)
    norms = gradient_norms(lambda x: torch.tanh(w * x).sum(1), [torch.tensor([[0.5]])])
    (slope,) = torch.autograd.grad(norms.sum(), w)
    t = torch.tanh(w.detach() * 0.5)
    expected = (1 - t**2) - 2 * w.detach() * 0.5 * t * (1 - t**2)
    assert torch.allclose(slope, expected, atol=1e-6)
