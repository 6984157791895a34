"""Sections of a sweep file that are not settings: random draws, Optuna's search, early stopping of hopeless runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from distmatch.errors import BadInput, unknown
from distmatch.sweeps.space import Space, read_space

DIRECTIONS = {
    "minimise": "minimize",
    "maximise": "maximize",
    "minimize": "minimize",
    "maximize": "maximize",
}
SAMPLERS = ("tpe", "random", "qmc", "cmaes", "gp")
LEAST_FACTOR = 2


@dataclass(frozen=True)
class Draws:
    """`[random]`: settings at random in each cell of the grid.

    Args:
        n: how many.
        random_seed: of the draws.
    """

    n: int
    random_seed: int = 0


@dataclass(frozen=True)
class Search:
    """`[optuna]`: trials that learn from the earlier ones, in each cell of the grid.

    Args:
        trials: how many.
        metric: what is judged: the key of a metric's result, or a loss of the log; over seeds its mean.
        direction: minimise or maximise.
        sampler: tpe, random, qmc, cmaes or gp.
        batch: trials that are trained together, before the sampler hears of any of them.
        random_seed: of the sampler.
    """

    trials: int
    metric: str
    direction: str = "minimise"
    sampler: str = "tpe"
    batch: int = 8
    random_seed: int = 0

    @property
    def maximises(self) -> bool:
        """True where a larger value is better."""
        return DIRECTIONS[self.direction] == "maximize"


@dataclass(frozen=True)
class Halving:
    """`[halving]`: at each rung, the best `1/eta` of the runs that came so far go on (arXiv:1502.07943).

    Args:
        metric: a loss of the log.
        first: the step of the first rung; the others are at `first·eta`, `first·eta²`, …
        eta: how many runs a rung has for each that goes on.
        direction: minimise or maximise.
        within: settings that runs must agree on to be compared, such as ["system"].
    """

    metric: str
    first: int
    eta: int = 3
    direction: str = "minimise"
    within: tuple[str, ...] = ()

    @property
    def maximises(self) -> bool:
        """True where a larger value is better."""
        return DIRECTIONS[self.direction] == "maximize"

    def rungs(self, steps: int) -> list[int]:
        """The steps of all rungs before the end.

        >>> Halving("nll", first=100, eta=3).rungs(1000)
        [100, 300, 900]
        """
        rungs, at = [], self.first
        while at < steps:
            rungs.append(at)
            at *= self.eta
        return rungs


def read_draws(content: Mapping[str, Any]) -> tuple[Draws, Space]:
    """`[random]`: its own keys, and the rest as axes."""
    own, rest = _own("random", content, Draws)
    space = read_space("random", rest)
    draws = Draws(**own)
    _at_least("random", n=(draws.n, 1), random_seed=(draws.random_seed, 0))
    return draws, space


def read_search(content: Mapping[str, Any]) -> tuple[Search, Space]:
    """`[optuna]`: its own keys, and the rest as axes."""
    own, rest = _own("optuna", content, Search)
    search = Search(**own)
    _at_least(
        "optuna",
        trials=(search.trials, 1),
        batch=(search.batch, 1),
        random_seed=(search.random_seed, 0),
    )
    if search.sampler not in SAMPLERS:
        raise unknown("sampler", search.sampler, SAMPLERS)
    _check_words("optuna", search.metric, search.direction)
    return search, read_space("optuna", rest)


def read_halving(content: Mapping[str, Any]) -> Halving:
    """`[halving]`: nothing but its own keys."""
    own, rest = _own("halving", content, Halving)
    for key in rest:
        raise unknown("key of [halving]", key, Halving.__dataclass_fields__)
    within = own.pop("within", [])
    if not isinstance(within, list) or not all(isinstance(path, str) for path in within):
        raise BadInput(f'[halving] within is {within!r}; give a list of settings, such as ["system"]')
    halving = Halving(**own, within=tuple(within))
    _at_least("halving", first=(halving.first, 1), eta=(halving.eta, LEAST_FACTOR))
    _check_words("halving", halving.metric, halving.direction)
    return halving


def _own(section: str, content: Mapping[str, Any], kind: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The keys that a section has of its own, and the rest."""
    known = kind.__dataclass_fields__
    own = {key: value for key, value in content.items() if key in known}
    for name, about in known.items():
        if name not in own and about.default is about.default_factory:  # both missing: it must be given
            raise BadInput(f"[{section}] has no {name}; add it")
    return own, {key: value for key, value in content.items() if key not in known}


def _at_least(section: str, **counts: tuple[Any, int]) -> None:
    for name, (value, least) in counts.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise BadInput(f"[{section}] {name} is {value!r}; give a whole number, {least} or above")


def _check_words(section: str, metric: Any, direction: Any) -> None:
    if not isinstance(metric, str) or not metric:
        raise BadInput(f'[{section}] metric is {metric!r}; give its name as text, such as "validation/nll"')
    if direction not in DIRECTIONS:
        raise BadInput(f"[{section}] direction is {direction!r}; give minimise or maximise")
