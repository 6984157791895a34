"""Whether samples are like data."""

from __future__ import annotations

from dataclasses import replace

import torch

from distmatch.metrics.entries.gather import held_out, load, subset
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.model import Diagnostic, Findings, Options, Subject
from distmatch.metrics.samples.conditional import class_agreement
from distmatch.metrics.samples.coverage import SAMPLES, mode_coverage, reached
from distmatch.metrics.samples.ms_ssim import BATCH_SIZE, BATCHES, CONVENTIONS, ms_ssim_diversity

JUDGED = 20_000  # labelled examples of the judge of classes


def run_class_agreement(subject: Subject, options: Options) -> Findings:
    """Samples of all classes, and held-out data as the judge's own mark."""
    assert subject.sample_given is not None
    data, classes = load(subject.train), load(subject.train_labels)
    assert data is not None
    assert classes is not None
    data, classes = subset(data, JUDGED, options.seed), subset(classes, JUDGED, options.seed)
    asked = torch.arange(min(options.samples, 1000)) % (int(classes.max()) + 1)
    found = {
        "class_agreement": class_agreement(subject.sample_given(asked, options.seed), asked, data, classes)
    }
    if subject.test is not None and subject.test_labels is not None:
        x, y = held_out(subject, replace(options, samples=1000))
        assert y is not None
        found["class_agreement_data"] = class_agreement(x, y, data, classes)
    return Findings(found)


def run_mode_coverage(subject: Subject, options: Options) -> Findings:
    """The VEEGAN protocol: always 2,500 samples, for the count depends on their number."""
    assert subject.sample is not None
    assert subject.modes is not None
    assert subject.mode_scale is not None
    found = mode_coverage(subject.sample(SAMPLES, options.seed), subject.modes, subject.mode_scale)
    how = f"of {found.total}; captured by at least one high-quality sample of {SAMPLES}"
    limits = reached(found.modes, found.total, found.modes_error)
    modes = Estimate(found.modes, found.modes_error, SAMPLES, "modes", how, limits=limits)
    return Findings({"modes": modes, "high_quality": found.high_quality, "mode_kl": found.kl})


def run_ms_ssim_diversity(subject: Subject, options: Options) -> Findings:
    """Both conventions, of the samples and, where there is enough of it, of the held-out data."""
    assert subject.sample is not None
    count = BATCHES * BATCH_SIZE
    sets = {"": subject.sample(count, options.seed)}
    test = load(subject.test)
    if test is not None and len(test) >= count:
        sets["_data"] = subset(test, count, options.seed)
    low, high = subject.image_range
    found = {}
    for suffix, images in sets.items():
        unit = ((images - low) / (high - low)).clamp(0, 1)
        for convention in CONVENTIONS:
            key = f"ms_ssim_diversity_{convention}{suffix}"
            found[key] = ms_ssim_diversity(unit, convention=convention, seed=options.seed)
    return Findings(found)


ENTRIES = (
    Diagnostic(
        "class_agreement",
        "Does the model draw the class that it was asked for?",
        ("sample_given", "train", "train_labels"),
        run_class_agreement,
        "a 3-nearest-neighbour classifier of data; class_agreement_data is its mark on real ones",
        {"class_agreement": "higher", "class_agreement_data": ""},
    ),
    Diagnostic(
        "mode_coverage",
        "How many of the data's modes does the model reach, and how well?",
        ("sample", "modes", "mode_scale"),
        run_mode_coverage,
        "Srivastava et al., 1705.07761",
        {"modes": "higher", "high_quality": "higher", "mode_kl": "lower"},
    ),
    Diagnostic(
        "ms_ssim_diversity",
        "Are samples as different from one another as data are?",
        ("sample", "is_image"),
        run_ms_ssim_diversity,
        "Fedus, Rosca et al., 1710.08446, section 5.3",
        {f"ms_ssim_diversity_{c}{suffix}": "" for c in CONVENTIONS for suffix in ("", "_data")},
    ),
)
