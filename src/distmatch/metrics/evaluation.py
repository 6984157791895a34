"""The bench: every diagnostic that applies to a subject, in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from distmatch.errors import BadInput, unknown
from distmatch.metrics.checks import at_least
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.features.nets import FeatureNet
from distmatch.metrics.model import Diagnostic, Options, Subject, missing
from distmatch.metrics.plots import Exhibit
from distmatch.metrics.registry import DIAGNOSTICS

__all__ = ["DIAGNOSTICS", "Diagnostic", "Options", "Results", "Subject", "by_metric", "evaluate", "missing"]


@dataclass(frozen=True)
class Results:
    """What was measured, which diagnostics were not run and why, and what each shows."""

    metrics: dict[str, Estimate] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    exhibits: dict[str, tuple[Exhibit, ...]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: metrics (value, standard_error, n, unit, how, which way is better) and skipped, by name."""
        better = {name: way for d in DIAGNOSTICS.values() for name, way in d.metrics.items()}
        metrics = {k: {**v.as_dict(), "better": better.get(k, "")} for k, v in self.metrics.items()}
        return {"metrics": metrics, "skipped": dict(self.skipped)}


def by_metric(skipped: Mapping[str, str]) -> dict[str, str]:
    """Reasons by diagnostic, as reasons by the metrics that are therefore missing; none for a diagnostic that an older
    version had.

    >>> by_metric({"reconstruction": "needs an encoder"})
    {'mse': 'needs an encoder', 'l1': 'needs an encoder'}
    """
    known = {name: reason for name, reason in skipped.items() if name in DIAGNOSTICS}
    return {m: reason for name, reason in known.items() for m in DIAGNOSTICS[name].metrics}


def evaluate(
    subject: Subject,
    only: Iterable[str] | None = None,
    samples: int = Options.samples,
    seed: int = 0,
    progress: Callable[[str, float], None] | None = None,
    *,
    quick: bool = False,
    features: FeatureNet | None = None,
    batch_size: int = Options.batch_size,
) -> Results:
    """Runs the diagnostics in `only`, or all that apply, and says why the others do not.

    Args:
        subject: the model under test.
        only: names of `DIAGNOSTICS`, a single name too; None for all that apply.
        samples: codes, samples or examples at most.
        progress: called with a diagnostic's name and the share of it that is done, first with 0.
        features: the feature net of scores on images; None for the one that is made for the data, if any.
        quick: leave out those that take more than seconds; they are named with that reason.

    Raises:
        BadInput: a name that is not known, one that was asked for and does not apply, counts below one.
            Without `only`, a diagnostic that finds its input unusable is skipped with its sentence.

    >>> evaluate(Subject()).skipped["elbo"]
    'needs an encoder; this system has none'
    """
    at_least(1, samples=samples, batch_size=batch_size)
    names = [only] if isinstance(only, str) else None if only is None else list(only)
    for name in names or ():
        if name not in DIAGNOSTICS:
            raise unknown("diagnostic", name, DIAGNOSTICS)
        reason = missing(DIAGNOSTICS[name], subject)
        if reason:
            raise BadInput(f"{name} {reason}")
    results = Results()
    for name in DIAGNOSTICS if names is None else names:
        diagnostic = DIAGNOSTICS[name]
        reason = missing(diagnostic, subject)
        if not reason and quick and not diagnostic.quick:
            reason = "takes longer than seconds; left out of a quick evaluation"
        if reason:
            results.skipped[name] = reason
            continue
        tick = None if progress is None else partial(progress, name)
        if tick is not None:
            tick(0.0)
        try:
            found = diagnostic.run(subject, Options(samples, seed, batch_size, tick, features))
        except BadInput as error:
            if names is not None:
                raise
            results.skipped[name] = str(error)
            continue
        results.metrics.update(found.metrics)
        if found.exhibits:
            results.exhibits[name] = found.exhibits
    return results
