"""The small classifiers whose features and logits the scores use: their layers, their files."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse_weights
from torch import Tensor, nn

from distmatch.errors import BadInput

SHIPPED = Path(__file__).parent / "weights" / "mnist.safetensors"


class Classifier(nn.Module):
    """Images in [0, 1] to a feature vector, `features(x)` (n, d), and from it to logits, `forward(x)` (n, K).

    >>> mnist_classifier().features(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 128])
    """

    def __init__(self, shape: tuple[int, int, int], body: nn.Module, dims: int, classes: int) -> None:
        super().__init__()
        self.shape, self.dims, self.classes = shape, dims, classes
        self.body, self.dropout, self.head = body, nn.Dropout(0.5), nn.Linear(dims, classes)

    def features(self, x: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n, dims), the layer before the last."""
        features: Tensor = self.body(2 * x - 1)
        return features

    def logits(self, features: Tensor) -> Tensor:
        """(n, dims) features -> (n, classes)."""
        logits: Tensor = self.head(self.dropout(features))
        return logits

    def forward(self, x: Tensor) -> Tensor:
        """(n, c, h, w) in [0, 1] -> (n, classes)."""
        return self.logits(self.features(x))


def _conv(inputs: int, outputs: int, kernel: int, padding: int) -> list[nn.Module]:
    layer = nn.Conv2d(inputs, outputs, kernel, padding=padding, bias=False)
    return [layer, nn.BatchNorm2d(outputs), nn.ReLU()]


def mnist_classifier() -> Classifier:
    """Convolutions 5×5 of 32, pool, 3×3 of 64 and 64, pool, dense 128, 10 classes; 1×28×28."""
    layers = [*_conv(1, 32, 5, 0), nn.MaxPool2d(2), *_conv(32, 64, 3, 1), *_conv(64, 64, 3, 1)]
    layers += [nn.MaxPool2d(2), nn.Dropout(0.25), nn.Flatten(), nn.Linear(64 * 6 * 6, 128), nn.ReLU()]
    return Classifier((1, 28, 28), nn.Sequential(*layers), 128, 10)


def cifar10_classifier() -> Classifier:
    """VGG-16's thirteen convolutions with batch norm, the mean of the last map, 10 classes; 3×32×32.

    Reference: Simonyan and Zisserman, 1409.1556, configuration D without its dense layers.
    """
    layers: list[nn.Module] = []
    widths = (3, 64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512)
    for number, (inputs, outputs) in enumerate(pairwise(widths), 1):
        layers += _conv(inputs, outputs, 3, 1)
        if number in (2, 4, 7, 10):
            layers += [nn.MaxPool2d(2), nn.Dropout(0.1)]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    return Classifier((3, 32, 32), nn.Sequential(*layers), 512, 10)


CLASSIFIERS: dict[str, Callable[[], Classifier]] = {"mnist": mnist_classifier, "cifar10": cifar10_classifier}


def load_classifier(path: str | Path = SHIPPED) -> tuple[str, Classifier, str]:
    """The classifier whose weights a safetensors file holds, for evaluation: its name, the net, the file's sha256.

    The tensors' names and shapes say which of `CLASSIFIERS` it is. Weights may be stored in half precision.

    Raises:
        BadInput: the file cannot be read, is not a safetensors file, or holds the weights of another net.

    >>> name, net, digest = load_classifier()
    >>> name, net(torch.zeros(1, 1, 28, 28)).shape, len(digest)
    ('mnist', torch.Size([1, 10]), 64)
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as error:
        raise BadInput(f"the classifier's weights {path} cannot be read ({error.strerror})") from error
    try:
        weights = {name: values.float() for name, values in parse_weights(raw).items()}
    except SafetensorError as error:
        raise BadInput(
            f"{path} is not a safetensors file ({error}); give one that holds a classifier"
        ) from error
    shapes = {name: values.shape for name, values in weights.items()}
    for name, make in CLASSIFIERS.items():
        with torch.device("meta"):
            net = make()
        if shapes == {k: v.shape for k, v in net.state_dict().items() if v.is_floating_point()}:
            net.to_empty(device="cpu").load_state_dict(weights, strict=False)
            return name, net.eval().requires_grad_(False), hashlib.sha256(raw).hexdigest()
    known = ", ".join(sorted(CLASSIFIERS))
    raise BadInput(f"{path} does not hold the weights of a known classifier ({known})")
