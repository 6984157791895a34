"""Analyses of low-posterior samples against data: neighbours, costs and bounds, pixels, a map of the codes."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Distribution

from distmatch.errors import BadInput
from distmatch.metrics.checks import at_least, checked
from distmatch.metrics.edge import called, check_modes, encoded, log_density
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.likelihood.elbo import closed_form_kl, per_example, standard_normal_like
from distmatch.metrics.plots import Histograms, Pictures, Scatter
from distmatch.random import own_randomness, seeded

ROWS = 4096  # data that neighbours are looked for among at once
EMBEDDED = 2_000  # points of a t-SNE, at most
PERPLEXITY = 30.0
SHOWN = 100_000  # entries of a histogram, at most
COLUMNS, PAIRED = 8, 32  # of the pictures


@dataclass(frozen=True)
class Neighbours:
    """For each of m queries its nearest datum: `index` (m,) into the data, `distance` (m,), ℓ2."""

    index: Tensor
    distance: Tensor


def nearest_neighbours(queries: Tensor, data: Tensor, *, chunk: int = ROWS) -> Neighbours:
    """The nearest datum of each query in ℓ2 over all pixels, (m, *) and (N, *), m and N ≥ 1.

    Searched by a float64 matmul for each chunk of data, about the queries' mean; the distances of those
    found are taken by differences. Distance between pixels favours pale and blurred data.

    Raises:
        BadInput: shapes, NaN, chunk below one.

    >>> neighbours = nearest_neighbours(torch.zeros(1, 2), torch.tensor([[3.0, 4.0], [9.0, 9.0]]))
    >>> neighbours.index.tolist(), neighbours.distance.tolist()
    ([0], [5.0])
    """
    at_least(1, chunk=chunk)
    rows = checked(_flat(queries, "queries"), "queries", "m, *", least=1)
    flat = checked(_flat(data, "data"), "data", "N, *", least=1, dtype=None)
    if rows.shape[1] != flat.shape[1]:
        raise BadInput(f"queries have {rows.shape[1]} pixels and data have {flat.shape[1]}")
    centre = rows.mean(0)
    centred = rows - centre
    best = torch.full((len(rows),), math.inf, dtype=rows.dtype, device=rows.device)
    index = torch.zeros(len(rows), dtype=torch.long, device=rows.device)
    for start in range(0, len(flat), chunk):
        part = flat[start : start + chunk].to(rows) - centre
        nearest, place = (part.square().sum(1) - 2 * centred @ part.T).min(1)
        better = nearest < best
        best, index = torch.where(better, nearest, best), torch.where(better, start + place, index)
    distance = (rows - flat[index.to(flat.device)].to(rows)).square().sum(1).sqrt()
    return Neighbours(index, distance)


@dataclass(frozen=True)
class Population:
    """Cost of the codes of one population of images, and its bound, in nats.

    Attributes:
        rate, elbo: means; `elbo` is None where no decoder was given.
        rates: KL(q(z|x)‖p(z)) of each image, (n,); elbos: of each, (n,), or None.
    """

    rate: Estimate
    elbo: Estimate | None
    rates: Tensor
    elbos: Tensor | None


def population(
    encoder: Callable[..., Distribution],
    decoder: Callable[..., Distribution] | None,
    x: Tensor,
    *,
    y: Tensor | None = None,
    prior: Distribution | None = None,
    batch_size: int = 256,
    seed: int = 0,
) -> Population:
    """KL(q(z|x)‖p(z)) and ELBO of every image, at one draw of z each, for histograms over populations.

    Low-posterior images are means of p(x|z), smoother than draws of it: theirs is the ELBO of smooth images.
    Where data are binary, binarise them first, or the distribution is not one of such images.

    Args:
        encoder, decoder, y, prior: as in `evidence_lower_bound`; decoder None where it has no likelihood.
        x: (n, *), n ≥ 2.

    Raises:
        BadInput: shapes, NaN, counts below one, densities that are not finite.

    Reference: Rosca, Lakshminarayanan and Mohamed, 1802.06847, figures 2, 3 and 10 to 14.

    >>> from torch.distributions import Normal
    >>> costs = population(lambda x: Normal(x / 2, 0.5**0.5), lambda z: Normal(z, 1.0), torch.zeros(5, 1))
    >>> round(costs.rate.value, 3)                             # ½(½ - 1 + ln 2)
    0.097
    """
    checked(_flat(x, "x"), "x", "n, *", dtype=None)
    at_least(1, batch_size=batch_size)
    check_modes(encoder=encoder, decoder=decoder)
    if y is not None and len(y) != len(x):
        raise BadInput(f"y has {len(y)} labels for {len(x)} examples")
    rates, elbos = [], []
    with torch.no_grad(), own_randomness(seed):
        for start in range(0, len(x), batch_size):
            part = slice(start, start + batch_size)
            label = () if y is None else (y[part],)
            q = encoded(encoder, x[part], *label)
            p, z = standard_normal_like(q) if prior is None else prior, q.sample()
            rate = closed_form_kl(q, p)
            if rate is None:
                rate = per_example(q.log_prob(z)) - per_example(p.log_prob(z))
            rates.append(rate)
            if decoder is not None:
                elbos.append(
                    log_density(called(decoder, "the decoder", z, *label), x[part], start == 0) - rate
                )
    rate, elbo = torch.cat(rates), torch.cat(elbos) if elbos else None
    unit, how = "nats per example", "one draw of z per example; error over examples"
    return Population(
        rate=Estimate.mean(rate, unit, "mean KL(q(z|x)‖p(z)); error over examples"),
        elbo=None if elbo is None else Estimate.mean(elbo, unit, how),
        rates=rate,
        elbos=elbo,
    )


def mean_pixel(images: Tensor) -> Estimate:
    """The mean over pixels of images (n, *), n ≥ 2, error over images: white backgrounds, thick strokes.

    >>> mean_pixel(torch.full((3, 1, 2, 2), 0.25)).value
    0.25
    """
    return Estimate.mean(
        checked(_flat(images, "images"), "images", "n, *").mean(1), how="mean over pixels, error over images"
    )


def pixel_histograms(groups: Mapping[str, Tensor]) -> Histograms:
    """The pixels' values of several populations of images, (n, *) each.

    >>> pixel_histograms({"data": torch.zeros(2, 1, 2, 2)}).series["data"].shape
    torch.Size([8])
    """
    return _histograms(
        "Pixels: are low-posterior samples paler or darker than data?", groups, "pixel value", True
    )


def cost_histograms(groups: Mapping[str, Population]) -> tuple[Histograms, ...]:
    """KL(q(z|x)‖p(z)), and ELBO where there is one, of several populations.

    >>> zero = Estimate(0.0, 0.0, 2)
    >>> len(cost_histograms({"data": Population(zero, zero, torch.zeros(2), torch.zeros(2))}))
    2
    """
    rates = {name: costs.rates for name, costs in groups.items()}
    elbos = {name: costs.elbos for name, costs in groups.items() if costs.elbos is not None}
    shown = [_histograms("The codes' cost KL(q(z|x)‖p(z)) of each image.", rates, "nats", False)]
    if elbos:
        shown.append(_histograms("The ELBO of each image.", elbos, "nats", False))
    return tuple(shown)


def _histograms(caption: str, groups: Mapping[str, Tensor], label: str, log: bool) -> Histograms:
    flat = {name: values.detach().flatten() for name, values in groups.items()}
    thinned = {name: v[:: max(1, math.ceil(len(v) / SHOWN))].cpu() for name, v in flat.items()}
    return Histograms(caption, thinned, label, log)


def paired_pictures(samples: Tensor, neighbours: Tensor, most: int = PAIRED) -> Pictures:
    """Samples (m, c, h, w) in [0, 1], each over its nearest datum.

    >>> black, white = torch.zeros(3, 1, 4, 4), torch.ones(3, 1, 4, 4)
    >>> paired_pictures(black, white).images[:, 0, 0, 0].tolist()
    [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]
    """
    if samples.shape != neighbours.shape or samples.ndim != 4 or not len(samples):
        shapes = f"{tuple(samples.shape)} and {tuple(neighbours.shape)}"
        raise BadInput(f"samples and neighbours must be images (m, c, h, w) of one shape; got {shapes}")
    columns = min(COLUMNS, len(samples), most)
    whole = min(len(samples), most) // columns * columns
    pairs = zip(samples[:whole].split(columns), neighbours[:whole].split(columns), strict=True)
    images = torch.cat([row for pair in pairs for row in pair]).detach().clamp(0, 1).cpu()
    caption = "Low-posterior samples, the lowest log q(z) first, each over its nearest datum in pixels."
    names = ("low-posterior samples", "their nearest data") * (whole // columns)
    return Pictures(caption, images, columns, names)


def code_map(groups: Mapping[str, Tensor], *, most: int = EMBEDDED, seed: int = 0) -> Scatter:
    """t-SNE of several groups of codes together, (n, D) each, at most `most` points in all, an even share each.

    It shows which codes are neighbours; the sizes of clusters and the distances between them mean nothing.

    Raises:
        BadInput: shapes, NaN, fewer than 5 points in all, points all alike.

    Reference: van der Maaten and Hinton, Visualizing Data using t-SNE (2008).

    >>> z = torch.randn(20, 3, generator=seeded(0))
    >>> code_map({"prior": z, "codes": z + 9}).groups["codes"].shape
    torch.Size([20, 2])
    """
    from sklearn.manifold import TSNE  # slow to import, and needed only here

    share = max(1, most // max(1, len(groups)))
    points = {name: _subset(checked(z, name, "n, D", least=1), share, seed) for name, z in groups.items()}
    if len({z.shape[1] for z in points.values()}) > 1:
        raise BadInput(f"the groups have {[z.shape[1] for z in points.values()]} dimensions; they must agree")
    if sum(len(z) for z in points.values()) < 5:
        raise BadInput("t-SNE needs 5 points or more; give more codes")
    everything = torch.cat([z.cpu() for z in points.values()])
    if not (everything.std(0) > 0).any():
        raise BadInput("the codes are all alike, so there is nothing to map")
    start = "pca" if everything.shape[1] >= 2 else "random"
    perplexity = min(PERPLEXITY, (len(everything) - 1) / 3)
    placed = TSNE(init=start, perplexity=perplexity, random_state=seed).fit_transform(everything.numpy())
    parts = torch.as_tensor(placed).split([len(z) for z in points.values()])
    return Scatter(
        "t-SNE of codes: neighbours mean something, distances do not.", dict(zip(points, parts, strict=True))
    )


def _subset(values: Tensor, most: int, seed: int) -> Tensor:
    if len(values) <= most:
        return values
    return values[torch.randperm(len(values), generator=seeded(seed))[:most].to(values.device)]


def _flat(values: Tensor, name: str) -> Tensor:
    """(n, *) -> (n, pixels), of one pixel where there is no further dimension."""
    if not isinstance(values, Tensor) or values.ndim < 1 or not values.numel():
        raise BadInput(f"{name} must be a tensor of at least one example, (n, *)")
    return values.reshape(len(values), -1)
