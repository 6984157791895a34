"""Agreement of a conditional model's samples with the classes that it was given."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.checks import checked
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.inputs import (
    held_out,
    load,
    subset,
)
from distmatch.metrics.model import Model, Options, Result

NEIGHBOURS = 3
ROUNDING = 1e-6  # of an image's largest value: one that varies by less is constant


def class_agreement(samples: Tensor, labels: Tensor, data: Tensor, classes: Tensor) -> Estimate:
    """The share of samples whose nearest data are mostly of the class that the model was given.

    The judge is a 3-nearest-neighbour classifier in the space of x; of images by their correlation, so that a pale or
    blurred one is not taken for whichever class has the least ink. Of three neighbours of three classes the nearest
    decides. A constant image correlates with none: it agrees with no class, and among the data it is left out. The
    judge errs by itself: give it held-out data as `samples` to know what a perfect model would reach.

    Args:
        samples: x, (n, *), n ≥ 2; labels: the classes that the model was given, (n,).
        data: labelled examples, (m, *); classes: theirs, (m,).

    Raises:
        BadInput: shapes, NaN, fewer than three data that are not constant images.

    >>> data = torch.tensor([[0.0], [0.1], [0.2], [5.0], [5.1], [5.2]])
    >>> classes = torch.tensor([0, 0, 0, 1, 1, 1])
    >>> class_agreement(torch.tensor([[0.05], [5.05]]), torch.tensor([0, 0]), data, classes).value
    0.5
    """
    x, known = checked(samples.flatten(1), "samples", "n, *"), checked(data.flatten(1), "data", "n, *")
    if len(labels) != len(x) or len(classes) != len(known) or x.shape[1] != known.shape[1]:
        raise BadInput(
            f"{len(x)} samples of {x.shape[1]} values have {len(labels)} labels, "
            f"{len(known)} data of {known.shape[1]} values have {len(classes)}: their numbers and sizes must agree"
        )
    unknown = sorted(set(labels.tolist()) - set(classes.tolist()))
    if unknown:
        raise BadInput(f"the label {unknown[0]:g} was asked for, and no example of the data is of that class")
    from sklearn.neighbors import NearestNeighbors

    classes, judged = classes.cpu(), torch.ones(len(x), dtype=torch.bool)
    if samples.ndim == 4:
        varied = _varies(known)
        known, classes, judged = known[varied], classes[varied.cpu()], _varies(x).cpu()
    if len(known) < NEIGHBOURS:
        raise BadInput(
            f"{len(known)} data are there to judge by; give at least {NEIGHBOURS} that are not constant"
        )
    judge = NearestNeighbors(
        n_neighbors=NEIGHBOURS, metric="correlation" if samples.ndim == 4 else "euclidean", algorithm="brute"
    ).fit(known.cpu().numpy())
    agreed = torch.zeros(len(x), dtype=torch.bool)
    if judged.any():
        near = judge.kneighbors(x[judged.to(x.device)].cpu().numpy(), return_distance=False)
        first, second, third = classes[torch.from_numpy(near)].T
        agreed[judged] = torch.where(second == third, second, first) == labels.cpu()[judged]
    how = f"{NEIGHBOURS}-nearest-neighbour classifier of {len(known)} examples"
    if not judged.all():
        how += f"; {int((~judged).sum())} constant images agree with no class"
    return Estimate.fraction(agreed, "share", how)


def _varies(x: Tensor) -> Tensor:
    """True for each image (n, D) that is not constant, up to rounding, (n,)."""
    return x.amax(1) - x.amin(1) > ROUNDING * x.abs().amax(1)


JUDGED = 20_000  # labelled examples of the judge of classes


@metric(
    "class_agreement",
    question="Does the model draw the class that it was asked for?",
    needs=("sample_with_labels", "train", "train_labels"),
    reference="a 3-nearest-neighbour classifier of data; class_agreement_data is its mark on real ones",
    better={"class_agreement": "higher", "class_agreement_data": ""},
)
def measure(model: Model, options: Options) -> Result:
    """Samples of all classes, and held-out data as the judge's own reference."""
    assert model.sample_with_labels is not None
    data, classes = load(model.train), load(model.train_labels)
    assert data is not None
    assert classes is not None
    data, classes = subset(data, JUDGED, options.seed), subset(classes, JUDGED, options.seed)
    labels = torch.arange(min(options.samples, 1000)) % (int(classes.max()) + 1)
    estimates = {
        "class_agreement": class_agreement(
            model.sample_with_labels(labels, options.seed), labels, data, classes
        )
    }
    if model.test is not None and model.test_labels is not None:
        x, y = held_out(model, replace(options, samples=1000))
        assert y is not None
        estimates["class_agreement_data"] = class_agreement(x, y, data, classes)
    return Result(estimates)
