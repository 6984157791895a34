"""One run on several processes: each takes its share of every batch, and gradients are averaged.

All ranks hold the same state. Each draws the order of the data and the noise of the whole batch from generators of
the same seed, and keeps the rows that are its own: a mean over B examples is the mean over N ranks of their means
over B/N. So a run does not depend on N but through rounding and through what layers make of a batch as a whole
(batch norm sees B/N rows), and goes on with any other N.

torch.distributed is imported where a group of ranks is made, and not before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import torch
from torch import Tensor

from distmatch.errors import BadInput

PATIENCE = timedelta(minutes=10)  # for a rank that is silent; one that has died is noticed at once
LOOK_EVERY = 10  # steps between looks at a number that lies on a GPU, which must be waited for


class Lost(BadInput):
    """Another rank has gone, so that this one cannot go on."""


class Ranks:
    """The ranks that train one run together, as one of them sees them.

    Args:
        rank: this one's number, from 0.
        count: how many there are.

    >>> second = Ranks(1, 2)
    >>> second.share(torch.arange(6))
    tensor([3, 4, 5])
    """

    def __init__(self, rank: int, count: int) -> None:
        self.rank = rank
        self.count = count
        self._wish: Callable[[], bool] = bool
        self._wishes: Tensor | None = None
        self._looks = 0

    @property
    def leads(self) -> bool:
        """True for the rank that writes files and messages."""
        return self.rank == 0

    @contextmanager
    def gathered(self) -> Iterator[Ranks]:
        """Meet the others where the environment says (MASTER_ADDR, MASTER_PORT), and part at the end.

        Raises:
            Lost: not all of them came.
        """
        import torch.distributed as dist

        backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
        with _or_lost():
            dist.init_process_group(backend, rank=self.rank, world_size=self.count, timeout=PATIENCE)
        yield self
        dist.destroy_process_group()  # after an error it might wait for who is lost

    def share(self, whole: Tensor, copies: int = 1) -> Tensor:
        """This rank's rows of what the whole batch has, `(K·B, ...)` to `(K·B/N, ...)`: the batch in order K times.

        >>> Ranks(1, 2).share(torch.arange(8), copies=2)
        tensor([2, 3, 6, 7])
        """
        return whole.unflatten(0, (copies, self.count, -1))[:, self.rank].flatten(0, 1)

    def mean(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        """The mean over ranks of each tensor, by one exchange of all of them; every rank gets the same bits.

        Raises:
            Lost: a rank has gone.
        """
        import torch.distributed as dist

        wish = torch.full((1,), float(self._wish()), device=tensors[0].device if tensors else None)
        flat = torch.cat([*(t.reshape(-1) for t in tensors), wish])
        with _or_lost():
            dist.all_reduce(flat)
        *parts, self._wishes = flat.div_(self.count).split([*(t.numel() for t in tensors), 1])
        return [part.view(t.shape).to(t.dtype) for part, t in zip(parts, tensors, strict=True)]

    def agree_on(self, wish: Callable[[], bool]) -> Callable[[], bool]:
        """A question that all ranks answer alike after each step: whether one of them had this wish.

        The wishes travel with the means, so that agreeing costs nothing. On a GPU one looks at every tenth asking.
        """
        self._wish = wish
        return self._agreed

    def _agreed(self) -> bool:
        self._looks += 1
        if self._wishes is None or (self._wishes.is_cuda and self._looks % LOOK_EVERY):
            return False
        return self._wishes.item() > 0

    def told(self, content: bytes = b"") -> bytes:
        """Return what the leader says, which the others need not know before. All wait for each other here.

        Raises:
            Lost: a rank has gone.
        """
        import torch.distributed as dist

        said = torch.frombuffer(bytearray(content), dtype=torch.uint8) if content else torch.empty(0).byte()
        size = torch.tensor([len(said)])
        with _or_lost():
            dist.broadcast(size, src=0)
            if not self.leads:
                said = torch.empty(int(size), dtype=torch.uint8)
            dist.broadcast(said, src=0)
            dist.all_reduce(size)  # a broadcast lets the leader go before the others have heard
        return said.numpy().tobytes()


@contextmanager
def _or_lost() -> Iterator[None]:
    """Raise what torch.distributed raises when a rank is gone as `Lost`."""
    try:
        yield
    except RuntimeError as error:
        raise Lost("another rank has gone, or does not answer (torchrun says which)") from error
