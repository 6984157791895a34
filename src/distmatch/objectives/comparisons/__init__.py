"""Comparisons of two distributions: pairs of functions of a critic's scores, and kernels that need no critic.

A comparison is read off its two `Sides`: what the critic minimises and what the model minimises,
each a function applied to the scores on samples of the target p and of the model q, unreduced.
`cross` gives a critic's ratio to another generator loss.
"""

from distmatch.declared import declared
from distmatch.errors import unknown
from distmatch.objectives.comparisons.class_probability import (
    BRIER,
    LEAST_SQUARES,
    MINIMAX,
    NON_SATURATING,
    REVERSE_KL,
)
from distmatch.objectives.comparisons.comparison import Comparison, Sides
from distmatch.objectives.comparisons.f_divergence import (
    F_DIVERGENCES,
    F_GAN,
    F_HELLINGER,
    F_JEFFREYS,
    F_JENSEN_SHANNON,
    F_KL,
    F_NEYMAN,
    F_PEARSON,
    F_REVERSE_KL,
    FDivergence,
)
from distmatch.objectives.comparisons.generator_losses import GENERATOR_LOSSES, GeneratorLoss, cross
from distmatch.objectives.comparisons.integral import HINGE, WASSERSTEIN
from distmatch.objectives.comparisons.mmd import IMQ, KERNELS, RBF, Kernel, mmd_squared, root_mmd
from distmatch.objectives.comparisons.ratio_matching import KLIEP, LSIF, bregman

FIRST = (
    "class_probability",
    "integral",
    "f_divergence",
    "ratio_matching",
)  # the order of lists; others follow
COMPARISONS = declared("distmatch.objectives.comparisons", Comparison, FIRST)


def by_name(name: str) -> Comparison:
    """The comparison of this name, hyphens as good as underscores; `"lsif/kl"` is `cross(LSIF, "kl")`.

    Raises `BadInput` where there is none.

    >>> by_name("f-kl") is F_KL, by_name("lsif/kl") == cross(LSIF, "kl")
    (True, True)
    """
    critic, slash, generator = name.replace("-", "_").partition("/")
    if critic not in COMPARISONS:
        raise unknown("comparison", critic, COMPARISONS)
    return cross(COMPARISONS[critic], generator) if slash else COMPARISONS[critic]


__all__ = [
    "BRIER",
    "COMPARISONS",
    "F_DIVERGENCES",
    "F_GAN",
    "F_HELLINGER",
    "F_JEFFREYS",
    "F_JENSEN_SHANNON",
    "F_KL",
    "F_NEYMAN",
    "F_PEARSON",
    "F_REVERSE_KL",
    "GENERATOR_LOSSES",
    "HINGE",
    "IMQ",
    "KERNELS",
    "KLIEP",
    "LEAST_SQUARES",
    "LSIF",
    "MINIMAX",
    "NON_SATURATING",
    "RBF",
    "REVERSE_KL",
    "WASSERSTEIN",
    "Comparison",
    "FDivergence",
    "GeneratorLoss",
    "Kernel",
    "Sides",
    "bregman",
    "by_name",
    "cross",
    "mmd_squared",
    "root_mmd",
]
