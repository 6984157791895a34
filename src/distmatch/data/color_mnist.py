"""Color MNIST: MNIST's digits, each in one random colour on black."""

from __future__ import annotations

import torch
from torch import Tensor

from distmatch.data.mnist import base_digits
from distmatch.data.splits import DataSet, Entry, Request, Split

BLOCK = 1000


def load_color_mnist(request: Request) -> DataSet:
    """55,000 / 5,000 / 10,000 coloured digits, uint8 `(N, 3, 28, 28)`; y is the digit.

    What was chosen, since the papers that use a Color MNIST do not say how theirs was made: an image is
    round(intensity · colour / 255); a colour is uniform in {1..255}³ and then scaled so that its largest
    channel is 255 (no digit is invisible); one colour an image, fixed by `seed`, the same every epoch.

    Named in Rosca et al., Distribution matching in variational inference, 2018, after Metz et al., Unrolled
    GANs, 2017 (whose augmentation by three digits in three channels is `stacked-mnist` here).
    Raises `BadInput` as `mnist` does; its files may lie in `D/color-mnist`, `D/mnist` or `D`.
    """
    digits = base_digits(request, "color-mnist")
    generator = torch.Generator().manual_seed(request.seed)

    def coloured(split: Split) -> Split:
        colours = _colours(len(split), generator)
        first = split.first(request.limit or len(split))
        return Split(colour(first.x, colours[: len(first)]), first.y)

    return DataSet(
        "color-mnist",
        coloured(digits.train),
        coloured(digits.validation),
        coloured(digits.test),
        digits.classes,
        "after Metz et al., Unrolled GANs, 2017; digits: " + digits.source,
        digits.licence,
        f"coloured here with seed {request.seed}, from MNIST, {digits.bits}",
    )


def colour(x: Tensor, colours: Tensor) -> Tensor:
    """round(intensity · colour / 255): uint8 `(N, 1, H, W)` and `(N, 3)` to uint8 `(N, 3, H, W)`.

    >>> white = torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)
    >>> colour(white, torch.tensor([[255, 10, 0]], dtype=torch.uint8)).flatten()
    tensor([255,  10,   0], dtype=torch.uint8)
    """
    out = torch.empty((len(x), 3, *x.shape[2:]), dtype=torch.uint8)
    for i in range(0, len(x), BLOCK):
        product = x[i : i + BLOCK].int() * colours[i : i + BLOCK, :, None, None]
        out[i : i + BLOCK] = product.add_(127).div_(255, rounding_mode="floor")
    return out


def _colours(n: int, generator: torch.Generator) -> Tensor:
    """`n` colours, uint8 `(n, 3)`, whose largest channel is 255."""
    c = torch.randint(1, 256, (n, 3), generator=generator)
    return (c * 255 // c.amax(dim=1, keepdim=True)).to(torch.uint8)


DATA_SET = Entry(
    "color-mnist", load_color_mnist, "MNIST, each digit in a random colour", "3×28×28", "CC BY-SA 3.0"
)
