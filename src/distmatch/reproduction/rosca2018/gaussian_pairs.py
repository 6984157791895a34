"""Pairs of Gaussians whose KL is known, and a classifier that tells them apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distmatch.objectives.comparisons import REVERSE_KL
from distmatch.reproduction.framework.losses import critic_loss, generator_loss


@dataclass(frozen=True)
class Affine:
    """The distribution of x = Az + b, z ~ N(0, I): N(b, AAᵀ). A is (d, d), b is (d,)."""

    a: Tensor
    b: Tensor

    def draws(self, n: int) -> Tensor:
        """(n, d), from torch's global generator."""
        return torch.randn(n, len(self.b)) @ self.a.T + self.b


def random_affine(d: int, distribution: str) -> Affine:
    """A_ij ~ N(0, 1/d), or A = I + G/(2√d) with G_ij ~ N(0, 1); b_i ~ N(0, 1); from torch's global generator."""
    a = torch.randn(d, d) / math.sqrt(d)
    return Affine(a if distribution == "normal" else torch.eye(d) + a / 2, torch.randn(d))


def gaussian_kl(q: Affine, p: Affine) -> float:
    """KL(q‖p) in nats, in float64.

        ½ [‖P⁻¹Q‖² + ‖P⁻¹(b_p - b_q)‖² - d] + ln |det P| - ln |det Q|

    >>> one = torch.ones(1, 1)
    >>> gaussian_kl(Affine(one, one[0]), Affine(one, 0 * one[0]))
    0.5
    """
    a_q, b_q, a_p, b_p = (t.detach().double() for t in (q.a, q.b, p.a, p.b))
    solved = torch.linalg.solve(a_p, torch.cat([a_q, (b_p - b_q)[:, None]], 1))
    logs = torch.linalg.slogdet(a_p).logabsdet - torch.linalg.slogdet(a_q).logabsdet
    return float(0.5 * (solved.square().sum() - len(b_q)) + logs)


def classifier(d: int, width: int) -> nn.Sequential:
    """Four hidden layers of leaky ReLUs (0.2), and a logit."""
    parts: list[nn.Module] = []
    for size in (d, width, width, width):
        parts += [nn.Linear(size, width), nn.LeakyReLU(0.2)]
    return nn.Sequential(*parts, nn.Linear(width, 1))


def step(
    critic: nn.Module,
    critics: torch.optim.Optimizer,
    optimiser: torch.optim.Optimizer | None,
    model: Affine,
    target: Affine,
    n: int,
) -> None:
    """One step of the classifier on -E_p log D - E_q log(1 - D), then one of (A, b) on -E_q log r."""
    loss = critic_loss(REVERSE_KL, critic(target.draws(n))[:, 0], critic(model.draws(n).detach())[:, 0])
    critics.zero_grad()
    loss.backward()
    critics.step()
    if optimiser is not None:
        optimiser.zero_grad()
        generator_loss(REVERSE_KL, critic(model.draws(n))[:, 0]).backward()
        optimiser.step()
