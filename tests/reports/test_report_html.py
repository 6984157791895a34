"""The page: parses, shows everything, fetches nothing, runs nothing."""

import base64
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from distmatch.errors import BadInput
from distmatch.reports import grids, html
from distmatch.reports.figures import figure_to_svg, scatter_2d
from distmatch.reports.html import RunView, render, write_report

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """Elements in order; fails on tags that do not nest."""

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text = [], [], ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def view(name="run", **changes):
    rng = np.random.default_rng(0)
    fields = {
        "system": "vgh++",
        "equation": "λ‖x - x̂‖₁ + D[p(x̃) ‖ p*(x)]",
        "terms": [("distance(x, x_rec)", "encoder, decoder", ""), ("match(x_gen, x)", "decoder", "data")],
        "config": {"seed": 0, "optimiser": {"lr": 2e-4, "betas": [0.5, 0.9]}},
        "environment": {"torch": "2.13.0", "device": "cpu", "seed": 0},
        "log": [
            {"step": i, "nll": float(rng.normal()), "critic/data/target": 0.5, "critic/data/model": 0.1}
            for i in range(2000)
        ],
        "metrics": {
            "FID": {"value": 20.12, "standard_error": 0.4, "n": 5000, "unit": "", "how": "ten folds"},
            "1-NN": {"value": float("nan"), "standard_error": 0.1, "n": 10, "unit": "%", "how": ""},
        },
        "skipped": {"log-likelihood": "the decoder is implicit"},
        "pictures": {"Samples": grids.png_bytes(grids.image_grid(rng.random((64, 1, 28, 28))))},
        "figures": {"Toy": figure_to_svg(scatter_2d(rng.normal(size=(400, 2))))},
        "timing": {"seconds": 754.0, "steps_per_second": 12.0, "peak_memory_mb": 812.3},
        "status": "finished",
    }
    return RunView(name=name, **(fields | changes))


def test_one_run_shows_everything():
    page = Page(render([view()]))
    for part in (
        "λ‖x - x̂‖₁", "encoder, decoder", "20.12 ± 0.40", "n = 5000; ten folds", "nan %",
        "the decoder is implicit", "optimiser.betas", "0.5, 0.9", "12 min 34 s", "812 MB", "2.13.0",
        "critic data: loss", "Toy", "Samples",
    ):  # fmt: skip
        assert part in page.text, part
    assert page.all("html") == [{"lang": "en"}]
    assert all(img["alt"].endswith("of run") for img in page.all("img"))
    assert all(th.get("scope") in ("col", "row") for th in page.all("th"))


def test_several_runs_are_compared():
    other = view("b", config={"seed": 1}, metrics={"coverage": {"value": 0.9, "standard_error": 0.01}})
    page = Page(render([view("a"), other, view("a")], title="Three"))
    for part in ("FID", "1-NN", "coverage", "log-likelihood", "not measured", "a (2)", "optimiser.lr"):
        assert part in page.text, part
    assert "n = 5000; ten folds" in [td.get("title") for td in page.all("td")]
    assert len(page.all("article")) == 3


def test_a_dot_only_where_the_metric_says_what_is_better():
    def run(name, value):
        metric = {"value": value, "standard_error": 0.1, "n": 9, "better": "lower"}
        return view(name, metrics={"FID": metric})

    assert '<span class="clear"' in render([run("a", 1.0), run("b", 2.0)])
    assert '<span class="clear"' not in render([run("a", 1.0), run("b", 1.1)])
    assert '<span class="clear"' not in render([view("a"), view("b")])


def test_nothing_is_fetched():
    page = Page(render([view("a"), view("b")]))
    assert not {"script", "link", "iframe", "object", "base"} & {tag for tag, _ in page.elements}
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href", "srcset", "action"):
                assert value.startswith("data:image/"), (tag, name)
    text = render([view()])
    assert "://" not in re.sub(r"base64,[\w+/=]+", "", text)
    assert "@import" not in text
    for encoded in re.findall(r"data:image/svg\+xml;base64,([\w+/=]+)", text):
        outside = re.findall(r"\w+://[^\s\"]+", base64.b64decode(encoded).decode())
        assert all(address.startswith("http://www.w3.org/") for address in outside)


EVIL = "<script>alert(1)</script>\" onload='x' & {{ 7 * 7 }}"


def test_all_text_is_escaped():
    everywhere = view(
        EVIL,
        system=EVIL,
        equation=EVIL,
        terms=[(EVIL, EVIL, EVIL)],
        config={EVIL: EVIL},
        environment={EVIL: EVIL, "device": EVIL},
        log=[{"step": 0, EVIL: 1.0}, {"step": 1, EVIL: 2.0}],
        metrics={EVIL: {"value": 1.0, "standard_error": 0.1, "n": EVIL, "unit": EVIL, "how": EVIL}},
        skipped={EVIL + "2": EVIL},
        pictures={EVIL: view().pictures["Samples"]},
        figures={EVIL: "<svg><script>alert(1)</script></svg>"},
        timing={EVIL: EVIL},
        status=EVIL,
    )
    for text in (render([everywhere], title=EVIL), render([everywhere, everywhere])):
        page = Page(text)
        assert "<script" not in text
        assert page.all("script") == []
        assert EVIL in page.text
        assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)


@pytest.mark.parametrize(
    "part", ["log", "pictures", "metrics", "skipped", "figures", "terms", "config", "environment", "timing"]
)
def test_each_part_may_be_missing(part):
    empty = view("empty", **{part: type(getattr(view(), part))()})
    Page(render([empty]))
    Page(render([empty, view("full")]))


def test_all_parts_may_be_missing():
    Page(render([RunView("bare")]))
    page = Page(render([RunView("bare", status="diverged at step 3: nll is nan"), RunView("other")]))
    assert "diverged at step 3: nll is nan" in page.text
    assert "No metrics yet" in page.text


def test_three_runs_are_less_than_a_megabyte():
    assert len(render([view("a"), view("b"), view("c")]).encode()) < 1_000_000


def test_bad_input():
    with pytest.raises(BadInput, match="at least one"):
        render([])
    with pytest.raises(BadInput, match="'Samples' is not a PNG"):
        render([view(pictures={"Samples": b"GIF89a"})])


def test_a_failed_report_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    with pytest.raises(BadInput):
        write_report(path, [])
    assert list(tmp_path.iterdir()) == []
    write_report(path, [view()])
    assert path.read_text(encoding="utf-8") == html.render([view()])
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
