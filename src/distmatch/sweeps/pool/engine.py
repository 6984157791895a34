"""The protocol of a pool of workers, on this machine or on a Ray cluster."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distmatch.sweeps.pool.worker import Ended, Task


@dataclass(frozen=True)
class Lost:
    """A worker was lost with its task: killed, or its machine gone. The run folders hold what it had saved."""

    why: str


class Engine(ABC):
    """Workers that take tasks."""

    slots: int
    """How many tasks it takes at a time."""

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Begin a task."""

    @abstractmethod
    def ended(self, timeout: float) -> Iterator[tuple[Task, Ended | Lost]]:
        """Tasks that have ended, at most `timeout` seconds from now."""

    @abstractmethod
    def stop(self) -> None:
        """Have all tasks save and end, and wait for that."""
