"""From a configuration to a trainer: the one place where systems, nets, data and the engine meet."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from distmatch.data import PREPARATIONS, DataSet, load, to_unit
from distmatch.distributions.likelihoods import LIKELIHOODS
from distmatch.errors import BadInput, unknown
from distmatch.networks import (
    NETWORKS,
    POSTERIORS,
    PRIORS,
    Shapes,
    build,
    options_over,
    prior,
    refuses_penalties,
)
from distmatch.networks.families.dcgan import fits
from distmatch.objectives.objective import Objective
from distmatch.objectives.parser import parse
from distmatch.runs.combinations import check
from distmatch.runs.config import RunConfig, TrainingConfig
from distmatch.runs.layers import configure
from distmatch.runs.schedules import arrived, late
from distmatch.systems import find
from distmatch.training import FIXED_PRIORS, OPTIMISERS, SCHEDULES, Feed, Settings, Trainer

DEFAULT_EPOCHS = 20
DEVICES = ("cpu", "cuda")
DEFAULT_LATENT = 20
CHANNELS_LAST = ("dcgan",)  # families whose steps are faster so (`benchmarks/training.py`)
PSEUDO_INPUTS = 500  # examples among which a VampPrior chooses what it starts from


@dataclass(frozen=True)
class Assembly:
    """A run, put together: its resolved configuration, objective, data and trainer, and what to know of it."""

    config: RunConfig
    objective: Objective
    data: DataSet
    trainer: Trainer
    notes: tuple[str, ...] = ()


def layered(*layers: Mapping[str, Any]) -> RunConfig:
    """`configure`, with the named system's defaults under the layers."""
    chosen = configure(*layers)
    return configure(find(chosen.system).defaults if chosen.system else {}, *layers)


def objective_of(config: RunConfig) -> Objective:
    """The objective that a configuration names."""
    if config.system is not None:
        objective = find(config.system).objective(**config.options)
    elif config.options:
        raise BadInput("--set system.… belongs to a named system; write the numbers into --terms instead")
    else:
        assert config.terms is not None
        objective = parse(config.terms)
    return objective.with_labels() if config.labels else objective


def data_of(config: RunConfig) -> DataSet:
    """The data that a configuration names."""
    return load(
        config.data.name, config.data.dir, limit=config.data.limit, seed=config.seed, size=config.data.size
    )


def resolved(config: RunConfig, data: DataSet) -> RunConfig:
    """The configuration of what `assemble` would make of it, refused as there, but for what only nets can tell."""
    return _resolved(config, objective_of(config), data)


def assemble(config: RunConfig, data: DataSet | None = None, x: Tensor | None = None) -> Assembly:
    """Load the data, build the nets, and make the trainer.

    The configuration of the result is resolved: nothing in it is `auto` any more but the engine, shares of the run
    are steps, and it alone fixes the run.

    Args:
        config: the run.
        data: what `data_of` gives for it, where that is loaded already.
        x: its training examples where they lie on the device already, as of `feed_of`.

    Raises:
        BadInput: what is asked for cannot be.
    """
    objective = objective_of(config)
    data = data_of(config) if data is None else data
    config = _resolved(config, objective, data)
    objective = objective_of(config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        nets = _nets(config, objective, data)
    feed = feed_of(config, objective, data, x=x)
    training = config.training
    if training.channels_last is True:
        for net in nets.values():
            net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # in place, as torch's stubs forget
    trainer = Trainer(objective, nets, feed, _settings(config), training.critic_steps, training.engine)
    assert training.steps is not None
    return Assembly(config, objective, data, trainer, late(objective, nets, training.steps))


def feed_of(
    config: RunConfig,
    objective: Objective,
    data: DataSet,
    split: str = "train",
    seed: int | None = None,
    x: Tensor | None = None,
) -> Feed:
    """Batches of one split, prepared as the configuration says; `x`: its data where they lie on the device already."""
    part = getattr(data, split)
    assert config.network.latent is not None
    preparation = PREPARATIONS[config.data.binarise]
    return Feed(
        objective,
        part.x if x is None else x,
        part.y,
        latent=config.network.latent,
        batch_size=min(config.training.batch_size, len(part))
        if split != "train"
        else config.training.batch_size,
        seed=config.seed if seed is None else seed,
        prepare=partial(_prepared, preparation.apply) if data.is_image else _as_it_is,
        prepare_noise=data.is_image and preparation.needs_noise,
        dequantise=objective.needs_likelihood and LIKELIHOODS[config.network.likelihood].needs_dequantisation,
        prior=config.network.prior if config.network.prior in FIXED_PRIORS else "normal",
        code_noise=POSTERIORS[config.network.posterior].noise_size or None,
        device=config.device,
    )


def _prepared(apply: Any, x: Tensor, noise: Tensor | None) -> Tensor:
    return apply(to_unit(x), noise)


def _as_it_is(x: Tensor, noise: Tensor | None) -> Tensor:
    return x


def _resolved(config: RunConfig, objective: Objective, data: DataSet) -> RunConfig:
    """The configuration with every `auto` and every number of steps decided; what cannot be is refused."""
    network = config.network
    training = _resolved_training(config, objective, len(data.train))
    assert training.steps is not None
    family = _family(network.family, network.likelihood, objective, data)
    binarise = config.data.binarise
    if binarise == "auto":
        binarise = "dequantise" if NETWORKS[family].flow and data.is_image else "none"
    likelihood = network.likelihood
    if likelihood == "auto":
        likelihood = _likelihood(family, objective, data, binarise)
    if likelihood not in LIKELIHOODS:
        raise unknown("likelihood", likelihood, LIKELIHOODS)
    latent = network.latent or (math.prod(data.shape) if NETWORKS[family].flow else DEFAULT_LATENT)
    options = _options(family, network.options, objective)
    resolved = replace(
        network,
        family=family,
        likelihood=likelihood,
        latent=latent,
        prior=_prior(network.prior, objective),
        options=options_over(family, options, Shapes(data.shape, latent), training.steps),
    )
    config = replace(
        config,
        options={**(find(config.system).options if config.system else {}), **config.options},
        network=resolved,
        data=replace(config.data, binarise=binarise),
        training=training,
        device=usable_device(config.device),
    )
    config = arrived(replace(config, training=_resolved_arithmetic(config)), training.steps)
    check(config, objective, data)
    if training.ema is not None and "decoder" not in objective.uses:
        raise BadInput("training.ema keeps the decoder's average, and no term has a decoder; leave it out")
    return config


def _family(family: str, likelihood: str, objective: Objective, data: DataSet) -> str:
    if family == "auto":
        convolutional = data.is_image and fits(data.shape)
        implicit = likelihood == "implicit" or (likelihood == "auto" and not objective.needs_likelihood)
        family = "dcgan" if convolutional and implicit else "mlp"
    if family not in NETWORKS:
        raise unknown("network", family, NETWORKS)
    return family


def _likelihood(family: str, objective: Objective, data: DataSet, binarise: str) -> str:
    if NETWORKS[family].flow or not objective.needs_likelihood:
        return "implicit"
    if NETWORKS[family].autoregressive:
        return "bernoulli" if binarise in ("threshold", "dynamic") else "categorical"
    return "bernoulli" if data.is_image else "gaussian"


def _prior(prior: str, objective: Objective) -> str:
    learned = "prior" in objective.uses
    if prior == "auto":
        return "mixture" if learned else "normal"
    known = {**FIXED_PRIORS, **PRIORS}
    if prior not in known:
        raise unknown("prior", prior, known)
    if learned and prior not in PRIORS:
        raise BadInput(
            f"the objective learns its prior, and {prior} has nothing to learn: "
            f"set network.prior to one of {', '.join(PRIORS)}"
        )
    if not learned and prior in PRIORS:
        raise BadInput(
            f"nothing trains the prior {prior!r}: write kl(prior=learned), or leave network.prior out"
        )
    return prior


def _options(family: str, options: Mapping[str, Any], objective: Objective) -> dict[str, Any]:
    """The family's options, with batch norm left out of critics whose penalty is per sample."""
    chosen = dict(options)
    known = {f.name for f in fields(NETWORKS[family].options)}
    per_sample = any(penalty.per_sample for _, penalty in objective.penalties.values())
    if per_sample and "critic_batch_norm" in known:
        chosen.setdefault("critic_batch_norm", False)
    return chosen


def _resolved_training(config: RunConfig, objective: Objective, examples: int) -> TrainingConfig:
    t = config.training
    if not objective.critics:
        t = replace(t, critic_steps=1)
    steps = t.steps
    if steps is None:
        per_epoch = max(1, examples // t.batch_size)
        steps = max(1, round((t.epochs or DEFAULT_EPOCHS) * per_epoch / t.critic_steps))
    return replace(
        t,
        steps=steps,
        epochs=None,
        log_every=t.log_every or max(1, min(100, steps // 50)),
        checkpoint_every=t.checkpoint_every or max(1, min(1000, steps // 5)),
        sample_every=t.sample_every or max(1, steps // 5),
    )


def _resolved_arithmetic(config: RunConfig) -> TrainingConfig:
    """Return the training settings with the memory layout of convolutions' weights decided.

    The engine stays `auto`: it changes no number but by rounding.
    """
    t = config.training
    if t.channels_last != "auto":
        return t
    gains = config.device == "cpu" or t.precision == "bf16"
    return replace(t, channels_last=gains and config.network.family in CHANNELS_LAST)


def usable_device(name: str) -> str:
    """The name of a device that works here; auto is the GPU where there is one.

    Raises:
        BadInput: it is not known, or cannot be used.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name.partition(":")[0] not in DEVICES:
        raise BadInput(f"device {name!r} is not known; give auto, cpu, cuda, or one of several as cuda:0")
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        raise BadInput(
            f"device {name!r} cannot be used here: {str(error).splitlines()[0].rstrip('.')}; give cpu or auto"
        ) from error
    return name


def _nets(config: RunConfig, objective: Objective, data: DataSet) -> dict[str, nn.Module]:
    network = config.network
    assert network.latent is not None
    shapes = Shapes(
        x=data.shape,
        latent=network.latent,
        num_classes=data.num_classes if objective.labels else 0,
        bounded=data.is_image,
    )
    make = partial(
        build,
        network.family,
        shapes=shapes,
        likelihood=network.likelihood,
        posterior=network.posterior,
        until=_lens_closes(objective),
        options=network.options,
    )
    nets = {name: make(name) for name in objective.uses if name != "prior"}
    nets |= {name: make("critic", spaces=spaces) for name, spaces in objective.critics.items()}
    if "prior" in objective.uses:
        x = data.train.x[:PSEUDO_INPUTS] if PRIORS[network.prior].needs_encoder else None
        nets["prior"] = prior(
            network.prior, shapes, x_init=to_unit(x) if data.is_image and x is not None else x
        )
    for name, (critic, penalty) in objective.penalties.items():
        if penalty.per_sample and refuses_penalties(nets[critic]):
            raise BadInput(
                f"the penalty of {name} is per sample, and its critic mixes the samples of a batch "
                "(batch norm, minibatch or symmetric layers): set network.critic_batch_norm=false, leave the others out"
            )
    return nets


def _lens_closes(objective: Objective) -> int | None:
    """The step at which the lens is removed: where the ramp that lets it fight the critic has come down to 0."""
    ends = [
        ramp.steps
        for path, ramp in objective.ramps.items()
        for i, _, number in [path.partition(".")]
        if isinstance(ramp.steps, int)
        and number == "weight"
        and ramp.end == 0
        and "lens" in objective.terms[int(i)].nets
    ]
    return max(ends, default=None)


def _settings(config: RunConfig) -> Settings:
    t = config.training
    make_schedule = SCHEDULES[t.schedule]
    assert t.steps is not None

    def optimiser(lr: float, steps: int) -> Any:
        schedule = make_schedule(steps) if make_schedule else None
        betas = {"beta1": t.betas[0], "beta2": t.betas[1]} if t.optimiser == "adam" else {}
        return OPTIMISERS[t.optimiser](lr=lr, schedule=schedule, **betas)

    return Settings(
        model=optimiser(t.lr, t.steps),
        critics=optimiser(t.critic_lr or t.lr, t.steps * t.critic_steps),
        simultaneous=t.order == "simultaneous",
        clip_gradient=t.clip_gradient,
        ema=t.ema,
        precision=t.precision,
        consensus=t.consensus,
        unroll=t.unroll,
    )
