"""Feature nets: maps from images to the vectors and logits that scores are computed from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from distmatch.errors import BadInput, unknown
from distmatch.metrics.checks import at_least, checked
from distmatch.metrics.features.classifiers import SHIPPED, load_classifier
from distmatch.metrics.features.inception import load_inception


@dataclass(frozen=True)
class FeatureNet:
    """A fixed function from images to feature vectors, and to logits where it is a classifier.

    A score is a property of this net as much as of the samples: compare only scores of one name and digest.

    Attributes:
        name: what it is called where a score is printed.
        features: (n, c, h, w) in [0, 1] -> (n, d).
        logits: (n, c, h, w) in [0, 1] -> (n, K), for a classifier.
        digest: the sha256 of its weights; "" where it has none.
        shape: the (c, h, w) that it takes; None for any.
        device: where it wants the images.

    >>> net = FeatureNet("mean colour", lambda x: x.mean((2, 3)))
    >>> net.features(torch.ones(2, 3, 4, 4)).shape, str(net)
    (torch.Size([2, 3]), 'mean colour')
    """

    name: str
    features: Callable[[Tensor], Tensor]
    logits: Callable[[Tensor], Tensor] | None = None
    digest: str = ""
    shape: tuple[int, int, int] | None = None
    device: str = "cpu"

    def __str__(self) -> str:
        return f"{self.name} {self.digest[:12]}".rstrip()


def classifier_features(path: str | Path = SHIPPED) -> FeatureNet:
    """One of the package's classifiers with the weights of this file; without a path the shipped one of MNIST.

    Raises:
        BadInput: the file is not that of a known classifier.

    >>> classifier_features().features(torch.zeros(2, 1, 28, 28)).shape
    torch.Size([2, 128])
    """
    name, net, digest = load_classifier(path)
    return FeatureNet(f"{name} classifier", net.features, net, digest, net.shape)


def inception_features() -> FeatureNet:
    """torch-fidelity's Inception v3: 2048 features and 1008 logits without bias, as its scores use them.

    Images of any size, in one channel or three, are rounded to bytes; given images that were bytes, the scores
    are those of torch-fidelity. It downloads the weights when it is first used, and runs on a GPU where there is one.

    Raises:
        BadInput: torch-fidelity is not installed.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    net = load_inception(device)
    return FeatureNet("Inception v3", net.features, net.logits, net.digest, device=device)


def pixel_features() -> FeatureNet:
    """The pixels themselves, for data that no classifier knows; distances between them mean little to an eye.

    >>> pixel_features().features(torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 64])
    """
    return FeatureNet("pixels", partial(torch.flatten, start_dim=1))


FEATURE_NETS: dict[str, Callable[[], FeatureNet]] = {
    "mnist": classifier_features,
    "inception": inception_features,
    "pixels": pixel_features,
}


def feature_net(which: str | Path) -> FeatureNet:
    """A feature net by its name in `FEATURE_NETS`, or by the path of a classifier's weights (.safetensors).

    Raises:
        BadInput: an unknown name, an unusable file, a library that is not installed.

    >>> feature_net("mnist").shape
    (1, 28, 28)
    >>> feature_net("minst")
    Traceback (most recent call last):
    distmatch.errors.BadInput: unknown feature net 'minst'; did you mean 'mnist'? Known: inception, mnist, pixels
    """
    if str(which) in FEATURE_NETS:
        return FEATURE_NETS[str(which)]()
    if Path(which).suffix == ".safetensors":
        return classifier_features(which)
    raise unknown("feature net", str(which), FEATURE_NETS)


def image_features(
    net: FeatureNet,
    images: Tensor,
    *,
    batch_size: int = 250,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """The net's features (n, d) of images (n, c, h, w) in [0, 1], float32, on the CPU.

    Raises:
        BadInput: images of another shape or range than the net takes, NaN.

    >>> image_features(pixel_features(), torch.zeros(2, 1, 8, 8)).shape
    torch.Size([2, 64])
    """
    return _batched(net.features, net, images, batch_size, progress)


def image_logits(
    net: FeatureNet,
    images: Tensor,
    *,
    batch_size: int = 250,
    progress: Callable[[float], None] | None = None,
) -> Tensor:
    """The net's logits (n, K) of images (n, c, h, w) in [0, 1], float32, on the CPU.

    Raises:
        BadInput: as `image_features`; the net is not a classifier.

    >>> image_logits(pixel_features(), torch.zeros(2, 1, 8, 8))
    Traceback (most recent call last):
    distmatch.errors.BadInput: the feature net 'pixels' has no logits; give a classifier
    """
    if net.logits is None:
        raise BadInput(f"the feature net '{net}' has no logits; give a classifier")
    return _batched(net.logits, net, images, batch_size, progress)


def _batched(
    function: Callable[[Tensor], Tensor],
    net: FeatureNet,
    images: Tensor,
    batch_size: int,
    progress: Callable[[float], None] | None,
) -> Tensor:
    images = checked(images, "images", "n, c, h, w", least=1, dtype=None)
    at_least(1, batch_size=batch_size)
    if net.shape is not None and tuple(images.shape[1:]) != net.shape:
        wants, got = ("×".join(map(str, s)) for s in (net.shape, images.shape[1:]))
        raise BadInput(f"the feature net '{net}' takes images of {wants}; these are {got}")
    if not images.is_floating_point() or images.min() < 0 or images.max() > 1:
        raise BadInput("images must be floating-point numbers in [0, 1]; divide bytes by 255")
    outputs = []
    with torch.no_grad():
        for start in range(0, len(images), batch_size):
            outputs.append(function(images[start : start + batch_size].float().to(net.device)).float().cpu())
            if progress is not None:
                progress(min(1.0, (start + batch_size) / len(images)))
    return torch.cat(outputs)
