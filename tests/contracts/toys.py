"""The smallest nets that a system can be built of, and batches for them, from generators of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import partial

import torch
from torch import Tensor, nn
from torch.distributions import (
    AffineTransform,
    Categorical,
    Distribution,
    Independent,
    MixtureSameFamily,
    Normal,
    Transform,
    TransformedDistribution,
    constraints,
)
from torch.nn import functional as F

from distmatch.distributions.points import Delta, DensityAt, NoisyPoint
from distmatch.objectives.objective import Objective
from distmatch.systems import System
from distmatch.training.step import Batch, State

LABELS = 3
CODES = ("z_prior", "z_near", "z_code", "z_rec")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(g: torch.Generator, *shape: int) -> nn.Parameter:
    return nn.Parameter(0.4 * torch.randn(shape, generator=g, dtype=torch.float64))


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
        return _normal_law(loc, self.log_scale.exp().expand_as(loc))


class PointEncoder(nn.Module):
    """The point x A + a; on the unit sphere, that over its norm."""

    def __init__(
        self, g: torch.Generator, x: int, latent: int, labels: int = 0, sphere: bool = False
    ) -> None:
        super().__init__()
        self.loc, self.sphere = Linear(g, x, latent, labels), sphere

    def forward(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        loc = self.loc(x, y)
        return Delta(F.normalize(loc, dim=-1) if self.sphere else loc, 1)


class NoiseEncoder(LinearEncoder):
    """z = x A + a + exp(c) (ε + ε²/4), with ε's moments 1/4 and √(1 + 1/8)."""

    noise_size = 2

    def forward(  # type: ignore[override]
        self, x: Tensor, y: Tensor | None = None, noise: Tensor | None = None
    ) -> Distribution:
        assert noise is not None, "an encoder that takes noise was called without it"
        loc, scale = self.loc(x, y), self.log_scale.exp()
        moments = (loc + scale / 4, (scale * 1.125**0.5).expand_as(loc))
        return NoisyPoint(loc + scale * (noise + noise.square() / 4), moments, 1)


class Twist(Transform):
    """(u, v) ↦ (u, v exp(k tanh u)): log|det| = k tanh u."""

    domain = constraints.real_vector
    codomain = constraints.real_vector
    bijective = True

    def __init__(self, k: Tensor) -> None:
        super().__init__()
        self.k = k

    def _call(self, z: Tensor) -> Tensor:
        return torch.stack([z[..., 0], z[..., 1] * (self.k * z[..., 0].tanh()).exp()], -1)

    def _inverse(self, z: Tensor) -> Tensor:
        return torch.stack([z[..., 0], z[..., 1] * (-self.k * z[..., 0].tanh()).exp()], -1)

    def log_abs_det_jacobian(self, z: Tensor, twisted: Tensor) -> Tensor:
        return self.k * z[..., 0].tanh()


class TwistEncoder(LinearEncoder):
    """A normal, twisted by k."""

    def __init__(self, g: torch.Generator, x: int, latent: int, labels: int = 0) -> None:
        super().__init__(g, x, latent, labels)
        self.k = _normal(g)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Distribution:
        return TransformedDistribution(super().forward(x, y), [Twist(self.k)], validate_args=False)


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
        return _normal_law(loc, scale)


class FlowDecoder(nn.Module):
    """The distribution of z B + b, z ~ N(0, I), which knows its density: at x, where it is given x."""

    teacher_forced = True

    def __init__(self, g: torch.Generator, x: int, latent: int, labels: int = 0) -> None:
        super().__init__()
        self.loc = Linear(g, latent, x, labels)

    def forward(self, z: Tensor, y: Tensor | None = None, x: Tensor | None = None) -> Distribution:
        if x is None:
            return Delta(self.loc(z, y), 1)
        inverse = torch.linalg.inv(self.loc.weight)
        square = ((x - self.loc.bias) @ inverse).square().sum(1)
        size = math.log(2 * math.pi) * x.shape[1]
        return DensityAt(-0.5 * (square + size) - torch.linalg.slogdet(self.loc.weight).logabsdet)


class AutoregressiveDecoder(nn.Module):
    """x₁ ~ N(m₁, 1), x₂ ~ N(m₂ + w x₁, exp(s)²), with (m₁, m₂) = z B + b, or b alone where there is no code."""

    teacher_forced = True

    def __init__(self, g: torch.Generator, latent: int, labels: int = 0, uses_code: bool = True) -> None:
        super().__init__()
        self.uses_code = uses_code
        self.loc = Linear(g, latent, 2, labels) if uses_code else _normal(g, 2)
        self.w, self.log_scale = _normal(g), _normal(g)

    def forward(self, z: Tensor, y: Tensor | None = None, x: Tensor | None = None) -> Distribution:
        loc = self.loc(z, y) if isinstance(self.loc, Linear) else self.loc.expand(len(z), 2)
        if x is None:
            return Delta(torch.stack([loc[:, 0], loc[:, 1] + self.w * loc[:, 0]], 1), 1)
        mean = torch.stack([loc[:, 0], loc[:, 1] + self.w * x[:, 0]], 1)
        scale = torch.stack([torch.ones_like(self.log_scale), self.log_scale.exp()])
        return DensityAt(_normal_law(mean, scale.expand_as(mean)).log_prob(x))


class QuadraticCritic(nn.Module):
    """w·u + b + |u V|²/2 at u, its arguments beside one another: linear in its weights but for V; u V is hidden."""

    def __init__(self, g: torch.Generator, inputs: int, labels: int = 0) -> None:
        super().__init__()
        self.linear, self.square = Linear(g, inputs, 1, labels), _normal(g, inputs, 2)

    def forward(self, *inputs: Tensor, y: Tensor | None = None, hidden: bool = False) -> Tensor:
        u = torch.cat(inputs, 1)
        features = u @ self.square
        return features if hidden else self.linear(u, y).squeeze(1) + 0.5 * features.square().sum(1)


class SetCritic(QuadraticCritic):
    """The same, and a·mean(u) of the whole batch."""

    def __init__(self, g: torch.Generator, inputs: int, labels: int = 0) -> None:
        super().__init__(g, inputs, labels)
        self.pooled = _normal(g, inputs)

    def forward(self, *inputs: Tensor, y: Tensor | None = None, hidden: bool = False) -> Tensor:
        return super().forward(*inputs, y=y, hidden=hidden) + torch.cat(inputs, 1).mean(0) @ self.pooled


class LinearLens(nn.Module):
    """x + x A + a."""

    def __init__(self, g: torch.Generator, x: int) -> None:
        super().__init__()
        self.body = Linear(g, x, x)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return x + self.body(x)


class ToyPrior(nn.Module):
    """Two normals, mixed; the encoder's distributions at two points, mixed; or a normal, twisted and moved."""

    def __init__(self, g: torch.Generator, kind: str, x: int, latent: int) -> None:
        super().__init__()
        self.kind, size = kind, {"mixture": latent, "vamp": x, "flow": latent}[kind]
        self.at = _normal(g, *(() if kind == "flow" else (2,)), size)
        self.k = _normal(g) if kind == "flow" else None

    def forward(self, encoder: Callable[..., Distribution] | None = None) -> Distribution:
        if self.kind == "flow":
            assert self.k is not None
            base = _normal_law(torch.zeros_like(self.at), torch.ones_like(self.at))
            moves: list[Transform] = [Twist(self.k), AffineTransform(self.at, 1.0, event_dim=1)]
            return TransformedDistribution(base, moves, validate_args=False)
        if self.kind == "vamp":
            assert encoder is not None
            parts = encoder(self.at)
        else:
            parts = _normal_law(self.at, torch.ones_like(self.at))
        return MixtureSameFamily(
            Categorical(logits=torch.zeros_like(self.at[:, 0]), validate_args=False),
            parts,
            validate_args=False,
        )


def _normal_law(loc: Tensor, scale: Tensor) -> Distribution:
    return Independent(Normal(loc, scale, validate_args=False), 1, validate_args=False)


ENCODERS: dict[str, Callable[..., nn.Module]] = {
    "gaussian": LinearEncoder,
    "deterministic": PointEncoder,
    "sphere": partial(PointEncoder, sphere=True),
    "noise": NoiseEncoder,
    "flow": TwistEncoder,
}


@dataclass(frozen=True)
class Toy:
    """Which of the nets here a system wants, by the names that the package's nets have."""

    posterior: str = "gaussian"
    prior: str = "mixture"
    family: str = "mlp"
    uses_code: bool = True
    symmetric: bool = False


PLAIN = Toy()


def toy_of(system: System) -> Toy:
    """What a system's own defaults ask for."""
    asked = {k.removeprefix("network."): v for k, v in system.defaults.items() if k.startswith("network.")}
    if asked.get("prior") not in ("mixture", "vamp", "flow"):
        asked.pop("prior", None)
    return Toy(**{f.name: asked[f.name] for f in fields(Toy) if f.name in asked})


def linear_nets(
    objective: Objective,
    seed: int = 0,
    x: int = 2,
    latent: int = 2,
    learned_scale: bool = True,
    toy: Toy = PLAIN,
) -> dict[str, nn.Module]:
    """Nets that are linear, or nearly, and quadratic critics in float64, for data `(x,)`."""
    g, labels = generator(seed), LABELS if objective.labels else 0
    sizes = {"x": x, "z": latent}
    decoders: dict[str, Callable[[], nn.Module]] = {
        "real-nvp": lambda: FlowDecoder(g, x, latent, labels),
        "pixelcnn": lambda: AutoregressiveDecoder(g, latent, labels, toy.uses_code),
    }
    explicit = objective.needs_likelihood
    makers: dict[str, Callable[[], nn.Module]] = {
        "encoder": lambda: ENCODERS[toy.posterior](g, x, latent, labels),
        "decoder": decoders.get(
            toy.family, lambda: LinearDecoder(g, x, latent, labels, explicit, learned_scale)
        ),
        "prior": lambda: ToyPrior(g, toy.prior, x, latent),
        "lens": lambda: LinearLens(g, x),
    }
    nets = {n: makers[n]() for n in objective.uses}
    critic = SetCritic if toy.symmetric else QuadraticCritic
    for name, spaces in objective.critics.items():
        nets[name] = critic(g, sum(sizes[s] for s in spaces), labels)
    return nets


def numbers_at(objective: Objective, share: float = 0.5) -> dict[str, Tensor]:
    """The value that each ramp has after this share of its steps, for `step`."""
    ramps = objective.over(10_000).ramps
    return {k: torch.tensor(r.at(round(share * r.steps)), dtype=torch.float64) for k, r in ramps.items()}


def batch(
    objective: Objective,
    g: torch.Generator,
    size: int = 5,
    x: tuple[int, ...] = (2,),
    latent: int = 2,
    dtype: torch.dtype = torch.float64,
    code_noise: int | None = None,
) -> Batch:
    """Uniform data, labels where the objective is given them, and all the noise that it asks for."""
    rows = {"z_code": objective.samples * size}
    columns = {name: code_noise or latent for name in ("z_code", "z_rec")}
    noise = {
        v.name: torch.randn(rows.get(v.name, size), columns.get(v.name, latent), generator=g, dtype=dtype)
        for v in objective.variables
        if v.name in CODES
    }
    for t in objective.terms:
        sizes = {"x": (size, *x), "z": (size, latent)}
        noise |= {name: distribution.draw(sizes, g, dtype) for name, distribution in t.noise.items()}
    y = torch.randint(LABELS, (size,), generator=g) if objective.labels else None
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
