"""The plots of a metric: plain data that the report room draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from distmatch.metrics.estimate import Estimate


@dataclass(frozen=True)
class Histograms:
    """The distributions of one quantity over several populations.

    Arguments:
        series: population -> values (n,).
        label: of the axis, with its unit.
        log: whether the counts are drawn on a logarithmic scale.
    """

    caption: str
    series: Mapping[str, Tensor]
    label: str
    log: bool = False


@dataclass(frozen=True)
class Lines:
    """Curves over one axis.

    Arguments:
        x: (n,), or curve -> (n,) where they differ.
        series: curve -> values (n,); `errors`: curve -> standard errors (n,), where there are some.
        log: the axes on a logarithmic scale, of "", "x", "y" and "xy".
        marks: sentence -> a value on the vertical axis that a dashed line marks.
    """

    caption: str
    x: Tensor | Mapping[str, Tensor]
    series: Mapping[str, Tensor]
    x_label: str
    y_label: str
    errors: Mapping[str, Tensor] = field(default_factory=dict)
    log: str = ""
    marks: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Bars:
    """A value for each whole number, such as a share of time for each number of holes.

    Arguments:
        series: name -> values (k,), at 0, 1, …, k - 1; `errors`: name -> standard errors (k,).
    """

    caption: str
    series: Mapping[str, Tensor]
    x_label: str
    y_label: str
    errors: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Barcode:
    """Intervals of persistence, one bar for each.

    Arguments:
        series: name -> births and deaths (n, 2).
    """

    caption: str
    series: Mapping[str, Tensor]
    x_label: str


@dataclass(frozen=True)
class Scatter:
    """Points in the plane, one colour for each group: group -> (n, 2)."""

    caption: str
    groups: Mapping[str, Tensor]
    x_label: str = ""
    y_label: str = ""


@dataclass(frozen=True)
class Pictures:
    """A grid of images (n, c, h, w) in [0, 1], row by row, with a name for each row where that helps."""

    caption: str
    images: Tensor
    columns: int = 8
    rows: Sequence[str] = ()


@dataclass(frozen=True)
class RatePlane:
    """Models in the plane of rate and distortion, with the region D + R ≥ H that no model leaves.

    Arguments:
        points: model -> (rate, distortion), nats.
        entropy: an upper bound of the data's entropy H, nats: the best known -log p(x).
    """

    caption: str
    points: Mapping[str, tuple[Estimate, Estimate]]
    entropy: Estimate | None = None


Plot = Histograms | Lines | Bars | Barcode | Scatter | Pictures | RatePlane
