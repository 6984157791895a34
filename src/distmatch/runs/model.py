"""A trained run, as something that can be sampled, encoded and decoded."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from distmatch.data import DataSet
from distmatch.distributions.autoregressive import TeacherForced
from distmatch.distributions.dequantised import Dequantised
from distmatch.distributions.likelihoods import LIKELIHOODS
from distmatch.errors import BadInput
from distmatch.metrics import Model
from distmatch.metrics.model import Critic
from distmatch.networks import NETWORKS, POSTERIORS, PixelDecoder
from distmatch.objectives.variables import X_GEN, X_REC, Z_CODE, Z_MARGINAL, Z_REC, Variable
from distmatch.random import own_randomness
from distmatch.runs.build import Assembly, assemble, feed_of
from distmatch.runs.critics import trained_critics
from distmatch.runs.devices import mapped, on_cpu
from distmatch.runs.folder import RunFolder
from distmatch.training import FIXED_PRIORS, checkpoint
from distmatch.training.evaluation import EVALUATION_SEED, by_draw

CHUNK = 1000
BLOCK = 64  # draws of the prior at once; a multiple of 16, up to which torch's order depends on the size
PREPARED = {"train": 2**30, "validation": 2**30 + 1, "test": 2**30 + 2}  # seeds of what is random there


@dataclass(frozen=True)
class Trained:
    """A run's nets in evaluation mode, with its configuration and data.

    Whatever device the nets are on, all that is given and returned may be, and is, on the CPU.

    Args:
        assembly: the run.
        nets: encoder, decoder and whoever else makes draws; with batch norm also by the draw, as of `by_draw`.
        critic_nets: the critics.
    """

    assembly: Assembly
    nets: dict[str, nn.Module]
    critic_nets: dict[str, nn.Module] = field(default_factory=dict)

    def sample(self, n: int, seed: int = 0, y: Tensor | None = None) -> Tensor:
        """x̃ for n draws of z from the prior, `(n, *x_shape)`: the mean of p(x|z), or a draw of an autoregressive
        distribution.

        Args:
            n: how many.
            seed: of z, and of the labels.
            y: labels `(n,)`; drawn evenly where they are needed and not given.
        """
        if self.assembly.objective.labels and y is None:
            y = torch.arange(n) % self.assembly.data.num_classes
        return self.decoded(self.prior_draws(n, seed), y, seed, of=X_GEN)

    @property
    def latent(self) -> int:
        """The size of z."""
        latent = self.assembly.config.network.latent
        assert latent is not None
        return latent

    def prior_draws(self, n: int, seed: int = 0) -> Tensor:
        """Return n draws of z from the prior, fixed or learned, `(n, latent)`.

        The first ones are those of a smaller n. They are made in whole blocks, since torch draws the last values of a
        tensor by another rule.
        """
        whole = -(-n // BLOCK) * BLOCK
        if (distribution := self.prior()) is None:
            noise = torch.randn(whole, self.latent, generator=torch.Generator().manual_seed(seed))
            return FIXED_PRIORS[self.assembly.config.network.prior](noise[:n])
        with torch.no_grad(), own_randomness(seed):
            return torch.cat([distribution.sample((BLOCK,)).cpu() for _ in range(whole // BLOCK)])[:n]

    def prior(self) -> Distribution | None:
        """m(z), where the prior was learned; its weights are held still."""
        if "prior" not in self.nets:
            return None
        with torch.no_grad():
            encoder = self.nets.get(Z_MARGINAL.name, self.nets.get("encoder"))
            return mapped(self.nets["prior"](encoder), lambda t: t.detach().cpu())

    def decoded(self, z: Tensor, y: Tensor | None = None, seed: int = 0, of: Variable = X_REC) -> Tensor:
        """The mean of `decode`, or a draw of an autoregressive distribution, `(n, *x_shape)`, on the CPU."""
        parts = []
        with torch.no_grad(), own_randomness(seed):
            for i in range(0, len(z), CHUNK):
                distribution = self.decode(z[i : i + CHUNK], None if y is None else y[i : i + CHUNK], of)
                parts.append(
                    (
                        distribution.sample()
                        if isinstance(distribution, TeacherForced)
                        else distribution.mean
                    ).cpu()
                )
        return torch.cat(parts)

    def decode(self, z: Tensor, y: Tensor | None = None, of: Variable = X_REC) -> Distribution:
        """p(x|z) at codes: `of` reconstructions, as the likelihood has it; of X_GEN at draws of the prior.

        The two differ by the statistics of batch norm alone.
        """
        decoder = self._net(of)
        if not isinstance(decoder, PixelDecoder):
            distribution = self._call(of, z, y)
            return Dequantised(distribution) if self._dequantises() else distribution
        device, event = self.assembly.trainer.feed.device, self.assembly.data.shape
        z, y = z.to(device), None if y is None else y.to(device)
        noise = torch.rand(len(z), *event, device=device)
        return TeacherForced(
            lambda x: on_cpu(decoder(z, y, x.to(device))),
            lambda: decoder.ancestral(z, noise, y).cpu(),
            len(z),
            event,
        )

    def generate(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """The mean of p(x|z) at draws of the prior, `(n, *x_shape)`, differentiable in z."""
        return self.decode(z, y, of=X_GEN).mean

    def critics(self, n: int, seed: int = 0) -> dict[str, Critic]:
        """`trained_critics` of this run, by name."""
        return trained_critics(self.assembly, self.nets, self.critic_nets, n, seed)

    def log_prob(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """log p(x) in nats, `(n,)`, of a flow or of an autoregressive net without a code."""
        device = self.assembly.trainer.feed.device
        labels = None if y is None else y.to(device)
        with torch.no_grad():
            x = x.to(device)
            return self._net(X_GEN)(None, labels, x).log_prob(x).cpu()

    def encode(self, x: Tensor, y: Tensor | None = None, of: Variable = Z_CODE) -> Distribution:
        """q(z|x) of data, or of Z_REC for samples; an implicit one at noise from torch's global generator."""
        size = getattr(self._net(of), "noise_size", 0)
        noise = {"noise": torch.randn(len(x), size).to(self.assembly.trainer.feed.device)} if size else {}
        return self._call(of, x, y, **noise)

    def prepared(self, split: str, limit: int | None = None) -> Tensor:
        """A split as the nets see it; what is random in its preparation is fixed, and each split's own."""
        assembly = self.assembly
        x = getattr(assembly.data, split).x[:limit]
        if not len(x):
            raise BadInput(f"{assembly.data.name} has no {split} split")
        feed = feed_of(assembly.config, assembly.objective, assembly.data, split, PREPARED[split])
        parts = [feed.batch(torch.arange(i, min(i + CHUNK, len(x)))).x.cpu() for i in range(0, len(x), CHUNK)]
        return torch.cat(parts)

    def labels(self, split: str) -> Tensor | None:
        """A split's labels, where the objective is given them."""
        return getattr(self.assembly.data, split).y if self.assembly.objective.labels else None

    def as_model(self) -> Model:
        """Return the run as the model that metrics take."""
        data, labels = self.assembly.data, self.assembly.objective.labels
        encodes, decodes = "encoder" in self.nets, "decoder" in self.nets
        autoregressive = isinstance(self.nets.get("decoder"), PixelDecoder)
        network = self.assembly.config.network
        known = NETWORKS[network.family].flow or getattr(self.nets.get("decoder"), "uses_code", True) is False
        conditional = (
            not known and network.likelihood != "implicit" and network.prior not in ("sphere", "uniform")
        )
        return Model(
            sample=lru_cache(maxsize=1)(self.sample) if decodes else None,
            sample_with_labels=(lambda y, seed: self.sample(len(y), seed, y)) if decodes and labels else None,
            encode=self.encode if encodes else None,
            encode_samples=partial(self.encode, of=Z_REC) if encodes else None,
            decode=self.decode if decodes else None,
            decode_prior=partial(self.decode, of=X_GEN) if decodes else None,
            generate=self.generate if decodes and not autoregressive else None,
            draw_prior=self.prior_draws,
            critics=self.critics if self.critic_nets else None,
            has_likelihood=decodes and conditional and POSTERIORS[network.posterior].has_density,
            log_prob=self.log_prob if decodes and known else None,
            grey_levels=self._grey_levels(),
            prior=self.prior(),
            standard_prior=network.prior == "normal",
            latent=network.latent,
            train=lambda: self.prepared("train"),
            test=(lambda: self.prepared("test")) if len(data.test) else None,
            train_labels=data.train.y if labels else None,
            test_labels=data.test.y if labels else None,
            modes=data.modes,
            mode_scale=data.mode_scale,
            is_image=data.is_image,
            stacked_digits=data.name == "stacked-mnist",
        )

    def _grey_levels(self) -> int | None:
        """Number of grey levels that a density on [0, 1] is spread over; None where the distribution is of levels or
        points."""
        dequantised = self.assembly.config.data.binarise == "dequantise" or self._dequantises()
        return 256 if self.assembly.data.is_image and dequantised else None

    def _dequantises(self) -> bool:
        """True where the decoder's distribution is of dequantised levels."""
        return LIKELIHOODS[self.assembly.config.network.likelihood].needs_dequantisation

    def _net(self, of: Variable) -> nn.Module:
        """Return the net that makes a draw."""
        if of.net not in self.nets:
            raise BadInput(f"this system has no {of.net}")
        return self.nets.get(of.name, self.nets[of.net])

    def _call(self, of: Variable, given: Tensor, y: Tensor | None, **more: Tensor) -> Distribution:
        device = self.assembly.trainer.feed.device
        labels = {} if y is None else {"y": y.to(device)}
        return on_cpu(self._net(of)(given.to(device), **labels, **more))


def finalize(assembly: Assembly) -> Trained:
    """The nets with their trained weights in evaluation mode, batch norm with the statistics of training (`by_draw`).

    Those of critics are gathered where these are asked for (`trained_critics`).
    """
    trainer, objective = assembly.trainer, assembly.objective
    trained = trainer.write_back()
    nets = {n: net for n, net in trained.items() if n in objective.uses}
    known = by_draw(objective, nets, trainer.feed.beside(EVALUATION_SEED), lambda name, net: net)
    critic_nets = {n: net.eval() for n, net in trained.items() if n in objective.critics}
    return Trained(assembly, {n: net.eval() for n, net in nets.items()} | known, critic_nets)


def load_trained(folder: RunFolder, data: DataSet | None = None) -> tuple[Trained, list[str]]:
    """A run from its newest good checkpoint, on its own device or, where there is none such, on what there is.

    Args:
        folder: of the run.
        data: what its configuration names, where it is at hand; else it is loaded.

    Returns:
        The run, and sentences on what is not as one may think: a damaged checkpoint that was passed over, a run that
        is not finished.

    Raises:
        BadInput: it has no checkpoint yet.
    """
    config = folder.config()
    if not checkpoint.steps(folder.checkpoints):
        raise BadInput(f"{folder.path} has no checkpoint yet ({folder.status()}); let it train further first")
    tensors, info, notes = checkpoint.read_latest(folder.checkpoints)
    if config.device.startswith("cuda") and not torch.cuda.is_available():
        notes.append(f"{folder.path} was trained on {config.device}; the CPU is used here")
        config = replace(config, device="cpu")
    config = replace(config, training=replace(config.training, engine="eager"))  # it takes no steps
    assembly = assemble(config, data)
    assembly.trainer.restore_weights(tensors, info)
    if (status := folder.status()) != "finished" or info["steps_done"] != config.training.steps:
        notes.append(
            f"{folder.path} is not finished ({status}): "
            f"its checkpoint of step {info['steps_done']} of {config.training.steps} is used"
        )
    return finalize(assembly), notes
