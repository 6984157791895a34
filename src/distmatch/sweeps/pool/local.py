"""A pool of worker processes on this machine, forked from a server that has torch loaded.

A worker that is killed at any moment is noticed, and its task is given back as lost; the pool starts another. Workers
end with the process that owns the pool, however that ends: they save what they train first.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any

from distmatch.sweeps.pool.engine import Engine, Lost

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

    from distmatch.sweeps.pool.worker import Ended, Task

PRELOADED = ["distmatch.sweeps.pool.worker"]
ALIVE = 60.0  # seconds that a worker has to save and end, once it is asked to


@dataclass
class _Worker:
    process: ForkServerProcess
    pipe: Connection
    task: Task | None = field(default=None)


class LocalPool(Engine):
    """Workers on this machine.

    Args:
        jobs: how many.
    """

    def __init__(self, jobs: int) -> None:
        self.slots = jobs
        self._context = get_context("forkserver")
        self._context.set_forkserver_preload(PRELOADED)
        self._workers: list[_Worker] = []

    def submit(self, task: Task) -> None:
        """Give a task to a worker that has none, or to a new one."""
        idle = next((w for w in self._workers if w.task is None), None) or self._started()
        idle.task = task
        with suppress(OSError):  # one that has just died: `ended` says so
            idle.pipe.send(task)

    def ended(self, timeout: float) -> Iterator[tuple[Task, Ended | Lost]]:
        """Tasks that have ended, at most `timeout` seconds from now."""
        busy = {w.pipe: w for w in self._workers if w.task is not None}
        for pipe in wait(list(busy), timeout):
            worker = busy[pipe]  # type: ignore[index]
            task, worker.task = worker.task, None
            assert task is not None
            try:
                yield task, worker.pipe.recv()
            except (EOFError, OSError):
                self._workers.remove(worker)
                worker.process.join()
                yield task, Lost(_cause(worker.process.exitcode))

    def stop(self) -> None:
        """Ask all workers to save what they train and to end; wait for them."""
        for worker in self._workers:
            worker.process.terminate()
        deadline = time.monotonic() + ALIVE
        try:
            for worker in self._workers:
                worker.process.join(max(0.0, deadline - time.monotonic()))
        finally:  # a second Ctrl-C comes here
            for worker in self._workers:
                worker.process.kill()
                worker.process.join()
                worker.pipe.close()
            self._workers.clear()

    def pids(self) -> list[int]:
        """The workers' process ids."""
        return [w.process.pid for w in self._workers if w.process.pid is not None]

    def _started(self) -> _Worker:
        here, there = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(there,), daemon=False)
        process.start()
        there.close()
        worker = _Worker(process, here)
        self._workers.append(worker)
        return worker


def _serve(pipe: Connection) -> None:
    """A worker's life: tasks come in, and how they ended goes out."""
    os.setpgrp()  # Ctrl-C is for the owner of the pool, who asks workers to save
    tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(pipe, tasks), daemon=True).start()
    from distmatch.sweeps.pool.worker import perform

    while (task := tasks.get()) is not None:
        ended = perform(task)
        with suppress(OSError):
            pipe.send(ended)
        if ended.kind == "interrupted":
            return


def _listen(pipe: Connection, tasks: queue.SimpleQueue[Any]) -> None:
    """Pass tasks on. When the owner is gone, whatever is being trained is saved, as at Ctrl-C."""
    try:
        while True:
            tasks.put(pipe.recv())
    except (EOFError, OSError):
        tasks.put(None)
        os.kill(os.getpid(), signal.SIGTERM)


def _cause(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        return f"was killed by signal {-exitcode} ({signal.Signals(-exitcode).name})"
    return f"ended with exit code {exitcode}"
