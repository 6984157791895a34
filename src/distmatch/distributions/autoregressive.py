"""Distributions of a decoder that reads x while it scores it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    constraints,
)

from distmatch.distributions.points import SampleShape
from distmatch.errors import BadInput


class TeacherForced(Distribution):
    """The distribution of an autoregressive net, for evaluation: its density by teacher forcing, its draws one by one.

    Arguments:
        given: x -> the distribution of each sub-pixel given those before it in x.
        ancestral: () -> a draw, `(B, *event)`.
        batch: B.
        event: the shape of one x.
    """

    arg_constraints: dict = {}  # noqa: RUF012  (the base class's name and type)

    def __init__(
        self,
        given: Callable[[Tensor], Distribution],
        ancestral: Callable[[], Tensor],
        batch: int,
        event: tuple[int, ...],
    ) -> None:
        self.given = given
        self.ancestral = ancestral
        super().__init__(torch.Size((batch,)), torch.Size(event), validate_args=False)

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """One draw for each row, `(B, *event)`; `sample_shape` must be empty."""
        if tuple(sample_shape):
            raise BadInput(
                "an autoregressive distribution is drawn from once for each code; repeat the codes"
            )
        return self.ancestral()

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x|z), in nats, `(B,)`."""
        return self.given(value).log_prob(value)

    @property
    def support(self) -> constraints.Constraint | None:
        """The support of each sub-pixel."""
        return self.given(torch.zeros(*self.batch_shape, *self.event_shape)).support
