"""The same tasks on a Ray cluster; Ray is started on this machine when no address is given.

The sweep's folder must be at the same path on every machine. A task whose worker is killed, or whose machine is lost,
is given to another by Ray, and goes on from the checkpoints in its run folders; Ray's own state is never asked.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from distmatch.errors import BadInput
from distmatch.sweeps.pool.engine import Engine, Lost
from distmatch.sweeps.pool.worker import Ended, Task, perform

RETRIES = 3


class RayCluster(Engine):
    """Tasks on Ray.

    Args:
        address: of a cluster; None starts Ray here.
        jobs: tasks at a time, where Ray is started here; with a cluster, as many as it has room for.
        gpu_share: of a GPU that each task takes; 0 for tasks on CPUs.

    Raises:
        BadInput: Ray is not installed, or there is no cluster at the address.
    """

    def __init__(self, address: str | None, jobs: int, gpu_share: float = 0.0) -> None:
        self._ray = ray_package()
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        given: dict[str, Any] = {"log_to_driver": False, "include_dashboard": False, "logging_level": "ERROR"}
        if address is not None:
            given = {"address": address, "log_to_driver": False, "logging_level": "ERROR"}
        else:
            given["num_cpus"] = jobs
        try:
            self._ray.init(**given, ignore_reinit_error=False)
        except (ConnectionError, RuntimeError, ValueError, OSError) as error:
            where = (
                f"the Ray cluster at {address} cannot be reached" if address else "Ray cannot be started here"
            )
            raise BadInput(
                f"{where} ({str(error).splitlines()[0]}); check --address, or leave it out"
            ) from error
        resources = self._ray.cluster_resources()
        room = int(resources.get("GPU", 0) / gpu_share) if gpu_share else int(resources.get("CPU", 0))
        if room < 1:
            self._ray.shutdown()
            raise BadInput(
                f"the Ray cluster has no {'GPU' if gpu_share else 'CPU'} to give; leave --gpu-share out, or add workers"
            )
        self.slots = room
        self._remote = self._ray.remote(perform).options(
            num_cpus=0 if gpu_share else 1, num_gpus=gpu_share, max_retries=RETRIES, name="distmatch lanes"
        )
        self._tasks: dict[Any, Task] = {}

    def submit(self, task: Task) -> None:
        """Hand it to Ray, with absolute paths."""
        here = tuple(replace(run, path=run.path.resolve()) for run in task.runs)
        self._tasks[self._remote.remote(replace(task, runs=here))] = task

    def ended(self, timeout: float) -> Iterator[tuple[Task, Ended | Lost]]:
        """Tasks that have ended; one that Ray has given up after its retries is lost."""
        if not self._tasks:
            return
        done, _ = self._ray.wait(list(self._tasks), num_returns=1, timeout=timeout)
        for reference in done:
            task = self._tasks.pop(reference)
            try:
                yield task, self._ray.get(reference)
            except (self._ray.exceptions.RayError, KeyboardInterrupt) as error:
                yield task, Lost(f"was lost {RETRIES + 1} times by Ray ({str(error).splitlines()[0]})")

    def stop(self) -> None:
        """Interrupt all tasks, which save; then leave the cluster."""
        for reference in self._tasks:
            self._ray.cancel(reference, force=False)
        if self._tasks:
            self._ray.wait(list(self._tasks), num_returns=len(self._tasks), timeout=60)
        self._ray.shutdown()


def ray_package() -> Any:
    """Ray, or a sentence on how to get it."""
    try:
        import ray
    except ImportError:
        raise BadInput('Ray is not installed; run: pip install "distmatch[ray]"') from None
    return ray
