"""Two-dimensional toys whose truth is known: 50,000 / 5,000 / 10,000 points from a generator of their own."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from distmatch.data.splits import DataSet, Entry, Request, Split

SIZES = (50_000, 5_000, 10_000)
LICENCE = "none needed (made here)"


def load_ring(request: Request) -> DataSet:
    """8 Gaussians, σ = 0.01, equally spaced on the unit circle, the first at angle 0.

    Source: Srivastava et al., VEEGAN, 2017; radius and σ as in Mescheder et al., 2017. (The public code of
    unrolled GANs counts the angle 2π twice and so has 7 modes; this one has 8.)

    >>> from distmatch.data import load
    >>> ring = load("ring")
    >>> ring.modes.shape, ring.mode_scale, ring.train.x.shape
    (torch.Size([8, 2]), 0.01, torch.Size([50000, 2]))
    """
    angle = torch.arange(8, dtype=torch.float64) * (2 * math.pi / 8)
    centres = torch.stack([angle.cos(), angle.sin()], dim=1).float()
    return _mixture("ring", centres, 0.01, request, "Srivastava et al., VEEGAN, 2017")


def load_grid(request: Request) -> DataSet:
    """25 Gaussians, σ = 0.05, at the points of {-4, -2, 0, 2, 4}². Source: Dumoulin et al., ALI, 2017.

    >>> from distmatch.data import load
    >>> load("grid").num_classes
    25
    """
    steps = torch.arange(-4.0, 5.0, 2.0)
    return _mixture("grid", torch.cartesian_prod(steps, steps), 0.05, request, "Dumoulin et al., ALI, 2017")


def load_gaussians(request: Request) -> DataSet:
    """5 Gaussians at 0 and (±2, ±2), variance 0.04. Source: Li et al., ALICE, 2017.

    >>> from distmatch.data import load
    >>> load("gaussians").modes[0]
    tensor([0., 0.])
    """
    corners = torch.cartesian_prod(torch.tensor([-2.0, 2.0]), torch.tensor([-2.0, 2.0]))
    centres = torch.cat([torch.zeros(1, 2), corners])
    return _mixture("gaussians", centres, 0.2, request, "Li et al., ALICE, 2017")


def load_lines(request: Request) -> DataSet:
    """Two parallel segments {-1, 1} × [-1, 1], uniform and without width: a support of measure zero.

    A model's support is disjoint from this one until it learns the lines exactly, the case in which the
    Jensen-Shannon divergence gives no gradient. No `modes`: no standard deviation belongs to a line.
    Source: the disjoint-support task of Fedus et al., Many paths to equilibrium, 2018 (sizes chosen here).

    >>> from distmatch.data import load
    >>> load("lines").train.x[:, 0].unique()
    tensor([-1.,  1.])
    """
    generator = torch.Generator().manual_seed(request.seed)

    def split(n: int) -> Split:
        y = torch.randint(2, (n,), generator=generator)
        along = 2 * torch.rand(n, generator=generator) - 1
        return Split(torch.stack([2.0 * y - 1.0, along], dim=1), y)

    train, validation, test = (split(n) for n in SIZES)
    source = "after Fedus et al., Many paths to equilibrium, 2018"
    return DataSet("lines", train, validation, test, ("left", "right"), source, LICENCE, "made here")


def _mixture(name: str, centres: Tensor, sigma: float, request: Request, source: str) -> DataSet:
    """Σ_k N(x; centre_k, σ² I) / K. centres: `(K, D)`; y is the mode's index."""
    generator = torch.Generator().manual_seed(request.seed)
    k, d = centres.shape

    def split(n: int) -> Split:
        y = torch.randint(k, (n,), generator=generator)
        return Split(centres[y] + sigma * torch.randn(n, d, generator=generator), y)

    train, validation, test = (split(n) for n in SIZES)
    classes = tuple(f"mode {i}" for i in range(k))
    return DataSet(
        name, train, validation, test, classes, source, LICENCE, "made here", modes=centres, mode_scale=sigma
    )


RING = Entry("ring", load_ring, "8 Gaussians on the unit circle, σ 0.01", "2", "none needed (made here)")
GRID = Entry("grid", load_grid, "25 Gaussians on a 5×5 grid, σ 0.05", "2", "none needed (made here)")
GAUSSIANS = Entry(
    "gaussians", load_gaussians, "5 Gaussians at 0 and (±2, ±2), σ 0.2", "2", "none needed (made here)"
)
LINES = Entry("lines", load_lines, "two parallel lines without width", "2", "none needed (made here)")
