"""Batches and noise: all that is random in training, made outside the step.

The order of the data depends on the seed and the epoch only. Noise comes from one generator of the run's own. So a
run is fixed by its seed, and resumes from the generator's state and the count of batches. Their streams are apart
from each other, and from that of a plain `manual_seed(seed)`, with which nets and toy data are made.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from distmatch.errors import BadInput, unknown
from distmatch.objectives.objective import Objective
from distmatch.objectives.variables import Z_CODE, Z_PRIOR
from distmatch.training.distributed.ranks import Ranks
from distmatch.training.step import Batch

FIXED_PRIORS: Mapping[str, Callable[[Tensor], Tensor]] = MappingProxyType(
    {
        "normal": lambda e: e,
        "sphere": lambda e: e * (e.shape[1] ** 0.5 / e.norm(dim=1, keepdim=True)),
        "uniform": lambda e: torch.special.ndtr(e) * 2 - 1,
    }
)
"""Fixed distributions of z as functions of normal noise `(B, latent)`: N(0, I); on the sphere of radius √latent, where
N(0, I) has its mass; uniform in [-1, 1]."""

Prepare = Callable[[Tensor, Tensor | None], Tensor]
FINGERPRINTED = 1 << 22  # bytes at once
RESIDENT_SHARE = 0.25  # of the device's free memory that a data set may take


class Feed:
    """Endless batches of a data set, with the noise that an objective needs.

    Args:
        objective: whose draws and terms need noise.
        x: all data `(N, *x_shape)`: bytes, which are kept so and prepared batch by batch, or floats.
        y: labels `(N,)`, whole numbers from 0, in the order of x; None where the objective takes none.
        latent: the size of the code.
        batch_size: B; the last, incomplete batch of an epoch is left out.
        seed: of the order and of the noise.
        prepare: from stored data and uniform noise of its shape (None unless `prepare_noise`) to what nets see; without
            it bytes become floats in [0, 1], and floats stay.
        prepare_noise: whether `prepare` wants noise.
        dequantise: whether the likelihood wants uniform noise `(B, *x_shape)`.
        prior: the distribution of z, a name in `FIXED_PRIORS`.
        code_noise: the size of the noise that an implicit encoder takes; None: that of the code.
        device: where batches are needed. Data that fit are held there; the rest is sent batch by batch.

    Raises:
        BadInput: fewer examples than one batch, a batch size below 1 or below the pack of a critic, an unknown prior;
            labels that are not whole numbers from 0, one an example, or that the objective does not take.

    >>> from distmatch.objectives.parser import parse
    >>> feed = Feed(parse("nll + kl"), torch.zeros(100, 2), latent=3, batch_size=10)
    >>> feed.next().x.shape
    torch.Size([10, 2])
    """

    def __init__(
        self,
        objective: Objective,
        x: Tensor,
        y: Tensor | None = None,
        *,
        latent: int,
        batch_size: int = 64,
        seed: int = 0,
        prepare: Prepare | None = None,
        prepare_noise: bool = False,
        dequantise: bool = False,
        prior: str = "normal",
        code_noise: int | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        if not isinstance(x, Tensor) or x.ndim < 1:
            raise BadInput(
                f"the data are a {type(x).__name__}; give a tensor (N, ...), as of torch.as_tensor"
            )
        if not x.is_floating_point() and x.dtype != torch.uint8:
            raise BadInput(
                f"the data are of type {x.dtype}; give floats (x.float()), or bytes (torch.uint8), which become [0, 1]"
            )
        for name, count in {"batch size": batch_size, "latent": latent}.items():
            if count < 1:
                raise BadInput(f"{name} is {count}; give at least 1")
        if len(x) < batch_size:
            across = (
                f" (x has shape {tuple(x.shape)}: its first dimension must be the examples)"
                if x.ndim > 1
                else ""
            )
            raise BadInput(
                f"the training split has {len(x)} examples, fewer than one batch of {batch_size}; "
                f"give a smaller --batch-size{across if x.ndim > 1 and x.shape[1] > len(x) else ''}"
            )
        if batch_size < (pack := max(t.pack for t in objective.terms)):
            raise BadInput(f"a batch of {batch_size} holds no pack of {pack}; give a larger --batch-size")
        _check_labels(objective, x, y)
        self.objective = objective
        self.device = torch.device(device)
        self.x = _resident(x, self.device)
        self.y = None if y is None else y.to(self.device, torch.long)
        self.latent = latent
        self.batch_size = batch_size
        self.seed = seed
        self.prepare = prepare or _floats
        self.prepare_noise = prepare_noise
        self.dequantise = dequantise
        if prior not in FIXED_PRIORS:
            raise unknown("prior", prior, FIXED_PRIORS)
        self.prior = FIXED_PRIORS[prior]
        self.code_noise = code_noise or latent
        self.generator = torch.Generator(self.device).manual_seed(_stream(seed, 0))
        self.taken = 0
        self.ranks: Ranks | None = None
        self._order = torch.empty(0, dtype=torch.long)
        self._ordered = -1

    @property
    def batches_per_epoch(self) -> int:
        """Whole batches in the data."""
        return len(self.x) // self.batch_size

    @property
    def epoch(self) -> int:
        """Number of times the data have been gone through."""
        return self.taken // self.batches_per_epoch

    def beside(self, seed: int) -> Feed:
        """The same data from their beginning, whole batches, in an order and with noise of its own; this one stays."""
        other = copy.copy(self)
        other.seed, other.taken, other.ranks, other._ordered = seed, 0, None, -1
        other.generator = torch.Generator(self.device).manual_seed(_stream(seed, 0))
        return other

    def next(self) -> Batch:
        """The next batch and its noise."""
        return self.batch(self.places())

    def places(self) -> Tensor:
        """Return the next batch's places in the data, `(B,)`, and count it as taken."""
        epoch, place = divmod(self.taken, self.batches_per_epoch)
        if epoch != self._ordered:
            shuffler = torch.Generator().manual_seed(_stream(self.seed, epoch + 1))
            self._order = torch.randperm(len(self.x), generator=shuffler).to(self.x.device)
            self._ordered = epoch
        self.taken += 1
        return self._order[place * self.batch_size : (place + 1) * self.batch_size]

    def batch(self, index: Tensor) -> Batch:
        """The examples at these places, with fresh noise; where there are ranks, this one's share of both."""
        own = index if self.ranks is None else self.ranks.share(index)
        x = self.x[own].to(self.device, non_blocking=True)
        u = self._uniform(len(index), *x.shape[1:]) if self.prepare_noise else None
        x = self.prepare(x, u if u is None or self.ranks is None else self.ranks.share(u))
        y = None if self.y is None else self.y[own.to(self.y.device)]
        if self.ranks is None:
            return Batch(x, self.noise(x), y)
        whole = self.noise(x[:1].expand(len(index), *x.shape[1:]))
        return Batch(x, self._shared(whole, self.ranks), y, self.ranks)

    def _shared(self, noise: Mapping[str, Tensor], ranks: Ranks) -> dict[str, Tensor]:
        """This rank's rows of the noise of a whole batch; what is one number for all is left as it is."""
        copies = {Z_CODE.name: self.objective.samples}
        return {k: ranks.share(e, copies.get(k, 1)) if e.dim() else e for k, e in noise.items()}

    def noise(self, x: Tensor) -> dict[str, Tensor]:
        """Return the noise that the draws and terms of one round need, for data `(B, *x_shape)`."""
        size, objective = len(x), self.objective
        noise_by_name: dict[str, Tensor] = {}
        for v in objective.variables:
            if v is Z_PRIOR:
                noise_by_name[v.name] = self.prior(self._normal(size, self.latent))
            elif v is Z_CODE:
                noise_by_name[v.name] = self._normal(objective.samples * size, self.code_noise)
            elif v.space == "z":
                noise_by_name[v.name] = self._normal(size, self.code_noise if v.net else self.latent)
        sizes = {"x": tuple(x.shape), "z": (size, self.latent)}
        for term in objective.terms:
            for name, noise in term.noise.items():
                noise_by_name[name] = noise.draw(sizes, self.generator)
        if self.dequantise:
            noise_by_name["dequantise"] = self._uniform(*x.shape)
        return noise_by_name

    def _normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)

    def _uniform(self, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.device)

    def facts(self) -> dict[str, Any]:
        """Return what must be the same for a run to go on as it began: data, labels, seed, sizes of batch and code."""
        labels = None if self.y is None else fingerprint(self.y)
        sizes = {"batch size": self.batch_size, "latent": self.latent, "seed": self.seed}
        return {"data": fingerprint(self.x), "labels": labels, **sizes}


def fingerprint(values: Tensor) -> str:
    """Return a short text that two tensors share if shape, type and all bits are the same, in order.

    It is two sums over the tensor's bytes, plain and weighted by place, modulo 2⁶⁴: for telling data apart, and not
    against somebody who makes them agree.

    >>> x = torch.arange(6.0)
    >>> fingerprint(x) == fingerprint(x.clone()), fingerprint(x) == fingerprint(x.flip(0))
    (True, False)
    """
    flat = values.detach().contiguous().reshape(-1).view(torch.uint8)
    plain, weighted = 0, 0
    for i in range(0, len(flat), FINGERPRINTED):
        part = flat[i : i + FINGERPRINTED].long()
        places = torch.arange(1, len(part) + 1, device=part.device)
        plain += int(part.sum())
        weighted += int((part * places).sum()) + i * int(part.sum())
    return f"{tuple(values.shape)} {str(values.dtype).removeprefix('torch.')} {plain:x}.{weighted % 2**64:x}"


def _check_labels(objective: Objective, x: Tensor, y: Tensor | None) -> None:
    """Raise `BadInput` unless there are labels exactly where the objective takes them, one whole number an example.

    Labels that stand at other examples than their own cannot be seen.
    """
    if y is None:
        if objective.labels:
            raise BadInput("the objective is given the label y, and these data have no labels")
        return
    if not objective.labels:
        raise BadInput(
            "labels y are given, and the objective takes none: write objective.with_labels(), or leave y out"
        )
    remedy = {2: "y.argmax(1), if they are one-hot"}.get(y.ndim, "one whole number for each example")
    if y.shape != x.shape[:1]:
        raise BadInput(
            f"labels have shape {tuple(y.shape)} for {len(x)} examples; give ({len(x)},): {remedy}"
        )
    if y.dtype == torch.bool or y.is_complex() or bool((y != y.long()).any()):
        raise BadInput(
            f"labels of type {y.dtype} are not whole numbers; give classes 0, 1, ... as torch.long"
        )
    if int(y.min()) < 0:
        raise BadInput(f"labels go down to {int(y.min())}; count classes from 0")


def _floats(x: Tensor, noise: Tensor | None) -> Tensor:
    return x.float().div_(255) if x.dtype == torch.uint8 else x


def _stream(seed: int, number: int) -> int:
    """The seed of a run's numbered stream, of 32 bits because torch's generator on a CPU looks at no more."""
    return int.from_bytes(hashlib.sha256(f"{seed} {number}".encode()).digest()[:4])


def _resident(x: Tensor, device: torch.device) -> Tensor:
    if device.type != "cuda":
        return x
    free, _ = torch.cuda.mem_get_info(device)
    return x.to(device) if x.numel() * x.element_size() <= RESIDENT_SHARE * free else x
