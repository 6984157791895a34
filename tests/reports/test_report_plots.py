import io
import xml.etree.ElementTree as ET

import pytest
import torch
from PIL import Image

from distmatch.metrics import Estimate
from distmatch.metrics.plots import (
    Barcode,
    Bars,
    Histograms,
    Lines,
    Pictures,
    RatePlane,
    Scatter,
)
from distmatch.reports import plots
from distmatch.reports.html import RunView, render
from distmatch.reports.plots import drawn, figure_of

G = torch.Generator().manual_seed(0)
WIDE = torch.cat([torch.randn(500, generator=G), torch.tensor([1e6])])
FIGURES = {
    "histograms": Histograms("rates", {"data": WIDE, "samples": torch.ones(40)}, "KL (nats)", log=True),
    "long names": Histograms("rates", {"data " * 30: WIDE, "samples " * 30: WIDE}, "KL (nats)"),
    "one value": Histograms("all equal", {"data": torch.zeros(5)}, "x"),
    "lines": Lines(
        "spectrum",
        torch.arange(1, 6),
        {"J": torch.rand(5, generator=G) + 0.1, "mean J": torch.rand(5, generator=G) + 0.1},
        "singular value",
        "size",
        errors={"J": torch.full((5,), 0.01)},
        log="y",
        marks={"floor": 0.2},
    ),
    "own axes": Lines(
        "two",
        {"a": torch.arange(3), "b": torch.arange(4)},
        {"a": torch.ones(3), "b": torch.ones(4)},
        "x",
        "y",
    ),
    "bars": Bars(
        "holes", {"data": torch.tensor([0.1, 0.9]), "samples": torch.tensor([0.5, 0.5])}, "holes", "share"
    ),
    "many bars": Bars(
        "holes", {"data": torch.full((40,), 0.1)}, "holes", "share", {"data": torch.full((40,), 0.02)}
    ),
    "a statistic": Histograms(
        "test", {"permuted": torch.randn(50, generator=G), "measured": torch.tensor([9.0])}, "t"
    ),
    "barcode": Barcode("intervals", {"data": torch.tensor([[0.0, 1.0], [0.2, 0.5]])}, "α"),
    "no hole": Barcode("intervals", {"data": torch.zeros(0, 2)}, "α"),
    "scatter": Scatter("codes", {"prior": torch.randn(400, 2, generator=G), "posterior": torch.zeros(2, 2)}),
    "plane": RatePlane(
        "plane", {"vae": (Estimate(20.0, 0.1, 10), Estimate(80.0, 0.2, 10))}, Estimate(90.0, 0.1, 10)
    ),
    "no entropy": RatePlane("plane", {"vae": (Estimate(0.0, 0.0, 10), Estimate(80.0, 0.2, 10))}),
}


@pytest.mark.parametrize("plot", FIGURES.values(), ids=FIGURES)
def test_a_figure_is_a_small_svg_with_its_labels(plot):
    svg = drawn(plot)
    assert isinstance(svg, str)
    assert ET.fromstring(svg).tag.endswith("svg")
    assert len(svg) < 100_000
    for label in (
        getattr(plot, "label", ""),
        getattr(plot, "x_label", ""),
        getattr(plot, "y_label", ""),
    ):
        assert label in svg


def test_an_outlier_does_not_flatten_a_histogram():
    [axes] = figure_of(FIGURES["histograms"]).axes
    assert axes.get_xlim()[1] < 1e5


def test_a_lone_value_is_a_line_where_it_lies():
    [axes] = figure_of(FIGURES["a statistic"]).axes
    assert axes.get_xlim()[1] > 9
    assert [line.get_xdata()[0] for line in axes.lines] == [9.0]


def test_the_plane_shades_what_no_model_reaches():
    [axes] = figure_of(FIGURES["plane"]).axes
    assert "D + R = 90.0 nats" in axes.get_legend().get_texts()[0].get_text()
    assert len(axes.collections) > len(figure_of(FIGURES["no entropy"]).axes[0].collections)


def test_pictures_are_a_grid():
    found = Pictures("closest pairs", torch.rand(6, 1, 28, 28, generator=G), columns=2)
    with Image.open(io.BytesIO(drawn(found))) as image:
        assert image.size[1] > image.size[0]


def test_runs_with_a_rate_share_one_plane():
    def run(name, rate, distortion):
        values = {"rate": rate, "distortion": distortion, "elbo": -rate - distortion}
        return RunView(name, metrics={k: Estimate(v, 0.1, 100, "nats").as_dict() for k, v in values.items()})

    vae, other = run("vae", 20.0, 80.0), run("strong", 2.0, 90.0)
    assert "Rate and distortion" in render([vae, other])
    assert "Rate and distortion" not in render([vae, RunView("gan")])


def test_the_plane_of_runs_is_bounded_by_the_least_bound_of_the_entropy(monkeypatch):
    shown = []
    monkeypatch.setattr(plots, "drawn", lambda plane: shown.append(plane) or drawn(plane))

    def run(name, **values):
        return RunView(name, metrics={k: Estimate(v, 0.1, 100, "nats").as_dict() for k, v in values.items()})

    vae = run("vae", rate=20.0, distortion=80.0, elbo=-100.0, log_likelihood=-95.0)
    render([vae, run("strong", rate=2.0, distortion=96.0, elbo=-98.0)])
    (plane,) = shown
    assert plane.entropy.value == 95.0
    assert {name: (r.value, d.value) for name, (r, d) in plane.points.items()} == {
        "vae": (20.0, 80.0),
        "strong": (2.0, 96.0),
    }
