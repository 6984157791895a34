"""A run on several ranks, as torchrun starts it: one folder, one voice, and the numbers of one process."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from distmatch.errors import BadInput
from distmatch.runs.build import layered
from distmatch.runs.sharing import assemble_share
from distmatch.training import checkpoint
from distmatch.training.distributed.ranks import Ranks

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": ""}
SMALL = [
    "--data",
    "digits",
    "--binarise",
    "threshold",
    "--limit",
    "256",
    "--batch-size",
    "128",
    "--latent",
    "3",
    "--device",
    "cpu",
]
NARROW = ["--set", "network.width=16", "training.checkpoint_every=4", "training.log_every=3"]
STEPS = 12


@pytest.fixture(scope="module")
def runner():
    """A process that starts ranks; see torchrunner.py."""
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("torchrunner.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=ENVIRONMENT,
        start_new_session=True,
    )
    yield process
    process.stdin.close()
    assert process.wait(100) == 0
    process.stdout.close()


@pytest.fixture
def ranks(runner, here):
    """Run a command on ranks: (their exit codes, what one of them said on stdout, on stderr)."""

    def run(*arguments, count=2, **job):
        given = [[str(a) for a in arguments], *job.pop("others", [])]
        job |= {"arguments": given if len(given) > 1 else given[0], "ranks": count, "folder": str(here)}
        runner.stdin.write(json.dumps(job) + "\n")
        runner.stdin.flush()
        answer = json.loads(runner.stdout.readline())
        spoke = [[text for text in answer[stream] if text] for stream in ("out", "err")]
        assert all(len(texts) < 2 for texts in spoke), answer
        return answer["codes"], *("".join(texts) for texts in spoke)

    return run


def start(system="vae", *more, out="run", steps=STEPS):
    return ["train", system, *SMALL, *NARROW, *more, "--steps", steps, "--out", out]


def weights(run):
    tensors, _, _ = checkpoint.read_latest(Path(run) / "checkpoints")
    return {k: v.double() for k, v in tensors.items() if k.startswith("params/")}


def log(run):
    return [json.loads(line) for line in (Path(run) / "log.jsonl").read_text().splitlines()]


def distance(a, b):
    return float(sum((a[k] - b[k]).square().sum() for k in a).sqrt())


def bits(run):
    run = Path(run)
    last = sorted(run.glob("checkpoints/*"))
    return [p.read_bytes() for p in (*last, run / "log.jsonl", *sorted(run.glob("samples/*")))]


def first_weights(system="vae", *more):
    """Those of a run that has hardly moved."""
    config = layered(
        {"system": system, "data.name": "digits", "data.limit": 256, "network.latent": 3} | dict(more)
    )
    return {
        k: v.double()
        for k, v in assemble_share(config, None).trainer.snapshot()[0].items()
        if k.startswith("params/")
    }


def assert_alike(a, b, rel):
    """Two logs say the same to rounding."""
    assert [line.keys() for line in a] == [line.keys() for line in b]
    for one, other in zip(a, b, strict=True):
        assert one == pytest.approx(other, rel=rel, abs=1e-6)


def torchrun(*arguments):
    """torchrun itself, with two ranks."""
    return subprocess.Popen(
        [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "distmatch"]
        + [str(a) for a in arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=ENVIRONMENT,
    )


def said_by_distmatch(errors):
    """torchrun's own report left out."""
    return [line for line in errors.splitlines() if line.startswith("distmatch: ")]


def test_two_ranks_train_what_one_process_trains(distmatch, here):
    process = torchrun(*start(out="two"))
    out, errors = process.communicate(timeout=600)
    assert process.returncode == 0, errors
    assert (out.count("run:  two\n"), said_by_distmatch(errors)) == (1, [])
    assert distmatch(*start(out="one"))[0] == 0
    moved = distance(weights("one"), first_weights("vae", ("network.width", 16)))
    assert 0 < distance(weights("one"), weights("two")) < 1e-5 * moved
    assert_alike(log("two"), log("one"), rel=1e-4)
    files = [{str(p.relative_to(run)) for p in run.rglob("*")} for run in (here / "one", here / "two")]
    assert files[0] == files[1]
    configs = [json.loads((here / run / "config.json").read_text()) for run in ("one", "two")]
    assert configs[0]["config"] == configs[1]["config"]
    assert [c["environment"]["ranks"] for c in configs] == [1, 2]


def training(*arguments):
    """torchrun at work, once it has saved something; and its ranks' process ids."""
    process = torchrun(*arguments)
    while not checkpoint.steps(Path("run") / "checkpoints"):
        assert process.poll() is None, process.communicate()
        time.sleep(0.1)
    return process, [
        int(i) for i in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_torchrun_stopped(number, here):
    process, _ = training(*start(steps=100_000))
    process.send_signal(number)
    _, errors = process.communicate(timeout=100)
    (sentence,) = said_by_distmatch(errors)
    done = checkpoint.steps(here / "run" / "checkpoints")[-1]
    assert sentence == (
        f"distmatch: interrupted at step {done} of 100000, and saved; `distmatch resume run` goes on"
    )


@pytest.mark.slow
def test_torchrun_loses_a_rank(here):
    process, pids = training(*start(steps=100_000))
    os.kill(pids[-1], signal.SIGKILL)
    _, errors = process.communicate(timeout=100)
    (sentence,) = said_by_distmatch(errors)
    assert "another rank has gone, or does not answer (torchrun says which)" in sentence
    assert "Signal 9 (SIGKILL)" in errors


@pytest.mark.slow
def test_torchrun_is_ended_while_a_rank_is_silent(here):
    process, pids = training(*start(steps=100_000))
    os.kill(pids[-1], signal.SIGSTOP)
    time.sleep(1)
    process.terminate()
    _, errors = process.communicate(timeout=100)
    (sentence,) = said_by_distmatch(errors)
    assert "another rank does not answer (torchrun says which)" in sentence


def test_batch_norm_sees_a_share_of_the_batch(ranks, distmatch):
    """Its statistics are of 64 examples and not of 128: measured, 0.04 of the way apart, and 0.2 % in the losses."""
    more = ("--set", "network.width=8", "training.log_every=20")
    assert ranks(*start("dcgan", *more, out="two", steps=20))[0] == [0, 0]
    assert distmatch(*start("dcgan", *more, out="one", steps=20))[0] == 0
    moved = distance(weights("one"), first_weights("dcgan", ("network.width", 8)))
    assert 1e-3 * moved < distance(weights("one"), weights("two")) < 0.12 * moved
    one, two = log("one")[-1], log("two")[-1]
    losses = [k for k in one if k.startswith(("match", "critic/"))]
    assert {k: two[k] for k in losses} == pytest.approx({k: one[k] for k in losses}, rel=0.02)


def test_a_lost_rank_ends_all_and_the_run_goes_on(ranks):
    codes, _, errors = ranks(*start(), signals={"1": [10, signal.SIGKILL]})
    assert codes == [2, -9]
    assert errors == (
        "distmatch: stopped at step 9 of 12: another rank has gone, or does not answer (torchrun says which); "
        "`distmatch resume run` goes on from the last checkpoint\n"
    )
    codes, _, errors = ranks("resume", "run")
    assert (codes, errors) == ([0, 0], "")
    assert ranks(*start(out="whole"))[0] == [0, 0]
    assert bits("run") == bits("whole")


@pytest.mark.slow
def test_a_lost_leader_ends_all_too(ranks):
    codes, _, errors = ranks(*start("vae", "--batch-size", 126), signals={"0": [10, signal.SIGKILL]}, count=3)
    assert codes == [-9, 2, 2]
    assert errors.startswith("distmatch: stopped at step 9 of 12: another rank has gone")


def test_stopped_on_one_rank_saved_once_and_resumed_with_another_number(ranks, distmatch):
    codes, _, errors = ranks(*start(), signals={"1": [6, signal.SIGTERM]})
    assert codes == [130, 130]
    assert errors == "distmatch: interrupted at step 6 of 12, and saved; `distmatch resume run` goes on\n"
    code, _, errors = distmatch("resume", "run")
    assert (code, errors) == (
        0,
        "note: run was started with 2 ranks and goes on with 1: last bits may differ from an uninterrupted run's\n",
    )
    assert distmatch(*start(out="one"))[0] == 0
    moved = distance(weights("one"), first_weights("vae", ("network.width", 16)))
    assert 0 < distance(weights("one"), weights("run")) < 1e-5 * moved
    assert_alike(log("run"), log("one"), rel=1e-4)


@pytest.mark.slow
def test_begun_by_one_and_finished_by_two(ranks, distmatch):
    codes, _, _ = ranks(*start(), signals={"0": [6, signal.SIGINT]}, count=1)
    assert codes == [130]
    codes, _, errors = ranks("resume", "run")
    assert codes == [0, 0]
    assert errors.startswith("note: run was started with 1 ranks and goes on with 2")
    assert distmatch(*start(out="one"))[0] == 0
    assert_alike(log("run"), log("one"), rel=1e-4)


def test_divergence_is_seen_by_all_and_said_once(ranks, here):
    codes, _, errors = ranks(*start("vae", "--set", "training.lr=1e30"))
    assert codes == [3, 3]
    assert errors.startswith("distmatch: diverged at step ")
    assert errors.count("\n") == 1
    assert json.loads((here / "run" / "status.json").read_text())["status"].startswith("diverged at step")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train", "vea", *SMALL], "unknown system 'vea'"),
        (["train", "vae", "--stesp", "5"], "unrecognized options: --stesp"),
        (["evaluate", "run"], "use torchrun for train and resume"),
        (["resume", "nowhere"], "nowhere is not a run folder"),
    ],
)
def test_bad_input_is_said_once(ranks, here, arguments, words):
    codes, out, errors = ranks(*arguments)
    assert codes[0] == 2 or codes[1] == 2
    assert out == ""
    assert words in errors
    assert errors.count("\n") == 1
    assert not list(here.iterdir())


def test_what_one_rank_alone_cannot_do_is_said_by_that_rank(ranks, here):
    codes, _, errors = ranks(*start(), others=[["train", "vae", "--data", "nothing"]])
    assert codes[1] == 2
    assert "unknown data set 'nothing'" in errors
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"training.batch_size": 63}, "63 is not a multiple of 2; give e.g. --batch-size 64"),
        ({"training.batch_size": 1}, "1 is not a multiple of 2; give e.g. --batch-size 2"),
        ({"system": "consensus-gan"}, "training.consensus differentiates the step of a whole batch"),
        ({"system": "unrolled-gan"}, "training.unroll differentiates the step of a whole batch"),
        ({"training.engine": "compiled"}, "takes a step that waits for nobody"),
        ({"system": "wae-mmd"}, "mmd(z_code, z_prior) is of a batch as a whole"),
        ({"system": "vae-rate"}, "target_rate is of a batch as a whole"),
        ({"system": "bgan"}, "mixed_batch(x_gen, x) is of a batch as a whole"),
        ({"system": "minibatch-gan"}, "the MinibatchDiscrimination of the net 'data' compares all examples"),
        ({"system": "pacgan", "system.pack": 3, "training.batch_size": 4}, "holds no pack of 3"),
        ({"system": "dcgan", "training.batch_size": 2}, "a share of one holds nothing to mix"),
    ],
)
def test_what_would_not_be_the_same_is_refused(given, words):
    usual = {
        "system": "vae",
        "data.name": "digits",
        "data.limit": 64,
        "device": "cpu",
        "training.batch_size": 64,
    }
    config = layered(usual | given)
    with pytest.raises(BadInput) as refused:
        assemble_share(config, Ranks(0, 2))
    assert words in str(refused.value)


def test_a_gpu_is_not_shared(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    config = {"system": "vae", "data.name": "digits"}
    with pytest.raises(BadInput, match="start as many ranks as GPUs"):
        assemble_share(layered(config | {"device": "cuda"}), Ranks(1, 2))
    with pytest.raises(BadInput, match="give --device cuda"):
        assemble_share(layered(config | {"device": "cuda:1"}), Ranks(1, 2))


def test_variables_that_place_no_process(monkeypatch, refused):
    for name, value in {"RANK": "2", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "here"}.items():
        monkeypatch.setenv(name, value)
    assert "do not place a process among the ranks of a run: RANK=2, WORLD_SIZE=2" in refused(*start())


def test_one_rank_is_no_ranks(monkeypatch, distmatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0"}.items():
        monkeypatch.setenv(name, value)
    assert distmatch(*start(steps=1))[0] == 0
    assert not torch.distributed.is_initialized()
