"""A net under watch: each output is checked against the shapes of data and code, and calls can be made again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch._C._functorch import is_functorch_wrapped_tensor

from distmatch.distributions.checks import check_distribution
from distmatch.distributions.flatten import flatten_distribution
from distmatch.errors import BadInput
from distmatch.objectives.objective import Objective

Call = tuple[tuple[Any, ...], dict[str, Any], Any]  # inputs, labels and the like, output
LIKE = 1e-3  # two calls of one function differ by rounding alone, of this share of their range at most


class Watched:
    """A net that checks the shape of whatever it returns, and keeps its first call.

    Args:
        name: its name in the objective.
        net: the module, whose attributes it has.
        objective: whose net it is.
        x: the shape of one datum.
        latent: the size of the code.
    """

    def __init__(
        self, name: str, net: nn.Module, objective: Objective, x: tuple[int, ...], latent: int
    ) -> None:
        self.name, self.net = name, net
        self.who = f"the {name}" if name in objective.uses else f"the critic {name!r}"
        self.spaces = objective.critics.get(name)
        self.x, self.latent = x, latent
        self.call: Call | None = None

    def __getattr__(self, key: str) -> Any:
        return getattr(self.net, key)

    def __call__(self, *inputs: Any, **more: Any) -> Any:
        tensors = [v for v in (*inputs, *more.values()) if isinstance(v, Tensor)]
        try:
            made = self.net(*inputs, **more)
        except BadInput:
            raise
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            shapes = ", ".join(str(tuple(t.shape)) for t in tensors)
            raise BadInput(
                f"{self.who} cannot be called with inputs of shape {shapes}"
                f"{' and the labels y' if 'y' in more else ''}: {' '.join(str(error).split())}"
            ) from error
        self.check(made, len(tensors[0]) if tensors else 1, more)
        if self.call is None and not any(is_functorch_wrapped_tensor(t) for t in tensors):
            self.call = inputs, more, made
        return made

    def check(self, made: Any, batch: int, more: Mapping[str, Any]) -> None:
        """Raise `BadInput` unless the output is what a net of this role returns for `batch` examples."""
        if self.spaces is not None:
            _check_scores_of(self.who, made, batch, bool(more.get("hidden")))
        elif self.name == "encoder":
            check_distribution(made, batch, (self.latent,), self.who)
        elif self.name == "decoder":
            check_distribution(made, batch, self.x, self.who)
        elif self.name == "lens" and (not isinstance(made, Tensor) or made.shape != (batch, *self.x)):
            came = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
            raise BadInput(
                f"the lens returned {came} for data of shape {(batch, *self.x)}; it must return that shape"
            )


def _check_scores_of(who: str, made: Any, batch: int, hidden: bool) -> None:
    came = f"a tensor of shape {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
    if not isinstance(made, Tensor) or made.ndim != 1 + hidden or len(made) != batch:
        remedy = (
            "return .squeeze(-1)" if came.endswith(f"({batch}, 1)") else "return one score for each example"
        )
        wanted = f"features ({batch}, F)" if hidden else f"({batch},)"
        raise BadInput(f"{who} returned {came} for {batch} examples; it must return {wanted}: {remedy}")


def check_repeats(net: Watched) -> None:
    """Raise `BadInput` for a net that answers one input in two ways."""
    if net.call is None:
        return
    inputs, more, made = net.call
    if not _alike(made, net.net(*inputs, **more)):
        raise BadInput(
            f"{net.who} returns different values for the same input, so it draws random numbers of its own "
            "(dropout, randn) or changes itself at each call: leave that out, since all randomness is the run's"
        )


def check_apart(critic: Watched) -> None:
    """Raise `BadInput` for a critic whose score of one example depends on the others of the batch.

    A layer that was published with such a penalty says so by `bears_penalties = True`.
    """
    if critic.call is None or any(getattr(m, "bears_penalties", False) for m in critic.net.modules()):
        return
    inputs, more, made = critic.call
    others = [torch.cat([v[:1], 2 * v[1:].flip(0)]) if v.is_floating_point() else v for v in inputs]
    if not _alike(made[:1], critic.net(*others, **more)[:1]):
        raise BadInput(
            f"{critic.who} mixes the examples of a batch (batch norm, minibatch features), and its penalty is one for "
            "each example: take a norm of each example alone (LayerNorm, GroupNorm), or leave the penalty out"
        )


def _alike(a: Any, b: Any) -> bool:
    """True where two outputs, tensors or distributions, are equal to rounding."""
    pairs = zip(
        *(([v] if isinstance(v, Tensor) else flatten_distribution(v)[0]) for v in (a, b)), strict=True
    )
    return all(_close(u.detach(), v.detach()) for u, v in pairs if u.numel())


def _close(u: Tensor, v: Tensor) -> bool:
    scale = float(u.abs().nan_to_num(0.0, 0.0, 0.0).max())
    return bool(torch.isclose(u, v, rtol=0, atol=LIKE * scale + 1e-12, equal_nan=True).all())
