"""Quantised values with a density: a normal's mass in a level's bin, at x + u with u uniform in the bin."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
    Independent,
    Normal,
)
from torch.distributions.utils import broadcast_all

from distmatch.distributions.points import SampleShape


class QuantizedNormal(Distribution):
    """A normal density for discrete data x in {0, 1/(n-1), ..., 1}, by uniform dequantisation.

    With u ~ U[0, 1) and n = `bins`, the dequantised x̃ = ((n-1) x + u) / n lies in [0, 1), and
    log p(x) = log N(x̃; loc, scale) in nats, a density on [0, 1]. Per dimension,
    log P(x) ≥ E_u[log N(x̃; loc, scale)] - log n bounds the probability of the level x; so a discrete
    negative log-likelihood is bounded by the one here plus D log n.

    Arguments:
        loc: the mean of x̃, `(*)`.
        scale: its standard deviation, broadcast against `loc`.
        bins: the number of levels.

    Reference: Theis, van den Oord and Bethge, A note on the evaluation of generative models,
    arXiv:1511.01844, section 3.1.

    >>> distribution = QuantizedNormal(torch.tensor(0.5), torch.tensor(0.1))
    >>> round(distribution.mean.item(), 6), round(distribution.log_prob(torch.tensor(0.5)).item(), 4)
    (0.5, 1.3836)
    """

    arg_constraints: dict = {}  # noqa: RUF012  (the base class's name and type)

    def __init__(self, loc: Tensor, scale: Tensor, bins: int = 256) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        self.bins = bins
        super().__init__(self.loc.shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """(n·loc - ½) / (n-1), in the data's units; levels are not clipped to [0, 1]. `(*)`."""
        return (self.bins * self.loc - 0.5) / (self.bins - 1)

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """Levels in {0, 1/(n-1), ..., 1}, the tails in the end levels. `(*sample_shape, *)`."""
        with torch.no_grad():
            shape = (*sample_shape, *self.loc.shape)
            dequantised = torch.normal(self.loc.expand(shape), self.scale.expand(shape))
            return (self.bins * dequantised).floor().clamp(0, self.bins - 1) / (self.bins - 1)

    def log_prob(self, value: Tensor, noise: Tensor | None = None) -> Tensor:
        """log N(((n-1) x + u) / n; loc, scale), in nats; `noise` is u in [0, 1), and None ½. `(*)`."""
        u: Tensor | float = 0.5 if noise is None else noise
        dequantised = ((self.bins - 1) * value + u) / self.bins
        return Normal(self.loc, self.scale, validate_args=False).log_prob(dequantised)


class Dequantised(Distribution):
    """A distribution that dequantises, scored with fresh uniform noise from torch's global generator, as training
    scores it.

    Arguments:
        distribution: the distribution, batch shape `(B,)`.

    >>> distribution = Dequantised(Independent(QuantizedNormal(torch.full((1, 2), 0.5), torch.tensor(1e-3)), 1))
    >>> x = torch.full((1, 2), 0.5)
    >>> bool(distribution.log_prob(x) == distribution.log_prob(x)), distribution.mean.shape
    (False, torch.Size([1, 2]))
    """

    arg_constraints: dict = {}  # noqa: RUF012  (the base class's name and type)

    def __init__(self, distribution: Distribution) -> None:
        self.distribution = distribution
        super().__init__(distribution.batch_shape, distribution.event_shape, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The distribution's mean, `(B, *event)`."""
        return self.distribution.mean

    def sample(self, sample_shape: SampleShape = ()) -> Tensor:
        """A draw of the distribution, `(*sample_shape, B, *event)`."""
        return self.distribution.sample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """log p(x + u), in nats, at a fresh u; `(B,)`."""
        return log_likelihood(self.distribution, value, torch.rand_like(value))


def log_likelihood(distribution: Distribution, x: Tensor, noise: Tensor | None = None) -> Tensor:
    """log p(x), in nats, with `noise` in [0, 1) as the dequantisation where the distribution has one.

    Arguments:
        distribution: the distribution of x, batch shape `(B,)`.
        x: `(B, *event)`.
        noise: uniform, of the shape of `x`; a distribution that does not dequantise ignores it.

    >>> distribution = Independent(QuantizedNormal(torch.full((1, 2), 0.5), torch.tensor(0.1)), 1)
    >>> log_likelihood(distribution, torch.full((1, 2), 0.5), noise=torch.full((1, 2), 0.5))
    tensor([2.7673])
    """
    if noise is None:
        return distribution.log_prob(x)
    if isinstance(distribution, QuantizedNormal):
        return distribution.log_prob(x, noise)
    if isinstance(distribution, Independent) and isinstance(distribution.base_dist, QuantizedNormal):
        events = tuple(range(-distribution.reinterpreted_batch_ndims, 0))
        each = distribution.base_dist.log_prob(x, noise)
        return each.sum(events) if events else each
    return distribution.log_prob(x)
