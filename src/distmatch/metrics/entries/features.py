"""Whether samples are like data, in the eyes of a feature net."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.entries.gather import load, subset
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.features.frechet import frechet_distances
from distmatch.metrics.features.inception_score import inception_score
from distmatch.metrics.features.kernel_distance import kernel_distance
from distmatch.metrics.features.manifold import precision_recall_density_coverage
from distmatch.metrics.features.nets import FeatureNet, feature_net, image_features, image_logits
from distmatch.metrics.features.stacked import MODES, SAMPLES, stacked_mnist_modes
from distmatch.metrics.model import Diagnostic, Findings, Options, Subject
from distmatch.metrics.plots import Bars, Histograms, Scatter

MOST = 10_000  # images of each set at most
MOST_NEIGHBOURS = 5_000  # ... where every pair is compared
SHOWN = 500  # points of each set in a picture, whose axes are found from twice as many
SETS = {"test": "held-out data", "train": "training data"}
FAKES = {"": "samples", "_data": SETS["train"]}


def run_inception_score(subject: Subject, options: Options) -> Findings:
    """Of the samples, and of held-out data as the mark that this classifier gives to real images."""
    sets, net = _images(subject, options, MOST, ("test",))
    found: dict[str, Estimate] = {}
    classes = {}
    for done, (name, images) in enumerate(sets.items()):
        logits = image_logits(net, images, progress=_share(options, done, len(sets)))
        suffix = "" if name == "samples" else "_data"
        found[f"inception_score{suffix}"] = inception_score(logits, _splits(len(logits)), classifier=str(net))
        classes[name] = logits.softmax(1).mean(0)
    caption = f"Mean probability of each class, by {net}"
    return Findings(found, (Bars(caption, classes, "class", "mean probability"),))


def run_frechet_distance(subject: Subject, options: Options) -> Findings:
    """Of the samples from held-out data; and of training data, whose plain distance is what this n alone makes."""
    features, net = _features(subject, options, MOST)
    found: dict[str, Estimate] = {}
    for suffix, fake in _fakes(features).items():
        both = frechet_distances(features[SETS["test"]], fake, seed=options.seed, features=str(net))
        found[f"frechet_distance_unbiased{suffix}"] = both.unbiased
        found[f"frechet_distance{suffix}"] = both.plain
    caption = f"Features of {net}: the two directions in which held-out data vary most"
    return Findings(found, (Scatter(caption, _projected(features), "first direction", "second direction"),))


def run_kernel_distance(subject: Subject, options: Options) -> Findings:
    """Of the samples from held-out data; and of training data."""
    features, net = _features(subject, options, MOST)
    real = features[SETS["test"]]
    return Findings(
        {
            f"kernel_distance{suffix}": kernel_distance(real, fake, seed=options.seed, features=str(net))
            for suffix, fake in _fakes(features).items()
        }
    )


def run_neighbours(subject: Subject, options: Options) -> Findings:
    """Of the samples in held-out data; and of training data."""
    features, net = _features(subject, options, MOST_NEIGHBOURS)
    found: dict[str, Estimate] = {}
    for suffix, fake in _fakes(features).items():
        scores = precision_recall_density_coverage(
            features[SETS["test"]], fake, seed=options.seed, features=str(net)
        )
        found |= {f"{name}{suffix}": e for name, e in scores.estimates().items()}
    return Findings(found)


def run_stacked_mnist_modes(subject: Subject, options: Options) -> Findings:
    """Always 26,000 samples, for both numbers depend on how many there are."""
    assert subject.sample is not None
    images = _unit(subject.sample(SAMPLES, options.seed), subject)
    found = stacked_mnist_modes(images, progress=options.progress)
    caption = f"How many of {SAMPLES:,} samples fall on each of the {MODES:,} modes; even ones have {SAMPLES // MODES}"
    counts = Histograms(caption, {"modes": found.counts.double()}, "samples of a mode")
    return Findings({"stacked_modes": found.modes, "stacked_kl": found.kl}, (counts,))


def _images(
    subject: Subject, options: Options, most: int, splits: tuple[str, ...]
) -> tuple[dict[str, Tensor], FeatureNet]:
    """Samples and as many images of each of the splits that there are, in [0, 1], and the net that looks at them."""
    assert subject.sample is not None
    data = {name: load(getattr(subject, name)) for name in splits}
    there = {SETS[name]: x for name, x in data.items() if x is not None}
    count = min(options.samples, most, *map(len, there.values()))
    net = _net(options, tuple(there[SETS["test"]].shape[1:]))
    sets = {name: _unit(subset(x, count, options.seed), subject) for name, x in there.items()}
    return {"samples": _unit(subject.sample(count, options.seed), subject)} | sets, net


def _net(options: Options, shape: tuple[int, ...]) -> FeatureNet:
    """The net that was asked for, or the shipped one where images have its shape."""
    if options.features is not None:
        return options.features
    net = feature_net("mnist")
    if shape != net.shape:
        made = "×".join(map(str, shape))
        raise BadInput(f"no feature net comes with images of {made}; name one with --features")
    return net


def _unit(images: Tensor, subject: Subject) -> Tensor:
    low, high = subject.image_range
    return ((images.detach().cpu() - low) / (high - low)).clamp(0, 1)


def _features(subject: Subject, options: Options, most: int) -> tuple[dict[str, Tensor], FeatureNet]:
    """The features of samples, held-out data and, where there are some, training data: equally many of each."""
    sets, net = _images(subject, options, most, ("test", "train"))
    parts = enumerate(sets.items())
    return {
        name: image_features(net, images, progress=_share(options, done, len(sets)))
        for done, (name, images) in parts
    }, net


def _fakes(features: dict[str, Tensor]) -> dict[str, Tensor]:
    """What is compared with held-out data, by the suffix of its metrics."""
    return {suffix: features[name] for suffix, name in FAKES.items() if name in features}


def _splits(n: int) -> int:
    """Ten, as published; fewer where a part would have less than 50 images."""
    return max(1, min(10, n // 50))


def _projected(features: dict[str, Tensor]) -> dict[str, Tensor]:
    """Each set in the two directions in which held-out data vary most, (n, 2)."""
    real = features[SETS["test"]][: 2 * SHOWN].double()
    centre = real.mean(0)
    directions = torch.linalg.svd(real - centre, full_matrices=False)[2][:2].T
    shown = (SETS["test"], "samples")
    return {name: (features[name][:SHOWN].double() - centre) @ directions for name in shown}


def _share(options: Options, done: int, parts: int) -> Callable[[float], None] | None:
    """Progress of one of equal parts of which some are done; the last moments are the score's own."""
    if options.progress is None:
        return None
    tick = options.progress
    return lambda share: tick(0.9 * (done + share) / parts)


MARKED = "; with _data, real images instead of samples: the mark to compare with"
ENTRIES = (
    Diagnostic(
        "inception_score",
        "Is each sample clearly of one class, and are the classes even?",
        ("sample", "test", "is_image"),
        run_inception_score,
        f"Salimans et al., 1606.03498{MARKED}",
        {"inception_score": "higher", "inception_score_data": ""},
        quick=False,
    ),
    Diagnostic(
        "frechet_distance",
        "Have the features of samples the mean and covariance of those of data?",
        ("sample", "test", "is_image"),
        run_frechet_distance,
        f"Heusel et al., 1706.08500; without its bias: Chong and Forsyth, 1911.07023{MARKED}",
        {
            "frechet_distance_unbiased": "lower",
            "frechet_distance": "",
            "frechet_distance_unbiased_data": "",
            "frechet_distance_data": "",
        },
        quick=False,
    ),
    Diagnostic(
        "kernel_distance",
        "Have the features of samples the moments of those of data?",
        ("sample", "test", "is_image"),
        run_kernel_distance,
        f"Bińkowski et al., 1801.01401{MARKED}",
        {"kernel_distance": "lower", "kernel_distance_data": ""},
        quick=False,
    ),
    Diagnostic(
        "precision_recall_density_coverage",
        "Are samples where data are, and data where samples are?",
        ("sample", "test", "is_image"),
        run_neighbours,
        f"Kynkäänniemi et al., 1904.06991; Naeem et al., 2002.09797{MARKED}",
        {
            f"{name}{suffix}": "" if suffix else "higher"
            for suffix in FAKES
            for name in ("precision", "recall", "density", "coverage")
        },
        quick=False,
    ),
    Diagnostic(
        "stacked_mnist_modes",
        "How many of the 1,000 triples of digits does the model reach, and how evenly?",
        ("sample", "is_image", "stacked_digits"),
        run_stacked_mnist_modes,
        "Srivastava et al., 1705.07761; Lin et al., 1712.04086",
        {"stacked_modes": "higher", "stacked_kl": "lower"},
        quick=False,
    ),
)
