"""Figures: what is drawn, and that their SVG is small, reproducible and self-contained."""

import re
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest

from distmatch.errors import BadInput
from distmatch.reports.figures import (
    figure_to_svg,
    latent_scatter,
    loss_curves,
    metric_bars,
    panel_figures,
    scatter_2d,
)
from distmatch.reports.panels import panels

LOG = [
    {
        "step": 10 * i,
        "epoch": i // 5,
        "nll": 100.0 / (i + 1),
        "match(x_gen, x)": 0.7,
        "critic/data/target": 0.6,
        "critic/data/model": 0.5,
        "score/data/x": 1.0,
        "score/data/x_gen": -1.0,
        "critic/data/penalty": 0.1,
        "gradient_norm/model": 2.0,
        "gradient_norm/data": 3.0,
        "lr/model": 1e-3,
        "validation/elbo": -100.0,
    }
    for i in range(20)
]


def test_groups():
    assert [(p.title, list(p.lines)) for p in panels(LOG)] == [
        ("nll", ["nll"]),
        ("match(x_gen, x)", ["match(x_gen, x)"]),
        ("critic data: loss", ["real (target)", "fake (model)"]),
        ("critic data: penalty", ["penalty"]),
        ("critic data: score", ["x", "x_gen"]),
        ("gradient norms", ["model", "data"]),
        ("validation: elbo", ["validation/elbo"]),
        ("learning rates", ["model"]),
    ]
    assert list(panel_figures(LOG)) == [p.title for p in panels(LOG)]
    assert len(loss_curves(LOG).axes) == 8


def test_svg_is_the_same_each_time_and_needs_nothing_from_outside():
    first, second = (figure_to_svg(loss_curves(LOG)) for _ in range(2))
    assert first == second
    assert "<metadata" not in first
    assert "<style" not in first
    outside = set(re.findall(r"https?://[^\s\"]+", first))
    assert outside <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # names, not fetched
    ElementTree.fromstring(first)


def test_ids_differ_between_figures_and_all_references_hold():
    svgs = [figure_to_svg(f) for f in panel_figures(LOG).values()]
    svgs.append(figure_to_svg(loss_curves(LOG[:9]), salt="a"))
    svgs.append(figure_to_svg(loss_curves(LOG[:9]), salt="b"))
    ids = [re.findall(r' id="([^"]+)"', svg) for svg in svgs]
    everything = [name for names in ids for name in names]
    assert everything
    assert len(set(everything)) == len(everything)
    for svg, names in zip(svgs, ids, strict=True):
        assert set(re.findall(r'(?:url\(|href=")#([\w-]+)', svg)) <= set(names)


def test_text_with_markup_is_escaped():
    svg = figure_to_svg(loss_curves([{"step": 0, "<script>": 1.0}, {"step": 1, "<script>": 2.0}]))
    assert "<script" not in svg
    ElementTree.fromstring(svg)


def test_a_hundred_thousand_points_stay_small():
    rng = np.random.default_rng(0)
    log = [{"step": i, "nll": float(v)} for i, v in enumerate(rng.normal(size=100_000))]
    assert len(figure_to_svg(loss_curves(log))) < 15_000


def test_many_points_are_pixels():
    codes = np.random.default_rng(0).normal(size=(5000, 2))
    svg = figure_to_svg(latent_scatter(codes, np.arange(5000) % 10))
    assert svg.count("<image") == 1
    assert len(svg) < 150_000
    ElementTree.fromstring(svg)


def test_nan_is_said():
    log = [{"step": 0, "nll": 1.0}, {"step": 1, "nll": 0.5}, {"step": 2, "nll": float("nan")}]
    [figure] = panel_figures(log).values()
    assert [t.get_text().strip() for t in figure.axes[0].texts] == ["nan at 2"]
    figure_to_svg(figure)
    figure_to_svg(loss_curves([{"step": 0, "nll": None}, {"step": 1, "kl": float("inf")}]))


def test_an_early_spike_is_cut_off_and_said():
    log = [{"step": i, "kl": 1e6 if i == 0 else 1.0 + 0.01 * i} for i in range(100)]
    [figure] = panel_figures(log).values()
    assert figure.axes[0].get_ylim()[1] < 10
    assert "outliers cut off" in [t.get_text() for t in figure.axes[0].texts]


def test_empty_log():
    assert panel_figures([]) == {}
    assert "nothing logged" in figure_to_svg(loss_curves([]))


def test_scatters_and_bars():
    grid = np.stack(np.meshgrid(np.arange(5.0), np.arange(5.0)), -1).reshape(-1, 2)
    assert "modes (25)" in figure_to_svg(scatter_2d(grid, data=grid, modes=grid))
    figure_to_svg(latent_scatter(grid))
    figure_to_svg(latent_scatter(grid, list("abcde" * 5)))
    runs = {
        "a": {"nll": {"value": 1.0, "standard_error": None}, "fid": {"value": float("nan")}},
        "b": {"nll": {"value": 2.0, "standard_error": 0.1, "unit": "nats"}},
    }
    assert "nats" in figure_to_svg(metric_bars(runs))
    with pytest.raises(BadInput, match="no metric"):
        metric_bars({"a": {}})
    with pytest.raises(BadInput, match="plane"):
        scatter_2d(np.zeros((3, 3)))
    with pytest.raises(BadInput, match="2 labels"):
        latent_scatter(grid, [0, 1])


def test_bars_reach_as_far_as_the_interval():
    runs = {
        "own limits": {"m": {"value": 1.0, "standard_error": 0.5, "limits": [0.8, float("inf")]}},
        "twice the error": {"m": {"value": 1.0, "standard_error": 0.5}},
        "none": {"m": {"value": 1.0, "standard_error": None}},
    }
    [axes] = metric_bars(runs).axes
    bars = [segment[:, 0].tolist() for lines in axes.collections for segment in lines.get_segments()]
    assert bars == [[0.8, 1.0], [0.0, 2.0]]


def test_matplotlib_is_left_as_it_was():
    before = dict(matplotlib.rcParams)
    figure_to_svg(loss_curves(LOG))
    assert dict(matplotlib.rcParams) == before
