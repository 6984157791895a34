"""A run killed at any moment and resumed has the bits of one that was never interrupted."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distmatch.training import checkpoint

DRIVER = Path(__file__).with_name("driver.py")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": ""}
STEPS = 20
ARGUMENTS = [
    "train",
    "vgh",
    "--data",
    "digits",
    "--limit",
    "128",
    "--batch-size",
    "32",
    "--steps",
    str(STEPS),
]
ARGUMENTS += [
    "--device",
    "cpu",
    "--set",
    "network.width=8",
    "training.checkpoint_every=2",
    "training.log_every=7",
]
ARGUMENTS += ["--set", "training.sample_every=9"]


def slowly(seconds, *arguments):
    return subprocess.Popen(
        [sys.executable, str(DRIVER), "slow", str(seconds), *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def until(condition, process):
    for _ in range(6000):
        if condition():
            return
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    raise AssertionError("nothing happened for a minute")


def bits(run):
    last = sorted(run.glob("checkpoints/*"))[-2:]
    return [
        p.read_bytes()
        for p in (*last, run / "log.jsonl", run / "metrics.json", *sorted(run.glob("samples/*")))
    ]


def measured(distmatch, run):
    code, _, errors = distmatch("evaluate", run, "--samples", 50, "--only", "reconstruction")
    assert code == 0, errors
    return bits(Path(run))


def faults(folder, seed, count, limit):
    command = [sys.executable, str(DRIVER), "faults", str(folder), str(seed), str(count)]
    done = subprocess.run(
        command, capture_output=True, text=True, env=ENVIRONMENT, timeout=limit, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]


def test_killed_at_changes_of_the_disk(tmp_path):
    faults(tmp_path, seed=0, count=2, limit=120)


@pytest.mark.slow
def test_killed_at_every_change_of_the_disk(tmp_path):
    faults(tmp_path, seed=1, count=10_000, limit=1200)


@pytest.mark.parametrize("kills", [1, pytest.param(6, marks=pytest.mark.slow)])
def test_real_processes_killed_at_random_moments(distmatch, here, kills):
    choose = random.Random(kills)
    assert distmatch(*ARGUMENTS, "--out", "whole")[0] == 0
    start = [*ARGUMENTS, "--out", "killed"]
    for _ in range(kills):
        process = slowly(0.04, *start)
        until(lambda: checkpoint.steps(here / "killed" / "checkpoints"), process)
        time.sleep(choose.uniform(0, 0.2))
        process.kill()
        process.communicate()
        start = ["resume", "killed"]
    code, _, errors = distmatch("sample", "killed", "--out", "early.png")
    assert code == 0
    assert "note: killed is not finished (interrupted without a word" in errors
    assert f"of {STEPS} is used" in errors
    assert distmatch("resume", "killed")[0] == 0
    assert measured(distmatch, "killed") == measured(distmatch, "whole")


def test_ctrl_c_saves_and_says_how_to_go_on(distmatch, here):
    assert distmatch(*ARGUMENTS, "--out", "whole")[0] == 0
    process = slowly(0.1, *ARGUMENTS, "--out", "stopped it")
    until(lambda: checkpoint.steps(here / "stopped it" / "checkpoints"), process)
    code, _, errors = distmatch("resume", "stopped it")
    assert (code, "is being trained by another process" in errors) == (2, True)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors.startswith("distmatch: interrupted at step ")
    assert errors.count("\n") == 1
    assert "`distmatch resume 'stopped it'` goes on" in errors
    assert distmatch("resume", "stopped it")[0] == 0
    assert measured(distmatch, "stopped it") == measured(distmatch, "whole")


def test_a_second_ctrl_c_stops_at_once(here):
    process = slowly(3600, *ARGUMENTS, "--out", "run")
    until(lambda: (here / "run" / "config.json").exists(), process)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors == "distmatch: stopped at once; `distmatch resume run` goes on from the last checkpoint\n"
