"""Appendix C of seed 002: auto-encoders as optimal transport, measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from distmatch.metrics import empirical_marginal_kl
from distmatch.metrics.inputs import gaussians
from distmatch.metrics.model import Options
from distmatch.random import own_randomness
from distmatch.reports.style import COLOURS, INK, legend, new_figure, styled
from distmatch.reproduction.framework.experiment import (
    Bench,
    Cell,
    Claim,
    Experiment,
    Numbers,
    Results,
    Scale,
    Withdrawn,
)
from distmatch.reproduction.framework.seed_spread import dots
from distmatch.reproduction.framework.train import train_run
from distmatch.reproduction.framework.verdict import Expected
from distmatch.reproduction.rosca2018.latents import EMPIRICAL_KL, SATURATED
from distmatch.runs.folder import RunFolder
from distmatch.runs.model import Trained, load_trained

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WEIGHTS = (1.0, 100.0, 10_000.0)  # λ, with the cost ‖x - x̂‖² itself
WEAK, MIDDLE, STRONG = (f"wae-mmd, λ = {w:g}" for w in WEIGHTS)
MODELS: dict[str, dict[str, Any]] = {
    **{f"wae-mmd, λ = {w:g}": {"system": "wae-mmd", "system.cost": 1.0, "system.weight": w} for w in WEIGHTS},
    "wae-gan": {"system": "wae-gan", "system.cost": 1.0, "system.weight": 10.0},
    "aae": {"system": "aae", "network.likelihood": "gaussian"},
    "vae": {"system": "vae", "network.likelihood": "gaussian"},
    "vgh++": {"system": "vgh++"},
}
STEPS: dict[Scale, int] = {"smoke": 20, "cpu": 2500, "paper": 100_000}
LIMIT: dict[Scale, int | None] = {"smoke": 500, "cpu": None, "paper": None}
POINTS: dict[Scale, int] = {"smoke": 100, "cpu": 1500, "paper": 10_000}
SETTINGS = {
    "data.name": "gaussians",
    "network.family": "mlp",
    "network.latent": 2,
    "network.posterior": "gaussian",
    "network.width": 64,
    "network.code_width": 64,
    "training.batch_size": 256,
    "training.lr": 1e-3,
    "training.betas": [0.5, 0.9],
    "training.schedule": "linear",
}
THEOREM = "seed 002, appendix C, equation 10"
RELAXED = "seed 002, appendix C, equation 11"
TOLERANCE = 0.01  # of the data's variance: what samples of this size leave open


def transport_cost(a: Tensor, b: Tensor) -> float:
    """min over pairings of the mean of ‖a_i - b_π(i)‖²: W₂² of two samples (n, D), exact.

    >>> transport_cost(torch.tensor([[0.0], [1.0]]), torch.tensor([[1.5], [0.0]]))
    0.125
    """
    costs = torch.cdist(a.double(), b.double()).square().numpy()
    return float(costs[linear_sum_assignment(costs)].mean())


def run(cell: Cell, seed: int, bench: Bench) -> Numbers:
    """Train an auto-encoder of points in the plane; its reconstruction cost, its W_c from the data, its codes."""
    size = {"training.steps": STEPS[bench.scale], "data.limit": LIMIT[bench.scale]}
    path = train_run({**SETTINGS, **MODELS[str(cell["model"])], **size}, seed, bench)
    if path is None:
        return Numbers({"diverged": 1.0})
    trained, _ = load_trained(RunFolder.open(path))
    n = POINTS[bench.scale]
    data = trained.prepared("test", 2 * n)
    with torch.no_grad(), own_randomness(seed):
        codes = trained.encode(data).sample()
    x, half = data[:n], codes[:n]
    samples, prior = trained.sample(2 * n, seed + 1), trained.prior_draws(2 * n, seed + 2)
    values = {
        "cost": float((x - trained.decoded(half)).square().sum(1).mean()),
        "transport": _debiased(data, samples),
        "codes": _debiased(codes, prior),
        "variance": float(data.var(0).sum()),
    }
    if cell["model"] in ("vae", "aae"):
        values |= _surgery(trained, seed)
    return Numbers(values | _by_critic(trained, n, seed))


def _debiased(a: Tensor, b: Tensor) -> float:
    """W₂² of two distributions from 2n draws of each, less what two samples of n of one distribution have between
    them."""
    (a, a2), (b, b2) = a.chunk(2), b.chunk(2)
    return transport_cost(a, b) - (transport_cost(a, a2) + transport_cost(b, b2)) / 2


def _surgery(trained: Trained, seed: int) -> dict[str, float]:
    """R, KL(q̂(z)‖p(z)) and I(x; z) in nats, over the training data."""
    loc, scale = gaussians(trained.as_model(), Options(seed=seed))
    estimates = empirical_marginal_kl(loc, scale, samples=2, evaluate=min(len(loc), 2000), seed=seed)
    return {
        "rate": estimates.rate.value,
        "kl": estimates.empirical_marginal_kl.value,
        "information": estimates.mutual_information.value,
    }


def _by_critic(trained: Trained, n: int, seed: int) -> dict[str, float]:
    """KL(q(z)‖p(z)) = -E_q t, by the system's own critic t = log p/q of codes, where it has one."""
    critic = trained.critics(n, seed).get("code") if trained.critic_nets else None
    if critic is None or not critic.is_log_ratio:
        return {}
    with torch.no_grad():
        return {"kl by critic": -float(critic.score(*critic.model).mean())}


def of(model: str, change: Callable[[Mapping[str, float]], float]) -> Callable[[Results], list[float]]:
    """A function of one model's numbers, for each seed."""
    return lambda results: [change(record.numbers.values) for record in results.of(model=model)]


def excess(v: Mapping[str, float]) -> float:
    """(E c(x, x̂) - W_c) over the data's variance."""
    return (v["cost"] - v["transport"]) / v["variance"]


def _gap(results: Results) -> list[float]:
    pairs = zip(of(STRONG, _codes)(results), of(WEAK, _codes)(results), strict=True)
    return [strong - weak for strong, weak in pairs]


def _codes(v: Mapping[str, float]) -> float:
    return v["codes"]


def _information(results: Results) -> list[float]:
    def value(v: Mapping[str, float]) -> float:
        return v["information"]

    return [a - b for a, b in zip(of("aae", value)(results), of("vae", value)(results), strict=True)]


EXCESS = "(reconstruction cost - W_c between data and samples) over the data's variance"
CLAIMS = (
    *(
        Claim(
            f"With codes that follow the prior, the reconstruction cost bounds W_c(p*, p_G): {model}.",
            THEOREM,
            f"{EXCESS}; {TOLERANCE:g} is what the samples leave open",
            of(model, excess),
            Expected(low=-TOLERANCE),
        )
        for model in (MIDDLE, STRONG)
    ),
    Claim(
        "The bound is reached: minimised under that constraint, the reconstruction cost is W_c.",
        THEOREM,
        f"{EXCESS}, {MIDDLE}",
        of(MIDDLE, excess),
        Expected(high=0.05),
    ),
    Claim(
        "The constraint is needed: where codes do not follow the prior, the cost is below W_c.",
        THEOREM,
        f"{EXCESS}, {WEAK}",
        of(WEAK, excess),
        Expected(high=-TOLERANCE),
    ),
    Claim(
        "The penalty forces the marginal q(z) close to p(z).",
        RELAXED,
        f"W₂² of codes and prior, {STRONG} less {WEAK}",
        _gap,
        Expected(high=0),
    ),
    Claim(
        "Adversarial auto-encoders ignore the mutual information in it.",
        "seed 002, section 4.1",
        "I(x; z), AAE less VAE, nats",
        _information,
        Expected(low=0),
    ),
)
WITHDRAWN = (
    Withdrawn(
        "With a squared cost and D = KL, the objective is the bound of the ELBO surgery less I(x; z): VAE.",
        RELAXED,
        f"|R - {EMPIRICAL_KL} - I(x; z)|, below 0.05 nats",
        "the error of log q(z) is in both estimates and cancels, so that the sum is R whatever they are",
    ),
    Withdrawn(
        "Approximated by a density ratio, the penalty is no meaningful quantity to track.",
        "seed 002, appendix C",
        "|KL(q(z)‖p(z)) by the AAE's own critic - by Monte Carlo| over the latter, above 0.25",
        SATURATED,
    ),
)


@styled
def _plane(results: Results) -> Figure:
    figure, (left, right) = new_figure(1, 2, (4.0, 3.8))
    ends = []
    for i, model in enumerate(MODELS):
        runs = [r.numbers.values for r in results.of(model=model) if "cost" in r.numbers.values]
        if not runs:
            continue
        shares = [[max(v[name] / v["variance"], 1e-4) for v in runs] for name in ("transport", "cost")]
        left.plot(*shares, "o", color=COLOURS[i], ms=5, alpha=0.8, label=model)
        right.plot([max(v["codes"], 1e-4) for v in runs], [excess(v) for v in runs], "o", color=COLOURS[i])
        ends += [*shares[0], *shares[1]]
    if ends:
        line = [min(ends) / 1.5, max(ends) * 1.5]
        left.plot(line, line, color=INK, lw=0.8, ls="--")
    left.set_xscale("log")
    left.set_yscale("log")
    left.set_xlabel("W_c(p*, p_G), share of the data's variance")
    left.set_ylabel("E c(x, x̂), share of the data's variance")
    legend(left)
    right.axhline(0, color=INK, lw=0.8, ls="--")
    right.set_xscale("log")
    right.set_xlabel("W₂² of codes and prior")
    right.set_ylabel("E c(x, x̂) - W_c, share of the variance")
    return figure


@styled
def _nats(results: Results) -> Figure:
    figure, (axes,) = new_figure(1, 1, (4.6, 3.2))
    names = {"rate": "R", "kl": EMPIRICAL_KL, "information": "I(x; z)", "kl by critic": "KL by critic"}
    for i, model in enumerate(("vae", "aae")):
        for place, name in enumerate(names):
            values = [r.numbers.values.get(name, math.nan) for r in results.of(model=model)]
            if any(map(math.isfinite, values)):
                dots(axes, place + 0.25 * i - 0.125, values, COLOURS[i])
        axes.errorbar([], [], yerr=[], fmt="o", color=COLOURS[i], label=model)
    axes.set_xticks(range(len(names)), list(names.values()))
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.set_ylabel("nats")
    legend(axes)
    return figure


def figures(results: Results) -> Mapping[str, Figure]:
    """Cost against transport, with the codes' distance from the prior; and the surgery in nats."""
    return {"transport": _plane(results), "surgery": _nats(results)}


def cells(scale: Scale) -> Sequence[Cell]:
    """One model each."""
    return [{"model": model} for model in MODELS]


OPTIMAL_TRANSPORT = Experiment(
    name="optimal-transport",
    title="Auto-encoders as optimal transport (Appendix C)",
    seed="002",
    about="Five normals in the plane, so that W_c(p*, p_G) for c = ‖x - x′‖² can be computed exactly between samples "
    f"({POINTS['cpu']:,} of each at scale cpu; what two samples of one distribution have between them is taken "
    "off). The theorem: W_c is the least E c(x, G(ẑ)) over all encoders whose codes follow the prior. WAEs with three "
    "weights of the penalty, and the auto-encoding hybrids with the VAE beside them; all posteriors are Gaussian, "
    "since a deterministic encoder would have to tear five clusters apart to fill the prior. The document states this "
    "and measures nothing.",
    cells=cells,
    run=run,
    claims=CLAIMS,
    figures=figures,
    withdrawn=WITHDRAWN,
)
