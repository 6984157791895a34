"""Which split, prior, weights, labels and seed of a run reach its metrics: on data whose splits are constants."""

import json
import math
from dataclasses import replace
from inspect import signature

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import Independent, Normal

from distmatch.cli.measuring import Evaluate
from distmatch.data import DataSet, Split, load
from distmatch.errors import BadInput
from distmatch.metrics import Options
from distmatch.metrics import evaluate as bench
from distmatch.networks.priors import NormalMixture
from distmatch.objectives.variables import X_GEN
from distmatch.reports.table import comparison_rows
from distmatch.runs import critics
from distmatch.runs import model as trained
from distmatch.runs.build import assemble, layered
from distmatch.runs.evaluation import evaluate
from distmatch.runs.external import diagnose, model_of, read_samples
from distmatch.runs.folder import FORMAT, RunFolder
from distmatch.runs.model import finalize, load_trained
from distmatch.runs.train import train
from distmatch.runs.view import measured, report
from distmatch.sweeps.file import SweepFile, parse
from distmatch.sweeps.packing import How
from distmatch.sweeps.plan import Run as RunPlanned
from distmatch.sweeps.pool.worker import Task
from distmatch.sweeps.table import row_of

VALUES = {"train": 1.0, "validation": 2.0, "test": 3.0}
SIZES = {"train": 60, "validation": 24, "test": 40}
SMALL = {"training.batch_size": 10, "network.width": 8, "network.latent": 3, "device": "cpu"}


def constant(kind="points", **without):
    """Data whose splits are 1, 2 and 3, or as many times 60 in bytes; labels from another start each."""

    def split(name, first):
        n, value = SIZES[name], VALUES[name]
        y = (torch.arange(n) + first) % 3
        if kind == "points":
            return Split(torch.full((n, 2), value), y)
        return Split(torch.full((n, 1, 4, 4), int(60 * value), dtype=torch.uint8), y)

    parts = {name: split(name, i) for i, name in enumerate(SIZES)}
    parts |= {name: Split(parts[name].x[:0], parts[name].y[:0]) for name in without}
    more = {"modes": torch.tensor([[0.0, 1.0], [2.0, 3.0]]), "mode_scale": 0.25} if kind == "points" else {}
    return DataSet("constant", **parts, classes=("a", "b", "c"), **more)


def run_of(system, data=None, steps=1, **more):
    data = constant() if data is None else data
    name = {"data.name": "digits" if data.is_image else "ring"}
    assembly = assemble(layered({"system": system, **name, **SMALL, **more}), data)
    assembly.trainer.run(steps)
    return finalize(assembly)


def test_a_subject_has_the_training_and_the_test_split_with_their_labels():
    run = run_of("cvae")
    model = run.as_model()
    for name, first in (("train", 0), ("validation", 1), ("test", 2)):
        assert run.labels(name)[:3].tolist() == [first, (first + 1) % 3, (first + 2) % 3]
    assert model.train().unique().tolist() == [1]
    assert model.test().unique().tolist() == [3]
    assert (len(model.train()), len(model.test()), model.latent) == (60, 40, 3)
    assert model.train_labels[:4].tolist() == [0, 1, 2, 0]
    assert model.test_labels[:4].tolist() == [2, 0, 1, 2]
    assert (model.mode_scale, model.modes.tolist()) == (0.25, [[0, 1], [2, 3]])
    assert run_of("vae").as_model().train_labels is None
    assert run_of("vae", constant(test=True)).as_model().test is None


def test_each_split_is_prepared_from_its_own_bytes():
    run = run_of("vae", constant("images"))
    for name, value in VALUES.items():
        x = run.prepared(name)
        assert len(x) == SIZES[name]
        assert x.unique().tolist() == pytest.approx([60 * value / 255])
        assert len(run.prepared(name, 7)) == 7
    with pytest.raises(BadInput, match="no test split"):
        run_of("vae", constant("images", test=True)).prepared("test")


def test_what_is_random_in_a_preparation_is_the_same_for_every_run():
    first, other = (
        run_of("vae", constant("images"), **{"data.binarise": "dynamic", "seed": s}) for s in (0, 5)
    )
    x = first.prepared("train")
    assert x.unique().tolist() == [0, 1]
    assert abs(float(x.mean()) - 60 / 255) < 0.06
    assert torch.equal(x, first.prepared("train"))
    assert torch.equal(x, other.prepared("train"))


def test_what_is_random_in_a_preparation_is_drawn_apart_for_each_split():
    """Of grey images of one level, binarised by one noise, the same pixels would be white in all three."""
    grey = Split(torch.full((24, 1, 4, 4), 128, dtype=torch.uint8), torch.zeros(24, dtype=torch.long))
    data = replace(constant("images"), train=grey, validation=grey, test=grey)
    run = run_of("vae", data, **{"data.binarise": "dynamic"})
    made = {split: run.prepared(split).flatten() for split in SIZES}
    for a, b in (("train", "test"), ("train", "validation"), ("validation", "test")):
        assert abs(float(torch.corrcoef(torch.stack([made[a], made[b]]))[0, 1])) < 0.25


def test_grey_levels_are_told_of_dequantised_images_alone():
    assert run_of("vae", constant("images")).as_model().grey_levels is None
    assert run_of("vae", constant("images"), **{"data.binarise": "dequantise"}).as_model().grey_levels == 256
    assert run_of("vae").as_model().grey_levels is None


def test_what_is_done_in_chunks_is_done_to_all_rows(monkeypatch):
    own = Split(torch.arange(80.0).reshape(40, 2), torch.zeros(40, dtype=torch.long))
    run = run_of("vgh++", replace(constant(), test=own))
    whole = run.prepared("test"), run.sample(25, 1), run.as_model().critics(40, 0)["data"].target[0]
    for room in (trained, critics):
        monkeypatch.setattr(room, "CHUNK", 9)
    assert torch.equal(whole[0], own.x)
    assert torch.equal(run.prepared("test"), own.x)
    torch.testing.assert_close(run.sample(25, 1), whole[1])
    rows = run.as_model().critics(40, 0)["data"].target[0]
    assert sorted(rows.tolist()) == sorted(whole[2].tolist()) == own.x.tolist()


@pytest.mark.parametrize("prior", ["sphere", "uniform"])
def test_a_fixed_prior_is_drawn_from(prior):
    run = run_of("gan", **{"network.prior": prior})
    z = run.as_model().draw_prior(500, 0)
    if prior == "sphere":
        torch.testing.assert_close(z.norm(dim=1), torch.full((500,), math.sqrt(3)))
    else:
        assert z.abs().max() <= 1
    assert not run.as_model().standard_prior
    assert torch.equal(run.sample(5, 4), run.generate(run.prior_draws(5, 4)))
    assert not torch.equal(run.prior_draws(5, 0), run.prior_draws(5, 1))


class Far(nn.Module):
    """A prior that lies at 9."""

    def forward(self, encoder):
        return NormalMixture(torch.zeros(2), torch.full((2, 3), 9.0), torch.full((2, 3), 0.1))


def test_a_learned_prior_is_drawn_from_and_is_the_metrics_too():
    run = run_of("vae-mixture")
    run = replace(run, nets={**run.nets, "prior": Far()})
    model = run.as_model()
    z = model.draw_prior(50, 0)
    assert (z - 9).abs().max() < 1
    assert float(model.prior.log_prob(torch.full((1, 3), 9.0))) > 3
    assert not model.standard_prior
    assert torch.equal(model.sample(5, 2), model.generate(model.draw_prior(5, 2), None))
    assert not torch.equal(z, model.draw_prior(50, 1))
    near = replace(run, nets={k: v for k, v in run.nets.items() if k != "prior"})
    rates = [bench(r.as_model(), ["elbo"]).metrics["rate"].value for r in (run, near)]
    assert rates[0] > rates[1] + 100


class Says(nn.Module):
    """A net whose distribution lies at one number."""

    def __init__(self, value, size):
        super().__init__()
        self.value, self.size = value, size

    def forward(self, given, y=None):
        return Independent(Normal(torch.full((len(given), self.size), self.value), 0.1), 1)


class Through(nn.Module):
    """A prior that lies where the encoder that it is given puts anything."""

    def forward(self, encoder):
        return Independent(Normal(encoder(torch.zeros(1, 2)).mean[0], 0.1), 1)


def test_each_draw_is_made_by_the_net_with_its_own_statistics():
    codes = {"encoder": 1.0, "z_code": 2.0, "z_rec": 3.0, "z_marginal": 4.0}
    images = {"decoder": 5.0, "x_rec": 6.0, "x_gen": 7.0}
    nets = {name: Says(v, 3) for name, v in codes.items()} | {name: Says(v, 2) for name, v in images.items()}
    model = replace(run_of("vae"), nets={**nets, "prior": Through()}).as_model()
    x, z = torch.zeros(4, 2), torch.zeros(4, 3)
    assert model.encode(x, None).mean.unique().tolist() == [2]
    assert model.encode_samples(x, None).mean.unique().tolist() == [3]
    assert model.prior.mean.unique().tolist() == [4]
    assert model.decode(z, None).mean.unique().tolist() == [6]
    for made in (model.decode_prior(z, None).mean, model.generate(z, None), model.sample(4, 0)):
        assert made.unique().tolist() == [7]
    plain = replace(run_of("vae"), nets={"encoder": nets["encoder"], "decoder": nets["decoder"]}).as_model()
    assert plain.encode_samples(x, None).mean.unique().tolist() == [1]
    assert plain.sample(4, 0).unique().tolist() == [5]


@pytest.mark.parametrize(
    ("system", "more", "has"),
    [
        ("vae", {}, True),
        ("gan", {}, False),
        ("avb", {"network.posterior": "noise"}, False),
        ("aae", {"network.prior": "sphere"}, False),
        ("aae", {"network.prior": "uniform"}, False),
    ],
)
def test_whose_likelihood_means_something(system, more, has):
    assert run_of(system, **more).as_model().has_likelihood is has


def test_draws_for_given_labels_have_them():
    """Of more rows than are decoded at once: the label of each is its own."""
    run = run_of("cgan", steps=30)
    y = torch.arange(1500) // 700  # 0, 1 and a few of 2
    made = run.as_model().sample_with_labels(y, 3)
    z = run.prior_draws(1500, 3)
    for row in (0, 699, 700, 1100, 1499):
        alone = run.decode(z[row : row + 1], y[row : row + 1], of=X_GEN).mean
        torch.testing.assert_close(made[row : row + 1], alone)
    assert not torch.allclose(made, run.sample(1500, 3, torch.zeros(1500, dtype=torch.long)))
    assert torch.equal(run.sample(7, 3), run.sample(7, 3, torch.tensor([0, 1, 2, 0, 1, 2, 0])))


def test_nets_are_evaluated_with_what_was_trained(tmp_path):
    """The decoder's running average where one is kept; of a folder, as of the run that wrote it."""
    config = layered({"system": "gan", "data.name": "digits", "data.limit": 40, **SMALL}, AVERAGED)
    train(config, tmp_path / "run")
    loaded, _ = load_trained(RunFolder.open(tmp_path / "run"))
    assembly = assemble(config)
    fresh = assembly.trainer.nets["decoder"].state_dict()
    fresh = {k: v.clone() for k, v in fresh.items()}
    assembly.trainer.run(20)
    run = finalize(assembly)
    assert torch.equal(loaded.sample(9, 1), run.sample(9, 1))
    weights = dict(run.nets["decoder"].named_parameters())
    average, raw = assembly.trainer.state.ema["decoder"], assembly.trainer.state.params["decoder"]
    assert all(torch.equal(weights[k], average[k]) for k in average)
    assert not any(torch.equal(weights[k], raw[k]) or torch.equal(weights[k], fresh[k]) for k in average)
    plain = run_of("vae")  # without batch norm
    assert not any(net.training for r in (run, plain) for net in (*r.nets.values(), *r.critic_nets.values()))


AVERAGED = {
    "training.steps": 20,
    "training.ema": 0.9,
    "training.sample_every": 20,
    "network.batch_norm": True,
}


def test_an_implicit_encoder_draws_its_noise():
    run = run_of("avb", **{"network.posterior": "noise"})
    x = torch.ones(4, 2)
    first, second = (run.encode(x).mean for _ in range(2))
    assert not torch.equal(first, second)
    assert not torch.equal(first[0], first[1])


def test_a_law_of_dequantised_levels_is_scored_at_dequantised_data():
    run = run_of("vae", constant("images"), **{"network.likelihood": "quantized-normal"})
    x = run.prepared("test")[:5]
    distribution = run.as_model().decode(torch.zeros(5, 3), None)
    assert run.as_model().grey_levels == 256
    assert not torch.equal(distribution.log_prob(x), distribution.log_prob(x))


def test_a_critics_target_is_drawn_from_held_out_data():
    run = run_of("gan")
    assert run.as_model().critics(20, 0)["data"].target[0].unique().tolist() == [3]
    alone = run_of("gan", constant(test=True))
    assert alone.as_model().critics(20, 0)["data"].target[0].unique().tolist() == [1]


def test_a_critics_pictures_are_in_its_units():
    """Of nets that see [-1, 1], a picture's values differ by twice as much."""
    run = run_of("wgan-gp", constant("images"), **{"network.family": "mlp"})
    critic = run.as_model().critics(20, 0)["data"]
    (x,) = critic.target
    assert x.unique().tolist() == pytest.approx([2 * 180 / 255])
    torch.testing.assert_close(critic.score(x), run.critic_nets["data"](run.prepared("test", 20)))


def test_a_critics_draws_follow_the_seed():
    held_out = Split(torch.arange(80.0).reshape(40, 2), torch.zeros(40, dtype=torch.long))
    run = run_of("gan", replace(constant(), test=held_out))
    rows = [run.as_model().critics(8, seed)["data"].target[0][:, 0].tolist() for seed in (0, 0, 1)]
    assert rows[0] == rows[1]
    assert set(rows[0]) != set(rows[2])
    assert set(rows[0]) != set(range(0, 16, 2))  # not the first ones


def test_rows_of_both_sides_are_scored_in_their_own_order():
    run = run_of("gan", **{"network.critic_batch_norm": True}, steps=5)
    critic = run.as_model().critics(10, 0)["data"]
    (x, side), (made, other) = critic.target, critic.model
    assert (side.tolist(), other.tolist()) == ([0] * 10, [1] * 10)
    assert torch.equal(x, torch.full((10, 2), 3.0))
    assert not torch.allclose(critic.score(x, side), critic.score(x, other))
    together = torch.cat([critic.score(x, side), critic.score(made, other)])
    mixed = torch.randperm(20, generator=torch.Generator().manual_seed(0))
    scores = critic.score(torch.cat([x, made])[mixed], torch.cat([side, other])[mixed])
    torch.testing.assert_close(scores, together[mixed])


def test_terms_that_share_a_critic_show_it_different_rows():
    """The first term's target and samples are of every second row, and the second's of the others."""
    held_out = Split(torch.arange(80.0).reshape(40, 2), torch.zeros(40, dtype=torch.long))
    run = run_of("vgh++", replace(constant(), test=held_out))
    target = run.as_model().critics(40, 0)["data"].target[0][:, 0]
    assert len(target.unique()) == 40


def test_a_ramp_is_where_training_left_it():
    """Noise on what a critic sees falls to 0 within the run: after it there is none."""
    terms = "match(x_gen, x, instance_noise=ramp(4, 0, 5))"
    run = run_of(None, **{"terms": terms, "training.steps": 20}, steps=20)
    assert run.as_model().critics(10, 0)["data"].target[0].unique().tolist() == [3]


def test_foreign_samples_meet_the_training_and_the_test_split():
    x = torch.arange(20.0).reshape(10, 2)
    model = model_of(x, constant())
    assert model.train().unique().tolist() == [1]
    assert model.test().unique().tolist() == [3]
    assert not torch.equal(model.sample(10, 0), model.sample(10, 1))
    assert sorted(model.sample(10, 1)[:, 0].tolist()) == x[:, 0].tolist()
    assert (model.mode_scale, model.modes.tolist()) == (0.25, [[0, 1], [2, 3]])
    images = model_of(torch.rand(10, 1, 4, 4), constant("images"))
    assert images.test().unique().tolist() == pytest.approx([180 / 255])
    assert images.train().unique().tolist() == pytest.approx([60 / 255])


def test_foreign_samples_are_measured_with_the_seed_that_was_given(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32))
    only = ["sliced_wasserstein"]
    found = [
        diagnose(tmp_path / "x.npy", "ring", None, tmp_path / "out", only=only, samples=50, seed=s)[0]
        for s in (0, 0, 1)
    ]
    values = [results.metrics["sliced_wasserstein"].value for results in found]
    assert values[0] == values[1] != values[2]
    diagnose(tmp_path / "x.npy", "ring", None, tmp_path / "out", only=only)  # all that there are
    alone = bench(
        model_of(read_samples(tmp_path / "x.npy", load("ring"))[0], load("ring")), only, samples=200
    )
    kept = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert kept["metrics"]["sliced_wasserstein"]["value"] == alone.metrics["sliced_wasserstein"].value


def test_a_run_is_measured_with_the_seed_that_was_given(tmp_path):
    train(
        layered({"system": "gan", "data.name": "ring", "data.limit": 200, **SMALL, "training.steps": 3}),
        tmp_path / "r",
    )
    run, _ = load_trained(RunFolder.open(tmp_path / "r"))
    for seed in (0, 4):
        found, _ = evaluate(tmp_path / "r", ["mmd"], samples=40, seed=seed)
        alone = bench(run.as_model(), ["mmd"], samples=40, seed=seed)
        assert found.metrics == alone.metrics
    kept = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert (kept["metrics"]["mmd"]["seed"], kept["metrics"]["mmd"]["value"]) == (
        4,
        alone.metrics["mmd"].value,
    )
    content = {**kept, "metrics": {"mse": {"value": 7.0}, "mmd": {"value": 8.0}}}
    (tmp_path / "r" / "metrics.json").write_text(json.dumps(content))
    evaluate(tmp_path / "r", ["mmd"], samples=40, seed=4)
    kept = json.loads((tmp_path / "r" / "metrics.json").read_text())["metrics"]
    assert kept["mse"]["value"] == 7
    assert kept["mmd"]["value"] == alone.metrics["mmd"].value
    (tmp_path / "r" / "metrics.json").write_text(json.dumps({**content, "step": 1}))
    _, notes = evaluate(tmp_path / "r", ["mmd"], samples=40, seed=4)
    kept = json.loads((tmp_path / "r" / "metrics.json").read_text())["metrics"]
    assert "mse" not in kept  # it is of another step
    assert any("were of step 1 and are dropped" in note for note in notes)


def test_each_result_carries_how_it_was_measured(tmp_path):
    """A later call's seed and number of samples are not an earlier one's."""
    config = layered({"system": "gan", "data.name": "ring", "data.limit": 200, **SMALL, "training.steps": 3})
    train(config, tmp_path / "r")
    evaluate(tmp_path / "r", ["mmd"], samples=40, seed=4)
    evaluate(tmp_path / "r", ["sliced_wasserstein"], samples=30, seed=2)
    kept = json.loads((tmp_path / "r" / "metrics.json").read_text())["metrics"]
    made = {
        name: [kept[name][key] for key in ("step", "samples", "seed")]
        for name in ("mmd", "sliced_wasserstein")
    }
    assert made == {"mmd": [3, 40, 4], "sliced_wasserstein": [3, 30, 2]}


def test_results_of_an_older_step_are_not_shown_as_the_runs(tmp_path, capsys):
    """Measured at step 3, then trained to step 6: the number stays, says so, and is ranked with no other."""
    config = layered({"system": "vae", "data.name": "ring", "data.limit": 200, **SMALL, "training.steps": 6})
    for name in ("old", "new"):
        train(config, tmp_path / name)
    evaluate(tmp_path / "new", ["mse"], samples=40)
    evaluate(tmp_path / "old", ["mse"], samples=40)
    path = tmp_path / "old" / "metrics.json"
    content = json.loads(path.read_text())
    content["metrics"]["mse"] |= {"step": 3, "value": 1e-6, "standard_error": 1e-9}
    path.write_text(json.dumps(content))
    metrics, _ = measured([tmp_path / "old", tmp_path / "new"])
    assert "WARNING: measured at step 3, and the run is at step 6" in metrics["old"]["mse"]["how"]
    assert "WARNING" not in metrics["new"]["mse"]["how"]
    assert not any(cell.clear for cell in comparison_rows(metrics)["mse"])
    page = report([tmp_path / "old", tmp_path / "new"], tmp_path / "page.html").read_text()
    assert "measured at step 3, and the run is at step 6" in page
    row = row_of(tmp_path / "old", RunPlanned("old", {}, config, config, ("", "")))
    assert list(row["metrics"]) == ["l1"]
    assert row["not_measured"]["mse"] == "measured at step 3 of 6"


def test_as_many_examples_are_measured_wherever_one_does_not_say():
    asked = [signature(f).parameters["samples"].default for f in (bench, evaluate, diagnose)]
    asked += [kind.samples for kind in (Evaluate, SweepFile, Task, How)] + [parse({"base": {}}).samples]
    assert asked == [Options.samples] * 8


def test_metrics_of_two_runs_are_told_apart(tmp_path):
    places = [tmp_path / "a" / "run", tmp_path / "b" / "run", tmp_path / "b" / "other"]
    for number, place in enumerate(places):
        place.mkdir(parents=True)
        (place / "config.json").write_text(json.dumps({"format": FORMAT, "config": {}}))
        content = {"metrics": {"mse": {"value": number}}, "skipped": {"elbo": f"reason {number}"}}
        (place / "metrics.json").write_text(json.dumps(content))
    metrics, skipped = measured(places)
    assert [m["mse"]["value"] for m in metrics.values()] == [0, 1, 2]
    assert [s["elbo"] for s in skipped.values()] == ["reason 0", "reason 1", "reason 2"]
    assert list(metrics) == [str(places[0]), str(places[1]), "other"]
