"""Run folders trained together: each is what it would be alone, whatever becomes of the others."""

import json
import math
import os
import signal
from dataclasses import replace

import pytest
import torch

from distmatch.errors import BadInput
from distmatch.runs import lanes as lanes_room
from distmatch.runs.build import layered
from distmatch.runs.folder import RunFolder
from distmatch.runs.lanes import RunPlan, Shared, train_together
from distmatch.runs.train import Interrupted, resume, train
from distmatch.training import checkpoint
from sweeps.small import BASE

CONFIG = layered(BASE, {"system": "vae"})


def plans(folder, seeds=(0, 1, 2), **rates):
    """Runs that differ in seed, learning rate and β."""
    made = []
    for i, seed in enumerate(seeds):
        training = replace(CONFIG.training, lr=rates.get(f"lr{i}", 1e-3 * (i + 1)))
        config = replace(CONFIG, seed=seed, training=training, options={"beta": 1.0 + i})
        made.append(RunPlan(folder / f"run-{i}", config))
    return made


def tensors(path):
    return checkpoint.read_latest(path / "checkpoints")[0]


def same_run(one, other, tolerance=1e-4):
    """Weights, moments, the generator and the log agree; so do the files that are there."""
    ours, theirs = tensors(one), tensors(other)
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], rtol=tolerance, atol=tolerance, msg=key)
    assert torch.equal(ours["generator"], theirs["generator"])
    log, its = RunFolder(one).read_log(), RunFolder(other).read_log()
    assert [sorted(line) for line in log] == [sorted(line) for line in its]
    for line, its_line in zip(log, its, strict=True):
        for key, value in line.items():
            assert math.isclose(value, its_line[key], rel_tol=1e-3, abs_tol=1e-3), key
    for part in ("samples", "checkpoints"):
        assert sorted(p.name for p in (one / part).iterdir()) == sorted(
            p.name for p in (other / part).iterdir()
        )
    assert RunFolder(one).status() == RunFolder(other).status()


def test_lanes_are_the_runs_alone(tmp_path):
    runs = plans(tmp_path / "lanes")
    train_together(runs, lanes=3)
    for run in runs:
        alone = tmp_path / "alone" / run.path.name
        train(run.config, alone)
        same_run(run.path, alone)
        assert RunFolder(run.path).about()["config"] == RunFolder(alone).about()["config"]
        assert json.loads((run.path / "timing.json").read_text())["lanes"] == 3
    assert RunFolder(runs[0].path).status() == "finished"


def test_one_after_the_other_has_the_bits_of_the_run_alone(tmp_path):
    runs = plans(tmp_path / "loop", seeds=(4, 5))
    train_together(runs, lanes=1)
    train(runs[1].config, tmp_path / "alone")
    same_run(runs[1].path, tmp_path / "alone", tolerance=0.0)


def test_a_lane_that_diverges_is_reported_and_the_others_go_on(tmp_path):
    runs = plans(tmp_path / "lanes", lr1=1e30)
    train_together(runs, lanes=3)
    statuses = [RunFolder(run.path).status() for run in runs]
    assert statuses[0] == statuses[2] == "finished"
    assert statuses[1].startswith("diverged at step ")
    train(runs[2].config, tmp_path / "alone")
    same_run(runs[2].path, tmp_path / "alone")
    train_together(runs, lanes=3)  # nothing is left to do, and the diverged one is not begun anew
    assert [RunFolder(run.path).status() for run in runs] == statuses


def test_stopped_on_the_way_and_gone_on_with(tmp_path):
    runs = plans(tmp_path / "lanes")
    train_together(runs, lanes=3, until=25)
    assert [checkpoint.steps(run.path / "checkpoints")[-1] for run in runs] == [25, 25, 25]
    assert RunFolder(runs[0].path).status() == "interrupted at step 25"
    train_together(runs, lanes=3, until=25)  # is there already
    train_together(runs, lanes=3)
    for run in runs[:2]:
        alone = tmp_path / "alone" / run.path.name
        train(run.config, alone)
        assert tensors(run.path).keys() == tensors(alone).keys()
        for key, value in tensors(run.path).items():
            torch.testing.assert_close(value, tensors(alone)[key], rtol=1e-4, atol=1e-4, msg=key)


def test_lanes_at_several_steps_go_back_to_the_newest_that_all_have_kept(tmp_path, monkeypatch):
    runs = plans(tmp_path / "lanes", seeds=(0, 1))
    train_together(runs, lanes=2, until=20)
    train_together(runs[1:], lanes=1, until=30)  # keeps 20 and 30
    packs = []
    real = lanes_room.pack
    monkeypatch.setattr(
        lanes_room, "pack", lambda trainers: packs.append([t.steps_done for t in trainers]) or real(trainers)
    )
    train_together(runs, lanes=2)
    assert packs == [[20, 20]]
    assert all(RunFolder(run.path).status() == "finished" for run in runs)


def test_lanes_without_a_step_in_common_are_packed_by_step(tmp_path, monkeypatch):
    runs = plans(tmp_path / "lanes")
    train_together(runs[1:2], lanes=1, until=30)
    packs = []
    real = lanes_room.pack
    monkeypatch.setattr(
        lanes_room, "pack", lambda trainers: packs.append([t.steps_done for t in trainers]) or real(trainers)
    )
    train_together(runs, lanes=3)
    assert sorted(packs) == [[0, 0], [30]]
    assert all(RunFolder(run.path).status() == "finished" for run in runs)


def test_ctrl_c_saves_all_lanes(tmp_path, monkeypatch):
    runs = plans(tmp_path / "lanes")
    real = lanes_room.Lanes.advance

    def interrupts(self, norms=False, most=1):
        logs = real(self, norms, most)
        if self.trainers[0].steps_done == 7:
            os.kill(os.getpid(), signal.SIGINT)
        return logs

    monkeypatch.setattr(lanes_room.Lanes, "advance", interrupts)
    with pytest.raises(Interrupted):
        train_together(runs, lanes=3)
    assert [RunFolder(run.path).status() for run in runs] == ["interrupted at step 7"] * 3
    monkeypatch.undo()
    resume(runs[0].path)  # by hand, alone
    train_together(runs, lanes=3)
    assert all(RunFolder(run.path).status() == "finished" for run in runs)


def test_data_are_loaded_once(tmp_path, monkeypatch):
    loads = []
    real = lanes_room.data_of
    monkeypatch.setattr(lanes_room, "data_of", lambda config: loads.append(config.data.name) or real(config))
    shared = Shared()
    first, second = (shared.assembly(replace(CONFIG, seed=seed)) for seed in (0, 1))
    assert loads == ["digits"]
    assert first.data is second.data
    toy = layered(
        {**BASE, "data.limit": None, "data.binarise": "auto"}, {"system": "vae", "data.name": "ring"}
    )
    ring = [shared.assembly(replace(toy, seed=seed)).data for seed in (0, 1, 1)]
    assert loads == ["digits", "ring", "ring"]  # a toy is made from the seed
    assert not torch.equal(ring[0].train.x, ring[1].train.x)
    assert ring[1] is ring[2]


def test_runs_that_are_not_alike_do_not_share_lanes(tmp_path):
    wide = replace(CONFIG, network=replace(CONFIG.network, options={"width": 16}))
    runs = [RunPlan(tmp_path / "a", CONFIG), RunPlan(tmp_path / "b", wide)]
    train_together(runs, lanes=2)
    assert [RunFolder(run.path).status() for run in runs] == ["finished", "finished"]
    assert "lanes" not in json.loads((tmp_path / "a" / "timing.json").read_text())


def test_a_folder_that_another_process_trains_is_waited_for_and_then_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(lanes_room, "PATIENCE", 0.3)
    runs = plans(tmp_path, seeds=(0,))
    train_together(runs, lanes=1, until=20)
    with RunFolder(runs[0].path).locked(), pytest.raises(BadInput, match="being trained by another process"):
        train_together(runs, lanes=1)
