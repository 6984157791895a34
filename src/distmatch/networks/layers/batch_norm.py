"""Batch normalisation that keeps no running statistics while it trains."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from distmatch.batch_statistics import Gathers
from distmatch.errors import BadInput

NOT_GATHERED = -1.0  # a variance that cannot be; unlike NaN it is equal to itself, so states can be compared


class BatchNorm(Gathers):
    """weight · (h - mean) / sqrt(var + eps) + bias, per feature.

    In training mode, mean and var are the batch's and nothing is stored: a pure function, which
    `torch.func.vmap` and `torch.compile` take. In evaluation mode they are the buffers `mean` and `var`,
    which `recording` gathers over many batches once training is done. A net that training shows several populations
    (an encoder data and samples) normalises each apart, and is evaluated as one `twin` for each.

    Arguments:
        features: the size of dimension 1 of inputs `(B, F)` or `(B, F, H, W)`.
        eps: added to the variance.

    Raises:
        BadInput: in evaluation mode, where no statistics were gathered (inside vmap and compile, where values
            cannot be looked at, the result is NaN instead).

    Reference: Ioffe and Szegedy, arXiv:1502.03167.

    >>> BatchNorm(2)(torch.tensor([[0.0, 1.0], [2.0, 5.0]])).round(decimals=2).tolist()
    [[-1.0, -1.0], [1.0, 1.0]]
    """

    mixes_batch: ClassVar[bool] = True
    for_evaluation: ClassVar[tuple[str, ...]] = ("mean", "var")
    mean: Tensor
    var: Tensor

    def __init__(self, features: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("var", torch.full((features,), NOT_GATHERED))
        self.record: list[Tensor] | None = None  # weight, Σ weight·mean, Σ weight·second moment

    def forward(self, h: Tensor) -> Tensor:
        """Normalised features, of the shape of `h`."""
        if self.training:
            if self.record is not None:
                self._add(h)
            return F.batch_norm(h, None, None, self.weight, self.bias, True, 0.0, self.eps)
        if _readable(self.var) and bool((self.var < 0).any()):
            raise BadInput(
                "batch norm has no statistics for evaluation yet: run some batches in training mode inside "
                "`with recording(net):`, or evaluate in training mode"
            )
        return F.batch_norm(h, self.mean, self.var, self.weight, self.bias, False, 0.0, self.eps)

    def begin(self) -> None:
        """Note the moments of every batch from now on."""
        self.record = []

    def end(self, keep: bool) -> None:
        """Write the moments of all batches together into `mean` and `var`, or forget them."""
        if keep and self.record:
            count, first, second = self.record
            self.mean.copy_(first / count)
            self.var.copy_((second / count - (first / count).square()).clamp_min(0))
        self.record = None

    def _add(self, h: Tensor) -> None:
        if not _readable(h):
            raise BadInput(
                "batch norm's statistics cannot be recorded inside vmap or compile; run the net eagerly"
            )
        assert self.record is not None
        with torch.no_grad():
            var, mean = torch.var_mean(h.double(), [0, *range(2, h.ndim)], correction=0)
            count = h.new_tensor(h.numel() // h.shape[1], dtype=torch.float64)
            new = [count, count * mean, count * (var + mean.square())]
            self.record = [a + b for a, b in zip(self.record, new, strict=True)] if self.record else new


def _readable(t: Tensor) -> bool:
    """True where the values of `t` may be looked at: not while compiling, nor inside a function transform."""
    return not (torch.compiler.is_compiling() or torch._C._functorch.is_functorch_wrapped_tensor(t))


def mixes_batch(net: nn.Module) -> bool:
    """True where a layer of `net` mixes the rows of a batch, so that its output for a row depends on the others.

    A layer that does says so by `mixes_batch = True`; torch's own batch norm counts too.

    >>> mixes_batch(nn.Sequential(nn.Linear(2, 2), BatchNorm(2))), mixes_batch(nn.Linear(2, 2))
    (True, False)
    """
    return any(_mixes(m) for m in net.modules())


def judges_batches(net: nn.Module) -> bool:
    """Return whether a row's output depends on the others in evaluation mode too, by layers that gather no statistics.

    >>> judges_batches(nn.Sequential(nn.Linear(2, 2), BatchNorm(2)))
    False
    """
    return any(_mixes(m) and not isinstance(m, Gathers) for m in net.modules())


def refuses_penalties(net: nn.Module) -> bool:
    """True where a per-sample penalty of `net` means nothing, because some layer mixes the rows of a batch.

    A layer that mixes them and was published with such a penalty says so by `bears_penalties = True`.

    >>> refuses_penalties(BatchNorm(2)), refuses_penalties(nn.Linear(2, 2))
    (True, False)
    """
    return any(_mixes(m) and not getattr(m, "bears_penalties", False) for m in net.modules())


def _mixes(layer: nn.Module) -> bool:
    return getattr(layer, "mixes_batch", False) or isinstance(layer, nn.modules.batchnorm._BatchNorm)
