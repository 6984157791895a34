"""A fresh critic's verdict: how far a frozen model is from data that neither has seen, and whether it overfits."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from distmatch.errors import BadInput
from distmatch.metrics.checks import at_least, checked
from distmatch.metrics.declaration import metric
from distmatch.metrics.estimate import Estimate
from distmatch.metrics.generator.gradients import GradientNorms, Score, gradient_norms, slopes
from distmatch.metrics.inputs import (
    load,
    subset,
)
from distmatch.metrics.model import Model, Options, Result
from distmatch.metrics.plots import Lines
from distmatch.random import own_randomness, seeded

SLOPE = 0.2  # of the leaky ReLUs
LEAST = 8  # examples of each set, of which the held-out ones are halved


@dataclass(frozen=True)
class IndependentCritic:
    """The result of `independent_critic`; all distances are Ŵ = E_real f - E_model f, lower is better.

    Attributes:
        train: on the data that the model was trained on.
        validation: on held-out data that the critic was not trained on.
        test: on test data; None where none were given.
        overfitting: E f over held-out data (test, else validation) less E f over training data. Above 0: the
            model is nearer to its training data than to fresh ones.
        slope: ‖∇f‖ between held-out data and samples; Ŵ is a distance only as far as this is 1.
        losses: the critic's loss after each step, (steps,).
        critic: the trained critic.
    """

    train: Estimate
    validation: Estimate
    test: Estimate | None
    overfitting: Estimate
    slope: GradientNorms
    losses: Tensor = field(compare=False)
    critic: nn.Module = field(compare=False)


def independent_critic(
    samples: Tensor,
    train: Tensor,
    validation: Tensor,
    test: Tensor | None = None,
    *,
    critic: nn.Module | None = None,
    steps: int = 500,
    batch_size: int = 64,
    penalty: float = 10.0,
    rate: float = 1e-4,
    seed: int = 0,
    progress: Callable[[float], None] | None = None,
) -> IndependentCritic:
    """Ŵ = E_real f - E_model f for a fresh critic f, the same on training, validation and test data.

    f is trained by WGAN-GP, min E_model f - E_real f + λ E(‖∇f(u)‖ - 1)² with u between pairs, by Adam with decays
    (0.5, 0.9), on one half of the validation data and one half of the samples. All numbers are of the other halves
    (and of all of `train` and `test`), so that what f memorised does not count.

    When it lies: Ŵ is below the true W₁ where f falls short of the best 1-Lipschitz function, and above it where f
    is steeper than 1: the penalty lets slopes settle at 1 + W₁/2λ (40 % too steep at W₁ = 8, λ = 10), so that
    Ŵ/slope is the better guess of W₁. Only numbers of the same critic, steps, batch size and penalty are comparable.
    Errors are over samples with f fixed; another seed's f differs by more. A small Ŵ by a weak critic does not
    prove a good model. A Ŵ below 0 by more than its error says that the penalty has held f upside down: let a critic of
    your own start with its last layer at 0.

    Args:
        samples: (n, *) of the frozen model; train, validation, test: data of the same shape (m, *), m ≥ 8.
        critic: from (b, *) to (b,) or (b, 1), each row for itself (no batch norm); a copy of it is trained. None
            for `image_critic` on (n, c, h, w), `flat_critic` otherwise.
        steps: of the critic; penalty: λ; rate: Adam's.
        seed: of the halves, the critic's weights and the batches.

    Raises:
        BadInput: shapes, NaN, counts below one, numbers that are not positive, a critic that diverged.

    Reference: Danihelka et al., 1705.05263; Gulrajani et al., 1704.00028.

    >>> x = torch.zeros(40, 1)
    >>> verdict = independent_critic(x + 1, x, x, x, steps=20, rate=1e-2)
    >>> verdict.overfitting.value
    0.0
    """
    sets = {"samples": samples, "train": train, "validation": validation, "test": test}
    _check(sets, steps, batch_size, penalty, rate)
    held_out, fresh = _halves(validation, seed), _halves(samples, seed + 1)
    with own_randomness(seed), torch.enable_grad():
        trained = copy.deepcopy(critic) if critic is not None else _default(samples)
        f = _Flat(trained.to(samples.device).train())
        losses = _fit(f, held_out[0], fresh[0], steps, batch_size, (penalty, rate), seed, progress)
        trained.eval().requires_grad_(False)
        scores = {
            name: _scores(f, x)
            for name, x in {
                "model": fresh[1],
                "train": train,
                "validation": held_out[1],
                "test": test,
            }.items()
            if x is not None
        }
    how = f"{steps} steps of a fresh critic of {sum(p.numel() for p in trained.parameters()):,} weights"
    last = scores.get("test", scores["validation"])
    pairs = min(len(held_out[1]), len(fresh[1]))
    return IndependentCritic(
        train=_difference(
            scores["train"], scores["model"], f"training data; {how}, comparable under the same only"
        ),
        validation=_difference(scores["validation"], scores["model"], f"held-out data; {how}"),
        test=_difference(scores["test"], scores["model"], f"test data; {how}") if "test" in scores else None,
        overfitting=_difference(
            last, scores["train"], f"E f on held-out data less E f on training data; {how}"
        ),
        slope=gradient_norms(f, held_out[1][:pairs], fresh[1][:pairs], seed=seed),
        losses=losses,
        critic=trained,
    )


def critic_distance(score: Score, real: Tensor, model: Tensor) -> Estimate:
    """Ŵ = E_real f - E_model f of any score f: (n, *) -> (n,), with its error over both sets of samples.

    >>> critic_distance(lambda x: x[:, 0], torch.ones(10, 1), torch.zeros(10, 1)).value
    1.0
    """
    with torch.no_grad():
        return _difference(_scores(score, real), _scores(score, model), "f as given; error over samples")


def flat_critic(size: int, width: int = 128) -> nn.Module:
    """A perceptron with two hidden layers, of flattened x.

    >>> flat_critic(2)(torch.zeros(5, 2)).shape
    torch.Size([5, 1])
    """
    return nn.Sequential(
        nn.Flatten(),
        *(nn.Linear(size, width), nn.LeakyReLU(SLOPE)),
        *(nn.Linear(width, width), nn.LeakyReLU(SLOPE)),
        _silent(nn.Linear(width, 1)),
    )


def image_critic(shape: tuple[int, int, int], width: int = 16) -> nn.Module:
    """Three convolutions 5×5 of stride 2 and a linear layer, for images (c, h, w) of any size; no normalisation.

    >>> image_critic((3, 7, 10))(torch.zeros(5, 3, 7, 10)).shape
    torch.Size([5, 1])
    """
    channels, *sides = shape
    layers: list[nn.Module] = []
    for out in (width, 2 * width, 4 * width):
        layers += [nn.Conv2d(channels, out, 5, 2, 2), nn.LeakyReLU(SLOPE)]
        channels, sides = out, [(side + 1) // 2 for side in sides]
    return nn.Sequential(*layers, nn.Flatten(), _silent(nn.Linear(channels * math.prod(sides), 1)))


def _silent(last: nn.Linear) -> nn.Linear:
    """The layer with weights 0, so that f starts flat and its first move is towards the data.

    From a random start a penalty of 10 can hold f at slope +1 where -1 is wanted: the way there is through slope 0.
    """
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return last


class _Flat:
    """The scores of a critic as (n,)."""

    def __init__(self, net: nn.Module) -> None:
        self.net = net

    def __call__(self, x: Tensor) -> Tensor:
        scores = self.net(x)
        if scores.numel() != len(x):
            raise BadInput(
                f"the critic must return one score for each of {len(x)} rows; got {tuple(scores.shape)}"
            )
        return scores.reshape(len(x))


def _check(sets: dict[str, Tensor | None], steps: int, batch_size: int, penalty: float, rate: float) -> None:
    at_least(1, steps=steps, batch_size=batch_size)
    for name, number in (("penalty", penalty), ("rate", rate)):
        if not 0 < number < math.inf:
            raise BadInput(f"{name} is {number}; give a positive number")
    shapes = {}
    for name, x in sets.items():
        if x is not None:
            checked(x.flatten(1) if x.ndim > 1 else x[:, None], name, "n, *", least=LEAST)
            shapes[name] = tuple(x.shape[1:])
    if len(set(shapes.values())) > 1:
        raise BadInput(f"all sets must hold x of one shape; got {shapes}")


def _default(x: Tensor) -> nn.Module:
    if x.ndim == 4:
        return image_critic((x.shape[1], x.shape[2], x.shape[3]))
    return flat_critic(x[0].numel())


def _halves(x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Two random halves."""
    order = torch.randperm(len(x), generator=seeded(seed)).to(x.device)
    return x[order[: len(x) // 2]].float(), x[order[len(x) // 2 :]].float()


def _fit(
    f: _Flat,
    real: Tensor,
    model: Tensor,
    steps: int,
    batch_size: int,
    numbers: tuple[float, float],
    seed: int,
    progress: Callable[[float], None] | None,
) -> Tensor:
    """WGAN-GP's steps of the critic alone; its losses, (steps,)."""
    penalty, rate = numbers
    generator = seeded(seed)
    optimiser = torch.optim.Adam(f.net.parameters(), lr=rate, betas=(0.5, 0.9))
    losses = []
    for step in range(steps):
        p, q = (
            x[torch.randint(len(x), (batch_size,), generator=generator).to(x.device)] for x in (real, model)
        )
        alpha = torch.rand(batch_size, *[1] * (p.ndim - 1), generator=generator).to(p)
        slope = slopes(f, [q + alpha * (p - q)], differentiable=True)
        loss = f(q).mean() - f(p).mean() + penalty * (slope - 1).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.detach())
        if progress is not None:
            progress((step + 1) / steps)
    curve = torch.stack(losses).double().cpu()
    if not torch.isfinite(curve).all():
        raise BadInput("the critic diverged: its loss is not finite; give a smaller rate")
    return curve


def _scores(f: Score, x: Tensor, batch_size: int = 512) -> Tensor:
    """f at each row, (n,), float64."""
    with torch.no_grad():
        parts = [f(x[i : i + batch_size].float()).double() for i in range(0, len(x), batch_size)]
    return checked(torch.cat(parts), "the critic's scores", "n")


def _difference(first: Tensor, second: Tensor, how: str) -> Estimate:
    """The difference of two independent means, with its error and Welch's degrees of freedom."""
    parts = [(float(x.var()) / len(x), len(x) - 1) for x in (first, second)]
    variance = sum(part for part, _ in parts)
    degrees = variance**2 / sum(part**2 / of for part, of in parts) if variance else None
    value, n = float(first.mean() - second.mean()), len(first) + len(second)
    return Estimate(value, math.sqrt(variance), n, "", how, degrees)


JUDGED = 4000  # examples of each set that the fresh critic sees
CRITIC_STEPS = {True: 200, False: 500}  # on images, on other data


@metric(
    "independent_critic",
    question="How far are samples from data that neither model nor critic has seen, and from the training data?",
    needs=("sample", "train", "test"),
    reference="Danihelka et al., 1705.05263",
    better={
        "critic_distance_train": "lower",
        "critic_distance_validation": "lower",
        "critic_distance_test": "lower",
        "critic_overfitting": "lower",
        "critic_slope": "",
    },
    quick=False,
)
def measure(model: Model, options: Options) -> Result:
    """The distances, with one half of the held-out data for the critic (training and validation), one for the test."""
    assert model.sample is not None
    count, seed = min(options.samples, JUDGED), options.seed
    train, test = load(model.train), load(model.test)
    assert train is not None
    assert test is not None
    test = subset(test, min(2 * count, len(test)), seed)
    test = test[torch.randperm(len(test), generator=torch.Generator().manual_seed(seed)).to(test.device)]
    middle = len(test) // 2
    verdict = independent_critic(
        model.sample(count, seed),
        subset(train, count, seed),
        test[:middle],
        test[middle:],
        steps=CRITIC_STEPS[model.is_image],
        seed=seed,
        progress=options.progress,
    )
    assert verdict.test is not None
    metrics = {
        "critic_distance_train": verdict.train,
        "critic_distance_validation": verdict.validation,
        "critic_distance_test": verdict.test,
        "critic_overfitting": verdict.overfitting,
        "critic_slope": verdict.slope.mean,
    }
    curve = Lines(
        "The fresh critic's loss: still falling at the end means that it could tell more apart",
        torch.arange(1, len(verdict.losses) + 1),
        {"critic": verdict.losses},
        "step",
        "loss",
    )
    return Result(metrics, (curve,))
