"""Two VAEs whose codes are measured: q(z) over all training data, its true KL to the prior, and draws from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distmatch.metrics import empirical_marginal_kl
from distmatch.metrics.inputs import gaussians
from distmatch.metrics.model import Options
from distmatch.random import seeded
from distmatch.reproduction.framework.experiment import Bench, Cell, Scale
from distmatch.reproduction.framework.train import train_run
from distmatch.runs.folder import RunFolder
from distmatch.runs.model import load_trained

VAES: dict[Scale, list[Cell]] = {
    "smoke": [
        {"vae": "small", "data": "digits", "latent": 2},
        {"vae": "large", "data": "digits", "latent": 4},
    ],
    "cpu": [
        {"vae": "small", "data": "color-mnist", "latent": 10},
        {"vae": "large", "data": "cifar10", "latent": 50},
    ],
    "paper": [
        {"vae": "small", "data": "color-mnist", "latent": 10},
        {"vae": "large", "data": "cifar10", "latent": 100},
    ],
}
WHICH = {"small": "the small VAE (ColorMNIST)", "large": "the large VAE (CIFAR-10)"}
SETTINGS: dict[Scale, dict[str, Any]] = {
    "smoke": {"network.family": "mlp", "network.width": 32, "training.steps": 60},
    "cpu": {"network.family": "mlp", "network.width": 256, "training.steps": 1200, "training.batch_size": 64},
    "paper": {
        "network.family": "dcgan",
        "training.steps": 100_000,
        "training.lr": 2e-4,
        "training.betas": [0.5, 0.9],
    },
}


@dataclass(frozen=True)
class Codes:
    """q(z) = 1/N Σ N(z; loc_n, diag scale_n²), `(N, D)` each, and KL(q(z)‖N(0, I)) in nats by Algorithm 2.

    `kl` is of this mixture, as in the document. `kl_left_out` leaves each draw's own component out, which in
    expectation is a lower bound of the KL of the population's q(z), where `kl` is an upper one. `least` is R - ln N,
    which `kl` comes to where no two components overlap.
    """

    loc: Tensor
    scale: Tensor
    kl: float
    kl_left_out: float
    least: float

    def numbers(self) -> dict[str, float]:
        """The KLs, for a run's numbers."""
        return {"monte carlo": self.kl, "left out": self.kl_left_out, "least": self.least}

    def draws(self, n: int, seed: int) -> Tensor:
        """n fresh codes, `(n, D)`, each of a data point at random."""
        generator = seeded(seed)
        chosen = torch.randint(len(self.loc), (n,), generator=generator)
        return self._coded(chosen, generator)

    def one_each(self, seed: int) -> Tensor:
        """One code for each data point, `(N, D)`."""
        return self._coded(torch.arange(len(self.loc)), seeded(seed))

    def _coded(self, chosen: Tensor, generator: torch.Generator) -> Tensor:
        loc, scale = self.loc[chosen], self.scale[chosen]
        return loc + scale * torch.randn(loc.shape, generator=generator)


def codes_of_vae(cell: Cell, seed: int, bench: Bench) -> Codes | None:
    """The VAE of a cell of `VAES`, trained in the bench's folder, and its codes; None where it diverged."""
    own = {"system": "vae", "data.name": cell["data"], "network.latent": cell["latent"]}
    path = train_run({**SETTINGS[bench.scale], **own}, seed, bench)
    if path is None:
        return None
    trained, _ = load_trained(RunFolder.open(path))
    loc, scale = (part.cpu() for part in gaussians(trained.as_model(), Options(seed=seed)))
    some = min(len(loc), 1000)
    whole, left_out = (
        empirical_marginal_kl(loc, scale, samples=2, evaluate=some, seed=seed, leave_one_out=without)
        for without in (False, True)
    )
    return Codes(
        loc, scale, whole.empirical_marginal_kl.value, left_out.empirical_marginal_kl.value, whole.lower
    )
