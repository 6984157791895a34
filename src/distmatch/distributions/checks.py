"""Checks of a net's distribution: one for each example, over values of the data's or the latent's shape."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.distributions import Distribution, constraints

from distmatch.distributions.points import DensityAt
from distmatch.errors import BadInput

_VALIDATION = threading.Lock()
_SWITCHED_OFF: list[
    bool
] = []  # torch's setting before each block that is inside `unvalidated` now, in any thread


@contextmanager
def unvalidated() -> Iterator[None]:
    """Make distributions without torch's validation inside the block: it costs time, and a NaN is for `Diverged`.

    The setting is one of the whole process; where blocks of several threads overlap, it comes back with the last.

    >>> from torch.distributions import Normal
    >>> with unvalidated():
    ...     Normal(0.0, float("nan"))
    Normal(loc: 0.0, scale: nan)
    """
    with _VALIDATION:
        _SWITCHED_OFF.append(Distribution._validate_args)
        Distribution.set_default_validate_args(False)
    try:
        yield
    finally:
        with _VALIDATION:
            first = _SWITCHED_OFF[0]
            _SWITCHED_OFF.pop()
            Distribution.set_default_validate_args(False if _SWITCHED_OFF else first)


def check_distribution(
    made: Any, batch: int, event: tuple[int, ...], who: str, *, summed: bool = False
) -> Distribution:
    """Return what a net made if it is one distribution for each of `batch` examples over values of shape `event`.

    Shapes that only broadcast against the data give a loss that means nothing: a density `(B, 1)` of data `(B,)` is a
    `(B, B)` table, and pixels that are not joined by `Independent` are averaged instead of summed.

    Args:
        made: what the net returned.
        batch: B.
        event: shape of one value, such as `(1, 28, 28)`, or `(latent,)`.
        who: the net, as the sentence names it: `"the decoder"`.
        summed: whether the caller sums all dimensions but the first itself, so that `Independent` is not needed.

    Raises:
        BadInput: another kind of thing, another batch, another event.

    >>> import torch
    >>> from torch.distributions import Normal
    >>> check_distribution(Normal(torch.zeros(3, 2), 1.0), 3, (2,), "the decoder")
    Traceback (most recent call last):
    distmatch.errors.BadInput: the decoder returned a Normal of batch shape (3, 2) and event shape (), and 3 examples of
    shape (2,) need (3,) and (2,): wrap it in torch.distributions.Independent(..., 1)
    """
    if not isinstance(made, Distribution):
        came = f"a tensor of shape {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
        raise BadInput(
            f"{who} returned {came}; it must return a torch.distributions.Distribution, such as "
            f"Independent(Normal(mean, scale), {len(event)})"
        )
    if isinstance(made, DensityAt) and made.draw is None:
        event = ()
    shapes, wanted = (tuple(made.batch_shape), tuple(made.event_shape)), ((batch,), event)
    if shapes == wanted or (summed and shapes[0] + shapes[1] == (batch, *event)):
        return made
    whole = shapes[0] + shapes[1]
    if whole == (batch, *event):
        remedy = f"wrap it in torch.distributions.Independent(..., {len(event) - len(shapes[1])})"
        if len(shapes[1]) > len(event):
            remedy = f"leave {len(event)} of its dimensions in the event"
    elif whole[: len(whole) - len(event)] in ((), (1,)) and batch != 1:
        remedy = "it is one distribution for the whole batch; return one for each example"
    elif shapes[0][:1] != (batch,):
        remedy = "its first dimension must be the batch"
    else:
        remedy = f"one value of it must have shape {event}"
    raise BadInput(
        f"{who} returned a {type(_base(made)).__name__} of batch shape {shapes[0]} and event shape {shapes[1]}, and "
        f"{batch} examples of shape {event} need ({batch},) and {event}: {remedy}"
    )


def check_support(made: Distribution, x: Tensor, who: str) -> str | None:
    """Return a note on data of which a distribution gives a score, not a likelihood; None where all is well.

    Grey values in [0, 1] under a Bernoulli distribution are scored by a cross-entropy, which is common and no
    likelihood. Data outside of the support have no likelihood at all: their score can fall without end.

    Args:
        made: the distribution of x.
        x: `(B, *)`.
        who: the net that made it.

    Raises:
        BadInput: data outside of the support, with their range and the remedy.

    >>> import torch
    >>> from torch.distributions import Bernoulli
    >>> check_support(Bernoulli(torch.tensor(0.5)), torch.tensor([0.0, 0.3]), "the decoder")
    'x has values between 0 and 1, and the decoder returns a Bernoulli distribution: the score is a cross-entropy, not a
    log-likelihood (binarise the data, or take another distribution)'
    >>> check_support(Bernoulli(torch.tensor(0.5)), torch.tensor([0.0, 255.0]), "the decoder")
    Traceback (most recent call last):
    distmatch.errors.BadInput: x lies in [0, 255], and the decoder returns a Bernoulli distribution, whose values are 0
    and 1: divide x by 255, or take another distribution
    """
    probs = _base(made).__dict__.get("probs")
    if isinstance(probs, Tensor) and not bool(((probs >= 0) & (probs <= 1)).all()):
        raise BadInput(
            f"{who} returned probabilities from {float(probs.min()):g} to {float(probs.max()):g}; they must lie in "
            "[0, 1]: end it in a sigmoid, or give logits"
        )
    support = _support(made)
    if support is None:
        return None
    name = type(_base(made)).__name__.removeprefix("Logit")
    x = x.detach()
    low, high = float(x.min()), float(x.max())
    where = f"x lies in [{low:g}, {high:g}], and {who} returns a {name} distribution"
    if support is constraints.boolean:
        if low < 0 or high > 1:
            raise BadInput(
                f"{where}, whose values are 0 and 1: {_scaled(low, high)}, or take another distribution"
            )
        if bool(((x != 0) & (x != 1)).any()):
            return (
                f"x has values between 0 and 1, and {who} returns a {name} distribution: the score is a "
                "cross-entropy, not a log-likelihood (binarise the data, or take another distribution)"
            )
        return None
    inside = support.check(x)
    if bool(inside.all()):
        return None
    share = 1 - float(inside.double().mean())
    raise BadInput(
        f"{where}, whose support ({support}) does not hold {share:.2g} of the values: "
        f"{_scaled(low, high)}, or take another distribution"
    )


def _base(made: Distribution) -> Distribution:
    while hasattr(made, "base_dist"):
        made = made.base_dist
    return getattr(made, "distribution", made)


def _support(made: Distribution) -> Any:
    """The constraint on each value; None where the distribution does not say, or takes every real number."""
    try:
        support: Any = made.support
    except (NotImplementedError, AttributeError):
        return None
    while hasattr(support, "base_constraint"):  # of Independent, of mixtures
        support = support.base_constraint
    return None if support is constraints.real or support is constraints.dependent else support


def _scaled(low: float, high: float) -> str:
    """The remedy for values of this range."""
    if low >= 0 and high > 1:
        return f"divide x by {high:g}"
    return "bring x to [0, 1] by (x + 1) / 2" if -1 <= low < 0 and high <= 1 else "bring x to the support"
