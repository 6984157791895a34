"""The declaration of a family of nets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import nn


@dataclass(frozen=True)
class Family:
    """A family of nets.

    Arguments:
        name: what the command line takes.
        description: one line for the reader.
        reference: where it comes from.
        options: the dataclass of its options.
        encoder: (shapes, posterior, options) -> `Encoder`.
        decoder: (shapes, likelihood, options) -> `Decoder`.
        critic: (shapes, spaces, options) -> a critic.
        lens: (shapes, until, options) -> `Lens`; None where the family has none.
        flow: whether its decoder is invertible: a code of the data's size, draws without a likelihood's parameters,
            and p(x) itself known.
        autoregressive: whether its decoder is a product of conditional distributions, whose draws pass no gradient on.
    """

    name: str
    description: str
    reference: str
    options: type[Any]
    encoder: Callable[..., nn.Module]
    decoder: Callable[..., nn.Module]
    critic: Callable[..., nn.Module]
    lens: Callable[..., nn.Module] | None = None
    flow: bool = False
    autoregressive: bool = False
