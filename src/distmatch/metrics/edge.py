"""The edge of metrics: what a model's callables must be before a number of theirs means something."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from distmatch.distributions.checks import check_distribution, check_support
from distmatch.distributions.flatten import flatten_distribution
from distmatch.errors import BadInput, Doubt
from distmatch.metrics.checks import as_distribution, check_labels
from distmatch.random import own_randomness

if TYPE_CHECKING:
    from distmatch.metrics.model import Model

CALLABLES = ("encode", "decode", "encode_samples", "decode_prior", "sample", "generate", "log_prob")
PROBED = 4  # examples that an encoder is tried on
LIKE = 1e-3  # two answers to one input differ by rounding alone: by this share of their range at most


def check_model(model: Model) -> None:
    """Raise `BadInput` for a model whose nets are in training mode, or whose encoder answers by chance.

    Dropout and batch norm in training mode make a number of the batch and of chance, and batch norm's statistics move
    while it is measured.

    >>> from distmatch.metrics import Model
    >>> net = nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5))
    >>> check_model(Model(sample=lambda n, seed: net(torch.zeros(n, 2))))
    Traceback (most recent call last):
    distmatch.errors.BadInput: sample uses a net in training mode with Dropout: call eval() on it first
    """
    check_modes(**{name: getattr(model, name) for name in CALLABLES})
    x, y = model.test, model.test_labels
    if model.encode is None or not isinstance(x, Tensor) or len(x) < PROBED:
        return
    if y is not None and not isinstance(y, Tensor):
        return
    check_labels(x, y, "the held-out data")
    y = None if y is None else y[:PROBED]
    with torch.no_grad(), own_randomness(0):
        first, again = model.encode(x[:PROBED], y), model.encode(x[:PROBED], y)
        some = model.encode(x[: PROBED // 2], None if y is None else y[: PROBED // 2])
    if not all(isinstance(q, Distribution) for q in (first, again, some)):
        return  # the metric that asks for codes says so
    if not _alike(first, again):
        raise BadInput(
            "encode returns another distribution for the same x at each call: it draws random numbers of its own, such "
            "as dropout's; call eval() on its net, and leave all chance to the distribution that it returns"
        )
    if not _alike(first, some):
        raise BadInput(
            "encode returns another distribution for an x when other examples are in the batch, as batch norm does in "
            "training mode: call eval() on its net"
        )


def check_modes(**callables: Callable[..., Any] | None) -> None:
    """Raise `BadInput` for a callable that uses a net whose layers are in training mode, by the callable's name."""
    for name, function in callables.items():
        for net in _nets_of(function):
            for module in net.modules():
                if module.training and _depends_on_mode(module):
                    kind = type(module).__name__
                    raise BadInput(f"{name} uses a net in training mode with {kind}: call eval() on it first")


def _nets_of(function: Any) -> Iterator[nn.Module]:
    """Yield the modules that a callable is, is a method of, or names: those found in its closure and globals."""
    if isinstance(function, nn.Module):
        yield function
    elif inspect.ismethod(function) and isinstance(function.__self__, nn.Module):
        yield function.__self__
    elif inspect.isfunction(function):
        named = inspect.getclosurevars(function)
        for value in (*named.nonlocals.values(), *named.globals.values()):
            held = value.values() if isinstance(value, dict) else [value]
            yield from (net for net in held if isinstance(net, nn.Module))


def _depends_on_mode(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return module.p > 0
    if isinstance(module, nn.modules.batchnorm._NormBase):
        return bool(module.track_running_stats)
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0
    return bool(getattr(module, "for_evaluation", ()))  # statistics that are gathered for evaluation


def _alike(a: Distribution, b: Distribution) -> bool:
    """True where the first rows of two distributions are equal to rounding."""
    for u, v in zip(flatten_distribution(a)[0], flatten_distribution(b)[0], strict=False):
        rows = min(len(u), len(v)) if u.ndim and v.ndim else 0
        if rows and u.shape[1:] == v.shape[1:]:
            scale = float(u.abs().nan_to_num(0.0, 0.0, 0.0).max()) if u.numel() else 0.0
            if not torch.isclose(u[:rows], v[:rows], rtol=0, atol=LIKE * scale + 1e-12, equal_nan=True).all():
                return False
    return True


def called(net: Callable[..., Any], who: str, *inputs: Tensor) -> Any:
    """Return what a net makes of its inputs.

    Raises:
        BadInput: it cannot take them; with their shapes and types, and what it said.

    >>> called(nn.Linear(2, 2), "the encoder", torch.zeros(3, 4))
    Traceback (most recent call last):
    distmatch.errors.BadInput: the encoder cannot take inputs of (3, 4) float32: mat1 and mat2 shapes cannot be
    multiplied (3x4 and 2x2)
    """
    try:
        return net(*inputs)
    except BadInput:
        raise
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        shapes = ", ".join(f"{tuple(v.shape)} {str(v.dtype).removeprefix('torch.')}" for v in inputs)
        said = " ".join(str(error).split())
        raise BadInput(f"{who} cannot take inputs of {shapes}: {said}") from error


def encoded(encoder: Callable[..., Any], x: Tensor, *label: Tensor) -> Distribution:
    """Return q(z|x), one for each row of x; raise `BadInput` for anything else."""
    return as_distribution(called(encoder, "the encoder", x, *label), "the encoder", len(x))


def log_density(made: Any, x: Tensor, first: bool = False) -> Tensor:
    """Return log p(x|z) of the decoder's distribution, in nats, `(B,)` in float64.

    Args:
        made: what the decoder returned for B codes.
        x: `(B, *)`.
        first: whether the data's range is checked against the distribution's support, which one batch shows.

    Raises:
        BadInput: a distribution of other examples than x, or over another shape; x outside of its support.

    Warns:
        Doubt: the score is not a log-likelihood.
    """
    distribution = check_distribution(made, len(x), tuple(x.shape[1:]), "the decoder", summed=True)
    if first and (note := check_support(distribution, x, "the decoder")):
        warnings.warn(note, Doubt, stacklevel=2)
    values = distribution.log_prob(x).double()
    return values.flatten(1).sum(1) if values.ndim > 1 else values
