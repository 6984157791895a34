"""A run's configuration: typed, documented, and all of it in one JSON.

Each setting is declared once, here: its type, its default, the bounds of its numbers, and its line in a docstring.
`settings` tells what there is to set, and `layers` reads configurations; they are written by `RunConfig.as_dict`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

if TYPE_CHECKING:
    from pydantic import TypeAdapter


@dataclass(frozen=True)
class Bound:
    """A bound on the numbers of a setting.

    Args:
        holds: whether a value is so.
        ask: the end of the sentence that refuses another.
    """

    holds: Callable[[Any], bool]
    ask: str


NotNegative = Annotated[int, Bound(lambda n: n >= 0, "give at least 0")]
AtLeastOne = Annotated[int, Bound(lambda n: n >= 1, "give at least 1")]
Positive = Annotated[float, Bound(lambda x: 0 < x < math.inf, "give a finite number above 0")]
Weight = Annotated[float, Bound(lambda x: 0 <= x < math.inf, "give a finite number, 0 or above")]
Decay = Annotated[float, Bound(lambda x: 0 < x < 1, "give a decay between 0 and 1, such as 0.999")]
Betas = Annotated[
    tuple[float, float],
    Bound(lambda betas: all(0 <= b < 1 for b in betas), "give two numbers of at least 0 and below 1"),
]


@dataclass(frozen=True)
class DataConfig:
    """The data set of a run.

    Args:
        name: a data set (`distmatch list data`).
        dir: the folder of its files: PATH/<name>/ and PATH itself are looked in; without it, a cache with downloads.
        limit: use only the first examples of each split; without it all.
        size: the side to which images of `folder` and `celeba` are brought.
        binarise: of images: none, threshold (x > 1/2), dynamic (a fresh draw from Bernoulli(x) at each step), or
            dequantise ((255x + u)/256); auto is dequantise for a flow and none otherwise.
    """

    name: str = ""
    dir: str | None = None
    limit: AtLeastOne | None = None
    size: int | None = None
    binarise: Literal["auto", "none", "threshold", "dynamic", "dequantise"] = "auto"


@dataclass(frozen=True)
class NetworkConfig:
    """The nets.

    Args:
        family: a family of nets (`distmatch list networks`); auto takes dcgan for images and an implicit decoder,
            and mlp otherwise.
        latent: the size of z; 20, or for a flow that of the data.
        likelihood: p(x|z): bernoulli, gaussian, laplace, quantized-normal, categorical, implicit, ...; auto is implicit
            where no term needs a density, else bernoulli for data in [0, 1] and gaussian for the rest; for an
            autoregressive net bernoulli for binarised images, else categorical.
        posterior: q(z|x): gaussian, deterministic, sphere, flow or noise.
        prior: p(z): normal, sphere or uniform, or where the objective learns it mixture, vamp or flow; auto is
            normal, or mixture.
        options: the family's own, e.g. `network.width=256`.
    """

    family: str = "auto"
    latent: AtLeastOne | None = None
    likelihood: str = "auto"
    posterior: str = "gaussian"
    prior: str = "auto"
    options: dict[str, bool | int | float | str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingConfig:
    """Length, optimisers and order of training.

    Args:
        steps: steps of the model; give this or epochs.
        epochs: times through the data; 20 if neither this nor steps is given.
        batch_size: examples a step.
        critic_steps: critics' steps for each step of the model.
        order: alternating (critics first) or simultaneous.
        optimiser: adam, rmsprop or sgd.
        lr: learning rate.
        critic_lr: the critics'; the same, if there is none.
        betas: Adam's.
        schedule: of the learning rates, over all steps: constant, linear (to 0) or cosine (to 0).
        clip_gradient: a bound on gradient norms.
        ema: decay of the running average of the decoder's weights that is used for evaluation.
        precision: of the nets: float32, tf32 (for products of matrices on a CUDA device; float32 elsewhere), or bf16
            under autocast.
        engine: how steps run: eager, compiled (torch.compile), captured (one CUDA graph), or auto: captured on a
            CUDA device where it can be, eager otherwise.
        channels_last: whether convolutions' weights lie in memory channels last; auto where it is the faster.
        consensus: γ of consensus optimisation, which moves model and critics together by v + γ∇½‖v‖².
        unroll: how many more of its steps the model looks ahead of the critic.
        log_every: steps between lines of the log.
        checkpoint_every: steps between checkpoints.
        sample_every: steps between sample grids.
    """

    steps: AtLeastOne | None = None
    epochs: Positive | None = None
    batch_size: AtLeastOne = 64
    critic_steps: AtLeastOne = 1
    order: Literal["alternating", "simultaneous"] = "alternating"
    optimiser: Literal["adam", "rmsprop", "sgd"] = "adam"
    lr: Positive = 1e-3
    critic_lr: Positive | None = None
    betas: Betas = (0.9, 0.999)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    clip_gradient: Positive | None = None
    ema: Decay | None = None
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    engine: Literal["auto", "eager", "compiled", "captured"] = "auto"
    channels_last: bool | Literal["auto"] = "auto"
    consensus: Weight = 0.0
    unroll: NotNegative = 0
    log_every: AtLeastOne | None = None
    checkpoint_every: AtLeastOne | None = None
    sample_every: AtLeastOne | None = None


@dataclass(frozen=True)
class RunConfig:
    """One run.

    Args:
        system: a named system, or None with `terms`.
        terms: an objective of your own, e.g. "nll + 0.5*match(z_code, z_prior, by=wasserstein, penalty=gp(10))".
        labels: every net is given the label y.
        options: the system's options, e.g. `system.weight=5`.
        seed: of everything random.
        device: where it runs: auto, cpu, cuda, or one of several as cuda:1.
    """

    system: str | None = None
    terms: str | None = None
    labels: bool = False
    options: dict[str, bool | int | float | str] = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seed: NotNegative = 0
    device: str = "auto"

    def as_dict(self) -> dict[str, Any]:
        """Return nested plain values, as `config.json` holds them."""
        return adapter().dump_python(self, mode="json")


SECTIONS = {"data": DataConfig, "network": NetworkConfig, "training": TrainingConfig}


@cache
def adapter() -> TypeAdapter[RunConfig]:
    """Return the reader and writer of a RunConfig as nested values; made once, because a sweep has thousands."""
    from pydantic import ConfigDict, TypeAdapter

    for kind in (RunConfig, *SECTIONS.values()):
        kind.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    return TypeAdapter(RunConfig)
