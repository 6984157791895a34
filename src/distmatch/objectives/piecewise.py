"""ReLUs that say that they have no second derivative.

The gradient of a ReLU, or a leaky one, is constant between its kinks. Where a gradient is differentiated again, torch
nevertheless hands zeros on from each of them, and these travel backwards through the whole forward pass: a sixth of
what a WGAN-GP critic's step computes, for nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class Piecewise(TorchFunctionMode):
    """Within it, `relu` and `leaky_relu` have slopes that no gradient flows into: same values, same gradients.

    In-place forms are left alone.

    >>> x = torch.tensor([-2.0, 3.0], requires_grad=True)
    >>> with Piecewise():
    ...     y = F.leaky_relu(x, 0.5)
    >>> (slope,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    >>> slope, slope.requires_grad
    (tensor([0.5000, 1.0000]), False)
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Every call of torch within the mode passes here."""
        if func is F.leaky_relu:
            func = _leaky_relu
        elif func in (F.relu, torch.relu, Tensor.relu):
            func = _relu
        return func(*args, **(kwargs or {}))


# The backward of a ReLU multiplies a gradient by what the ReLU multiplies its input by. Called with the input itself
# for a gradient it is the ReLU, linear in all that a gradient flows through.


def _relu(input: Tensor, inplace: bool = False) -> Tensor:
    if inplace:
        return F.relu(input, True)
    return torch.ops.aten.threshold_backward(input, input.detach(), 0.0)


def _leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    if inplace:
        return F.leaky_relu(input, negative_slope, True)
    return torch.ops.aten.leaky_relu_backward(input, input.detach(), negative_slope, False)
