"""The command line's shape: help, lists, pipes, and what is printed where."""

import os
import subprocess
import sys
from typing import get_type_hints

import pytest

from distmatch import cli
from distmatch.cli import entry
from distmatch.runs.terminal import console_on, progress_bars, say, sentence

COMMANDS = list(entry.COMMANDS)


def process(*arguments, script="from distmatch.cli import main; main()"):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)


@pytest.mark.parametrize("arguments", [["--help"], ["train", "--help"], ["train", "vae", "--stpes", "3"]])
def test_help_and_typos_do_not_import_torch(arguments):
    script = "import sys; from distmatch.cli import run; run(); print('torch' in sys.modules)"
    assert process(*arguments, script=script).stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_documented(command, capsys):
    assert cli.run([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(f"usage: distmatch {command}")
    assert "None" not in shown
    for name, kind in get_type_hints(entry.COMMANDS[command], include_extras=True).items():
        if "Positional" not in repr(getattr(kind, "__metadata__", "")):
            assert f"--{name.replace('_', '-')}" in shown or f"-{name}" in shown


def test_the_commands(capsys):
    assert cli.run(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"• {command} " in shown for command in COMMANDS)


@pytest.mark.parametrize(
    ("what", "some"),
    [("systems", "vgh++"), ("data", "stacked-mnist"), ("metrics", "elbo"), ("networks", "dcgan")],
)
def test_lists_have_a_line_each_in_a_pipe(what, some, capfd):
    assert cli.run(["list", what]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert sum(line.startswith(f"{some} ") for line in lines) == 1


@pytest.mark.parametrize(
    ("system", "words"),
    [
        ("wgan-gp", ["W₁[p(x̃), p*(x)]", "data scores (x)", "training.critic_steps=5", "arXiv:1704.00028"]),
        ("vgh++", ["10·E‖x - x̂‖₁", "system.weight=10.0"]),
        ("nll + 2*kl", ["2·E KL[q(z|x) ‖ p(z)]"]),
        ("nll+kl", ["E KL[q(z|x) ‖ p(z)]"]),
    ],
)
def test_show(system, words, capfd):
    assert cli.run(["show", system]) == 0
    shown = capfd.readouterr().out
    assert all(word in shown for word in words)


def test_set_takes_several_and_repeats():
    command = ["train", "vae", "--set", "a=1", "b=2", "--set", "c=3"]
    parsed = entry.tyro.extras.subcommand_cli_from_dict(entry.COMMANDS, args=command, config=entry.STYLE)
    assert parsed.set == (("a=1", "b=2"), ("c=3",))


def test_a_dry_run_writes_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["train", "vgh++", "--data", "digits", "--dry-run", "--set", "system.weight=5"]) == 0
    shown = capfd.readouterr().out
    assert "5·E‖x - x̂‖₁" in shown
    assert '"weight": 5' in shown
    assert "folder:    runs/vgh++-digits" in shown
    assert not list(tmp_path.iterdir())


def test_options_override_a_configuration(tmp_path, monkeypatch):
    (tmp_path / "c.json").write_text(
        '{"system": "vae", "options": {"beta": 4}, "data": {"name": "digits"}, "training": {"steps": 7}}'
    )

    def configured(**options):
        from distmatch.runs.build import layered

        return layered(*entry.Train(config=tmp_path / "c.json", **options).layers())

    assert configured().options == {"beta": 4}
    assert configured(system="gan").options == {}
    assert configured(terms="nll").system is None
    assert (configured(epochs=2.0).training.steps, configured(epochs=2.0).training.epochs) == (None, 2.0)
    assert configured(set=(("training.steps=9",),)).training.steps == 9
    assert configured(seed=3).seed == 3


def test_a_reader_that_has_seen_enough():
    script = "import sys; sys.argv[0] = 'distmatch'; from distmatch.cli import main; main()"
    command = f'{sys.executable} -c "{script}" list systems | head -1'
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.startswith("system ")
    assert done.stderr == ""
    command = [sys.executable, "-c", script, "show", "vae"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as closed:
        closed.stdout.close()
        assert closed.stderr.read() == ""
        assert closed.wait(60) == 0


def test_text_is_printed_as_it_is(capfd):
    path = "runs/[bold]a[/] :smile: " + "long " * 100
    say(console_on(), path)
    assert capfd.readouterr().out == path + "\n"


def test_no_progress_bars_where_nobody_watches(capfd):
    with progress_bars(console_on()) as start:
        start("[red]vae")(3, 10, {"nll": 1.0, "critic/data/target": 2.0})
    assert capfd.readouterr().out == ""


def test_progress_bars_take_names_as_they_are():
    from rich.console import Console

    console = Console(force_terminal=True, width=100, markup=False, record=True)
    with progress_bars(console) as start:
        start("[red]vae")(3, 10, {"match(x_gen, x)": 1.0, "critic/data/target": 2.0})
    shown = console.export_text()
    assert "[red]vae" in shown
    assert "match(x_gen, x) 1" in shown
    assert "critic" not in shown


def test_a_message_of_another_shape_is_passed_on():
    assert sentence("something else\n") == "something else"


def test_a_missing_argument_is_named_in_a_sentence(capsys):
    assert cli.run(["sweep"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said == "distmatch: sweep needs FILE|DIR: a sweep file, or the folder of a sweep to go on with"


def test_ctrl_c_and_divergence_have_their_codes(monkeypatch, capsys):
    from distmatch.training import Diverged

    for error, code in ((KeyboardInterrupt(), 130), (Diverged(3, "nll", float("nan")), 3)):

        def broken(self, console, error=error):
            raise error

        monkeypatch.setattr(entry.List, "run", broken)
        assert cli.run(["list", "systems"]) == code
    assert capsys.readouterr().err == "distmatch: interrupted\ndistmatch: diverged at step 3: nll is nan\n"


def test_an_error_of_ours_is_not_hidden(monkeypatch):
    def broken(self, console):
        raise RuntimeError("a bug")

    monkeypatch.setattr(entry.List, "run", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.run(["list", "systems"])
