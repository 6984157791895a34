"""Measuring a trained run for the comparisons of systems: its samples, and its codes where it has any."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from distmatch.distributions.functions import reparameterise
from distmatch.metrics import (
    FeatureNet,
    empirical_marginal_kl,
    feature_net,
    frechet_distance,
    image_features,
    image_logits,
    inception_score,
    independent_critic,
    ms_ssim_diversity,
    population_marginal_kl,
)
from distmatch.metrics.generator.independent_critic import image_critic
from distmatch.random import own_randomness
from distmatch.reproduction.framework.experiment import Numbers, Scale
from distmatch.runs.folder import RunFolder
from distmatch.runs.model import Trained, load_trained


@dataclass(frozen=True)
class Look:
    """Sizes of the measurements of a run.

    Args:
        samples: and as many held-out images, for the scores of samples.
        critic: steps of the fresh critic, maps of its first layer, and its learning rate.
        batches: how many, and of how many images, for their diversity.
        codes: of training data, for the KL of codes.
        seed: of all that is drawn.
    """

    samples: int
    critic: tuple[int, int, float]
    batches: tuple[int, int]
    codes: int
    seed: int = 0


LOOKS: Mapping[Scale, Look] = {
    "smoke": Look(70, (2, 2, 1e-3), (2, 8), 100),
    "cpu": Look(1500, (150, 8, 1e-3), (2, 64), 5_000),
    "paper": Look(5_000, (2_000, 64, 1e-4), (5, 64), 50_000),
}


def digits_net() -> FeatureNet:
    """The shipped MNIST classifier, for digits of any size and colour: it sees the brightest channel, at 28×28.

    The colours of color-mnist have a channel of 255, so that this gives back the grey digit exactly.
    """
    net = feature_net("mnist")
    logits = net.logits
    assert logits is not None

    def grey(images: Tensor) -> Tensor:
        bright = images.amax(1, keepdim=True)
        if bright.shape[-1] == 28:
            return bright
        return torch.nn.functional.interpolate(bright, (28, 28), mode="bilinear", antialias=True).clamp(0, 1)

    name = f"{net.name} of the brightest channel"
    return replace(
        net,
        name=name,
        features=lambda x: net.features(grey(x)),
        logits=lambda x: logits(grey(x)),
        shape=None,
    )


def judged_run(path: Path | None, names: Sequence[str], scale: Scale, seed: int = 0) -> Numbers:
    """Measures of a run by their names in `MEASURES`; nothing but `diverged` = 1 where there is no run.

    Measures that the run has no part for, such as the KL of codes of a GAN, and numbers that are not finite are left
    out. A model whose samples are not finite has diverged too.
    """
    if path is None:
        return Numbers({"diverged": 1.0})
    trained, _ = load_trained(RunFolder.open(path))
    judged = Judged(trained, replace(LOOKS[scale], seed=seed))
    if not judged.samples.isfinite().all():
        return Numbers({"diverged": 1.0})
    values = {name: MEASURES[name](judged) for name in names}
    known = {name: value for name, value in values.items() if value is not None and math.isfinite(value)}
    return Numbers({"diverged": 0.0} | known)


@dataclass(frozen=True)
class Judged:
    """A run to be judged; what several measures need is computed once."""

    trained: Trained
    look: Look

    @cached_property
    def samples(self) -> Tensor:
        """Samples, in [0, 1]."""
        return self.trained.sample(self.look.samples, self.look.seed).clamp(0, 1)

    @cached_property
    def real(self) -> Tensor:
        """Held-out data, twice as many where there are so many."""
        return self.trained.prepared("test", 2 * self.look.samples)

    def critic(self) -> float:
        """Ŵ on held-out data of a fresh WGAN-GP critic; lower is better."""
        steps, width, rate = self.look.critic
        half = len(self.real) // 2
        channels, height, side = self.real.shape[1:]
        with own_randomness(self.look.seed):
            net = image_critic((channels, height, side), width)
        train = self.trained.prepared("train", half)
        test = self.real[half : 2 * half]
        distance = independent_critic(
            self.samples,
            train,
            self.real[:half],
            test,
            critic=net,
            steps=steps,
            rate=rate,
            seed=self.look.seed,
        )
        assert distance.test is not None
        return distance.test.value

    def frechet(self) -> float:
        """The Fréchet distance of the digit classifier's features from held-out data's; lower is better."""
        net, n = digits_net(), self.look.samples
        return frechet_distance(image_features(net, self.real[:n]), image_features(net, self.samples)).value

    def inception(self) -> float:
        """The inception score by the digit classifier, in parts of at least 150 images; higher is better."""
        splits = max(1, min(10, self.look.samples // 150))
        return inception_score(image_logits(digits_net(), self.samples), splits).value

    def diversity(self) -> float:
        """1 - mean MS-SSIM over pairs of samples."""
        return self._diversity(self.samples)

    def diversity_data(self) -> float:
        """1 - mean MS-SSIM over pairs of held-out data."""
        return self._diversity(self.real)

    def _diversity(self, images: Tensor) -> float:
        batches, size = self.look.batches
        return ms_ssim_diversity(
            images, batches=batches, batch_size=size, convention="fixed", seed=self.look.seed
        ).value

    def kl(self) -> float | None:
        """KL(q(z) ‖ p(z)) in nats of the mixture q(z) of these training data's posteriors, not of the population's;
        of Gaussian encoders."""
        if self._posterior() != "gaussian":
            return None
        loc, scale = self._gaussians()
        evaluate = min(len(loc), 1_000)
        return empirical_marginal_kl(
            loc, scale, samples=2, evaluate=evaluate, decompose=False, seed=self.look.seed
        ).empirical_marginal_kl.value

    def kl_density(self) -> float | None:
        """A lower bound on KL(q(z) ‖ p(z)) of the population, from codes of held-out data; of any encoder."""
        if self._posterior() is None:
            return None
        x = self.trained.prepared("test", self.look.codes)
        bounds = population_marginal_kl(
            self.trained.encode, x, torch.cat(self._training()), seed=self.look.seed
        )
        return bounds.population_marginal_kl.value

    def mse(self) -> float | None:
        """‖x - x̂‖²/dim(x) of held-out data."""
        if self._posterior() is None:
            return None
        x = self.real[: self.look.samples]
        with torch.no_grad(), own_randomness(self.look.seed):
            distribution = self.trained.encode(x)
            z = reparameterise(distribution, torch.randn(len(x), self.trained.latent))
        return float((self.trained.decoded(z) - x).square().mean())

    def _posterior(self) -> str | None:
        """The kind of q(z|x); None without an encoder, or where the prior is not N(0, I)."""
        if "encoder" not in self.trained.nets or self.trained.assembly.config.network.prior != "normal":
            return None
        return self.trained.assembly.config.network.posterior

    def _training(self) -> list[Tensor]:
        return list(self.trained.prepared("train", self.look.codes).split(500))

    def _gaussians(self) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            distributions = [self.trained.encode(x) for x in self._training()]
        return torch.cat([q.mean for q in distributions]), torch.cat([q.stddev for q in distributions])


MEASURES: Mapping[str, Callable[[Judged], float | None]] = {
    "critic": Judged.critic,
    "frechet": Judged.frechet,
    "inception": Judged.inception,
    "diversity": Judged.diversity,
    "diversity_data": Judged.diversity_data,
    "kl": Judged.kl,
    "kl_density": Judged.kl_density,
    "mse": Judged.mse,
}
