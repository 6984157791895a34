"""The Fréchet distance of two sets of features (FID, whatever the feature net)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.checks import checked, same_shape
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.features.feature_sets import checked_sets, described
from distmatch.metrics.features.inputs import MARKED, MOST, SETS, fakes, feature_sets
from distmatch.metrics.model import Model, Options, Result
from distmatch.metrics.plots import Scatter
from distmatch.random import seeded

ROUNDING = 1e-10  # the share of Tr (Σ₁Σ₂)^½ that rounding may make
ROWS, DIRECTIONS = 1_000, 256  # rows and leading directions that the error is measured on
HALVES = tuple(combinations(range(4), 2))
"""Which of four quarters make a half: in these six each two are together equally often."""


@dataclass(frozen=True)
class FrechetDistances:
    """The distance as published, biased up, and without its bias: the result of `frechet_distances`."""

    plain: Estimate
    unbiased: Estimate


def frechet_distance(real: Tensor, fake: Tensor, *, features: str = "") -> Estimate:
    """‖μ₁ - μ₂‖² + Tr(Σ₁ + Σ₂ - 2 (Σ₁Σ₂)^½), the squared 2-Wasserstein distance of the fitted Gaussians.

    Σ is the unbiased covariance. No matrix square root is taken: Tr (Σ₁Σ₂)^½ is the sum of the roots of the
    eigenvalues of LᵀΣ₂L with Σ₁ = LLᵀ; or, where rounding would show (n ≤ d, dead features), the sum of the singular
    values of R₁R₂ᵀ with Σ = RᵀR by QR of the centred features, whose side is min(n, d).

    The standard error is the delta method's, over the draws of both sets: it says how much the number would vary at
    this n, not how far it lies from the population's. That bias is positive and falls as 1/n; where n < 10·d it can
    be most of the number, also for two samples of one distribution: `frechet_distances` takes it off. Near zero the
    error is too long, by up to about 1.6; with heavy tails too short.

    Args:
        real: (n₁, d); fake: (n₂, d); n ≥ 2.
        features: the feature net's name and hash, for `how`.

    Raises:
        BadInput: shapes, NaN, numbers of features that differ, all features constant in both sets.

    Reference: Heusel et al., 1706.08500; Dowson and Landau (1982); Chong and Forsyth, 1911.07023, for the bias.

    >>> x = torch.tensor([[0.0], [2.0]])
    >>> frechet_distance(x, x + 3).value
    9.0
    """
    return _plain(*checked_sets(real, fake), features)


def frechet_distances(real: Tensor, fake: Tensor, *, seed: int = 0, features: str = "") -> FrechetDistances:
    """The plain distance F(n), and 2 F(n) - F(n/2), in which a bias of 1/n cancels: it may fall below zero.

    F(n/2) is the mean over halves of both sets, the six that four random quarters make. The bias of Gaussian features
    is 1/n to within a few per cent of it even at n = 2d, so what is left is small beside the error; with tails so heavy
    that fourth moments hardly exist it is not.

    The standard error is the delta method's for F(n), and holds for the difference: halves add a third of the variance
    of second order, of which the delta method has twice too much. So it is right where the distributions differ, and
    too long by about 1.2 where they are equal (then with one feature the interval covers 89 %, from two on 94 %
    or more). Where half of a set has no more rows than features, nothing is known of what is left of the bias: the
    value has no error.

    Costs about three times `frechet_distance`.

    Args:
        real: (n₁, d); fake: (n₂, d), independent draws; n ≥ 8.
        seed: of the quarters.
        features: the feature net's name and hash, for `how`.

    Raises:
        BadInput: as `frechet_distance`, and fewer than 8 rows.

    Reference: Quenouille, Notes on bias in estimation (1956); Chong and Forsyth, 1911.07023, who fit a line in 1/n.

    >>> x = torch.randn(2, 500, 8, generator=torch.Generator().manual_seed(0))
    >>> distances = frechet_distances(x[0], x[1])
    >>> print(distances.plain, "|", distances.unbiased)
    0.08 ± 0.03 (n = 500) | -0.02 ± 0.03 (n = 500)
    """
    real, fake = checked_sets(real, fake, least=8)
    mean, mean_fake = real.mean(0), fake.mean(0)
    parts, parts_fake = _quarters(real - mean, seed), _quarters(fake - mean_fake, seed)
    plain = _plain(real, fake, features, (_Part.joined(parts).gram, _Part.joined(parts_fake).gram))
    halves = [
        _half_distance(
            _Part.joined([parts[i] for i in half]),
            _Part.joined([parts_fake[i] for i in half]),
            mean - mean_fake,
        )
        for half in HALVES
    ]
    how = f"{described(real, fake, features)}; its bias of 1/n taken off by halves; below zero means zero"
    error = plain.standard_error
    if min(len(real), len(fake)) // 2 <= real.shape[1]:
        error = math.nan
        how += (
            "; no error: half of a set has no more rows than features, so that much of the bias may be left"
        )
    value = 2 * plain.value - sum(halves) / len(halves)
    return FrechetDistances(plain, Estimate(value, error, plain.n, "", how))


def _plain(real: Tensor, fake: Tensor, features: str, grams: Sequence[Tensor] | None = None) -> Estimate:
    """The distance of checked features as published; `grams` are XᵀX of the centred sets, where they are known."""
    if _constant(real) and _constant(fake):
        raise BadInput(
            "the features of both sets are constant, so they have no covariance; look at the feature net"
        )
    mean, mean_fake = real.mean(0), fake.mean(0)
    real, fake, shift = real - mean, fake - mean_fake, mean - mean_fake
    overlap = _by_cholesky(real, fake, grams) or _by_qr(real, fake)
    value, variance = float(shift.square().sum()) + overlap.spread - 2 * overlap.trace, 0.0
    for n, rows, bends, way in (
        (len(real), overlap.real, overlap.real_bends, 1),
        (len(fake), overlap.fake, overlap.fake_bends, -1),
    ):
        influence = 2 * way * (rows @ shift) + rows.square().sum(1) - bends
        variance += float(influence.var()) / n
    how = (
        f"{described(real, fake, features)}; biased up by about 1/n, so compare at equal n and features only"
    )
    return Estimate(max(0.0, value), math.sqrt(variance), min(len(real), len(fake)), "", how)


def _constant(x: Tensor) -> bool:
    """True where all rows are equal. Two are compared first, which is mostly enough."""
    return bool((x[-1] == x[0]).all() and (x == x[0]).all())


@dataclass(frozen=True)
class _Overlap:
    """Tr Σ₁ + Tr Σ₂, Tr (Σ₁Σ₂)^½ and its bends: twice its derivative by a row's weight, xᵀTx, for some rows.

    T carries the one Gaussian onto the other: TΣ₁T = Σ₂ for real rows, and back for fake ones.
    """

    spread: float
    trace: float
    real: Tensor
    real_bends: Tensor
    fake: Tensor
    fake_bends: Tensor


def _by_cholesky(real: Tensor, fake: Tensor, grams: Sequence[Tensor] | None = None) -> _Overlap | None:
    """The overlap by Σ₁ = LLᵀ and M = LᵀΣ₂L: xᵀTx = aᵀM^½a at a = L⁻¹x, and back yᵀT⁻¹y = bᵀM^-½b at b = Lᵀy.

    None where Σ₁ is singular or where rounding of M, ε‖Σ₁‖‖Σ₂‖, would show in the sum of roots. The bends are of
    about 1,000 rows, by the 256 leading directions of M; of the other eigenvalues only the mean root counts.
    """
    if min(len(real), len(fake)) <= real.shape[1]:
        return None
    gram, gram_fake = grams or (_gram(real), _gram(fake))
    first, second = gram / (len(real) - 1), gram_fake / (len(fake) - 1)
    factors = _factored(first, second)
    if factors is None:
        return None
    lower, product, trace = factors
    x, y = (points[:: max(1, len(points) // ROWS)] for points in (real, fake))
    a, b = torch.linalg.solve_triangular(lower, x.T, upper=False), lower.T @ y.T
    forward, back = _quadratic_forms(product, trace, a, b)
    return _Overlap(float(first.trace() + second.trace()), trace, x, forward, y, back)


def _factored(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, float] | None:
    """L of Σ₁ = LLᵀ, M = LᵀΣ₂L and Tr M^½; None where Σ₁ is singular or where rounding would show in the trace."""
    lower, failed = torch.linalg.cholesky_ex(first)
    if failed:
        return None
    product = lower.T @ second @ lower
    values = torch.linalg.eigvalsh(product)
    noise = torch.finfo(values.dtype).eps * float(first.norm() * second.norm())
    trace = float(values.clamp(min=0).sqrt().sum())
    if values[0] <= noise or float((noise / (2 * values.sqrt())).sum()) > ROUNDING * trace:
        return None
    return lower, product, trace


@dataclass(frozen=True)
class _Part:
    """Some rows of a centred set, their sum (d,) and XᵀX (d, d)."""

    rows: Tensor
    total: Tensor
    gram: Tensor

    @classmethod
    def joined(cls, parts: Sequence[_Part]) -> _Part:
        """Several parts as one."""
        total, gram = (torch.stack([getattr(p, name) for p in parts]).sum(0) for name in ("total", "gram"))
        return cls(torch.cat([p.rows for p in parts]), total, gram)

    def covariance(self) -> Tensor:
        """The unbiased covariance, (d, d)."""
        n = len(self.rows)
        return (self.gram - self.total.outer(self.total) / n) / (n - 1)

    def root(self) -> Tensor:
        """R with RᵀR the covariance, by QR."""
        n = len(self.rows)
        return torch.linalg.qr((self.rows - self.total / n) / math.sqrt(n - 1), mode="r")[1]


def _quarters(x: Tensor, seed: int) -> list[_Part]:
    """Four parts of a centred set, at random."""
    order = torch.randperm(len(x), generator=seeded(seed)).to(x.device)
    return [_Part(rows, rows.sum(0), _gram(rows)) for rows in x[order].tensor_split(4)]


def _half_distance(real: _Part, fake: _Part, shift: Tensor) -> float:
    """The distance of two parts of sets that were centred at means `shift` apart."""
    first, second = real.covariance(), fake.covariance()
    factors = _factored(first, second) if min(len(real.rows), len(fake.rows)) > len(shift) else None
    trace = factors[2] if factors else float(torch.linalg.svdvals(real.root() @ fake.root().T).sum())
    apart = shift + real.total / len(real.rows) - fake.total / len(fake.rows)
    return float(apart.square().sum() + first.trace() + second.trace()) - 2 * trace


def _quadratic_forms(product: Tensor, trace: float, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """aᵀM^½a and bᵀM^-½b of columns, of which aaᵀ is I and bbᵀ is M on average; Tr M^½ is known."""
    values, vectors = _leading(product, min(DIRECTIONS, len(product)))
    roots, rest = values.sqrt(), len(product) - len(values)
    in_a, in_b = (vectors.T @ a).square(), (vectors.T @ b).square()
    forward, back = roots @ in_a, (1 / roots) @ in_b
    if rest:
        left = trace - roots.sum()
        forward += left / rest * (a.square().sum(0) - in_a.sum(0))
        back += left / (product.trace() - values.sum()) * (b.square().sum(0) - in_b.sum(0))
    return forward, back


def _leading(product: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """The `count` largest eigenvalues of a positive matrix and their vectors, by subspace iteration unless all."""
    if count == len(product):
        return torch.linalg.eigh(product)
    start = torch.randn(len(product), count, dtype=product.dtype, generator=seeded(0)).to(product.device)
    for _ in range(2):
        start = torch.linalg.qr(product @ start)[0]
    values, vectors = torch.linalg.eigh(start.T @ product @ start)
    return values, start @ vectors


def _gram(x: Tensor) -> Tensor:
    """XᵀX; on a CPU by numpy, which sees that it is symmetric and does half the work."""
    if x.device.type == "cpu":
        values = x.numpy()
        return torch.from_numpy(values.T @ values)
    return x.T @ x


def _by_qr(real: Tensor, fake: Tensor) -> _Overlap:
    """The overlap by X/√(n - 1) = QR and M = R₁R₂ᵀ: xᵀTx = (n - 1) qᵀ(MMᵀ)^½q, q being x's row of Q; back with MᵀM."""
    n, m = len(real) - 1, len(fake) - 1
    q_real, r_real = torch.linalg.qr(real / math.sqrt(n))
    q_fake, r_fake = torch.linalg.qr(fake / math.sqrt(m))
    left, singular, right = torch.linalg.svd(r_real @ r_fake.T, full_matrices=False)
    real_bends = n * ((q_real @ left).square() @ singular)
    fake_bends = m * ((q_fake @ right.T).square() @ singular)
    spread = float(r_real.square().sum() + r_fake.square().sum())
    return _Overlap(spread, float(singular.sum()), real, real_bends, fake, fake_bends)


def frechet_from_moments(mean_a: Tensor, cov_a: Tensor, mean_b: Tensor, cov_b: Tensor) -> float:
    """The same distance from means (d,) and covariances (d, d), for published statistics; no error can be given.

    Covariances are taken as positive semi-definite: negative eigenvalues (rounding) count as zero.

    Raises:
        BadInput: shapes, NaN, a covariance that is not symmetric or has an eigenvalue well below zero.

    >>> eye = torch.eye(2)
    >>> frechet_from_moments(torch.zeros(2), eye, torch.ones(2), 4 * eye)
    4.0
    """
    mean_a, mean_b = checked(mean_a, "mean_a", "d", least=1), checked(mean_b, "mean_b", "d", least=1)
    same_shape(mean_a, mean_b, "mean_a and mean_b")
    root_a, root_b = _root(cov_a, "cov_a", len(mean_a)), _root(cov_b, "cov_b", len(mean_b))
    value = (mean_a - mean_b).square().sum() + root_a.square().sum() + root_b.square().sum()
    return max(0.0, float(value - 2 * torch.linalg.svdvals(root_a @ root_b.T).sum()))


def _root(covariance: Tensor, name: str, d: int) -> Tensor:
    """R with RᵀR = Σ, (d, d)."""
    covariance = checked(covariance, name, "d, d", least=1)
    if covariance.shape != (d, d) or not torch.allclose(covariance, covariance.T, rtol=1e-4, atol=1e-8):
        raise BadInput(f"{name} must be a symmetric matrix of {d}×{d}; got {tuple(covariance.shape)}")
    values, vectors = torch.linalg.eigh((covariance + covariance.T) / 2)
    if values[0] < -1e-3 * values.abs().max():
        raise BadInput(f"{name} has the eigenvalue {float(values[0]):.3g}; a covariance has none below zero")
    return values.clamp(min=0).sqrt()[:, None] * vectors.T


SHOWN = 500  # points of each set in a picture, whose axes are found from twice as many


@metric(
    "frechet_distance",
    question="Have the features of samples the mean and covariance of those of data?",
    needs=("sample", "test", "is_image"),
    reference=f"Heusel et al., 1706.08500; without its bias: Chong and Forsyth, 1911.07023{MARKED}",
    better={
        "frechet_distance_unbiased": "lower",
        "frechet_distance": "",
        "frechet_distance_unbiased_data": "",
        "frechet_distance_data": "",
    },
    quick=False,
)
def measure(model: Model, options: Options) -> Result:
    """Distances of samples from held-out data; and of training data, whose plain one is what this n alone makes."""
    features, net = feature_sets(model, options, MOST)
    estimates: dict[str, Estimate] = {}
    for suffix, fake in fakes(features).items():
        both = frechet_distances(features[SETS["test"]], fake, seed=options.seed, features=str(net))
        estimates[f"frechet_distance_unbiased{suffix}"] = both.unbiased
        estimates[f"frechet_distance{suffix}"] = both.plain
    caption = f"Features of {net}: the two directions in which held-out data vary most"
    return Result(estimates, (Scatter(caption, _projected(features), "first direction", "second direction"),))


def _projected(features: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each set in the two directions in which held-out data vary most, (n, 2)."""
    real = features[SETS["test"]][: 2 * SHOWN].double()
    centre = real.mean(0)
    directions = torch.linalg.svd(real - centre, full_matrices=False)[2][:2].T
    shown = (SETS["test"], "samples")
    return {name: (features[name][:SHOWN].double() - centre) @ directions for name in shown}
