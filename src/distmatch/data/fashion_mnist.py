"""Fashion-MNIST: 70,000 small photographs of clothes, a drop-in for MNIST."""

from __future__ import annotations

from distmatch.data.idx import IdxSource, load_idx
from distmatch.data.splits import DataSet, Entry, Request

FASHION_MNIST = IdxSource(
    name="fashion-mnist",
    classes=(
        "T-shirt/top",
        "trouser",
        "pullover",
        "dress",
        "coat",
        "sandal",
        "shirt",
        "sneaker",
        "bag",
        "ankle boot",
    ),
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
    packed=(
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    unpacked=(),
    source="Xiao, Rasul & Vollgraf, Fashion-MNIST, 2017",
    licence="MIT",
)


def load_fashion_mnist(request: Request) -> DataSet:
    """55,000 / 5,000 / 10,000 images, uint8 `(N, 1, 28, 28)`: the last 5,000 training images validate.

    Four IDX files, gzipped or not, in `D/fashion-mnist` or `D`, or downloaded. Only the official gzipped
    files are recognised as original bits. Raises `BadInput` for files missing, damaged or foreign.
    """
    return load_idx(FASHION_MNIST, request)


DATA_SET = Entry("fashion-mnist", load_fashion_mnist, "70,000 pictures of clothes", "1×28×28", "MIT")
