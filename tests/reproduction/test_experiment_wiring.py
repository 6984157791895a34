"""Of experiments: which cell, seed, folder and split a number is of, with runs whose answers are known."""

import json
import math
from concurrent.futures import Future
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch.nn.functional import softplus

from distmatch.data import load, to_unit
from distmatch.metrics.estimate import Estimate
from distmatch.objectives.comparisons import NON_SATURATING
from distmatch.reproduction.framework import runner as running
from distmatch.reproduction.framework import sweeps as sweeping
from distmatch.reproduction.framework import train as trained
from distmatch.reproduction.framework.common import Judge, cell_difference, correlation, digits, thin, watched
from distmatch.reproduction.framework.experiment import Bench, Claim, Experiment, Numbers, Record, Results
from distmatch.reproduction.framework.losses import critic_loss, generator_loss
from distmatch.reproduction.framework.runner import reproduce
from distmatch.reproduction.framework.train import logged, measure_run, train_run
from distmatch.reproduction.framework.verdict import Expected
from distmatch.runs.folder import RunFolder

CELLS = [{"a": 2}, {"a": 1}]


def experiment(name="fake", **more):
    """An experiment whose numbers say what it was asked for; and the list of what was run."""
    ran = []

    def run(cell, seed, bench):
        ran.append((cell["a"], seed, bench))
        assert not any(bench.folder.iterdir())  # a folder of its own
        (bench.folder / "kept").touch()
        return Numbers({"a": cell["a"], "seed": seed, "value": 100 * cell["a"] + seed + len(name)})

    claim = Claim("a sentence", "here", "value", lambda found: found.values("value", a=1), Expected(low=0))
    made = Experiment(name, "A title", "", "", lambda scale: CELLS, run, (claim,), **more)
    return made, ran


@pytest.fixture
def reproduced(tmp_path, monkeypatch):
    known = {}
    monkeypatch.setattr(running, "find", known.__getitem__)

    def perform(made, scale="cpu", **more):
        known[made.name] = made
        return reproduce(made.name, scale, work=tmp_path / "work", out=tmp_path / "out", **more)

    return perform


def test_every_cell_is_run_with_every_seed_in_a_folder_of_its_own(reproduced, tmp_path):
    made, ran = experiment()
    told = []
    found = reproduced(made, seeds=3, data_dir=tmp_path / "data", told=lambda *line: told.append(line))
    assert [(a, seed) for a, seed, _ in ran] == [(a, seed) for seed in range(3) for a in (2, 1)]
    assert len({bench.folder for _, _, bench in ran}) == 6
    for _, _, bench in ran:
        assert bench.data_dir == tmp_path / "data"
        assert bench.scale == "cpu"
        assert bench.folder.parent == tmp_path / "work" / "fake" / "cpu"
    for record in found["runs"]:
        assert record["values"]["a"] == record["cell"]["a"]
        assert record["values"]["seed"] == record["seed"]
    assert [(r["cell"]["a"], r["seed"]) for r in found["runs"]] == [(a, seed) for a, seed, _ in ran]
    assert [line[0] for line in told] == list(range(1, 7))
    assert told[1] == (2, 6, "a=1 seed 0")
    assert found["seconds"] == sum(record["seconds"] for record in found["runs"])
    assert json.loads((tmp_path / "out" / "fake" / "cpu.json").read_text()) == found


def test_what_was_run_is_not_run_again_nor_taken_for_another(reproduced, tmp_path):
    made, ran = experiment()
    first = reproduced(made, seeds=2)
    again = reproduced(made, seeds=3)
    assert len(ran) == 6
    assert again["runs"][:4] == first["runs"]
    paper = reproduced(made, "paper", seeds=1)
    assert len(ran) == 8  # another scale has runs of its own
    for scale, written in (("cpu", again), ("paper", paper)):
        assert json.loads((tmp_path / "out" / "fake" / f"{scale}.json").read_text()) == written
    other, ran = experiment("other one")
    assert reproduced(other, seeds=1)["runs"][0]["values"]["value"] == 209
    assert len(ran) == 2


def test_what_has_nothing_random_is_run_once(reproduced):
    made, ran = experiment(seeded=False)
    assert reproduced(made, seeds=5)["seeds"] == 1
    assert len(ran) == 2


def test_runs_that_are_too_small_judge_nothing(reproduced):
    """Not even what a single run would settle."""
    made, _ = experiment()
    made = replace(made, claims=(replace(made.claims[0], expected=Expected(low=0, exact=True)),))
    (claim,) = reproduced(made, seeds=20)["claims"]
    assert claim["outcome"] == "holds"
    assert claim["value"] == pytest.approx(104 + 9.5)
    assert reproduced(made, seeds=1)["claims"][0]["outcome"] == "holds"
    (claim,) = reproduced(made, "smoke", seeds=20)["claims"]
    assert (claim["outcome"], claim["n"]) == ("inconclusive", 1)


def test_records_of_processes_keep_their_places(reproduced, monkeypatch):
    """A pool that ends the last first."""

    class Pool:
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def submit(self, call, *given):
            ended = Future()
            ended.set_result(call(*given))
            return ended

    monkeypatch.setattr(running, "ProcessPoolExecutor", Pool)
    monkeypatch.setattr(running, "as_completed", lambda waiting: list(waiting)[::-1])
    made, _ = experiment()
    found = reproduced(made, seeds=2, jobs=2)
    assert [(r["cell"]["a"], r["seed"]) for r in found["runs"]] == [(2, 0), (1, 0), (2, 1), (1, 1)]


SMALL = {
    "system": "vae",
    "data.name": "digits",
    "data.limit": 64,
    "training.batch_size": 16,
    "training.steps": 4,
    "network.width": 8,
    "network.latent": 2,
}


def test_a_run_has_the_seed_of_its_cell_whatever_its_settings_say(tmp_path):
    path = train_run({**SMALL, "seed": 99, "device": "nowhere"}, 7, Bench("smoke", tmp_path))
    config = RunFolder.open(path).config()
    assert (config.seed, config.device) == (7, "cpu")
    assert logged(path, "nll") == [line["nll"] for line in RunFolder.open(path).read_log()]
    assert logged(None, "nll") == []


def test_a_run_that_diverged_is_not_gone_on_with(tmp_path, monkeypatch):
    path = train_run(SMALL, 0, Bench("smoke", tmp_path))
    monkeypatch.setattr(trained, "resume", lambda path: 1 / 0)
    RunFolder(path).write_json("status.json", {"status": "diverged at step 3: nll is nan"})
    assert train_run(SMALL, 0, Bench("smoke", tmp_path)) is None
    assert measure_run(None, ["elbo"]).values == {"diverged": 1}


def test_a_measured_run_gives_the_values_that_are_finite(tmp_path, monkeypatch):
    asked = []

    def evaluate(path, only, samples, seed):
        asked.append((path, only, samples, seed))
        found = {"mse": Estimate(3.0, 0.5, 9), "elbo": Estimate(float("nan"), 1.0, 9)}
        return SimpleNamespace(metrics=found), []

    monkeypatch.setattr(trained, "evaluate", evaluate)
    assert measure_run(tmp_path, ["a"], 40, 6).values == {"diverged": 0, "mse": 3}
    assert asked == [(tmp_path, ["a"], 40, 6)]


def test_looks_are_even_and_the_last_is_at_the_end(tmp_path):
    found = watched(SMALL | {"training.steps": 8}, 5, Bench("smoke", tmp_path), 3, lambda run: {"one": 1.0})
    assert found.steps == [2, 5, 8]
    assert found.trained.assembly.config.seed == 5
    assert found.trained.assembly.trainer.steps_done == 8
    assert found.seen == {"one": [1, 1, 1]}


def test_a_judge_looks_at_held_out_data_and_at_samples_of_its_seed():
    asked = []

    def images(kind):
        def give(*about):
            asked.append((kind, *about))
            return torch.rand(6, 1, 28, 28, generator=torch.Generator().manual_seed(0))

        return give

    judge = Judge(6, 3)
    found = judge(SimpleNamespace(prepared=images("data"), sample=images("samples")))
    judge(SimpleNamespace(prepared=images("data"), sample=images("samples")))
    assert asked == [("data", "test", 6), ("samples", 6, 3), ("samples", 6, 3)]
    assert found["frechet"] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_digits_are_of_the_split_that_is_asked_for(split, tmp_path):
    assert torch.equal(
        digits(Bench("smoke", tmp_path), split, 9), to_unit(getattr(load("digits"), split).x[:9])
    )


def test_differences_are_of_a_less_b_seed_by_seed():
    records = [Record({"d": d}, s, Numbers({"kl": 10.0 * d + s * d}), 0.1) for s in (2, 0, 1) for d in (1, 3)]
    assert cell_difference("kl", {"d": 3}, {"d": 1})(Results(records)) == [20, 22, 24]


def test_a_thinned_curve_ends_where_the_curve_ends():
    for n in (1, 199, 200, 201, 399, 1000):
        found = thin([float(i) for i in range(n)])
        assert found[-1] == n - 1
        assert len(found) <= 200


def test_what_does_not_vary_is_not_correlated():
    assert correlation([1.0, 1.0, 1.0], [1.0, 2.0, 3.0]) == 0
    assert correlation([1.0, 2.0, 3.0], [5.0, 5.0, 5.0]) == 0
    assert correlation([1.0, 2.0, 3.0], [3.0, 2.0, 1.0]) == -1


def test_losses_of_a_game_know_the_target_from_the_model():
    target, model = torch.tensor([2.0, 3.0]), torch.tensor([0.5, -1.0, 4.0])
    expected = softplus(-target).mean() + softplus(model).mean()
    torch.testing.assert_close(critic_loss(NON_SATURATING, target, model), expected)
    torch.testing.assert_close(generator_loss(NON_SATURATING, model), softplus(-model).mean())


def swept(name, values, lost=()):
    """A sweep of lr with two seeds, the second one first: (lr, seed) -> value; `lost` ones have none."""
    return Results(
        [
            Record(
                {"system": "vae", "lr": lr}, seed, Numbers({} if (lr, seed) in lost else {name: value}), 0.0
            )
            for (lr, seed), value in sorted(values.items(), reverse=True)
        ]
    )


@pytest.mark.parametrize(("name", "best_of_all"), [("modes", [5.0, 9.0]), ("kl", [1.0, 2.0])])
def test_the_best_of_a_sweep_is_by_seed_and_a_run_that_diverged_is_its_worst(name, best_of_all):
    values = {(0.1, 0): 5.0, (0.1, 1): 2.0, (1.0, 0): 1.0, (1.0, 1): 9.0, (9.0, 0): 3.0, (9.0, 1): 4.0}
    found = swept(name, values)
    assert sweeping.best(found, name) == sweeping.best_of(name, "vae")(found) == best_of_all
    assert sweeping.worst_to_best(found, name) == [4.0, 7.0]
    lost = swept(name, values, lost=[(9.0, 0)])
    assert sweeping.best(lost, name) == best_of_all
    assert sweeping.worst_to_best(lost, name) == [5.0 if name == "modes" else math.inf, 7.0]
    at = [lambda r, lr=lr: r.values(name, lr=lr) for lr in (1.0, 0.1)]
    assert sweeping.difference(*at)(found) == [-4.0, 7.0]
    assert sweeping.mean_of(*at)(found) == [3.0, 5.5]
