"""KL(q(z)‖p(z)) by a classifier's density ratio (Algorithm 3)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributions import Distribution
from torch.nn import functional as F

from distmatch.errors import BadInput
from distmatch.metrics.checks import at_least, checked
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.inputs import held_out_codes
from distmatch.metrics.model import Model, Options, Result
from distmatch.random import own_randomness, seeded

Codes = Tensor | Callable[[int, int], Tensor]

HELD_OUT = 0.2  # the share of given codes that is kept for the estimate ...
HELD_OUT_DRAWS = 5_000  # ... and how many are drawn where codes can be drawn
PRIOR_DRAWS = 50_000  # of the prior for the lower bound, or fewer ...
ENTRIES = 50_000_000  # ... as draws × coordinates are at most this
REACH = 4.0  # nats: scores in the bound are cut at ln(draws) less this, so that its mean rests on more than one draw
POOL = 100  # batches drawn at once
CAUTION = (
    "never to be used alone: a classifier sees what it has learned to see, so this is too low where codes and "
    "prior overlap little or D is large, and can explode with noise in its activations"
)


@dataclass(frozen=True)
class RatioKL:
    """The result of `marginal_kl_by_ratio`, in nats.

    Attributes:
        mean_score: E_q t, the figure of Algorithm 3. It bounds nothing: t may be too large as well as too small.
        lower: a lower bound of KL(q(z)‖p(z)) in expectation, for any t.
    """

    mean_score: Estimate
    lower: Estimate


class NoisyClassifier(nn.Sequential):
    """A leaky-ReLU (0.2) perceptron from a code (D,) to one logit, with Gaussian noise and dropout after every
    hidden layer while it trains.

    >>> NoisyClassifier(3, layers=2, width=8, noise=0.1)(torch.zeros(5, 3)).shape
    torch.Size([5])
    """

    def __init__(
        self, latent: int, layers: int = 3, width: int = 256, noise: float = 0.0, dropout: float = 0.0
    ) -> None:
        parts: list[nn.Module] = []
        for size in [latent, *[width] * (layers - 1)]:
            parts += [nn.Linear(size, width), nn.LeakyReLU(0.2), GaussianNoise(noise), nn.Dropout(dropout)]
        super().__init__(*parts, nn.Linear(width, 1), nn.Flatten(0))


class GaussianNoise(nn.Module):
    """h + scale·ε with ε ~ N(0, I) while training, h otherwise.

    >>> GaussianNoise(1.0).eval()(torch.ones(2))
    tensor([1., 1.])
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, h: Tensor) -> Tensor:
        """(*) -> (*)."""
        return h + self.scale * torch.randn_like(h) if self.training and self.scale else h


def marginal_kl_by_ratio(
    codes: Codes,
    prior: Distribution | None = None,
    *,
    layers: int = 3,
    width: int = 256,
    noise: float = 0.0,
    penalty: float = 0.0,
    dropout: float = 0.0,
    steps: int = 2_000,
    batch_size: int = 256,
    lr: float = 2e-4,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> RatioKL:
    """KL(q(z)‖p(z)) ≈ E_q t(z), in nats, for the logit t of a classifier of codes (1) against the prior (0).

        t = argmin E_q softplus(-t) + E_p softplus(t) + penalty · E (‖∇t(ẑ)‖ - 1)²,   t* = log q/p
        E_q s - E_p e^s + 1 ≤ KL(q(z)‖p(z))   for any s, here t less ln E_p e^t, cut where e^s would be rare

    where ẑ lies between a code and a prior draw (once for each pair). Adam with betas (0.5, 0.9); means are over
    codes and prior draws that were not trained on, without noise or dropout; those that ln E_p e^t is estimated
    with are others than those of the bound.

    When it lies: E_q t does always to some degree, to either side, and its standard error, which is over held-out
    codes for the one classifier that was trained, does not show it. Where codes and prior are easily told apart,
    cross-entropy is near zero long before t is as large as log q/p: KLs beyond about ln(number of codes) cannot be
    seen at all. So it may be compared between models, never quoted alone: look at `population_marginal_kl` beside
    it. The lower bound is one in expectation, but cannot pass ln(prior draws) - 4, about 6 nats.

    Args:
        codes: (n, D) draws of q(z), one for each datum, n ≥ 10, of which a fifth is held out; or a sampler
            (n, seed) -> codes, which gives fresh ones for every step.
        prior: p(z), batch shape (); None for N(0, I).
        layers, width: hidden layers and their units.
        noise: standard deviation of Gaussian noise added to every hidden activation while training.
        penalty: weight of the gradient penalty; dropout: probability, after every hidden layer.

    Raises:
        BadInput: shapes, NaN, counts below one, a share or weight out of range, a classifier that diverged.

    Reference: Rosca, Lakshminarayanan and Mohamed, 1802.06847, Algorithm 3; Sugiyama et al., Density Ratio
    Estimation in Machine Learning (2012); Gulrajani et al., 1704.00028, for the penalty; Nguyen, Wainwright and
    Jordan, 0809.0853, for the bound; McAllester and Stratos, 1811.04251, for its reach.

    >>> z = 1 + torch.randn(2000, 2, generator=seeded(0))         # KL(N(1, I)‖N(0, I)) = 1
    >>> kl = marginal_kl_by_ratio(z, width=32, steps=150, lr=2e-3)
    >>> 0.7 < kl.mean_score.value < 1.2, kl.lower.interval()[0] < 1
    (True, True)
    """
    at_least(1, layers=layers, width=width, steps=steps, batch_size=batch_size)
    if not (noise >= 0 and penalty >= 0 and 0 <= dropout < 1 and lr > 0):
        raise BadInput(
            f"noise, penalty and lr must not be negative, and dropout must lie in [0, 1); got {noise}, "
            f"{penalty}, {lr} and {dropout}"
        )
    held_out, batches = _split(codes, batch_size, seed)
    with own_randomness(seed):
        net = NoisyClassifier(held_out.shape[1], layers, width, noise, dropout).to(held_out)
        adam = torch.optim.Adam(net.parameters(), lr=lr, betas=(0.5, 0.9))
        for step in range(steps):
            code = next(batches)
            loss = _loss(net, code, _prior_draws(prior, code), penalty)
            adam.zero_grad()
            loss.backward()
            adam.step()
            if progress is not None:
                progress((step + 1) / steps)
        with torch.no_grad():
            score, drawn = net.eval()(held_out).double(), _prior_scores(net, prior, held_out)
    if not (score.isfinite().all() and drawn.isfinite().all()):
        raise BadInput("the classifier diverged; lower lr or noise")
    how = f"classifier of {layers}×{width}, {steps} steps, on held-out codes"
    return RatioKL(
        Estimate.mean(score, "nats", f"{how}; no bound; {CAUTION}"), lower_bound(score, drawn, how)
    )


def lower_bound(codes: Tensor, drawn: Tensor, how: str = "") -> Estimate:
    """E_q s - E_p e^s + 1 ≤ KL(q‖p) from any scores t at codes (n,) and at draws of the prior (m,), in nats.

    s = min(t - c, ln(m/2) - 4), with c = ln E_p e^t over the first half of the draws; E_p e^s is over the second.

    >>> lower_bound(torch.zeros(10), torch.zeros(1000)).value
    0.0
    """
    first, second = drawn.double().chunk(2)
    shift, most = first.logsumexp(0) - math.log(len(first)), math.log(len(second)) - REACH
    s, e = (codes.double() - shift).clamp(max=most), (second - shift).clamp(max=most).exp()
    error = math.sqrt(float(s.var()) / len(s) + float(e.var()) / len(e))
    how = f"{how}; a lower bound in expectation, of at most {most:.1f} nats"
    return Estimate(float(s.mean() - e.mean()) + 1, error, len(s), "nats", how)


def _prior_scores(net: nn.Module, prior: Distribution | None, like: Tensor) -> Tensor:
    """Scores of fresh prior draws, (m,)."""
    m = max(2 * POOL, min(PRIOR_DRAWS, ENTRIES // like.shape[1]))
    step = max(1, min(m, ENTRIES // (10 * like.shape[1])))
    parts = [like.new_empty(min(step, m - i), like.shape[1]) for i in range(0, m, step)]
    return torch.cat([net(_prior_draws(prior, part)) for part in parts]).double()


def _loss(net: nn.Module, code: Tensor, drawn: Tensor, penalty: float) -> Tensor:
    loss = F.softplus(-net(code)).mean() + F.softplus(net(drawn)).mean()
    if not penalty:
        return loss
    share = torch.rand(len(code), 1, dtype=code.dtype, device=code.device)
    between = torch.lerp(drawn, code, share).requires_grad_()
    (slope,) = torch.autograd.grad(net(between).sum(), between, create_graph=True)
    return loss + penalty * (slope.norm(dim=1) - 1).square().mean()


def _prior_draws(prior: Distribution | None, code: Tensor) -> Tensor:
    if prior is None:
        return torch.randn_like(code)
    drawn = prior.sample((len(code),)).to(code)
    if drawn.shape != code.shape:
        raise BadInput(
            f"the prior's draws have shape {tuple(drawn.shape[1:])}, codes {tuple(code.shape[1:])}"
        )
    return drawn


def _split(codes: Codes, batch_size: int, seed: int) -> tuple[Tensor, Iterator[Tensor]]:
    """Held-out codes, and endless batches of the others."""
    if isinstance(codes, Tensor):
        codes = checked(codes, "codes", "n, D", least=10, dtype=torch.float32)
        order = torch.randperm(len(codes), generator=seeded(seed)).to(codes.device)
        held_out, training = codes[order].split(
            [round(HELD_OUT * len(codes)), len(codes) - round(HELD_OUT * len(codes))]
        )
        return held_out, _rows(training, batch_size, seed)
    held_out = checked(codes(HELD_OUT_DRAWS, seed), "codes", "n, D", dtype=torch.float32)
    return held_out, _fresh(codes, batch_size, seed)


def _rows(codes: Tensor, batch_size: int, seed: int) -> Iterator[Tensor]:
    generator = seeded(seed)
    while True:
        yield codes[torch.randint(len(codes), (batch_size,), generator=generator).to(codes.device)]


def _fresh(sampler: Callable[[int, int], Tensor], batch_size: int, seed: int) -> Iterator[Tensor]:
    while True:
        seed += 1
        pool = checked(sampler(POOL * batch_size, seed), "codes", "n, D", dtype=torch.float32)
        yield from pool.split(batch_size)


RATIO_STEPS, RATIO_WIDTH = 600, 128  # of the metric


@metric(
    "marginal_kl_by_ratio",
    question="What does a classifier make of the codes' KL to the prior (never to be used alone)?",
    needs=("encode", "test", "standard_prior"),
    reference="Rosca et al., 1802.06847, Algorithm 3; Nguyen et al., 0809.0853, for the bound",
    better={"kl_by_ratio": "", "kl_by_ratio_bound": "lower"},
    quick=False,
)
def measure(model: Model, options: Options) -> Result:
    """Algorithm 3 on one code for each of at most 10,000 held-out data."""
    kl = marginal_kl_by_ratio(
        held_out_codes(model, options),
        width=RATIO_WIDTH,
        steps=RATIO_STEPS,
        lr=1e-3,
        seed=options.seed,
        progress=options.progress,
    )
    return Result({"kl_by_ratio": kl.mean_score, "kl_by_ratio_bound": kl.lower})
