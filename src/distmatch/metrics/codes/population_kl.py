"""KL(q(z)‖p(z)) of the population's q(z), between two bounds from codes of held-out data."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from distmatch.errors import BadInput, unknown
from distmatch.metrics.checks import as_distribution, at_least, checked
from distmatch.metrics.codes.density_models import DENSITY_MODELS, DensityFit, fit_gaussian, fit_standardised
from distmatch.metrics.codes.mixture import log_mixture
from distmatch.metrics.codes.posterior_kl import log_mixture_of, standard_normal, with_events
from distmatch.metrics.codes.surgery import NEAR, density_of
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.inputs import FITTED_CODES, check_prior, held_out, training
from distmatch.metrics.model import Model, Options, Result
from distmatch.random import own_randomness, seeded

FITTING, WEIGHING = 0.3, 0.1  # shares of the held-out codes that densities are fitted to, and weighed by; the
# others are for the estimate
FEWEST = 20  # held-out data at least
VALIDATION = 0.125  # share of the codes of a fit that stops it
FIT_WORK = 20_000_000  # entries (codes × coordinates × components) of the mixture that is fitted, at most
WORK = 20_000_000_000  # multiplications for a mixture of Gaussian posteriors, at most: some seconds ...
PAIRS = 2_000_000  # ... and pairs of a code and a posterior of another family
EM_STEPS = 100


@dataclass(frozen=True)
class PopulationKL:
    """The result of `population_marginal_kl`, in nats.

    Attributes:
        population_marginal_kl: a lower bound in expectation, short of KL(q(z)‖p(z)) by KL(q‖m).
        upper: KL of the mixture of the held-out posteriors, an upper bound in expectation; None where they have no
            density.
        weights: the share of each density in m.
    """

    population_marginal_kl: Estimate
    upper: Estimate | None
    weights: Mapping[str, float]

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Interval for KL(q(z)‖p(z)) at this level or more: the lower bound's low end (or 0) to the upper's high one.

        >>> bounds = PopulationKL(Estimate(1.0, 0.1, 1000), Estimate(3.0, 0.1, 1000), {})
        >>> [round(end, 1) for end in bounds.interval()]
        [0.8, 3.2]
        """
        low = max(0.0, self.population_marginal_kl.interval(level)[0])
        return low, math.inf if self.upper is None else max(low, self.upper.interval(level)[1])


def population_marginal_kl(
    posterior: Callable[[Any], Distribution],
    x: Tensor | Sequence[Any],
    training: Tensor | Sequence[Any],
    prior: Distribution | None = None,
    *,
    models: Sequence[str] = ("mixture",),
    fit: DensityFit | None = None,
    batch_size: int = 256,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> PopulationKL:
    """KL(q(z)‖p(z)) for q(z) = E q(z|x) over the population of x, of which held-out x are known: two bounds.

        E_q[log m(z) - log p(z)] = KL(q(z)‖p(z)) - KL(q(z)‖m(z)) ≤ KL(q(z)‖p(z)) ≤ E KL(1/N Σ_n q(z|x_n)‖p(z)) ≤ R

    On the left m is any density that was made without these codes. Here m = Σ_k w_k m_k, of the mixture of the
    training posteriors, a Gaussian and density models that were fitted to training codes, the same fitted to three
    tenths of the held-out codes (which an encoder may place elsewhere), and p(z) itself, which keeps the bound from
    falling far below 0; the weights are the likeliest ones (by expectation-maximisation) for a tenth of the held-out
    codes, and the value is the mean over the others, with its error over these. On the right is Jensen's inequality:
    KL of the mixture of N held-out posteriors, own component included. It is about R - ln N where posteriors are
    narrow, and then far above.

    When it lies: the value is short of KL by what no density has found. Where it lies within its error of 0 nothing
    was found, and KL may be anything up to `upper`; `interval` says so. Neither bound holds if the encoder has seen
    the held-out data.

    Args:
        posterior: batch of n data -> q(z|x), as for `empirical_marginal_kl_of`; without a density (a point, or
            implicit) there are neither `upper` nor the training posteriors' mixture.
        x: (N, *) held-out data, N ≥ 20; training: (T, *), what m is made of. Each may be a sequence of batches,
            passed as they are, in random order.
        prior: p(z), batch shape (); None for N(0, I).
        models: keys of `DENSITY_MODELS`, fitted as `fit` says; the mixture takes fewer components where codes are
            large.
        progress: called with the share that is done, 0 to 1.

    Raises:
        BadInput: too few data, NaN, an unknown model, a prior or posteriors of other shapes, a coordinate of the codes
            that does not vary, codes where p(z) = 0 (then KL is infinite). What the posterior raises passes through.

    Reference: Rosca, Lakshminarayanan and Mohamed, 1802.06847, Algorithm 4 (densities); Smyth and Wolpert, Linearly
    Combining Density Estimators via Stacking (1999); Hoffman and Johnson, ELBO surgery (2016).

    >>> def posterior(x): return Normal(x, 0.01)                                 # q(z) = N(1, I): KL is D/2
    >>> x = 1 + torch.randn(4000, 2, generator=seeded(0))
    >>> bounds = population_marginal_kl(posterior, x[:2000], x[2000:])
    >>> abs(bounds.population_marginal_kl.value - 1) < 0.1, round(bounds.upper.value - 2.81)   # R - ln N = 2.81
    (True, 0)
    """
    for name in models:
        if name not in DENSITY_MODELS:
            raise unknown("density model", name, DENSITY_MODELS)
    at_least(1, batch_size=batch_size)
    fit = dataclasses.replace(fit or DensityFit(), seed=seed)
    with torch.no_grad(), own_randomness(seed):
        held_out = _Aggregate.of(posterior, x, batch_size, seed)
        known = _Aggregate.of(posterior, training, batch_size, seed)
        if held_out.total < FEWEST:
            raise BadInput(f"there are {held_out.total} held-out data; give at least {FEWEST}")
        p = standard_normal(held_out.distributions[0]) if prior is None else prior
        codes, log_code = held_out.drawn()
        log_p = checked(density_of(p, codes), "log p(z) of the codes", "N")
        upper = None if log_code is None else _upper(held_out, codes, log_code, log_p)
        if progress is not None:
            progress(0.2)
        densities, own = {"p(z)": log_p}, codes[: round(FITTING * len(codes))]
        for place, (source, fitted) in enumerate({"training": known.drawn()[0], "held-out": own}.items()):
            log_densities = _fitted(fitted, codes, models, fit)
            densities |= {f"{name} of {source} codes": log_m for name, log_m in log_densities.items()}
            if progress is not None:
                progress(0.5 + 0.3 * place)
        if log_code is not None:
            densities["training posteriors"] = known.at_most(len(codes)).log_density(codes)
    if progress is not None:
        progress(1.0)
    return _stacked(densities, log_p, upper)


@dataclass(frozen=True)
class _Aggregate:
    """The mixture of the posteriors of some data, batch by batch."""

    distributions: Sequence[Distribution]

    @classmethod
    def of(cls, posterior: Callable[[Any], Distribution], x: Any, size: int, seed: int) -> _Aggregate:
        """The mixture of the posteriors of x, in random order where x is a tensor."""
        if isinstance(x, Tensor):
            x = x[torch.randperm(len(x), generator=seeded(seed)).to(x.device)].split(size)
        return cls([with_events(as_distribution(posterior(batch), "the posterior")) for batch in x])

    @property
    def total(self) -> int:
        return sum(distribution.batch_shape[0] for distribution in self.distributions)

    def drawn(self) -> tuple[Tensor, Tensor | None]:
        """One code of each, (N, *event), and log q(z|x) of each, (N,), where it can be computed."""
        codes = [distribution.sample() for distribution in self.distributions]
        try:
            densities = [
                distribution.log_prob(z).double()
                for distribution, z in zip(self.distributions, codes, strict=True)
            ]
        except (BadInput, NotImplementedError):
            return torch.cat(codes), None
        return torch.cat(codes), checked(torch.cat(densities), "log q(z|x)", "N")

    def gaussians(self) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation, (N, D) each; None where some posterior is not a diagonal Gaussian."""
        parts = []
        for distribution in self.distributions:
            while isinstance(distribution, Independent):
                distribution = distribution.base_dist
            if not isinstance(distribution, Normal):
                return None
            parts.append((distribution.loc.flatten(1), distribution.scale.flatten(1)))
        loc, scale = (torch.cat(part) for part in zip(*parts, strict=True))
        return loc, scale

    def cost(self) -> float:
        """Cost of scoring one code, as a share of the most work allowed."""
        gaussians = self.gaussians()
        return self.total / PAIRS if gaussians is None else (2 * gaussians[0].numel() + self.total) / WORK

    def at_most(self, codes: int) -> _Aggregate:
        """The mixture of as many batches as allow that number of codes to be scored, at least one."""
        share = 1 / (codes * self.cost())
        return (
            self
            if share >= 1
            else _Aggregate(self.distributions[: max(1, int(share * len(self.distributions)))])
        )

    def log_density(self, codes: Tensor, own: Tensor | None = None, log_code: Tensor | None = None) -> Tensor:
        """log 1/N Σ_n q(z|x_n), (M,) float64, where code m was drawn from component own[m], if from any."""
        gaussians = self.gaussians()
        if gaussians is None:
            return log_mixture_of(self.distributions, codes, log_code, own)
        return log_mixture(codes.flatten(1).double(), *gaussians, own)


def _upper(mixture: _Aggregate, codes: Tensor, log_code: Tensor, log_p: Tensor) -> Estimate:
    """KL of the held-out posteriors' mixture. Its value depends on each datum by E log q̂(z)/p(z) over its codes, to
    first order: so its error over data and draws is that of a mean."""
    part = mixture.at_most(min(mixture.total, FEWEST * 10))
    total = part.total
    count = min(total, max(FEWEST * 10, int(1 / part.cost())))
    rows = torch.arange(count, device=codes.device)
    gaps = part.log_density(codes[:count], rows, log_code[:count]) - log_p[:count]
    rate = float((log_code - log_p).mean())
    how = f"KL of the mixture of N = {total} held-out posteriors: an upper bound of the population's in expectation"
    if rate > math.log(total) - NEAR:
        how += f"; WARNING: R = {rate:.4g} > ln N - {NEAR:g}, so it is about R - ln N and may be far too high"
    return Estimate.mean(gaps, "nats", how)


def _fitted(training: Tensor, codes: Tensor, models: Sequence[str], fit: DensityFit) -> dict[str, Tensor]:
    """log m(z) at the codes of every density model, (N,) each."""
    training, codes = checked(training.flatten(1), "the codes", "T, D"), codes.flatten(1).double()
    components = max(1, min(fit.components, FIT_WORK // training.numel()))
    fit = dataclasses.replace(fit, components=components)
    stop = max(1, round(VALIDATION * len(training)))
    log_densities = {}
    with torch.enable_grad():
        for name, fitter in {"gaussian": fit_gaussian, **{k: DENSITY_MODELS[k] for k in models}}.items():
            log_densities[name] = fit_standardised(fitter, training[stop:], training[:stop], fit)(codes)
            if log_densities[name].isnan().any():
                raise BadInput(
                    f"the density model {name} gives codes no density; lower lr or give more codes"
                )
    return log_densities


def _stacked(densities: Mapping[str, Tensor], log_p: Tensor, upper: Estimate | None) -> PopulationKL:
    """The mixture of the densities that is likeliest for some codes, scored on the others."""
    table = torch.stack(list(densities.values()), 1)
    fitted, first = round(FITTING * len(table)), round((FITTING + WEIGHING) * len(table))
    weights = stacking_weights(table[fitted:first])
    gaps = (table[first:] + weights.log()).logsumexp(1) - log_p[first:]
    lower = Estimate.mean(gaps, "nats")
    shares = dict(zip(densities, weights.tolist(), strict=True))
    named = " + ".join(f"{share:.2g} {name}" for name, share in shares.items() if share >= 0.005)
    how = f"E log m - log p over held-out codes, m = {named}: a lower bound in expectation, short of KL by KL(q‖m)"
    ceiling = (
        "" if upper is None else f" up to the upper bound, {upper.value:.4g} ± {upper.standard_error:.1g}"
    )
    if lower.interval()[0] <= 0:
        how += f"; within its error of 0: no difference was found, and KL may be anything{ceiling}"
    elif upper is not None:
        how += f"; KL may be anything from it{ceiling}"
    return PopulationKL(lower.explained(how), upper, shares)


def stacking_weights(log_densities: Tensor) -> Tensor:
    """The weights (K,) of densities, log m_k(z_i) (n, K) with a finite first column, whose mixture is likeliest.

    By expectation-maximisation, with one code more that is the first one's: so its weight is at least 1/(n + 1).

    >>> stacking_weights(torch.tensor([[0.0, 9.0], [0.0, -torch.inf]])).round(decimals=2)
    tensor([0.6700, 0.3300])
    """
    n, k = log_densities.shape
    weights = log_densities.new_full((k,), 1 / k)
    extra = torch.eye(k, dtype=weights.dtype, device=weights.device)[0]
    for _ in range(EM_STEPS):
        weights = ((log_densities + weights.log()).softmax(1).sum(0) + extra) / (n + 1)
    return weights


QUICK_FIT = DensityFit(components=16)


@metric(
    "population_marginal_kl",
    question="Do codes of any data of the kind, taken together, follow the prior?",
    needs=("encode", "train", "test"),
    reference="Rosca et al., 1802.06847, Algorithm 4, with the training posteriors among the densities",
    better={"population_marginal_kl": "lower", "population_marginal_kl_upper": ""},
)
def measure(model: Model, options: Options) -> Result:
    """Bounds from held-out codes, by densities that know at most 10,000 training data."""
    encode = model.encode
    assert encode is not None
    check_prior(model)
    known = training(model, min(FITTED_CODES, options.samples), options)
    bounds = population_marginal_kl(
        lambda batch: encode(*batch),
        _batches(*held_out(model, options), options),
        _batches(*known, options),
        model.prior,
        fit=QUICK_FIT,
        seed=options.seed,
        progress=options.progress,
    )
    upper = {} if bounds.upper is None else {"population_marginal_kl_upper": bounds.upper}
    return Result({"population_marginal_kl": bounds.population_marginal_kl, **upper})


def _batches(x: Tensor, y: Tensor | None, options: Options) -> list[tuple[Tensor, Tensor | None]]:
    """Data with their labels, in random order."""
    order = torch.randperm(len(x), generator=seeded(options.seed)).to(x.device)
    return [(x[rows], None if y is None else y[rows]) for rows in order.split(options.batch_size)]
