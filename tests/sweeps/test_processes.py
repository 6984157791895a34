"""Workers and sweeps that are killed: nothing is lost, and all goes on."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from distmatch.runs.folder import RunFolder
from distmatch.sweeps.folder import opened
from distmatch.sweeps.pool.local import LocalPool
from distmatch.sweeps.sweep import Machine, perform
from distmatch.training import checkpoint
from sweeps.small import BASE

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": ""}
LONG = {**BASE, "system": "vae", "training.steps": 600, "training.checkpoint_every": 50}
SWEEP = {"seeds": 2, "base": LONG, "grid": {"training.lr": [1e-3, 1e-2]}}


def begun(folder, step=50):
    """The runs that have come to a step."""
    return [p for p in folder.glob("runs/*") if max(checkpoint.steps(p / "checkpoints"), default=0) >= step]


def steps_logged(folder):
    return {p.name: [line["step"] for line in RunFolder(p).read_log()] for p in folder.glob("runs/*")}


def killing(pool_or_pids, folder, kills):
    """A watch that kills the worker at work as soon as runs have checkpoints, so many times."""
    done = []

    def watch(runs, task, at_work):
        if len(done) < kills and at_work and len(begun(folder, 50 * (len(done) + 1))):
            os.kill(pool_or_pids()[0], signal.SIGKILL)
            done.append(time.monotonic())

    return watch, done


def test_a_killed_worker_is_replaced_and_goes_on_from_the_checkpoints(here):
    (here / "s.json").write_text(json.dumps({**SWEEP, "seeds": 1, "base": {**LONG, "training.steps": 400}}))
    pool = LocalPool(1)
    sweep = opened(here / "s.json", None)
    watch, kills = killing(pool.pids, sweep.folder, 1)
    table = perform(sweep, Machine(1, 2, lambda jobs: pool), watch)
    assert len(kills) == 1
    assert [row["state"] for row in table["runs"]] == ["finished"] * 2
    assert all(steps == list(range(10, 401, 10)) for steps in steps_logged(sweep.folder).values())
    assert pool.pids() == []


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "distmatch", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
        preexec_fn=heed_ctrl_c,
    )


def heed_ctrl_c():
    """A shell in the background has its processes ignore Ctrl-C, and they their own."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def until(condition, process):
    for _ in range(12_000):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("nothing happened for two minutes")


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_sweep_goes_on(here, number):
    content = {**SWEEP, "base": {**LONG, "training.steps": 3000}}
    (here / "s.json").write_text(json.dumps(content))
    process = start("sweep", "s.json", "--jobs", 2, "--lanes", 2)
    until(lambda: len(begun(here / "runs/s")) == 4, process)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    if number == signal.SIGINT:
        assert process.returncode == 130
        assert "`distmatch sweep runs/s` goes on" in errors
    again = start("sweep", "runs/s", "--jobs", 2, "--lanes", 2)
    out, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors
    assert "runs:  4: 4 finished" in out
    assert all(steps == list(range(10, 3001, 10)) for steps in steps_logged(here / "runs/s").values())


def test_ray_that_is_missing_or_not_there_is_one_sentence(distmatch, here, monkeypatch):
    (here / "s.json").write_text(json.dumps(SWEEP))
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, errors = distmatch("sweep", "s.json", "--engine", "ray")
    assert code == 2
    assert 'Ray is not installed; run: pip install "distmatch[ray]"' in errors
    assert [p.name for p in here.iterdir()] == ["s.json"]


RAY = """
import json, os, signal, sys
from pathlib import Path
from distmatch.sweeps.folder import opened
from distmatch.sweeps.pool.ray import RayCluster
from distmatch.sweeps.sweep import Machine, perform

sys.path.insert(0, sys.argv[1])
from sweeps.test_processes import begun, steps_logged

def workers():
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if place.read_bytes().startswith(b"ray::"):
                found.append(int(place.parent.name))
        except OSError:
            pass
    return [p for p in found if b"distmatch" in Path(f"/proc/{p}/cmdline").read_bytes()]

sweep = opened(Path("s.json"), None)
killed = []

def watch(runs, task, at_work):
    if not killed and at_work and begun(sweep.folder) and workers():
        killed.append(workers()[0])
        os.kill(killed[0], signal.SIGKILL)

table = perform(sweep, Machine(2, 2, lambda jobs: RayCluster(None, jobs)), watch)
assert [row["state"] for row in table["runs"]] == ["finished"] * 4, table
assert killed
assert all(steps == list(range(10, 3001, 10)) for steps in steps_logged(sweep.folder).values())
"""


@pytest.mark.slow
def test_a_ray_worker_that_is_killed_loses_nothing(here):
    pytest.importorskip("ray")
    (here / "s.json").write_text(json.dumps({**SWEEP, "base": {**LONG, "training.steps": 3000}}))
    (here / "killing.py").write_text(RAY)
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    command = [sys.executable, "killing.py", tests]
    done = subprocess.run(command, capture_output=True, text=True, env=ENVIRONMENT, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
