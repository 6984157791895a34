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

from collections.abc import Iterable
from dataclasses import dataclass


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


def with_parents(variables: Iterable[Variable]) -> tuple[Variable, ...]:
    """The given variables and all that they are made from, in the order in which they can be drawn.

    >>> [v.name for v in with_parents([X_REC])]
    ['x', 'z_code', 'x_rec']
    """
    wanted = {v.name for v in variables}
    for v in reversed(VARIABLES.values()):
        if v.name in wanted:
            wanted.update(v.parents)
    return tuple(v for v in VARIABLES.values() if v.name in wanted)
