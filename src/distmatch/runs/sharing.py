"""A run that several ranks train together: what they are given, what is refused, and that they start alike."""

from __future__ import annotations

import json
from dataclasses import replace

import torch
from safetensors.torch import load, save

from distmatch.errors import BadInput
from distmatch.networks import mixes_batch
from distmatch.networks.layers.minibatch import MinibatchDiscrimination, MinibatchStddev
from distmatch.networks.layers.symmetric import Symmetric
from distmatch.runs.build import Assembly, assemble
from distmatch.runs.config import RunConfig
from distmatch.runs.layers import read_config
from distmatch.runs.torchrun import local
from distmatch.training.distributed.ranks import Ranks


def assemble_share(config: RunConfig, ranks: Ranks | None) -> Assembly:
    """`assemble`, for a rank on a device of its own that is fed its share of each batch.

    The configuration of the result names no rank's own device. All ranks wait for each other here.

    Raises:
        BadInput: what is asked for cannot be, or not by so many ranks.
        Lost: it cannot be on another rank.
    """
    if ranks is None:
        return assemble(config)
    device = device_of_this_rank(config.device)
    made = assemble(replace(config, device=device))
    _check(made, ranks.count)
    made.trainer.feed.ranks = ranks
    ranks.told(b"all there")
    return replace(made, config=replace(made.config, device=device.partition(":")[0]))


def same_config(config: RunConfig | None, ranks: Ranks) -> RunConfig:
    """The leader's configuration, on every rank."""
    said = b"" if config is None else json.dumps(config.as_dict()).encode()
    return read_config(json.loads(ranks.told(said)))


def start_alike(assembly: Assembly, ranks: Ranks) -> None:
    """Every rank takes the leader's state: weights, moments, generator, place in the data."""
    trainer = assembly.trainer
    tensors, info = trainer.snapshot()
    tensors = {k: v.detach().cpu().contiguous() for k, v in tensors.items()}
    about = ranks.told(json.dumps(info).encode() if ranks.leads else b"")
    state = ranks.told(save(tensors) if ranks.leads else b"")
    if not ranks.leads:
        trainer.restore(load(state), json.loads(about))


def device_of_this_rank(name: str) -> str:
    """A device for this rank alone: a GPU of its own, or the CPU."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if not name.startswith("cuda"):
        return name
    if name != "cuda":
        raise BadInput(f"each rank takes a GPU of its own, and the device is {name}; give --device cuda")
    if local() >= (there := torch.cuda.device_count()):
        raise BadInput(
            f"rank {local()} of a machine takes its GPU of that number, and {there} are there; "
            "start as many ranks as GPUs, or give --device cpu"
        )
    torch.cuda.set_device(local())
    return f"cuda:{local()}"


def _check(assembly: Assembly, count: int) -> None:
    """Raise `BadInput` for a run that would not be the same on several ranks."""
    training, objective = assembly.config.training, assembly.objective
    size, alone = training.batch_size, "or train in one process"
    if size % count:
        raise BadInput(
            f"training.batch_size is that of all ranks together, and {size} is not a multiple of {count}; "
            f"give e.g. --batch-size {max(1, round(size / count)) * count}"
        )
    share = size // count
    for name, value in (("training.consensus", training.consensus), ("training.unroll", training.unroll)):
        if value:
            raise BadInput(f"{name} differentiates the step of a whole batch: leave it out, {alone}")
    if training.engine == "compiled":
        raise BadInput(f"training.engine=compiled takes a step that waits for nobody: leave it out, {alone}")
    for name, term in zip(objective.names, objective.terms, strict=True):
        if not term.per_sample:
            raise BadInput(
                f"{name} is of a batch as a whole, and not a mean over its examples: leave it out, {alone}"
            )
        if share < term.pack:
            raise BadInput(
                f"a share of {share} of a batch holds no pack of {term.pack}; give a larger --batch-size"
            )
    for name, net in assembly.trainer.nets.items():
        if share == 1 and mixes_batch(net):
            raise BadInput(
                f"the net {name!r} mixes the examples of a batch, and a share of one holds nothing to mix; "
                "give a larger --batch-size"
            )
        for layer in net.modules():
            if isinstance(layer, MinibatchDiscrimination | Symmetric) or (
                isinstance(layer, MinibatchStddev) and layer.size(share) != layer.size(size)
            ):
                raise BadInput(
                    f"the {type(layer).__name__} of the net {name!r} compares all examples of a batch: "
                    f"leave it out, {alone}"
                )
