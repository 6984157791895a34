"""Generators of one dimension, and the density of what they draw."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distmatch.objectives.comparisons import NON_SATURATING
from distmatch.reproduction.framework.losses import critic_loss, generator_loss

LOW, HIGH, BINS = -5.0, 5.0, 250
EDGES = torch.linspace(LOW, HIGH, BINS + 1)
CENTRES = (EDGES[1:] + EDGES[:-1]) / 2
FINE = 4000  # cells of z in which G is taken as linear


class Mixture(NamedTuple):
    """Σ w_k N(x; m_k, s_k²) on the line."""

    weights: tuple[float, ...]
    means: tuple[float, ...]
    scales: tuple[float, ...]

    def draws(self, n: int) -> Tensor:
        """(n,), from torch's global generator."""
        k = torch.multinomial(torch.tensor(self.weights), n, replacement=True)
        return torch.tensor(self.means)[k] + torch.tensor(self.scales)[k] * torch.randn(n)

    def density(self, x: Tensor) -> Tensor:
        """p*(x), the shape of x."""
        each = torch.distributions.Normal(torch.tensor(self.means), torch.tensor(self.scales))
        return (each.log_prob(x[..., None]).exp() * torch.tensor(self.weights)).sum(-1)


class Sizes(NamedTuple):
    """A scale: hidden units, steps, batch, data; values of a second latent that a density is averaged over."""

    width: int
    steps: int
    batch: int
    data: int
    slices: int


class Generator(nn.Module):
    """x = G(z, noise): (n, 1), (n, 1) -> (n, 1), two hidden tanh layers; of positive weights where it is monotone.

    A monotone net adds a positive multiple of z, so that its slope is nowhere 0.
    """

    def __init__(self, width: int, monotone: bool, noisy: bool) -> None:
        super().__init__()
        self.monotone, self.noisy = monotone, noisy
        sizes = ((2 if noisy else 1, width), (width, width), (width, 1))
        weights = [torch.randn(o, i) / math.sqrt(i) for i, o in sizes]
        biases = [torch.zeros(o) for _, o in sizes]
        if monotone:  # logarithms of weights: small ones, for positive weights add up where others cancel
            weights = [torch.ones(width, 1), 0.5 * weights[1] - math.log(width), weights[2] - math.log(width)]
            biases[0] = 2 * torch.randn(width)
        self.weights, self.biases = nn.ParameterList(weights), nn.ParameterList(biases)
        self.slope = nn.Parameter(torch.tensor(-3.0))

    def forward(self, z: Tensor, noise: Tensor) -> Tensor:
        """G(z, noise)."""
        h = torch.cat([z, noise], 1) if self.noisy else z
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = F.linear(torch.tanh(h) if i else h, weight.exp() if self.monotone else weight, bias)
        return h + F.softplus(self.slope) * z if self.monotone else h


def trained(kind: str, data: Tensor, sizes: Sizes) -> Generator:
    """G trained as a non-saturating GAN with R1 (weight 0.1), or by the squared distance of sorted batches (W₂)."""
    generator = Generator(sizes.width, monotone=kind in ("monotone", "transport"), noisy=kind == "noise")
    hidden = [nn.Linear(1, sizes.width), nn.Tanh(), nn.Linear(sizes.width, sizes.width), nn.Tanh()]
    critic = nn.Sequential(*hidden, nn.Linear(sizes.width, 1), nn.Flatten(0))
    of_generator = torch.optim.Adam(generator.parameters(), lr=1e-3, betas=(0.5, 0.9))
    critics = torch.optim.Adam(critic.parameters(), lr=2e-3, betas=(0.5, 0.9))
    for done in range(sizes.steps):
        for optimiser, lr in ((of_generator, 1e-3), (critics, 2e-3)):
            optimiser.param_groups[0]["lr"] = lr * (1 - done / sizes.steps)
        real = data[torch.randint(len(data), (sizes.batch,))][:, None]
        fake = generator(torch.randn(sizes.batch, 1), torch.randn(sizes.batch, 1))
        if kind == "transport":
            loss = (fake.sort(0).values - real.sort(0).values).square().mean()
        else:
            real.requires_grad_()
            score = critic(real)
            (slope,) = torch.autograd.grad(score.sum(), real, create_graph=True)
            value = critic_loss(NON_SATURATING, score, critic(fake.detach()))
            critics.zero_grad()
            (value + 0.05 * slope.square().mean()).backward()
            critics.step()
            loss = generator_loss(NON_SATURATING, critic(fake))
        of_generator.zero_grad()
        loss.backward()
        of_generator.step()
    return generator


def pushed(generator: Generator, noise: float) -> tuple[Tensor, Tensor]:
    """G at z of equal steps of probability, and the density Σ p(z)/|G'(z)| over all z with G(z) = x, in each bin.

    Between two of the z G is taken as linear: there x is uniform, and p(z)/|G'(z)| is the probability of the step over
    the length of its image. Every branch of a G that turns back adds its own.
    """
    u = (torch.arange(FINE + 1, dtype=torch.float64) / FINE).clamp(1e-7, 1 - 1e-7)
    z = torch.special.ndtri(u).float()[:, None]
    with torch.no_grad():
        x = generator(z, torch.full_like(z, noise))[:, 0]
    low, high = torch.minimum(x[1:], x[:-1]), torch.maximum(x[1:], x[:-1])
    reached = (EDGES[:, None] - low[None]) / (high - low).clamp(min=1e-9)[None]
    below = reached.clamp(0, 1).mean(1)
    return x, below.diff() / EDGES.diff()


def total_variation(a: Tensor, b: Tensor) -> float:
    """Total variation, with what lies outside the bins: 0 where densities agree, 1 where they share nothing."""
    width = (HIGH - LOW) / BINS
    outside = (1 - a.sum() * width).abs() + (1 - b.sum() * width).abs()
    return float(((a - b).abs().sum() * width + outside) / 2)
