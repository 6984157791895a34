"""Shapes of data, code and label that a net must fit, and the one way in which labels enter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from distmatch.errors import BadInput


@dataclass(frozen=True)
class Shapes:
    """The spaces that a family of nets maps between.

    Arguments:
        x: one datum's shape, `(C, H, W)` or `(D,)`.
        latent: the size of z.
        num_classes: the number of classes; above zero, every net is given y.
        bounded: the data lies in [0, 1], as pictures do; nets see it in [-1, 1].

    Raises:
        BadInput: a size that cannot be.

    >>> Shapes(x=(3, 32, 32), latent=100).x_size
    3072
    """

    x: tuple[int, ...]
    latent: int
    num_classes: int = 0
    bounded: bool = True

    def __post_init__(self) -> None:
        if len(self.x) not in (1, 3) or min(self.x) < 1:
            raise BadInput(f"data of shape {self.x} fits no net: it must be (D,) or (C, H, W), sizes above 0")
        if self.latent < 1 or self.num_classes < 0:
            raise BadInput(
                f"latent is {self.latent} and num_classes is {self.num_classes}: they must be at least 1 and at least 0"
            )

    @property
    def x_size(self) -> int:
        """The number of values in one datum."""
        return math.prod(self.x)

    @property
    def x_units(self) -> float:
        """Units of a built-in net's input in one unit of the data: 2 where [0, 1] is seen as [-1, 1]."""
        return 2.0 if self.bounded else 1.0


def append_labels(inputs: Tensor, y: Tensor | None, num_classes: int) -> Tensor:
    """The inputs with the one-hot y beside them: more features, or constant planes of an image.

    Arguments:
        inputs: `(B, F, *space)`; space is empty for flat inputs and `(H, W)` for images.
        y: integers in [0, num_classes), `(B,)`; None exactly where `num_classes` is 0.
        num_classes: the number of classes.

    Returns:
        `(B, F + num_classes, *space)`.

    Raises:
        BadInput: y is missing, or was given to a net built without labels.

    >>> append_labels(torch.tensor([[0.5]]), torch.tensor([1]), num_classes=2)
    tensor([[0.5000, 0.0000, 1.0000]])
    """
    if (y is None) != (num_classes == 0):
        raise BadInput(
            f"this net was built with num_classes={num_classes}: "
            + (
                "give it y, one class per row"
                if y is None
                else "it takes no y; build it with the number of classes"
            )
        )
    if y is None:
        return inputs
    one_hot = (y[:, None] == torch.arange(num_classes, device=y.device)).to(inputs.dtype)
    planes = one_hot.reshape(*one_hot.shape, *(1 for _ in inputs.shape[2:]))
    return torch.cat([inputs, planes.expand(*one_hot.shape, *inputs.shape[2:])], 1)
