"""From a configuration to a trainer: the one place where systems, nets, data and the engine meet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from distmatch.data import PREPARATIONS, DataSet, load, to_unit
from distmatch.errors import BadInput, unknown
from distmatch.grammar import parse
from distmatch.likelihoods import LIKELIHOODS
from distmatch.networks import NETWORKS, Shapes, build, has_batch_norm
from distmatch.networks.dcgan import PLANS
from distmatch.objective import Objective
from distmatch.runs.config import RunConfig, TrainingConfig, configure
from distmatch.systems import find
from distmatch.training import OPTIMISERS, SCHEDULES, Feed, Settings, Trainer
from distmatch.variables import Z_CODE

DEFAULT_EPOCHS = 20
DEVICES = ("cpu", "cuda")
DISCRETE = ("quantized-normal", "quantized-normal-per-pixel", "categorical")


@dataclass(frozen=True)
class Assembly:
    """A run, put together: its resolved configuration, objective, data and trainer."""

    config: RunConfig
    objective: Objective
    data: DataSet
    trainer: Trainer


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
    return objective.conditional() if config.conditional else objective


def assemble(config: RunConfig) -> Assembly:
    """Load the data, build the nets, and make the trainer.

    The configuration of the result is resolved: nothing in it is `auto` any more, and it alone fixes the run.

    Raises:
        BadInput: what is asked for cannot be.
    """
    objective = objective_of(config)
    data = load(
        config.data.name, config.data.dir, limit=config.data.limit, seed=config.seed, size=config.data.size
    )
    config = _resolved(config, objective, data)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        nets = _nets(config, objective, data)
    feed = feed_of(config, objective, data)
    settings = _settings(config)
    return Assembly(
        config, objective, data, Trainer(objective, nets, feed, settings, config.training.critic_steps)
    )


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
        device=config.device,
    )


def _prepared(apply: Any, x: Tensor, noise: Tensor | None) -> Tensor:
    return apply(to_unit(x), noise)


def _as_it_is(x: Tensor, noise: Tensor | None) -> Tensor:
    return x


def _resolved(config: RunConfig, objective: Objective, data: DataSet) -> RunConfig:
    """The configuration with every `auto` and every number of steps decided."""
    network, training = config.network, config.training
    likelihood = network.likelihood
    if likelihood == "auto":
        explicit = "bernoulli" if data.is_image else "gaussian"
        likelihood = explicit if objective.needs_likelihood else "implicit"
    if likelihood not in LIKELIHOODS:
        raise unknown("likelihood", likelihood, LIKELIHOODS)
    if likelihood == "implicit" and objective.needs_likelihood:
        raise BadInput(
            "an implicit decoder has no likelihood, and the objective has a term nll: "
            "choose another network.likelihood, or replace nll by distance(x, x_rec)"
        )
    if network.posterior == "deterministic" and Z_CODE in objective.laws:
        raise BadInput(
            "a deterministic encoder has no KL to the prior, and the objective has a term kl: "
            "choose network.posterior=gaussian, or replace kl by match(z_code, z_prior)"
        )
    if config.data.binarise == "dequantise" and likelihood in DISCRETE:
        raise BadInput(
            f"the likelihood {likelihood} is of grey levels, and data.binarise=dequantise adds noise to them: "
            "leave one of the two out"
        )
    family = network.family
    if family == "auto":
        convolutional = data.is_image and data.shape[1] == data.shape[2] and data.shape[1] in PLANS
        family = "dcgan" if convolutional and likelihood == "implicit" else "mlp"
    if family not in NETWORKS:
        raise unknown("network", family, NETWORKS)
    options = dict(network.options)
    if any(penalty.per_sample for _, penalty in objective.penalties.values()):
        options.setdefault("critic_batch_norm", False)
    if objective.given and not data.labels:
        raise BadInput(f"the objective is given the label y, and {data.name} has no labels")
    if not data.is_image and config.data.binarise != "none":
        raise BadInput(f"binarisation is for images; {data.name} has none, so leave data.binarise at none")
    if training.average is not None and "decoder" not in objective.uses:
        raise BadInput(
            "training.average keeps the decoder's average, and no term has a decoder; leave it out"
        )
    return replace(
        config,
        network=replace(network, likelihood=likelihood, family=family, options=options),
        training=_resolved_training(config, objective, len(data.train)),
        device=_device(config.device),
    )


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


def _device(name: str) -> str:
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
    shapes = Shapes(
        x=data.shape,
        latent=network.latent,
        labels=data.labels if objective.given else 0,
        bounded=data.is_image,
    )
    make = partial(
        build,
        network.family,
        shapes=shapes,
        likelihood=network.likelihood,
        posterior=network.posterior,
        options=network.options,
    )
    nets = {player: make(player) for player in objective.uses}
    nets |= {name: make("critic", spaces=spaces) for name, spaces in objective.critics.items()}
    for name, (critic, penalty) in objective.penalties.items():
        if penalty.per_sample and has_batch_norm(nets[critic]):
            raise BadInput(
                f"the penalty of {name} is per sample, and batch norm in its critic mixes the samples: "
                "set network.critic_batch_norm=false"
            )
    return nets


def _settings(config: RunConfig) -> Settings:
    t = config.training
    make_schedule = SCHEDULES[t.schedule]
    assert t.steps is not None

    def optimiser(lr: float, steps: int) -> Any:
        schedule = make_schedule(steps) if make_schedule else None
        betas = {"beta1": t.betas[0], "beta2": t.betas[1]} if t.optimiser == "adam" else {}
        return OPTIMISERS[t.optimiser](lr=lr, schedule=schedule, **betas)

    return Settings(
        players=optimiser(t.lr, t.steps),
        critics=optimiser(t.critic_lr or t.lr, t.steps * t.critic_steps),
        simultaneous=t.order == "simultaneous",
        clip_gradient=t.clip_gradient,
        average=t.average,
        precision=t.precision,
    )
