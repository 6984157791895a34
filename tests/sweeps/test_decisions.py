"""What a sweep decides and tabulates, from folders that are written by hand: nothing is trained."""

import csv
import io
import json
import math
from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import kstest, spearmanr

from distmatch.runs.folder import RunFolder
from distmatch.sweeps import calibration
from distmatch.sweeps.calibration import Cost, calibrate
from distmatch.sweeps.cost import _share
from distmatch.sweeps.file import parse
from distmatch.sweeps.halving import rungs_of, stop, survivors
from distmatch.sweeps.optuna import Trials
from distmatch.sweeps.plan import Checker, planned
from distmatch.sweeps.search import Halving
from distmatch.sweeps.space import Range, draws
from distmatch.sweeps.table import flat, row_of, value_of, write_table
from distmatch.training.lanes.benchmark import memory
from distmatch.training.lanes.lanes import Lanes
from sweeps.small import BASE

VAE = {**BASE, "system": "vae"}


def runs_of(**content):
    return planned(parse({"base": VAE, **content}))


def log(folder, name, values, status=None, metric="nll"):
    """A run's folder: {step: value}, and how it ended."""
    path = folder / "runs" / name
    path.mkdir(parents=True, exist_ok=True)
    for step, value in values.items():
        RunFolder(path).append_log({"step": step, metric: value})
    if status:
        RunFolder(path).write_json("status.json", {"status": status})


def decided(folder, runs, rung=10, **about):
    going, told = survivors(Halving("nll", first=10, **about), runs, folder, rung)
    return [int(run.name.rpartition("=")[2]) for run in going], {n.rpartition("=")[2] for n in told}


@pytest.mark.parametrize(("direction", "best"), [("minimise", [2, 4]), ("maximise", [1, 3])])
def test_the_best_go_on_in_their_order(tmp_path, direction, best):
    runs = runs_of(seeds=5)
    for run, value in zip(runs, [5.0, 9.0, 4.0, 8.0, 1.0], strict=True):
        log(tmp_path, run.name, {10: value})
    going, told = decided(tmp_path, runs, eta=3, direction=direction)
    assert going == best
    assert told == set("01234") - {str(i) for i in best}


def test_what_counts_is_the_last_value_up_to_the_rung(tmp_path):
    runs = runs_of(seeds=2)
    log(tmp_path, runs[0].name, {5: 9.0, 10: 1.0, 15: 9.0})
    log(tmp_path, runs[1].name, {5: 1.0, 10: 2.0, 15: 0.0})
    assert decided(tmp_path, runs, eta=2)[0] == [0]
    assert decided(tmp_path, runs, rung=5, eta=2)[0] == [1]
    assert decided(tmp_path, runs, rung=12, eta=2)[0] == [0]


def test_as_many_go_on_as_a_share_rounded_up(tmp_path):
    runs = runs_of(seeds=7)
    for i, run in enumerate(runs):
        log(tmp_path, run.name, {10: float(i)})
    assert decided(tmp_path, runs, eta=3)[0] == [0, 1, 2]
    assert decided(tmp_path, runs[:1], eta=3)[0] == [0]


def test_of_equal_runs_the_earlier_goes_on(tmp_path):
    runs = runs_of(seeds=4)
    for run in runs:
        log(tmp_path, run.name, {10: 1.0})
    assert decided(tmp_path, runs, eta=2)[0] == [0, 1]


def test_a_run_that_diverged_by_the_rung_does_not_go_on_however_few_there_are(tmp_path):
    runs = runs_of(seeds=5)
    log(tmp_path, runs[0].name, {10: 0.1}, "diverged at step 9: nll is nan")
    log(tmp_path, runs[1].name, {10: float("nan")})
    log(tmp_path, runs[2].name, {10: 5.0}, "diverged at step 30: nll is nan")
    log(tmp_path, runs[3].name, {})
    log(tmp_path, runs[4].name, {10: 0.2}, "diverged at step 10: kl is nan")
    going, told = decided(tmp_path, runs, eta=2)
    assert going == [2]  # it diverged after the rung, which the rung did not know
    assert told == set()


def test_runs_are_compared_within_their_group(tmp_path):
    runs = runs_of(grid={"training.lr": [1e-4, 1e-3]}, seeds=2)
    for run, value in zip(runs, [1.0, 2.0, 30.0, 20.0], strict=True):
        log(tmp_path, run.name, {10: value})
    names = [
        run.name for run in survivors(Halving("nll", 10, 2, within=("training.lr",)), runs, tmp_path, 10)[0]
    ]
    assert names == [runs[0].name, runs[3].name]
    names = [run.name for run in survivors(Halving("nll", 10, 2), runs, tmp_path, 10)[0]]
    assert names == [runs[0].name, runs[1].name]


def test_rungs_reach_to_the_end_of_the_longest_run():
    assert rungs_of(Halving("nll", 10, 2), runs_of(grid={"training.steps": [40, 90]})) == [10, 20, 40, 80]
    assert rungs_of(Halving("nll", 10, 2), runs_of(grid={"training.steps": [80]})) == [10, 20, 40]


@pytest.mark.parametrize("status", ["finished", "diverged at step 7: nll is nan", "stopped at step 5: why"])
def test_a_run_that_has_ended_is_not_said_to_be_stopped(tmp_path, status):
    (run,) = runs_of(seeds=1)
    log(tmp_path, run.name, {10: 1.0}, status)
    stop(tmp_path, run, 10, "of two the second")
    assert RunFolder(tmp_path / "runs" / run.name).read_json("status.json") == {"status": status}


SEARCH = {
    "trials": 4,
    "batch": 2,
    "metric": "nll",
    "sampler": "random",
    "training.lr": {"low": 1e-4, "high": 1e-2},
}


@pytest.fixture
def searched(tmp_path):
    pytest.importorskip("optuna")

    def open_trials(name="s", own=(), **content):
        folder = tmp_path / name
        (folder / "runs").mkdir(parents=True, exist_ok=True)
        file = parse({"base": {**VAE, "training.lr": 0.5}, "optuna": {**SEARCH, **dict(own)}, **content})
        trials = Trials(file, folder, Checker())
        trials.open()
        return trials, folder

    return open_trials


def rates(batch):
    return [runs[0].config.training.lr for _, _, runs in batch]


def test_a_trial_is_told_the_mean_over_its_seeds(searched):
    trials, folder = searched(seeds=2)
    (cell, first, runs), (_, second, others) = trials.batch()
    assert [run.asked.seed for run in runs] == [run.config.seed for run in runs] == [0, 1]
    for run, value in zip((*runs, *others), (1.0, 7.0, 3.0, 4.0), strict=True):
        log(folder, run.name, {10: 99.0, 40: value})
    trials.tell(cell, first, runs)
    trials.tell(cell, second, others)
    study = trials._studies[cell.label]
    assert [t.value for t in study.get_trials()] == [4.0, 3.5]
    assert trials.best()[0].startswith("best: trial 1, nll 3.5 at training.lr=")


def test_more_is_better_where_it_is_said(searched):
    trials, folder = searched(own={"direction": "maximise"})
    for (cell, trial, runs), value in zip(trials.batch(), (5.0, 2.0), strict=True):
        log(folder, runs[0].name, {40: value})
        trials.tell(cell, trial, runs)
    assert trials.best()[0].startswith("best: trial 0, nll 5 ")


def test_a_trial_of_which_a_run_has_no_value_failed(searched):
    trials, folder = searched(seeds=2)
    cell, trial, runs = trials.batch()[0]
    log(folder, runs[0].name, {40: 1.0})
    log(folder, runs[1].name, {40: float("nan")})
    trials.tell(cell, trial, runs)
    (told, _) = trials._studies[cell.label].get_trials()
    assert told.value is None
    assert trials.best() == []


def test_what_is_searched_is_what_is_trained_and_no_more_than_asked(searched):
    trials, folder = searched(own={"trials": 5})
    seen = []
    while trials.more():
        for cell, trial, runs in trials.batch():
            (run,) = runs
            assert run.config.training.lr == run.settings["training.lr"]
            assert 1e-4 <= run.config.training.lr <= 1e-2
            log(folder, run.name, {40: 1.0})
            trials.tell(cell, trial, runs)
            seen.append(run.config.training.lr)
    assert len(seen) == len(set(seen)) == 5


def test_the_sampler_follows_its_seed_the_cell_and_how_far_the_sweep_has_come(searched):
    first = rates(searched("a")[0].batch())
    assert first == rates(searched("b")[0].batch())
    assert first != rates(searched("c", {"random_seed": 1})[0].batch())
    by_cell = rates(searched("d", grid={"network.width": [8, 16]})[0].batch())
    assert by_cell[:2] == first
    assert not set(by_cell[2:]) & set(first)
    trials, folder = searched("e")
    for cell, trial, runs in trials.batch():
        log(folder, runs[0].name, {40: 1.0})
        trials.tell(cell, trial, runs)
    again, _ = searched("e")  # the sweep was killed, and goes on
    assert not set(rates(again.batch())) & set(first)


def test_trials_that_were_asked_for_and_never_told_come_first(searched):
    asked = searched("killed")[0].batch()
    again = searched("killed")[0].batch()
    assert [runs[0].name for _, _, runs in again] == [runs[0].name for _, _, runs in asked]
    assert rates(again) == rates(asked)


def test_a_trials_run_says_in_which_cell_it_is(searched):
    for cell, _, (run,) in searched(grid={"network.width": [8, 16]})[0].batch():
        assert run.settings.keys() == {"network.width", "training.lr"}
        assert (
            run.settings["network.width"]
            == run.config.network.options["width"]
            == cell.settings["network.width"]
        )


def test_draws_at_random_follow_their_seed():
    def rate(seed):
        content = {"random": {"n": 3, "random_seed": seed, "training.lr": {"low": 1e-4, "high": 1e-2}}}
        return [run.config.training.lr for run in runs_of(**content)]

    assert rate(0) == rate(0)
    assert not set(rate(0)) & set(rate(1))


def test_each_run_is_trained_with_its_seed():
    assert [(run.asked.seed, run.config.seed) for run in runs_of(seeds=[3, 8])] == [(3, 3), (8, 8)]


def test_the_best_number_of_lanes_is_that_of_the_least_time_for_each():
    assert Cost({1: 1.0, 2: 3.0, 4: 3.6}, memory=1, fits=4).best == 4
    assert Cost({1: 1.0, 2: 1.2, 4: 4.4}, memory=1, fits=4).best == 2
    assert Cost({1: 1.0, 2: 3.0}, memory=1, fits=4).seconds(3) == pytest.approx(4.5)


@pytest.fixture
def measured(monkeypatch):
    """Lanes that take so long each, with so many bytes free; the numbers that were timed."""

    def calibrated(each, free=1e12, jobs=1, runs=16):
        timed = []

        def seconds(pack, steps):
            lanes = len(pack.trainers) if isinstance(pack, Lanes) else 1
            timed.append(lanes)
            return lanes * each(lanes)

        monkeypatch.setattr(calibration, "seconds", seconds)
        monkeypatch.setattr(calibration, "free_memory", lambda device: free)
        return calibrate(runs_of(seeds=runs), jobs), timed

    return calibrated


def test_lanes_are_doubled_only_for_a_gain_that_is_worth_it(measured):
    assert measured(lambda k: 1.0 if k < 2 else 0.97)[1] == [1, 1, 2]
    assert measured(lambda k: 1.0 / k, runs=3)[1] == [1, 1, 2]


def test_workers_share_the_memory_of_which_a_lane_takes_its_state_and_its_step(measured):
    from distmatch.runs.lanes import Shared

    own = memory(Shared().assembly(runs_of(seeds=1)[0].asked).trainer)
    alone = measured(lambda k: 1.0, free=2e9)[0]
    shared = measured(lambda k: 1.0, free=2e9, jobs=4)[0]
    assert alone.memory == own.state + own.step
    assert alone.fits == own.lanes(int(calibration.MEMORY_SHARE * 2e9))
    assert shared.fits == own.lanes(int(calibration.MEMORY_SHARE * 2e9 / 4))


def begun(folder, run, status, metrics=None, timing=None):
    RunFolder.create(folder / "runs" / run.name, run.config, "")
    log(folder, run.name, {10: 9.0, 40: 2.0}, status)
    path = RunFolder(folder / "runs" / run.name)
    if metrics:
        path.write_json("metrics.json", {"metrics": metrics})
    if timing:
        path.write_json("timing.json", timing)


def test_a_row_is_what_its_folder_says(tmp_path):
    runs = runs_of(seeds=[4, 6, 9])
    (tmp_path / "runs").mkdir()
    found = {
        "mse": {"value": 0.5, "standard_error": 0.1, "n": 3},
        "nll": {"value": 7.0, "standard_error": 0.2},
    }
    begun(tmp_path, runs[0], "finished", found, {"seconds": 12.0, "lanes": 4})
    begun(tmp_path, runs[1], "stopped at step 10: number 3 of 4", found)
    first, second, third = write_table(tmp_path, runs, ["seed"])["runs"]
    assert (first["seed"], second["seed"], third["seed"]) == (4, 6, 9)
    assert (first["state"], second["state"], third["state"]) == ("finished", "stopped", "waiting")
    assert (first["step"], first["losses"]) == (40, {"nll": 2.0})
    assert (third["step"], third["steps"]) == (0, 40)
    assert first["metrics"] == found
    assert second["metrics"] == {}  # they are of another step than the run may come to
    assert (first["seconds"], third["seconds"]) == (3.0, None)
    assert (first["why"], second["why"], third["why"]) == (None, "number 3 of 4", None)
    assert value_of(first, "nll") == 7  # the metric before the loss of its name
    assert value_of(second, "nll") == 2
    assert value_of(third, "nll") is None
    table = json.loads((tmp_path / "table.json").read_text())
    rows = list(csv.DictReader(io.StringIO(flat(table))))
    assert (rows[0]["mse"], rows[0]["mse/error"], rows[0]["loss/nll"]) == ("0.5", "0.1", "2.0")
    assert [row["seed"] for row in rows] == ["4", "6", "9"]
    assert row_of(tmp_path / "runs" / runs[0].name, runs[0]) == first
    RunFolder(tmp_path / "runs" / runs[0].name).write_json("status.json", {"status": "interrupted at step 9"})
    assert row_of(tmp_path / "runs" / runs[0].name, runs[0])["state"] == "interrupted"


def test_halving_leaves_a_share_of_all_steps():
    """Of runs of 40 steps all take 10, half of them 10 more, and a quarter the other 20."""
    runs = runs_of(seeds=2)
    sweep = SimpleNamespace(file=SimpleNamespace(halving=Halving("nll", 10, 2)), runs=runs)
    assert _share(sweep, runs) == (10 + 10 / 2 + 20 / 4) / 40
    assert _share(SimpleNamespace(file=SimpleNamespace(halving=None)), runs) == 1


def test_draws_of_one_setting_say_nothing_of_anothers():
    """Of even and of logarithmic ranges, by scipy's Kolmogorov-Smirnov test."""
    drawn = draws({"a": Range(1.0, 1e4), "b": Range(1.0, 1e4, log=True), "c": Range(1.0, 1e4)}, 400, 0)
    a, b, c = (np.array([d[path] for d in drawn]) for path in "abc")
    assert kstest(a, "uniform", (1, 1e4)).pvalue > 0.001
    assert kstest(np.log(b), "uniform", (0, math.log(1e4))).pvalue > 0.001
    assert abs(spearmanr(a, c).statistic) < 0.2
    assert abs(spearmanr(a, b).statistic) < 0.2
