"""distmatch in a process that is slowed down, or that kills itself at the i-th change of the disk.

python driver.py slow SECONDS ARGUMENTS...       sleeps before each step
python driver.py faults FOLDER SEED COUNT        kills and resumes runs; prints what differs; exits 1 if anything does
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from distmatch import cli

TRAIN = [
    "train",
    "vgh++",
    "--data",
    "digits",
    "--limit",
    "96",
    "--batch-size",
    "16",
    "--latent",
    "2",
    "--steps",
    "13",
]
TRAIN += ["--device", "cpu", "--set", "network.width=4", "network.code_width=4", "training.ema=0.9"]
TRAIN += ["training.checkpoint_every=3", "training.log_every=2", "training.sample_every=5"]
EVALUATE = ["--only", "reconstruction", "code_moments", "--samples", "20"]


def slow(seconds, arguments):
    from distmatch.training import Trainer

    advance = Trainer.advance

    def late(self, *given, **options):
        time.sleep(seconds)
        return advance(self, *given, **options)

    Trainer.advance = late
    cli.main(arguments)


def die_at(event):
    """SIGKILL before the i-th call that changes the disk; a line of the log is cut in the middle. Counts them."""
    from distmatch.runs.folder import RunFolder

    counted = [0]

    def counts(owner, name):
        real = getattr(owner, name)

        def call(*given, **options):
            counted[0] += 1
            if counted[0] == event:
                if name == "append_log":
                    with given[0].log.open("a") as file:
                        file.write('{"step": 1')
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*given, **options)

        setattr(owner, name, call)

    for owner, name in (
        (os, "fsync"),
        (os, "replace"),
        (os, "rename"),
        (Path, "unlink"),
        (RunFolder, "append_log"),
    ):
        counts(owner, name)
    return counted


def child(arguments, event=-1):
    """(killed, events) of a command in a process of its own, which is forked: torch is imported once."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        counted = die_at(event)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        code = cli.run(arguments)
        os.write(writer, str(counted[0]).encode())
        os._exit(code)
    os.close(writer)
    _, status = os.waitpid(pid, 0)
    said = os.read(reader, 99)
    os.close(reader)
    if os.WIFSIGNALED(status):
        return True, 0
    assert os.WEXITSTATUS(status) == 0, (arguments, status)
    return False, int(said)


def contents(run):
    """All that must be the same bits: last checkpoint, log, samples, metrics, configuration."""
    config = json.loads((run / "config.json").read_text())
    last = sorted(run.glob("checkpoints/*"))[-2:]
    kept = [*last, run / "log.jsonl", run / "metrics.json", *sorted(run.glob("samples/*"))]
    found = {str(p.relative_to(run)): p.read_bytes() for p in kept}
    return found | {"config": config["config"], "status": (run / "status.json").read_text()}


def faults(folder, seed, count):
    choose = random.Random(seed)
    cli.run([*TRAIN, "--out", str(folder / "warm")])  # so that no child has to import or build anything
    cli.run(["evaluate", str(folder / "warm"), *EVALUATE])
    _, events = child([*TRAIN, "--out", str(folder / "whole")])
    child(["evaluate", str(folder / "whole"), *EVALUATE])
    whole = contents(folder / "whole")
    moments = sorted(choose.sample(range(1, events + 1), min(count, events)))
    wrong = 0
    for moment in moments:
        run = folder / f"killed-{moment}"
        killed, _ = child([*TRAIN, "--out", str(run)], moment)
        assert killed
        again = moment
        while killed:
            start = ["resume", str(run)] if run.exists() else [*TRAIN, "--out", str(run)]
            again = choose.randint(1, events) if choose.random() < 0.6 else -1
            killed, _ = child(start, again)
        child(["evaluate", str(run), *EVALUATE])
        differ = [k for k, v in contents(run).items() if whole.get(k) != v]
        odd = [p.name for p in run.rglob("*.tmp")]
        if differ or odd or len(contents(run)) != len(whole):
            print("killed at", moment, "differs in", differ, odd)
            wrong += 1
    print(f"{len(moments)} of {events} moments")
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1] == "slow":
        slow(float(sys.argv[2]), sys.argv[3:])
    else:
        sys.exit(faults(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])))
