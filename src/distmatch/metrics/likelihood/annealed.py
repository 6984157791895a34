"""log p(x) by annealed importance sampling: a bound from below, and on simulated data one from above."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from types import MappingProxyType

import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal
from torch.utils.flop_counter import FlopCounterMode

from distmatch.errors import BadInput, unknown
from distmatch.metrics.checks import as_distribution, at_least, checked
from distmatch.metrics.declaration import metric
from distmatch.metrics.edge import called, encoded, log_density
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.inputs import held_out, load
from distmatch.metrics.likelihood.hamiltonian import ACCEPTANCE, Path, anneal, pilot_steps
from distmatch.metrics.model import Model, Options, Result
from distmatch.random import own_randomness

STEEPNESS = 4.0  # δ of the sigmoid schedule
APART = 1_000_003  # added to the seed of simulated data, so that annealing at that seed draws other numbers
PILOT = 4  # one pilot chain for this many chains, at least one


@dataclass(frozen=True)
class AnnealedLogLikelihood:
    """The result of `annealed_log_likelihood`, in nats per example.

    Attributes:
        lower: in expectation at most log p(x).
        upper: in expectation at least log p(x); None where no exact posterior draws were given.
        gap: upper - lower on the same examples, so with a smaller error than either; None likewise.
        acceptance: of the transitions, mean over examples; much below 0.65, the bounds are loose.
    """

    lower: Estimate
    upper: Estimate | None
    gap: Estimate | None
    acceptance: Estimate


@dataclass(frozen=True)
class Simulated:
    """Examples x (n, *) of a model with the codes (n, D) that made them: exact draws of p(z|x)."""

    x: Tensor
    codes: Tensor


def sigmoid_schedule(temperatures: int) -> Tensor:
    """β_t ∝ σ(δ(2t/T - 1)), shifted and scaled to run from 0 to 1, (T + 1,); dense at both ends."""
    raw = torch.sigmoid(STEEPNESS * torch.linspace(-1, 1, temperatures + 1, dtype=torch.float64))
    return (raw - raw[0]) / (raw[-1] - raw[0])


def linear_schedule(temperatures: int) -> Tensor:
    """β_t = t/T, (T + 1,)."""
    return torch.linspace(0, 1, temperatures + 1, dtype=torch.float64)


SCHEDULES: Mapping[str, Callable[[int], Tensor]] = MappingProxyType(
    {"sigmoid": sigmoid_schedule, "linear": linear_schedule}
)


def annealed_log_likelihood(
    decoder: Callable[..., Distribution],
    x: Tensor,
    latent: int,
    prior: Distribution | None = None,
    *,
    encoder: Callable[..., Distribution] | None = None,
    y: Tensor | None = None,
    codes: Tensor | None = None,
    temperatures: int = 500,
    schedule: str = "sigmoid",
    chains: int = 16,
    leapfrog: int = 10,
    batch_size: int = 512,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> AnnealedLogLikelihood:
    """log p(x) through a path of distributions from π(z) to p(z|x), with Hamiltonian transitions.

        f_t(z) = π(z)^(1-β_t) · [p(z) p(x|z)]^β_t,   0 = β_0 < ... < β_T = 1,   π = p(z), or q(z|x)
        log w = Σ_t (β_t - β_{t-1}) [log p(x, z_{t-1}) - log π(z_{t-1})],   z_t ~ T_t(·|z_{t-1}) leaving f_t

    Started at π, E w = p(x), so log mean_chains w bounds log p(x) from below in expectation. Started at an
    exact draw of p(z|x) and run backwards, E 1/w = 1/p(x): a bound from above. Such draws exist for data that
    the model made itself (`simulate`): there the gap says how far off the lower bound can be. Step sizes are
    found for each example and temperature by pilot chains of their own, and then kept: adapting them within
    the chains that are weighted would break both bounds. Errors are over examples.

    Args:
        decoder: decoder(z), or decoder(z, y), returns p(x|z), differentiable in z. Nets in evaluation mode;
            their parameters get no gradients.
        x: (n, *), n ≥ 2; y: (n, *) labels.
        latent: D, the size of z.
        prior: p(z) over (D,) with batch shape (); None for N(0, I).
        encoder: encoder(x) or encoder(x, y) returns q(z|x), then the path starts there.
        codes: (n, D), the draws z ~ p(z) from which x ~ p(x|z) was drawn; then there is an upper bound too.
        temperatures: T; schedule: one of `SCHEDULES`; chains: for each example; leapfrog: steps a transition.
        batch_size: examples times chains at once.
        progress: called with the share that is done.

    Raises:
        BadInput: shapes, NaN, counts below one, a schedule that is not known, a decoder without gradients,
            a starting point of no density. What a density raises passes through.

    Reference: Neal, Annealed importance sampling (physics/9803008); Wu et al. 1611.04273 (decoders, schedule);
    Grosse, Ghahramani and Adams 1511.02543 (bounds from both sides).

    >>> def decoder(z): return Independent(Normal(z, 1.0), 1)
    >>> simulated = simulate(decoder, 20, latent=1)
    >>> bounds = annealed_log_likelihood(decoder, simulated.x, 1, codes=simulated.codes, temperatures=30, chains=4)
    >>> truth = float(Normal(0.0, 2**0.5).log_prob(simulated.x).mean())
    >>> abs(bounds.lower.value - truth) < 0.1 and abs(bounds.upper.value - truth) < 0.1
    True
    """
    _check(x, y, codes, latent, schedule)
    at_least(1, chains=chains, leapfrog=leapfrog, batch_size=batch_size)
    at_least(2, temperatures=temperatures)
    betas = SCHEDULES[schedule](temperatures).tolist()
    size = max(1, batch_size // chains)
    passes = (2 if codes is None else 3) * math.ceil(len(x) / size) * (temperatures - 1)
    tick = _ticker(progress, passes)
    bounds = []
    with torch.no_grad(), own_randomness(seed):
        for start in range(0, len(x), size):
            part = slice(start, start + size)
            label, exact = None if y is None else y[part], None if codes is None else codes[part]
            path = partial(_path, decoder, encoder, prior, x[part], label, latent)
            bounds.append(_both_ways(path, exact, betas, chains, leapfrog, tick))
    lower, upper, acceptance = (torch.cat(values) for values in zip(*bounds, strict=True))
    how = f"annealed importance sampling from {'q(z|x)' if encoder else 'the prior'}: {temperatures} " + (
        f"{schedule} temperatures, {chains} chains, {leapfrog} leapfrog steps; error over examples"
    )
    return _result(lower, None if codes is None else upper, acceptance, how)


def simulate(
    decoder: Callable[..., Distribution],
    n: int,
    latent: int,
    prior: Distribution | None = None,
    *,
    y: Tensor | None = None,
    batch_size: int = 512,
    seed: int = 0,
) -> Simulated:
    """z ~ p(z), x ~ p(x|z): data whose codes are exact posterior draws, for bounds from both sides.

    `decoder(z).sample()` must draw from the distribution that its `log_prob` scores: one that rounds or clips its
    draws makes the upper bound of `annealed_log_likelihood` wrong by that much.

    Args:
        n: how many, at least 2; latent, prior: as there; y: (n, *) labels.

    Raises:
        BadInput: counts too small, labels that do not fit, something other than a distribution returned.

    >>> simulate(lambda z: Independent(Normal(z, 1.0), 1), 5, latent=3).x.shape
    torch.Size([5, 3])
    """
    at_least(2, n=n)
    at_least(1, latent=latent, batch_size=batch_size)
    if y is not None and len(y) != n:
        raise BadInput(f"y has {len(y)} labels for {n} examples")
    examples = []
    with torch.no_grad(), own_randomness(seed + APART):
        z = (_standard_normal(latent, torch.zeros(1)) if prior is None else prior).sample(torch.Size((n,)))
        for start in range(0, n, batch_size):
            part = slice(start, start + batch_size)
            label = () if y is None else (y[part],)
            examples.append(as_distribution(decoder(z[part], *label), "the decoder").sample())
    return Simulated(torch.cat(examples), z)


def _path(
    decoder: Callable[..., Distribution],
    encoder: Callable[..., Distribution] | None,
    prior: Distribution | None,
    x: Tensor,
    y: Tensor | None,
    latent: int,
    copies: int,
) -> tuple[Path, Tensor]:
    """The path for `copies` chains of each example, and where they start, (copies·B, D)."""
    rows, repeated = len(x) * copies, x.repeat(copies, *[1] * (x.ndim - 1))
    label = () if y is None else (y.repeat(copies, *[1] * (y.ndim - 1)),)
    p = _standard_normal(latent, x) if prior is None else prior
    start = p if encoder is None else encoded(encoder, repeated, *label)
    z = start.sample(torch.Size((rows,))) if encoder is None else start.sample()
    if z.shape != (rows, latent):
        raise BadInput(
            f"codes of {rows} rows have shape {tuple(z.shape)}; latent = {latent} asks for rows of it"
        )
    try:
        scale = start.stddev.expand_as(z)
    except NotImplementedError:
        scale = torch.ones_like(z)

    def likelihood(z: Tensor) -> Tensor:
        return log_density(called(decoder, "the decoder", z, *label), repeated)

    return Path(start, p, likelihood, scale), z


def _both_ways(
    path: Callable[[int], tuple[Path, Tensor]],
    exact: Tensor | None,
    betas: list[float],
    chains: int,
    leapfrog: int,
    tick: Callable[[], None],
) -> tuple[Tensor, Tensor, Tensor]:
    """Lower bounds, upper bounds (empty without exact codes (B, D)) and acceptance rates of a batch, (B,) each."""
    steps = pilot_steps(*path(max(1, chains // PILOT)), betas, leapfrog, max(1, chains // PILOT), tick)
    steps = steps.repeat(1, chains)
    forward, rate = anneal(*path(chains), betas, steps, leapfrog, tick)
    upper = forward.new_empty(0)
    if exact is not None:
        there, like = path(chains)
        codes = exact.to(like).repeat(chains, 1)
        backward, _ = anneal(there, codes, betas[::-1], steps.flip(0), leapfrog, tick)
        upper = -_log_mean(backward, chains)
    return _log_mean(forward, chains), upper, rate.reshape(chains, -1).mean(0)


def _standard_normal(latent: int, like: Tensor) -> Distribution:
    kind = like.dtype if like.is_floating_point() else torch.get_default_dtype()
    zeros = torch.zeros(latent, dtype=kind, device=like.device)
    return Independent(Normal(zeros, torch.ones_like(zeros)), 1)


def _log_mean(log_weights: Tensor, chains: int) -> Tensor:
    """log of the mean over chains, (chains·B,) -> (B,)."""
    return log_weights.reshape(chains, -1).logsumexp(0) - math.log(chains)


def _result(lower: Tensor, upper: Tensor | None, acceptance: Tensor, how: str) -> AnnealedLogLikelihood:
    unit = "nats per example"
    return AnnealedLogLikelihood(
        lower=Estimate.mean(lower, unit, f"a lower bound in expectation; {how}"),
        upper=None if upper is None else Estimate.mean(upper, unit, f"an upper bound in expectation; {how}"),
        gap=None if upper is None else Estimate.mean(upper - lower, unit, f"upper less lower bound; {how}"),
        acceptance=Estimate.mean(acceptance, how=f"of Hamiltonian transitions; aimed at {ACCEPTANCE}; {how}"),
    )


def _check(x: Tensor, y: Tensor | None, codes: Tensor | None, latent: int, schedule: str) -> None:
    checked(x.flatten(1) if x.ndim > 1 else x, "x", "n, *" if x.ndim > 1 else "n", dtype=None)
    at_least(1, latent=latent)
    if schedule not in SCHEDULES:
        raise unknown("schedule", schedule, SCHEDULES)
    if y is not None and len(y) != len(x):
        raise BadInput(f"y has {len(y)} labels for {len(x)} examples")
    if codes is not None and checked(codes, "codes", "n, D").shape != (len(x), latent):
        raise BadInput(f"codes must have shape ({len(x)}, {latent}); got {tuple(codes.shape)}")


def _ticker(progress: Callable[[float], None] | None, total: int) -> Callable[[], None]:
    """Return a function that counts transitions and reports the share that is done."""
    done = count(1)

    def tick() -> None:
        share = next(done) / total
        if progress is not None:
            progress(min(1.0, share))

    return tick


ANNEALED, CHAINS, TEMPERATURES, LEAPFROG = 32, 4, 250, 4  # of the metric
WORK, FEWEST = 5e11, 4  # operations of the decoder's calls, forward; and examples at least, at any cost


@metric(
    "annealed_log_likelihood",
    question="How likely is held-out data, whatever the encoder misses?",
    needs=("decode", "has_likelihood", "latent", "test"),
    reference="Wu et al., 1611.04273; Grosse et al., 1511.02543",
    better={"annealed_log_likelihood": "higher", "annealed_gap": "lower", "annealed_acceptance": ""},
    quick=False,
)
def measure(model: Model, options: Options) -> Result:
    """A lower bound on a few held-out examples, and how far it can be off: the gap on data the model made."""
    decode, latent = model.decode, model.latent
    assert decode is not None
    assert latent is not None

    def decoder(z: Tensor, y: Tensor | None = None) -> Distribution:
        return decode(z, y)

    count = min(_affordable(model, latent), max(2, options.samples))
    x, y = held_out(model, replace(options, samples=count))
    simulated = simulate(decoder, len(x), latent, model.prior, y=y, seed=options.seed)
    anneal = partial(
        annealed_log_likelihood,
        decoder,
        latent=latent,
        prior=model.prior,
        y=y,
        temperatures=TEMPERATURES,
        chains=CHAINS,
        leapfrog=LEAPFROG,
        seed=options.seed,
    )
    held = anneal(x, progress=_share(options, 0.0, 0.4))
    own = anneal(simulated.x.to(x), codes=simulated.codes, progress=_share(options, 0.4, 0.6))
    assert own.gap is not None
    return Result(
        {
            "annealed_log_likelihood": held.lower,
            "annealed_gap": own.gap.explained(
                f"upper less lower bound on {len(x)} examples that the model made: how far the lower one may be off"
            ),
            "annealed_acceptance": held.acceptance,
        }
    )


def _affordable(model: Model, latent: int) -> int:
    """Number of examples to anneal: fewer where the decoder is costly, by the operations of one call."""
    assert model.decode is not None
    labels = load(model.test_labels)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.decode(torch.zeros(1, latent), None if labels is None else labels[:1])
    calls = 3 * CHAINS * TEMPERATURES * LEAPFROG  # forward, and on simulated data both ways
    return max(FEWEST, min(ANNEALED, int(WORK / calls / max(1, counter.get_total_flops()))))


def _share(options: Options, before: float, width: float) -> Callable[[float], None] | None:
    """Progress of one part of the work."""
    progress = options.progress
    return None if progress is None else lambda done: progress(before + width * done)
