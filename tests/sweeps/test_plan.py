"""From the file to the runs: how many, how they are called, what is refused before anything starts."""

import pytest

from distmatch.errors import BadInput
from distmatch.runs.build import objective_of
from distmatch.runs.lanes import RunPlan
from distmatch.sweeps.file import parse
from distmatch.sweeps.packing import How, even, packed
from distmatch.sweeps.plan import Checker, by_structure, planned, varied_paths
from sweeps.small import BASE


def runs_of(**content):
    return planned(parse({"base": BASE, **content}))


def test_a_grid_with_settings_of_single_systems():
    content = {
        "seeds": 2,
        "grid": {"system": ["vae", "gan"], "training.lr": [1e-4, 1e-3]},
        "systems": {"vae": {"grid": {"system.beta": [1, 4]}, "base": {"training.batch_size": 8}}},
    }
    runs = runs_of(**content)
    assert len(runs) == 2 * 2 * 2 + 2 * 2
    assert runs[0].name == "vae,lr=0.0001,beta=1,seed=0"
    assert runs[-1].name == "gan,lr=0.001,seed=1"
    assert len({run.name for run in runs}) == len(runs)
    assert runs[0].settings == {"system": "vae", "training.lr": 1e-4, "system.beta": 1, "seed": 0}
    assert (runs[0].config.training.batch_size, runs[-1].config.training.batch_size) == (8, 16)
    assert varied_paths(parse(content)) == ["system", "training.lr", "system.beta", "seed"]
    groups = by_structure(runs)
    assert [len(group) for group in groups.values()] == [8, 4]  # β and learning rates share lanes


def test_runs_of_other_structures_do_not_share_lanes():
    runs = runs_of(
        grid={"system": ["vae"], "network.width": [8, 16], "training.betas": [[0.5, 0.9], [0.9, 0.99]]}
    )
    assert len(by_structure(runs)) == 4
    assert runs[0].name == "width=8,betas=0.5_0.9"


def test_each_run_takes_shares_of_its_own_steps():
    runs = runs_of(
        grid={"system": ["beta-vae", "gan-roth"], "training.steps": [40, 200]},
        seeds=2,
    )
    found = {run.name: next(iter(objective_of(run.config).ramps.values())).steps for run in runs[::2]}
    assert found == {
        "beta-vae,steps=40,seed=0": 10,
        "beta-vae,steps=200,seed=0": 50,
        "gan-roth,steps=40,seed=0": 40,
        "gan-roth,steps=200,seed=0": 200,
    }
    assert [len(group) for group in by_structure(runs).values()] == [2] * 4


def test_a_schedule_that_does_not_arrive_is_said_once():
    checker = Checker()
    ramps = ["ramp(0, 4, 50)", "ramp(0, 4, 50%)"]
    grid = {"training.batch_size": [8, 16], "system.beta": ramps}
    planned(parse({"base": BASE, "seeds": 3, "grid": {"system": ["vae"], **grid}}), checker)
    (said,) = checker.said()
    assert said.startswith(
        "batch_size=8,beta=ramp(0, 4, 50) and 1 more: weight of kl goes from 0 to 4 in 50 steps"
    )


def test_draws_in_each_cell():
    runs = runs_of(
        seeds=2,
        grid={"system": ["vae", "gan"]},
        random={"n": 3, "training.lr": {"low": 1e-4, "high": 1e-2, "log": True}},
    )
    assert len(runs) == 2 * 3 * 2
    assert runs[2].name == "vae,draw=1,seed=0"
    drawn = [run.config.training.lr for run in runs]
    assert drawn[:6] == drawn[6:]
    assert len(set(drawn)) == 3


def test_systems_may_be_named_by_their_sections_alone():
    runs = runs_of(systems={"vae": {}, "gan": {}})
    assert [run.name for run in runs] == ["vae", "gan"]


def test_names_are_folders_and_differ():
    runs = runs_of(grid={"terms": ["nll + kl", "nll  +  kl"]})
    assert all("/" not in run.name and " " not in run.name for run in runs)
    assert len({run.name.lower() for run in runs}) == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"grid": {"system": ["vae", "gann"]}}, "the run gann: unknown system 'gann'"),
        ({"grid": {"system": ["vae"], "training.lr": [0.1, -1]}}, "the run lr=-1: training.lr is -1"),
        ({"grid": {"system": ["vae"], "training.lrr": [0.1]}}, "did you mean 'training.lr'?"),
        ({"grid": {"system": ["vae"], "network.widht": [8]}}, "widht"),
        ({"grid": {"system": ["gan"], "training.batch_size": [16, 10**6]}}, "the run batch_size=1000000"),
        (
            {"systems": {"vae": {}}, "grid": {"system": ["gan"]}},
            "[systems.vae] is of a system that is not in",
        ),
        ({}, "nothing says what to train"),
    ],
)
def test_the_first_run_that_cannot_be_is_named(content, said):
    with pytest.raises(BadInput) as error:
        runs_of(**content)
    assert said in str(error.value)


def test_packs_are_even_and_no_worker_is_idle(tmp_path):
    assert [len(pack) for pack in even(list(range(7)), 3)] == [3, 2, 2]
    assert even([], 3) == []
    runs = runs_of(seeds=8, grid={"system": ["vae", "gan"]})
    lanes = dict.fromkeys(by_structure(runs), 8)

    def sizes(**how):
        return [len(task.runs) for task in packed(runs, tmp_path, How(lanes=lanes, **how))]

    assert sizes(slots=1) == [8, 8]
    assert sizes(slots=4) == [4, 4, 4, 4]
    assert sizes(slots=4, spread=False) == [8, 8]
    task = packed(runs, tmp_path, How(1, lanes))[0]
    assert task.runs[0] == RunPlan(tmp_path / "runs" / runs[0].name, runs[0].asked)
