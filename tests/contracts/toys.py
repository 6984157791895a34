"""The smallest nets that a system can be built of, and batches for them, from generators of their own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal
from torch.nn import functional as F

from distmatch.distributions import Delta
from distmatch.objective import Objective
from distmatch.training.step import Batch, State

LABELS = 3
CODES = ("z_prior", "z_near", "z_code", "z_rec")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(g: torch.Generator, *shape: int) -> nn.Parameter:
    return nn.Parameter(0.4 * torch.randn(*shape, generator=g, dtype=torch.float64))


class Linear(nn.Module):
    """u ↦ u A + b, with the label beside u where there are labels."""

    def __init__(self, g: torch.Generator, inputs: int, outputs: int, labels: int = 0) -> None:
        super().__init__()
        self.labels = labels
        self.weight, self.bias = _normal(g, inputs + labels, outputs), _normal(g, outputs)

    def forward(self, u: Tensor, y: Tensor | None = None) -> Tensor:
        if self.labels:
            assert y is not None, "a net given y was called without it"
            u = torch.cat([u, F.one_hot(y, self.labels).to(u.dtype)], 1)
        return u @ self.weight + self.bias


class LinearEncoder(nn.Module):
    """N(x A + a, diag exp(c)²)."""

    def __init__(self, g: torch.Generator, x: int, latent: int, labels: int = 0) -> None:
        super().__init__()
        self.loc, self.log_scale = Linear(g, x, latent, labels), _normal(g, latent)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        loc = self.loc(x, y)
        law = Normal(loc, self.log_scale.exp().expand_as(loc), validate_args=False)
        return Independent(law, 1, validate_args=False)


class LinearDecoder(nn.Module):
    """N(z B + b, exp(s)²) where it is explicit, s learned or 0; and else the point z B + b."""

    def __init__(
        self, g: torch.Generator, x: int, latent: int, labels: int, explicit: bool, learned_scale: bool
    ) -> None:
        super().__init__()
        self.loc, self.explicit = Linear(g, latent, x, labels), explicit
        self.log_scale = _normal(g, 1) if explicit and learned_scale else None

    def forward(self, z: Tensor, y: Tensor | None = None) -> Distribution:
        loc = self.loc(z, y)
        if not self.explicit:
            return Delta(loc, 1)
        scale = torch.ones_like(loc) if self.log_scale is None else self.log_scale.exp().expand_as(loc)
        return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)


class QuadraticCritic(nn.Module):
    """w·u + b + |u V|²/2 at u, its arguments beside one another: linear in its weights but for V."""

    def __init__(self, g: torch.Generator, inputs: int, labels: int = 0) -> None:
        super().__init__()
        self.linear, self.square = Linear(g, inputs, 1, labels), _normal(g, inputs, 2)

    def forward(self, *inputs: Tensor, y: Tensor | None = None) -> Tensor:
        u = torch.cat(inputs, 1)
        return self.linear(u, y).squeeze(1) + 0.5 * (u @ self.square).square().sum(1)


def linear_nets(
    objective: Objective, seed: int = 0, x: int = 2, latent: int = 2, learned_scale: bool = True
) -> dict[str, nn.Module]:
    """Linear encoder and decoder and quadratic critics in float64, for data `(x,)`."""
    g, labels = generator(seed), LABELS if objective.given else 0
    sizes = {"x": x, "z": latent}
    players: dict[str, nn.Module] = {
        "encoder": LinearEncoder(g, x, latent, labels),
        "decoder": LinearDecoder(g, x, latent, labels, objective.needs_likelihood, learned_scale),
    }
    nets = {n: players[n] for n in objective.uses}
    for name, spaces in objective.critics.items():
        nets[name] = QuadraticCritic(g, sum(sizes[s] for s in spaces), labels)
    return nets


def batch(
    objective: Objective,
    g: torch.Generator,
    size: int = 5,
    x: tuple[int, ...] = (2,),
    latent: int = 2,
    dtype: torch.dtype = torch.float64,
) -> Batch:
    """Uniform data, labels where the objective is given them, and all the noise that it asks for."""
    rows = {"z_code": objective.samples * size}
    noise = {
        v.name: torch.randn(rows.get(v.name, size), latent, generator=g, dtype=dtype)
        for v in objective.variables
        if v.name in CODES
    }
    for t in objective.terms:
        sizes = {"x": (size, *x), "z": (size, latent)}
        noise |= {name: law.draw(sizes, g, dtype) for name, law in t.noise.items()}
    y = torch.randint(LABELS, (size,), generator=g) if objective.given else None
    return Batch(torch.rand(size, *x, generator=g, dtype=dtype), noise, y)


def stack(items: list[Batch]) -> Batch:
    """Lanes' batches as one, with a leading axis."""
    y = None if items[0].y is None else torch.stack([b.y for b in items])
    noise = {n: torch.stack([b.noise[n] for b in items]) for n in items[0].noise}
    return Batch(torch.stack([b.x for b in items]), noise, y)


def flat(state: State) -> dict[str, Tensor]:
    """Every parameter by its net and name."""
    return {f"{n}.{k}": p for n, ps in state.params.items() for k, p in ps.items()}


def copied(state: State) -> dict[str, Tensor]:
    """The parameters as they are now."""
    return {k: p.clone() for k, p in flat(state).items()}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor], rtol: float, atol: float) -> None:
    """Both hold the same names and, to rounding, the same numbers."""
    assert a.keys() == b.keys()
    for k in a:
        torch.testing.assert_close(a[k], b[k], rtol=rtol, atol=atol, msg=lambda m, k=k: f"{k}: {m}")
