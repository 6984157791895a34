"""The feeds of many lanes as one: each lane's batches and noise are its own, gathered and prepared together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from distmatch.training.batches import Feed
from distmatch.training.step import Batch

T = TypeVar("T")


class LaneFeed:
    """Batches of several feeds, stacked: `(K, B, ...)`, each lane's the ones that it would have had alone.

    Data that are equal are held once, for all feeds, and data that differ one after the other. So the batches of all
    lanes are one gather, prepared at once if that gives the same bits (tried on the first). Noise is drawn lane
    by lane, from each feed's own generator, so that its stream is that of the run alone.

    Args:
        feeds: of batches of one shape.

    >>> import torch
    >>> from distmatch.systems import vae
    >>> feeds = [Feed(vae(), torch.arange(6.0)[:, None], latent=3, batch_size=2, seed=seed) for seed in range(4)]
    >>> lanes = LaneFeed(feeds)
    >>> batch = lanes.batch(lanes.places())
    >>> batch.x.shape, batch.noise["z_code"].shape
    (torch.Size([4, 2, 1]), torch.Size([4, 2, 3]))
    """

    def __init__(self, feeds: Sequence[Feed]) -> None:
        self.feeds = list(feeds)
        self.shown = list(range(len(self.feeds)))  # which feed each lane is given
        self.x, self.y, self._starts = _together(self.feeds)
        self._offsets = self._starts[:, None]
        self._at_once: bool | None = None  # whether preparing all lanes' examples at once gives the same

    def show(self, lanes: Sequence[int]) -> None:
        """Give each lane the feed of this number from now on; a feed that is given to none is left alone."""
        self.shown = list(lanes)
        self._offsets = self._starts[self.shown][:, None]

    def places(self) -> Tensor:
        """Return the places of each lane's next batch in its data, `(K, B)`, and count them as taken."""
        return torch.stack(self._each(lambda feed, lane: feed.places()))

    def batch(self, places: Tensor) -> Batch:
        """All lanes' examples at these places `(K, B)`, with fresh noise."""
        lead = self.feeds[self.shown[0]]
        index = places.to(self.x.device) + self._offsets
        stored = self.x[index].to(lead.device, non_blocking=True)
        wanted = lead.prepare_noise
        uniform = self._each(lambda feed, lane: feed._uniform(*stored.shape[1:])) if wanted else []
        x = self._prepared(stored, uniform)
        noise = self._each(lambda feed, lane: feed.noise(x[lane]))
        y = None if self.y is None else self.y[index.to(self.y.device)]
        return Batch(x, {n: torch.stack([of_lane[n] for of_lane in noise]) for n in noise[0]}, y)

    def _each(self, make: Callable[[Feed, int], T]) -> list[T]:
        """Return what `make` gives for each lane, made once for each feed that is shown."""
        made = {k: make(self.feeds[k], self.shown.index(k)) for k in dict.fromkeys(self.shown)}
        return [made[k] for k in self.shown]

    def _prepared(self, stored: Tensor, uniform: Sequence[Tensor]) -> Tensor:
        """Return all lanes' examples as the nets see them, `(K, B, ...)`."""
        prepare = self.feeds[self.shown[0]].prepare
        joined = torch.stack(list(uniform)).flatten(0, 1) if uniform else None
        if self._at_once:
            return prepare(stored.flatten(0, 1), joined).unflatten(0, stored.shape[:2])
        apart = torch.stack([prepare(x, uniform[k] if uniform else None) for k, x in enumerate(stored)])
        if self._at_once is None:
            at_once = prepare(stored.flatten(0, 1), joined)
            self._at_once = torch.equal(at_once, apart.flatten(0, 1))
        return apart


def _together(feeds: Sequence[Feed]) -> tuple[Tensor, Tensor | None, Tensor]:
    """All their data and labels, each once, and where each feed's begin; the feeds then hold these."""
    kept: list[Feed] = []
    place = []
    for feed in feeds:
        same = (k for k, f in enumerate(kept) if _equal(f.x, feed.x) and _equal(f.y, feed.y))
        if (k := next(same, None)) is None:
            k = len(kept)
            kept.append(feed)
        feed.x, feed.y = kept[k].x, kept[k].y
        place.append(k)
    if len(kept) == 1:
        return kept[0].x, kept[0].y, torch.zeros(len(place), dtype=torch.long, device=kept[0].x.device)
    x, labels = torch.cat([f.x for f in kept]), [f.y for f in kept if f.y is not None]
    y = torch.cat(labels) if labels else None
    sizes = torch.tensor([len(f.x) for f in kept])
    starts = (sizes.cumsum(0) - sizes).tolist()
    for feed, k in zip(feeds, place, strict=True):
        own = slice(starts[k], starts[k] + int(sizes[k]))
        feed.x, feed.y = x[own], None if y is None else y[own]
    return x, y, torch.tensor([starts[k] for k in place], device=x.device)


def _equal(a: Tensor | None, b: Tensor | None) -> bool:
    if a is b:
        return True
    if a is None or b is None or (a.shape, a.dtype, a.device) != (b.shape, b.dtype, b.device):
        return False
    return torch.equal(a, b)
