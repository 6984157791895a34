"""The six draws that every system compares, a few more that some ask for, and the record that holds them.

| name         | in equations | distribution        | made by          |
|--------------|--------------|------------|------------------|
| `X`          | x            | p*(x)      | the data         |
| `Z_PRIOR`    | z            | p(z)       | the prior        |
| `Z_CODE`     | ẑ            | q(z|x)     | encoder          |
| `X_REC`      | x̂            | p(x|ẑ)     | encoder, decoder |
| `X_GEN`      | x̃            | p(x|z)     | decoder          |
| `Z_REC`      | z̃            | q(z|x̃)     | encoder, decoder |
| `X_LENS`     | x̄            | data seen through a lens             | lens    |
| `Z_NEAR`     | z′           | z + δ/‖δ‖, δ ~ N(0, I)               | the prior |
| `X_NEAR`     | x̃′           | p(x|z′)    | decoder          |
| `Z_MARGINAL` | z            | m(z), a prior that is learned; only its density at ẑ is asked for | prior |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor
from torch.distributions import Distribution

from distmatch.distributions.flatten import flatten_distribution
from distmatch.distributions.functions import draw_and_score, is_diagonal_normal, reparameterise
from distmatch.distributions.points import Delta, DensityAt


@dataclass(frozen=True)
class Variable:
    """A random variable: its name in code, its symbol in equations, its distribution, and who makes it.

    Args:
        name: in code; its first letter is its space.
        symbol: in equations.
        distribution: its marginal, in equations.
        net: name of the net whose output it is, if it is one.
        nets: names of all nets that it depends on.
        parents: the draws that it is made from.

    >>> X_REC.nets
    ('encoder', 'decoder')
    >>> print(X_REC)
    x̂
    """

    name: str
    symbol: str
    distribution: str
    net: str = ""
    nets: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()

    @property
    def space(self) -> str:
        """`"x"` for the visible space, `"z"` for the latent one."""
        return self.name[0]

    def __str__(self) -> str:
        return self.symbol


X = Variable("x", "x", "p*(x)")
Z_PRIOR = Variable("z_prior", "z", "p(z)")
Z_NEAR = Variable("z_near", "z′", "p(z′)", parents=("z_prior",))
X_LENS = Variable("x_lens", "x̄", "p*(x̄)", "lens", ("lens",), ("x",))
Z_CODE = Variable("z_code", "ẑ", "q(z)", "encoder", ("encoder",), ("x",))
Z_MARGINAL = Variable("z_marginal", "z", "m(z)", "prior", ("prior",), ("z_code",))
X_REC = Variable("x_rec", "x̂", "p(x̂)", "decoder", ("encoder", "decoder"), ("z_code",))
X_GEN = Variable("x_gen", "x̃", "p(x̃)", "decoder", ("decoder",), ("z_prior",))
X_NEAR = Variable("x_near", "x̃′", "p(x̃′)", "decoder", ("decoder",), ("z_near",))
Z_REC = Variable("z_rec", "z̃", "q(z̃)", "encoder", ("encoder", "decoder"), ("x_gen",))

_ORDER = (X, Z_PRIOR, Z_NEAR, X_LENS, Z_CODE, Z_MARGINAL, X_REC, X_GEN, X_NEAR, Z_REC)
VARIABLES = {v.name: v for v in _ORDER if v is not Z_MARGINAL}
"""The draws that a term may name."""


def with_parents(
    variables: Iterable[Variable], distributions: Iterable[Variable] = ()
) -> tuple[Variable, ...]:
    """All draws whose value is needed: the given ones, and what they and the given distributions are made from.

    In the order in which they can be drawn.

    >>> [v.name for v in with_parents([X_REC])]
    ['x', 'z_code', 'x_rec']
    >>> [v.name for v in with_parents([], distributions=[X_REC])]
    ['x', 'z_code']
    """
    wanted = {v.name for v in variables}
    conditions = {v.name for v in distributions}
    for v in reversed(_ORDER):
        if v.name in wanted | conditions:
            wanted.update(v.parents)
    return tuple(v for v in _ORDER if v.name in wanted)


@dataclass(frozen=True)
class Draws:
    """One minibatch of every draw that a step needs, with the distributions that they were drawn from.

    Args:
        values: the draws, by the variable's name; `(B, *x_shape)` in the visible space, `(B, latent)` in the latent.
        distributions: q(z|x) under `"z_code"`, p(x|ẑ) under `"x_rec"`, p(x|z) under `"x_gen"`, q(z|x̃) under `"z_rec"`.
        noise: what else is random in the terms, by name.
        y: labels `(B,)`, or None.
        x_units: by net, how many units of its input one unit of x is; 1 for a net that is not named.
    """

    values: dict[str, Tensor]
    distributions: dict[str, Distribution]
    noise: Mapping[str, Tensor]
    y: Tensor | None = None
    x_units: Mapping[str, float] = field(default_factory=dict)

    def __getitem__(self, variable: Variable) -> Tensor:
        return self.values[variable.name]

    def units(self, *variables: Variable) -> float:
        """Return the units of their nets' input in one unit of these draws, where all these nets agree; else 1.

        Built-in nets see pictures in [-1, 1], and distances between pictures are in these units (2 for pictures in
        [0, 1]). Where one of the nets is the user's own, and sees what it is given, they are in its units.
        """
        units = {self.x_units.get(p, 1.0) for v in variables for p in v.nets if v.space == "x"}
        return units.pop() if len(units) == 1 else 1.0

    def detach(self) -> Draws:
        """The same draws and distributions, cut off from the nets that made them."""
        tensors, rebuild = self.flatten()
        return rebuild([t.detach() for t in tensors])

    def flatten(self) -> tuple[list[Tensor], Callable[[list[Tensor]], Draws]]:
        """The tensors of values and distributions, and how to put a record back together from them.

        This carries a record across the border of `torch.func.vmap`, which lets only tensors through.
        """
        tensors = list(self.values.values())
        parts = []
        for name, distribution in self.distributions.items():
            held, rebuild_distribution = flatten_distribution(distribution)
            parts.append((name, slice(len(tensors), len(tensors) + len(held)), rebuild_distribution))
            tensors += held

        def rebuild(tensors: list[Tensor]) -> Draws:
            values = dict(zip(self.values, tensors, strict=False))
            distributions = {
                name: rebuild_distribution(tensors[where]) for name, where, rebuild_distribution in parts
            }
            return replace(self, values=values, distributions=distributions)

        return tensors, rebuild


def draw(
    variables: Iterable[Variable],
    nets: Mapping[str, Callable[..., Any]],
    x: Tensor,
    noise: Mapping[str, Tensor],
    y: Tensor | None = None,
    distributions: Iterable[Variable] = (),
    samples: int = 1,
) -> Draws:
    """Make each wanted draw and distribution, and whatever they are made from, exactly once.

    Codes are reparameterised with outside noise. A visible draw (x̂, x̃) is the mean of the decoder's distribution:
    that is the sample itself where the decoder is implicit, and stays differentiable where it is not.

    A distribution whose density has a price is scored here, once, where it is wanted: q(z|x) of a flow at ẑ, m(z) at
    ẑ, and the p(x) or p(x|ẑ) of a decoder with `teacher_forced` at x. What is kept is a `DensityAt`, or the
    distribution given x. A decoder that says `density_needs_code = False` gets None for a code where its density
    alone is wanted.

    Args:
        variables: the draws wanted.
        nets: `"encoder"`, `"decoder"`, `"lens"` and `"prior"`, where a draw needs them. A net under a draw's own name
            makes that draw instead (under `"z_marginal"`: the encoder that a learned prior asks).
        x: data `(B, *x_shape)`.
        noise: standard normal `(B, latent)` under the names of codes (for z the draw from the prior itself).
        y: labels `(B,)`, given to every net if they are given.
        distributions: the draws of which the distribution is wanted, whether or not the value is.
        samples: K codes for each datum: ẑ and all that comes from it is `(K·B, ...)`, the data in order K times.
    """
    distributions = tuple(distributions)
    valued = {v.name for v in with_parents(variables, distributions)}
    asked = {v.name for v in distributions}
    values: dict[str, Tensor] = {}
    made: dict[str, Distribution] = {}

    def labels(copies: int = 1) -> dict[str, Tensor]:
        return {} if y is None else {"y": copied(y, copies)}

    for v in _ORDER:
        if v.name not in valued | asked:
            continue
        if v is X:
            values[v.name] = x
        elif v is Z_PRIOR:
            values[v.name] = noise[v.name]
        elif v is Z_NEAR:
            step = noise[v.name]
            values[v.name] = values["z_prior"] + step / step.norm(dim=1, keepdim=True)
        elif v is X_LENS:
            values[v.name] = _maker(nets, v)(x, **labels())
        elif v is Z_MARGINAL:
            distribution = nets["prior"](nets.get(v.name, nets.get("encoder")))
            made[v.name] = DensityAt(distribution.log_prob(values["z_code"]))
        elif v.net == "encoder":
            encoder = _maker(nets, v)
            distribution = encoder(values[v.parents[0]], **labels(), **_code_noise(encoder, v, noise))
            copies = samples if v is Z_CODE else 1
            priced = copies > 1 or not (is_diagonal_normal(distribution) or isinstance(distribution, Delta))
            if v.name in asked and priced:
                distribution = _scored(distribution, noise[v.name], copies)
            made[v.name] = distribution
            if v.name in valued:
                values[v.name] = (
                    distribution.mean
                    if isinstance(distribution, DensityAt)
                    else reparameterise(distribution, noise[v.name])
                )
        else:
            decoder = _maker(nets, v)
            copies = samples if v is X_REC else 1
            forced = v.name in asked and getattr(decoder, "teacher_forced", False)
            at = {"x": copied(x, copies)} if forced else {}
            codeless = at and v.name not in valued and not getattr(decoder, "density_needs_code", True)
            code = None if codeless else values[v.parents[0]]
            distribution = made[v.name] = decoder(code, **labels(copies), **at)
            if v.name in valued:
                values[v.name] = distribution.mean
    return Draws(values, made, noise, y, {name: units_of(net) for name, net in nets.items()})


def units_of(net: object) -> float:
    """Return the units of a net's input in one unit of x: what it says itself (`x_units`), and 1 for a user's own.

    >>> from distmatch.networks import Shapes, build
    >>> units_of(build("mlp", "critic", Shapes((1, 8, 8), latent=2))), units_of(lambda x: x.sum(1))
    (2.0, 1.0)
    """
    return float(getattr(net, "x_units", 1.0))


def _maker(nets: Mapping[str, Callable[..., Any]], v: Variable) -> Callable[..., Any]:
    """The net that makes a draw: the draw's own, or the net of its kind."""
    return nets.get(v.name, nets[v.net])


def _code_noise(
    encoder: Callable[..., Any], code: Variable, noise: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Return the noise that an implicit encoder takes beside the data; nothing for any other."""
    return {"noise": noise[code.name]} if getattr(encoder, "noise_size", 0) else {}


def _scored(distribution: Distribution, noise: Tensor, copies: int) -> DensityAt:
    """A draw of each of `copies` copies of the distribution, `(K·B, latent)`, with its log-density."""
    if copies == 1:
        z, log_q = draw_and_score(distribution, noise)
        return DensityAt(log_q, z)
    z, log_q = draw_and_score(distribution, noise.reshape(copies, -1, *noise.shape[1:]))
    return DensityAt(log_q.flatten(0, 1), z.flatten(0, 1))


def copied(values: Tensor, copies: int) -> Tensor:
    """All rows in order, K times: `(K·B, ...)`.

    >>> import torch
    >>> copied(torch.tensor([1, 2]), 2)
    tensor([1, 2, 1, 2])
    """
    return values if copies == 1 else values.repeat(copies, *[1] * (values.ndim - 1))
