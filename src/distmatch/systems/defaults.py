"""Settings of papers that several systems share, as dotted paths of a run's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from distmatch.objectives.comparisons import WASSERSTEIN
from distmatch.objectives.penalties import gradient_penalty

Defaults = Mapping[str, Any]

# Adam of DCGAN (arXiv:1511.06434): β₂ is the optimiser's own, as in most of the authors' code that came after it.
ADVERSARIAL: Defaults = {"training.lr": 2e-4, "training.betas": (0.5, 0.999)}
# Adam of Rosca et al. (arXiv:1706.04987, 1802.06847) for all that they train.
ROSCA: Defaults = {"training.lr": 2e-4, "training.betas": (0.5, 0.9)}
# Adam of the code of WGAN-GP (arXiv:1704.00028) for images, and of those whose code starts from it.
GULRAJANI: Defaults = {"training.lr": 1e-4, "training.betas": (0.5, 0.9)}
WGAN_GP: Defaults = {**GULRAJANI, "training.critic_steps": 5}
WGAN: Defaults = {
    "training.lr": 5e-5,
    "training.optimiser": "rmsprop",
    "training.critic_steps": 5,
}
RMSPROP: Defaults = {"training.lr": 1e-4, "training.optimiser": "rmsprop"}
AVB: Defaults = {
    "network.posterior": "noise",
    "training.lr": 5e-5,
    "training.critic_lr": 1e-4,
    "training.betas": (0.5, 0.999),
    "training.batch_size": 128,
}
WAE: Defaults = {
    "network.posterior": "deterministic",
    "training.betas": (0.5, 0.999),
    "training.batch_size": 100,
}
GIVEN_Y = "Given the label y: "
SLOPE_ONE = {"by": WASSERSTEIN, "penalty": gradient_penalty(10.0)}
CONVOLUTIONAL: Defaults = {"network.family": "dcgan", **ADVERSARIAL}
