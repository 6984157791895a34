"""What a run is made of and keeps: splits, seeds, prior, rates and steps, and what becomes of them in its folder."""

import copy
import json
from collections import deque
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from distmatch.data import DataSet, Split, load
from distmatch.errors import BadInput
from distmatch.objectives.variables import Z_PRIOR
from distmatch.runs import pictures, sampling
from distmatch.runs import train as loop
from distmatch.runs.build import assemble, data_of, feed_of, layered, objective_of
from distmatch.runs.folder import RunFolder
from distmatch.runs.model import finalize, load_trained
from distmatch.runs.sampling import sample_to
from distmatch.runs.sharing import assemble_share, start_alike
from distmatch.runs.timing import Timing
from distmatch.runs.train import RunRecorder, train
from distmatch.training import Diverged
from distmatch.training.distributed.ranks import Ranks

SMALL = {"training.batch_size": 10, "network.width": 8, "network.latent": 3, "device": "cpu"}
AUTOENCODER = {"terms": "distance(x, x_rec, order=2)", "network.posterior": "deterministic"}
SPLITS = {"train": (60, 0.0), "validation": (20, 200.0), "test": (7, 300.0)}


def data(images=False):
    """Splits whose rows all differ, with labels that are the rows' numbers."""

    def split(n, first):
        x = torch.arange(2.0 * n).reshape(n, 2) / 50 + first
        x = (10 + torch.arange(n))[:, None, None, None].expand(n, 1, 4, 4).to(torch.uint8) if images else x
        return Split(x, (torch.arange(n) + int(first) // 100) % 5)

    parts = {name: split(*about) for name, about in SPLITS.items()}
    return DataSet("rows", **parts, classes=tuple("abcde"))


def made(system=None, images=False, **more):
    name = {"data.name": "digits" if images else "ring"}
    return assemble(layered({"system": system, **name, **SMALL, **more}), data(images))


def weights(assembly, net="decoder"):
    return {k: v.clone() for k, v in assembly.trainer.nets[net].state_dict().items()}


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a)


def test_the_seed_is_of_the_nets_the_data_and_the_batches():
    first, again, other = (made("vae", seed=s) for s in (0, 0, 1))
    assert same(weights(first), weights(again))
    assert not same(weights(first), weights(other))
    rows, same_rows, other_rows = (a.trainer.feed.next().x for a in (first, again, other))
    assert torch.equal(rows, same_rows)
    assert not torch.equal(rows, other_rows)
    toy = layered({"system": "vae", "data.name": "ring", "data.limit": 9, "seed": 3})
    assert torch.equal(data_of(toy).train.x, load("ring", limit=9, seed=3).train.x)


@pytest.mark.parametrize("name", SPLITS)
def test_a_feed_is_of_its_split_with_its_labels(name):
    config = made("cvae").config
    feed = feed_of(config, objective_of(config), data(), name, 5)
    part = getattr(data(), name)
    assert torch.equal(feed.x, part.x)
    assert torch.equal(feed.y, part.y)
    assert feed.batch_size == min(10, len(part))
    assert feed.seed == 5
    assert feed_of(config, objective_of(config), data(), name).seed == config.seed


def test_a_split_smaller_than_a_batch_is_one_batch_but_for_training():
    config = made("vae", **{"training.batch_size": 60}).config
    assert feed_of(config, objective_of(config), data(), "test").batches_per_epoch == 1
    with pytest.raises(BadInput, match="fewer than one batch"):
        made("vae", **{"training.batch_size": 61})


@pytest.mark.parametrize("prior", ["sphere", "uniform"])
def test_training_draws_from_the_prior(prior):
    z = made("gan", **{"network.prior": prior}).trainer.feed.next().noise[Z_PRIOR.name]
    if prior == "sphere":
        torch.testing.assert_close(z.norm(dim=1), torch.full((10,), 3**0.5))
    else:
        assert z.abs().max() <= 1


@pytest.mark.parametrize(("binarise", "values"), [("threshold", 1), ("dynamic", 2), ("none", 10)])
def test_training_sees_prepared_images(binarise, values):
    x = made("vae", images=True, **{"data.binarise": binarise}).trainer.feed.next().x
    assert len(x.unique()) == values
    assert 0 <= x.min() <= x.max() <= 1


def test_a_vamp_prior_starts_from_training_data():
    own = Split(torch.linspace(0, 1, 160).reshape(80, 2), torch.zeros(80, dtype=torch.long))
    config = layered({"system": "vae-vamp", "data.name": "ring", **SMALL})
    assembly = assemble(config, replace(data(), train=own, test=Split(own.x + 300, own.y)))
    assert assembly.trainer.nets["prior"].pseudo_inputs.max() < 10


OWN = {
    "training.lr": 1e-3,
    "training.critic_lr": 2e-3,
    "training.betas": (0.3, 0.8),
    "training.schedule": "linear",
    "training.critic_steps": 3,
    "training.steps": 20,
    "training.ema": 0.9,
    "training.order": "simultaneous",
    "training.clip_gradient": 0.7,
    "training.precision": "tf32",
}


def test_model_and_critics_have_their_own_rates_over_their_own_steps():
    trainer = made("gan", **OWN).trainer
    settings = trainer.settings
    assert (trainer.critic_steps, settings.clip_gradient, settings.precision) == (3, 0.7, "tf32")
    assert (settings.model.lr, settings.critics.lr) == (1e-3, 2e-3)
    for optimiser, steps in ((settings.model, 20), (settings.critics, 60)):
        assert (optimiser.beta1, optimiser.beta2) == (0.3, 0.8)
        factor = optimiser.schedule(torch.tensor(steps / 2, dtype=torch.float64))
        assert float(factor) == pytest.approx(0.5)
    assert (settings.ema, settings.simultaneous) == (0.9, True)
    plain = made("gan", **{"training.lr": 1e-3, "training.critic_lr": None}).trainer.settings
    assert (plain.critics.lr, plain.ema, plain.simultaneous) == (1e-3, None, False)


@pytest.mark.parametrize(("critic_steps", "steps"), [(1, 24), (3, 8)])
def test_epochs_count_every_batch(critic_steps, steps):
    """4 epochs of 60 examples in batches of 10, of which the critic's steps take theirs."""
    more = {"training.epochs": 4, "training.critic_steps": critic_steps}
    assert made("gan", **more).config.training.steps == steps
    assert made("vae", **more).config.training.steps == 24


def error(assembly, x):
    """‖x - x̂‖², summed, mean over these rows, by the nets alone."""
    run = finalize(assembly)
    with torch.no_grad():
        return float((run.decoded(run.encode(x).mean) - x).square().sum(1).mean())


def test_validation_losses_are_of_all_of_the_validation_split():
    assembly = made(**AUTOENCODER)
    found = loop._validation(assembly)["validation/distance(x, x_rec)"]
    assert found == pytest.approx(error(assembly, data().validation.x), rel=1e-5)
    assert (
        loop._validation(replace(assembly, data=replace(data(), validation=Split(data().test.x[:0])))) == {}
    )


def test_validation_has_one_noise_whatever_the_runs_seed():
    first, other = (made("vae", seed=s) for s in (0, 1))
    other.trainer.restore_weights(*first.trainer.snapshot())
    assert loop._validation(first) == loop._validation(other)


def trained(tmp_path, system="gan", name="run", **more):
    config = layered({"system": system, "data.name": "ring", "data.limit": 60, **SMALL, **more})
    return train(config, tmp_path / name).folder


def test_each_step_keeps_what_is_due_and_the_last_keeps_all(tmp_path):
    every = {
        "training.steps": 11,
        "training.log_every": 4,
        "training.checkpoint_every": 6,
        "training.sample_every": 5,
    }
    folder = trained(tmp_path, **every, **AUTOENCODER, system=None)
    log = {line["step"]: line for line in folder.read_log()}
    assert list(log) == [4, 6, 8, 11]
    assert [step for step, line in log.items() if "validation/distance(x, x_rec)" in line] == [6, 11]
    assert all("gradient_norm/model" in line for line in log.values())
    assert [line["epoch"] for line in log.values()] == [0, 1, 1, 1]
    assert [int(p.stem[5:]) for p in sorted(folder.samples.iterdir())] == [5, 10, 11]
    assert folder.status() == "finished"


def test_steps_taken_at_once_stop_before_whatever_is_due(tmp_path):
    every = {"steps": 11, "log_every": 4, "checkpoint_every": 6, "sample_every": 5}
    assembly = made("gan", **{f"training.{k}": v for k, v in every.items()})
    recorder = RunRecorder(assembly, RunFolder(tmp_path), None)
    due = [4, 5, 6, 8, 10, 11]
    for done in range(11):
        assembly.trainer.steps_done = done
        following = next(step for step in due if step > done)
        assert recorder.free() == max(1, following - 1 - done)
        assert recorder.logs_next() is (done + 1 in (4, 6, 8, 11))


def test_a_norm_that_is_not_finite_ends_the_run():
    ok = {"gradient_norm/model": torch.tensor(1.0), "nll": torch.tensor(float("nan"))}
    assert loop._extra(ok, 3) == {"gradient_norm/model": 1}
    with pytest.raises(Diverged, match="score/data"):
        loop._extra({"score/data": torch.tensor(float("inf"))}, 3)


def test_samples_follow_the_seed_and_the_label(tmp_path):
    folder = trained(tmp_path, "cgan", **{"training.steps": 10})
    run, _ = load_trained(folder)

    def drawn(**asked):
        sample_to(folder.path, 6, tmp_path / "x.npy", **asked)
        return torch.from_numpy(np.load(tmp_path / "x.npy"))

    for seed in (0, 5):
        assert torch.equal(drawn(seed=seed), run.sample(6, seed))
        assert torch.equal(drawn(seed=seed, label=2), run.sample(6, seed, torch.full((6,), 2)))
    assert not torch.equal(run.sample(6, 0), run.sample(6, 5))
    assert not torch.equal(run.sample(6, 0), run.sample(6, 0, torch.full((6,), 2)))


def test_a_scatter_plot_of_samples_shows_held_out_data(tmp_path, monkeypatch):
    folder = trained(tmp_path, **{"training.steps": 1})
    shown = []
    for room in (sampling, pictures):
        monkeypatch.setattr(room, "scatter_2d", lambda *given: shown.append(given))
        monkeypatch.setattr(room, "figure_to_svg", lambda figure: "")
    sample_to(folder.path, 5, tmp_path / "x.svg")
    run, _ = load_trained(folder)
    pictures.save_samples(run.assembly, folder, 1, run)
    test = load("ring", limit=60).test.x
    assert torch.equal(shown[0][0], run.sample(5))
    assert torch.equal(shown[0][1], test[:5])
    assert torch.equal(shown[1][1], test)


def test_pictures_of_every_step_are_of_the_same_draws(tmp_path):
    folder = trained(tmp_path, **{"training.steps": 1})
    run, _ = load_trained(folder)
    grey = made("gan", images=True)
    for step in (7, 30):
        pictures.save_samples(run.assembly, folder, step, run)
        pictures.save_samples(grey, folder, step, finalize(grey))
    for kind in ("svg", "png"):
        first, second = ((folder.samples / f"step-{s:08d}.{kind}").read_bytes() for s in (7, 30))
        assert first == second
    assert pictures.newest_samples(folder).stem == "step-00000030"


def test_reconstructions_are_of_test_images_with_their_labels(tmp_path, monkeypatch):
    own = Split(data(images=True).train.x[:50], torch.arange(50) * 7 % 5)
    config = layered({"system": "cvae", "data.name": "digits", **SMALL})
    assembly = assemble(config, replace(data(images=True), test=own))
    assembly.trainer.run(3)
    run = finalize(assembly)
    shown = []
    monkeypatch.setattr(
        pictures, "reconstruction_grid", lambda *given, columns: shown.extend(given) or columns
    )
    monkeypatch.setattr(pictures, "png_bytes", lambda grid: b"")
    pictures.save_reconstructions(run, RunFolder(tmp_path))
    x, y = run.prepared("test", 32), own.y[:32]
    assert torch.equal(shown[0], x)
    with torch.no_grad():
        torch.testing.assert_close(shown[1], run.decoded(run.encode(x, y).mean, y).clamp(0, 1))


def test_a_log_is_cut_where_the_run_is_taken_up(tmp_path):
    folder = RunFolder(tmp_path)
    for step in range(1, 6):
        folder.append_log({"step": step, "nll": float(step)})
    folder.cut_log(3)
    assert [line["step"] for line in folder.read_log()] == [1, 2, 3]
    folder.write_json("status.json", {"status": "diverged at step 4: nll is nan"})
    assert folder.status() == "diverged at step 4: nll is nan"


class Pair(Ranks):
    """One of two ranks of which the other is heard through a queue, and gradients are each one's own."""

    def __init__(self, rank, said):
        super().__init__(rank, 2)
        self.said = said

    def told(self, words):
        if self.leads:
            self.said.append(words)
        return words if self.leads else self.said.popleft()

    def mean(self, tensors):
        return list(tensors)

    def agree_on(self, wish):
        return wish


def test_ranks_are_fed_their_share_and_start_with_the_leaders_state():
    said = deque()
    config = layered({"system": "gan", "data.name": "ring", "data.limit": 60, **SMALL})
    leader, follower = (assemble_share(config, Pair(rank, said)) for rank in (0, 1))
    whole = assemble(config).trainer.feed.next()
    parts = [copy.copy(a.trainer.feed).next().x for a in (leader, follower)]
    assert torch.equal(torch.cat(parts), whole.x)
    other = assemble(replace(config, seed=9)).trainer.snapshot()[0]
    follower.trainer.restore({k: v.clone() for k, v in other.items()}, leader.trainer.snapshot()[1])
    leader.trainer.advance()
    said.clear()
    for assembly in (leader, follower):
        start_alike(assembly, assembly.trainer.feed.ranks)
    (state, about), (found, same_about) = (a.trainer.snapshot() for a in (leader, follower))
    assert about == same_about
    assert same(state, found)
    with pytest.raises(BadInput, match="not a multiple of 2"):
        assemble_share(replace(config, training=replace(config.training, batch_size=9)), Pair(0, said))


def test_of_several_ranks_the_leader_alone_writes(tmp_path):
    said = deque()
    config = layered({"system": "gan", "data.name": "ring", "data.limit": 60, **SMALL, "training.steps": 2})
    train(config, tmp_path / "run", ranks=Pair(0, said))
    kept = {p: p.read_bytes() for p in Path(tmp_path).rglob("*") if p.is_file()}
    assert json.loads((tmp_path / "run" / "config.json").read_text())["environment"]["ranks"] == 2
    train(config, tmp_path / "run", ranks=Pair(1, said))
    assert {p: p.read_bytes() for p in Path(tmp_path).rglob("*") if p.is_file()} == kept


def test_timing_is_of_this_session_and_the_earlier_ones(tmp_path):
    folder = RunFolder(tmp_path)
    folder.write_json("timing.json", {"seconds": 50.0, "steps": 5})
    Timing(folder, 5).write(9)
    kept = folder.read_json("timing.json")
    assert kept["steps"] == 9
    assert 50 <= kept["seconds"] < 60
