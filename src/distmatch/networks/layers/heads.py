"""Of what a critic is made: its kinds of layers, and comparisons within the batch after its features."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Protocol

from torch import nn

from distmatch.networks.layers.minibatch import MinibatchDiscrimination
from distmatch.networks.layers.spectral_norm import SpectralConv2d, SpectralLinear
from distmatch.networks.layers.symmetric import Symmetric

Layer = Callable[..., nn.Module]


class _Kinds(Protocol):
    @property
    def spectral_norm(self) -> bool: ...
    @property
    def symmetric(self) -> bool: ...


def critic_layers(options: _Kinds) -> tuple[Layer, Layer]:
    """Return the constructors of a critic's linear layers and of its convolutions, as its options say.

    >>> from distmatch.networks.families.mlp import MLPOptions
    >>> critic_layers(MLPOptions()) == (nn.Linear, nn.Conv2d)
    True
    >>> critic_layers(MLPOptions(symmetric=True))[0](2, 3)
    Symmetric(
      (own): Linear(in_features=2, out_features=3, bias=True)
      (mean): Linear(in_features=2, out_features=3, bias=False)
    )
    """
    linear, conv2d = (SpectralLinear, SpectralConv2d) if options.spectral_norm else (nn.Linear, nn.Conv2d)
    return (partial(Symmetric, linear), partial(Symmetric, conv2d)) if options.symmetric else (linear, conv2d)


def across_batch(size: int, kernels: int) -> tuple[list[nn.Module], int]:
    """Minibatch discrimination, where asked for, and the size that it gives.

    Arguments:
        size: of the features.
        kernels: of minibatch discrimination; 0: none.

    >>> across_batch(4, 0)
    ([], 4)
    >>> across_batch(4, 3)[1]
    7
    """
    return ([MinibatchDiscrimination(size, kernels)], size + kernels) if kernels else ([], size)
