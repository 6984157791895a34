"""The environment that torchrun sets: a process's place among the ranks of one run, and their meeting point.

Without torchrun's variables nothing here does anything, and torch is not imported.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from distmatch.errors import BadInput

if TYPE_CHECKING:
    from distmatch.training.distributed.ranks import Ranks

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
LAST_WORD = 20.0  # seconds after SIGTERM
GRACE = 1.0  # seconds for the leader to speak first, who knows the folder
PATIENCE = timedelta(seconds=10)  # for the place where ranks agree on who speaks


def place() -> tuple[int, int] | None:
    """(rank, how many there are); None where this process is the only one.

    Raises:
        BadInput: the variables are not such as torchrun sets them.
    """
    if any(name not in os.environ for name in VARIABLES[:3]):
        return None
    given = {name: os.environ.get(name, "") for name in VARIABLES}
    numbers = [int(given[name]) if given[name].isdecimal() else -1 for name in VARIABLES[:3]]
    rank, count, _ = numbers
    if count == 1:
        return None
    if min(numbers) < 0 or rank >= count or not all(given.values()):
        said = ", ".join(f"{name}={value}" for name, value in given.items())
        raise BadInput(
            f"these variables do not place a process among the ranks of a run: {said}; "
            "start it with torchrun, or unset RANK and WORLD_SIZE"
        )
    return rank, count


def follows() -> bool:
    """True where another process does the writing and showing."""
    try:
        return (place() or (0, 1))[0] > 0
    except BadInput:
        return False


def local() -> int:
    """This process's number on its machine."""
    return int(os.environ["LOCAL_RANK"])


@contextmanager
def gathered() -> Iterator[Ranks | None]:
    """The ranks of this run, all of them there; None where this process is the only one.

    Raises:
        BadInput: not all of them came.
    """
    where = place()
    if where is None:
        yield None
        return
    from distmatch.training.distributed.ranks import Ranks

    if follows():
        logging.getLogger("distmatch").setLevel(logging.ERROR)  # notes are the leader's to say
    with _until_training(), Ranks(*where).gathered() as ranks:
        yield ranks


@contextmanager
def _until_training() -> Iterator[None]:
    """torchrun's SIGTERM, sent as soon as another rank has gone, is an error like others until training hears it."""

    def end(number: int, frame: object) -> None:
        from distmatch.training.distributed.ranks import Lost

        raise Lost("stopped before training began: another rank has gone, or torchrun was told to end")

    signal.signal(signal.SIGTERM, end)
    try:
        with _last_word():
            yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)


@contextmanager
def _last_word() -> Iterator[None]:
    """Ends a process that SIGTERM finds waiting for a rank that will never answer, where Python hears no signal.

    gloo notices that a rank has died; NCCL, and whoever waits for a machine that is silent, may not. torchrun kills
    10 seconds later.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    left = threading.Event()

    def listen() -> None:
        while os.read(reader, 1) != bytes([signal.SIGTERM]):
            pass
        if not left.wait(LAST_WORD):
            if speaks():
                text = "another rank does not answer (torchrun says which); `distmatch resume` goes on with the run"
                print(f"distmatch: stopped: {text}", file=sys.stderr, flush=True)
            os._exit(2)

    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=listen, daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        left.set()


def speaks() -> bool:
    """True where this process says how it ended: of several ranks, only the first that asks, for it knows the cause."""
    try:
        if place() is None:
            return True
        if follows():
            time.sleep(GRACE)
        from torch.distributed import TCPStore

        host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        store = TCPStore(host, port, is_master=False, timeout=PATIENCE, wait_for_workers=False)
        said = f"distmatch/said/{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
        return bool(store.add(said, 1) == 1)
    except (BadInput, RuntimeError, ValueError):  # the place is gone, or there never was one
        return True
