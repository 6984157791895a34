"""Optimisers as functions of parameters, gradients and moments.

Each equals its namesake in `torch.optim`. Numeric hyperparameters may be tensors: a scalar, or `(K,)` with one
value per lane, whose parameters then carry a leading axis of K. With plain numbers a step is the fused kernel; where
lanes have learning rates of their own, it is the fused kernel and one product more.
The update is written in place: the old parameters and moments are given up.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor

from distmatch.errors import BadInput

Number = float | Tensor
Moments = dict[str, list[Tensor]]
Schedule = Callable[[Tensor], Tensor]
COUNTS = ("step", "taken")  # the moments that are counts, () each, and not one tensor per parameter


@dataclass(frozen=True)
class Optimiser(ABC):
    """A rule from gradients to new parameters.

    Args:
        lr: the learning rate.
        schedule: a factor on the learning rate, a function of the number of steps taken, `()` -> `()`.
    """

    lr: Number = 1e-3
    schedule: Schedule | None = None

    decays: ClassVar[tuple[str, ...]] = ()
    """Names of the numbers of at least 0 and below 1."""

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.name == "schedule":
                continue
            value, decay = (
                torch.as_tensor(getattr(self, field.name), dtype=torch.float64),
                field.name in self.decays,
            )
            if not bool(((value >= 0) & (value < (1 if decay else torch.inf))).all()):
                wanted = "0 or above and below 1" if decay else "finite and 0 or above"
                raise BadInput(
                    f"{field.name} of {type(self).__name__} is {getattr(self, field.name)}; it must be {wanted}"
                )

    @abstractmethod
    def init(self, params: Sequence[Tensor]) -> Moments:
        """The moments before the first step, and two counts of steps: `"step"` since they were last forgotten, which
        Adam's bias correction asks, and `"taken"` in all, which the schedule asks."""

    @abstractmethod
    def direction(
        self, p: Tensor, g: Tensor, moments: list[Tensor], t: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """One parameter's step at unit learning rate, and its new moments; a pure function.

        Of the parameter only the shape is looked at, so the step is proportional to the learning rate.
        """

    def fused(self, params: list[Tensor], grads: list[Tensor], moments: Moments, lr: Number) -> bool:
        """Take the whole step by a fused kernel if there is one; whether it was taken."""
        return False

    def update(self, params: list[Tensor], grads: list[Tensor], moments: Moments) -> None:
        """One step: parameters and moments are written in place.

        >>> p = [torch.ones(2)]
        >>> sgd = SGD(lr=0.5)
        >>> sgd.update(p, [torch.tensor([1.0, 2.0])], sgd.init(p))
        >>> p
        [tensor([0.5000, 0.0000])]
        """
        with torch.no_grad():
            lr = self._rate(moments, params)
            for name in COUNTS:
                moments[name][0].add_(1)
            if not torch.compiler.is_compiling() and self._plain and self._taken(params, grads, moments, lr):
                return
            (t,), names = moments["step"], _of_parameters(moments)
            for i, (p, g) in enumerate(zip(params, grads, strict=True)):
                direction, new = self.direction(p, g, [moments[n][i] for n in names], t)
                for n, value in zip(names, new, strict=True):
                    moments[n][i].copy_(value)
                p.sub_(_like(lr, p) * direction)

    def _taken(self, params: list[Tensor], grads: list[Tensor], moments: Moments, lr: Number) -> bool:
        """Take the step by the fused kernel, for all lanes at once whatever their learning rates; whether it was taken.

        From 0 at rate 1 the kernel arrives at minus the direction, which each lane then takes times its own rate. On a
        CPU one parameter after the other, so that the direction is still in the cache.
        """
        if not isinstance(lr, Tensor) or lr.dim() == 0:
            return self.fused(params, grads, moments, lr)
        apart = bool(params) and params[0].device.type == "cpu"
        for part in [slice(i, i + 1) for i in range(len(params))] if apart else [slice(None)]:
            moved = {n: ms if n in COUNTS else ms[part] for n, ms in moments.items()}
            back = [torch.zeros_like(p) for p in params[part]]
            if not self.fused(back, grads[part], moved, 1.0):
                return False
            for p, b in zip(params[part], back, strict=True):
                p.addcmul_(b, _like(lr, p))
        return True

    def updated(
        self, params: Sequence[Tensor], grads: Sequence[Tensor], moments: Moments
    ) -> tuple[list[Tensor], Moments]:
        """The same step as a function: new parameters and moments, differentiable in everything given."""
        lr, names = self._rate(moments, params), _of_parameters(moments)
        counts = {name: [moments[name][0] + 1] for name in COUNTS}
        new: Moments = {**counts, **{n: [] for n in names}}
        (t,), moved = new["step"], []
        for i, (p, g) in enumerate(zip(params, grads, strict=True)):
            direction, after = self.direction(p, g, [moments[n][i] for n in names], t)
            for n, value in zip(names, after, strict=True):
                new[n].append(value)
            moved.append(p - _like(lr, p) * direction)
        return moved, new

    def _rate(self, moments: Moments, params: Sequence[Tensor]) -> Number:
        """The learning rate of the step to come; with a schedule in the parameters' precision."""
        if self.schedule is None or not params:
            return self.lr
        return (self.lr * self.schedule(moments["taken"][0].double())).to(params[0].dtype)

    @cached_property
    def _plain(self) -> bool:
        """True where no number but the learning rate is a tensor."""
        return not any(isinstance(getattr(self, f.name), Tensor) for f in fields(self) if f.name != "lr")


@dataclass(frozen=True)
class Adam(Optimiser):
    """p ← p - lr·m̂/(√v̂ + ε), m and v running means of g and g² (Kingma and Ba 2015, arXiv:1412.6980).

    >>> w = torch.tensor([1.0])
    >>> adam = Adam(lr=0.1)
    >>> adam.update([w], [torch.tensor([5.0])], adam.init([w]))
    >>> w  # the first step is lr long, however steep the slope
    tensor([0.9000])
    """

    decays = ("beta1", "beta2")

    beta1: Number = 0.9
    beta2: Number = 0.999
    eps: Number = 1e-8

    def init(self, params: Sequence[Tensor]) -> Moments:
        """First and second moments at zero."""
        return {**_counts(params), "mean": _zeros(params), "square": _zeros(params)}

    def direction(
        self, p: Tensor, g: Tensor, moments: list[Tensor], t: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """m̂/(√v̂ + ε)."""
        b1, b2, eps = (_like(h, p) for h in (self.beta1, self.beta2, self.eps))
        m = b1 * moments[0] + (1 - b1) * g
        v = b2 * moments[1] + (1 - b2) * g * g
        t = t.double()  # 1 - βᵗ loses five digits in float32
        mean, square = m / (1 - b1**t).to(p.dtype), v / (1 - b2**t).to(p.dtype)
        return mean / (_root(square) + eps), [m, v]

    def fused(self, params: list[Tensor], grads: list[Tensor], moments: Moments, lr: Number) -> bool:
        """torch's fused kernel, on tensors in the order of their memory; gradients are laid out as their parameters."""
        if not all(p.is_contiguous() or dense(p) for p in params):
            return False
        laid_out = [
            g if g.stride() == p.stride() else torch.empty_like(p).copy_(g)
            for p, g in zip(params, grads, strict=True)
        ]
        numbers: dict[str, Any] = {"lr": lr, "beta1": self.beta1, "beta2": self.beta2, "eps": self.eps}
        torch._fused_adam_(
            _flat(params),
            _flat(laid_out),
            _flat(moments["mean"]),
            _flat(moments["square"]),
            [],
            moments["step"] * len(params),
            **numbers,
            weight_decay=0.0,
            amsgrad=False,
            maximize=False,
        )
        return True


@dataclass(frozen=True)
class RMSProp(Optimiser):
    """p ← p - lr·g/(√v + ε), v a running mean of g² (Tieleman and Hinton 2012).

    >>> RMSProp(lr=1e-3).alpha
    0.99
    """

    decays = ("alpha",)

    alpha: Number = 0.99
    eps: Number = 1e-8

    def init(self, params: Sequence[Tensor]) -> Moments:
        """The second moment at zero."""
        return {**_counts(params), "square": _zeros(params)}

    def direction(
        self, p: Tensor, g: Tensor, moments: list[Tensor], t: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """g/(√v + ε)."""
        alpha = _like(self.alpha, p)
        v = alpha * moments[0] + (1 - alpha) * g * g
        return g / (_root(v) + _like(self.eps, p)), [v]

    def fused(self, params: list[Tensor], grads: list[Tensor], moments: Moments, lr: Number) -> bool:
        """One horizontal kernel per operation."""
        torch._foreach_mul_(moments["square"], self.alpha)
        torch._foreach_addcmul_(moments["square"], grads, grads, 1 - float(self.alpha))
        root = torch._foreach_sqrt(moments["square"])
        torch._foreach_add_(root, self.eps)
        steps = torch._foreach_div(grads, root)
        torch._foreach_mul_(steps, lr)
        torch._foreach_sub_(params, steps)
        return True


@dataclass(frozen=True)
class SGD(Optimiser):
    """p ← p - lr·m, m ← μm + g.

    >>> SGD(lr=0.1, momentum=0.9).momentum
    0.9
    """

    decays = ("momentum",)

    momentum: Number = 0.0

    def init(self, params: Sequence[Tensor]) -> Moments:
        """The running gradient at zero."""
        return {**_counts(params), "mean": _zeros(params)}

    def direction(
        self, p: Tensor, g: Tensor, moments: list[Tensor], t: Tensor
    ) -> tuple[Tensor, list[Tensor]]:
        """μm + g."""
        m = _like(self.momentum, p) * moments[0] + g
        return m, [m]

    def fused(self, params: list[Tensor], grads: list[Tensor], moments: Moments, lr: Number) -> bool:
        """One horizontal kernel per operation."""
        torch._foreach_mul_(moments["mean"], self.momentum)
        torch._foreach_add_(moments["mean"], grads)
        if isinstance(lr, Tensor):
            torch._foreach_sub_(params, torch._foreach_mul(moments["mean"], lr))
        else:
            torch._foreach_sub_(params, moments["mean"], alpha=lr)
        return True


def forget(moments: Moments) -> None:
    """Start anew, in place: all is as before the first step but the count that the schedule asks.

    >>> sgd, p = SGD(momentum=0.9), [torch.ones(2)]
    >>> moments = sgd.init(p)
    >>> sgd.update(p, p, moments)
    >>> forget(moments)
    >>> moments
    {'step': [tensor(0.)], 'taken': [tensor(1.)], 'mean': [tensor([0., 0.])]}
    """
    for name in ("step", *_of_parameters(moments)):
        for m in moments[name]:
            m.zero_()


OPTIMISERS: dict[str, type[Optimiser]] = {"adam": Adam, "rmsprop": RMSProp, "sgd": SGD}


def cosine(steps: int) -> Schedule:
    """½(1 + cos πt/T): from 1 to 0 over T steps.

    >>> cosine(100)(torch.tensor(50.0))
    tensor(0.5000)
    """
    return lambda t: 0.5 * (1 + torch.cos(torch.pi * (t / steps).clamp(max=1.0)))


def linear(steps: int) -> Schedule:
    """1 - t/T: from 1 to 0 over T steps."""
    return lambda t: (1 - t / steps).clamp(min=0.0)


SCHEDULES: dict[str, Callable[[int], Schedule] | None] = {
    "constant": None,
    "cosine": cosine,
    "linear": linear,
}


def _root(square: Tensor) -> Tensor:
    """√v, with a derivative of 0 instead of infinity at v = 0, for steps that are differentiated."""
    return square.clamp_min(torch.finfo(square.dtype).tiny).sqrt()


def _like(value: Number, p: Tensor) -> Any:
    """A number as it is; a tensor of one value per lane, ready to broadcast against a parameter of all lanes."""
    return value.reshape(value.shape + (1,) * (p.dim() - value.dim())) if isinstance(value, Tensor) else value


def _flat(tensors: Sequence[Tensor]) -> list[Tensor]:
    """Those that do not lie in memory as their shape says, without shape: kernels that go through memory copy them."""
    return [t if t.is_contiguous() else t.as_strided((t.numel(),), (1,)) for t in tensors]


def dense(t: Tensor) -> bool:
    """True where a tensor's elements lie in memory one after the other, in some order.

    >>> dense(torch.zeros(2, 3).T), dense(torch.zeros(2, 3)[:, :2])
    (True, False)
    """
    return 1 + sum((n - 1) * stride for n, stride in zip(t.shape, t.stride(), strict=True)) == t.numel()


def _zeros(params: Sequence[Tensor]) -> list[Tensor]:
    return [torch.zeros_like(p, memory_format=torch.preserve_format) for p in params]


def _counts(params: Sequence[Tensor]) -> Moments:
    """In float32, whatever the parameters are in: exact to 2²⁴, and the compiler loses what is written into float64."""
    device = params[0].device if params else None
    return {name: [torch.zeros((), device=device, dtype=torch.float32)] for name in COUNTS}


def _of_parameters(moments: Moments) -> list[str]:
    return [name for name in moments if name not in COUNTS]
