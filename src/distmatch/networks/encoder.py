"""The encoder around a family's layers: from x to q(z|x)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.distributions import Distribution

from distmatch.errors import BadInput
from distmatch.networks.inputs import full
from distmatch.networks.posteriors import Posterior
from distmatch.networks.shapes import Shapes, append_labels


class Encoder(nn.Module):
    """q(z|x) = posterior(body(prepare(x), y), noise); `noise_size` is the posterior's, 0 where it takes none.

    Arguments:
        prepare: what is done to x before the labels join it (centre, flatten).
        body: to `(B, latent · posterior.channels)`.
        shapes: of x, z and y.
        posterior: the distribution made from the body's output; its weights, where it has any, are in `head`.
    """

    def __init__(self, prepare: nn.Module, body: nn.Module, shapes: Shapes, posterior: Posterior) -> None:
        super().__init__()
        self.prepare, self.body = prepare, body
        self.shapes, self.posterior, self.x_units = shapes, posterior, shapes.x_units
        self.head, self.noise_size = posterior.head(shapes), posterior.noise_size

    def forward(self, x: Tensor, y: Tensor | None = None, noise: Tensor | None = None) -> Distribution:
        """The distribution of z given x `(B, *x)`: batch shape `(B,)`, event shape `(latent,)`.

        Arguments:
            x: data.
            y: labels `(B,)`, exactly where the shapes have them.
            noise: ε ~ N(0, I), `(B, noise_size)`, exactly where the posterior takes it.
        """
        if (noise is None) != (self.noise_size == 0):
            raise BadInput(
                f"this encoder's posterior takes noise of size {self.noise_size}: "
                + ("leave the noise out" if self.noise_size == 0 else "give it noise (B, noise_size)")
            )
        raw = full(self.body(append_labels(self.prepare(x), y, self.shapes.num_classes)))
        return self.head(raw) if noise is None else self.head(raw, noise)
