"""Whether a conditional model draws the class that it was asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from distmatch.diagnostics.checks import checked
from distmatch.diagnostics.estimate import Estimate
from distmatch.errors import BadInput

NEIGHBOURS = 3


def class_agreement(samples: Tensor, labels: Tensor, data: Tensor, classes: Tensor) -> Estimate:
    """The share of samples whose nearest data are mostly of the class that was asked for.

    The judge is a 3-nearest-neighbour classifier in the space of x; of images by their correlation, so that a pale or
    blurred one is not taken for whichever class has the least ink. It errs by itself: measure it on held-out data
    (give these as `samples`) to know what a perfect model would reach.

    Args:
        samples: x, (n, *), n ≥ 2; labels: what was asked for, (n,).
        data: labelled examples, (m, *); classes: theirs, (m,).

    Raises:
        BadInput: shapes, NaN.

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
    from sklearn.neighbors import KNeighborsClassifier

    metric = "correlation" if samples.ndim == 4 else "euclidean"
    judge = KNeighborsClassifier(NEIGHBOURS, metric=metric, algorithm="brute").fit(
        known.cpu().numpy(), classes.cpu().numpy()
    )
    agreed = torch.from_numpy(judge.predict(x.cpu().numpy())) == labels.cpu()
    how = f"{NEIGHBOURS}-nearest-neighbour classifier of {len(known)} examples"
    return Estimate.mean(agreed.double(), "share", how)
