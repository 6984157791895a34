"""The contract of a comparison, on a support of five points, where an expectation is a sum."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from distmatch.objectives.comparisons import Comparison, Sides

P = torch.tensor([0.05, 0.3, 0.15, 0.3, 0.2], dtype=torch.float64)
Q = torch.tensor([0.4, 0.1, 0.2, 0.05, 0.25], dtype=torch.float64)
GRID = torch.linspace(-4, 4, 33, dtype=torch.float64)
LARGEST = 1e3  # scores are sought in [-LARGEST, LARGEST]


def check_comparison(comparison: Comparison) -> None:
    """Raise `AssertionError` with one sentence where a comparison breaks its contract.

    - It names its source, and its equation has both distributions.
    - Both model sides are there; losses are finite, of the scores' shape and dtype, and the same under vmap.
    - The critic scores the target up and the model down, the generator loss the other way.
    - With a `log_ratio`: that is finite and does not fall; the critic is best at the true one; with the best critic the
      generator loss falls all the way from q to p, where it is stationary.
    - Without one: a model that is p, shifted, comes back under the critic f(u) = u.

    >>> from distmatch.objectives.comparisons import WASSERSTEIN
    >>> check_comparison(WASSERSTEIN)
    """
    name = f"comparison {comparison.name!r}"
    assert comparison.reference, f"{name}: it has no reference; name the paper, or say that it is your own"
    text = comparison.equation("q", "p")
    assert {"q", "p"} <= set(text), f"{name}: its equation is {text!r}; it must have both distributions"
    for who, sides in (("critic", comparison.critic), ("model", comparison.generator)):
        assert sides.model is not None, f"{name}: the {who}'s loss on the model is None; give one"
        _check_sides(f"{name}: the {who}'s loss on the", sides)
    if comparison.log_ratio is None:
        _check_signs(name, comparison, GRID)
        _check_shift(name, comparison)
        return
    _check_log_ratio(name, comparison.log_ratio)
    _check_signs(name, comparison, best_scores(comparison, GRID))
    _check_optimum(name, comparison)
    _check_descent(name, comparison)


def best_scores(comparison: Comparison, log_ratios: Tensor) -> Tensor:
    """Return the scores that stand for these log-ratios, by bisection of the `log_ratio`, which must rise.

    >>> from distmatch.objectives.comparisons import LEAST_SQUARES
    >>> round(best_scores(LEAST_SQUARES, torch.zeros(1, dtype=torch.float64)).item(), 9)
    0.5
    """
    assert comparison.log_ratio is not None
    low, high = torch.full_like(log_ratios, -LARGEST), torch.full_like(log_ratios, LARGEST)
    for _ in range(100):
        middle = (low + high) / 2
        below = comparison.log_ratio(middle) < log_ratios
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    off = (comparison.log_ratio(high) - log_ratios).abs()
    assert off.max() < 1e-9, (
        f"comparison {comparison.name!r}: no score has the log-ratio {log_ratios[off.argmax()].item():.3g}; "
        "log_ratio must rise with the score and reach every number"
    )
    return high


def _check_log_ratio(name: str, log_ratio: Callable[[Tensor], Tensor]) -> None:
    for dtype in (torch.float32, torch.float64):
        scores = torch.tensor([-1e4, -100, -2, -1, 0, 0.5, 1, 2, 100, 1e4], dtype=dtype, requires_grad=True)
        values = log_ratio(scores)
        (slope,) = torch.autograd.grad(values.sum(), scores)
        came, expected = (tuple(values.shape), values.dtype), (tuple(scores.shape), dtype)
        assert came == expected, (
            f"{name}: its log_ratio is {came} for scores {expected}; it must be of each score"
        )
        bad = scores[~(values.isfinite() & slope.isfinite() & (slope >= 0))]
        assert not len(bad), (
            f"{name}: its log_ratio at s = {bad[0].item():g} is not finite, or falls; it must be finite and not fall"
        )


def _total(sides: Sides, scores: Tensor, p: Tensor, q: Tensor) -> Tensor:
    """Return Σ p target(s) + q model(s)."""
    parts = [w * side(scores) for w, side in zip((p, q), sides, strict=True) if side is not None]
    return torch.stack(parts).sum()


def _check_sides(where: str, sides: Sides) -> None:
    for part, side in zip(Sides._fields, sides, strict=True):
        if side is None:
            continue
        for dtype in (torch.float32, torch.float64):
            scores = torch.tensor([[0.0, 30.0, -30.0], [1.0, 2.0, -1.0]], dtype=dtype)
            loss = side(scores)
            wanted, got = (tuple(scores.shape), dtype), (tuple(loss.shape), loss.dtype)
            assert got == wanted, f"{where} {part} is {got} for scores {wanted}; it must be unreduced"
            assert loss.isfinite().all(), f"{where} {part} is not finite for scores within ±30; it must be"
            lanes = torch.func.vmap(side)(scores)
            assert torch.allclose(lanes, loss), f"{where} {part} is another under vmap; it must be the same"


def _check_signs(name: str, comparison: Comparison, scores: Tensor) -> None:
    directions = {("critic", "target"): -1, ("critic", "model"): 1, ("model", "target"): 1}
    for who, sides in (("critic", comparison.critic), ("model", comparison.generator)):
        for part, side in zip(Sides._fields, sides, strict=True):
            if side is None:
                continue
            direction = directions.get((who, part), -1)
            rise = side(scores).diff() * direction
            way, wrong = ("rise", "falls") if direction == 1 else ("fall", "rises")
            at = scores[rise.argmin()].item()
            where = f"{name}: the {who}'s loss on the {part}"
            assert (rise >= -1e-12).all(), f"{where} {wrong} with the score at s = {at:.3g}; it must {way}"
            assert rise.sum() > 0, f"{where} does not depend on the score; it must {way}"


def _check_optimum(name: str, comparison: Comparison) -> None:
    truth = (P / Q).log()
    best = best_scores(comparison, truth)
    leaf = best.clone().requires_grad_()
    (slope,) = torch.autograd.grad(_total(comparison.critic, leaf, P, Q), leaf)
    i = int(slope.abs().argmax())
    assert slope.abs().max() < 1e-9, (
        f"{name}: the critic's loss has the slope {slope[i].item():.2g} at the true log-ratio "
        f"{truth[i].item():.3g}; it must be stationary there"
    )
    least = _total(comparison.critic, best, P, Q)
    for moved in (-0.5, -0.05, 0.05, 0.5):
        for i in range(len(P)):
            other = best.clone()
            other[i] = best_scores(comparison, truth[i : i + 1] + moved)[0]
            assert _total(comparison.critic, other, P, Q) > least, (
                f"{name}: the critic's loss is no larger at the log-ratio {truth[i].item() + moved:.3g} than at the "
                f"true one, {truth[i].item():.3g}; it must be least there"
            )


def _check_descent(name: str, comparison: Comparison) -> None:
    path = [(1 - t) * Q + t * P for t in torch.linspace(0, 1, 21, dtype=torch.float64)]
    losses = torch.stack(
        [_total(comparison.generator, best_scores(comparison, (P / q).log()), P, q) for q in path]
    )
    share = int(losses.diff().argmax()) / 20
    assert (losses.diff() < 0).all(), (
        f"{name}: the generator loss does not fall at {share:.0%} of the way from q to p; with the best critic it must"
    )
    near = [P + t * (Q - P) for t in (-1e-4, 1e-4)]
    before, after = (_total(comparison.generator, best_scores(comparison, (P / q).log()), P, q) for q in near)
    assert abs(after - before) < 1e-9, (
        f"{name}: the generator loss changes by {(after - before).item():.2g} about q = p; it must be stationary there"
    )


def _check_shift(name: str, comparison: Comparison) -> None:
    """Under f(u) = u, which is 1-Lipschitz and the best critic of a model to the left, the model goes right."""
    u = torch.linspace(-0.5, 0.5, 11, dtype=torch.float64)
    mean = torch.full_like(u, 1 / len(u))

    def loss(shift: Tensor) -> Tensor:
        parts = zip(comparison.generator, (u, u - shift), strict=True)
        return torch.stack([(mean * side(f)).sum() for side, f in parts if side is not None]).sum()

    losses = torch.stack([loss(s) for s in torch.linspace(2, 0, 11, dtype=torch.float64)])
    assert (losses.diff() < 0).all(), (
        f"{name}: a model that is p, shifted, is not brought back by f(u) = u; it must be"
    )
