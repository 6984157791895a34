"""Singular values of a decoder's Jacobian: the factors by which it stretches space around a code."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.func import jvp, vjp, vmap

from distmatch.errors import BadInput
from distmatch.metrics.checks import checked
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.generator.inputs import generator_of, labels_in_turn
from distmatch.metrics.model import Model, Options, Result
from distmatch.metrics.plots import Histograms, Lines, Plot
from distmatch.metrics.spread import spread
from distmatch.random import own_randomness

Decoder = Callable[..., Any]
ENTRIES_AT_ONCE = 2**18  # of Jacobians held at a time, which also bounds what a decoder's layers hold
DIRECTIONS_AT_ONCE = 32


@dataclass(frozen=True)
class JacobianSpectrum:
    """The result of `jacobian_spectrum`.

    Attributes:
        log_condition_number: mean over z of log cond(JᵀJ) = 2 log(σ_max/σ_min).
        log_condition_number_spread: its standard deviation over z.
        log_volume: mean over z of Σ_i log σ_i, the log of the volume that a unit cube of codes is stretched to.
        singular_values: σ of each J, (n, min(D, X)), float64, descending.
        of_mean: singular values of the averaged E J, (min(D, X),).
        of_mean_metric: √ of the eigenvalues of the averaged E JᵀJ, (D,).
    """

    log_condition_number: Estimate
    log_condition_number_spread: Estimate
    log_volume: Estimate
    singular_values: Tensor = field(compare=False)
    of_mean: Tensor = field(compare=False)
    of_mean_metric: Tensor = field(compare=False)


def jacobian_spectrum(
    decoder: Decoder,
    z: Tensor,
    *,
    y: Tensor | None = None,
    progress: Callable[[float], None] | None = None,
) -> JacobianSpectrum:
    """Singular values of J(z) = ∂G/∂z, (X, D), at each code, and those of the averaged J and JᵀJ.

    Columns of J come from Jacobian-vector products where D ≤ X, rows from vector-Jacobian products otherwise, all
    directions of a batch of codes at once by `torch.func.vmap`. A decoder that vmap refuses is differentiated
    direction after direction for the whole batch, and one that `torch.func` refuses, coordinate of x after
    coordinate by plain autograd: the same numbers, slower.

    The averages tell whether all of z moves x the same way: E JᵀJ is what a random code's metric is on average,
    while directions that differ from code to code cancel in E J.

    When it lies: singular values below ε·σ_max, with ε the precision of the decoder's numbers (1.2e-7 in
    float32), are rounding. The condition number of such a J is counted as 1/ε² and `how` says for how many codes.
    A scale shared by all of z drops out of a condition number: look at the values themselves too.

    Args:
        decoder: decoder(z), or decoder(z, y) if y is given, returns x (n, *) or a torch.distributions distribution
            of it, whose mean is taken. Each row of x depends on its own row of z alone (evaluation mode).
        z: (n, D), n ≥ 2, as a rule drawn from the prior; y: (n, *) labels.

    Raises:
        BadInput: shapes, NaN, rows that depend on one another, a decoder that is constant.

    Reference: Odena et al., 1802.08768, section 2.

    >>> A = torch.tensor([[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]])
    >>> spectrum = jacobian_spectrum(lambda z: z @ A.T, torch.zeros(4, 2))
    >>> spectrum.singular_values[0], round(spectrum.log_condition_number.value, 4)  # 2 log 3
    (tensor([3., 1.], dtype=torch.float64), 2.1972)
    """
    checked(z, "z", "n, D")
    values: list[Tensor] = []
    total: Tensor | float = 0.0
    metric: Tensor | float = 0.0
    for jacobian in _jacobians(decoder, z, y):
        values.append(torch.linalg.svdvals(jacobian))
        total = total + jacobian.sum(0)
        metric = metric + torch.einsum("nij,nik->jk", jacobian, jacobian)
        if progress is not None:
            progress(sum(map(len, values)) / len(z))
    assert isinstance(total, Tensor)
    assert isinstance(metric, Tensor)
    singular = torch.cat(values)
    return JacobianSpectrum(
        *_summaries(singular, torch.finfo(z.dtype).eps),
        singular_values=singular,
        of_mean=torch.linalg.svdvals(total / len(z)),
        of_mean_metric=torch.linalg.eigvalsh(metric / len(z)).clamp_min(0).sqrt().flip(0),
    )


def log_condition_number(decoder: Decoder, z: Tensor, *, y: Tensor | None = None) -> Tensor:
    """log cond(JᵀJ) = 2 log(σ_max/σ_min) of J = ∂G/∂z at each code, (n,), in nats, float64.

    This is the condition number of the metric JᵀJ that the decoder induces on codes: the square of J's own. σ_min
    is the least of the min(D, X) singular values, so that where x has fewer dimensions than z (and JᵀJ is singular
    for every decoder) it is the condition number of JJᵀ instead.

    +inf where σ_min is exactly 0, a decoder constant around z included. Values near -2 log ε (31.9 in float32)
    and above are rounding: σ_min is not resolved there.

    Args:
        decoder, z, y: as for `jacobian_spectrum`, but a single code will do.

    Raises:
        BadInput: shapes, NaN, rows that depend on one another.

    Reference: Odena et al., 1802.08768.

    >>> log_condition_number(lambda z: z * torch.tensor([1.0, 10.0]), torch.zeros(1, 2))  # 2 log 10
    tensor([4.6052], dtype=torch.float64)
    """
    checked(z, "z", "n, D", least=1)
    return _log_condition(torch.cat([torch.linalg.svdvals(j) for j in _jacobians(decoder, z, y)]))


def image_of(decoder: Decoder, z: Tensor, y: Tensor | None = None) -> Tensor:
    """G(z), (n, *): what the decoder returns, or the mean of the distribution that it returns.

    Raises:
        BadInput: something else, another number of rows, a distribution without a mean.

    >>> image_of(lambda z: torch.distributions.Normal(2 * z, 1.0), torch.ones(1, 1))
    tensor([[2.]])
    """
    image = decoder(z) if y is None else decoder(z, y)
    if isinstance(image, Distribution):
        try:
            image = image.mean
        except NotImplementedError:
            raise BadInput(
                f"the decoder returned a {type(image).__name__}, which has no mean; return x itself"
            ) from None
    if not isinstance(image, Tensor) or image.ndim < 2 or image.shape[:1] != z.shape[:1]:
        got = f"shape {tuple(image.shape)}" if isinstance(image, Tensor) else type(image).__name__
        raise BadInput(f"the decoder must return x ({len(z)}, *), one for each code; it returned {got}")
    return image


def _log_condition(singular: Tensor) -> Tensor:
    """2 log(σ_max/σ_min), (n,); +inf where σ_min is 0."""
    largest, least = singular[:, 0], singular[:, -1]
    return torch.where(least > 0, 2 * (largest.log() - least.log()), math.inf)


def _summaries(singular: Tensor, eps: float) -> tuple[Estimate, Estimate, Estimate]:
    """Mean and spread of the log condition number, and the mean log volume, at the decoder's precision."""
    largest = singular[:, 0]
    if not (largest > 0).all():
        flat = int((largest == 0).sum())
        raise BadInput(
            f"the decoder is constant around {flat} of {len(largest)} codes; it has no spectrum there"
        )
    limit = -2 * math.log(eps)
    log_condition = _log_condition(singular)
    unresolved = int((log_condition > limit).sum())
    capped = log_condition.clamp(max=limit)
    resolved = torch.maximum(singular, eps * largest[:, None])
    how = "of JᵀJ, the square of J's; error over codes"
    if unresolved:
        how += f"; {unresolved} of {len(capped)} codes counted as {limit:.1f}, the most that their precision resolves"
    return (
        Estimate.mean(capped, "nats", how),
        spread(capped, "nats", "standard deviation over codes; two clusters of codes make it large"),
        Estimate.mean(
            resolved.log().sum(1), "nats", "Σ log σ; above 0 where the map expands; error over codes"
        ),
    )


def _jacobians(decoder: Decoder, z: Tensor, y: Tensor | None) -> Iterator[Tensor]:
    """J at each code, chunk after chunk: (b, X, D), float64."""
    if y is not None and len(y) != len(z):
        raise BadInput(f"y has {len(y)} labels for {len(z)} codes")
    if not z.is_floating_point():
        raise BadInput(f"z holds {z.dtype}; give floating-point codes")
    z = z.detach()
    size = _dimensions(decoder, z, y)
    chunk = max(1, ENTRIES_AT_ONCE // (size * z.shape[1]))
    for start in range(0, len(z), chunk):
        part = slice(start, start + chunk)
        function = partial(_flat_image, decoder, None if y is None else y[part])
        with own_randomness(0), torch.enable_grad(), _quiet():
            jacobian = _jacobian(function, z[part], size)
        if not torch.isfinite(jacobian).all():
            raise BadInput("the decoder's Jacobian holds NaN or infinite values")
        yield jacobian


def _flat_image(decoder: Decoder, y: Tensor | None, z: Tensor) -> Tensor:
    return image_of(decoder, z, y).flatten(1)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence torch's warning about itself at the first forward differentiation of a process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.jit", DeprecationWarning)
        yield


def _dimensions(decoder: Decoder, z: Tensor, y: Tensor | None) -> int:
    """X, after a look at whether the rows of x depend on their own code alone."""
    few = min(len(z), 4)
    fewer = max(1, few // 2)
    with torch.no_grad(), own_randomness(0):
        x = image_of(decoder, z[:few], None if y is None else y[:few]).flatten(1).double()
        alone = image_of(decoder, z[:fewer], None if y is None else y[:fewer]).flatten(1).double()
    if not torch.isfinite(x).all():
        raise BadInput("the decoder returned NaN or infinite values")
    if (x[:fewer] - alone).abs().max() > 1e-3 * max(float(x.abs().max()), 1e-30):
        raise BadInput(
            "the decoder's output for one code depends on the other codes, or on chance: "
            "put it into evaluation mode (no batch statistics, no dropout)"
        )
    return x.shape[1]


def _jacobian(function: Callable[[Tensor], Tensor], z: Tensor, size: int) -> Tensor:
    """(b, X, D), float64: by columns or rows, whichever are fewer; by loops where vmap fails."""

    def column(e: Tensor) -> Tensor:
        return jvp(function, (z,), (e.expand_as(z),))[1]

    def row(e: Tensor) -> Tensor:
        return vjp(function, z)[1](e.expand(len(z), size))[0]

    basis = torch.eye(z.shape[1], dtype=z.dtype, device=z.device)
    outputs = torch.eye(size, dtype=z.dtype, device=z.device)
    by_columns = (
        lambda: vmap(column, out_dims=-1, chunk_size=DIRECTIONS_AT_ONCE)(basis),
        lambda: torch.stack([column(e) for e in basis], -1),
    )
    by_rows = (lambda: vmap(row, out_dims=1, chunk_size=DIRECTIONS_AT_ONCE)(outputs),)
    for attempt in by_columns if z.shape[1] <= size else by_rows:
        try:
            return attempt().detach().double()
        except (RuntimeError, NotImplementedError):  # an operation without the rule that this way needs
            continue
    return _row_by_row(function, z)


def _row_by_row(function: Callable[[Tensor], Tensor], z: Tensor) -> Tensor:
    """(b, X, D), float64, by plain reverse differentiation of each coordinate of x, for the whole batch."""
    z = z.clone().requires_grad_()
    x = function(z)
    if not x.requires_grad:
        raise BadInput("the decoder's output does not depend on z by differentiable operations")
    totals = x.sum(0)
    rows = [
        torch.autograd.grad(total, z, retain_graph=True, allow_unused=True, materialize_grads=True)[0]
        for total in totals
    ]
    return torch.stack(rows, 1).double()


MAPPED = 64  # codes at which the decoder's Jacobian is looked at
MAPPED_ENTRIES = 2**22  # of all these Jacobians together


@metric(
    "jacobian_spectrum",
    question="Does the decoder stretch all directions of z alike, or does it flatten some?",
    needs=("generate", "draw_prior"),
    reference="Odena et al., 1802.08768",
    better={"log_condition_number": "lower", "log_condition_number_spread": "lower", "log_volume": ""},
)
def measure(model: Model, options: Options) -> Result:
    """The spectrum at codes from the prior; with the labels in turn where the model is given labels."""
    assert model.generate is not None
    assert model.draw_prior is not None
    z = model.draw_prior(max(2, min(options.samples, MAPPED)), options.seed)
    y = labels_in_turn(model, len(z))
    with torch.no_grad():
        size = model.generate(z[:1], None if y is None else y[:1]).numel()
    n = max(2, MAPPED_ENTRIES // (size * z.shape[1]))
    spectrum = jacobian_spectrum(
        generator_of(model), z[:n], y=None if y is None else y[:n], progress=options.progress
    )
    metrics = {
        "log_condition_number": spectrum.log_condition_number,
        "log_condition_number_spread": spectrum.log_condition_number_spread,
        "log_volume": spectrum.log_volume,
    }
    return Result(metrics, _spectra(spectrum))


def _spectra(spectrum: JacobianSpectrum) -> tuple[Plot, ...]:
    singular = spectrum.singular_values
    tiny = singular.max() * 1e-8
    rank = torch.arange(1, singular.shape[1] + 1)
    log_condition = 2 * (singular[:, 0] / singular[:, -1].clamp_min(tiny)).log()
    return (
        Histograms(
            "Condition numbers of the decoder's metric at codes from the prior: two clusters foretell bad samples",
            {"codes": log_condition},
            "log cond(JᵀJ), nats",
        ),
        Lines(
            "Singular values of the decoder's Jacobian: how much each direction of z moves x",
            rank,
            {
                "geometric mean over codes": singular.clamp_min(tiny).log().mean(0).exp(),
                "of the averaged J": spectrum.of_mean.clamp_min(tiny),
                "of the averaged JᵀJ (root)": spectrum.of_mean_metric[: len(rank)].clamp_min(tiny),
            },
            "rank",
            "singular value",
            log="y",
        ),
    )
