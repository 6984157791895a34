"""A configuration is declared once: what reads, writes, checks and offers it follows from the declaration."""

import json
from dataclasses import asdict, replace
from typing import Annotated, get_args, get_origin, get_type_hints

import pytest

from distmatch.cli.training import Train
from distmatch.data import PREPARATIONS
from distmatch.errors import BadInput
from distmatch.runs.build import DEFAULT_EPOCHS, DEFAULT_LATENT, layered
from distmatch.runs.config import NetworkConfig, RunConfig
from distmatch.runs.layers import absolute, configure, layer_of, read_config
from distmatch.runs.settings import SETTINGS, SHORT
from distmatch.sweeps.space import significant
from distmatch.systems import SYSTEMS
from distmatch.training import OPTIMISERS, SCHEDULES

BASE = {"system": "vae", "data.name": "ring"}
OPTIONS = {"network.width": 8, "network.batch_norm": True, "network.slope": 0.1, "network.fade": "10%"}


@pytest.mark.parametrize("system", SYSTEMS)
def test_what_is_written_is_read_as_the_same(system):
    config = layered({"system": system, "data.name": "ring", "training.lr": 1 / 3, **OPTIONS})
    written = config.as_dict()
    assert written == json.loads(json.dumps(asdict(config))) == json.loads(json.dumps(written))
    assert read_config(written) == configure(layer_of(config)) == config
    assert layer_of(written) == layer_of(config)


def test_every_setting_is_a_path_and_has_a_text():
    config = RunConfig(network=NetworkConfig(options={"width": 8}))
    assert layer_of(config).keys() == {*SETTINGS, "network.width"}
    assert all(setting.text.endswith(".") for setting in SETTINGS.values())
    assert str(DEFAULT_EPOCHS) in SETTINGS["training.epochs"].text
    assert str(DEFAULT_LATENT) in SETTINGS["network.latent"].text


@pytest.mark.parametrize("name", SHORT)
def test_an_option_takes_what_its_setting_takes(name):
    hint = get_type_hints(Train, include_extras=True)[name]
    kind = hint.__origin__ if get_origin(hint) is Annotated else hint
    kinds = set(get_args(kind) or (kind,)) - {type(None)}
    assert {k.__name__.replace("Path", "str") for k in kinds} == {SETTINGS[SHORT[name]].kinds[0].__name__}


@pytest.mark.parametrize(
    ("path", "known"),
    [
        ("training.optimiser", OPTIMISERS),
        ("training.schedule", SCHEDULES),
        ("data.binarise", {"auto", *PREPARATIONS}),
    ],
)
def test_choices_are_all_that_there_is(path, known):
    assert set(SETTINGS[path].choices) == set(known)


@pytest.mark.parametrize(
    ("path", "value", "sentence"),
    [
        ("training.steps", 0, "training.steps is 0; give at least 1"),
        ("training.unroll", -1, "training.unroll is -1; give at least 0"),
        ("seed", -1, "seed is -1; give at least 0"),
        ("data.limit", 0, "data.limit is 0; give at least 1"),
        ("training.lr", 0, "training.lr is 0; give a finite number above 0"),
        ("training.critic_lr", float("inf"), "training.critic_lr is inf; give a finite number above 0"),
        ("training.consensus", -0.5, "training.consensus is -0.5; give a finite number, 0 or above"),
        ("training.ema", 1, "training.ema is 1; give a decay between 0 and 1, such as 0.999"),
        (
            "training.betas",
            [0.5, 1.0],
            "training.betas is (0.5, 1.0); give two numbers of at least 0 and below 1",
        ),
        ("training.lr", True, "training.lr is true; give a number"),
        ("seed", False, "seed is false; give a number"),
        ("training.lrr", 1, "unknown setting 'training.lrr'; did you mean 'training.lr'?"),
    ],
)
def test_a_number_out_of_bounds_is_refused(path, value, sentence):
    with pytest.raises(BadInput) as error:
        configure({**BASE, path: value})
    assert str(error.value).startswith(sentence)


def test_settings_that_contradict_each_other():
    with pytest.raises(BadInput, match=r"training\.consensus and training\.unroll are both given"):
        configure({**BASE, "training.consensus": 1.0, "training.unroll": 1})
    with pytest.raises(BadInput, match="both --steps and --epochs are given"):
        configure({**BASE, "training.steps": 1, "training.epochs": 1})


def test_an_option_that_is_0_is_given():
    assert Train(seed=0).layers() == [{}, {"seed": 0}]
    assert Train(labels=True).layers() == [{}, {"labels": True}]


def test_a_folder_of_data_is_the_same_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert absolute({"data.dir": "x", "seed": 1}) == {"data.dir": str(tmp_path / "x"), "seed": 1}
    assert absolute({"data.dir": None}) == {"data.dir": None}


def test_a_share_of_the_run_as_an_option_becomes_a_number():
    from distmatch.runs.schedules import arrived

    config = replace(configure(BASE), options={"a": "12.5%", "b": "ramp(0, 1, 50%)", "c": 2.5, "d": "gp(10)"})
    assert arrived(config, 1000).options == {"a": 125, "b": "ramp(0, 1, 500)", "c": 2.5, "d": "gp(10)"}


@pytest.mark.parametrize("x", [0.0, 1.0, -2 / 3, 9.9999999e-5, 1e300, 5e-324, 999999.5, 1234567.0, 1e-3 / 3])
def test_significant_digits_are_those_that_would_be_printed(x):
    assert significant(x) == float(f"{x:.6g}")
