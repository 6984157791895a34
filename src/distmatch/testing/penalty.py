"""The contract of a penalty, for a small fixed critic in float64."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from distmatch.objectives.penalties import Penalty
from distmatch.random import seeded

ROWS, FEATURES, H = 6, 3, 1e-6


def check_penalty(penalty: Penalty) -> None:
    """Raise `AssertionError` with one sentence where a penalty breaks its contract.

    - One number is paid for each sample, which other samples do not change (their common deviation may).
    - Its gradient in the critic's weights equals finite differences, and its value is the same under `no_grad`.
    - One that is not `per_sample` pays nothing, and projects weights in place, where a second time changes nothing.

    >>> from distmatch.objectives.penalties import gradient_penalty
    >>> check_penalty(gradient_penalty(10))
    """
    name = f"penalty {penalty.equation()!r}"
    g = seeded(0)
    if not penalty.per_sample:
        _check_projection(name, penalty, g)
        return
    weights, p, q = (
        torch.randn(n, FEATURES, generator=g, dtype=torch.float64) for n in (FEATURES, ROWS, ROWS)
    )
    noise = None
    if penalty.needs_noise:
        drawn = penalty.noise.draw({"x": (ROWS, FEATURES)}, g, torch.float64)
        noise = drawn if penalty.noise.shape == "each" else [drawn]

    def paid(w: Tensor, p: Tensor, q: Tensor) -> Tensor:
        made = penalty(lambda x: (x @ w).tanh().square().sum(1) + x.prod(1), [p], [q], noise)
        shape = None if made is None else tuple(made.shape)
        assert made is not None, f"{name}: it pays nothing; one that is per_sample must"
        assert shape == (ROWS,), f"{name}: its shape is {shape} for {ROWS} samples; it must be ({ROWS},)"
        return made

    before = paid(weights, p, q)
    assert before.isfinite().all(), f"{name}: it is not finite for scores that are; it must be"
    for i in range(ROWS):
        turned = [v.clone() for v in (p, q)]
        for v in turned:
            v[i] = v[i].flip(0)  # the batch keeps its deviation
        others = torch.arange(ROWS) != i
        same = torch.allclose(paid(weights, *turned)[others], before[others], rtol=1e-12, atol=0)
        assert same, f"{name}: sample {i} changes what others pay; each must pay for itself"
    _check_slope(name, lambda w: paid(w, p, q).mean(), weights)
    with torch.no_grad():
        same = torch.allclose(paid(weights, p, q), before, rtol=1e-12, atol=0)
    assert same, (
        f"{name}: it is another under torch.no_grad(), where validation computes it; it must be the same"
    )


def _check_slope(name: str, value: Callable[[Tensor], Tensor], weights: Tensor) -> None:
    slope = torch.func.grad(value)(weights).flatten()
    for i in range(len(slope)):
        step = torch.zeros_like(weights)
        step.view(-1)[i] = H
        difference = (value(weights + step) - value(weights - step)) / (2 * H)
        assert torch.allclose(slope[i], difference, rtol=1e-5, atol=1e-7), (
            f"{name}: its slope in the critic's weight {i} is {slope[i].item():.4g}, by finite differences "
            f"{difference.item():.4g}; they must agree"
        )


def _check_projection(name: str, penalty: Penalty, g: torch.Generator) -> None:
    made = penalty(lambda *x: torch.cat(x, 1).sum(1), [], [], None)
    assert made is None, f"{name}: it pays something without being per_sample; it must return None"
    weights = torch.randn(4, FEATURES, generator=g)
    kept = weights.clone()
    penalty.project([weights])
    once = weights.clone()
    assert not torch.equal(once, kept), f"{name}: it neither pays nor moves weights; it must do one of them"
    penalty.project([weights])
    assert torch.equal(weights, once), f"{name}: a second projection moves weights again; it must not"
