"""Initial weights after DCGAN."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

from distmatch.networks.layers.batch_norm import BatchNorm

Net = TypeVar("Net", bound=nn.Module)


def initialise(net: Net, std: float | None = 0.02) -> Net:
    """Weights N(0, std²), batch norm's N(1, std²), biases 0; returns the net, as it is where `std` is None.

    Reference: Radford, Metz and Chintala, arXiv:1511.06434.

    >>> initialise(nn.Linear(2, 2)).bias.tolist()
    [0.0, 0.0]
    """
    if std is None:
        return net
    for m in net.modules():
        if isinstance(m, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(m.weight, 0.0, std)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, BatchNorm):
            nn.init.normal_(m.weight, 1.0, std)
    return net
