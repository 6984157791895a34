"""Declaration of a metric: a function of a model, with what it needs, what it gives and which way is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from distmatch.metrics.model import REASONS, Model, Options, Result

Better = Literal["lower", "higher", ""]


@dataclass(frozen=True)
class Metric:
    """A declared metric; calling it measures a model.

    Attributes:
        name: its name in `METRICS`.
        question: the question that it answers.
        needs: the fields of the model that it needs.
        reference: where it comes from.
        better: the keys that its result may have, each with which way is better, or "" where neither is.
        quick: whether it takes seconds at most; `--quick` leaves out the others.
        measure: the function from model and options to the result.

    >>> from distmatch.metrics import METRICS
    >>> METRICS["mmd"].better
    {'mmd': 'lower', 'mmd_p_value': ''}
    """

    name: str
    question: str
    needs: tuple[str, ...]
    reference: str
    better: Mapping[str, Better]
    quick: bool
    measure: Callable[[Model, Options], Result]

    def __call__(self, model: Model, options: Options | None = None) -> Result:
        """Return the result for this model."""
        return self.measure(model, options or Options())

    @property
    def group(self) -> str:
        """The folder of the module that declares it: likelihood, codes, samples, features or generator."""
        return self.measure.__module__.split(".")[-2]

    def missing(self, model: Model) -> str | None:
        """Return the plain reason why this metric does not apply to the model; None if it does."""
        for need in self.needs:
            value = getattr(model, need)
            if value is None or value is False:
                return REASONS[need]
        return None


def metric(
    name: str,
    *,
    question: str,
    needs: tuple[str, ...],
    reference: str,
    better: Mapping[str, Better],
    quick: bool = True,
) -> Callable[[Callable[[Model, Options], Result]], Metric]:
    """Return a decorator that declares a function of model and options as a metric.

    >>> from distmatch.metrics.estimate import Estimate
    >>> @metric("size", question="How long are samples?", needs=("sample",), reference="ours", better={"size": ""})
    ... def measure(model, options):
    ...     return Result({"size": Estimate.mean(model.sample(options.samples, options.seed).norm(dim=1))})
    >>> measure.missing(Model())
    'needs samples; this system cannot be sampled'
    """

    def declare(measure: Callable[[Model, Options], Result]) -> Metric:
        return Metric(name, question, needs, reference, better, quick, measure)

    return declare
