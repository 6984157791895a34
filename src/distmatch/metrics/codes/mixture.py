"""The log-density of a mixture of N diagonal Gaussians at M points: one matmul and one exp per tile."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

TOLERANCE = 1e-6  # nats: expanded squares that may round worse than this are scored again by differences ...
NEGLIGIBLE = 45.0  # ... unless they lie this many nats below the largest: e⁻⁴⁵ of 60,000 is lost to rounding
ROWS, COLUMNS = 256, 2048  # one tile: 4 MB in float64 ...
FEATURES = 1 << 22  # ... fewer columns where they have many coordinates: at most 32 MB of components at once
PAIRS = 1 << 20  # entries (pairs × coordinates) that are scored by differences at once
VALUES = 1 << 16  # exponentials of one coordinate at once: half a MB
UNDERFLOW = (
    -700.0
)  # exponents are no less: a sum loses nothing, and a vector exp that underflows is 16 times slower

Progress = Callable[[float], None]


def log_normal(codes: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """log N(z; loc, diag scale²), summed over the last axis: (*, D) -> (*,), without expanding the square.

    >>> round(float(log_normal(torch.zeros(1), torch.zeros(1), torch.ones(1))), 4)
    -0.9189
    """
    return -0.5 * (((codes - loc) / scale).square() + 2 * scale.log() + math.log(2 * math.pi)).sum(-1)


def log_mixture(
    codes: Tensor,
    loc: Tensor,
    scale: Tensor,
    own: Tensor | None = None,
    *,
    leave_one_out: bool = False,
    chunk: int = ROWS,
    progress: Progress | None = None,
) -> Tensor:
    """log q(z) = log 1/N Σ_n N(z; loc_n, diag scale_n²), float64, shape (M,).

    The quadratic form is expanded, log N = [z², z, 1]·[-1/2σ², μ/σ², c], about the mixture's centre, so that
    all N components cost one matmul. Expanding loses about ε Σ z²/σ² to rounding. Where that could pass
    1e-6 nats (σ below about 1e-4), the components that matter to a code are scored again by differences; each
    code's own component, the term that dominates, always is. In tiles: beyond its arguments this holds
    about 100 MB, whatever N, M and D.

    Args:
        codes: (M, D).
        loc, scale: (N, D), of any floating type; they become float64 tile by tile.
        own: (M,) the component each code was drawn from, if known.
        leave_one_out: leave out the code's own component (then the mean is over N - 1).
        chunk: codes per tile of 2,048 components; more where there are fewer components.

    >>> loc, scale = torch.tensor([[-2.0], [2.0]]), torch.full((2, 1), 0.5)
    >>> log_mixture(torch.zeros(1, 1), loc, scale).exp()
    tensor([0.0003], dtype=torch.float64)
    """
    coordinates = 2 * loc.shape[1] + 1
    chunk = max(chunk, min(chunk * (COLUMNS // len(loc)), FEATURES // coordinates))
    width = max(64, min(COLUMNS, FEATURES // coordinates))
    centre = loc.mean(0, dtype=torch.float64)
    reach = torch.stack([(part - centre).abs().amax(0) for part in codes.split(chunk)]).amax(0)
    total = codes.new_full((len(codes),), -math.inf, dtype=torch.float64)
    buffer = total.new_empty(min(chunk, len(codes)) * min(width, len(loc)))
    for a in range(0, len(loc), width):
        tile = _tile(loc[a : a + width], scale[a : a + width], centre, reach)
        for start in range(0, len(codes), chunk):
            rows = slice(start, start + chunk)
            z = codes[rows].double() - centre
            scores = buffer[: len(z) * len(tile.mu)].view(len(z), -1)
            torch.mm(_expanded(z), tile.features, out=scores)
            hit, at = _own_entries(None if own is None else own[rows], a, len(tile.mu))
            scores[hit, at] = -math.inf if leave_one_out else log_normal(z[hit], tile.mu[at], tile.sigma[at])
            if tile.rounding is not None:
                _score_again_(scores, z, tile, total[rows], hit, at)
            total[rows] = torch.logaddexp(total[rows], _log_sum_exp_(scores))
        if progress is not None:
            progress(min(1.0, (a + width) / len(loc)))
    return total - math.log(len(loc) - leave_one_out)


@dataclass(frozen=True)
class _Tile:
    """Components about the centre: mu, sigma (n, D), their part of the matmul (2D + 1, n), and what rounding may
    take from each, in nats, (n,): None where that is below the tolerance for all."""

    mu: Tensor
    sigma: Tensor
    features: Tensor
    rounding: Tensor | None


def _tile(loc: Tensor, scale: Tensor, centre: Tensor, reach: Tensor) -> _Tile:
    mu, sigma = loc.double() - centre, scale.double()
    precision = sigma**-2
    constant = -0.5 * (mu.square() * precision + 2 * sigma.log() + math.log(2 * math.pi)).sum(1, keepdim=True)
    features = torch.cat([-0.5 * precision, mu * precision, constant], 1).T.contiguous()
    rounding = torch.finfo(mu.dtype).eps * (precision * (reach + mu.abs()).square()).sum(1)
    return _Tile(mu, sigma, features, None if bool((rounding <= TOLERANCE).all()) else rounding)


def _expanded(z: Tensor) -> Tensor:
    """[z², z, 1], (M, 2D + 1)."""
    return torch.cat([z.square(), z, z.new_ones(len(z), 1)], 1)


def _own_entries(own: Tensor | None, start: int, width: int) -> tuple[Tensor, Tensor]:
    """Row and column within the tile of those codes whose own component lies in it."""
    if own is None:
        return (none := torch.empty(0, dtype=torch.long)), none
    hit = ((own >= start) & (own < start + width)).nonzero().squeeze(1)
    return hit, own[hit] - start


def _score_again_(scores: Tensor, z: Tensor, tile: _Tile, known: Tensor, hit: Tensor, at: Tensor) -> None:
    """Correct by differences the scores whose rounding matters: entries of components with too much rounding that
    may, with eight times that rounding, come within e⁻⁴⁵ of the largest term known so far."""
    assert tile.rounding is not None
    slack = 8 * tile.rounding
    least = (scores - slack).nan_to_num_(nan=-math.inf, posinf=-math.inf).amax(1)
    floor = torch.maximum(known, least)
    floor[hit] = torch.maximum(floor[hit], scores[hit, at])
    doubtful = ~(scores + slack < floor[:, None] - NEGLIGIBLE) & ~(tile.rounding <= TOLERANCE)
    doubtful[hit, at] = False
    scores.masked_fill_(scores.isnan(), -math.inf)
    row, column = doubtful.nonzero(as_tuple=True)
    step = max(1, PAIRS // z.shape[1])
    for r, c in zip(row.split(step), column.split(step), strict=True):
        scores[r, c] = log_normal(z[r], tile.mu[c], tile.sigma[c])


def _log_sum_exp_(scores: Tensor) -> Tensor:
    """log Σ_n exp scores, (M, N) -> (M,), overwriting its argument (torch's own makes two copies)."""
    top = scores.amax(1).clamp_min_(torch.finfo(scores.dtype).min)
    return scores.sub_(top[:, None]).clamp_min_(UNDERFLOW).exp_().sum(1).log_().add_(top)


def log_marginals(codes: Tensor, loc: Tensor, scale: Tensor, progress: Progress | None = None) -> Tensor:
    """log q(z_j) of every coordinate: (M, D), (N, D) -> (M, D), float64. Costs M·N·D exponentials."""
    total = torch.full_like(codes, -math.inf, dtype=torch.float64)
    width = min(COLUMNS, len(loc))
    rows = max(1, min(VALUES // width, len(codes)))
    buffer = total.new_empty(rows * width)
    for a in range(0, len(loc), width):
        mu, sigma = (part[a : a + width].T.double().contiguous() for part in (loc, scale))
        rate, shift = math.sqrt(0.5) / sigma, -sigma.log() - 0.5 * math.log(2 * math.pi)
        for j in range(codes.shape[1]):
            for start in range(0, len(codes), rows):
                z = codes[start : start + rows, j].double()
                scores = buffer[: len(z) * len(mu[j])].view(len(z), -1)
                torch.sub(z[:, None], mu[j], out=scores).mul_(rate[j])
                torch.addcmul(shift[j], scores, scores, value=-1, out=scores)
                here = total[start : start + rows, j]
                here.copy_(torch.logaddexp(here, _log_sum_exp_(scores)))
        if progress is not None:
            progress(min(1.0, (a + width) / len(loc)))
    return total - math.log(len(loc))
