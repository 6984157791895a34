"""What a critic has after its features of each sample: comparisons within the batch, and the last layer."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from distmatch.networks.minibatch import MinibatchDiscrimination
from distmatch.networks.symmetric import Symmetric

Linear = Callable[..., nn.Linear]


def across_batch(
    size: int, kernels: int, symmetric: int, activation: Callable[[], nn.Module], linear: Linear = nn.Linear
) -> tuple[list[nn.Module], int]:
    """Minibatch discrimination, then two symmetric layers, each only where asked for; and the size they give.

    Arguments:
        size: of the features.
        kernels: of minibatch discrimination; 0: none.
        symmetric: units of each symmetric layer; 0: none.
        activation: after each symmetric layer.
        linear: makes the symmetric layers' linear maps.

    >>> across_batch(4, 0, 0, nn.ReLU)
    ([], 4)
    >>> across_batch(4, 3, 8, nn.ReLU)[1]
    8
    """
    found: list[nn.Module] = []
    if kernels:
        found.append(MinibatchDiscrimination(size, kernels))
        size += kernels
    if symmetric:
        found += [Symmetric(size, symmetric, linear), activation()]
        found += [Symmetric(symmetric, symmetric, linear), activation()]
        size = symmetric
    return found, size
