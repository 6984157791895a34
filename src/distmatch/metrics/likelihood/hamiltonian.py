"""Hamiltonian transitions along a path of distributions between two ends, many chains at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.distributions import Distribution

from distmatch.errors import BadInput
from distmatch.metrics.likelihood.elbo import per_example

ACCEPTANCE, GAIN = (
    0.65,
    0.1,
)  # what step sizes are adapted towards, and how fast: log ε += gain·(rate - target)
FIRST_STEP = 0.5  # ε that adaptation starts from, in standard deviations of the starting distribution
JITTER = 0.5  # each trajectory's ε varies by this share, so that none is periodic


@dataclass(frozen=True)
class Point:
    """Places of chains: z (rows, D), both ends' log-densities there (rows,) and their gradients (rows, D)."""

    z: Tensor
    log_start: Tensor
    log_joint: Tensor
    grad_start: Tensor
    grad_joint: Tensor

    def log_density(self, beta: float) -> Tensor:
        """log f_β(z), (rows,)."""
        return (1 - beta) * self.log_start + beta * self.log_joint

    def gradient(self, beta: float) -> Tensor:
        """∇ log f_β(z), (rows, D)."""
        return (1 - beta) * self.grad_start + beta * self.grad_joint

    def moved(self, other: Point, chosen: Tensor) -> Point:
        """The other's rows where `chosen`, its own elsewhere."""
        rows = chosen[:, None]
        return Point(
            torch.where(rows, other.z, self.z),
            torch.where(chosen, other.log_start, self.log_start),
            torch.where(chosen, other.log_joint, self.log_joint),
            torch.where(rows, other.grad_start, self.grad_start),
            torch.where(rows, other.grad_joint, self.grad_joint),
        )


@dataclass(frozen=True)
class Path:
    """The two ends of the path for some rows, and the lengths (rows or 1, D) in which steps are measured."""

    start: Distribution
    prior: Distribution
    likelihood: Callable[[Tensor], Tensor]
    scale: Tensor

    def at(self, z: Tensor) -> Point:
        """Both ends at z, (rows, D). Raises `BadInput` where log p(x|z) has no gradient."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            log_x = self.likelihood(z)
            if not log_x.requires_grad:
                raise BadInput("log p(x|z) has no gradient in z; annealing needs a differentiable decoder")
            slope, (log_p, prior_slope) = _slope(log_x, z), _scored(self.prior, z)
            same = self.start is self.prior
            log_start, start_slope = (log_p, prior_slope) if same else _scored(self.start, z)
        return Point(z.detach(), log_start, log_p + log_x.detach(), start_slope, prior_slope + slope)


def _scored(distribution: Distribution, z: Tensor) -> tuple[Tensor, Tensor]:
    """log-density of codes, (rows,), and its gradient, (rows, D)."""
    log_density = per_example(distribution.log_prob(z))
    return log_density.detach(), _slope(log_density, z)


def _slope(values: Tensor, z: Tensor) -> Tensor:
    """The gradient of each value in its own row; of what does not depend on z, zero."""
    return torch.autograd.grad(values.sum(), z)[0] if values.requires_grad else torch.zeros_like(z)


def transition(path: Path, here: Point, beta: float, step: Tensor, leapfrog: int) -> tuple[Point, Tensor]:
    """One Hamiltonian transition that leaves f_β, with step sizes (rows,); and its acceptance rates (rows,)."""
    varied = step * (1 + JITTER * (2 * torch.rand_like(step) - 1))
    move = varied[:, None].to(here.z.dtype) * path.scale
    momentum = torch.randn_like(here.z)
    there, p = here, momentum + 0.5 * move * here.gradient(beta)
    for i in range(leapfrog):
        there = path.at(there.z + move * p)
        p = p + (0.5 if i == leapfrog - 1 else 1.0) * move * there.gradient(beta)
    kinetic = 0.5 * (momentum.double().square() - p.double().square()).sum(1)
    log_rate = there.log_density(beta) - here.log_density(beta) + kinetic
    rate = log_rate.clamp(max=0).exp().nan_to_num(0.0)  # a trajectory that diverged is refused
    return here.moved(there, torch.rand_like(rate) < rate), rate


def pilot_steps(
    path: Path, z: Tensor, betas: list[float], leapfrog: int, chains: int, tick: Callable[[], None]
) -> Tensor:
    """Step sizes (T - 1, examples) that keep acceptance near its target, geometric means over pilot chains."""
    here = _first(path, z)
    log_step, steps = torch.full_like(here.log_joint, math.log(FIRST_STEP)), []
    for beta in betas[1:-1]:
        here, rate = transition(path, here, beta, log_step.exp(), leapfrog)
        log_step = log_step + GAIN * (rate - ACCEPTANCE)
        steps.append(log_step.reshape(chains, -1).mean(0).exp())
        tick()
    return torch.stack(steps)


def anneal(
    path: Path, z: Tensor, betas: list[float], steps: Tensor, leapfrog: int, tick: Callable[[], None]
) -> tuple[Tensor, Tensor]:
    """log w along `betas` (- log w where they fall), and the mean acceptance rate, (rows,) each."""
    here = _first(path, z)
    log_weight, accepted = torch.zeros_like(here.log_joint), torch.zeros_like(here.log_joint)
    for i, (before, now) in enumerate(pairwise(betas)):
        log_weight += (now - before) * (here.log_joint - here.log_start)
        if i < len(steps):  # at the path's end nothing is left to move for
            here, rate = transition(path, here, now, steps[i], leapfrog)
            accepted += rate / len(steps)
            tick()
    return log_weight, accepted


def _first(path: Path, z: Tensor) -> Point:
    point = path.at(z)
    if not (torch.isfinite(point.log_joint) & torch.isfinite(point.log_start)).all():
        raise BadInput(
            "log p(x, z) is not finite where a chain starts; check the decoder's distribution and its data"
        )
    return point
