"""Density models m(z) that are fitted to codes: a Gaussian mixture, a masked autoregressive flow, an LSTM."""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from distmatch.errors import BadInput
from distmatch.random import seeded

LogDensity = Callable[[Tensor], Tensor]
"""(n, D) -> log m(z) in nats, (n,)."""


@dataclass(frozen=True)
class DensityFit:
    """The settings of a density model's fit.

    Attributes:
        components: of the mixture; it takes at most one for every ten codes.
        transforms, width: of the MAF, its autoregressive layers and their units; `width` also of the LSTM.
        steps, batch_size, lr: of Adam; `patience`: how many looks at the validation codes, one every
            `every` steps, may pass without a better one.
        seed: of the initial weights and the batches.
    """

    components: int = 32
    transforms: int = 3
    width: int = 64
    steps: int = 2_000
    batch_size: int = 256
    lr: float = 2e-3
    every: int = 50
    patience: int = 5
    seed: int = 0
    progress: Callable[[float], None] | None = None


Fitter = Callable[[Tensor, Tensor, DensityFit], LogDensity]
"""(training codes, validation codes, how) -> log m."""


def fit_mixture(training: Tensor, validation: Tensor, fit: DensityFit) -> LogDensity:
    """Σ_k π_k N(z; μ_k, diag σ_k²) by expectation-maximisation (scikit-learn), on all of the given codes.

    >>> z = torch.randn(500, 2, generator=seeded(0)).double()
    >>> fit_mixture(z[:400], z[400:], DensityFit(components=1))(torch.zeros(1, 2).double())     # -ln 2π = -1.84
    tensor([-1.8...], dtype=torch.float64)
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    codes = torch.cat([training, validation]).double().cpu().numpy()
    components = max(1, min(fit.components, len(codes) // 10))
    model = GaussianMixture(components, covariance_type="diag", max_iter=200, random_state=fit.seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a mixture that may still improve is usable
        model.fit(codes)
    if fit.progress is not None:
        fit.progress(1.0)
    return lambda z: torch.from_numpy(model.score_samples(z.double().cpu().numpy())).to(z.device)


def fit_gaussian(training: Tensor, validation: Tensor, fit: DensityFit) -> LogDensity:
    """The Gaussian of the codes' mean and covariance, all of them; without correlations where these have fewer than
    five codes for each coordinate.

    >>> z = torch.randn(500, 2, generator=seeded(0)).double()
    >>> fit_gaussian(z[:400], z[400:], DensityFit())(torch.zeros(1, 2).double())     # -ln 2π = -1.84
    tensor([-1.8...], dtype=torch.float64)
    """
    codes = torch.cat([training, validation]).double()
    mean, d = codes.mean(0), codes.shape[1]
    covariance = codes.T.cov().reshape(d, d) if len(codes) >= 5 * d else codes.var(0).diag()
    factor = torch.linalg.cholesky(covariance + 1e-6 * torch.eye(d).to(codes))
    distribution = MultivariateNormal(mean, scale_tril=factor)
    return lambda z: distribution.log_prob(z.double())


def fit_maf(training: Tensor, validation: Tensor, fit: DensityFit) -> LogDensity:
    """A masked autoregressive flow (zuko): affine autoregressive layers with the order reversed between them.

    Reference: Papamakarios, Pavlakou and Murray, 1705.07057.
    """
    from zuko.flows import MAF

    flow = MAF(training.shape[1], transforms=fit.transforms, hidden_features=(fit.width, fit.width))
    return _trained(flow, lambda z: flow().log_prob(z), training, validation, fit)


def fit_lstm(training: Tensor, validation: Tensor, fit: DensityFit) -> LogDensity:
    """Π_i N(z_i; μ_i(z_<i), σ_i²(z_<i)) with an LSTM over the coordinates, teacher-forced."""
    net = AutoregressiveLSTM(fit.width)
    return _trained(net, net, training, validation, fit)


class AutoregressiveLSTM(nn.Module):
    """log m(z) = Σ_i log N(z_i; μ_i, σ_i²), where (μ_i, ln σ_i) is read off an LSTM that has seen z_1 … z_{i-1}.

    ln σ_i goes through 5·tanh(·/5), which keeps it within (-5, 5).

    >>> AutoregressiveLSTM(8)(torch.zeros(4, 3)).shape
    torch.Size([4])
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.memory = nn.LSTM(1, width, batch_first=True)
        self.head = nn.Linear(width, 2)

    def forward(self, z: Tensor) -> Tensor:
        """(n, D) -> (n,)."""
        seen = torch.cat([torch.zeros_like(z[:, :1]), z[:, :-1]], 1)
        mean, free = self.head(self.memory(seen[..., None])[0]).unbind(-1)
        log_scale = 5 * (free / 5).tanh()
        squares = ((z - mean) * (-log_scale).exp()).square()
        return -(0.5 * (squares + math.log(2 * math.pi)) + log_scale).sum(1)


def _trained(
    net: nn.Module, log_density: LogDensity, training: Tensor, validation: Tensor, fit: DensityFit
) -> LogDensity:
    """Adam on the negative log-likelihood, and the weights with the best one on the validation codes."""
    net.to(training)
    adam, generator = torch.optim.Adam(net.parameters(), lr=fit.lr), seeded(fit.seed)
    best, weights, looks = math.inf, copy.deepcopy(net.state_dict()), 0
    for step in range(fit.steps):
        rows = torch.randint(len(training), (min(fit.batch_size, len(training)),), generator=generator)
        adam.zero_grad()
        (-log_density(training[rows.to(training.device)]).mean()).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 10.0)
        adam.step()
        if (step + 1) % fit.every == 0 or step + 1 == fit.steps:
            with torch.no_grad():
                loss = float(-log_density(validation).mean())
            looks = 0 if loss < best else looks + 1
            if loss < best:
                best, weights = loss, copy.deepcopy(net.state_dict())
            if fit.progress is not None:
                fit.progress((step + 1) / fit.steps)
            if looks > fit.patience:
                break
    if best == math.inf:
        raise BadInput("the density model diverged from the first; lower lr")
    net.load_state_dict(weights)
    return log_density


def fit_standardised(fitter: Fitter, training: Tensor, validation: Tensor, fit: DensityFit) -> LogDensity:
    """Fit to codes scaled to mean 0 and variance 1; return the density of the codes themselves, in float64.

    Raises:
        BadInput: a coordinate that does not vary, so that the codes have no density.
    """
    both, dtype = torch.cat([training, validation]), torch.get_default_dtype()
    mean, scale = both.mean(0), both.std(0)
    if not (scale > 0).all():
        raise BadInput(f"coordinate {int(scale.argmin())} of the codes does not vary; their KL is infinite")

    def standard(z: Tensor) -> Tensor:
        return ((z - mean) / scale).to(dtype)

    log_density = fitter(standard(training), standard(validation), fit)

    def log_m(z: Tensor) -> Tensor:
        with torch.no_grad():
            return log_density(standard(z)).double() - scale.log().sum()

    return log_m


DENSITY_MODELS: Mapping[str, Fitter] = MappingProxyType(
    {"mixture": fit_mixture, "maf": fit_maf, "lstm": fit_lstm}
)
"""The fitters by name."""
