"""E12: every ratio loss on Gaussians, and every generator loss on every ratio."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import torch

from distmatch.objectives.comparisons import (
    BRIER,
    F_DIVERGENCES,
    GENERATOR_LOSSES,
    KLIEP,
    LEAST_SQUARES,
    LSIF,
    NON_SATURATING,
    Comparison,
)
from distmatch.random import own_randomness
from distmatch.reproduction.framework.experiment import (
    Bench,
    Cell,
    Claim,
    Experiment,
    Numbers,
    Results,
    Scale,
)
from distmatch.reproduction.framework.verdict import Expected
from distmatch.reproduction.lectures.e12_critics import (
    BATCH,
    SEPARATIONS,
    Sizes,
    bregman_deviation,
    exact_log_ratio,
    fitted,
    gradient_sizes,
    moment_gradients,
)
from distmatch.reproduction.lectures.e12_figures import crossed, gradients, ratios

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FAMILIES: dict[str, dict[str, Comparison]] = {
    "class probability": {"logistic": NON_SATURATING, "brier": BRIER, "least_squares": LEAST_SQUARES},
    "divergence minimisation": {f"f_{name}": f.comparison() for name, f in F_DIVERGENCES.items()},
    "ratio matching": {"lsif": LSIF, "kliep": KLIEP},
}
RATIO_LOSSES = {name: c for family in FAMILIES.values() for name, c in family.items()}
EXACT, MOMENTS, IDENTITY = "exact", "moments", "identity"  # cells without a critic that is trained
KNOWN = SEPARATIONS.index(1.0)  # N(1, 1) against N(0, 1): log r = x - 1/2
GRID = torch.linspace(-2.5, 3.5, 61)
SLIDES = "seed 001, how do we compare distributions?"
GENERATOR = "seed 001, choice of f-divergence"


SIZES: dict[Scale, Sizes] = {
    "smoke": Sizes(8, 30, 64, 4),
    "cpu": Sizes(64, 2000, 256, 100),
    "paper": Sizes(256, 20_000, 1024, 1000),
}


def run(cell: Cell, seed: int, bench: Bench) -> Numbers:
    """The recovered log-ratio of one ratio loss, and the gradients that it gives to every generator loss."""
    name = str(cell["ratio loss"])
    if name == IDENTITY:
        return Numbers({"deviation": bregman_deviation()})
    sizes = SIZES[bench.scale]
    with own_randomness(seed):
        if name == MOMENTS:
            return _numbers(moment_gradients(sizes.minibatches), {})
        if name == EXACT:
            return _numbers(gradient_sizes(exact_log_ratio, sizes.minibatches), {})
        loss = RATIO_LOSSES[name]
        critics = fitted(loss, sizes)
        assert loss.log_ratio is not None
        read = loss.log_ratio
        with torch.no_grad():
            curve = read(critics(GRID.expand(len(SEPARATIONS), -1)[..., None]))[KNOWN]
        weight = torch.exp(-GRID.square() / 2) + torch.exp(-(GRID - 1).square() / 2)
        error = float((weight * (curve - (GRID - 0.5)).abs()).sum() / weight.sum())
        slopes = gradient_sizes(lambda x: read(critics(x)), sizes.minibatches)
    return _numbers(slopes, {"log ratio": [float(f"{v:.5g}") for v in curve.tolist()]}, error)


def _numbers(
    slopes: dict[str, list[float]], curves: dict[str, list[float]], error: float | None = None
) -> Numbers:
    """The finite numbers: a ratio loss that diverged leaves none."""
    values = {} if error is None or not math.isfinite(error) else {"error": error}
    for name, by_separation in slopes.items():
        values |= {
            f"{name} at {m:g}": v for m, v in zip(SEPARATIONS, by_separation, strict=True) if math.isfinite(v)
        }
    return Numbers(values, {k: c for k, c in curves.items() if all(map(math.isfinite, c))})


def worst(names: Sequence[str]) -> Callable[[Results], list[float]]:
    """The largest error of these ratio losses, for each seed."""
    return lambda results: [
        max(vs) for vs in zip(*(results.values("error", **{"ratio loss": n}) for n in names), strict=True)
    ]


def gradient(ratio: str, generator: str, m: float) -> Callable[[Results], list[float]]:
    """The size of a gradient, for each seed."""
    return lambda results: results.values(f"{generator} at {m:g}", **{"ratio loss": ratio})


def far_over_near(ratio: str, generator: str) -> Callable[[Results], list[float]]:
    """A gradient at separation 8 over that at 1, for each seed."""
    far, near = gradient(ratio, generator, 8.0), gradient(ratio, generator, 1.0)
    return lambda results: [f / n for f, n in zip(far(results), near(results), strict=True)]


def extreme(
    pick: Callable[[Sequence[float]], float], generator: str, m: float
) -> Callable[[Results], list[float]]:
    """The least or greatest gradient over all ratio losses, for each seed."""
    return lambda results: [
        pick(values)
        for values in zip(*(gradient(n, generator, m)(results) for n in RATIO_LOSSES), strict=True)
    ]


def figures(results: Results) -> Mapping[str, Figure]:
    """Recovered ratios, gradients against separation, and the whole table of losses at one separation."""
    return {
        "ratios": ratios(results, GRID.tolist(), {k: list(v) for k, v in FAMILIES.items()}),
        "gradients": gradients(results, SEPARATIONS, list(GENERATOR_LOSSES)),
        "crossed": crossed(results, 4.0, [EXACT, *RATIO_LOSSES], list(GENERATOR_LOSSES)),
    }


def cells(scale: Scale) -> Sequence[Cell]:
    """Every ratio loss, the exact ratio, moments, and the identity of two losses."""
    return [{"ratio loss": name} for name in (*RATIO_LOSSES, EXACT, MOMENTS, IDENTITY)]


CLAIMS = (
    *(
        Claim(
            f"{sentence}: its losses recover log r.",
            SLIDES,
            "mean |log r - (x - ½)| under ½(p + q), N(1, 1) against N(0, 1), nats, the worst of "
            + ", ".join(FAMILIES[family]),
            worst(list(FAMILIES[family])),
            Expected(high=0.25),
        )
        for family, sentence in (
            ("class probability", "Computing a density ratio is equivalent to class probability estimation"),
            ("divergence minimisation", "Divergence minimisation minimises a bound on an f-divergence"),
            ("ratio matching", "Ratio matching optimises a Bregman divergence between r* and r"),
        )
    ),
    Claim(
        "The ratio loss of Bregman divergences ends up being identical to that of f-divergences.",
        SLIDES,
        "greatest difference of their integrands over all f and r from e⁻⁴ to e⁴",
        lambda results: results.values("deviation", **{"ratio loss": IDENTITY})[:1],
        Expected(high=1e-9, exact=True),
    ),
    *(
        Claim(
            f"Where r ≪ 1 the saturating loss E ln(1 - D) gives no gradient ({words}).",
            GENERATOR,
            "its gradient at separation 8 over that at 1",
            far_over_near(ratio, "minimax"),
            Expected(high=0.01),
        )
        for ratio, words in ((EXACT, "exact ratio"), ("logistic", "a trained classifier"))
    ),
    *(
        Claim(
            f"The non-saturating alternative, -E ln D, does ({words}).",
            GENERATOR,
            "its gradient at separation 8 over that at 1",
            far_over_near(ratio, "non_saturating"),
            Expected(low=1),
        )
        for ratio, words in ((EXACT, "exact ratio"), ("logistic", "a trained classifier"))
    ),
    Claim(
        "Generator loss and ratio loss can be decoupled: with -E ln D every ratio loss gives a gradient.",
        "seed 001, summary of learning in implicit generative models",
        "the least gradient of all ratio losses at separation 4",
        extreme(min, "non_saturating", 4.0),
        Expected(low=0.1),
    ),
    Claim(
        "Generator loss and ratio loss can be decoupled: with E ln(1 - D) none does.",
        "seed 001, summary of learning in implicit generative models",
        "the greatest gradient of all ratio losses at separation 8",
        extreme(max, "minimax", 8.0),
        Expected(high=0.1),
    ),
)

E12 = Experiment(
    name="E12",
    title="Ratio losses and generator losses, crossed, on Gaussians",
    seed="001",
    about="p = N(m, 1) against q = N(0, 1). For every ratio loss one small critic for each separation m is trained on "
    "fresh draws; at m = 1 its log-ratio is compared with x - ½. Then every generator loss is differentiated at that "
    f"ratio: the size is the median over minibatches of {BATCH}, since a mean over rare draws would say what no step "
    "sees. The exact ratio stands beside, and the moments' gradients (MMD, and the mean, the critic of W₁). The slides "
    "have no figure of this.",
    cells=cells,
    run=run,
    claims=CLAIMS,
    figures=figures,
)
