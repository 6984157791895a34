"""The log-density of a mixture of N diagonal Gaussians at M points: one matmul and one exp per tile."""

from __future__ import annotations

import math

import torch
from torch import Tensor

TOLERANCE = 1e-6  # nats: components whose expanded form would round worse than this are scored directly
ROWS, COLUMNS = 256, 2048  # one tile: 4 MB in float64


def log_normal(codes: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """log N(z; loc, diag scale²), summed over the last axis: (*, D) -> (*,), without expanding the square.

    >>> round(float(log_normal(torch.zeros(1), torch.zeros(1), torch.ones(1))), 4)
    -0.9189
    """
    return -0.5 * (((codes - loc) / scale).square() + 2 * scale.log() + math.log(2 * math.pi)).sum(-1)


def log_components(codes: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """log N(z_m; loc_n, scale_n): (M, D), (N, D) -> (M, N), exact and slow: one coordinate at a time."""
    total = codes.new_zeros(len(codes), len(loc))
    for z, mu, sigma in zip(codes.T, loc.T, scale.T, strict=True):
        total += ((z[:, None] - mu) / sigma).square_()
    return total.mul_(-0.5).sub_((scale.log() + 0.5 * math.log(2 * math.pi)).sum(-1))


def log_mixture(
    codes: Tensor,
    loc: Tensor,
    scale: Tensor,
    own: Tensor | None = None,
    *,
    leave_one_out: bool = False,
    chunk: int = ROWS,
) -> Tensor:
    """log q(z) = log 1/N Σ_n N(z; loc_n, diag scale_n²), shape (M,).

    The quadratic form is expanded, log N = [z², z, 1]·[-1/2σ², μ/σ², c], about the mixture's centre, so that
    all N components cost one matmul. Expanding loses about ε Σ z²/σ² to rounding: components for which that
    could pass 1e-6 nats (σ below about 1e-4) are scored by differences instead, and so is always each code's
    own component, the term that dominates.

    Args:
        codes: (M, D) float64.
        loc, scale: (N, D) float64.
        own: (M,) the component each code was drawn from, if known.
        leave_one_out: leave out the code's own component (then the mean is over N - 1).
        chunk: codes per tile.

    >>> loc, scale = torch.tensor([[-2.0], [2.0]]).double(), torch.full((2, 1), 0.5).double()
    >>> log_mixture(torch.zeros(1, 1).double(), loc, scale).exp()
    tensor([0.0003], dtype=torch.float64)
    """
    centre = loc.mean(0)
    z, mu = codes - centre, loc - centre
    precision = scale**-2
    reach = z.abs().amax(0)
    rounding = torch.finfo(z.dtype).eps * (precision * (reach + mu.abs()).square()).sum(1)
    narrow = ~(rounding <= TOLERANCE)
    order = torch.cat([(~narrow).nonzero().squeeze(1), narrow.nonzero().squeeze(1)])
    wide = int((~narrow).sum())
    mu, sigma, precision = mu[order], scale[order], precision[order]
    place = None
    if own is not None:
        place = torch.empty_like(order)
        place[order] = torch.arange(len(order), device=order.device)
        place = place[own]

    constant = -0.5 * (mu.square() * precision + 2 * sigma.log() + math.log(2 * math.pi)).sum(1, keepdim=True)
    features = torch.cat([-0.5 * precision, mu * precision, constant], 1)[:wide]
    tiles = [(a, min(a + COLUMNS, wide)) for a in range(0, wide, COLUMNS)]
    tiles += [(a, min(a + COLUMNS, len(loc))) for a in range(wide, len(loc), COLUMNS)]
    blocks = [features[a:b].T.contiguous() for a, b in tiles if b <= wide]

    result = []
    for start in range(0, len(z), chunk):
        rows = z[start : start + chunk]
        expanded = torch.cat([rows.square(), rows, rows.new_ones(len(rows), 1)], 1)
        total = rows.new_full((len(rows),), -math.inf)
        for i, (a, b) in enumerate(tiles):
            scores = expanded @ blocks[i] if b <= wide else log_components(rows, mu[a:b], sigma[a:b])
            if place is not None:
                here = place[start : start + chunk]
                hit = ((here >= a) & (here < b)).nonzero().squeeze(1)
                at = here[hit]
                exact = -math.inf if leave_one_out else log_normal(rows[hit], mu[at], sigma[at])
                scores[hit, at - a] = exact
            total = torch.logaddexp(total, _log_sum_exp_(scores))
        result.append(total)
    return torch.cat(result) - math.log(len(loc) - leave_one_out)


def _log_sum_exp_(scores: Tensor) -> Tensor:
    """log Σ_n exp scores, (M, N) -> (M,), overwriting its argument (torch's own makes two copies)."""
    top = scores.amax(1).clamp_min_(torch.finfo(scores.dtype).min)
    return scores.sub_(top[:, None]).exp_().sum(1).log_().add_(top)


def log_marginals(codes: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """log q(z_j) of every coordinate: (M, D), (N, D) -> (M, D). Costs M·N·D exponentials."""
    result, rows = torch.empty_like(codes), max(1, ROWS * COLUMNS // len(loc))
    for j in range(codes.shape[1]):
        shift = scale[:, j].log() + 0.5 * math.log(2 * math.pi)
        mu, rate = loc[:, j], math.sqrt(0.5) / scale[:, j]
        for start in range(0, len(codes), rows):
            z = codes[start : start + rows, j]
            scores = (z[:, None] - mu).mul_(rate).square_().neg_().sub_(shift)
            result[start : start + rows, j] = _log_sum_exp_(scores)
    return result - math.log(len(loc))
