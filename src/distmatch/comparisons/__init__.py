"""How two distributions are compared: pairs of functions of a critic's scores.

A comparison is read off its two `Sides`: what the critic minimises and what the players minimise,
each a function applied to the scores on samples of the target p and of the model q, unreduced.
"""

from distmatch.comparisons.class_probability import LEAST_SQUARES, MINIMAX, NON_SATURATING, REVERSE_KL
from distmatch.comparisons.comparison import Comparison, Sides
from distmatch.comparisons.integral import HINGE, WASSERSTEIN

COMPARISONS: dict[str, Comparison] = {
    c.name: c for c in (NON_SATURATING, MINIMAX, REVERSE_KL, LEAST_SQUARES, WASSERSTEIN, HINGE)
}

__all__ = [
    "COMPARISONS",
    "HINGE",
    "LEAST_SQUARES",
    "MINIMAX",
    "NON_SATURATING",
    "REVERSE_KL",
    "WASSERSTEIN",
    "Comparison",
    "Sides",
]
