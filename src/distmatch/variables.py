"""The six draws that every system compares, and the record that holds them.

| name      | in equations | law        | made by          |
|-----------|--------------|------------|------------------|
| `X`       | x            | p*(x)      | the data         |
| `Z_PRIOR` | z            | p(z)       | the prior        |
| `Z_CODE`  | ẑ            | q(z|x)     | encoder          |
| `X_REC`   | x̂            | p(x|ẑ)     | encoder, decoder |
| `X_GEN`   | x̃            | p(x|z)     | decoder          |
| `Z_REC`   | z̃            | q(z|x̃)     | encoder, decoder |
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor
from torch.distributions import Distribution

from distmatch.distributions import flatten_distribution, reparameterise


@dataclass(frozen=True)
class Variable:
    """A random variable: its name in code, its symbol in equations, its law, and who makes it.

    >>> X_REC.players
    ('encoder', 'decoder')
    >>> print(X_REC)
    x̂
    """

    name: str
    symbol: str
    law: str
    players: tuple[str, ...] = ()
    parents: tuple[str, ...] = ()

    @property
    def space(self) -> str:
        """`"x"` for the visible space, `"z"` for the latent one."""
        return self.name[0]

    def __str__(self) -> str:
        return self.symbol


X = Variable("x", "x", "p*(x)")
Z_PRIOR = Variable("z_prior", "z", "p(z)")
Z_CODE = Variable("z_code", "ẑ", "q(z)", ("encoder",), ("x",))
X_REC = Variable("x_rec", "x̂", "p(x̂)", ("encoder", "decoder"), ("z_code",))
X_GEN = Variable("x_gen", "x̃", "p(x̃)", ("decoder",), ("z_prior",))
Z_REC = Variable("z_rec", "z̃", "q(z̃)", ("encoder", "decoder"), ("x_gen",))

VARIABLES = {v.name: v for v in (X, Z_PRIOR, Z_CODE, X_REC, X_GEN, Z_REC)}


def with_parents(variables: Iterable[Variable], laws: Iterable[Variable] = ()) -> tuple[Variable, ...]:
    """All draws whose value is needed: the given ones, and what they and the given laws are made from.

    In the order in which they can be drawn.

    >>> [v.name for v in with_parents([X_REC])]
    ['x', 'z_code', 'x_rec']
    >>> [v.name for v in with_parents([], laws=[X_REC])]
    ['x', 'z_code']
    """
    wanted = {v.name for v in variables}
    conditions = {v.name for v in laws}
    for v in reversed(VARIABLES.values()):
        if v.name in wanted | conditions:
            wanted.update(v.parents)
    return tuple(v for v in VARIABLES.values() if v.name in wanted)


@dataclass(frozen=True)
class Draws:
    """One minibatch of every draw that a step needs, with the laws that they were drawn from.

    Args:
        values: the draws, by the variable's name; `(B, *x_shape)` in the visible space, `(B, latent)` in the latent.
        laws: q(z|x) under `"z_code"`, p(x|ẑ) under `"x_rec"`, p(x|z) under `"x_gen"`, q(z|x̃) under `"z_rec"`.
        noise: what else is random in the terms, by name.
        y: labels `(B,)`, or None.
    """

    values: dict[str, Tensor]
    laws: dict[str, Distribution]
    noise: Mapping[str, Tensor]
    y: Tensor | None = None

    def __getitem__(self, variable: Variable) -> Tensor:
        return self.values[variable.name]

    def detach(self) -> Draws:
        """The same draws, cut off from the nets that made them. The laws are left behind."""
        return replace(self, values={k: v.detach() for k, v in self.values.items()}, laws={})

    def flatten(self) -> tuple[list[Tensor], Callable[[list[Tensor]], Draws]]:
        """The tensors of values and laws, and how to put a record back together from them.

        This carries a record across the border of `torch.func.vmap`, which lets only tensors through.
        """
        tensors = list(self.values.values())
        parts = []
        for name, law in self.laws.items():
            found, rebuild_law = flatten_distribution(law)
            parts.append((name, slice(len(tensors), len(tensors) + len(found)), rebuild_law))
            tensors += found

        def rebuild(tensors: list[Tensor]) -> Draws:
            values = dict(zip(self.values, tensors, strict=False))
            laws = {name: rebuild_law(tensors[where]) for name, where, rebuild_law in parts}
            return replace(self, values=values, laws=laws)

        return tensors, rebuild


def draw(
    variables: Iterable[Variable],
    nets: Mapping[str, Callable[..., Distribution]],
    x: Tensor,
    noise: Mapping[str, Tensor],
    y: Tensor | None = None,
    laws: Iterable[Variable] = (),
) -> Draws:
    """Make each wanted draw and law, and whatever they are made from, exactly once.

    Codes are reparameterised with outside noise. A visible draw (x̂, x̃) is the mean of the decoder's law: that is
    the sample itself where the decoder is implicit, and stays differentiable where it is not.

    Args:
        variables: the draws wanted.
        nets: `"encoder"` and `"decoder"`, where a draw needs them.
        x: data `(B, *x_shape)`.
        noise: standard normal `(B, latent)` under `"z_prior"`, `"z_code"`, `"z_rec"`, for the draws wanted.
        y: labels `(B,)`, given to every net if they are given.
        laws: the draws of which the law is wanted, whether or not the value is.
    """
    given = {} if y is None else {"y": y}
    laws = tuple(laws)
    valued = {v.name for v in with_parents(variables, laws)}
    wanted = valued | {v.name for v in laws}
    values: dict[str, Tensor] = {}
    made: dict[str, Distribution] = {}
    for v in VARIABLES.values():
        if v.name not in wanted:
            continue
        if v is X:
            values[v.name] = x
        elif v is Z_PRIOR:
            values[v.name] = noise[v.name]
        else:
            net = nets["encoder" if v.space == "z" else "decoder"]
            law = made[v.name] = net(values[v.parents[0]], **given)
            if v.name in valued:
                values[v.name] = reparameterise(law, noise[v.name]) if v.space == "z" else law.mean
    return Draws(values, made, noise, y)
