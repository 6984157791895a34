"""Terms that ask or train a critic otherwise than `Match` does."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.distributions import Distribution
from torch.nn.functional import logsigmoid, softplus

from distmatch.distributions.functions import is_diagonal_normal
from distmatch.distributions.points import NoisyPoint
from distmatch.errors import BadInput
from distmatch.objectives.comparisons import NON_SATURATING, Comparison, Sides
from distmatch.objectives.noise import Noise
from distmatch.objectives.term import Critics, Term
from distmatch.objectives.variables import X_GEN, X_REC, Z_CODE, Z_PRIOR, Draws, Variable, X

__all__ = ["AdaptiveContrast", "FeatureDistance", "MixedBatch"]


@dataclass(frozen=True)
class FeatureDistance(Term):
    """E ½‖h(a) - h(b)‖², h the features that the last layer of a critic is given. The critic does not learn from it.

    Larsen et al. 2015, arXiv:1512.09300, equation 7: up to a constant, -log N(h(x); h(x̂), I).

    Args:
        first: a.
        second: b, of the same space.
        critic: whose features they are; another term trains it.

    >>> print(FeatureDistance())
    E ½‖h(x) - h(x̂)‖²
    """

    first: Variable = X
    second: Variable = X_REC
    critic: str = "data"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.first.space != self.second.space:
            raise BadInput(
                f"no distance between {self.first.name} and {self.second.name}: they live in different spaces"
            )

    @property
    def name(self) -> str:
        """E.g. `feature_distance(x, x_rec)`."""
        return f"feature_distance({self.first.name}, {self.second.name})"

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Both."""
        return (self.first, self.second)

    @property
    def critics(self) -> dict[str, tuple[str, ...]]:
        """The one whose features it compares."""
        return {self.critic: (self.first.space,)}

    def equation(self) -> str:
        """As it is printed."""
        return f"E ½‖h({self.first}) - h({self.second})‖²"

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """½‖h(a) - h(b)‖² of each pair, `(B,)`."""
        first, second = (critics.features(self.critic, (v,)).flatten(1) for v in (self.first, self.second))
        return 0.5 * (first - second).square().sum(1)


@dataclass(frozen=True)
class AdaptiveContrast(Term):
    """E KL[q(z|x) ‖ p(z)] of an implicit q, by a critic that sees the codes standardised; in nats.

    With r(z|x) = N(μ(x), σ²(x)), the moments of q held still, and z̄ = (ẑ - μ)/σ, the critic tells (x, z̄) from
    (x, ε), ε ~ N(0, I), so that all that is left for it is how q differs from r. Its score estimates
    t = log N(ε; 0, I) / q(z̄|x), and the encoder minimises -t + log r(ẑ|x) - log p(ẑ).
    Mescheder, Nowozin and Geiger 2017, arXiv:1701.04722, section 3.3 (T there is -t here).

    Args:
        by: the comparison that the critic learns by; its score must hold a ratio.
        critic: its name.

    >>> print(AdaptiveContrast())
    E KL_ac[q(z|x) ‖ p(z)]
    """

    by: Comparison = NON_SATURATING
    critic: str = "joint"

    name = "adaptive_contrast"
    assumes_normal_prior = True
    variables = (X, Z_CODE, Z_PRIOR)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.by.log_ratio is None:
            raise BadInput(
                f"the critic of {self.by.name} holds no density ratio for adaptive_contrast; "
                "give a comparison that does, such as non_saturating or lsif"
            )

    @property
    def critics(self) -> dict[str, tuple[str, ...]]:
        """Its one critic, of x and a standardised code."""
        return {self.critic: ("x", "z")}

    @property
    def rule(self) -> Sides:
        """The critic's loss."""
        return self.by.critic

    @property
    def nets(self) -> tuple[str, ...]:
        """The encoder."""
        return ("encoder",)

    def equation(self) -> str:
        """As it is printed."""
        return "E KL_ac[q(z|x) ‖ p(z)]"

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """-t + log r(ẑ|x) - log p(ẑ), `(B,)`."""
        assert self.by.log_ratio is not None
        code, log_scale = _standardised(draws)
        t = self.by.log_ratio(critics.at(self.critic, draws[X], code))
        return -t - log_scale + 0.5 * (draws[Z_CODE].square() - code.square()).sum(1)

    def critic_losses(self, draws: Draws, critics: Critics) -> dict[str, Tensor]:
        """On the contrast and on the standardised codes, each `(B,)`."""
        sides = {"target": draws[Z_PRIOR], "model": _standardised(draws)[0]}
        return {
            part: integrand(critics.at(self.critic, draws[X], sides[part]))
            for part, integrand in self.by.critic._asdict().items()
            if integrand is not None
        }


def _standardised(draws: Draws) -> tuple[Tensor, Tensor]:
    """z̄ = (ẑ - μ)/σ, `(B, latent)`, and Σ log σ, `(B,)`; μ and σ held still."""
    loc, scale = (m.detach() for m in _moments(draws.distributions["z_code"]))
    return (draws[Z_CODE] - loc) / scale, scale.log().sum(1)


def _moments(distribution: Distribution) -> tuple[Tensor, Tensor]:
    if isinstance(distribution, NoisyPoint):
        return distribution.moment_loc, distribution.moment_scale
    if is_diagonal_normal(distribution):
        base: Any = distribution.base_dist  # type: ignore[attr-defined]
        return base.loc, base.scale
    raise BadInput(
        "adaptive_contrast asks for the mean and the spread of q(z|x), and this encoder does not tell them: "
        "give it a noise or a gaussian posterior"
    )


@dataclass(frozen=True)
class MixedBatch(Term):
    """D[model ‖ target] by a critic of whole batches that says which share r of one is real.

    β ~ U(0, 1), and each element of the critic's batch is real with probability β; r is the share that became real,
    so that a critic which tells all elements apart pays the least. Its nets treat the batch as a set, with a score
    t_i for each element, and it minimises the cross-entropy of r,

    - `"output"`: -r log D̄ - (1 - r) log(1 - D̄) of the mean D̄ of σ(t_i) (BGAN);
    - `"element"`: the mean over i of -r log σ(t_i) - (1 - r) log(1 - σ(t_i)) (M-BGAN).

    The model brings a batch of its own alone (r = 0) to be taken for data: it minimises the same at r = 1.
    Lucas et al. 2018, arXiv:1806.07185. That r, not β, is the target, and that each layer sees the batch's mean, is
    told by summaries and a review of the paper; its loss of the generator is not known here, and this is a
    substitute. So a number of these two systems says little of the authors'.

    Args:
        model: a draw.
        target: a draw of the same space.
        average: of the critic's outputs before the cross-entropy, or after it over the elements.
        critic: its name.

    >>> print(MixedBatch())
    D_batch[p(x̃) ‖ p*(x)]
    """

    model: Variable = X_GEN
    target: Variable = X
    average: Literal["output", "element"] = "output"
    critic: str = "data"

    wants_whole_batches = True
    per_sample = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.model.space != self.target.space:
            raise BadInput(
                f"no batch holds both {self.model.name} and {self.target.name}: they live in different spaces"
            )
        if self.average not in ("output", "element"):
            raise BadInput(
                f"mixed_batch averages over each output or over each element, not {self.average!r}"
            )

    @property
    def name(self) -> str:
        """E.g. `mixed_batch(x_gen, x)`."""
        return f"mixed_batch({self.model.name}, {self.target.name})"

    @property
    def variables(self) -> tuple[Variable, ...]:
        """Both."""
        return (self.model, self.target)

    @property
    def critics(self) -> dict[str, tuple[str, ...]]:
        """Its one critic."""
        return {self.critic: (self.model.space,)}

    @property
    def rule(self) -> tuple[str, str]:
        """The critic's loss."""
        return ("mixed_batch", self.average)

    @property
    def noise(self) -> Mapping[str, Noise]:
        """β, and for each element whether it is real."""
        return {
            f"share/{self.name}": Noise("uniform", "batch"),
            f"choice/{self.name}": Noise("uniform", "each"),
        }

    def equation(self) -> str:
        """As it is printed."""
        symbol = "D_batch" if self.average == "output" else "D_elements"
        return f"{symbol}[{self.model.distribution} ‖ {self.target.distribution}]"

    def loss(self, draws: Draws, critics: Critics) -> Tensor:
        """The cross-entropy of 1 on a batch of the model's: a scalar, or `(B,)`."""
        return self._cross_entropy(critics.score(self.critic, (self.model,)), 1.0)

    def critic_losses(self, draws: Draws, critics: Critics) -> dict[str, Tensor]:
        """The cross-entropy of r on a mixed batch: a scalar, or `(B,)`."""
        is_real = draws.noise[f"choice/{self.name}"] < draws.noise[f"share/{self.name}"]
        real, made = draws[self.target], draws[self.model]
        mixed = torch.where(is_real.reshape(-1, *[1] * (real.ndim - 1)), real, made)
        scores = critics.at(self.critic, mixed)
        return {"mixed": self._cross_entropy(scores, is_real.to(scores.dtype).mean())}

    def _cross_entropy(self, scores: Tensor, share: Tensor | float) -> Tensor:
        if self.average == "element":
            return share * softplus(-scores) + (1 - share) * softplus(scores)
        size = math.log(len(scores))
        real, made = (logsigmoid(t).logsumexp(0) - size for t in (scores, -scores))
        return -share * real - (1 - share) * made
