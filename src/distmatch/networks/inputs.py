"""Inputs and outputs of every built-in net: data centred, outputs in full precision."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distmatch.networks.shapes import Shapes


def full(raw: Tensor) -> Tensor:
    """A net's output in at least float32: distributions and losses are computed so, whatever autocast did inside the
    net.

    >>> full(torch.zeros(2, dtype=torch.bfloat16)).dtype
    torch.float32
    """
    return raw.float() if raw.dtype in (torch.bfloat16, torch.float16) else raw


class Centre(nn.Module):
    """2x - 1: images from [0, 1] to [-1, 1].

    >>> Centre()(torch.tensor([0.0, 1.0]))
    tensor([-1.,  1.])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of `x`."""
        return 2 * x - 1


def centred(shapes: Shapes) -> nn.Module:
    """Return the first layer of every built-in net: data in [0, 1] goes to [-1, 1], other data stays.

    So penalties, instance noise, lenses, slopes and distances of pictures are in units of [-1, 1], as in the papers
    that state their constants; each net says so by `x_units`.
    """
    return Centre() if shapes.bounded else nn.Identity()
