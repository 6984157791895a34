"""Engine, precision and memory layout of a run: what they change, and what they must not."""

import json
from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from distmatch.cli import run
from distmatch.runs import build
from distmatch.runs.build import assemble, layered
from distmatch.runs.train import RunRecorder
from distmatch.training.engine.precision import numerics

SMALL = {
    "data.name": "digits",
    "data.limit": 64,
    "network.width": 4,
    "training.batch_size": 16,
    "training.steps": 8,
    "device": "cpu",
}


def trainer(system="dcgan", **more):
    return assemble(
        layered({"system": system, **SMALL, **{k.replace("__", "."): v for k, v in more.items()}})
    ).trainer


def weights(made):
    return {k: v for k, v in made.snapshot()[0].items() if k.startswith("params/")}


@pytest.fixture
def dtype(request):
    """What nets, noise and data are in."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(request.param)
    yield request.param
    torch.set_default_dtype(before)


@pytest.mark.parametrize("system", ["dcgan", "wgan-gp", "vgh++"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], indirect=True)
def test_channels_last_gives_the_same_numbers(system, dtype, monkeypatch):
    """To rounding, also through the penalty's second derivatives; first moments are laid out as their weights.

    In float64 that is less than 1e-9 of the way that a net has gone. In float32, whose kernels are others, a rounding
    can take a unit over the kink of its ReLU, which with some instruction sets leaves wgan-gp's critic 0.5 % of its way
    off; a layout taken for another leaves it all of the way.
    """
    more = {"network__family": "dcgan", "training__optimiser": "sgd", "training__lr": 1e-2}
    monkeypatch.setattr(build, "_prepared", partial(in_dtype, build._prepared, dtype))
    first, last = (trainer(system, training__channels_last=way, **more) for way in (False, True))
    kernels = [k for k, v in weights(last).items() if v.dim() == 4 and min(v.shape[1:]) > 1]
    assert kernels
    for key in kernels:
        assert weights(last)[key].is_contiguous(memory_format=torch.channels_last)
        assert weights(first)[key].is_contiguous()
    start = {k: v.clone() for k, v in weights(first).items()}
    assert first.run(4).keys() == last.run(4).keys()
    rounding = {torch.float32: 0.05, torch.float64: 1e-9}[dtype]
    for net in first.nets:
        own = [k for k in start if k.startswith(f"params/{net}/")]
        moved, apart = (
            torch.stack([(weights(first)[k] - other[k]).norm() for k in own]).norm()
            for other in (start, weights(last))
        )
        assert apart <= rounding * moved + 10 * torch.finfo(dtype).eps
    assert all(weights(last)[k].is_contiguous(memory_format=torch.channels_last) for k in kernels)


def in_dtype(prepare, dtype, apply, x, noise):
    return prepare(apply, x, noise).to(dtype)


def test_a_checkpoint_knows_no_layout():
    first, last = (trainer(training__channels_last=way) for way in (False, True))
    last.run(3)
    tensors, info = last.snapshot()
    first.restore({k: v.contiguous() for k, v in tensors.items()}, info)  # as files hold them
    for key, value in weights(first).items():
        assert torch.equal(value, weights(last)[key])
        assert value.is_contiguous()


def test_what_auto_takes():
    assert assemble(layered({"system": "dcgan", **SMALL})).config.training.channels_last is True
    resolved = assemble(layered({"system": "vae", **SMALL})).config.training
    assert resolved.channels_last is False
    assert resolved.engine == "auto"
    assert trainer("vae").runs == "eager"


def test_tf32_is_set_inside_and_what_was_before_is_set_again(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    before = torch.get_float32_matmul_precision()

    def fail():
        with numerics("tf32"):
            assert torch.get_float32_matmul_precision() == "high"
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert torch.get_float32_matmul_precision() == before


def test_tf32_is_float32_where_there_is_none():
    if not torch.cuda.is_available():
        assert trainer("vae").run(2) == trainer("vae", training__precision="tf32").run(2)


def test_a_profile_and_the_run_after_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("distmatch.runs.profiling.STEPS", 4)
    settings = [
        f"{k}={json.dumps(v)}" for k, v in SMALL.items() if k.startswith(("network", "training", "data.l"))
    ]
    words = [
        "train",
        "gan",
        "--data",
        "digits",
        "--device",
        "cpu",
        "--set",
        *settings,
        "--profile",
        "--out",
        "run",
    ]
    assert run(words) == 0
    said = capsys.readouterr().out
    for shown in ("critics, backward", "optimiser", "calls a step", "GFLOP/s", "distmatch resume run"):
        assert shown in said
    found = json.loads((tmp_path / "run" / "profile.json").read_text())
    assert found["steps"] == 4
    assert found["engine"] == "eager"
    assert found["gflop_per_step"] > 0
    assert found["of_ceiling"] > 0
    parts = found["ms_per_step_by_part"]
    assert {"data and noise", "critics, forward", "model, backward", "optimiser", "logging"} <= parts.keys()
    assert all(ms >= 0 for ms in parts.values())
    assert sum(row["share"] for row in found["operators"]) <= 1.01
    assert run(["resume", "run"]) == 0
    assert json.loads((tmp_path / "run" / "status.json").read_text())["status"] == "finished"


def test_a_profile_leaves_the_step_as_it_was():
    from distmatch.training import profiling

    before = [getattr(home, key) for home, key, _ in profiling.PARTS]
    spent = profiling.parts(trainer("gan"), 2, 1)
    assert all(getattr(home, key) is own for (home, key, _), own in zip(profiling.PARTS, before, strict=True))
    assert spent.keys() >= {"optimiser", "data and noise", "logging"}


@pytest.mark.parametrize("system", ["vae", "wgan-gp"])
def test_the_work_of_a_step_is_counted(system):
    """As torch counts it, where it can; and where a penalty differentiates, more than without."""
    from distmatch.training.profiling import work

    made = trainer(system, training__critic_steps=1)
    flops, moved = work(made)
    assert moved > 0
    if system == "vae":
        with FlopCounterMode(display=False) as counter:
            made.advance()
        assert flops == counter.get_total_flops()
    else:
        assert flops > work(trainer("gan"))[0]


def test_steps_taken_at_once_end_before_anything_is_due():
    """Of a log every 5, checkpoints every 7, samples every 9, and the end at 20."""
    every = {"training.log_every": 5, "training.checkpoint_every": 7, "training.sample_every": 9}
    made = assemble(layered({"system": "vae", **SMALL, "training.steps": 20, **every}))
    recorder = RunRecorder(made, None, None)  # type: ignore[arg-type]
    for done in range(20):
        made.trainer.steps_done = done
        due = min(k for k in range(done + 1, 21) if k == 20 or any(k % e == 0 for e in every.values()))
        assert recorder.free() == max(1, due - 1 - done)
