"""Several ranks of one command, forked from one process that has imported torch: torchrun's part, without its start-up.

Reads a JSON object a line: arguments, ranks, folder; slow: seconds before each step; signals: rank -> [step, signal],
which the rank sends itself before that step. Answers with a line: for each rank its exit code, stdout and stderr.
As torchrun does, it hosts the store where ranks meet, and ends all by SIGTERM when one of them fails.
"""

import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from torch.distributed import TCPStore

from distmatch import cli
from distmatch.training import Trainer

LIMIT = 300  # seconds


def hook(slow, moment):
    advance = Trainer.advance

    def late(self, *given, **options):
        if moment and self.steps_done + 1 == moment[0]:
            os.kill(os.getpid(), moment[1])
        time.sleep(slow)
        return advance(self, *given, **options)

    Trainer.advance = late


def child(job, rank, port, said):
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(job["ranks"])}
    os.environ |= {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    os.setsid()  # as torchrun does
    os.chdir(job["folder"])
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(said / f"{rank}.{name}", os.O_WRONLY | os.O_CREAT), number)
    hook(job.get("slow", 0.0), job.get("signals", {}).get(str(rank)))
    arguments = job["arguments"]
    code = cli.run(arguments[rank] if isinstance(arguments[0], list) else arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def run(job):
    with tempfile.TemporaryDirectory() as place, socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
        free.close()
        ranks = {}
        for rank in range(job["ranks"]):
            pid = os.fork()
            if pid == 0:
                with contextlib.suppress(BaseException):
                    child(job, rank, port, Path(place))
                os._exit(99)
            ranks[pid] = rank
        store = TCPStore("localhost", port, is_master=True, wait_for_workers=False)
        codes = wait(ranks)
        del store
        said = {
            n: [(Path(place) / f"{r}.{n}").read_text() for r in range(job["ranks"])] for n in ("out", "err")
        }
        return {"codes": [codes[r] for r in range(job["ranks"])], **said}


def wait(ranks):
    codes, end, ended = {}, time.monotonic() + LIMIT, False
    while len(codes) < len(ranks):
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            codes[ranks[pid]] = os.waitstatus_to_exitcode(status)
        late = time.monotonic() > end
        if late or (any(codes.values()) and not ended):
            ended = True
            for other in (p for p, r in ranks.items() if r not in codes):
                os.kill(other, signal.SIGKILL if late else signal.SIGTERM)
        time.sleep(0.01)
    return codes


def warm_up():
    """Import all that a run imports, so that no rank has to."""
    with tempfile.TemporaryDirectory() as place:
        small = ["--data", "digits", "--limit", "64", "--device", "cpu", "--set", "network.width=4"]
        with contextlib.redirect_stdout(sys.stderr):
            assert cli.run(["train", "vae", *small, "--steps", "1", "--out", f"{place}/run"]) == 0


if __name__ == "__main__":
    warm_up()
    for line in sys.stdin:
        print(json.dumps(run(json.loads(line))), flush=True)
