"""torch-fidelity's Inception v3 behind this room's interface (the extra `fidelity`)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distmatch.errors import BadInput

FEATURES = ("2048", "logits_unbiased")  # what torch-fidelity computes FID and KID from, and what IS


@dataclass(frozen=True)
class Inception:
    """The extractor with a digest of its weights. Arguments of both functions: (n, 1 or 3, h, w) in [0, 1]."""

    extract: Callable[[Tensor], tuple[Tensor, ...]]
    digest: str

    def features(self, images: Tensor) -> Tensor:
        """(n, 2048), the mean of the last map."""
        return self.extract(as_bytes(images))[0]

    def logits(self, images: Tensor) -> Tensor:
        """(n, 1008), without the last layer's bias."""
        return self.extract(as_bytes(images))[1]


def as_bytes(images: Tensor) -> Tensor:
    """[0, 1] -> the nearest of 256 levels, uint8; one channel becomes three.

    >>> as_bytes(torch.tensor([0.0, 0.5, 1.0]).view(1, 1, 1, 3))[0, :, 0]
    tensor([[  0, 128, 255],
            [  0, 128, 255],
            [  0, 128, 255]], dtype=torch.uint8)
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise BadInput(f"Inception takes images of one channel or three; got shape {tuple(images.shape)}")
    return (255 * images).round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1)


def load_inception(device: str = "cpu") -> Inception:
    """The extractor with torch-fidelity's own weights, on this device.

    Raises:
        BadInput: torch-fidelity is not installed.
    """
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        remedy = "install it with `pip install 'distmatch[fidelity]'`"
        raise BadInput(f"the Inception features need torch-fidelity; {remedy}") from error
    net: nn.Module = FeatureExtractorInceptionV3("inception-v3-compat", list(FEATURES))
    return Inception(net.eval().to(device), _digest(net))


def _digest(net: nn.Module) -> str:
    """sha256 over the weights in the order of their names."""
    digest = hashlib.sha256()
    for name, values in sorted(net.state_dict().items()):
        digest.update(name.encode() + values.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
