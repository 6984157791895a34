"""Training loops as a PyTorch user writes them: a DataLoader, `zero_grad()`, `backward()`, `step()`, torch's own Adam.

They train the package's layers on the package's losses, so that a comparison is of loops alone; what they do in a
step is, but for rounding, what the engine does (`benchmarks/training.py` checks it). They are written well where that
costs a user nothing: the generator runs forward once for both sides, the penalty is per sample, and losses are read
every so many steps and not at each. Where most people do not take the trouble (freezing the critic while the generator
learns, fused kernels, data on the device as bytes, channels-last) they do not either.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

Nets = dict[str, nn.Module]
Noise = dict[str, Tensor]
PENALTY = "penalty/match(x_gen, x)"  # what the engine calls the penalty's noise
SHIFT = math.log(math.e - 1)


@dataclass
class Loop:
    """One run by hand.

    Args:
        nets: `"encoder"`, `"decoder"` and critics, on their device.
        latent: the size of z.
        lr: Adam's, of both sides.
        betas: Adam's.
        bf16: whether forwards run under autocast.
        critic_steps: batches of one step; the last serves the model too.
    """

    nets: Nets
    latent: int
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    bf16: bool = False
    critic_steps: int = 1
    losses: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        params = [p for n in ("encoder", "decoder") if n in self.nets for p in self.nets[n].parameters()]
        critics = [p for n in ("data", "code") if n in self.nets for p in self.nets[n].parameters()]
        self.adam = torch.optim.Adam(params, lr=self.lr, betas=self.betas)
        self.critic_adam = torch.optim.Adam(critics, lr=self.lr, betas=self.betas) if critics else None
        self.device = params[0].device

    def take(self, batches: Sequence[tuple[Tensor, Noise | None]]) -> None:
        """One step, on the noise given or on its own."""
        raise NotImplementedError

    def run(self, loader: Iterator[list[Tensor]], steps: int) -> float:
        """Some steps, and the losses read at the end."""
        for _ in range(steps):
            xs = [next(loader)[0].to(self.device, non_blocking=True) for _ in range(self.critic_steps)]
            self.take([(x, None) for x in xs])
        return sum(loss.item() for loss in self.losses)

    def normal(self, x: Tensor, noise: Noise | None, name: str) -> Tensor:
        """The noise of this name."""
        return torch.randn(len(x), self.latent, device=x.device) if noise is None else noise[name]

    def autocast(self) -> AbstractContextManager[object]:
        """Around forwards."""
        return torch.autocast(self.device.type, torch.bfloat16) if self.bf16 else nullcontext()

    def encode(self, x: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """ẑ, μ and σ."""
        encoder = self.nets["encoder"]
        mean, free = _full(encoder.body(encoder.prepare(x))).chunk(2, 1)
        scale = F.softplus(free + SHIFT) + 1e-6
        return mean + scale * noise, mean, scale

    def decode(self, z: Tensor) -> Tensor:
        """Images in [0, 1]."""
        return 0.5 * (torch.tanh(_full(self.nets["decoder"].body(z))) + 1)


class VAE(Loop):
    """-E log p(x|ẑ) + KL, Bernoulli."""

    def take(self, batches: Sequence[tuple[Tensor, Noise | None]]) -> None:
        """One step."""
        ((x, noise),) = batches
        self.adam.zero_grad()
        with self.autocast():
            z, mean, scale = self.encode(x, self.normal(x, noise, "z_code"))
            logits = _full(self.nets["decoder"].body(z)).view_as(x)
            nll = F.binary_cross_entropy_with_logits(logits, x, reduction="sum") / len(x)
            kl = 0.5 * (mean.square() + scale.square() - 1 - 2 * scale.log()).sum(1).mean()
            loss = nll + kl
        loss.backward()
        self.adam.step()
        self.losses = [nll.detach(), kl.detach()]


class GAN(Loop):
    """The non-saturating pair."""

    def take(self, batches: Sequence[tuple[Tensor, Noise | None]]) -> None:
        """One step."""
        ((x, noise),), critic = batches, self.nets["data"]
        self.critic_adam.zero_grad()
        with self.autocast():
            fake = self.decode(self.normal(x, noise, "z_prior"))
            critic_loss = F.softplus(-critic(x)).mean() + F.softplus(critic(fake.detach())).mean()
        critic_loss.backward()
        self.critic_adam.step()
        self.adam.zero_grad()
        with self.autocast():
            loss = F.softplus(-critic(fake)).mean()
        loss.backward()
        self.adam.step()
        self.losses = [critic_loss.detach(), loss.detach()]


class WGANGP(Loop):
    """Wasserstein, gradient penalty of weight 10 between data and samples."""

    def take(self, batches: Sequence[tuple[Tensor, Noise | None]]) -> None:
        """One step."""
        critic = self.nets["data"]
        for i, (x, noise) in enumerate(batches):
            last = i + 1 == len(batches)
            self.critic_adam.zero_grad()
            with self.autocast():
                with nullcontext() if last else torch.no_grad():
                    fake = self.decode(self.normal(x, noise, "z_prior"))
                made = fake.detach()
                own = torch.rand(len(x), device=x.device) if noise is None else noise[PENALTY]
                share = own.view(-1, 1, 1, 1)
                between = (made + share * (x - made)).requires_grad_()
                scores = critic(between)
                (slope,) = torch.autograd.grad(scores.sum(), between, create_graph=True)
                penalty = 10 * (slope.flatten(1).norm(dim=1) / 2 - 1).square().mean()  # in [-1, 1]
                critic_loss = critic(made).mean() - critic(x).mean() + penalty
            critic_loss.backward()
            self.critic_adam.step()
        self.adam.zero_grad()
        with self.autocast():
            loss = -critic(fake).mean()
        loss.backward()
        self.adam.step()
        self.losses = [critic_loss.detach(), loss.detach()]


class VGH(Loop):
    """VGH++: reconstructions and samples meet one critic, codes another."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.of_encoder = list(self.nets["encoder"].parameters())
        self.of_decoder = list(self.nets["decoder"].parameters())

    def take(self, batches: Sequence[tuple[Tensor, Noise | None]]) -> None:
        """One step."""
        ((x, noise),), critic, code = batches, self.nets["data"], self.nets["code"]
        prior = self.normal(x, noise, "z_prior")
        self.critic_adam.zero_grad()
        with self.autocast():
            z, _, _ = self.encode(x, self.normal(x, noise, "z_code"))
            rec, fake = self.decode(z), self.decode(prior)
            critic_loss = (
                2 * F.softplus(-critic(x)).mean()
                + F.softplus(critic(rec.detach())).mean()
                + F.softplus(critic(fake.detach())).mean()
                + F.softplus(-code(prior)).mean()
                + F.softplus(code(z.detach())).mean()
            )
        critic_loss.backward()
        self.critic_adam.step()
        self.adam.zero_grad()
        with self.autocast():
            distance = 10 * 2 * (x - rec).abs().mean()  # in [-1, 1]
            of_encoder = distance + F.softplus(-code(z)).mean()
            of_decoder = distance + F.softplus(-critic(rec)).mean() + F.softplus(-critic(fake)).mean()
        of_encoder.backward(retain_graph=True, inputs=self.of_encoder)
        of_decoder.backward(inputs=self.of_decoder)
        self.adam.step()
        self.losses = [critic_loss.detach(), of_encoder.detach(), of_decoder.detach()]


def loader_of(x: Tensor, batch: int, device: torch.device) -> Iterator[list[Tensor]]:
    """Shuffled batches without end, of floats that were made beforehand; torch's own collation."""
    data = TensorDataset(x.float() / 255)
    loader = DataLoader(data, batch, shuffle=True, drop_last=True, pin_memory=device.type == "cuda")
    while True:
        yield from loader


def _full(raw: Tensor) -> Tensor:
    return raw.float() if raw.dtype == torch.bfloat16 else raw
