"""Features of a sample that say how near the others of its batch are."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

DIMS = 5  # of each kernel's space, as published


class MinibatchDiscrimination(nn.Module):
    """h beside o, o_ib = Σ_{j≠i} exp(-‖M_ib - M_jb‖₁) + bias_b, M_i = T h_i cut into one row per kernel b.

    A batch that has collapsed to one point has the largest o. All rows of a batch are compared: rows `(B, F)` take
    memory for B²·kernels·dims numbers.

    Arguments:
        features: F, the size of h.
        kernels: the number of features added.
        dims: the size of each kernel's space.

    Reference: Salimans et al., arXiv:1606.03498, section 3.2 (100 kernels of 5 dimensions on CIFAR-10).

    >>> MinibatchDiscrimination(3, 2)(torch.ones(4, 3))[0]  # three others, all at distance 0
    tensor([1., 1., 1., 3., 3.], grad_fn=<SelectBackward0>)
    """

    mixes_batch: ClassVar[bool] = True

    def __init__(self, features: int, kernels: int, dims: int = DIMS) -> None:
        super().__init__()
        self.kernels, self.dims = kernels, dims
        self.transform = nn.Linear(features, kernels * dims, bias=False)
        self.bias = nn.Parameter(torch.zeros(kernels))

    def forward(self, h: Tensor) -> Tensor:
        """`(B, F)` to `(B, F + kernels)`."""
        rows = len(h)
        m = self.transform(h).reshape(rows, self.kernels, self.dims)
        near = (-(m[:, None] - m[None]).abs().sum(-1)).exp()
        others = 1 - torch.eye(rows, dtype=near.dtype, device=near.device)
        return torch.cat([h, (near * others[:, :, None]).sum(1) + self.bias], 1)


class MinibatchStddev(nn.Module):
    """One map more: the standard deviation over a group of the batch, averaged over all maps and places.

    A batch of B falls into groups of the largest size up to `group` that divides B; sample i is in the group of
    i mod (B/size). All samples of a group get the same number; in groups of one it is next to 0.

    A gradient penalty of such a critic takes the gradient of Σ_j f(x)_j by x_i, as the paper's code does: it is
    defined, and trained with, though it is no longer the slope of one sample's score.

    Arguments:
        group: the largest size of a group.

    Reference: Karras et al., arXiv:1710.10196, section 3.

    >>> h = torch.tensor([0.0, 4.0]).reshape(2, 1, 1, 1)
    >>> MinibatchStddev()(h).flatten(1)
    tensor([[0., 2.],
            [4., 2.]])
    """

    mixes_batch: ClassVar[bool] = True
    bears_penalties: ClassVar[bool] = True

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = group

    def size(self, rows: int) -> int:
        """Number of examples of a batch that make a group."""
        return max(g for g in range(1, self.group + 1) if rows % g == 0)

    def forward(self, h: Tensor) -> Tensor:
        """`(B, C, H, W)` to `(B, C + 1, H, W)`."""
        rows = len(h)
        size = self.size(rows)
        groups = h.reshape(size, rows // size, *h.shape[1:])
        deviation = (groups.var(0, correction=0) + 1e-8).sqrt().mean((1, 2, 3))
        plane = deviation.repeat(size)[:, None, None, None].expand(rows, 1, *h.shape[2:])
        return torch.cat([h, plane], 1)
