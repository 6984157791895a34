"""The bench: every diagnostic that applies to a subject, in one call."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from distmatch.diagnostics.catalogue import DIAGNOSTICS
from distmatch.diagnostics.checks import at_least
from distmatch.diagnostics.estimate import Estimate
from distmatch.diagnostics.subject import Diagnostic, Options, Subject, missing
from distmatch.errors import BadInput, unknown

__all__ = ["DIAGNOSTICS", "Diagnostic", "Options", "Results", "Subject", "by_metric", "evaluate", "missing"]


@dataclass(frozen=True)
class Results:
    """What was measured, and which diagnostics were not run and why."""

    metrics: dict[str, Estimate] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: metrics (value, standard_error, n, unit, how, which way is better) and skipped, by name."""
        better = {name: way for d in DIAGNOSTICS.values() for name, way in d.metrics.items()}
        metrics = {k: {**v.as_dict(), "better": better.get(k, "")} for k, v in self.metrics.items()}
        return {"metrics": metrics, "skipped": dict(self.skipped)}


def by_metric(skipped: Mapping[str, str]) -> dict[str, str]:
    """Reasons by diagnostic, as reasons by the metrics that are therefore missing.

    >>> by_metric({"reconstruction": "needs an encoder"})
    {'mse': 'needs an encoder', 'l1': 'needs an encoder'}
    """
    return {m: reason for name, reason in skipped.items() for m in DIAGNOSTICS[name].metrics}


def evaluate(
    subject: Subject,
    only: Iterable[str] | None = None,
    samples: int = 10_000,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
    *,
    batch_size: int = 256,
) -> Results:
    """Runs the diagnostics in `only`, or all that apply, and says why the others do not.

    Args:
        subject: the model under test.
        only: names of `DIAGNOSTICS`, a single name too; None for all that apply.
        samples: codes, samples or examples at most.
        progress: called with a diagnostic's name before it runs.

    Raises:
        BadInput: a name that is not known, one that was asked for and does not apply, counts below one.
            Without `only`, a diagnostic that finds its input unusable is skipped with its sentence.

    >>> evaluate(Subject()).skipped["elbo"]
    'needs an encoder; this system has none'
    """
    at_least(1, samples=samples, batch_size=batch_size)
    options = Options(samples, seed, batch_size)
    names = [only] if isinstance(only, str) else None if only is None else list(only)
    for name in names or ():
        if name not in DIAGNOSTICS:
            raise unknown("diagnostic", name, DIAGNOSTICS)
        reason = missing(DIAGNOSTICS[name], subject)
        if reason:
            raise BadInput(f"{name} {reason}")
    results = Results()
    for name in DIAGNOSTICS if names is None else names:
        reason = missing(DIAGNOSTICS[name], subject)
        if reason:
            results.skipped[name] = reason
            continue
        if progress is not None:
            progress(name)
        try:
            results.metrics.update(DIAGNOSTICS[name].run(subject, options))
        except BadInput as error:
            if names is not None:
                raise
            results.skipped[name] = str(error)
    return results
