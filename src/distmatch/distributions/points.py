"""Point masses, and a density that is known at one place."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import (
    Distribution,
)

from distmatch.errors import BadInput

SampleShape = torch.Size | list[int] | tuple[int, ...]


class Delta(Distribution):
    """The point mass at `loc`: an implicit decoder's or a deterministic encoder's distribution.

    Arguments:
        loc: the point, `(*batch, *event)`.
        event_dim: how many last dimensions of `loc` make one event.

    >>> distribution = Delta(torch.tensor([[1.0, 2.0]]), event_dim=1)
    >>> distribution.batch_shape, distribution.event_shape, distribution.rsample((3,)).shape
    (torch.Size([1]), torch.Size([2]), torch.Size([3, 1, 2]))
    """

    arg_constraints: dict = {}  # noqa: RUF012  (the base class's name and type)
    has_rsample = True

    def __init__(self, loc: Tensor, event_dim: int = 0) -> None:
        self.loc = loc
        cut = loc.ndim - event_dim
        super().__init__(loc.shape[:cut], loc.shape[cut:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The point itself, `(*batch, *event)`."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """The point itself, `(*batch, *event)`."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Zero, `(*batch, *event)`."""
        return torch.zeros_like(self.loc)

    def rsample(self, sample_shape: SampleShape = ()) -> Tensor:
        """The point, repeated: `(*sample_shape, *batch, *event)`."""
        return self.loc.expand(*sample_shape, *self.loc.shape)

    def expand(self, batch_shape: SampleShape, _instance: Distribution | None = None) -> Delta:
        """The same point for each of a larger batch, `(*batch_shape, *event)`."""
        return Delta(self.loc.expand(*batch_shape, *self.event_shape), len(self.event_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Raises `BadInput`: a point mass has no density."""
        raise BadInput(
            "an implicit decoder has no likelihood (nor has a deterministic encoder a density): "
            "use a term that needs draws only, or an explicit distribution such as 'bernoulli' or 'gaussian'"
        )


class NoisyPoint(Delta):
    """An implicit posterior's draw: a point whose noise went in before, with the moments of its distribution.

    Arguments:
        loc: the draw, `(*batch, *event)`.
        moments: mean and standard deviation of the distribution that it was drawn from, each of the shape of `loc`.
        event_dim: how many last dimensions of `loc` make one event.

    >>> zero = torch.zeros(3, 2)
    >>> NoisyPoint(zero, (zero, zero + 1), event_dim=1).batch_shape
    torch.Size([3])
    """

    def __init__(self, loc: Tensor, moments: tuple[Tensor, Tensor], event_dim: int = 0) -> None:
        self.moment_loc, self.moment_scale = moments
        super().__init__(loc, event_dim)


class DensityAt(Distribution):
    """A distribution of which the log-density is known at one point only.

    This is what an exact but costly density leaves behind: a flow's or an autoregressive net's forward pass at a
    point. It holds tensors alone, so it passes through `torch.func.vmap`.

    Arguments:
        log_density: log p(point) in nats, `(*batch)`.
        mean: a draw of the distribution, `(*batch, *event)`, where there is one.

    >>> DensityAt(torch.tensor([-1.5]), torch.zeros(1, 2)).log_prob(torch.ones(1, 2))
    tensor([-1.5000])
    """

    arg_constraints: dict = {}  # noqa: RUF012  (the base class's name and type)

    def __init__(self, log_density: Tensor, mean: Tensor | None = None) -> None:
        self.log_density = log_density
        self.draw = mean
        event = torch.Size() if mean is None else mean.shape[log_density.ndim :]
        super().__init__(log_density.shape, event, validate_args=False)

    @property
    def mean(self) -> Tensor:
        """The draw that came with it, `(*batch, *event)`."""
        if self.draw is None:
            raise BadInput(
                "this distribution is known by its density at one point alone, and was not drawn from"
            )
        return self.draw

    def log_prob(self, value: Tensor) -> Tensor:
        """The log-density at the one point, which `value` must be; in nats, `(*batch)`."""
        return self.log_density
