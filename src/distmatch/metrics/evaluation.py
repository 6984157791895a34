"""Every metric that applies to a model, in one call."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from distmatch.errors import BadInput, Doubt
from distmatch.metrics.checks import at_least
from distmatch.metrics.declaration import Metric
from distmatch.metrics.edge import check_model
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.features.nets import FeatureNet
from distmatch.metrics.model import Model, Options, Result
from distmatch.metrics.plots import Plot
from distmatch.metrics.registry import BETTER, METRICS, find


@dataclass(frozen=True)
class Results:
    """The estimates of an evaluation, the reasons for metrics that were not measured, and the plots of each metric."""

    metrics: dict[str, Estimate] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    plots: dict[str, tuple[Plot, ...]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Results for JSON: metrics (value, standard_error, n, unit, how, which way is better) and skipped, by name."""
        metrics = {k: {**v.as_dict(), "better": BETTER.get(k, "")} for k, v in self.metrics.items()}
        return {"metrics": metrics, "skipped": dict(self.skipped)}


def by_key(skipped: Mapping[str, str]) -> dict[str, str]:
    """Return reasons by metric as reasons by the keys that are therefore missing.

    A metric that only an older version had gives none.

    >>> by_key({"reconstruction": "needs an encoder"})
    {'mse': 'needs an encoder', 'l1': 'needs an encoder'}
    """
    known = {name: reason for name, reason in skipped.items() if name in METRICS}
    return {key: reason for name, reason in known.items() for key in METRICS[name].better}


def evaluate(
    model: Model,
    only: Iterable[str] | None = None,
    samples: int = Options.samples,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
    *,
    quick: bool = False,
    features: FeatureNet | None = None,
    batch_size: int = Options.batch_size,
) -> Results:
    """Return what the metrics in `only`, or all that apply, say of a model, and why the others do not apply.

    Args:
        model: the model under test.
        only: names of `METRICS` or keys of their results, a single one too; None for all that apply.
        samples: codes, samples or examples at most.
        progress: called with a metric's name and the share of it that is done, first with 0.
        features: the feature net of scores on images; None for the one that is made for the data, if any.
        quick: leave out those that take more than seconds; they are named with that reason.

    Raises:
        BadInput: a name that is not known, one in `only` that does not apply, counts below one.
            Without `only`, a metric that finds its input unusable is skipped with its sentence.

    >>> evaluate(Model()).skipped["elbo"]
    'needs an encoder; this system has none'
    """
    at_least(1, samples=samples, batch_size=batch_size)
    chosen = (
        METRICS if only is None else {m.name: m for m in map(find, [only] if isinstance(only, str) else only)}
    )
    for name, metric in chosen.items():
        reason = metric.missing(model)
        if only is not None and reason:
            raise BadInput(f"{name} {reason}")
    check_model(model)
    results = Results()
    for name, metric in chosen.items():
        reason = metric.missing(model)
        if not reason and quick and not metric.quick:
            reason = "takes longer than seconds; left out of a quick evaluation"
        if reason:
            results.skipped[name] = reason
            continue
        tick = None if progress is None else partial(progress, name)
        if tick is not None:
            tick(0.0)
        try:
            result = _measured(metric, model, Options(samples, seed, batch_size, tick, features))
        except BadInput as error:
            if only is not None:
                raise
            results.skipped[name] = str(error)
            continue
        results.metrics.update(result.metrics)
        if result.plots:
            results.plots[name] = result.plots
    return results


def _measured(metric: Metric, model: Model, options: Options) -> Result:
    """Return a metric's result; what it doubts stands in the `how` of its estimates, and other warnings pass on."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = metric(model, options)
    doubts = dict.fromkeys(str(w.message) for w in caught if issubclass(w.category, Doubt))
    for w in caught:
        if not issubclass(w.category, Doubt):
            warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)
    if not doubts:
        return result
    said = f"WARNING: {'; '.join(doubts)}"
    return replace(
        result,
        metrics={k: v.explained(f"{v.how}; {said}".lstrip("; ")) for k, v in result.metrics.items()},
    )
