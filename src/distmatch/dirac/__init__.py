"""A game of two numbers, in which every method shows its dynamics: Dirac-GAN."""

from distmatch.dirac.derived import from_comparison
from distmatch.dirac.dynamics import (
    SCHEDULES,
    First,
    Order,
    Schedule,
    field_grid,
    jacobian_eigenvalues,
    round_of,
    trajectory,
    update_eigenvalues,
)
from distmatch.dirac.game import (
    METHODS,
    Dirac,
    consensus,
    find,
    gan,
    instance_noise,
    ns_gan,
    r1,
    wgan,
    wgan_gp,
)

__all__ = [
    "METHODS",
    "SCHEDULES",
    "Dirac",
    "First",
    "Order",
    "Schedule",
    "consensus",
    "field_grid",
    "find",
    "from_comparison",
    "gan",
    "instance_noise",
    "jacobian_eigenvalues",
    "ns_gan",
    "r1",
    "round_of",
    "trajectory",
    "update_eigenvalues",
    "wgan",
    "wgan_gp",
]
