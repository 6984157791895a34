"""Terms that compare two sets of draws by their moments, without a critic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from distmatch.errors import BadInput, unknown
from distmatch.objectives.comparisons import KERNELS, mmd_squared, root_mmd
from distmatch.objectives.term import Critics, Term
from distmatch.objectives.variables import Z_CODE, Draws, Variable

__all__ = ["MMD", "CodeKL"]


@dataclass(frozen=True)
class MMD(Term):
    """MMD²(model, target) of two draws of one space, by a sum of kernels of several widths; a scalar.

    Of the data's own values: pictures in [0, 1], as in the papers on GMMNs.

    The unbiased estimate, which may be below 0; with `root` √MMD² of the biased one. Gretton et al. 2012, JMLR 13;
    Li, Swersky and Zemel 2015, arXiv:1502.02761; Tolstikhin et al. 2017, arXiv:1711.01558.

    Args:
        model: a draw.
        target: a draw of the same space.
        kernel: `"imq"`, inverse multiquadrics, or `"rbf"`, Gaussians.
        root: √MMD² instead of MMD².

    >>> from distmatch.objectives.variables import X, X_GEN
    >>> print(MMD(X_GEN, X, kernel="rbf", root=True))
    MMD[p(x̃), p*(x)]
    """

    model: Variable
    target: Variable
    kernel: Literal["imq", "rbf"] = "imq"
    root: bool = False

    per_sample = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model.space != self.target.space:
            raise BadInput(
                f"no MMD between {self.model.name} and {self.target.name}: they live in different spaces"
            )
        if self.kernel not in KERNELS:
            raise unknown("kernel", str(self.kernel), KERNELS)

    @property
    def name(self) -> str:
        """E.g. `mmd(z_code, z_prior)`."""
        return f"mmd({self.model.name}, {self.target.name})"

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Both."""
        return (self.model, self.target)

    def equation(self) -> str:
        """As it is printed."""
        return f"MMD{'' if self.root else '²'}[{self.model.distribution}, {self.target.distribution}]"

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """MMD² or √MMD², a scalar."""
        measure = root_mmd if self.root else mmd_squared
        return measure(draws[self.model], draws[self.target], KERNELS[self.kernel])


@dataclass(frozen=True)
class CodeKL(Term):
    """KL[N(m, diag s²) ‖ N(0, I)] = ½Σ(m² + s² - 1 - ln s²), m and s² the codes' moments over the minibatch; in nats.

    Ulyanov, Vedaldi and Lempitsky 2017, arXiv:1704.02304. (Their code has the variance where σ belongs.)

    Args:
        variable: a draw of codes.
        maximise: the negative, for a net that drives the codes away from N(0, I).
        reduction: over the coordinates of a code: their `"sum"`, or their `"mean"`, the divergence over dim.

    >>> print(CodeKL())
    KL[N(ẑ) ‖ p(z)]
    >>> from distmatch.objectives.variables import Z_REC
    >>> print(CodeKL(Z_REC, maximise=True))
    (-KL[N(z̃) ‖ p(z)])
    """

    variable: Variable = Z_CODE
    maximise: bool = False
    reduction: Literal["sum", "mean"] = "sum"

    per_sample = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.variable.space != "z":
            raise BadInput(f"code_kl is of codes, and {self.variable.name} is none; give z_code or z_rec")
        if self.reduction not in ("sum", "mean"):
            raise BadInput(f"the reduction of code_kl is sum or mean, not {self.reduction!r}")

    @property
    def name(self) -> str:
        """E.g. `code_kl(z_code)`."""
        return f"code_kl({self.variable.name})"

    @property
    def variables(self) -> tuple[Variable, ...]:
        """The codes."""
        return (self.variable,)

    def equation(self) -> str:
        """As it is printed."""
        text = f"KL[N({self.variable}) ‖ p(z)]" + ("" if self.reduction == "sum" else "/dim(z)")
        return f"(-{text})" if self.maximise else text

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """The divergence or its negative, a scalar. A variance of 0 is held at the smallest number above."""
        codes = draws[self.variable]
        mean = codes.mean(0)
        variance = (codes - mean).square().mean(0).clamp_min(torch.finfo(codes.dtype).tiny)
        each = 0.5 * (mean.square() + variance - 1 - variance.log())
        kl = each.sum() if self.reduction == "sum" else each.mean()
        return -kl if self.maximise else kl
