"""A number with its error bar."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from distmatch.diagnostics.checks import checked
from distmatch.errors import BadInput


@dataclass(frozen=True)
class Estimate:
    """An estimate of one number: its value, its standard error, from how many samples, and how.

    `how` is one short sentence for the reader of a report: the method and its limits. `degrees` are those of
    freedom that the standard error has, for Student's t; None where the n samples are independent: n - 1.

    >>> print(Estimate(12.344, 0.05, 10000, "nats"))
    12.34 ± 0.05 nats (n = 10000)
    """

    value: float
    standard_error: float
    n: int
    unit: str = ""
    how: str = ""
    degrees: float | None = None

    @classmethod
    def mean(cls, values: Tensor, unit: str = "", how: str = "") -> Estimate:
        """The mean of independent `values`, shape (n,), n ≥ 2; standard error s/√n, in float64.

        Raises:
            BadInput: fewer than two values, another shape, NaN or infinity.

        >>> Estimate.mean(torch.tensor([1.0, 2.0, 3.0]))
        Estimate(value=2.0, standard_error=0.577..., n=3, unit='', how='', degrees=None)
        """
        values = checked(values, "values", "n")
        error = float(values.std()) / math.sqrt(len(values))
        return cls(float(values.mean()), error, len(values), unit, how)

    @classmethod
    def fraction(cls, hits: Tensor, unit: str = "", how: str = "") -> Estimate:
        """The mean of a boolean tensor, shape (n,). The standard error is Agresti and Coull's, taken at
        (k + 2)/(n + 4), so that it is not zero where all n agree.

        >>> print(Estimate.fraction(torch.ones(100, dtype=torch.bool)))
        1.000 ± 0.013 (n = 100)
        """
        n = len(checked(hits, "hits", "n"))
        adjusted = (float(hits.sum()) + 2) / (n + 4)
        error = math.sqrt(adjusted * (1 - adjusted) / (n + 4))
        return cls(float(hits.sum()) / n, error, n, unit, how)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """The central confidence interval, value ± t·standard_error.

        t is Student's quantile for `degrees` of freedom.

        >>> low, high = Estimate(0.0, 1.0, 10000).interval()
        >>> round(high, 2)
        1.96
        """
        from scipy.special import stdtrit

        if not 0 < level < 1:
            raise BadInput(f"level is {level}; give a number between 0 and 1")
        t = float(stdtrit(self.degrees or max(1, self.n - 1), (1 + level) / 2))
        return self.value - t * self.standard_error, self.value + t * self.standard_error

    def explained(self, how: str) -> Estimate:
        """The same estimate with another `how`."""
        return dataclasses.replace(self, how=how)

    def as_dict(self) -> dict[str, Any]:
        """For JSON: value, standard_error, n, unit, how, and degrees where they are known.

        >>> sorted(Estimate(1.0, 0.1, 5).as_dict())
        ['how', 'n', 'standard_error', 'unit', 'value']
        """
        return {k: v for k, v in dataclasses.asdict(self).items() if k != "degrees" or v is not None}

    def __str__(self) -> str:
        if 1e-8 * abs(self.value) < self.standard_error < math.inf:
            exponent = math.floor(math.log10(self.standard_error))
            leads_with_one = self.standard_error < 2 * 10.0**exponent
            places = min(12, max(0, -exponent + leads_with_one))
            number = f"{self.value:.{places}f} ± {self.standard_error:.{places}f}"
        else:
            number = f"{self.value:.6g} ± {self.standard_error:.1g}"
        return f"{number}{' ' + self.unit if self.unit else ''} (n = {self.n})"


def seeded(seed: int) -> torch.Generator:
    """A CPU generator of its own, so that global random state is never touched.

    >>> torch.rand(1, generator=seeded(1)).equal(torch.rand(1, generator=seeded(1)))
    True
    """
    return torch.Generator().manual_seed(seed)
