"""Inversion of a decoder: the best code for each of given data, found by descent."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from distmatch.errors import BadInput
from distmatch.metrics.checks import at_least, checked
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.generator.inputs import generator_of
from distmatch.metrics.generator.jacobian import Decoder, image_of
from distmatch.metrics.inputs import codes, held_out
from distmatch.metrics.model import Model, Options, Result
from distmatch.metrics.plots import Lines, Pictures, Plot
from distmatch.random import own_randomness, seeded

DECAYS = 0.9, 0.999  # of Adam's two averages


@dataclass(frozen=True)
class Inversion:
    """The result of `inference_via_optimization`.

    Attributes:
        error: mean over examples of the least ‖x - G(z)‖²/dim x that was found.
        code_norm: mean ‖z*‖ of the codes found, over the mean norm of a draw from the prior: 1 where the codes are
            typical of it.
        errors: the error of each example, (n,), float64.
        codes: z*, (n, D).
        reconstructions: G(z*), of the shape of x.
        history: mean over examples of the least error so far, at the start and after each step, (steps + 1,).
    """

    error: Estimate
    code_norm: Estimate
    errors: Tensor = field(compare=False)
    codes: Tensor = field(compare=False)
    reconstructions: Tensor = field(compare=False)
    history: Tensor = field(compare=False)


def inference_via_optimization(
    decoder: Decoder,
    x: Tensor,
    latent: int,
    *,
    y: Tensor | None = None,
    start: Tensor | None = None,
    draw_prior: Callable[[int, int], Tensor] | None = None,
    restarts: int = 3,
    steps: int = 200,
    rate: float = 0.1,
    batch_size: int = 64,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> Inversion:
    """min_z ‖x - G(z)‖² for each example, per pixel: the mean over the coordinates of x.

    Adam on all codes of a batch at once (each code has its own loss, and Adam moves each coordinate by its own
    gradients, so that examples do not mix), at a rate that falls to 0 as a cosine. The best of all restarts and
    steps counts. Held-out x that a model leaves out (a lost mode) keep a large error.

    When it lies: the minimum found is above the true one (`history` says whether more steps would help; give more
    restarts for a rough G). z is not kept near the prior: a low error at a code of unlikely norm is not a
    sample of the model; so read `code_norm` with it. A surjective map, such as a flow, reaches 0 for any x.

    Args:
        decoder: decoder(z), or decoder(z, y) if y is given, returns x or a torch.distributions distribution whose
            mean is taken; differentiable, each row for itself (evaluation mode).
        x: (n, *), n ≥ 2; latent: D; y: (n, *) labels.
        start: (n, D), such as an encoder's codes: one more restart from there.
        draw_prior: (n, seed) -> z (n, D), where restarts begin; None for N(0, I).
        restarts: from draws of the prior; rate: Adam's at the first step.

    Raises:
        BadInput: shapes, NaN, counts below one, a rate that is not positive, a decoder that is not differentiable
            or returns NaN.

    Reference: Metz et al., 1611.02163 (inference via optimisation); Srivastava et al., 1705.07761.

    >>> inversion = inference_via_optimization(lambda z: z.repeat(1, 2), torch.tensor([[1.0, 3.0], [2.0, 2.0]]), 1)
    >>> inversion.errors.round(decimals=4), inversion.codes[:, 0].round(decimals=2)  # the nearest points with x₁ = x₂
    (tensor([1., 0.], dtype=torch.float64), tensor([2., 2.]))
    """
    _check(x, latent, y, start, rate)
    at_least(1, latent=latent, restarts=restarts, steps=steps, batch_size=batch_size)
    prior = draw_prior or (lambda n, seed: torch.randn(n, latent, generator=seeded(seed)))
    origins = prior(restarts * len(x), seed).detach().to(x.device)
    if origins.shape != (restarts * len(x), latent):
        raise BadInput(
            f"draw_prior must return {restarts * len(x)} codes of {latent} dimensions; "
            f"it returned {tuple(origins.shape)}"
        )
    starts = origins.unflatten(0, (restarts, len(x)))
    starts = starts if start is None else torch.cat([starts, start.detach().to(starts)[None]])
    batches: list[tuple[Tensor, Tensor, Tensor]] = []
    with own_randomness(seed), torch.enable_grad():
        for at in range(0, len(x), batch_size):
            part = slice(at, at + batch_size)
            report = None if progress is None else _share(progress, at, len(x[part]), len(x))
            labels = None if y is None else y[part]
            batches.append(_descend(decoder, x[part], labels, starts[:, part], steps, rate, report))
    errors, codes, histories = zip(*batches, strict=True)
    error, code = torch.cat(errors), torch.cat(codes)
    reconstructions = _images(decoder, code, y, batch_size).reshape(x.shape)
    return Inversion(
        error=Estimate.mean(error, "per pixel", _how(len(starts), steps)),
        code_norm=_norm_ratio(code, origins),
        errors=error,
        codes=code,
        reconstructions=reconstructions,
        history=torch.cat(histories, 1).mean(1),
    )


def _how(restarts: int, steps: int) -> str:
    return (
        f"squared error, mean over coordinates; best of {restarts} starts of {steps} Adam steps, so at or above the "
        "true minimum; error over examples"
    )


def _check(x: Tensor, latent: int, y: Tensor | None, start: Tensor | None, rate: float) -> None:
    checked(x.flatten(1) if x.ndim > 1 else x, "x", "n, *")
    if y is not None and len(y) != len(x):
        raise BadInput(f"y has {len(y)} labels for {len(x)} examples")
    if start is not None and tuple(checked(start, "start", "n, D").shape) != (len(x), latent):
        raise BadInput(
            f"start must have shape {(len(x), latent)}, one code for each x; got {tuple(start.shape)}"
        )
    if not 0 < rate < math.inf:
        raise BadInput(f"rate is {rate}; give a positive number")


def _share(progress: Callable[[float], None], at: int, size: int, total: int) -> Callable[[float], None]:
    """Progress within one batch as progress of the whole."""
    return lambda done: progress((at + done * size) / total)


def _descend(
    decoder: Decoder,
    x: Tensor,
    y: Tensor | None,
    starts: Tensor,
    steps: int,
    rate: float,
    progress: Callable[[float], None] | None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Least errors (b,) of one batch x (b, *) from starts (R, b, D), their codes (b, D), history (steps + 1, b)."""
    restarts, batch, _ = starts.shape
    target = x.flatten(1).repeat(restarts, 1)
    labels = None if y is None else y.repeat(restarts, *[1] * (y.ndim - 1))
    z = starts.flatten(0, 1).clone()
    best, best_z = torch.full((len(z),), math.inf, dtype=torch.float64, device=x.device), z.clone()
    first, second = torch.zeros_like(z), torch.zeros_like(z)
    history = []
    for step in range(steps + 1):
        z.requires_grad_()
        images = image_of(decoder, z, labels).flatten(1)
        if images.shape != target.shape:
            raise BadInput(
                f"the decoder makes {images.shape[1]} coordinates for x and x has {target.shape[1]}"
            )
        error = (images - target).square().mean(1)
        if not images.requires_grad:
            raise BadInput("the decoder's output does not depend on z by differentiable operations")
        (gradient,) = torch.autograd.grad(error.sum(), z)
        z, error = z.detach(), error.detach().double()
        better = error < best
        best, best_z = torch.where(better, error, best), torch.where(better[:, None], z, best_z)
        history.append(best.unflatten(0, (restarts, batch)).amin(0))
        first = DECAYS[0] * first + (1 - DECAYS[0]) * gradient
        second = DECAYS[1] * second + (1 - DECAYS[1]) * gradient.square()
        scale = rate * (1 + math.cos(math.pi * step / steps)) / 2
        unbiased = (second / (1 - DECAYS[1] ** (step + 1))).sqrt() + 1e-12
        z = z - scale * first / (1 - DECAYS[0] ** (step + 1)) / unbiased
        if progress is not None:
            progress((step + 1) / (steps + 1))
    if not torch.isfinite(best).all():
        raise BadInput("the decoder returned NaN or infinite values at every code tried for some example")
    least, winner = best.unflatten(0, (restarts, batch)).min(0)
    chosen = best_z.unflatten(0, (restarts, batch))[winner, torch.arange(batch, device=x.device)]
    return least, chosen, torch.stack(history)


def _images(decoder: Decoder, z: Tensor, y: Tensor | None, batch_size: int) -> Tensor:
    """G(z), batch after batch."""
    with torch.no_grad():
        parts = [
            image_of(decoder, z[i : i + batch_size], None if y is None else y[i : i + batch_size])
            for i in range(0, len(z), batch_size)
        ]
    return torch.cat(parts)


def _norm_ratio(codes: Tensor, prior: Tensor) -> Estimate:
    """E‖z*‖ / E‖z‖, its error from those of both means."""
    norm = Estimate.mean(codes.double().norm(dim=1))
    drawn = Estimate.mean(prior.double().norm(dim=1))
    if drawn.value == 0:
        raise BadInput("draw_prior returned nothing but zeros, to which no norm can be compared")
    ratio = norm.value / drawn.value
    error = math.hypot(norm.standard_error, ratio * drawn.standard_error) / drawn.value
    how = "norm of the codes found over the norm of prior draws; far from 1: codes that the model never draws"
    return Estimate(ratio, error, len(codes), "", how)


INVERTED = 64  # held-out examples for which a code is sought
INVERSION_STEPS = 80
SHOWN = 16


@metric(
    "inference_via_optimization",
    question="Can the model make held-out data at all, from the best code for each?",
    needs=("generate", "draw_prior", "latent", "test"),
    reference="Metz et al., 1611.02163; Srivastava et al., 1705.07761",
    better={"inversion_error": "lower", "inversion_code_norm": ""},
    quick=False,
)
def measure(model: Model, options: Options) -> Result:
    """The inversion of held-out examples, from draws of the prior and, where there is an encoder, from its code."""
    assert model.draw_prior is not None
    assert model.latent is not None
    x, y = held_out(model, replace(options, samples=min(options.samples, INVERTED)))
    start = None if model.encode is None else codes(model, x, y, options).flatten(1)
    inversion = inference_via_optimization(
        generator_of(model),
        x,
        model.latent,
        y=y,
        start=start,
        draw_prior=model.draw_prior,
        restarts=2 if start is None else 1,
        steps=INVERSION_STEPS,
        seed=options.seed,
        progress=options.progress,
    )
    plots: list[Plot] = [
        Lines(
            "The least error found, step by step: still falling at the end means that more steps would help",
            torch.arange(len(inversion.history)),
            {"mean over examples": inversion.history},
            "step",
            "squared error per pixel",
            log="y",
        )
    ]
    if model.is_image:
        low, high = model.image_range
        worst = inversion.errors.argsort(descending=True)[:SHOWN]
        pair = torch.cat([x[worst], inversion.reconstructions[worst]])
        plots.append(
            Pictures(
                "Held-out images that are hardest for the model, over the nearest that it can make",
                ((pair - low) / (high - low)).clamp(0, 1),
                len(worst),
                ("data", "nearest G(z)"),
            )
        )
    return Result(
        {"inversion_error": inversion.error, "inversion_code_norm": inversion.code_norm}, tuple(plots)
    )
