"""A number with its error bar."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.checks import checked


@dataclass(frozen=True)
class Estimate:
    """An estimate of one number: its value, its standard error, from how many samples, and how.

    `how` is one short sentence for the reader of a report: the method and its limits. An error that is not known is
    NaN, and none is printed. `degrees` are those of freedom that the standard error has, for Student's t; None where
    the n samples are independent: n - 1. `limits` are the 95 % interval where that is not the value ± t·standard_error:
    of a probability near 0 or 1, of a count, or of a squared distance; they are printed instead.

    >>> print(Estimate(12.344, 0.05, 10000, "nats"))
    12.34 ± 0.05 nats (n = 10000)
    >>> print(Estimate(12.344, math.nan, 10000, "nats"))
    12.344 nats (n = 10000)
    >>> print(Estimate(1.0, 0.04, 30, limits=(0.884, 1.0)))
    1.00 [0.88, 1.00] (n = 30)
    """

    value: float
    standard_error: float
    n: int
    unit: str = ""
    how: str = ""
    degrees: float | None = None
    limits: tuple[float, float] | None = None

    @classmethod
    def mean(cls, values: Tensor, unit: str = "", how: str = "") -> Estimate:
        """The mean of independent `values`, shape (n,), n ≥ 2; standard error s/√n, in float64.

        Raises:
            BadInput: fewer than two values, another shape, NaN or infinity.

        >>> import torch
        >>> Estimate.mean(torch.tensor([1.0, 2.0, 3.0]))
        Estimate(value=2.0, standard_error=0.577..., n=3, unit='', how='', degrees=None, limits=None)
        """
        values = checked(values, "values", "n")
        error = float(values.std()) / math.sqrt(len(values))
        return cls(float(values.mean()), error, len(values), unit, how)

    @classmethod
    def fraction(cls, hits: Tensor, unit: str = "", how: str = "", design_effect: float = 1.0) -> Estimate:
        """The mean of a boolean tensor, shape (n,). The standard error is Agresti and Coull's, taken at
        (k + 2)/(n + 4), so that it is not zero where all n agree. Where the interval by it would leave [0, 1], there
        are limits, Clopper and Pearson's.

        Args:
            design_effect: by how much the variance of the mean is above that of n independent ones (Kish): as many
                count as n/design_effect.

        >>> import torch
        >>> print(Estimate.fraction(torch.arange(100) < 40))
        0.40 ± 0.05 (n = 100)
        >>> print(Estimate.fraction(torch.ones(100, dtype=torch.bool)))
        1.000 [0.964, 1.000] (n = 100)
        """
        n = len(checked(hits, "hits", "n"))
        return cls.share(float(hits.sum()) / n, n / design_effect, n, unit, how)

    @classmethod
    def share(cls, value: float, counted: float, n: int, unit: str = "", how: str = "") -> Estimate:
        """A share as `fraction` states it, of n trials that are worth `counted` independent ones.

        >>> print(Estimate.share(0.4, 50, 100))
        0.40 ± 0.07 (n = 100)
        """
        adjusted = (value * counted + 2) / (counted + 4)
        estimate = cls(value, math.sqrt(adjusted * (1 - adjusted) / (counted + 4)), n, unit, how)
        low, high = estimate.interval()
        if low >= 0 and high <= 1:
            return estimate
        return dataclasses.replace(estimate, limits=binomial_limits(value * counted, counted))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The central confidence interval: `limits`, which are at 95 %, or value ± t·standard_error.

        t is Student's quantile for `degrees` of freedom. Without an error it is the whole line.

        Raises:
            BadInput: a level outside (0, 1), or another than 0.95 where there are `limits`.

        >>> low, high = Estimate(0.0, 1.0, 10000).interval()
        >>> round(high, 2)
        1.96
        >>> Estimate(0.0, math.nan, 10000).interval()
        (-inf, inf)
        """
        from scipy.special import stdtrit

        if not 0 < level < 1:
            raise BadInput(f"level is {level}; give a number between 0 and 1")
        if self.limits is not None:
            if level != 0.95:
                raise BadInput(f"level is {level}; this estimate has an interval of its own, at 0.95 only")
            return self.limits
        if math.isnan(self.standard_error):
            return -math.inf, math.inf
        t = float(stdtrit(self.degrees or max(1, self.n - 1), (1 + level) / 2))
        return self.value - t * self.standard_error, self.value + t * self.standard_error

    def explained(self, how: str) -> Estimate:
        """The same estimate with another `how`."""
        return dataclasses.replace(self, how=how)

    def as_dict(self) -> dict[str, Any]:
        """The fields for JSON: value, standard_error (None if not known), n, unit, how; degrees and limits where known.

        >>> sorted(Estimate(1.0, 0.1, 5).as_dict())
        ['how', 'n', 'standard_error', 'unit', 'value']
        """
        entries = {
            k: v
            for k, v in dataclasses.asdict(self).items()
            if k not in ("degrees", "limits") or v is not None
        }
        if math.isnan(self.standard_error):
            entries["standard_error"] = None
        return entries

    def __str__(self) -> str:
        number, error = f"{self.value:.6g}", self.standard_error
        if self.limits is not None:
            low, high = self.limits
            places = _places((high - low if high < math.inf else self.value - low) / 4)
            number = f"{self.value:.{places}f} [{low:.{places}f}, {high:.{places}f}]"
        elif 1e-8 * abs(self.value) < error < math.inf:
            places = _places(error)
            number = f"{self.value:.{places}f} ± {error:.{places}f}"
        elif not math.isnan(error):
            number += f" ± {error:.1g}"
        return f"{number}{' ' + self.unit if self.unit else ''} (n = {self.n})"


def _places(error: float) -> int:
    """Decimals that show one digit of an error, two where it begins with 1."""
    if not 0 < error < math.inf:
        return 3
    exponent = math.floor(math.log10(error))
    return min(12, max(0, -exponent + (error < 2 * 10.0**exponent)))


def binomial_limits(hits: float, n: float) -> tuple[float, float]:
    """The 95 % interval of a probability by `hits` of n trials, exact: it covers at least that often.

    Both may be fractions of a number, where trials count for less than one.

    Reference: Clopper and Pearson, The use of confidence or fiducial limits (1934).

    >>> [round(limit, 3) for limit in binomial_limits(30, 30)]
    [0.884, 1.0]
    """
    from scipy.special import betaincinv

    low = float(betaincinv(hits, n - hits + 1, 0.025)) if hits > 0 else 0.0
    high = float(betaincinv(hits + 1, n - hits, 0.975)) if hits < n else 1.0
    return low, high


def squared_distance_limits(
    value: float, plain: float, linear: float, degenerate: float, degrees: float
) -> tuple[float, float]:
    """The 95 % interval of a squared distance θ² of two means, where it may be near its noise (a score interval).

    A U-statistic D² of θ² has the variance aθ² + b: the first part is linear in the sample, and 0 where θ is. The
    limits are the θ² for which (D² - θ²)² = t²(aθ² + b), as Wilson's are for a share; the low one is at most D².

    Args:
        value: D², which may be negative.
        plain: the squared distance of the samples themselves, biased up; 0 where they agree.
        linear: the variance of the linear part, for means that are `plain` apart: a = linear/plain.
        degenerate: b.
        degrees: of freedom, of Student's t.

    Reference: Wilson, Probable inference, the distribution of succession, and statistical inference (1927).

    >>> [round(limit, 2) for limit in squared_distance_limits(1.0, 1.1, 0.1, 0.01, 1000)]      # not 1 ± 0.65
    [0.53, 1.82]
    """
    from scipy.special import stdtrit

    t = float(stdtrit(degrees, 0.975))
    half = t * t * (linear / plain if plain > 0 else 0.0) / 2
    root = math.sqrt(max(0.0, half * half + 2 * half * value + t * t * degenerate))
    return min(value, value + half - root), value + half + root
