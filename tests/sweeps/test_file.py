"""The sweep file: what it may hold, and what is said of one that is wrong."""

import json
from pathlib import Path

import pytest

from distmatch.errors import BadInput
from distmatch.sweeps.file import parse, read
from distmatch.sweeps.space import Choice, Range, draws

WHOLE = """
seeds = [3, 5]
evaluate = ["mode_coverage"]
samples = 100
[base]
data.name = "ring"
"training.steps" = 40
training.betas = [0.5, 0.9]
[grid]
system = ["vae", "vgh++"]
training.lr = [1e-4, 1e-3]
[systems."vgh++".grid]
system.weight = [1, 10]
[systems.vae.base]
training.batch_size = 32
[random]
n = 4
network.latent = {low = 2, high = 8}
training.critic_lr = {low = 1e-5, high = 1e-3, log = true}
[halving]
metric = "nll"
first = 10
within = ["system"]
"""


def test_a_whole_file(tmp_path):
    path = tmp_path / "a.toml"
    path.write_text(WHOLE)
    file = parse(read(path))
    assert file.common.base == {"data.name": "ring", "training.steps": 40, "training.betas": [0.5, 0.9]}
    assert file.common.grid == {"system": ["vae", "vgh++"], "training.lr": [1e-4, 1e-3]}
    assert file.systems["vgh++"].grid == {"system.weight": [1, 10]}
    assert file.systems["vae"].base == {"training.batch_size": 32}
    assert file.common.space == {
        "network.latent": Range(2, 8),
        "training.critic_lr": Range(1e-5, 1e-3, log=True),
    }
    assert (file.seeds, file.draws.n, file.evaluate, file.samples) == ((3, 5), 4, ("mode_coverage",), 100)
    assert (file.halving.rungs(100), file.halving.within) == ([10, 30, 90], ("system",))
    again = tmp_path / "a.json"
    again.write_text(json.dumps(file.content))
    assert parse(read(again)) == file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[bas]", "unknown section 'bas'; did you mean 'base'?"),
        ("base = 3", "base is 3; give a table of settings, [base]"),
        ("[grid]\ntraining.lr = 0.1", "[grid] training.lr is 0.1; give a list"),
        ("[grid]\ntraining.lr = []", "give a list of at least one value"),
        ("[grid]\ntraining.lr = [1, 2, 1]", "names 1 twice"),
        ('[base]\ntraining.lr = 1\n"training.lr" = 2', "[base] training.lr is given twice"),
        ("[base\n", "is no TOML"),
        ("[base]\nsome.day = 2020-01-01", "some.day is 2020-01-01; give a number"),
        ("[random]\na = [1]", "[random] has no n; add it"),
        ("[random]\nn = 0", "[random] n is 0; give a whole number, 1 or above"),
        ("[random]\nn = 2\na = 3", "[random] a is 3; give a list of values or a range"),
        ("[random]\nn = 2\na = {low = 3, high = 1}", "goes from 3 to 1"),
        ("[random]\nn = 2\na = {low = 0, high = 1, log = true}", "logarithmic from 0"),
        ("[random]\nn = 2\na = {low = 0, hihg = 1}", "unknown part of the range [random] a 'hihg'"),
        ("[random]\nn = 2\na = {low = 0}", "high is None; give a finite number"),
        ("[random]\nn = 2\na = [1]\n[grid]\na = [1, 2]", "a is varied twice"),
        ("[random]\nn = 2\nseed = [1]", "seed can be varied by [grid] alone"),
        ("[random]\nn = 2\n[optuna]\ntrials = 1\nmetric = 'a'", "[random] and [optuna] are both there"),
        ("[optuna]\ntrials = 1", "[optuna] has no metric"),
        ("[optuna]\ntrials = 1\nmetric = 'a'\ndirection = 'up'", "give minimise or maximise"),
        ("[optuna]\ntrials = 1\nmetric = 'a'\nsampler = 'tpee'", "did you mean 'tpe'?"),
        ("[optuna]\ntrials = 1\nmetric = 3", "metric is 3; give its name as text"),
        ("[halving]\nmetric = 'a'", "[halving] has no first"),
        ("[halving]\nmetric = 'a'\nfirst = 1\neta = 1", "eta is 1; give a whole number, 2 or above"),
        ("[halving]\nmetric = 'a'\nfirst = 1\neat = 2", "unknown key of [halving] 'eat'"),
        ("seeds = -1", "seeds is -1; give a whole number"),
        ("seeds = [0, -1]", "seeds names -1"),
        ("seeds = 2\n[base]\nseed = 3", "seeds are given, and a seed elsewhere"),
        ("evaluate = ['mode_coverag']", "unknown metric 'mode_coverag'"),
        ("samples = true", "samples is True; give a whole number"),
        ("[systems.vae.gird]\na = [1]", "unknown section of [systems.vae] 'gird'"),
        ("[systems.vae.random]\na = [1]", "adds ranges to [random], which is not there"),
        ("[systems.vae.grid]\na = [1]\n[grid]\na = [2]", "a is varied twice"),
    ],
)
def test_errors(tmp_path, text, said):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(BadInput) as error:
        parse(read(path), str(path))
    assert said in str(error.value)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_files_that_cannot_be_read(tmp_path):
    for name, content in (("no.toml", None), ("list.json", b"[1]"), ("bytes.toml", b"\xff\xfe")):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(BadInput, match=name):
            read(Path(path))


def test_draws_are_in_range_and_do_not_depend_on_other_axes():
    space = {"a": Range(1, 4), "b": Range(1e-4, 1e-1, log=True), "c": Choice((1, "x")), "d": Range(0.0, 1.0)}
    found = draws(space, 500, seed=1)
    assert {d["a"] for d in found} == {1, 2, 3, 4}
    assert {d["c"] for d in found} == {1, "x"}
    assert all(1e-4 <= d["b"] <= 1e-1 and 0 <= d["d"] <= 1 for d in found)
    below = sum(d["b"] < 10**-2.5 for d in found)
    assert 200 < below < 300  # half of the logarithm's range
    assert [d["a"] for d in found] == [d["a"] for d in draws({"a": Range(1, 4)}, 500, seed=1)]
    assert found != draws(space, 500, seed=2)
