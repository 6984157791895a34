"""Every metric by name: what the modules of the rooms beside this one declare."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pkgutil import iter_modules

from distmatch.errors import unknown
from distmatch.metrics.declaration import Better, Metric

ROOMS = ("likelihood", "codes", "samples", "features", "generator")


def declared(package: str = "distmatch.metrics", rooms: tuple[str, ...] = ROOMS) -> Iterator[Metric]:
    """Yield the metrics that modules in a package's rooms declare.

    Room by room; first those that say which way is better, of these the quick ones first, then by the modules' names.

    >>> next(declared()).name
    'bits_per_dim'
    """
    for room in rooms:
        path = import_module(f"{package}.{room}").__path__
        modules = [import_module(f"{package}.{room}.{name}") for _, name, _ in iter_modules(path)]
        found = [value for module in modules for value in vars(module).values() if isinstance(value, Metric)]
        yield from sorted(found, key=lambda metric: (not any(metric.better.values()), not metric.quick))


METRICS = {metric.name: metric for metric in declared()}
BETTER: dict[str, Better] = {key: way for metric in METRICS.values() for key, way in metric.better.items()}
"""Which way is better, by the keys of all metrics' results."""


def find(name: str) -> Metric:
    """Return the metric of this name, or the one whose result has this key.

    Raises `BadInput` where there is none.

    >>> find("mse").name, find("reconstruction").name
    ('reconstruction', 'reconstruction')
    """
    if name in METRICS:
        return METRICS[name]
    if name in BETTER:
        return next(metric for metric in METRICS.values() if name in metric.better)
    raise unknown("metric", name, (*METRICS, *BETTER))
