"""Distributions of pixels with levels: binary ones, and categories of grey."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.distributions import (
    Bernoulli,
    Distribution,
    constraints,
)
from torch.nn.functional import softplus

from distmatch.distributions.points import SampleShape

EXACT = 40.0  # from here on softplus(l) is l in double precision too


class Levels(constraints.Constraint):
    """x in {0, 1/(n-1), ..., 1}, within a hundredth of a level."""

    is_discrete = True

    def __init__(self, n: int) -> None:
        self.n = n
        super().__init__()

    def check(self, value: Tensor) -> Tensor:
        """Return a mask of the entries that are levels."""
        level = value * (self.n - 1)
        return (level >= -0.01) & (level <= self.n - 0.99) & ((level - level.round()).abs() < 0.01)


class LogitBernoulli(Bernoulli):
    """Torch's Bernoulli distribution by its logits, with a log-probability of two operations.

    log p(x) = x·l - ln(1 + eˡ), in nats; a score, not a log-probability, where x lies between 0 and 1. Torch's own form
    falls into a dozen operations where runs are trained as lanes (half of the time of a small VAE), and cancels where
    it is all but certain that x is 0, as on the background of digits.

    Arguments:
        logits: l, of the batch's shape.

    >>> LogitBernoulli(torch.zeros(2)).log_prob(torch.tensor([0.0, 1.0])).exp()
    tensor([0.5000, 0.5000])
    """

    def __init__(self, logits: Tensor) -> None:
        super().__init__(logits=logits, validate_args=False)

    def log_prob(self, value: Tensor) -> Tensor:
        """In nats, of the shape of `value` and the logits together."""
        return value * self.logits - softplus(self.logits, threshold=EXACT)


class PixelCategorical(Distribution):
    """A categorical distribution over n grey levels per pixel: x in {0, 1/(n-1), ..., 1}.

    log p(x) = log softmax(logits)[(n-1) x], in nats: a probability, not a density.

    Arguments:
        logits: unnormalised log-probabilities of the levels, `(*, n)`; the batch shape is `(*)`.

    >>> distribution = PixelCategorical(torch.zeros(3, 256))
    >>> distribution.batch_shape, 256 * distribution.log_prob(torch.ones(3)).exp().round(decimals=8)
    (torch.Size([3]), tensor([1., 1., 1.]))
    """

    arg_constraints: dict = {}  # noqa: RUF012  (the base class's name and type)

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(logits.shape[:-1], validate_args=False)

    @property
    def levels(self) -> int:
        """The number of grey levels n."""
        return self.logits.shape[-1]

    @property
    def support(self) -> Levels:
        """The grey levels.

        >>> PixelCategorical(torch.zeros(1, 3)).support.check(torch.tensor([0.5, 0.6]))
        tensor([ True, False])
        """
        return Levels(self.levels)

    @property
    def mean(self) -> Tensor:
        """The expected level over n-1, differentiable in the logits. `(*)`."""
        grey = torch.linspace(0, 1, self.levels, dtype=self.logits.dtype, device=self.logits.device)
        return self.logits.softmax(-1) @ grey

    @property
    def mode(self) -> Tensor:
        """The most probable level over n-1. `(*)`."""
        return self.logits.argmax(-1).to(self.logits.dtype) / (self.levels - 1)

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Levels in {0, 1/(n-1), ..., 1}. `(*sample_shape, *)`."""
        with torch.no_grad():
            rows = self.logits.softmax(-1).reshape(-1, self.levels)
            draws = math.prod(sample_shape)
            picked = torch.multinomial(rows, draws, replacement=True).T
            shape = (*sample_shape, *self.logits.shape[:-1])
            return picked.reshape(shape).to(self.logits.dtype) / (self.levels - 1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of the level nearest to `value` in [0, 1], in nats. `(*)`."""
        level = (value * (self.levels - 1)).round().long().unsqueeze(-1)
        shape = torch.broadcast_shapes(level.shape[:-1], self.logits.shape[:-1])
        table = self.logits.log_softmax(-1).expand(*shape, self.levels)
        return table.gather(-1, level.expand(*shape, 1)).squeeze(-1)
