"""Statistics for evaluation of layers that normalise by their batch: how they are gathered, and where they lie."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

from torch import nn


class Gathers(nn.Module, ABC):
    """A layer that normalises by its batch in training mode, and by buffers of its own in evaluation mode."""

    for_evaluation: ClassVar[tuple[str, ...]] = ()
    """The names of these buffers, which training leaves alone."""

    @abstractmethod
    def begin(self) -> None:
        """Take note of every forward in training mode from now on."""

    @abstractmethod
    def end(self, keep: bool) -> None:
        """Take no more notes; with `keep`, write what was noted, if anything, into the buffers."""


def gathers(net: nn.Module) -> bool:
    """Return whether any layer of `net` needs statistics for evaluation.

    >>> gathers(nn.Linear(2, 2))
    False
    """
    return any(isinstance(m, Gathers) for m in net.modules())


@contextmanager
def recording(*nets: nn.Module) -> Iterator[None]:
    """Gather the statistics for evaluation from every forward in training mode inside this block.

    On leaving, each layer that ran gets mean = E[h] and var = E[h²] - E[h]² over all that it saw (the distribution
    of total variance), written in place into its own buffers. What training normalises apart wants a block, or a
    `twin`, of its own. Forwards through `torch.func.functional_call` count too. Nothing is written where the block
    raises.

    >>> import torch
    >>> from distmatch.networks import BatchNorm
    >>> net = BatchNorm(1)
    >>> with recording(net):
    ...     _ = net(torch.tensor([[0.0], [2.0]])), net(torch.tensor([[4.0], [6.0]]))
    >>> net.mean.item(), net.var.item()
    (3.0, 5.0)
    """
    layers = [m for net in nets for m in net.modules() if isinstance(m, Gathers)]
    for layer in layers:
        layer.begin()
    whole = False
    try:
        yield
        whole = True
    finally:
        for layer in layers:
            layer.end(keep=whole)


def twin(net: nn.Module) -> nn.Module:
    """The same net, parameters and all, with statistics for evaluation and a mode (training or not) of its own.

    >>> from distmatch.networks import BatchNorm
    >>> net = BatchNorm(1)
    >>> other = twin(net)
    >>> other.weight is net.weight, other.mean is net.mean
    (True, False)
    """
    own = {id(getattr(m, key)) for m in net.modules() if isinstance(m, Gathers) for key in m.for_evaluation}
    shared = {id(t): t for t in (*net.parameters(), *net.buffers()) if id(t) not in own}
    return copy.deepcopy(net, shared)
