"""Penalties that keep a critic smooth: per sample, or as projections of its weights.

A penalty is called for what it adds to the critic's loss, and `project` is called on the critic's weights before
each of its steps; either may do nothing.

One gradient-norm function serves every penalty. A penalty goes with any comparison. Slopes are by the inputs that it is
given: `Match` gives them in the units of the critic's input, which for a built-in critic of pictures are those of
[-1, 1].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.objectives.noise import Noise
from distmatch.objectives.piecewise import Piecewise
from distmatch.schedules import Ramp, now

Score = Callable[..., Tensor]


def gradient_norms(score: Score, inputs: Sequence[Tensor], *, squared: bool = False) -> Tensor:
    """‖∇ score(inputs)‖₂ for each sample, over all inputs jointly.

    Args:
        score: maps inputs `(B, ...)` to scores `(B,)`, sample by sample (no batch statistics).
        inputs: the point, one tensor per argument of the critic.
        squared: give ‖∇‖² instead, which is smooth where the gradient vanishes.

    Returns:
        Norms of shape `(B,)`, differentiable in whatever `score` closes over, twice too and where the slope is 0.

    >>> gradient_norms(lambda x: 3 * x[:, 0] + 4 * x[:, 1], [torch.zeros(2, 2)])
    tensor([5., 5.])
    """
    with Piecewise():
        scores, pull, *_ = torch.func.vjp(score, *inputs)
    flat = torch.cat([g.flatten(1) for g in pull(torch.ones_like(scores))], dim=1)
    squares = flat.square().sum(1)
    return squares if squared else squares.clamp_min(torch.finfo(squares.dtype).tiny).sqrt()


Place = Literal["between", "target", "model", "around"]


@dataclass(frozen=True)
class GradientPenalty:
    """λ(‖∇f(u)‖ - c)² at a chosen place u, per sample.

    Args:
        weight: λ.
        centre: c; at 0 the penalty is λ‖∇f‖², with no root to differentiate.
        place: `"between"` u = αp + (1-α)q with α ~ U[0, 1] for each sample (WGAN-GP), `"target"` (R1), `"model"` (R2),
            `"around"` u = p + ½·sd(p)·U[0, 1] with fresh noise for each coordinate (DRAGAN).
        drift: ε of one more term ε·f(p)², which keeps scores of the data from drifting away (Karras et al. 2017,
            arXiv:1710.10196: 0.001); None for none.
    """

    weight: float | Tensor | Ramp
    centre: float = field(metadata={"static": True})
    place: Place
    drift: float | Tensor | Ramp | None = None

    per_sample = True

    def __post_init__(self) -> None:
        if self.place not in get_args(Place):
            raise BadInput(
                f"a gradient penalty's place is between, target, model or around, not {self.place!r}"
            )
        _check(self, "weight", least=0.0)
        _check(self, "centre", least=0.0)
        if self.drift is not None:
            _check(self, "drift", least=0.0)

    @property
    def needs_noise(self) -> bool:
        """True where `__call__` takes noise."""
        return self.place in ("between", "around")

    @property
    def noise(self) -> Noise:
        """The noise that it wants: one number for each sample, or one of each argument's shape (`"x"`)."""
        return Noise("uniform", "x" if self.place == "around" else "each")

    def __call__(
        self,
        score: Score,
        target: Sequence[Tensor],
        model: Sequence[Tensor],
        noise: Tensor | Sequence[Tensor] | None,
    ) -> Tensor:
        """The penalty of each sample, `(B,)`; `noise` is `(B,)`, or one tensor for each argument (`"around"`)."""
        if self.place == "between":
            assert isinstance(noise, Tensor)
            places = [_interpolate(p, q, noise) for p, q in zip(target, model, strict=True)]
        elif self.place == "around":
            assert noise is not None
            places = [p + 0.5 * p.detach().std() * u for p, u in zip(target, noise, strict=True)]
        else:
            places = list(target if self.place == "target" else model)
        if self.centre == 0:
            paid = now(self.weight) * gradient_norms(score, places, squared=True)
        else:
            paid = now(self.weight) * (gradient_norms(score, places) - self.centre) ** 2
        return paid if self.drift is None else paid + now(self.drift) * score(*target).square()

    def project(self, weights: Sequence[Tensor]) -> None:
        """Weights are left alone."""

    def equation(self) -> str:
        """As it is printed."""
        inner = "‖∇f‖" if self.centre == 0 else f"(‖∇f‖ - {self.centre:g})"
        text = f"{number_text(self.weight)}·E[{inner}²] {self.place}"
        return text if self.drift is None else f"{text} + {number_text(self.drift)}·E_p[f²]"


@dataclass(frozen=True)
class Roth:
    """½γ{E_p (1 - D)²‖∇t‖² + E_q D²‖∇t‖²}, D = σ(t): what instance noise of variance γ does, to first order.

    Args:
        gamma: γ; a `Ramp` anneals it.
    """

    gamma: float | Tensor | Ramp

    per_sample = True
    needs_noise = False
    noise = Noise()

    def __post_init__(self) -> None:
        _check(self, "gamma", least=0.0)

    def __call__(self, score: Score, target: Sequence[Tensor], model: Sequence[Tensor], noise: Any) -> Tensor:
        """The penalty of each pair of samples, `(B,)`."""
        on_p = (1 - score(*target).sigmoid()) ** 2 * gradient_norms(score, target, squared=True)
        on_q = score(*model).sigmoid() ** 2 * gradient_norms(score, model, squared=True)
        return now(self.gamma) * (0.5 * (on_p + on_q))

    def project(self, weights: Sequence[Tensor]) -> None:
        """Weights are left alone."""

    def equation(self) -> str:
        """As it is printed."""
        return f"½·{number_text(self.gamma)}·(E_p[(1 - D)²‖∇f‖²] + E_q[D²‖∇f‖²])"


@dataclass(frozen=True)
class Clip:
    """Weights clipped to [-bound, bound] before each critic step, as in the first Wasserstein GAN."""

    bound: float | Tensor | Ramp

    per_sample = False
    needs_noise = False
    noise = Noise()

    def __post_init__(self) -> None:
        _check(self, "bound", least=0.0)
        if not isinstance(self.bound, Tensor | Ramp) and self.bound == 0:
            raise BadInput("weights clipped to ±0 are all zero; give a bound above 0")

    def __call__(self, score: Score, target: Sequence[Tensor], model: Sequence[Tensor], noise: Any) -> None:
        """Nothing is added to the critic's loss."""

    def project(self, weights: Sequence[Tensor]) -> None:
        """Clip the weights in place. A bound `(K,)` clips the weights of K lanes, each to its own.

        >>> w = torch.tensor([-1.0, 0.005]); Clip(0.01).project([w]); w
        tensor([-0.0100,  0.0050])
        """
        for w in weights:
            bound = now(self.bound)
            bound = bound.to(w) if isinstance(bound, Tensor) else w.new_full((), bound)  # made where w is
            bound = bound.reshape(bound.shape + (1,) * (w.dim() - bound.dim()))
            w.clamp_(-bound, bound)

    def equation(self) -> str:
        """As it is printed."""
        return f"|weights| ≤ {number_text(self.bound)}"


Penalty = GradientPenalty | Roth | Clip


def gradient_penalty(
    weight: float | Tensor | Ramp = 10.0,
    centre: float = 1.0,
    place: Place = "between",
    drift: float | Ramp | None = None,
) -> GradientPenalty:
    """λE(‖∇f(u)‖ - c)², one- or zero-centred (Gulrajani et al. 2017, arXiv:1704.00028).

    >>> print(gradient_penalty(10).equation())
    10·E[(‖∇f‖ - 1)²] between
    """
    return GradientPenalty(weight, centre, place, drift)


def clipping(bound: float | Ramp = 0.01) -> Clip:
    """|weights| ≤ bound (Arjovsky et al. 2017, arXiv:1701.07875)."""
    return Clip(bound)


def r1(gamma: float | Ramp = 10.0) -> GradientPenalty:
    """½γ E_p‖∇f‖², on the target's samples (Mescheder et al. 2018, arXiv:1801.04406; their code leaves out the ½).

    >>> print(r1(10).equation())
    5·E[‖∇f‖²] target
    """
    return GradientPenalty(0.5 * gamma, 0.0, "target")


def r2(gamma: float | Ramp = 10.0) -> GradientPenalty:
    """½γ E_q‖∇f‖², on the model's samples (Mescheder et al. 2018, arXiv:1801.04406)."""
    return GradientPenalty(0.5 * gamma, 0.0, "model")


def dragan(weight: float | Ramp = 10.0) -> GradientPenalty:
    """λE(‖∇f(u)‖ - 1)² around the target's samples (Kodali et al. 2017, arXiv:1705.07215).

    The authors' code scales each perturbation by one more uniform number; the paper takes normal ones. The deviation
    is the batch's; of several ranks, each takes its own share's.
    """
    return GradientPenalty(weight, 1.0, "around")


def roth(gamma: float | Ramp = 2.0) -> Roth:
    """½γ{E_p (1 - D)²‖∇t‖² + E_q D²‖∇t‖²} (Roth et al. 2017, arXiv:1705.09367)."""
    return Roth(gamma)


PENALTIES: dict[str, Callable[..., Penalty]] = {
    "gp": gradient_penalty,
    "clip": clipping,
    "r1": r1,
    "r2": r2,
    "dragan": dragan,
    "roth": roth,
}


def _check(penalty: Penalty, name: str, least: float) -> None:
    """Hold a number to a range and make it a float; a lane's tensor is left alone."""
    value = getattr(penalty, name)
    if isinstance(value, Tensor | Ramp):
        return
    if not least <= value < math.inf:
        raise BadInput(f"the {name} of a penalty is {value:g}; give a finite number, {least:g} or above")
    object.__setattr__(penalty, name, float(value))


def _interpolate(p: Tensor, q: Tensor, alpha: Tensor) -> Tensor:
    return q + alpha.view(-1, *[1] * (p.dim() - 1)) * (p - q)


def number_text(value: float | Tensor | Ramp) -> str:
    """A number as it is printed; λ for one that lanes or time change.

    >>> number_text(2.0), number_text(Ramp(0, 1, 10))
    ('2', 'λ(step)')
    """
    if isinstance(value, Ramp):
        return "λ(step)"
    return "λ" if isinstance(value, Tensor) else f"{value:g}"
