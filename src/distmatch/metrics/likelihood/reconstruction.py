"""Errors of reconstructions from their data, per pixel."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from distmatch.metrics.checks import as_distribution, checked, same_shape
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.inputs import (
    codes,
    held_out,
)
from distmatch.metrics.model import Model, Options, Result
from distmatch.random import own_randomness


@dataclass(frozen=True)
class ReconstructionError:
    """Mean squared and mean absolute error per pixel, in the units of x."""

    mse: Estimate
    l1: Estimate


def reconstruction_error(x: Tensor, x_rec: Tensor) -> ReconstructionError:
    """E mean_j (x_j - x̂_j)² and E mean_j |x_j - x̂_j|; errors over examples.

    Args:
        x, x_rec: (n, *), n ≥ 2, of one shape.

    Raises:
        BadInput: shapes that differ, one example, NaN.

    >>> import torch
    >>> error = reconstruction_error(torch.zeros(5, 3), torch.full((5, 3), 0.5))
    >>> error.mse.value, error.l1.value
    (0.25, 0.5)
    """
    same_shape(x, x_rec, "x and x_rec")
    flat = (x.reshape(len(x), -1), x_rec.reshape(len(x), -1)) if x.numel() and x.ndim else (x, x_rec)
    difference = checked(flat[0], "x", "n, *") - checked(flat[1], "x_rec", "n, *")
    return ReconstructionError(
        Estimate.mean(
            difference.square().mean(1), how="squared error, mean over pixels, error over examples"
        ),
        Estimate.mean(difference.abs().mean(1), how="absolute error, mean over pixels, error over examples"),
    )


@metric(
    "reconstruction",
    question="How far is a reconstruction from its datum?",
    needs=("encode", "decode", "test"),
    reference="mean squared and absolute error per pixel",
    better={"mse": "lower", "l1": "lower"},
)
def measure(model: Model, options: Options) -> Result:
    """The decoder's mean at one draw of the code, against held-out data."""
    assert model.decode is not None
    x, y = held_out(model, options)
    z = codes(model, x, y, options)
    reconstructions = []
    with torch.no_grad(), own_randomness(options.seed):
        for start in range(0, len(x), options.batch_size):
            part = slice(start, start + options.batch_size)
            p = as_distribution(model.decode(z[part], None if y is None else y[part]), "the decoder")
            try:
                reconstructions.append(p.mean)
            except NotImplementedError:
                reconstructions.append(p.sample())
    error = reconstruction_error(x, torch.cat(reconstructions).reshape(x.shape))
    return Result({"mse": error.mse, "l1": error.l1})
