"""A sweep from its file to its table: kept in its folder, gone on with, halved, searched, priced."""

import csv
import json

import pytest

from distmatch.errors import BadInput
from distmatch.revision import revision
from distmatch.runs.build import layered
from distmatch.runs.folder import RunFolder
from distmatch.runs.train import Interrupted, train
from distmatch.schedules import Ramp
from distmatch.sweeps import calibration
from distmatch.sweeps import sweep as room
from distmatch.sweeps.folder import opened
from distmatch.sweeps.halving import metric_at
from distmatch.sweeps.pool.worker import Task
from distmatch.sweeps.scheduling import through
from distmatch.sweeps.sweep import Machine, costs_of, perform
from sweeps.small import BASE, Here

GRID = {"seeds": 2, "base": {**BASE, "system": "vae"}, "grid": {"training.lr": [1e-3, 1e-2]}}


def write(path, content):
    path.write_text(json.dumps(content))
    return path


def swept(here, content, engine=None, name="s", lanes=4, **options):
    """Perform a sweep here; its table and engine."""
    engine = engine or Here()
    sweep = opened(write(here / f"{name}.json", content), None, **options)
    return perform(sweep, Machine(1, lanes, lambda jobs: engine)), engine


def test_the_table_of_a_sweep(here):
    table, engine = swept(here, {**GRID, "evaluate": ["mmd", "elbo"], "samples": 100})
    assert [len(task.runs) for task in engine.given] == [4]
    assert [row["state"] for row in table["runs"]] == ["finished"] * 4
    row = table["runs"][3]
    assert row["settings"] == {"training.lr": 1e-2, "seed": 1}
    assert (row["step"], row["steps"], row["system"], row["seed"]) == (40, 40, "vae", 1)
    assert row["revision"] == revision()
    assert row["config"]["training.lr"] == 1e-2
    assert {"value", "standard_error", "n"} <= row["metrics"]["elbo"].keys()
    assert row["losses"].keys() >= {"nll", "kl", "validation/nll"}
    assert json.loads((here / "runs/s/table.json").read_text()) == table
    with (here / "runs/s/table.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [r["name"] for r in rows] == [r["name"] for r in table["runs"]]
    assert float(rows[3]["elbo"]) == row["metrics"]["elbo"]["value"]
    assert float(rows[3]["loss/nll"]) == row["losses"]["nll"]
    again, idle = swept(here, {**GRID, "evaluate": ["mmd", "elbo"], "samples": 100})
    assert again == table
    assert idle.given == []


def test_a_diagnostic_that_does_not_apply_is_told_and_no_error(here):
    content = {
        "base": {**BASE, "training.steps": 4},
        "evaluate": ["elbo", "mmd"],
        "samples": 100,
    }
    table, _ = swept(here, {**content, "grid": {"system": ["gan"]}})
    (row,) = table["runs"]
    assert "needs an encoder" in row["not_measured"]["elbo"]
    assert "mmd" in row["metrics"]


def test_a_diverged_run_is_a_result(distmatch, here, monkeypatch):
    monkeypatch.setattr(room, "_pool", lambda jobs: Here())
    write(here / "d.json", {**GRID, "seeds": 1, "grid": {"training.lr": [1e-3, 1e30]}})
    code, out, errors = distmatch("sweep", "d.json", "--lanes", 2)
    assert (code, errors) == (0, "")
    assert "lr=0.001: finished" in out
    assert "lr=1e+30: diverged at step" in out
    assert "runs:  2: 1 finished, 1 diverged" in out
    row = json.loads((here / "runs/d/table.json").read_text())["runs"][1]
    assert row["state"] == "diverged"
    assert row["why"]


def test_what_is_in_the_folder_is_not_written_over(here):
    swept(here, {**GRID, "seeds": 1})
    with pytest.raises(BadInput, match=r"holds a sweep whose \[seeds\] is another"):
        swept(here, {**GRID, "seeds": 2})
    with pytest.raises(BadInput, match="is not a sweep"):
        opened(here, None)
    (here / "runs/other").mkdir()
    (here / "runs/other/notes.txt").touch()
    with pytest.raises(BadInput, match="holds other files"):
        swept(here, GRID, name="other")


class Fails(Here):
    """Is interrupted at the second task."""

    def submit(self, task):
        if self.given:
            raise KeyboardInterrupt
        super().submit(task)


def test_interrupted_and_gone_on_with_from_its_folder(here):
    with pytest.raises(Interrupted, match="`distmatch sweep runs/s` goes on"):
        swept(here, GRID, Fails(), lanes=2)
    table = json.loads((here / "runs/s/table.json").read_text())
    assert [row["state"] for row in table["runs"]] == ["finished", "finished", "waiting", "waiting"]
    engine = Here()
    sweep = opened(here / "runs/s", None, ["mmd"], 100)  # and measured besides
    table = perform(sweep, Machine(1, 4, lambda jobs: engine))
    assert [row["state"] for row in table["runs"]] == ["finished"] * 4
    assert all("mmd" in row["metrics"] for row in table["runs"])


def test_halving(here):
    content = {
        "base": {**BASE, "system": "vae"},
        "grid": {"training.lr": [1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e30]},
        "halving": {"metric": "nll", "first": 10, "eta": 2},
    }
    table, engine = swept(here, content, lanes=6)
    states = [row["state"] for row in table["runs"]]
    assert states.count("stopped") == 3  # after 10 and 20 steps: of 6 three go on, and of these two
    assert states.count("diverged") == 1
    assert [task.until for task in engine.given] == [10, 20, None]
    assert [len(task.runs) for task in engine.given] == [6, 3, 2]
    names = [row["name"] for row in table["runs"]]
    at = {name: metric_at(here / "runs/s/runs" / name, "nll", 10) for name in names}
    stopped = [
        row
        for row in table["runs"]
        if row["state"] == "stopped" and row["status"].startswith("stopped at step 10")
    ]
    went_on = [row["name"] for row in table["runs"] if row["step"] > 10]
    assert max(at[name] for name in went_on) <= min(at[row["name"]] for row in stopped)
    assert "of which 3 went on" in stopped[0]["why"]
    assert at["lr=1e+30"] is None
    again, idle = swept(here, content, lanes=6)
    assert again == table
    assert idle.given == []
    assert RunFolder(here / "runs/s/runs" / stopped[0]["name"]).status().startswith("stopped")


def test_rungs_and_the_price_are_of_runs_with_the_schedules_of_all_their_steps(here, monkeypatch):
    """β arrives at step 10 of 40, and neither at a quarter of the rung nor of what is timed."""
    seen = []

    def timed(pack, steps):
        seen.extend(ramp for t in pack.trainers for ramp in t.objective.ramps.values())
        return 1.0

    monkeypatch.setattr(calibration, "seconds", timed)
    content = {
        "base": {**BASE, "system": "beta-vae"},
        "grid": {"training.lr": [1e-4, 1e-3]},
        "halving": {"metric": "nll", "first": 20, "eta": 2},
    }
    table, engine = swept(here, content, lanes=2)
    costs_of(opened(here / "s.json", here / "t"), Machine(1, 2))
    assert set(seen) == {Ramp(0, 4, 10)}
    assert [task.until for task in engine.given] == [20, None]
    assert [row["config"]["system.beta"] for row in table["runs"]] == ["ramp(0, 4, 10)"] * 2
    losses = {}
    for row in table["runs"]:
        alone = layered({**content["base"], "training.lr": row["settings"]["training.lr"]})
        folder = train(alone, here / row["name"]).folder
        losses[row["name"]] = (
            folder.read_log()[1],
            RunFolder(here / "runs/s/runs" / row["name"]).read_log()[1],
        )
    for alone, lane in losses.values():
        assert alone["step"] == lane["step"] == 20
        assert lane["nll"] == pytest.approx(alone["nll"], rel=1e-4)
        assert lane["kl"] == pytest.approx(alone["kl"], rel=1e-3)


@pytest.mark.parametrize(
    ("halving", "said"),
    [
        (
            {"metric": "nlll", "first": 10},
            "metric 'nlll' is none of a run of vae; give one of nll, kl, validation/nll",
        ),
        ({"metric": "nll", "first": 5}, "nll is first logged at step 10, after the first rung at step 5"),
        ({"metric": "validation/nll", "first": 10}, "set training.checkpoint_every=10"),
        ({"metric": "nll", "first": 10, "within": ["sytem"]}, "within names 'sytem'"),
    ],
)
def test_halving_that_cannot_be(here, halving, said):
    with pytest.raises(BadInput) as error:
        opened(write(here / "h.json", {**GRID, "halving": halving}), None)
    assert said in str(error.value)


def test_optuna(here):
    pytest.importorskip("optuna")
    content = {
        "seeds": 2,
        "base": {**BASE, "system": "vae"},
        "optuna": {
            "trials": 5,
            "batch": 2,
            "metric": "validation/nll",
            "training.lr": {"low": 1e-4, "high": 1e-2, "log": True},
            "training.betas": [[0.5, 0.9], [0.9, 0.999]],
        },
    }
    with pytest.raises(Interrupted):
        swept(here, content, Fails())
    table, _ = swept(here, content)
    assert [row["name"] for row in table["runs"]] == [f"trial={i},seed={s}" for i in range(5) for s in (0, 1)]
    assert all(row["state"] == "finished" for row in table["runs"])
    assert len({row["settings"]["training.lr"] for row in table["runs"]}) == 5
    sweep = opened(here / "runs/s", None)
    sweep.trials.open()
    assert not sweep.trials.more()
    (line,) = sweep.trials.best()
    mean = {}
    for row in table["runs"]:
        mean.setdefault(row["name"].partition(",")[0], []).append(row["losses"]["validation/nll"])
    best = min(mean, key=lambda name: sum(mean[name]))
    assert line.startswith(f"best: trial {best[-1]}, validation/nll ")


def test_a_search_whose_ends_cannot_be(here):
    pytest.importorskip("optuna")
    search = {"trials": 2, "metric": "modes_covered", "network.width": {"low": 0, "high": 8}}
    with pytest.raises(BadInput, match="width"):
        opened(write(here / "o.json", {**GRID, "optuna": search}), None)
    search = {"trials": 2, "metric": "nl", "network.width": {"low": 4, "high": 8}}
    with pytest.raises(BadInput, match="metric 'nl' is none of a run of vae"):
        opened(write(here / "o.json", {**GRID, "optuna": search}), None)


def test_a_plan_writes_nothing(distmatch, here):
    write(here / "p.json", GRID)
    code, out, errors = distmatch("sweep", "p.json", "--plan", "--jobs", 1)
    assert (code, errors) == (0, "")
    assert "4 runs in " in out
    assert "160 steps: about " in out
    assert [p.name for p in here.iterdir()] == ["p.json"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--lanes", "many"], "--lanes is 'many'; give auto, or a number of at least 1"),
        (["--jobs", "0"], "--jobs is 0"),
        (["--address", "x"], "--address and --gpu-share are for Ray"),
        (["--samples", "0"], "--samples is 0"),
        (["--evaluate", "mode_coverag"], "unknown metric 'mode_coverag'"),
        (["--engine", "ray", "--gpu-share", "2"], "--gpu-share is 2"),
    ],
)
def test_options_that_cannot_be(distmatch, here, arguments, said):
    write(here / "p.json", GRID)
    code, _, errors = distmatch("sweep", "p.json", *arguments)
    assert code == 2
    assert said in errors
    assert errors.count("\n") == 1
    assert [p.name for p in here.iterdir()] == ["p.json"]


class Loses(Here):
    """Loses each task so many times."""

    def __init__(self, times):
        super().__init__()
        self.times = times

    def submit(self, task):
        from distmatch.sweeps.pool.engine import Lost

        self.given.append(task)
        lost = len(self.given) <= self.times
        from distmatch.sweeps.pool.worker import Ended

        self.done.append((task, Lost("was killed") if lost else Ended("done")))


def test_a_lost_task_is_given_again_but_not_for_ever():
    task = Task((), 4)
    engine = Loses(3)
    through(engine, [task], lambda *_: None)
    assert engine.given == [task] * 4
    with pytest.raises(BadInput, match="was killed, for the 4th time"):
        through(Loses(9), [task], lambda *_: None)
