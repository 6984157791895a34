"""Small sweeps of small nets, and an engine that performs tasks in this process."""

from distmatch.sweeps.pool.engine import Engine
from distmatch.sweeps.pool.worker import perform as perform_task

BASE = {
    "data.name": "digits",
    "data.limit": 64,
    "data.binarise": "threshold",  # grey values under a Bernoulli distribution would be a note
    "training.batch_size": 16,
    "training.steps": 40,
    "training.log_every": 10,
    "training.checkpoint_every": 20,
    "training.sample_every": 1000,
    "network.width": 8,
    "network.latent": 2,
    "device": "cpu",
}


class Here(Engine):
    """Performs each task when it is submitted; remembers what it was given."""

    def __init__(self, slots=1):
        self.slots = slots
        self.given = []
        self.done = []

    def submit(self, task):
        self.given.append(task)
        self.done.append((task, perform_task(task)))

    def ended(self, timeout):
        yield self.done.pop()

    def stop(self):
        """Nothing runs."""
