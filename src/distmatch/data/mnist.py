"""MNIST: 70,000 handwritten digits."""

from __future__ import annotations

from distmatch.data.idx import IdxSource, load_idx
from distmatch.data.splits import DataSet, Entry, Request

MNIST = IdxSource(
    name="mnist",
    classes=tuple("0123456789"),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    packed=(
        "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "d53e105ee54ea40749a09fcbcd1e9432",
        "9fb629c4189551a2d022fa330f9573f3",
        "ec29112dd5afa0611ce80d1b7f02629c",
    ),
    unpacked=(
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ),
    source="LeCun, Bottou, Bengio & Haffner, Gradient-based learning applied to document recognition, 1998",
    licence="CC BY-SA 3.0",
)


def load_mnist(request: Request) -> DataSet:
    """55,000 / 5,000 / 10,000 digits, uint8 `(N, 1, 28, 28)`: the last 5,000 training digits validate.

    (Others hold out 10,000, or none; a published number says which.) Four IDX files, gzipped or not, in
    `D/mnist` or `D`, or downloaded. Raises `BadInput` for files that are missing, damaged or foreign.
    """
    return load_idx(MNIST, request)


def base_digits(request: Request, name: str) -> DataSet:
    """All MNIST digits for a data set made from them, looked for in `D/<name>`, `D/mnist` and `D`."""
    return load_idx(MNIST, request, name)


DATA_SET = Entry("mnist", load_mnist, "70,000 handwritten digits", "1×28×28", "CC BY-SA 3.0")
