"""Bad input: one sentence, exit code 2, nothing half-written."""

import errno
import json
import os
from pathlib import Path

import pytest

from distmatch import cli
from distmatch.cli import entry
from distmatch.errors import BadInput
from distmatch.runs import folder
from distmatch.runs import train as loop
from distmatch.training import Trainer, checkpoint

VAE = ("train", "vae", "--data", "digits", "--out", "new")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "vaee", "--data", "digits"), "did you mean 'vae'?"),
        (("train", "vae", "--data", "digit"), "did you mean 'digits'?"),
        (("train", "vae"), "no data set is named"),
        (("train", "--data", "digits"), "nothing says what to train"),
        (("train", "vae", "--terms", "nll", "--data", "digits"), "both given"),
        ((*VAE, "--stepz", "3"), "did you mean --steps?"),
        ((*VAE, "--steps", "x"), "'x' is not a whole number"),
        ((*VAE, "--steps"), "--steps"),
        ((*VAE, "--steps", "0"), "training.steps is 0; give at least 1"),
        ((*VAE, "--steps", "5", "--epochs", "1"), "both --steps and --epochs are given"),
        ((*VAE, "--epochs", "-1"), "training.epochs is -1"),
        ((*VAE, "--epochs", "nan"), "training.epochs is nan"),
        ((*VAE, "--latent", "0"), "network.latent is 0"),
        ((*VAE, "--batch-size", "5000"), "fewer than one batch of 5000"),
        ((*VAE, "--seed", "-1"), "seed is -1"),
        ((*VAE, "--seed", str(2**64)), "seed is"),
        ((*VAE, "--precision", "half"), "'half' is not one of float32, tf32, bf16"),
        ((*VAE, "--device", "meta"), "give auto, cpu, cuda"),
        ((*VAE, "--device", "cuda:77"), "cannot be used here"),
        ((*VAE, "--network", "mpl"), "did you mean 'mlp'?"),
        ((*VAE, "--likelihood", "bernouli"), "did you mean 'bernoulli'?"),
        ((*VAE, "--likelihood", "implicit"), "an implicit decoder has no likelihood"),
        ((*VAE, "--limit", "0"), "data.limit is 0"),
        ((*VAE, "--set", "training.lrr=1"), "did you mean 'training.lr'?"),
        ((*VAE, "--set", "training.lr"), "not of the form path=value"),
        ((*VAE, "--set", "training.lr=fast"), "training.lr is 'fast'"),
        ((*VAE, "--set", "training.lr=nan"), "training.lr is nan"),
        ((*VAE, "--set", "training.lr=0"), "finite number above 0"),
        ((*VAE, "--set", "training.steps=true"), "give a number"),
        ((*VAE, "--set", "training.betas=[2,0]"), "training.betas"),
        ((*VAE, "--set", "training.ema=1"), "training.ema is 1"),
        ((*VAE, "--set", "network.widht=5"), "did you mean 'width'?"),
        ((*VAE, "--set", "network.width=[1]"), "network.width is [1]"),
        ((*VAE, "--set", "network.width=wide"), "width is 'wide'"),
        ((*VAE, "--set", "system.bta=5"), "did you mean 'beta'?"),
        ((*VAE, "--set", "system.beta=-5"), "weight is -5"),
        ((*VAE, "--set", "system=gan", "--terms", "nll"), "both given"),
        (("train", "wgan-gp", "--data", "digits", "--set", "network.critic_batch_norm=true"), "batch norm"),
        (("train", "gan", "--data", "ring", "--network", "dcgan"), "use mlp"),
        (("train", "cvae", "--data", "ring", "--binarise", "threshold"), "binarisation is for images"),
        (
            (
                "train",
                "--terms",
                "match(z_code, z_prior)",
                "--data",
                "digits",
                "--set",
                "training.ema=0.9",
            ),
            "decoder",
        ),
        (("train", "--terms", "nll + kl", "--data", "digits", "--set", "system.beta=1"), "named system"),
        (("train", "vae", "--data", "mnist", "--data-dir", "."), "no files found"),
        (("train", "vae", "--data", "mnist", "--data-dir", "nowhere"), "does not exist"),
        (("train", "--config", "nowhere.json"), "cannot read the configuration nowhere.json"),
        ((*VAE[:-1], "."), "a folder of its own"),
        ((*VAE[:-1], "/dev/null"), "is a file"),
        ((*VAE[:-1], "/dev/null/run"), "cannot make the run folder"),
        (("resume", "nowhere"), "there is no such folder"),
        (("resume", "."), "it has no config.json"),
        (("sample", "nowhere"), "is not a run folder"),
        (("evaluate", "nowhere"), "is not a run folder"),
        (("compare",), "no run is named"),
        (("report",), "no run is named"),
        (("list", "nothing"), "invalid choice 'nothing'"),
        (("show", "vgh+"), "did you mean"),
        (("trian",), "unrecognized options: trian"),
        ((), "expected one of"),
    ],
    ids=lambda value: " ".join(value)[-40:] if isinstance(value, tuple) else "",
)
def test_one_sentence(arguments, words, refused):
    assert words in refused(*arguments)


def test_the_caret_points_into_the_terms(distmatch, here):
    code, _, errors = distmatch("train", "--terms", "nll + mtch(x_gen, x)", "--data", "digits")
    assert code == 2
    first, text, caret = errors.splitlines()
    assert "did you mean 'match'?" in first
    assert text[caret.index("^") :].startswith("mtch")
    assert not list(here.iterdir())


def test_labels_where_there_are_none(refused, here):
    (here / "pictures").mkdir()
    from PIL import Image

    for i in range(12):
        Image.new("RGB", (8, 8), (i, i, i)).save(here / "pictures" / f"{i}.png")
    command = [
        "train",
        "cgan",
        "--data",
        "folder",
        "--data-dir",
        "pictures",
        "--set",
        "data.size=8",
        "--network",
        "mlp",
    ]
    assert "no labels" in refused(*command, "--batch-size", 2)


def test_data_files_that_cannot_be(refused, here):
    """Empty, truncated, foreign: the sentence names the file."""
    (here / "mnist").mkdir()
    names = (
        "train-images-idx3-ubyte",
        "train-labels-idx1-ubyte",
        "t10k-images-idx3-ubyte",
        "t10k-labels-idx1-ubyte",
    )
    for content in (b"", b"\x00\x00\x08\x03\x00", b"<html>" * 9):
        for name in names:
            (here / "mnist" / name).write_bytes(content)
        assert "ubyte" in refused("train", "vae", "--data", "mnist", "--data-dir", ".", "--out", "new")


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"config": 5}', '{"foo": 1}', '{"data": {"nam": 1}}', '{"data": 5}', "\xff"]
)
def test_configurations_that_are_garbage(content, refused, here):
    (here / "c.json").write_bytes(content.encode("latin-1"))
    assert "c.json" in refused("train", "vae", "--config", "c.json", "--data", "digits")
    (here / "run").mkdir()
    (here / "run" / "config.json").write_bytes(content.encode("latin-1"))
    for command in ("resume", "sample", "evaluate", "report"):
        assert "config.json" in refused(command, "run")


def test_a_run_of_an_older_format_is_refused_by_every_command(train, refused, here):
    run = here / train("vae")
    about = json.loads((run / "config.json").read_text())
    about |= {"format": 1, "environment": {"distmatch": "0.1.0"}}
    (run / "config.json").write_text(json.dumps(about))
    for command in ("resume", "sample", "evaluate", "report", "compare"):
        assert "was written by distmatch 0.1.0 in format 1" in refused(command, "run")


def test_a_taken_folder(train, refused, here, monkeypatch):
    run = train("vae")
    monkeypatch.setattr(loop, "assemble_share", lambda config, ranks: pytest.fail("work was done"))
    assert "`distmatch resume run` goes on with it; give another --out" in refused(*VAE[:-1], run)
    (here / "mine").mkdir()
    (here / "mine" / "thesis.tex").write_text("")
    assert "holds other files" in refused(*VAE[:-1], "mine")


def test_of_two_at_once_one_gets_the_folder(train, refused, here, monkeypatch):
    """Both looked, and saw nothing; one came later."""
    run = train("vae")
    looked = []

    def blind(path):
        looked.append(path)
        if len(looked) > 2:
            folder_taken(path)

    folder_taken = folder.refuse_taken
    monkeypatch.setattr(folder, "refuse_taken", blind)
    monkeypatch.setattr(loop, "refuse_taken", blind)
    assert "holds a run already" in refused(*VAE[:-1], run)


def test_an_empty_folder_will_do(train, here):
    (here / "empty").mkdir()
    train("vae", out="empty")


def damage(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", [".safetensors", ".json"])
def test_damaged_checkpoints(suffix, train, distmatch, refused, here):
    run = Path(train("vae", "--set", "training.checkpoint_every=2"))
    whole = (run / "checkpoints" / "step-00000006.safetensors").read_bytes()
    damage(run / "checkpoints" / f"step-00000006{suffix}")
    code, _, errors = distmatch("sample", run)
    assert code == 0
    assert "note: checkpoint step-00000006 is damaged" in errors
    assert "the one of step 4 is used" in errors
    code, _, errors = distmatch("resume", run)
    assert (code, "the one of step 4 is used" in errors) == (0, True)
    assert (run / "checkpoints" / "step-00000006.safetensors").read_bytes() == whole
    for path in (run / "checkpoints").glob(f"*{suffix}"):
        damage(path)
    errors = refused("resume", run)
    assert "no checkpoint in run/checkpoints can be used" in errors
    assert "distmatch train --config run/config.json --out run-2" in errors
    refused("evaluate", run)


def test_foreign_files_among_checkpoints(train, distmatch):
    run = Path(train("vae"))
    for name in ("step-.json", "step-x.json", "notes.txt"):
        (run / "checkpoints" / name).write_text("{}")
    assert distmatch("resume", run)[0] == 0
    assert (run / "checkpoints" / "notes.txt").exists()


def test_a_checkpoint_of_other_nets(train, refused):
    a, b = Path(train("vae", out="a")), Path(train("vae", out="b", width=9))
    for path in (a / "checkpoints").iterdir():
        (b / "checkpoints" / path.name).write_bytes(path.read_bytes())
    assert "the checkpoint is of other nets" in refused("resume", b)
    assert "the checkpoint is of other nets" in refused("sample", b)


def full(*_):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_disk_that_is_full_from_the_start(refused, monkeypatch):
    monkeypatch.setattr(os, "fsync", full)
    assert "No space left on device); free some space" in refused(*VAE)


def test_a_disk_that_fills_up_later(train, distmatch, here, monkeypatch):
    small = ["train", "vae", "--data", "digits", "--limit", "128", "--steps", 6, "--set", "network.width=8"]
    small += ["--latent", 3, "--batch-size", 32, "training.checkpoint_every=2"]
    small[-1:] = ["--set", "training.checkpoint_every=2"]
    write = checkpoint.write

    def fills_up(folder, step, tensors, info):
        if step > 2:
            monkeypatch.setattr(os, "fsync", full)
        write(folder, step, tensors, info)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "write", fills_up)
        code, _, errors = distmatch(*small, "--out", "run")
    assert code == 2
    assert "free some space; then `distmatch resume run` goes on from the last checkpoint" in errors
    monkeypatch.undo()
    os.chdir(here)
    assert not list((here / "run").rglob("*.tmp"))
    assert distmatch("resume", "run")[0] == 0
    assert distmatch(*small, "--out", "whole")[0] == 0
    for name in ("log.jsonl", "checkpoints/step-00000006.safetensors"):
        assert (here / "run" / name).read_bytes() == (here / "whole" / name).read_bytes()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_log_that_cannot_be_written(tmp_path):
    run = folder.RunFolder(tmp_path)
    run.log.symlink_to("/dev/full")
    with pytest.raises(
        BadInput, match=r"cannot write .*log\.jsonl \(No space left on device\); free some space"
    ):
        run.append_log({"step": 1})
    run.log.unlink()
    run.log.mkdir()
    with pytest.raises(BadInput, match=r"cannot write .*log\.jsonl \(Is a directory\); check"):
        run.append_log({"step": 1})
    with pytest.raises(BadInput, match=r"cannot read"):
        run.read_log()


def test_results_that_cannot_be_written(train, refused, distmatch, here):
    """A folder where a file should come: what a missing permission would do."""
    run = Path(train("vae"))
    (run / "report.html").unlink()
    (run / "report.html").mkdir()
    assert "cannot write run/report.html" in refused("report", run)
    (run / "metrics.json").mkdir()
    code, _, errors = distmatch("evaluate", run, "--only", "elbo", "--samples", 10)
    assert (code, "run/metrics.json" in errors) == (2, True)
    assert "there is no folder nowhere" in refused("sample", run, "--out", "nowhere/a.png")
    (here / "a.png").mkdir()
    assert "cannot write a.png" in refused("sample", run, "--out", "a.png")


def test_wrong_questions_to_a_run(train, refused):
    gan = train("gan")
    assert "elbo needs an encoder" in refused("evaluate", gan, "--only", "elbo")
    assert "did you mean 'elbo'?" in refused("evaluate", gan, "--only", "elb")
    assert "give at least 1" in refused("evaluate", gan, "--samples", "0")
    assert "give at least 1" in refused("sample", gan, "-n", "0")
    assert "ends in .png, .svg or .npy" in refused("sample", gan, "--out", "a.jpg")
    assert "points in the plane" in refused("sample", gan, "--out", "a.svg")
    assert "not given labels" in refused("sample", gan, "--label", "1")
    assert "has not been measured yet; run `distmatch evaluate run`" in refused("compare", gan)


def test_a_run_that_diverges(distmatch, refused, here):
    command = ["train", "vae", "--data", "digits", "--steps", 20, "--set", "training.lr=1e18", "--out", "run"]
    code, _, errors = distmatch(*command)
    assert code == 3
    assert errors.startswith("distmatch: diverged at step 2: nll is nan; ")
    assert "`distmatch train --config run/config.json --set training.lr=1e+17 --out run-2`" in errors
    assert errors.count("\n") == 1
    assert json.loads((here / "run" / "status.json").read_text()) == {
        "status": "diverged at step 2: nll is nan"
    }
    assert "would again from its last checkpoint; start another run" in refused("resume", "run")
    assert distmatch("report", "run")[0] == 0
    assert "diverged at step 2" in (here / "run" / "report.html").read_text()
    command[command.index("training.lr=1e18")] = "training.lr=1e15"
    code, _, errors = distmatch(*command[:-1], "kept", "--set", "training.checkpoint_every=1")
    assert code == 3
    if "no checkpoint yet" not in errors:
        assert "is kept in kept/checkpoints" in errors
        errors = refused("evaluate", "kept", "--only", "reconstruction", "--samples", 10)
        assert "what the nets of kept return is not finite at step" in errors


def test_an_error_of_the_system_is_a_sentence(monkeypatch, capsys):
    def broken(self, console):
        raise PermissionError(errno.EACCES, "Permission denied", "/root/x")

    monkeypatch.setattr(entry.List, "run", broken)
    assert cli.run(["list", "systems"]) == 2
    assert capsys.readouterr().err == "distmatch: /root/x: Permission denied\n"


def test_what_is_refused_inside_a_first_step_leaves_nothing(refused, monkeypatch):
    def advance(self, **options):
        raise BadInput("a net does not take this")

    monkeypatch.setattr(Trainer, "advance", advance)
    words = refused("train", "vae", "--data", "digits", "--limit", 128, "--out", "run")
    assert words == "distmatch: a net does not take this\n"


def test_a_deterministic_encoder_has_no_kl(refused):
    words = refused("train", "vae", "--data", "digits", "--set", "network.posterior=deterministic")
    assert "replace kl by match(z_code, z_prior)" in words


def test_noise_is_added_to_levels_once(refused):
    words = refused(
        "train", "vae", "--data", "digits", "--binarise", "dequantise", "--likelihood", "quantized-normal"
    )
    assert "leave one of the two out" in words
