"""What changes with time arrives in the run that it is of; what is stored are steps; and what cannot arrive is said."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from distmatch.networks.families.growth import Growing, Stage
from distmatch.runs.build import assemble, data_of, layered, objective_of, resolved
from distmatch.runs.folder import RunFolder
from distmatch.runs.train import resume, train
from distmatch.schedules import Ramp
from distmatch.systems import SYSTEMS, find

LENGTHS = (30, 77, 1000, 20_001)
SMALL = {"data.limit": 64, "training.batch_size": 16, "device": "cpu"}
DATA = {name: data_of(layered({"system": "vae", "data.name": name, **SMALL})) for name in ("digits", "ring")}


def config_of(system, steps, **more):
    images = bool(SYSTEMS[system].defaults.get("network.family"))
    data = {"data.name": "digits" if images else "ring", **SMALL}
    return layered({"system": system, **data, "training.steps": steps, **more})


@pytest.mark.parametrize("steps", LENGTHS)
@pytest.mark.parametrize("system", SYSTEMS)
def test_every_ramp_of_a_default_run_arrives_at_its_last_step(system, steps):
    config = config_of(system, steps)
    asked = objective_of(config)
    objective = objective_of(resolved(config, DATA[config.data.name]))
    assert objective == asked.over(steps)  # what is stored says what is trained
    assert objective.ramps.keys() == asked.ramps.keys()
    for ramp in objective.ramps.values():
        assert isinstance(ramp.steps, int)
        assert ramp.at(0) == ramp.start
        assert ramp.at(steps) == ramp.end


def test_the_systems_that_change_with_time():
    assert {
        n: list(s.objective().over(1000).ramps.values()) for n, s in SYSTEMS.items() if s.objective().ramps
    } == {
        "beta-vae": [Ramp(0, 4, 250)],
        "gan-roth": [Ramp(2, 0.02, 1000, "exponential")],
        "noisy-gan": [Ramp(0.5, 0, 1000)],
        "lens-gan": [Ramp(1, 0, 500, "sine")],
    }


@pytest.mark.parametrize("steps", LENGTHS)
def test_a_default_run_removes_its_lens_half_way(steps):
    lens = assemble(config_of("lens-gan", steps, **{"network.family": "mlp"})).trainer.nets["lens"]
    half = round(steps / 2)
    x = torch.rand(3, 2)
    for step, removed in ((half - 1, False), (half, True), (steps - 1, True)):
        lens.at(step)
        assert (lens(x) is x) == removed


@pytest.mark.parametrize("side", [8, 14, 28, 32])
@pytest.mark.parametrize("steps", LENGTHS)
def test_a_default_run_of_growing_nets_trains_its_last_level_alone(steps, side):
    """For as long as each other phase, at least."""
    config = config_of("progressive-gan", steps, **{"network.width": 2, "network.most": 4})
    x = torch.zeros(64, 1, side, side, dtype=torch.uint8)
    data = DATA["digits"]
    parts = {split: replace(getattr(data, split), x=x, y=None) for split in ("train", "validation", "test")}
    made = assemble(config, replace(data, **parts))
    growing = [m for net in made.trainer.nets.values() for m in net.modules() if isinstance(m, Growing)]
    assert len(growing) == 2
    top = {8: 1, 14: 1, 28: 2, 32: 3}[side]
    for net in growing:
        stages = [net.growth.stage(step) for step in range(steps)]
        assert stages[0] == Stage(0, 1.0)
        assert {s.level for s in stages} == set(range(top + 1))
        assert stages[-1] == Stage(top, 1.0)
        assert stages.count(Stage(top, 1.0)) >= steps // (2 * top + 1)
        assert net.growth.whole == stages.index(Stage(top, 1.0))
    assert made.notes == ()


def stored(run):
    return json.loads((Path(run) / "config.json").read_text())


def test_what_is_stored_are_steps(train):
    config = stored(train("beta-vae", steps=8))["config"]
    assert config["options"]["beta"] == "ramp(0, 4, 2)"
    terms = "nll + ramp(0, 1, 50%)*kl + match(x_gen, x, penalty=roth(ramp(2, 1, 100%, exponential)))"
    config = stored(train(None, "--terms", terms, out="terms", steps=8))["config"]
    assert config["terms"] == (
        "nll + ramp(0, 1, 4)*kl + match(x_gen, x, penalty=roth(ramp(2, 1, 8, exponential)))"
    )
    small = ("--set", "network.lens_width=4", "network.lens_blocks=1", "--network", "mlp")
    config = stored(train("lens-gan", *small, out="lens", steps=8))["config"]
    assert config["options"]["steps"] == 4
    config = stored(train("progressive-gan", "--set", "network.fade=25%", out="growing", steps=8))["config"]
    assert (config["network"]["options"]["stable"], config["network"]["options"]["fade"]) == (2, 2)


def test_a_run_that_is_made_longer_rescales_nothing(here):
    """Its file says more steps: the ramp is where it was, and the run is the one that was asked for so."""
    beta = {"network.width": 8, "network.latent": 2, "data.name": "digits", **SMALL}
    path = train(layered({"system": "beta-vae", "training.steps": 8, **beta}), Path("a")).folder.path
    about = stored(path)
    about["config"]["training"]["steps"] = 16
    (path / "config.json").write_text(json.dumps(about))
    resume(path)
    longer = {"system.beta": "ramp(0, 4, 2)", "training.steps": 16, "training.checkpoint_every": 1, **beta}
    whole = train(layered({"system": "beta-vae", **longer}), Path("b")).folder.path
    assert stored(path)["config"]["options"] == stored(whole)["config"]["options"]
    first, second = (sorted((run / "checkpoints").glob("*16*"))[-1].read_bytes() for run in (path, whole))
    assert first == second


def test_a_configuration_taken_up_for_a_longer_run_keeps_its_steps(train):
    train("beta-vae", steps=8)
    again = stored(train(None, "--config", "run/config.json", out="again", steps=40))
    assert again["config"]["training"]["steps"] == 40
    assert again["config"]["options"]["beta"] == "ramp(0, 4, 2)"


SAID = {
    "beta": (
        ("beta-vae", "--set", "network.width=8", "system.beta=ramp(0, 4, 24)"),
        "weight of kl goes from 0 to 4 in 24 steps, and the run has 6: it ends at 1",
    ),
    "roth": (
        ("gan-roth", "--set", "network.width=8", "system.penalty=roth(ramp(2, 0.02, 12, exponential))"),
        "penalty.gamma of match(x_gen, x) goes from 2 to 0.02 in 12 steps, and the run has 6: it ends at 0.2",
    ),
    "lens": (
        ("lens-gan", "--network", "mlp", "--set", "network.width=8", "system.steps=3000"),
        "goes from 1 to 0 in 3,000 steps, and the run has 6",
    ),
    "growing": (
        (
            "progressive-gan",
            "--set",
            "network.width=2",
            "network.most=4",
            "network.stable=4",
            "network.fade=2",
        ),
        "the nets grow until step 6, and the run has 6: their last level is never trained alone",
    ),
}
RUN = (
    "--data",
    "digits",
    "--binarise",
    "threshold",
    "--limit",
    "64",
    "--batch-size",
    "32",
    "--device",
    "cpu",
    "--out",
    "run",
)


@pytest.mark.parametrize("words", SAID)
def test_a_run_too_short_for_its_schedule_says_so_and_trains(words, distmatch, caplog):
    arguments, said = SAID[words]
    code, _, errors = distmatch("train", *arguments, *RUN, "--steps", "6")
    assert code == 0, errors
    (line,) = caplog.messages
    assert line.startswith("note: ")
    assert said in line
    assert stored("run")["notes"] == [line.removeprefix("note: ")]
    assert RunFolder(Path("run")).status() == "finished"


@pytest.mark.parametrize("words", ["beta", "growing"])
def test_a_run_that_is_long_enough_says_nothing(words, distmatch, caplog):
    code, _, errors = distmatch("train", *SAID[words][0], *RUN, "--steps", "24")
    assert (code, errors, caplog.messages) == (0, "", [])
    assert stored("run")["notes"] == []


def test_shares_that_cannot_be(distmatch):
    for setting, said in (
        ("system.beta=ramp(0, 1, 0%)", "system.beta cannot be 'ramp(0, 1, 0%)': a share of a run is 0%"),
        ("system.beta=50%", "beta is not a length of time, which alone can be a share of a run"),
        ("network.width=50%", "network.width is '50%'; give a whole number"),
    ):
        code, _, errors = distmatch("train", "vae", *RUN, "--steps", "6", "--set", setting)
        assert code == 2
        assert said in errors
    for value, said in (
        ("150%", "a share of a run is 150%"),
        ("half", "network.stable is 'half'; give a whole number, or a share of the run such as 20%, or null"),
    ):
        code, _, errors = distmatch(
            "train", "progressive-gan", *RUN, "--steps", "6", "--set", f"network.stable={value}"
        )
        assert code == 2
        assert said in errors


def test_shown_as_it_is_meant(distmatch):
    assert "system.beta=ramp(0, 4, 25%)" in distmatch("show", "beta-vae")[1]
    assert "system.penalty=roth(ramp(2, 0.02, 100%, exponential))" in distmatch("show", "gan-roth")[1]
    assert "system.steps=50%" in distmatch("show", "lens-gan")[1]
    assert find("lens-gan").options["steps"] == "50%"
