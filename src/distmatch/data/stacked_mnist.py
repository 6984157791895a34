"""Stacked MNIST: three random digits as three channels, hence 1,000 modes of known probability."""

from __future__ import annotations

import torch

from distmatch.data.mnist import base_digits
from distmatch.data.splits import DataSet, Entry, Request, Split

SIZES = (50_000, 5_000, 10_000)


def load_stacked_mnist(request: Request) -> DataSet:
    """50,000 / 5,000 / 10,000 triples, uint8 `(N, 3, 28, 28)`; y = 100 a + 10 b + c, 1,000 classes.

    The three digits are drawn uniformly and with replacement from the digits of the same split of `mnist`,
    so no test digit is ever seen in training. Fixed by `seed`. (Others draw 128,000 anew each epoch.)

    Source: Metz et al., Unrolled GANs, 2017; Srivastava et al., VEEGAN, 2017.
    Raises `BadInput` as `mnist` does; its files may lie in `D/stacked-mnist`, `D/mnist` or `D`.
    """
    digits = base_digits(request, "stacked-mnist")
    generator = torch.Generator().manual_seed(request.seed)

    def stacked(split: Split, n: int) -> Split:
        triples = torch.randint(len(split), (n, 3), generator=generator)[: request.limit]
        assert split.y is not None  # an IDX data set always has labels
        return Split(split.x[triples].squeeze(2), split.y[triples] @ torch.tensor([100, 10, 1]))

    parts = (digits.train, digits.validation, digits.test)
    train, validation, test = (stacked(split, n) for split, n in zip(parts, SIZES, strict=True))
    return DataSet(
        "stacked-mnist",
        train,
        validation,
        test,
        tuple(f"{i:03d}" for i in range(1000)),
        "Metz et al., Unrolled GANs, 2017; digits: " + digits.source,
        digits.licence,
        f"stacked here with seed {request.seed}, from MNIST, {digits.bits}",
    )


DATA_SET = Entry(
    "stacked-mnist",
    load_stacked_mnist,
    "three MNIST digits as channels, 1,000 modes",
    "3×28×28",
    "CC BY-SA 3.0",
)
