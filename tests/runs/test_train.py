"""What training leaves in a run folder, and what does not change its bits."""

import json
from pathlib import Path

import pytest
import torch

from distmatch.revision import revision
from distmatch.runs.build import assemble, layered
from distmatch.runs.folder import RunFolder
from distmatch.runs.layers import assignment
from distmatch.runs.model import finalize, load_trained
from distmatch.training import checkpoint


def last(run):
    tensors, _, _ = checkpoint.read_latest(Path(run) / "checkpoints")
    return tensors


def log(run):
    return [json.loads(line) for line in (Path(run) / "log.jsonl").read_text().splitlines()]


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def test_the_folder(train, here):
    run = Path(train("vae", "--tensorboard", steps=10))
    names = {p.name for p in run.iterdir()}
    assert names >= {
        "config.json",
        "log.jsonl",
        "checkpoints",
        "samples",
        "timing.json",
        "status.json",
        "report.html",
    }
    assert any((run / "tensorboard").iterdir())
    assert [line["step"] for line in log(run)] == list(range(1, 11))
    assert {"nll", "kl", "gradient_norm/model", "validation/nll"} <= log(run)[-1].keys()
    assert checkpoint.steps(run / "checkpoints") == [8, 10]
    assert RunFolder.open(run).status() == "finished"
    assert json.loads((run / "timing.json").read_text())["steps"] == 10
    environment = json.loads((run / "config.json").read_text())["environment"]
    assert {"torch", "threads", "revision", "device"} <= environment.keys()
    assert environment["revision"] == revision()
    clocks = {"seconds", "time", "date"}
    assert not any(clocks & line.keys() for line in log(run))


@pytest.mark.parametrize(("system", "network"), [("gan", "dcgan"), ("vgh++", "mlp")])
def test_the_configuration_fixes_the_run(system, network, train, distmatch):
    """Batch norm in gan's dcgan; the decoder's average in both. Looking at samples changes nothing."""
    first = train(
        system, "--set", "training.ema=0.9", "training.sample_every=1", "--network", network, out="a"
    )
    code, _, errors = distmatch("train", "--config", f"{first}/config.json", "--out", "b")
    assert code == 0, errors
    code, _, errors = distmatch(
        "train", "--config", f"{first}/config.json", "--set", "training.sample_every=99", "--out", "c"
    )
    assert code == 0, errors
    assert same(last("a"), last("b"))
    assert same(last("a"), last("c"))
    assert Path("a/log.jsonl").read_bytes() == Path("c/log.jsonl").read_bytes()
    assert not same(
        last("a"),
        last(train(system, "--set", "training.ema=0.9", "--network", network, "--seed", "1", out="d")),
    )


def test_a_run_that_goes_on_with_another_source_says_so(train, distmatch):
    config = Path(train("vae", steps=10), "config.json")
    about = json.loads(config.read_text())
    about["environment"]["revision"] = "older"
    config.write_text(json.dumps(about))
    assert distmatch("resume", "run")[0] == 0  # it had ended: this source adds nothing
    assert json.loads(config.read_text()) == about
    for file in Path("run/checkpoints").glob("*10.*"):
        file.unlink()
    assert distmatch("resume", "run")[0] == 0
    environment = json.loads(config.read_text())["environment"]
    assert environment == {**about["environment"], "resumed_with": [revision()]}


def test_a_hybrid_without_a_file(distmatch, here):
    terms = "nll + 0.5*match(z_code, z_prior, by=wasserstein, penalty=gp(10)) + match(x_gen, x)"
    code, out, errors = distmatch(
        "train", "--terms", terms, "--data", "digits", "--steps", 3, "--limit", 64, "--set", "network.width=8"
    )
    assert code == 0, errors
    assert "next: distmatch evaluate runs/terms-digits" in out
    assert (here / "runs" / "terms-digits" / "log.jsonl").exists()


def test_one_net_alone(train, distmatch):
    """An objective without a decoder: nothing to sample, and it says so."""
    run = train(None, "--terms", "match(z_code, z_prior)")
    assert not list(Path(run, "samples").iterdir())
    code, _, errors = distmatch("sample", run)
    assert (code, errors) == (2, "distmatch: this system has no decoder\n")
    code, out, errors = distmatch("evaluate", run, "--quick", "--samples", 50)
    assert code == 0, errors
    assert "not measured: ms_ssim_diversity needs samples; this system cannot be sampled" in out


@pytest.mark.parametrize("system", ["aae", "wgan-gp"])
def test_every_system_can_be_given_the_label(system, train, distmatch):
    run = train(system, "--labels")
    assert json.loads((Path(run) / "config.json").read_text())["equation"].endswith("all given y")
    code, _, errors = distmatch("sample", run, "-n", 4, "--label", 3, "--out", "three.npy")
    assert code == 0, errors


@pytest.mark.parametrize("system", ["cvae", "cgan"])
def test_given_labels(system, train, distmatch, here):
    run = train(system)
    assert distmatch("sample", run, "-n", 5, "--label", 3, "--out", "three.npy")[0] == 0
    assert distmatch("sample", run, "-n", 5, "--out", "all.npy")[0] == 0
    assert (here / "three.npy").read_bytes() != (here / "all.npy").read_bytes()
    code, _, errors = distmatch("sample", run, "--label", 10)
    assert (code, "not one of the 10 classes" in errors) == (2, True)
    assert distmatch("evaluate", run, "--quick", "--samples", 50)[0] == 0


@pytest.mark.parametrize(("system", "data"), [("gan", "ring"), ("wgan-gp", "grid"), ("vae", "ring")])
def test_toys(system, data, distmatch, here):
    small = ["--limit", 200, "--steps", 2, "--out", "run", "--set", "network.width=8"]
    code, _, errors = distmatch("train", system, "--data", data, *small)
    assert code == 0, errors
    assert [p.suffix for p in (here / "run" / "samples").iterdir()] == [".svg", ".svg"]
    assert distmatch("sample", "run")[1] == "64 samples in samples.svg\n"
    code, out, errors = distmatch("evaluate", "run", "--only", "mode_coverage")
    assert code == 0, errors
    assert "high_quality" in out


def test_settling_leaves_the_trainer_as_it_was():
    config = layered(
        {"system": "gan", "data.name": "digits", "data.limit": 96, "network.latent": 2, "device": "cpu"},
        assignment("training.ema=0.5"),
    )
    assembly = assemble(config)
    assembly.trainer.run(3)
    before = {k: v.clone() for k, v in assembly.trainer.snapshot()[0].items()}
    trained = finalize(assembly)
    assert not trained.nets["decoder"].training
    assert same(before, assembly.trainer.snapshot()[0])
    average = assembly.trainer.state.ema["decoder"]
    assert all(torch.equal(p, average[k]) for k, p in trained.nets["decoder"].named_parameters())
    raw = assembly.trainer.state.params["decoder"]
    assert not all(torch.equal(raw[k], average[k]) for k in raw)


def test_samples_put_the_nets_back_into_training_even_when_they_fail(train, monkeypatch):
    from distmatch.errors import BadInput
    from distmatch.runs import pictures

    trained, _ = load_trained(RunFolder.open(Path(train("gan"))))

    def full(*_):
        raise BadInput("full")

    monkeypatch.setattr(pictures, "put", full)
    with pytest.raises(BadInput, match="full"):
        pictures.save_samples(trained.assembly, RunFolder(Path("run")), 1)
    assert all(net.training for net in trained.assembly.trainer.nets.values())


def test_evaluation_is_fixed_by_its_seed_and_merges(train, distmatch):
    run = train("vae")
    path = Path(run, "metrics.json")
    assert distmatch("evaluate", run, "--quick", "--samples", 50)[0] == 0
    whole = path.read_bytes()
    assert distmatch("evaluate", run, "--quick", "--samples", 50)[0] == 0
    assert path.read_bytes() == whole
    before = json.loads(whole)
    assert all(
        {"value", "standard_error", "n", "unit", "how"} <= m.keys() for m in before["metrics"].values()
    )
    assert "mode_coverage" in before["skipped"]
    assert distmatch("evaluate", run, "--samples", 20, "--only", "elbo")[0] == 0
    after = json.loads(path.read_text())
    assert after["metrics"].keys() == before["metrics"].keys()
    assert after["metrics"]["mse"] == before["metrics"]["mse"]
    assert after["metrics"]["elbo"] != before["metrics"]["elbo"]
    assert [m["revision"] for m in after["metrics"].values()] == [revision()] * len(after["metrics"])
    path.write_text(json.dumps({**after, "step": 1}))
    code, _, errors = distmatch("evaluate", run, "--samples", 20, "--only", "elbo")
    assert (code, "earlier results were of step 1 and are dropped" in errors) == (0, True)
    assert json.loads(path.read_text())["metrics"].keys() == {"elbo", "rate", "distortion"}


def test_compare_and_report(train, distmatch, here):
    for out in ("a", "b"):
        assert distmatch("evaluate", train("vae", out=out), "--only", "elbo", "--samples", 20)[0] == 0
    code, out, _ = distmatch("compare", "a", "b")
    assert code == 0
    assert "elbo" in out
    assert distmatch("report", "a", "b") == (0, "page: report.html\n", "")
    assert (here / "report.html").stat().st_size > 1000


def test_evaluated_without_the_device_it_was_trained_on(train, distmatch):
    run = Path(train("vae"))
    about = json.loads((run / "config.json").read_text())
    about["config"]["device"] = "cuda:1"
    (run / "config.json").write_text(json.dumps(about))
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    code, _, errors = distmatch("sample", run)
    assert (code, "trained on cuda:1; the CPU is used here" in errors) == (0, True)
    code, _, errors = distmatch("resume", run)
    assert (code, "device 'cuda:1' cannot be used here" in errors) == (2, True)


def test_a_configuration_with_another_system_leaves_its_nets_and_training_behind(train, distmatch):
    run = train("vae", steps=4)
    code, out, errors = distmatch(
        "train", "gan", "--config", f"{run}/config.json", "--steps", 9000, "--dry-run"
    )
    assert code == 0, errors
    config = json.loads(out[out.index("{") :])
    assert config["network"]["likelihood"] == "implicit"
    assert (config["training"]["lr"], config["training"]["checkpoint_every"]) == (2e-4, 1000)
    assert config["data"]["limit"] == 128
