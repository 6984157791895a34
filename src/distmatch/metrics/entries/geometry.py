"""Whether samples lie where data lie: holes, repetitions, two-sample tests."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from distmatch.metrics.entries.gather import load, subset
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.model import Diagnostic, Findings, Options, Subject
from distmatch.metrics.plots import Barcode, Bars, Exhibit, Histograms, Lines, Pictures
from distmatch.metrics.samples.birthday import BirthdayTest, birthday_test
from distmatch.metrics.samples.duplicates import closest_pairs, duplicate_threshold
from distmatch.metrics.samples.geometry import (
    RelativeLivingTimes,
    geometry_score,
    mean_relative_living_times,
    persistence_intervals,
)
from distmatch.metrics.samples.two_sample import (
    TwoSampleTest,
    maximum_mean_discrepancy,
    nearest_neighbour_two_sample,
    sliced_wasserstein,
)

POINTS, DRAWS = 1500, 100  # of the geometry score, at most; its γ follows the number of points
REPEATED = 4000  # samples of the birthday test, at most
COMPARED = 1000  # samples and as many data of a two-sample test, at most
ROW = 10  # pairs in a row of pictures
SAMPLES, DATA, TRAIN = "samples", "held-out data", "training data"


def run_geometry_score(subject: Subject, options: Options) -> Findings:
    """Samples against held-out data and, as the mark, training data against held-out data."""
    sets = _sets(subject, options, POINTS)
    train = load(subject.train)
    if train is not None and len(train) >= len(sets[DATA]):
        sets[TRAIN] = subset(train, len(sets[DATA]), options.seed)
    times: dict[str, RelativeLivingTimes] = {}
    for i, (name, points) in enumerate(sets.items()):
        progress = _share(options, i, len(sets))
        times[name] = mean_relative_living_times(points, draws=DRAWS, seed=options.seed, progress=progress)
    found = {"geometry_score": geometry_score(times[SAMPLES], times[DATA])}
    if TRAIN in times:
        found["geometry_score_data"] = geometry_score(times[TRAIN], times[DATA])
    return Findings(found, (_holes(times), _barcode(sets, options.seed)))


def _holes(times: dict[str, RelativeLivingTimes]) -> Bars:
    """The mean relative living times, as far as any is above a thousandth."""
    used = torch.stack([t.mean for t in times.values()]).amax(0) > 1e-3
    count = int(used.nonzero().max()) + 1 if bool(used.any()) else 1
    return Bars(
        "Mean relative living times: for which share of scales the points show so many holes",
        {name: t.mean[:count] for name, t in times.items()},
        "one-dimensional holes",
        "share of scales",
        {name: t.standard_error[:count] for name, t in times.items()},
    )


def _barcode(sets: dict[str, Tensor], seed: int) -> Barcode:
    """The holes of one draw of landmarks from each set."""
    series = {name: persistence_intervals(points, seed=seed)[0] for name, points in sets.items()}
    return Barcode("Birth and death of the holes, for one draw of landmarks", series, "scale α")


def run_birthday_test(subject: Subject, options: Options) -> Findings:
    """Samples and held-out data, with the threshold that data of this number give."""
    sets = _sets(subject, options, REPEATED)
    threshold = duplicate_threshold(sets[DATA])
    tests = {
        name: birthday_test(points, threshold, progress=_share(options, i, len(sets)))
        for i, (name, points) in enumerate(sets.items())
    }
    found: dict[str, Estimate] = {}
    judge = f"; closer than {threshold:.3g}, as 1 % of the data are to a neighbour: see the pictures"
    for name, suffix in ((SAMPLES, ""), (DATA, "_data")):
        measured = {
            "collision_rate": tests[name].collision_rate,
            "support": tests[name].support,
            "batch": tests[name].half,
        }
        for key, estimate in measured.items():
            if estimate is not None:
                found[f"birthday_{key}{suffix}"] = estimate.explained(estimate.how + judge)
    exhibits: list[Exhibit] = [_collisions(tests)] if any(t.probability for t in tests.values()) else []
    if subject.is_image:
        low, high = subject.image_range
        exhibits += [_pairs(f"Closest pairs of {len(x)} {k}", x, low, high) for k, x in sets.items()]
    return Findings(found, tuple(exhibits))


def _collisions(tests: dict[str, BirthdayTest]) -> Lines:
    """P(a batch of s holds a duplicate) against s."""
    curves = {name: t.probability for name, t in tests.items() if t.probability}
    return Lines(
        "How often a batch holds a duplicate, judged by distance",
        {name: torch.tensor(list(p)) for name, p in curves.items()},
        {name: torch.tensor([e.value for e in p.values()]) for name, p in curves.items()},
        "samples in the batch",
        "share of batches",
        errors={name: torch.tensor([e.standard_error for e in p.values()]) for name, p in curves.items()},
        log="x",
        marks={"half of the batches": 0.5},
    )


def _pairs(caption: str, images: Tensor, low: float, high: float) -> Pictures:
    """Pairs in columns, the closest first: one above the other, `ROW` of them in a row."""
    pairs = closest_pairs(images).indices.to(images.device)
    shown = torch.cat([images[part.T.flatten()] for part in pairs.split(ROW)])
    unit = ((shown - low) / (high - low)).clamp(0, 1)
    return Pictures(caption + ", one above the other: are they the same?", unit, columns=min(ROW, len(pairs)))


def run_maximum_mean_discrepancy(subject: Subject, options: Options) -> Findings:
    """Samples against held-out data, both kernels' common default: the median distance."""
    return _tested("mmd", subject, options, maximum_mean_discrepancy)


def run_sliced_wasserstein(subject: Subject, options: Options) -> Findings:
    """Samples against held-out data."""
    return _tested("sliced_wasserstein", subject, options, sliced_wasserstein)


def run_nearest_neighbour(subject: Subject, options: Options) -> Findings:
    """Samples against held-out data: a's side are the samples."""
    sets = _sets(subject, options, COMPARED)
    test = nearest_neighbour_two_sample(sets[SAMPLES], sets[DATA], seed=options.seed)
    found = {
        "nn_accuracy": test.accuracy,
        "nn_accuracy_samples": test.accuracy_a,
        "nn_accuracy_data": test.accuracy_b,
        "nn_p_value": test.p_value,
        "nn_p_copying": test.p_copying,
    }
    return Findings(found, (_null(test.null, test.accuracy),))


def _tested(name: str, subject: Subject, options: Options, test: Callable[..., TwoSampleTest]) -> Findings:
    """A test of samples against as many held-out data."""
    sets = _sets(subject, options, COMPARED)
    found = test(sets[SAMPLES], sets[DATA], seed=options.seed)
    return Findings(
        {name: found.statistic, f"{name}_p_value": found.p_value}, (_null(found.null, found.statistic),)
    )


def _null(null: Tensor, measured: Estimate) -> Histograms:
    """Where permuted labels put the statistic, and where it is."""
    series = {"labels permuted": null, "measured": torch.tensor([measured.value], dtype=null.dtype)}
    return Histograms("The statistic among those of permuted labels", series, "statistic", log=True)


def _sets(subject: Subject, options: Options, most: int) -> dict[str, Tensor]:
    """As many samples as held-out data, at most `most` of each."""
    assert subject.sample is not None
    data = load(subject.test)
    assert data is not None
    count = max(2, min(options.samples, most, len(data)))
    return {SAMPLES: subject.sample(count, options.seed), DATA: subset(data, count, options.seed)}


def _share(options: Options, part: int, parts: int) -> Callable[[float], None] | None:
    """Progress of one part of the work, as progress of the whole."""
    return None if options.progress is None else partial(_report, options.progress, part, parts)


def _report(progress: Callable[[float], None], part: int, parts: int, done: float) -> None:
    progress((part + done) / parts)


ENTRIES = (
    Diagnostic(
        "geometry_score",
        "Have samples the holes that data have?",
        ("sample", "test"),
        run_geometry_score,
        "Khrulkov and Oseledets, 1802.02664; geometry_score_data is that of training data",
        {"geometry_score": "lower", "geometry_score_data": ""},
        quick=False,
    ),
    Diagnostic(
        "birthday_test",
        "How soon does the model repeat itself?",
        ("sample", "test"),
        run_birthday_test,
        "Arora and Zhang, 1706.08224; those named _data are of held-out data, with the same threshold",
        {
            "birthday_collision_rate": "lower",
            "birthday_support": "higher",
            "birthday_batch": "higher",
            "birthday_collision_rate_data": "",
            "birthday_support_data": "",
            "birthday_batch_data": "",
        },
        quick=False,
    ),
    Diagnostic(
        "maximum_mean_discrepancy",
        "Does a kernel tell samples from data?",
        ("sample", "test"),
        run_maximum_mean_discrepancy,
        "Gretton et al., A kernel two-sample test (JMLR 2012)",
        {"mmd": "lower", "mmd_p_value": ""},
    ),
    Diagnostic(
        "sliced_wasserstein",
        "How far must samples be moved, along random directions, to become data?",
        ("sample", "test"),
        run_sliced_wasserstein,
        "Rabin et al., Wasserstein barycenter and its application to texture mixing (2011)",
        {"sliced_wasserstein": "lower", "sliced_wasserstein_p_value": ""},
    ),
    Diagnostic(
        "nearest_neighbour_two_sample",
        "Are the nearest neighbours of samples samples, and those of data data?",
        ("sample", "test"),
        run_nearest_neighbour,
        "Lopez-Paz and Oquab, 1610.06545; one half is best, less for copies",
        {
            "nn_accuracy": "",
            "nn_accuracy_samples": "",
            "nn_accuracy_data": "",
            "nn_p_value": "",
            "nn_p_copying": "",
        },
    ),
)
