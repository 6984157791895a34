"""A run's configuration: one typed, documented structure, which is all of it in one JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from distmatch.errors import BadInput


def ranged(default: Any, *, least: int | None = None, above: float | None = None) -> Any:
    """Return a field whose value, where it is not None, is at least `least`, or finite and above `above`."""
    return field(default=default, metadata={"least": least, "above": above})


@dataclass(frozen=True)
class DataConfig:
    """The data set of a run.

    Args:
        name: a data set (`distmatch list data`).
        dir: the folder that holds its files; the cache, if there is none.
        limit: use only the first examples of each split.
        size: the side to which images of `folder` and `celeba` are brought.
        binarise: of images: none, threshold (x > 1/2), dynamic (a fresh draw from Bernoulli(x) at each step), or
            dequantise ((255x + u)/256); auto is dequantise for a flow and none otherwise.
    """

    name: str = ""
    dir: str | None = None
    limit: int | None = ranged(None, least=1)
    size: int | None = None
    binarise: Literal["auto", "none", "threshold", "dynamic", "dequantise"] = "auto"


@dataclass(frozen=True)
class NetworkConfig:
    """The nets.

    Args:
        family: a family of nets (`distmatch list networks`); auto takes dcgan for images and an implicit decoder,
            and mlp otherwise.
        latent: the size of z; 20, or for a flow that of the data.
        likelihood: p(x|z); auto is implicit where no term needs a density, else bernoulli for data in [0, 1] and
            gaussian for the rest; for an autoregressive net bernoulli for binarised images, else categorical.
        posterior: q(z|x): gaussian, deterministic, sphere, flow or noise.
        prior: p(z): normal, sphere or uniform, or where the objective learns it mixture, vamp or flow; auto is
            normal, or mixture.
        options: the family's own, e.g. `network.width=256`.
    """

    family: str = "auto"
    latent: int | None = ranged(None, least=1)
    likelihood: str = "auto"
    posterior: str = "gaussian"
    prior: str = "auto"
    options: dict[str, bool | int | float | str | None] = field(default_factory=dict)


@dataclass(frozen=True)
class TrainingConfig:
    """Length, optimisers and order of training.

    Args:
        steps: steps of the model; give this or epochs.
        epochs: times through the data (default 20).
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
        precision: float32, tf32 (for products of matrices on a CUDA device; float32 elsewhere), or bf16 (autocast).
        engine: how steps run: eager, compiled (torch.compile), captured (one CUDA graph), or auto: captured on a
            CUDA device where it can be, eager otherwise.
        channels_last: whether convolutions' weights lie in memory channels last; auto where it is the faster.
        consensus: γ of consensus optimisation, which moves model and critics together by v + γ∇½‖v‖².
        unroll: how many more of its steps the model looks ahead of the critic.
        log_every: steps between lines of the log.
        checkpoint_every: steps between checkpoints.
        sample_every: steps between sample grids.
    """

    steps: int | None = ranged(None, least=1)
    epochs: float | None = ranged(None, above=0)
    batch_size: int = ranged(64, least=1)
    critic_steps: int = ranged(1, least=1)
    order: Literal["alternating", "simultaneous"] = "alternating"
    optimiser: Literal["adam", "rmsprop", "sgd"] = "adam"
    lr: float = ranged(1e-3, above=0)
    critic_lr: float | None = ranged(None, above=0)
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    clip_gradient: float | None = ranged(None, above=0)
    ema: float | None = None
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    engine: Literal["auto", "eager", "compiled", "captured"] = "auto"
    channels_last: bool | Literal["auto"] = "auto"
    consensus: float = 0.0
    unroll: int = ranged(0, least=0)
    log_every: int | None = ranged(None, least=1)
    checkpoint_every: int | None = ranged(None, least=1)
    sample_every: int | None = ranged(None, least=1)


@dataclass(frozen=True)
class RunConfig:
    """One run.

    Args:
        system: a named system, or None with `terms`.
        terms: an objective of one's own, as text.
        labels: every net is given the label y.
        options: the system's options, e.g. `system.weight=5`.
        seed: of everything random.
        device: auto, cpu, cuda, ...
    """

    system: str | None = None
    terms: str | None = None
    labels: bool = False
    options: dict[str, bool | int | float | str] = field(default_factory=dict)
    data: DataConfig = field(default_factory=DataConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    seed: int = ranged(0, least=0)
    device: str = "auto"

    def as_dict(self) -> dict[str, Any]:
        """Nested plain values, as `config.json` holds them."""
        return _plain(asdict(self))


SECTIONS = {"data": DataConfig, "network": NetworkConfig, "training": TrainingConfig}


def _plain(value: Any) -> Any:
    """Return nested values as JSON holds them: tuples as lists."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    return [_plain(v) for v in value] if isinstance(value, list | tuple) else value


def check_ranges(config: RunConfig) -> None:
    """Raise `BadInput` for a number out of its range, and for settings that contradict one another."""
    t = config.training
    for section, part in {"": config, **{name: getattr(config, name) for name in SECTIONS}}.items():
        for own in fields(part):
            value, least, above = (
                getattr(part, own.name),
                own.metadata.get("least"),
                own.metadata.get("above"),
            )
            path = f"{section}.{own.name}".lstrip(".")
            if value is not None and least is not None and value < least:
                raise BadInput(f"{path} is {value}; give at least {least}")
            if value is not None and above is not None and not above < value < float("inf"):
                raise BadInput(f"{path} is {value:g}; give a finite number above {above:g}")
    if not 0 <= t.consensus < float("inf"):
        raise BadInput(f"training.consensus is {t.consensus:g}; give a finite number, 0 or above")
    if t.consensus and t.unroll:
        raise BadInput("training.consensus and training.unroll are both given; leave one of them out")
    if t.ema is not None and not 0 < t.ema < 1:
        raise BadInput(f"training.ema is {t.ema:g}; give a decay between 0 and 1, such as 0.999")
    if not all(0 <= b < 1 for b in t.betas):
        raise BadInput(f"training.betas are {t.betas}; each must be at least 0 and below 1")
    if t.steps is not None and t.epochs is not None:
        raise BadInput("both --steps and --epochs are given; give one of them")
    if (config.system is None) == (config.terms is None):
        both = "a system and --terms are both given" if config.terms else "nothing says what to train"
        raise BadInput(f"{both}; give either a system's name (`distmatch list systems`) or --terms")
    if not config.data.name:
        raise BadInput("no data set is named; give --data, one of those that `distmatch list data` shows")
