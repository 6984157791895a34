"""Metrics on distributions whose numbers are known: what `interval_coverage.py` repeats."""

from collections.abc import Mapping

from interval_cases import codes, explicit, features, maps, samples, two_sample
from interval_cases.case import Case

FAMILIES: Mapping[str, Mapping[str, tuple[Case, ...]]] = {
    "explicit": explicit.CASES,
    "codes": codes.CASES,
    "samples": samples.CASES,
    "two_sample": two_sample.CASES,
    "features": features.CASES,
    "maps": maps.CASES,
}
TESTS = two_sample.TESTS
EXEMPT = {  # metrics without a population value, or without an interval for it
    "kl_by_ratio": "the mean score of the classifier that was trained: it bounds nothing; `kl_by_ratio_bound` does",
}
VARIANTS = (
    "_data",
    "_code",
    "_joint",
)  # ends of names of the same estimate, of other data or of another critic


def plain(metric: str, known: Mapping[str, object]) -> str | None:
    """The name by which a metric is known: its own, or that without its variant; None where it is not.

    >>> plain("frechet_distance_data", {"frechet_distance": 0}), plain("new", {})
    ('frechet_distance', None)
    """
    names = (metric, *(metric.removesuffix(end) for end in VARIANTS))
    return next((name for name in names if name in known), None)
