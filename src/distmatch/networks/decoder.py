"""The decoder around a family's layers: from z to p(x|z)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from distmatch.distributions.likelihoods import Likelihood
from distmatch.networks.inputs import full
from distmatch.networks.shapes import Shapes, append_labels


class Decoder(nn.Module):
    """p(x|z) = likelihood(body(z, y)); owns `log_scale` where the likelihood has one learned scale.

    Arguments:
        body: from `(B, latent + num_classes)` to `(B, C·channels, H, W)` or `(B, D·channels)`.
        shapes: of x, z and y.
        likelihood: the distribution made from the body's output.

    Raises:
        BadInput: the likelihood cannot describe unbounded data.
    """

    log_scale: nn.Parameter | None

    def __init__(self, body: nn.Module, shapes: Shapes, likelihood: Likelihood) -> None:
        super().__init__()
        likelihood.check(shapes.bounded)
        self.body, self.shapes, self.likelihood = body, shapes, likelihood
        self.x_units = shapes.x_units
        start = torch.tensor(likelihood.initial_log_scale)
        self.log_scale = nn.Parameter(start) if likelihood.learned_scale else None

    def forward(self, z: Tensor, y: Tensor | None = None) -> Distribution:
        """The distribution of x given z `(B, latent)`: batch shape `(B,)`, event shape `shapes.x`."""
        raw = full(self.body(append_labels(z, y, self.shapes.num_classes)))
        return self.likelihood(raw, self.shapes.x, self.shapes.bounded, self.log_scale)
