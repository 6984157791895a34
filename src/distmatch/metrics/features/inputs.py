"""Images of a model and of data, and their features, as the scores compare them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.checks import check_images
from distmatch.metrics.features.nets import FeatureNet, feature_net, image_features
from distmatch.metrics.inputs import load, subset
from distmatch.metrics.model import Model, Options

MOST = 10_000  # images of each set at most
SETS = {"test": "held-out data", "train": "training data"}
FAKES = {"": "samples", "_data": SETS["train"]}
MARKED = "; with _data, real images instead of samples: the mark to compare with"


def image_sets(
    model: Model, options: Options, most: int, splits: tuple[str, ...]
) -> tuple[dict[str, Tensor], FeatureNet]:
    """Samples and as many images of each of the splits that there are, in [0, 1], and the feature net."""
    assert model.sample is not None
    data = {name: load(getattr(model, name)) for name in splits}
    there = {SETS[name]: x for name, x in data.items() if x is not None}
    count = min(options.samples, most, *map(len, there.values()))
    net = _net(options, tuple(there[SETS["test"]].shape[1:]))
    sets = {name: in_unit_range(subset(x, count, options.seed), model, name) for name, x in there.items()}
    return {"samples": in_unit_range(model.sample(count, options.seed), model, "samples")} | sets, net


def _net(options: Options, shape: tuple[int, ...]) -> FeatureNet:
    """The net of the options, or the shipped one where images have its shape."""
    if options.features is not None:
        return options.features
    net = feature_net("mnist")
    if shape != net.shape:
        size = "×".join(map(str, shape))
        raise BadInput(f"no feature net comes with images of {size}; name one with --features")
    return net


def in_unit_range(images: Tensor, model: Model, which: str) -> Tensor:
    """Return images with black at 0 and white at 1, what overshoots clipped; refused where the range is another."""
    low, high = model.image_range
    check_images(images, model.image_range, which)
    return ((images.detach().cpu() - low) / (high - low)).clamp(0, 1)


def feature_sets(model: Model, options: Options, most: int) -> tuple[dict[str, Tensor], FeatureNet]:
    """The features of samples, held-out data and, where there are some, training data: equally many of each."""
    sets, net = image_sets(model, options, most, ("test", "train"))
    parts = enumerate(sets.items())
    return {
        name: image_features(net, images, progress=part_of(options, done, len(sets)))
        for done, (name, images) in parts
    }, net


def fakes(features: dict[str, Tensor]) -> dict[str, Tensor]:
    """Features that are compared with those of held-out data, by the suffix of their metrics."""
    return {suffix: features[name] for suffix, name in FAKES.items() if name in features}


def part_of(options: Options, done: int, parts: int) -> Callable[[float], None] | None:
    """Progress of one of equal parts of which some are done; the last moments are the score's own."""
    if options.progress is None:
        return None
    tick = options.progress
    return lambda share: tick(0.9 * (done + share) / parts)
