"""A run's configuration: typed, documented, and all of it in one JSON.

Values are merged, later over earlier: the defaults here, the system's defaults, a configuration file, options of the
command line, `--set`. A path such as `training.lr` names one value.
"""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from distmatch.errors import BadInput, unknown

if TYPE_CHECKING:
    from pydantic import TypeAdapter


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
    limit: int | None = None
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
    latent: int | None = None
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

    steps: int | None = None
    epochs: float | None = None
    batch_size: int = 64
    critic_steps: int = 1
    order: Literal["alternating", "simultaneous"] = "alternating"
    optimiser: Literal["adam", "rmsprop", "sgd"] = "adam"
    lr: float = 1e-3
    critic_lr: float | None = None
    betas: tuple[float, float] = (0.9, 0.999)
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    clip_gradient: float | None = None
    ema: float | None = None
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    engine: Literal["auto", "eager", "compiled", "captured"] = "auto"
    channels_last: bool | Literal["auto"] = "auto"
    consensus: float = 0.0
    unroll: int = 0
    log_every: int | None = None
    checkpoint_every: int | None = None
    sample_every: int | None = None


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
    seed: int = 0
    device: str = "auto"

    def as_dict(self) -> dict[str, Any]:
        """Nested plain values, as `config.json` holds them."""
        return json.loads(json.dumps(asdict(self)))


def configure(*layers: Mapping[str, Any]) -> RunConfig:
    """The configuration that results from these layers of `path -> value`, later over earlier.

    Raises:
        BadInput: a path that does not exist, with the nearest that does; a value of the wrong kind or range.

    >>> configure({"system": "vae", "data.name": "ring", "training.lr": 1e-3}, {"training.lr": 5e-4}).training.lr
    0.0005
    """
    nested: dict[str, Any] = {}
    for layer in layers:
        for path, value in layer.items():
            where, key = _place(path)
            target = nested
            for part in where:
                target = target.setdefault(part, {})
            if isinstance(value, bool) and path in NUMBERS:
                raise BadInput(f"{path} is {str(value).lower()}; give a number")
            target[key] = value
    config = _validated(nested)
    _check_ranges(config)
    return config


def layer_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """A nested configuration, as JSON holds it, as one layer of `path -> value`.

    >>> layer_of({"system": "vae", "options": {"beta": 4.0}, "data": {"name": "ring"}})
    {'system': 'vae', 'system.beta': 4.0, 'data.name': 'ring'}
    """
    layer: dict[str, Any] = {}
    for key, value in config.items():
        section = "system" if key == "options" else key
        for path, item in value.items() if isinstance(value, Mapping) else ():
            if path == "options" and isinstance(item, Mapping):
                layer |= {f"{section}.{k}": v for k, v in item.items()}
            else:
                layer[f"{section}.{path}"] = item
        if not isinstance(value, Mapping):
            layer[key] = value
    return layer


def read_layer(path: Path) -> dict[str, Any]:
    """A configuration file as a layer: a RunConfig as JSON, or the `config.json` of a run.

    Raises:
        BadInput: it cannot be read, is not a JSON object, or names what is not a setting.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(
            f"cannot read the configuration {path} ({error.strerror}); name another file"
        ) from error
    except ValueError as error:
        raise BadInput(
            f"the configuration {path} is not JSON ({error}); a run's config.json is one"
        ) from error
    inner = content.get("config", content) if isinstance(content, dict) else None
    if not isinstance(inner, dict):
        raise BadInput(f"the configuration {path} holds no JSON object; a run's config.json does")
    layer = layer_of(inner)
    for place in layer:
        try:
            _place(place)
        except BadInput as error:
            raise BadInput(f"the configuration {path} cannot be used: {error}") from error
    return layer


def assignment(text: str) -> dict[str, Any]:
    """One `--set path=value` as a layer; the value is JSON where it can be, else text.

    >>> assignment("training.betas=[0.5, 0.9]"), assignment("network.family=mlp")
    ({'training.betas': [0.5, 0.9]}, {'network.family': 'mlp'})
    """
    path, equals, value = text.partition("=")
    if not equals or not path.strip():
        raise BadInput(f"--set {text!r} is not of the form path=value, such as training.lr=0.0002")
    try:
        return {path.strip(): json.loads(value)}
    except ValueError:
        return {path.strip(): value.strip()}


def settings_text() -> str:
    """Every setting that `--set` takes, a line each, from the docstrings above.

    >>> print(settings_text().splitlines()[0])
    data.name: a data set (`distmatch list data`).
    """
    lines = []
    for section, kind in SECTIONS.items():
        text = inspect.cleandoc(kind.__doc__ or "").partition("Args:")[2]
        for entry in re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", text, flags=re.MULTILINE):
            lines.append(f"{section}.{entry[0]}: {' '.join(entry[1].split())}")
    return "\n".join(lines)


SECTIONS = {"data": DataConfig, "network": NetworkConfig, "training": TrainingConfig}
NUMBERS = {"seed"} | {
    f"{section}.{f.name}"
    for section, kind in SECTIONS.items()
    for f in fields(kind)
    if str(f.type).startswith(("int", "float"))
}


def _place(path: str) -> tuple[tuple[str, ...], str]:
    """Return the sections of the nested configuration that a path names, and its last key."""
    section, dot, key = path.partition(".")
    if not dot:
        known = {f.name for f in fields(RunConfig)} - {"options", *SECTIONS}
        if section not in known:
            raise unknown("setting", path, _paths())
        return (), section
    if section == "system":
        return ("options",), key
    if section not in SECTIONS:
        raise unknown("setting", path, _paths())
    if key in {f.name for f in fields(SECTIONS[section])} - {"options"}:
        return (section,), key
    if section == "network" and key.isidentifier():
        return ("network", "options"), key
    raise unknown("setting", path, _paths())


def _paths() -> list[str]:
    """Every path there is, but for the options of systems and nets."""
    paths = [f.name for f in fields(RunConfig) if f.name not in ("options", *SECTIONS)]
    for section, kind in SECTIONS.items():
        paths += [f"{section}.{f.name}" for f in fields(kind) if f.name != "options"]
    return paths


@cache
def _adapter() -> TypeAdapter[RunConfig]:
    """Return the reader of nested values as a RunConfig; made once, because a sweep reads thousands."""
    from pydantic import ConfigDict, TypeAdapter

    for kind in (RunConfig, *SECTIONS.values()):
        kind.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    return TypeAdapter(RunConfig)


def _validated(nested: dict[str, Any]) -> RunConfig:
    from pydantic import ValidationError

    try:
        return _adapter().validate_python(nested)
    except ValidationError as error:
        first = error.errors()[0]
        path = [str(part) for part in first["loc"]]
        message = first["msg"][0].lower() + first["msg"][1:]
        if "options" in path:  # what follows the option's name is which of its types was tried
            path = path[: path.index("options") + 2]
            message = "give a number, true, false, or text"
        where = ".".join(path).replace("network.options.", "network.").replace("options.", "system.")
        raise BadInput(f"{where} is {first['input']!r}: {message}") from error


def _check_ranges(config: RunConfig) -> None:
    t = config.training
    at_least = {
        "training.steps": (t.steps, 1),
        "training.batch_size": (t.batch_size, 1),
        "training.critic_steps": (t.critic_steps, 1),
        "training.log_every": (t.log_every, 1),
        "training.checkpoint_every": (t.checkpoint_every, 1),
        "training.sample_every": (t.sample_every, 1),
        "network.latent": (config.network.latent, 1),
        "data.limit": (config.data.limit, 1),
        "training.unroll": (t.unroll, 0),
        "seed": (config.seed, 0),
    }
    for path, (value, least) in at_least.items():
        if value is not None and value < least:
            raise BadInput(f"{path} is {value}; give at least {least}")
    positive = {
        "training.epochs": t.epochs,
        "training.lr": t.lr,
        "training.critic_lr": t.critic_lr,
        "training.clip_gradient": t.clip_gradient,
    }
    for path, number in positive.items():
        if number is not None and not 0 < number < float("inf"):
            raise BadInput(f"{path} is {number:g}; give a finite number above 0")
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
