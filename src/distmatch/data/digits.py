"""The 8×8 digits that come with scikit-learn: always there, no download."""

from __future__ import annotations

import numpy as np
import torch

from distmatch.data.splits import DataSet, Entry, Request, Split

LICENCE = "CC BY 4.0"
SOURCE = "Alpaydin & Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (the copy in scikit-learn)"


def load_digits(request: Request) -> DataSet:
    """1,797 digits `(1, 8, 8)`, levels 0..16 stretched to 0..255, in a fixed order: 1,297 / 200 / 300.

    >>> from distmatch.data import load
    >>> digits = load("digits")
    >>> len(digits.train), len(digits.validation), len(digits.test), int(digits.train.x.max())
    (1297, 200, 300, 255)
    """
    from sklearn import datasets

    images, labels = datasets.load_digits(return_X_y=True)
    x = torch.from_numpy(np.rint(images * (255 / 16)).astype(np.uint8)).view(-1, 1, 8, 8)
    y = torch.from_numpy(labels.astype(np.int64))
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    train, validation, test = (Split(x[i], y[i]) for i in order.split([1297, 200, 300]))
    return DataSet(
        "digits",
        train,
        validation,
        test,
        classes=tuple("0123456789"),
        source=SOURCE,
        licence=LICENCE,
        bits="original levels 0..16, times 255/16 and rounded",
    )


DATA_SET = Entry("digits", load_digits, "1,797 small digits, always there", "1×8×8", "CC BY 4.0")
