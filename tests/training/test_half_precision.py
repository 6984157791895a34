"""Under bf16 the nets alone run in few bits; draws, densities and losses are computed in float32."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from contracts.toys import generator
from distmatch.distributions.pixels import PixelCategorical
from distmatch.objectives.comparisons import KERNELS, mmd_squared
from distmatch.objectives.objective import Objective
from distmatch.objectives.term import Term
from distmatch.objectives.terms.distance import Distance
from distmatch.objectives.terms.moments import MMD
from distmatch.objectives.variables import X_GEN, Draws, X
from distmatch.training.engine.functional import bind
from distmatch.training.step import Batch, Settings, init, step


class Levels(nn.Module):
    """p(x|z) of one pixel in 256 grey levels, by one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Linear(2, 256)

    def forward(self, z: Tensor) -> Distribution:
        return Independent(PixelCategorical(self.logits(z).float().unsqueeze(1)), 1)


class Normals(nn.Module):
    """A decoder of one's own, which returns what autocast leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.loc = nn.Linear(2, 3)

    def forward(self, z: Tensor) -> Distribution:
        loc = self.loc(z)
        return Independent(Normal(loc, torch.ones_like(loc), validate_args=False), 1, validate_args=False)


class Kept(Distance):
    """A distance that keeps what it was given."""

    draws: Draws

    def loss(self, draws: Draws, critics: Any) -> Tensor:
        object.__setattr__(self, "draws", draws)
        return super().loss(draws, critics)


def stepped(term: Term, decoder: nn.Module, x: Tensor, precision: Any) -> dict[str, Tensor]:
    objective, nets = Objective(term), {"decoder": decoder}
    noise = {"z_prior": torch.randn(len(x), 2, generator=generator(1))}
    settings = Settings(precision=precision)
    return step(objective, nets, init(objective, nets, settings), [Batch(x, noise)], settings)[1]


def seeded(kind: type[nn.Module]) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return kind()


def test_the_mean_of_a_categorical_pixel_is_not_rounded():
    """Σ level·p(level), by float64 from the logits that autocast gave; bf16 has 8 bits: off by up to 2⁻⁹ of it."""
    term = Kept(X, X_GEN)
    stepped(term, seeded(Levels), torch.zeros(64, 1), "bf16")
    logits = term.draws.distributions["x_gen"].base_dist.logits.detach().double()
    exact = logits.softmax(-1) @ torch.linspace(0, 1, 256, dtype=torch.float64)
    assert term.draws[X_GEN].dtype == torch.float32
    torch.testing.assert_close(term.draws[X_GEN].double(), exact, rtol=1e-6, atol=1e-6)
    assert (exact.bfloat16().double() - exact).abs().max() > 1e-4  # so that rounding would be seen


def test_products_of_matrices_in_a_loss_are_not_rounded():
    """MMD of points far from 0, whose inner products bf16 would leave nothing of."""
    decoder, x = seeded(Normals), 100 + torch.randn(64, 3, generator=generator(2))
    with torch.no_grad():
        decoder.loc.bias.fill_(100.0)
    found = stepped(MMD(X_GEN, X), decoder, x, "bf16")["mmd(x_gen, x)"]
    z = torch.randn(64, 2, generator=generator(1))
    with torch.no_grad():
        half = bind(decoder, dict(decoder.named_parameters()), half=True)(z).mean
        exact = mmd_squared(half.double(), x.double(), KERNELS["imq"])
    assert found.item() == pytest.approx(exact.item(), rel=1e-4)


def test_what_ones_own_net_returns_is_float32():
    distribution = bind(seeded(Normals), dict(seeded(Normals).named_parameters()), half=True)(
        torch.ones(4, 2)
    )
    assert distribution.base_dist.loc.dtype == distribution.base_dist.scale.dtype == torch.float32
    score = bind(nn.Linear(2, 1), dict(nn.Linear(2, 1).named_parameters()), half=True)(torch.ones(4, 2))
    assert score.dtype == torch.float32


def test_a_frozen_net_runs_in_half_precision_too():
    """Its state holds nothing of it: its own weights say where it runs."""
    frozen = seeded(Normals).requires_grad_(False)
    assert bind(frozen, {}, half=True)(torch.ones(4, 2)).mean.dtype == torch.float32
