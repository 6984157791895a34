"""What keeps a critic smooth: per-sample penalties, and projections of its weights.

A penalty is called for what it adds to the critic's loss, and `project` is called on the critic's weights before
each of its steps; either may do nothing.

One gradient-norm function serves every penalty. A penalty goes with any comparison.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from distmatch.errors import BadInput

Score = Callable[..., Tensor]


def gradient_norms(score: Score, inputs: Sequence[Tensor], *, squared: bool = False) -> Tensor:
    """‖∇ score(inputs)‖₂ for each sample, over all inputs jointly.

    Args:
        score: maps inputs `(B, ...)` to scores `(B,)`, sample by sample (no batch statistics).
        inputs: the point, one tensor per argument of the critic.
        squared: give ‖∇‖² instead, which is smooth where the gradient vanishes.

    Returns:
        Norms of shape `(B,)`, differentiable in whatever `score` closes over.

    >>> gradient_norms(lambda x: 3 * x[:, 0] + 4 * x[:, 1], [torch.zeros(2, 2)])
    tensor([5., 5.])
    """
    scores, pull, *_ = torch.func.vjp(score, *inputs)
    flat = torch.cat([g.flatten(1) for g in pull(torch.ones_like(scores))], dim=1)
    return flat.square().sum(1) if squared else torch.linalg.vector_norm(flat, dim=1)


@dataclass(frozen=True)
class GradientPenalty:
    """λ(‖∇f(u)‖ - c)² at a chosen place u, per sample.

    Args:
        weight: λ.
        centre: c; at 0 the penalty is λ‖∇f‖², with no root to differentiate.
        place: `"between"` u = αp + (1-α)q with α ~ U[0, 1] for each sample (WGAN-GP), `"target"` (R1), `"model"` (R2).
    """

    weight: float | Tensor = 10.0
    centre: float = field(default=1.0, metadata={"static": True})
    place: Literal["between", "target", "model"] = "between"

    per_sample = True

    def __post_init__(self) -> None:
        if self.place not in ("between", "target", "model"):
            raise BadInput(f"a gradient penalty's place is between, target or model, not {self.place!r}")
        _check(self, "weight", least=0.0)
        _check(self, "centre", least=0.0)

    @property
    def needs_noise(self) -> bool:
        """Whether `__call__` wants uniform noise `(B,)`."""
        return self.place == "between"

    def __call__(
        self, score: Score, target: Sequence[Tensor], model: Sequence[Tensor], noise: Tensor | None
    ) -> Tensor:
        """The penalty of each sample, `(B,)`."""
        if self.place == "between":
            assert noise is not None
            places = [_interpolate(p, q, noise) for p, q in zip(target, model, strict=True)]
        else:
            places = list(target if self.place == "target" else model)
        if self.centre == 0:
            return self.weight * gradient_norms(score, places, squared=True)
        return self.weight * (gradient_norms(score, places) - self.centre) ** 2

    def project(self, weights: Sequence[Tensor]) -> None:
        """Weights are left alone."""

    def equation(self) -> str:
        """As it is printed."""
        inner = "‖∇f‖" if self.centre == 0 else f"(‖∇f‖ - {self.centre:g})"
        return f"{_number(self.weight)}·E[{inner}²] {self.place}"


@dataclass(frozen=True)
class Clip:
    """Weights clipped to [-bound, bound] before each critic step, as in the first Wasserstein GAN."""

    bound: float | Tensor = 0.01

    per_sample = False
    needs_noise = False

    def __post_init__(self) -> None:
        _check(self, "bound", least=0.0)
        if not isinstance(self.bound, Tensor) and self.bound == 0:
            raise BadInput("weights clipped to ±0 are all zero; give a bound above 0")

    def __call__(
        self, score: Score, target: Sequence[Tensor], model: Sequence[Tensor], noise: Tensor | None
    ) -> None:
        """Nothing is added to the critic's loss."""

    def project(self, weights: Sequence[Tensor]) -> None:
        """Clip the weights in place. A bound `(K,)` clips the weights of K lanes, each to its own.

        >>> w = torch.tensor([-1.0, 0.005]); Clip(0.01).project([w]); w
        tensor([-0.0100,  0.0050])
        """
        for w in weights:
            bound = torch.as_tensor(self.bound, dtype=w.dtype, device=w.device)
            bound = bound.reshape(bound.shape + (1,) * (w.dim() - bound.dim()))
            w.clamp_(-bound, bound)

    def equation(self) -> str:
        """As it is printed."""
        return f"|weights| ≤ {_number(self.bound)}"


Penalty = GradientPenalty | Clip


def gradient_penalty(
    weight: float | Tensor = 10.0,
    centre: float = 1.0,
    place: Literal["between", "target", "model"] = "between",
) -> GradientPenalty:
    """λE(‖∇f(u)‖ - c)², one- or zero-centred (Gulrajani et al. 2017, arXiv:1704.00028).

    >>> print(gradient_penalty(10).equation())
    10·E[(‖∇f‖ - 1)²] between
    """
    return GradientPenalty(weight, centre, place)


def clipping(bound: float = 0.01) -> Clip:
    """|weights| ≤ bound (Arjovsky et al. 2017, arXiv:1701.07875)."""
    return Clip(bound)


PENALTIES: dict[str, Callable[..., Penalty]] = {"gp": gradient_penalty, "clip": clipping}


def _check(penalty: Penalty, name: str, least: float) -> None:
    """Hold a number to a range and make it a float; a lane's tensor is left alone."""
    value = getattr(penalty, name)
    if isinstance(value, Tensor):
        return
    if not least <= value < math.inf:
        raise BadInput(f"the {name} of a penalty is {value:g}; give a finite number, {least:g} or above")
    object.__setattr__(penalty, name, float(value))


def _interpolate(p: Tensor, q: Tensor, alpha: Tensor) -> Tensor:
    return q + alpha.view(-1, *[1] * (p.dim() - 1)) * (p - q)


def _number(value: float | Tensor) -> str:
    return "λ" if isinstance(value, Tensor) else f"{value:g}"
