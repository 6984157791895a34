"""Parts of the experiments on auto-encoders' codes: their nets by scale, a run's codes, and parts of figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal, TransformedDistribution

from distmatch.metrics import (
    EmpiricalKL,
    Model,
    empirical_marginal_kl,
    frechet_distance,
    image_features,
)
from distmatch.metrics.seeds import interval
from distmatch.reproduction.framework.experiment import Scale
from distmatch.reproduction.framework.measure import digits_net
from distmatch.reproduction.framework.seed_spread import say_lost
from distmatch.runs.folder import RunFolder
from distmatch.runs.model import load_trained

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BATCH = 500
LONG = ("cifar10", "celeba")  # data that the authors trained twice as long on
SETTINGS: Mapping[Scale, Mapping[str, Any]] = {
    "smoke": {"network.family": "mlp", "network.width": 16, "training.steps": 5},
    "cpu": {
        "network.family": "mlp",
        "network.width": 256,
        "network.batch_norm": True,
        "data.limit": 10_000,
    },
    "paper": {"network.family": "dcgan", "training.lr": 2e-4, "training.betas": [0.5, 0.9]},
}

SATURATED = (
    "the KL is that of the finite mixture of N posteriors, which is R - ln N where these are as narrow as here, "
    "whatever the population's is"
)
"""Why a claim on it is withdrawn."""


def settings(scale: Scale, data: str, steps: int, **more: Any) -> dict[str, Any]:
    """A run's settings: perceptrons with batch norm for a CPU, and at the paper's scale its DCGAN nets and its steps.

    Args:
        data: a data set.
        steps: at the scale cpu.
        more: further settings, with __ for the dot: network__latent=50.

    >>> settings("cpu", "mnist", 600, network__latent=50)["training.steps"]
    600
    """
    own = {
        "cpu": {"training.steps": steps},
        "paper": {"training.steps": 200_000 if data in LONG else 100_000},
    }
    further = {name.replace("__", "."): value for name, value in more.items()}
    return {"system": "vae", "data.name": data, **SETTINGS[scale], **own.get(scale, {}), **further}


def model_of(path: Path) -> Model:
    """A trained run, as the metrics take it."""
    return load_trained(RunFolder.open(path))[0].as_model()


def images_of(model: Model, split: str, most: int | None = None) -> Tensor:
    """The first prepared images of a split, train or test."""
    data = getattr(model, split)
    x: Tensor = data() if callable(data) else data
    return x[:most]


def posteriors(model: Model, x: Tensor) -> tuple[Tensor, Tensor, Distribution | None]:
    """Mean and σ of the Gaussians q(z₀|x), `(n, D)` each, and p(z₀) where a flow leads from z₀ to z.

    With z = f(z₀) for one bijection f, KL(q(z)‖p(z)) is that of z₀ from p(z₀) = p(f(z₀))·|det ∂f/∂z₀|. None: N(0, I).
    """
    assert model.encode is not None
    loc, scale, flow = [], [], None
    with torch.no_grad():
        for part in x.split(BATCH):
            distribution = model.encode(part, None)
            if isinstance(distribution, TransformedDistribution):
                flow, distribution = distribution.transforms, distribution.base_dist
            while isinstance(distribution, Independent):
                distribution = distribution.base_dist
            assert isinstance(distribution, Normal)
            loc.append(distribution.loc)
            scale.append(distribution.scale)
    means = torch.cat(loc)
    if flow is None:
        return means, torch.cat(scale), None
    zero = torch.zeros(means.shape[1])
    back = [f.inv for f in reversed(flow)]
    return means, torch.cat(scale), TransformedDistribution(Independent(Normal(zero, zero + 1), 1), back)


EMPIRICAL_KL = "KL(q̂(z)‖p(z))"
"""In labels: q̂(z) = 1/N Σ_n q(z|x_n) over the N training data, not the population's q(z)."""


def kl_of_codes(model: Model, *, codes: int = 10_000, leave_one_out: bool = False) -> EmpiricalKL:
    """KL(q̂(z)‖p(z)) of the whole training set's Gaussian posteriors, also through a flow, by Algorithm 2."""
    loc, scale, prior = posteriors(model, images_of(model, "train"))
    evaluate = min(len(loc), max(2, codes // 10))
    with torch.no_grad():
        return empirical_marginal_kl(
            loc,
            scale,
            prior=prior,
            evaluate=evaluate,
            samples=max(2, codes // evaluate),
            leave_one_out=leave_one_out,
            decompose=False,
        )


def frechet(model: Model, count: int) -> float:
    """The Fréchet distance of samples from held-out images, in the features of a classifier of digits."""
    assert model.sample is not None
    real = images_of(model, "test", count)
    net = digits_net()
    features = [image_features(net, x.clamp(0, 1)) for x in (real, model.sample(len(real), 0))]
    return frechet_distance(*features, features=str(net)).value


def quantiles(values: Tensor, count: int = 51) -> list[float]:
    """Evenly spaced quantiles, from the least value to the greatest.

    >>> quantiles(torch.arange(11.0), 3)
    [0.0, 5.0, 10.0]
    """
    flat = values.detach().flatten().double().sort().values
    places = torch.linspace(0, len(flat) - 1, count).round().long()
    return [float(f"{v:.5g}") for v in flat[places].tolist()]


def grouped_bars(axes: Axes, groups: Sequence[str], series: Mapping[str, Sequence[Sequence[float]]]) -> None:
    """Grouped bars: series -> for each group its values over seeds, drawn as their mean with its 95 % interval.

    Where a seed diverged there is no bar, and it says how many did.
    """
    from distmatch.reports.style import COLOURS, INK

    width = 0.8 / len(series)
    for i, (name, members) in enumerate(series.items()):
        middle, reach = zip(*map(interval, members), strict=True)
        places = [g + (i - (len(series) - 1) / 2) * width for g in range(len(groups))]
        axes.bar(places, middle, 0.9 * width, color=COLOURS[i], label=name)
        for place, values in zip(places, members, strict=True):
            say_lost(axes, place, values)
        axes.errorbar(places, middle, reach, fmt="none", ecolor=INK, capsize=2, elinewidth=0.8)
    axes.set_xticks(range(len(groups)), groups)
    axes.grid(visible=False, axis="x")
