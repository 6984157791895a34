"""A lens between the data and the critic, which is taken away in the end."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distmatch.networks.inputs import centred
from distmatch.networks.shapes import Shapes

SLOPE = 0.2  # of the leaky ReLUs


class Lens(nn.Module):
    """L(x) = x + body(x) while training, and x itself from a given step on; body(x) in the units of the body's input.

    Arguments:
        body: from `(B, *x)` to `(B, *x)`.
        until: the step from which on the lens is removed; None: never.
        x_units: how many units of its input one unit of the data is.

    Reference: Sajjadi, Parascandolo, Mehrjou and Schölkopf, arXiv:1802.04374.

    >>> net = Lens(nn.Linear(2, 2), until=100)
    >>> x = torch.randn(3, 2)
    >>> net.at(100)
    >>> net(x) is x
    True
    """

    def __init__(self, body: nn.Module, until: int | None = None, x_units: float = 1.0) -> None:
        super().__init__()
        self.body, self.until, self.x_units = body, until, x_units
        self.removed = False

    def at(self, step: int) -> None:
        """Say how many steps were taken, before each step; whether the lens is there depends on this alone."""
        self.removed = self.until is not None and step >= self.until

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Of the shape of `x`, `(B, *x)`. The label is not looked at."""
        return x if self.removed else x + self.body(x) / self.x_units


class Residual(nn.Module):
    """h + body(h).

    >>> Residual(nn.Identity())(torch.ones(1))
    tensor([2.])
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, h: Tensor) -> Tensor:
        """Of the shape of `h`."""
        return h + self.body(h)


def image_lens(shapes: Shapes, until: int | None, width: int, blocks: int) -> Lens:
    """Convolutions 3×3 of stride 1: one to `width` maps, `blocks` residual blocks of two, one to the channels.

    Images in [0, 1] go to [-1, 1] before the first.

    >>> sum(p.numel() for p in image_lens(Shapes((3, 32, 32), 2), None, 32, 8).parameters())
    149731
    """

    def conv(a: int, b: int) -> nn.Module:
        return nn.Conv2d(a, b, 3, 1, 1)

    between = [
        Residual(nn.Sequential(conv(width, width), nn.LeakyReLU(SLOPE), conv(width, width)))
        for _ in range(blocks)
    ]
    first, last = conv(shapes.x[0], width), conv(width, shapes.x[0])
    return Lens(
        nn.Sequential(centred(shapes), first, nn.LeakyReLU(SLOPE), *between, last), until, shapes.x_units
    )


def flat_lens(shapes: Shapes, until: int | None, width: int, blocks: int) -> Lens:
    """The same with linear layers in place of convolutions, for any data.

    >>> flat_lens(Shapes((2,), 2, bounded=False), None, 8, 1)(torch.zeros(5, 2)).shape
    torch.Size([5, 2])
    """
    between = [
        Residual(nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(SLOPE), nn.Linear(width, width)))
        for _ in range(blocks)
    ]
    first, last = nn.Linear(shapes.x_size, width), nn.Linear(width, shapes.x_size)
    body = [centred(shapes), nn.Flatten(), first, nn.LeakyReLU(SLOPE), *between, last]
    return Lens(nn.Sequential(*body, nn.Unflatten(1, torch.Size(shapes.x))), until, shapes.x_units)
