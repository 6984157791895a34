"""Dynamics of a method on the Dirac problem: trajectories, the field on a grid, and two kinds of eigenvalues."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from distmatch.dirac.game import Dirac
from distmatch.errors import BadInput

Order = Literal["simultaneous", "alternating"]
First = Literal["generator", "critic"]
Update = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]

START = (1.0, 1.0)
STEP = 0.2
STEPS = 500
JUMP = 1e-6


class Schedule(NamedTuple):
    """The order of moves: `trajectory` and the others take its three parts, as in `trajectory(..., *schedule)`.

    Args:
        order: `"simultaneous"`, w ← w + h·v(w), or `"alternating"`, where who moves second sees who moved first.
        critic_steps: the critic's steps in each alternating round.
        first: who moves first in an alternating round.
    """

    order: Order = "simultaneous"
    critic_steps: int = 1
    first: First = "generator"

    def __str__(self) -> str:
        if self.order == "simultaneous":
            return "simultaneous"
        steps = f", {self.critic_steps} D" if self.critic_steps > 1 else ""
        return f"alternating{steps}" + (", critic first" if self.first == "critic" else "")


SCHEDULES = (Schedule(), Schedule("alternating"), Schedule("alternating", 5))
"""The columns of the table."""


def trajectory(
    method: Dirac,
    h: float = STEP,
    start: tuple[float, float] | Tensor = START,
    steps: int = STEPS,
    order: Order = "simultaneous",
    critic_steps: int = 1,
    first: First = "generator",
) -> Tensor:
    """(θ, ψ) at the start and after each round, `(steps + 1, ..., 2)` in float64.

    Args:
        method: the vector field.
        h: the size of a step.
        start: (θ, ψ), or a tensor `(..., 2)` of many.
        steps: rounds.
        order, critic_steps, first: the parts of a `Schedule`.

    Raises:
        BadInput: a number that means nothing.

    >>> from distmatch.dirac.game import gan
    >>> [round(trajectory(gan(), order=order)[-1].norm().item(), 3) for order in ("simultaneous", "alternating")]
    [3.097, 1.421]
    """
    if steps < 0:
        raise BadInput(f"a trajectory has {steps} steps; give 0 or more")
    update = round_of(method, h, order, critic_steps, first)
    point = torch.as_tensor(start, dtype=torch.float64)
    if point.shape[-1:] != (2,):
        raise BadInput(f"a start has shape {tuple(point.shape)}; give θ and ψ, as (..., 2)")
    path = [point]
    for _ in range(steps):
        path.append(torch.stack(update(*path[-1].unbind(-1)), -1))
    return torch.stack(path)


def round_of(
    method: Dirac,
    h: float = STEP,
    order: Order = "simultaneous",
    critic_steps: int = 1,
    first: First = "generator",
) -> Update:
    """One round of updates, (θ, ψ) -> (θ, ψ). The critic's slope is projected after each of its steps."""
    if not 0 < h < math.inf:
        raise BadInput(f"the step size is {h:g}; give a finite number above 0")
    if order not in get_args(Order):
        raise BadInput(f"the order of updates is simultaneous or alternating, not {order!r}")
    if first not in get_args(First):
        raise BadInput(f"who moves first is the generator or the critic, not {first!r}")
    if critic_steps < 1:
        raise BadInput(f"the critic takes {critic_steps} steps a round; give 1 or more")
    if order == "simultaneous" and (critic_steps != 1 or first != "generator"):
        raise BadInput("simultaneous updates have no order and one critic step; make the order alternating")

    def simultaneous(theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        theta_dot, psi_dot = method.field(theta, psi)
        return theta + h * theta_dot, method.project(psi + h * psi_dot)

    def generator(theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        return theta + h * method.field(theta, psi)[0], psi

    def critic(theta: Tensor, psi: Tensor) -> tuple[Tensor, Tensor]:
        for _ in range(critic_steps):
            psi = method.project(psi + h * method.field(theta, psi)[1])
        return theta, psi

    if order == "simultaneous":
        return simultaneous
    one, other = (generator, critic) if first == "generator" else (critic, generator)
    return lambda theta, psi: other(*one(theta, psi))


def field_grid(method: Dirac, extent: float = 2.0, points: int = 21) -> tuple[Tensor, Tensor]:
    """Places (θ, ψ) on a square of ±extent, and the field there, both `(points, points, 2)`; ψ grows with rows.

    >>> from distmatch.dirac.game import wgan
    >>> places, field = field_grid(wgan(), points=3)
    >>> places[0, 1].tolist(), field[0, 1].tolist()
    ([0.0, -2.0], [2.0, 0.0])
    """
    axis = torch.linspace(-extent, extent, points, dtype=torch.float64)
    psi, theta = torch.meshgrid(axis, axis, indexing="ij")
    return torch.stack([theta, psi], -1), torch.stack(method.field(theta, psi), -1)


def jacobian_eigenvalues(method: Dirac, at: tuple[float, float] = (0.0, 0.0)) -> Tensor:
    """The two eigenvalues of v′ at a point, complex, by ascending imaginary and then real part.

    Continuous time converges near an equilibrium where both real parts are negative.

    Raises:
        BadInput: the field jumps at that point, and has no derivative.

    >>> from distmatch.dirac.game import gan
    >>> [round(v.imag, 3) for v in jacobian_eigenvalues(gan()).tolist()]
    [-0.5, 0.5]
    """
    if _jumps(method, at):
        where = f"({at[0]:g}, {at[1]:g})"
        raise BadInput(f"the field of {method.name} jumps at {where}; give a point where it is smooth")
    return _eigenvalues(method.field, at)


def update_eigenvalues(
    method: Dirac,
    h: float = STEP,
    order: Order = "simultaneous",
    critic_steps: int = 1,
    first: First = "generator",
    at: tuple[float, float] = (0.0, 0.0),
) -> Tensor:
    """The two eigenvalues of one round's update near a point; it converges where both are inside the unit circle.

    For a GAN the moduli are √(1 + h²/4) with simultaneous steps, and exactly 1 with alternating ones.

    >>> from distmatch.dirac.game import gan
    >>> update_eigenvalues(gan(), 0.2).abs()
    tensor([1.0050, 1.0050], dtype=torch.float64)
    """
    update = round_of(method, h, order, critic_steps, first)
    if _jumps(method, at):
        raise BadInput(f"the update of {method.name} jumps at ({at[0]:g}, {at[1]:g}); give a smooth point")
    return _eigenvalues(update, at)


def _eigenvalues(function: Update, at: tuple[float, float]) -> Tensor:
    def stacked(point: Tensor) -> Tensor:
        return torch.stack(function(*point.unbind(-1)), -1)

    jacobian = torch.func.jacrev(stacked)(torch.tensor(at, dtype=torch.float64))
    if not jacobian.isfinite().all():
        raise BadInput(f"there is no finite derivative at ({at[0]:g}, {at[1]:g}); give another point")
    values = torch.linalg.eigvals(jacobian).tolist()
    return torch.tensor(sorted(values, key=lambda v: (v.imag, v.real)), dtype=torch.complex128)


def _jumps(method: Dirac, at: tuple[float, float]) -> bool:
    """True where the field differs across the point, along either axis, by more than any slope explains."""
    step = 1e-10 * torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
    values = torch.stack(method.field(*(torch.tensor(at, dtype=torch.float64) + step).unbind(-1)), -1)
    return bool((values[::2] - values[1::2]).abs().max() > JUMP)
