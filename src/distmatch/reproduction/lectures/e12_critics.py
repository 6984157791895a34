"""Critics of Gaussians at several separations at once, and the gradients that their ratios give."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distmatch.objectives.comparisons import (
    F_DIVERGENCES,
    GENERATOR_LOSSES,
    IMQ,
    Comparison,
    mmd_squared,
)
from distmatch.reproduction.framework.losses import critic_loss

SEPARATIONS = (0.5, 1.0, 2.0, 4.0, 6.0, 8.0)
BATCH = 256  # draws of a minibatch


class Sizes(NamedTuple):
    """A scale: hidden units of the critic, its steps, its batch; minibatches that a gradient is the median of."""

    width: int
    steps: int
    batch: int
    minibatches: int


class Critics(nn.Module):
    """One critic for each separation, side by side: (K, n, 1) -> scores (K, n).

    Each has two hidden layers of leaky ReLUs (0.2). The last layer begins at 0, so that no loss with an exponential
    begins with a jump.
    """

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        sizes = ((1, width), (width, width), (width, 1))
        self.weights = nn.ParameterList(torch.randn(count, i, o) / math.sqrt(i) for i, o in sizes)
        self.biases = nn.ParameterList(torch.randn(count, 1, o) for _, o in sizes)
        for last in (self.weights[2], self.biases[2]):
            nn.init.zeros_(last)

    def forward(self, x: Tensor) -> Tensor:
        """Scores."""
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, F.leaky_relu(x, 0.2) if i else x, weight)
        return x.squeeze(-1)


def fitted(loss: Comparison, sizes: Sizes) -> Critics:
    """Critics of p = N(m, 1) against q = N(0, 1) for every separation m, each alone with its ratio loss.

    Gradients are not clipped: that would cut the rare large ones, which hold LSIF and Neyman's χ² down.
    """
    means = torch.tensor(SEPARATIONS)[:, None, None]
    critics = Critics(len(SEPARATIONS), sizes.width)
    adam = torch.optim.Adam(critics.parameters(), lr=1e-3)
    decay = torch.optim.lr_scheduler.CosineAnnealingLR(adam, sizes.steps)
    for _ in range(sizes.steps):
        shape = (len(SEPARATIONS), sizes.batch, 1)
        value = critic_loss(loss, critics(means + torch.randn(shape)), critics(torch.randn(shape)))
        adam.zero_grad()
        value.sum().backward()
        adam.step()
        decay.step()
    return critics


def gradient_sizes(log_ratio: Callable[[Tensor], Tensor], batches: int) -> dict[str, list[float]]:
    """For each generator loss and separation, the size of d/dθ of its minibatch mean at θ = 0, q = N(θ, 1).

    The ratio is held still and x = θ + ε, so that the gradient is the mean of g'(t)·t'(x). The size is the median over
    minibatches, since with a small r the mean is that of rare draws that no minibatch has.
    """
    x = torch.randn(len(SEPARATIONS), batches * BATCH, 1).requires_grad_()
    t = log_ratio(x)
    (slope,) = torch.autograd.grad(t.sum(), x)
    sizes = {}
    for name, generator in GENERATOR_LOSSES.items():
        at = t.detach().requires_grad_()
        assert generator.sides.model is not None
        (outer,) = torch.autograd.grad(generator.sides.model(at).sum(), at)
        means = (outer * slope.squeeze(-1)).view(len(SEPARATIONS), batches, BATCH).double().mean(2)
        sizes[name] = [float(f"{v:.5g}") for v in means.abs().median(1).values.tolist()]
    return sizes


def exact_log_ratio(x: Tensor) -> Tensor:
    """log N(x; m, 1)/N(x; 0, 1) = mx - m²/2 for every separation m, (K, n, 1) -> (K, n)."""
    means = torch.tensor(SEPARATIONS, dtype=x.dtype)[:, None]
    return means * x.squeeze(-1) - means.square() / 2


def moment_gradients(minibatches: int) -> dict[str, list[float]]:
    """The same gradients by moments: MMD², and the mean, which is the critic of W₁ between such Gaussians."""
    mmd = []
    for m in SEPARATIONS:
        slopes = []
        for _ in range(minibatches):
            x = torch.randn(BATCH, 1).requires_grad_()
            (slope,) = torch.autograd.grad(mmd_squared(x, m + torch.randn(BATCH, 1), IMQ), x)
            slopes.append(abs(float(slope.sum())))
        mmd.append(float(f"{median(slopes):.5g}"))
    return {"mmd": mmd, "wasserstein": [1.0] * len(SEPARATIONS)}


def bregman_deviation() -> float:
    """max over f and r of |[r f'(r) - f(r)] - f^c(f'(r))|: the ratio loss less the f-GAN bound, negated."""
    r = torch.exp(torch.linspace(-4, 4, 201, dtype=torch.float64))
    return max(
        float((r * f.derivative(r) - f.f(r) - f.conjugate(f.derivative(r))).abs().max())
        for f in F_DIVERGENCES.values()
    )
