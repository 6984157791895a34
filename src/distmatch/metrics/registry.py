"""Every metric by name: what the modules of the rooms beside this one declare."""

from __future__ import annotations

from distmatch.declared import declared
from distmatch.errors import unknown
from distmatch.metrics.declaration import Better, Metric

ROOMS = ("likelihood", "codes", "samples", "features", "generator")


def ordered(room: str) -> list[Metric]:
    """Return a room's metrics: those that say which way is better first, and of these the quick ones.

    >>> ordered("codes")[-1].name  # it has no direction
    'empirical_marginal_kl'
    """
    metrics = declared(f"distmatch.metrics.{room}", Metric).values()
    return sorted(metrics, key=lambda metric: (not any(metric.better.values()), not metric.quick))


METRICS = {metric.name: metric for room in ROOMS for metric in ordered(room)}

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
