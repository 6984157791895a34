"""Seeds that diverged are counted and named in figures, and no mean is shown of those that are left."""

import math

import pytest

from distmatch.metrics.seeds import interval, named
from distmatch.reports.style import new_figure
from distmatch.reproduction.framework import common as seeds_common
from distmatch.reproduction.framework import seed_spread
from distmatch.reproduction.framework.experiment import Numbers, Record, Results
from distmatch.reproduction.framework.sweeps import best_where_defined, rows_figure
from distmatch.reproduction.rosca2018 import latents

WHOLE, LOST = [1.0, 2.0, 3.0], [1.0, math.nan, 3.0]
RUNS = [
    Record({"system": "gan"}, 0, Numbers({"kl": 1.0}, {"loss": [3.0, 2.0]}), 0.0),
    Record({"system": "gan"}, 1, Numbers({"diverged": 1.0}), 0.0),
]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_there_is_no_mean_of_the_seeds_that_are_left(value):
    assert all(map(math.isnan, interval([1.0, value, 3.0])))
    assert named("gan", [1.0, value, 3.0]) == "gan (1 of 3 diverged)"
    assert interval(WHOLE)[0] == 2.0
    assert named("gan", WHOLE) == "gan"


def test_a_number_of_a_run_that_diverged_is_kept_as_none():
    found = Results(RUNS)
    first, second = seeds_common.numbers(found, "kl", system="gan")
    assert first == 1.0
    assert math.isnan(second)
    assert seeds_common.label_of("GAN", found, "loss", system="gan") == "GAN (1 of 2 diverged)"
    assert seeds_common.label_of("GAN", Results(RUNS[:1]), "loss", system="gan") == "GAN"


def test_rows_show_the_dots_and_say_how_many_diverged():
    figure = rows_figure({"kl": {"a": WHOLE, "b": LOST}, "mse": {"a": WHOLE, "b": WHOLE}}, {})
    left, right = figure.axes
    assert [t.get_text() for t in left.get_yticklabels()] == ["a", "b (1 of 3 diverged)"]
    assert [t.get_text() for t in right.get_yticklabels()] == ["a", "b"]
    dots = [line.get_xdata() for line in left.lines if line.get_marker() == "."]
    assert [list(x) for x in dots] == [WHOLE, [1.0, 3.0]]
    means = [float(line.get_xdata()[0]) for line in left.lines if line.get_marker() == "o"]
    assert means[0] == 2.0
    assert math.isnan(means[1])


def test_a_number_that_a_system_cannot_have_is_not_said_to_have_diverged():
    none = [Record({"system": "vae"}, s, Numbers({"diverged": 0.0, "mse": 2.0}), 0.0) for s in (0, 1)]
    found = Results([*RUNS, *none])
    assert best_where_defined(found, "kl", system="gan") == [1.0, math.inf]
    assert best_where_defined(found, "kl", system="vae") == []
    assert best_where_defined(found, "mse", system="vae") == [2.0, 2.0]
    [axes] = rows_figure(
        {"kl": {s: best_where_defined(found, "kl", system=s) for s in ("gan", "vae")}}, {}
    ).axes
    assert [t.get_text() for t in axes.get_yticklabels()] == ["gan (1 of 2 diverged)", "vae"]


def test_bars_show_no_mean_of_the_seeds_that_are_left():
    figure, [axes] = new_figure(1, 1, (3.0, 2.0))
    seeds_common.mean_rows(axes, {"a": WHOLE, "b": LOST}, ["#000000"])
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "b (1 of 3 diverged)"]
    widths = [bar.get_width() for bar in axes.patches]
    assert widths[0] == 2.0
    assert math.isnan(widths[1])
    figure.canvas.draw()


def test_dots_and_grouped_bars_say_how_many_diverged():
    figure, [left, right] = new_figure(1, 2, (3.0, 2.0))
    seed_spread.dots(left, 0.0, LOST, "#000000")
    latents.grouped_bars(right, ["few", "many"], {"vae": [WHOLE, LOST]})
    for axes in (left, right):
        assert [t.get_text() for t in axes.texts if t.get_text()] == ["1 of 3 diverged"]
    assert right.patches[0].get_height() == 2.0
    assert math.isnan(right.patches[1].get_height())
    figure.canvas.draw()
