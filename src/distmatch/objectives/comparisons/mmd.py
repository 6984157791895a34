"""Maximum mean discrepancy: two sets of samples compared by a kernel, without a critic.

MMD²(p, q) = E k(x, x') + E k(y, y') - 2 E k(x, y), zero only where p = q for the kernels below.

References: Gretton et al. 2012, JMLR 13; Li, Swersky and Zemel 2015 (GMMN), arXiv:1502.02761; Tolstikhin et al. 2017
(WAE-MMD), arXiv:1711.01558.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distmatch.errors import BadInput

SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def squared_distances(x: Tensor, y: Tensor) -> Tensor:
    """‖xᵢ - yⱼ‖² of all pairs: `(N, ...)` and `(M, ...)` to `(N, M)`.

    From inner products, so that no `(N, M, dim)` is held; both sets are moved to y's mean first, which changes no
    distance and spares the difference its rounding error; what rounding puts below 0 is 0. The gradient is finite
    everywhere, coinciding points included.

    >>> squared_distances(torch.tensor([[0.0, 0.0], [3.0, 4.0]]), torch.zeros(1, 2))
    tensor([[ 0.],
            [25.]])
    """
    x, y = x.flatten(1), y.flatten(1)
    centre = y.mean(0, keepdim=True).detach()
    x, y = x - centre, y - centre
    products = torch.addmm(y.square().sum(1), x, y.T, alpha=-2)
    return products.add_(x.square().sum(1)[:, None]).relu_()


def rbf_sum(squared_distances: Tensor, bandwidths: Sequence[float]) -> Tensor:
    """Σ_σ exp(-d²/(2σ²)) over the bandwidths σ, of squared distances `(*)`.

    >>> rbf_sum(torch.tensor([0.0, 2.0]), (1.0,))
    tensor([1.0000, 0.3679])
    """
    return _total([(-squared_distances / (2 * b**2)).exp() for b in bandwidths])


def imq_sum(squared_distances: Tensor, dim: int, scales: Sequence[float] = SCALES) -> Tensor:
    """Σ_s C/(C + d²), C = 2·dim·s: inverse multiquadrics, of squared distances `(*)`.

    2·dim is the mean squared distance of two draws of N(0, I).

    >>> imq_sum(torch.tensor([0.0, 2.0]), 1, (1.0,))
    tensor([1.0000, 0.5000])
    """
    return _total([2 * dim * s / (2 * dim * s + squared_distances) for s in scales])


def _total(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).sum(0)


def _rbf(squared_distances: Tensor, dim: int, scales: Sequence[float]) -> Tensor:
    return rbf_sum(squared_distances, [math.sqrt(dim * s) for s in scales])


@dataclass(frozen=True)
class Kernel:
    """A sum of kernels of several widths, relative to the dimension so that one set serves all.

    Args:
        name: its name.
        function: maps squared distances `(*)`, the dimension and the scales to k `(*)`.
        scales: one width each.
    """

    name: str
    function: Callable[[Tensor, int, Sequence[float]], Tensor]
    scales: tuple[float, ...] = SCALES

    def __post_init__(self) -> None:
        if not self.scales or not all(0 < s < math.inf for s in self.scales):
            raise BadInput(
                f"the scales of the kernel {self.name} are {self.scales}; give at least one finite number above 0"
            )

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        """k(xᵢ, yⱼ) of all pairs: `(N, ...)` and `(M, ...)` to `(N, M)`."""
        return self.function(squared_distances(x, y), math.prod(x.shape[1:]), self.scales)


# Σ_s exp(-d²/(2·dim·s)): bandwidths σ = √(dim·s), fixed, so that the kernel does not depend on the data. Data whose
# coordinates are far from unit variance want these scales times their variance.
RBF = Kernel("rbf", _rbf)
IMQ = Kernel("imq", imq_sum)

KERNELS: dict[str, Kernel] = {k.name: k for k in (RBF, IMQ)}


def mmd_squared(x: Tensor, y: Tensor, kernel: Kernel = IMQ, unbiased: bool = True) -> Tensor:
    """MMD² of two sets of samples, `(N, ...)` and `(M, ...)`, a scalar.

    Σ_{i≠j} k(xᵢ, xⱼ)/(n(n-1)) + Σ_{i≠j} k(yᵢ, yⱼ)/(m(m-1)) - 2 Σ k(xᵢ, yⱼ)/(nm), whose mean is MMD²(p, q) and which
    may be below 0. Biased: the squared distance of the two mean embeddings, diagonals included and never below 0.

    Raises `BadInput` where the samples are of different shapes, or too few.

    >>> mmd_squared(torch.zeros(2, 1), torch.full((2, 1), 1e6), Kernel("imq", imq_sum, (1.0,)))
    tensor(2.)
    """
    _check(x, y, least=2 if unbiased else 1)
    return _within(kernel(x, x), unbiased) + _within(kernel(y, y), unbiased) - 2 * kernel(x, y).mean()


def root_mmd(x: Tensor, y: Tensor, kernel: Kernel = RBF) -> Tensor:
    """√MMD², biased: the loss of a generative moment matching network, a scalar.

    MMD² is held above the dtype's rounding error, where its root's gradient would be infinite.

    >>> root_mmd(torch.zeros(2, 1), torch.zeros(2, 1)) < 1e-3
    tensor(True)
    """
    squared = mmd_squared(x, y, kernel, unbiased=False)
    return squared.clamp(min=torch.finfo(squared.dtype).eps).sqrt()


def _within(k: Tensor, unbiased: bool) -> Tensor:
    if not unbiased:
        return k.mean()
    n = len(k)
    return (k.sum() - k.diagonal().sum()) / (n * (n - 1))


def _check(x: Tensor, y: Tensor, least: int) -> None:
    if x.shape[1:] != y.shape[1:]:
        raise BadInput(
            f"no MMD of samples of shapes {tuple(x.shape[1:])} and {tuple(y.shape[1:])}; give two sets of one shape"
        )
    if min(len(x), len(y)) < least:
        raise BadInput(f"MMD of {len(x)} and {len(y)} samples; give at least {least} of each")
