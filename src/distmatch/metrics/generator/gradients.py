"""Slopes of a critic between the two distributions, and norms of a loss's gradient by layer."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from distmatch.errors import BadInput
from distmatch.metrics.checks import at_least, checked, same_shape
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.generator.inputs import CRITICS, critics_of
from distmatch.metrics.model import Model, Options, Result
from distmatch.metrics.plots import Histograms
from distmatch.metrics.spread import spread
from distmatch.random import own_randomness, seeded

Score = Callable[..., Tensor]
Draws = Tensor | Sequence[Tensor]
KEPT = 20_000  # entries of one layer's gradient that are kept for its histogram


@dataclass(frozen=True)
class GradientNorms:
    """‖∇f‖ over places: its mean, its standard deviation, and each place's, (n,), float64."""

    mean: Estimate
    spread: Estimate
    norms: Tensor = field(compare=False)


def gradient_norms(
    score: Score, target: Draws, model: Draws, *, batch_size: int = 256, seed: int = 0
) -> GradientNorms:
    """‖∇_u f(u)‖₂ at u = αp + (1 - α)q, α ~ U[0, 1], for pairs of a target's draw p and a model's draw q.

    There a Wasserstein critic's slope should be 1 (its penalty's place), while 0 tells of a critic that has
    nothing left to teach, and large values of one that overfits or explodes. The norm is over all
    inputs of the critic together. Inputs that hold no floating-point numbers (labels) are held at the target's.

    When it lies: straight lines between draws need not be where either distribution lies. Only slopes at
    these places are seen: a mean of 1 does not make f 1-Lipschitz.

    Args:
        score: score(u) -> (n,), or with as many arguments as there are inputs; of each row for itself.
        target, model: draws (n, *), or one tensor for each input of the critic; n ≥ 2 pairs.

    Raises:
        BadInput: shapes, NaN, a score that is not one number for each row, or whose rows depend on one another
            (batch norm in training mode, minibatch features): there is no gradient of one sample then.

    Reference: Gulrajani et al., 1704.00028, section 4.

    >>> slope = gradient_norms(lambda x: 3 * x[:, 0] + 4 * x[:, 1], torch.zeros(5, 2), torch.ones(5, 2))
    >>> slope.mean.value, slope.spread.value
    (5.0, 0.0)
    """
    at_least(1, batch_size=batch_size)
    places = interpolates(target, model, seed)
    with own_randomness(seed):
        _check_rows(score, places)
        norms = torch.cat(
            [
                slopes(score, [u[i : i + batch_size] for u in places]).detach()
                for i in range(0, len(places[0]), batch_size)
            ]
        ).double()
    how = "of ‖∇f‖ at random places between pairs of draws; a Wasserstein critic's should be 1"
    return GradientNorms(
        Estimate.mean(norms, "", f"mean {how}; error over places"),
        spread(norms, "", f"standard deviation {how}"),
        norms,
    )


def interpolates(target: Draws, model: Draws, seed: int) -> list[Tensor]:
    """αp + (1 - α)q for each pair, one α for all inputs of a pair; inputs that are not real stay the target's.

    >>> interpolates(torch.zeros(2, 1), torch.zeros(2, 1), 0)
    [tensor([[0.], [0.]])]
    """
    p, q = ([v] if isinstance(v, Tensor) else list(v) for v in (target, model))
    if len(p) != len(q) or not p:
        raise BadInput(
            f"target has {len(p)} inputs and model has {len(q)}; give each input of the critic once"
        )
    for a, b in zip(p, q, strict=True):
        same_shape(a, b, "target and model")
        for values, name in ((a, "target"), (b, "model")):
            checked(
                values.flatten(1) if values.ndim > 1 else values, name, "n, *" if values.ndim > 1 else "n"
            )
    if len({len(a) for a in p}) > 1:
        raise BadInput("the inputs of the critic have different numbers of rows")
    alpha = torch.rand(len(p[0]), generator=seeded(seed), dtype=torch.float64)
    return [_between(a.detach(), b.detach(), alpha) for a, b in zip(p, q, strict=True)]


def _between(p: Tensor, q: Tensor, alpha: Tensor) -> Tensor:
    if not p.is_floating_point():
        return p
    share = alpha.to(p).reshape(-1, *[1] * (p.ndim - 1))
    return q + share * (p - q)


def slopes(score: Score, places: Sequence[Tensor], *, differentiable: bool = False) -> Tensor:
    """‖∇ score‖₂ at each place, over all real inputs together, (n,); with a graph where `differentiable`.

    >>> slopes(lambda x: x.square().sum(1), [torch.tensor([[3.0, 4.0]])])
    tensor([10.])
    """
    with torch.enable_grad():
        inputs = [u.detach().requires_grad_() if u.is_floating_point() else u for u in places]
        real = [u for u in inputs if u.requires_grad]
        scores = score(*inputs)
        if not real or not scores.requires_grad:
            raise BadInput("the score does not depend on its inputs by differentiable operations")
        gradients = torch.autograd.grad(
            scores.sum(), real, create_graph=differentiable, allow_unused=True, materialize_grads=True
        )
    return torch.linalg.vector_norm(torch.cat([g.flatten(1) for g in gradients], 1), dim=1)


def _check_rows(score: Score, places: Sequence[Tensor]) -> None:
    """Raise `BadInput` unless the score is one number a row, and each row's own."""
    few = [u[:4] for u in places]
    with torch.no_grad():
        together, alone = score(*few), score(*[u[: len(u) // 2] for u in few])
    if together.shape != (len(few[0]),):
        raise BadInput(
            f"the score of {len(few[0])} rows must have shape ({len(few[0])},); got {tuple(together.shape)}"
        )
    if not torch.isfinite(together).all():
        raise BadInput("the score holds NaN or infinite values")
    if (together[: len(alone)] - alone).abs().max() > 1e-3 * (1e-6 + together.abs().max()):
        raise BadInput(
            "the score of one row depends on the others of its batch (batch norm in training mode, minibatch "
            "features) or on chance, so that it has no gradient of its own"
        )


@dataclass(frozen=True)
class LayerGradientNorms:
    """The result of `layer_gradient_norms`.

    Attributes:
        total: the norm of the whole gradient.
        layers: the norm of each parameter's, by its name in the module.
        entries: single entries of each one's gradient, at the first loss, float64: at most 20,000, evenly spaced.
    """

    total: Estimate
    layers: Mapping[str, Estimate]
    entries: Mapping[str, Tensor] = field(compare=False)


def layer_gradient_norms(losses: Tensor | Iterable[Tensor], module: nn.Module) -> LayerGradientNorms:
    """‖∂loss/∂W‖₂ for each parameter W of a module: which layers a loss moves, and whether gradients vanish.

    Call it once for each part of a critic's loss (on data, on the model) and for the generator loss, and compare.
    The module's `.grad` is left alone.

    When it lies: a batch's gradient holds noise that falls as 1/√batch, so that norms of different batch
    sizes are not comparable; Adam divides layers' scales out, so that a small norm need not mean slow learning.

    Args:
        losses: scalar losses with their graphs, one for each batch, computed with the module's parameters. Give a
            generator, so that only one graph is held. One loss alone has no error bar: its standard error is inf.

    Raises:
        BadInput: no loss, one that is not a scalar or not finite, or one that does not depend on the module.

    Reference: Arjovsky and Bottou, 1701.04862 (gradients of the generator that vanish or explode).

    >>> net = nn.Linear(2, 1, bias=False)
    >>> norms = layer_gradient_norms([net(torch.tensor([[3.0, 4.0]])).sum() for _ in range(2)], net)
    >>> norms.layers["weight"].value
    5.0
    """
    named = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if not named:
        raise BadInput("the module has no parameters that require a gradient")
    norms: list[Tensor] = []
    entries: dict[str, Tensor] = {}
    for loss in [losses] if isinstance(losses, Tensor) else losses:
        gradients = _gradients(loss, named)
        norms.append(torch.stack([g.double().norm() for g in gradients.values()]))
        entries = entries or {name: _thinned(g) for name, g in gradients.items()}
    if not norms:
        raise BadInput("losses is empty; give at least one")
    table = torch.stack(norms).cpu()
    how = f"norm of one batch's gradient, mean over {len(table)} batches; depends on the batch size"
    return LayerGradientNorms(
        _over_batches(table.norm(dim=1), how),
        {name: _over_batches(column, how) for name, column in zip(named, table.T, strict=True)},
        entries,
    )


def _gradients(loss: Tensor, named: Mapping[str, Any]) -> dict[str, Tensor]:
    if loss.numel() != 1 or not torch.isfinite(loss).all():
        raise BadInput("a loss must be one finite number; take the mean over the batch")
    if not loss.requires_grad:
        raise BadInput("a loss has no graph; compute it with gradients enabled")
    gradients = torch.autograd.grad(
        loss.sum(), list(named.values()), retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return dict(zip(named, gradients, strict=True))


def _thinned(gradient: Tensor) -> Tensor:
    flat = gradient.detach().flatten().double().cpu()
    return flat[:: max(1, math.ceil(len(flat) / KEPT))].clone()


def _over_batches(values: Tensor, how: str) -> Estimate:
    if len(values) == 1:
        return Estimate(float(values[0]), math.inf, 1, "", how)
    return Estimate.mean(values, "", how)


STEEP = 512  # pairs between which a trained critic's slope is taken


@metric(
    "gradient_norms",
    question="How steep is each critic between data and samples?",
    needs=("critics",),
    reference="Gulrajani et al., 1704.00028",
    better={f"gradient_norm_{part}{name}": "" for name in CRITICS for part in ("", "spread_")},
)
def measure(model: Model, options: Options) -> Result:
    """The slopes of each trained critic that scores examples one by one."""
    metrics: dict[str, Estimate] = {}
    norms: dict[str, Tensor] = {}
    refusals: list[str] = []
    for name, critic in critics_of(model, options, STEEP).items():
        try:
            if critic.apart:
                raise BadInput(
                    "its batch norm scores data and samples by statistics of their own, so that there is no one "
                    "slope between them"
                )
            slope = gradient_norms(critic.score, critic.target, critic.model, seed=options.seed)
        except BadInput as refusal:
            refusals.append(f"critic {name!r}: {refusal}")
            continue
        metrics |= {f"gradient_norm_{name}": slope.mean, f"gradient_norm_spread_{name}": slope.spread}
        norms[name] = slope.norms
    if not metrics:
        raise BadInput("; ".join(refusals))
    caption = "Slopes of the trained critics between data and samples; a Wasserstein critic's should be 1"
    return Result(metrics, (Histograms(caption, norms, "‖∇f‖"),))
