"""The figure, the table and the command."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from distmatch import cli
from distmatch.dirac import METHODS, SCHEDULES, Dirac, gan, r1, trajectory, wgan
from distmatch.reports.phase import (
    dirac_table,
    eigenvalues_text,
    phase_gallery,
    phase_portrait,
)
from distmatch.reports.style import figure_to_svg


def cells(table) -> list[list[str]]:
    return [[str(c) for c in column.cells] for column in table.columns]


def test_portrait_draws_the_trajectories_that_it_measures():
    plane, norms = phase_portrait(r1(0.3), steps=50).axes
    for schedule, drawn, norm in zip(SCHEDULES, plane.lines, norms.lines, strict=False):
        path = trajectory(r1(0.3), 0.2, (1.0, 1.0), 50, *schedule)
        assert drawn.get_label() == str(schedule)
        assert np.allclose(np.column_stack(drawn.get_data()), path.numpy())
        assert np.allclose(norm.get_ydata(), path.norm(dim=-1).numpy())
    assert "-0.15 ± 0.477i" in plane.get_title(loc="left")
    assert {line.get_label() for line in plane.lines} >= {"start", "equilibrium"}


def test_gallery_has_a_panel_for_each_method():
    figure = phase_gallery([make() for make in METHODS.values()], steps=10)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert len(titles) == len(METHODS)
    assert all("eigenvalues" in t for t in titles)
    assert [t.get_text() for t in figure.legends[0].get_texts()] == [
        "simultaneous", "alternating", "start", "equilibrium"
    ]  # fmt: skip


def test_an_escaping_trajectory_is_drawn_within_the_window():
    away = Dirac("away", lambda theta, psi: (theta * 50, psi * 50), "(50θ, 50ψ)", "none")
    figure = phase_portrait(away, steps=600)
    low, high = figure.axes[0].get_xlim()
    assert high - low < 10
    ET.fromstring(figure_to_svg(figure))


def test_table_has_norms_and_moduli():
    table = cells(dirac_table({"gan": gan(), "wgan": wgan()}, steps=500))
    assert table[0] == ["gan", "wgan"]
    assert table[2] == ["±0.5i", "±1i"]
    assert table[3] == ["3.097", "1.002"]
    assert table[6] == ["1.0000", "1.0000"]


def test_eigenvalues_in_words():
    assert eigenvalues_text(r1(1.0)) == "-0.5, -0.5"
    assert eigenvalues_text(r1(0.3)) == "-0.15 ± 0.477i"


def test_command_for_one_method(tmp_path, capsys):
    out = tmp_path / "one.svg"
    assert cli.run(["dirac", "r1", "--steps", "500", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "2.643×10⁻⁶" in said
    assert "-0.15 ± 0.477i" in said
    assert f"figure: {out}" in said
    assert ET.parse(out).getroot().tag.endswith("svg")


def test_command_for_all_methods(tmp_path, capsys):
    assert cli.run(["dirac", "--steps", "5", "--out", str(tmp_path / "all.svg")]) == 0
    said = capsys.readouterr().out
    assert all(re.search(rf"^{name} ", said, re.M) for name in METHODS)


def test_command_for_a_comparison_and_a_penalty(tmp_path, capsys):
    """R1 by its name in objectives is the method that is written out."""
    words = [
        "--order",
        "alternating",
        "--critic-steps",
        "5",
        "--steps",
        "60",
        "--out",
        str(tmp_path / "by.svg"),
    ]
    said = []
    for method in (["r1-critical"], ["--by", "minimax", "--penalty", "r1(1)"]):
        assert cli.run(["dirac", *method, *words]) == 0
        said.append(re.findall(r"│ +(\S+) │ (0\.\d{4})$", capsys.readouterr().out, re.M))
    assert said[0] == said[1] != []
    assert cli.run(["dirac", "--by", "lsif/kl", "--noise", "0.5", *words]) == 0


def test_help_names_every_method(capsys):
    assert cli.run(["dirac", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert all(name in said for name in METHODS)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["gann"], "did you mean 'gan'"),
        (["gan", "--by", "hinge"], "give one of them"),
        (["--penalty", "r1(1)"], "name one by --by"),
        (["--by", "hinje"], "unknown comparison 'hinje'"),
        (["--by", "hinge", "--penalty", "r9(1)"], "unknown penalty 'r9'"),
        (["--by", "hinge", "--penalty", "r1(1)) + match(x_gen, x"], "--penalty cannot be"),
        (["--by", "hinge", "--penalty", "r1(1), pack=2"], "--penalty cannot be"),
        (["--by", "hinge", "--penalty", "none"], "leave it out"),
        (["--by", "hinge", "--penalty", "r1(ramp(1, 0, 10))"], "not a ramp"),
        (["gan", "--first", "critic"], "add --order alternating"),
        (["gan", "--order", "simultaneous", "--critic-steps", "5"], "make the order alternating"),
        (["gan", "--order", "both"], "'both' is not one of"),
        (["gan", "--h", "0"], "the step size is 0"),
        (["gan", "--out", "x.pdf"], "not a .svg file"),
    ],
)
def test_bad_words_are_refused(words, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.run(["dirac", *words]) == 2
    assert sentence in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
