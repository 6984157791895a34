"""Which run, side and step a number of a page is of."""

import numpy as np
import pytest

from distmatch.reports.curves import loss_curves
from distmatch.reports.html import RunView, render
from distmatch.reports.panels import panels
from distmatch.reports.table import comparison_rows, comparison_table


def entry(value, error=0.1, better="lower", **more):
    return {"value": value, "standard_error": error, "better": better, **more}


def test_each_run_has_its_column_in_the_order_given():
    columns = {"z": {"a": entry(3.0), "b": entry(5.0)}, "m": {"b": entry(4.0)}, "c": {"a": entry(1.0)}}
    skipped = {"m": {"a": "reason of m"}, "c": {"b": "reason of c"}}
    rows = comparison_rows(columns, skipped)
    assert [cell.text for cell in rows["a"]] == ["3.00 ± 0.10", "—", "1.00 ± 0.10"]
    assert [cell.text for cell in rows["b"]] == ["5.00 ± 0.10", "4.00 ± 0.10", "—"]
    assert (rows["a"][1].note, rows["b"][2].note) == ("reason of m", "reason of c")
    assert comparison_rows(columns)["b"][2].note == "not measured"
    assert [cell.clear for cell in rows["a"]] == [False, False, True]


@pytest.mark.parametrize(
    ("entries", "clear"),
    [
        ([entry(1.0), entry(1.5), entry(9.0)], [True, False, False]),
        ([entry(1.0), entry(1.3), entry(9.0)], [False] * 3),  # 1.2 and 1.1: the nearest one decides
        ([entry(9.0, better="higher"), entry(1.0, better="higher")], [True, False]),
        ([entry(1.0), entry(1.3, 0.01)], [True, False]),
        ([entry(1.0), entry(1.35)], [False, False]),
        ([entry(1.0), entry(9.0, None), entry(8.0)], [False] * 3),
        ([entry(1.0), entry(9.0, float("inf")), entry(8.0)], [False] * 3),
        ([entry(1.0)], [False]),
        ([entry(1.0, 0.0), entry(1.0, 0.0)], [False, False]),
    ],
)
def test_the_best_is_clear_of_its_nearest_rival_by_two_errors_of_both(entries, clear):
    (cells,) = comparison_rows({str(i): {"m": e} for i, e in enumerate(entries)}).values()
    assert [cell.clear for cell in cells] == clear


def test_curves_stand_at_their_steps_and_sides():
    log = [
        {
            "step": 10 * i,
            "critic/data/target": 0.6,
            "critic/data/model": 0.5,
            "score/data/x": 2.0,
            "score/data/x_gen": -1.0,
        }
        for i in range(3)
    ]
    loss, score = panels(log)
    sides = {("real (target)", 0.6), ("fake (model)", 0.5)}, {("x", 2.0), ("x_gen", -1.0)}
    for panel, expected in zip((loss, score), sides, strict=True):
        assert panel.lines.keys() == {label for label, _ in expected}
        for label, value in expected:
            steps, values = panel.lines[label]
            assert (steps.tolist(), values.tolist()) == ([0, 10, 20], [value] * 3)


def test_a_long_curve_is_its_running_median_within_its_range():
    log = [{"step": 2 * i, "kl": float(i) + (40.0 if i % 3 == 2 else 0.0)} for i in range(1200)]
    (axes,) = loss_curves(log).axes
    (line,) = axes.lines
    x, y = line.get_data()
    np.testing.assert_allclose(y, x / 2, atol=6)  # the median, where a third is 40 higher
    (path,) = (c.get_paths()[0].vertices for c in axes.collections)
    low, high = (f(path[np.isclose(path[:, 0], x[60])][:, 1]) for f in (np.min, np.max))
    assert low < y[60] < high
    assert high - low > 40


def test_where_a_curve_ceases_to_be_finite_is_marked_once():
    values = [1.0, 2.0, float("nan"), 3.0, float("inf")]
    (axes,) = loss_curves([{"step": 10 * i, "kl": v} for i, v in enumerate(values)]).axes
    mark = axes.lines[0].get_xdata()
    assert list(mark) == [20, 20]
    assert [text.get_text() for text in axes.texts] == ["nan at 20 "]


def test_an_axis_is_logarithmic_only_for_positive_values():
    for values, scale in (([1.0, 10.0], "log"), ([0.0, 10.0], "linear"), ([-1.0, 10.0], "linear")):
        (axes,) = loss_curves([{"step": i, "gradient_norm/model": v} for i, v in enumerate(values)]).axes
        assert axes.get_yscale() == scale


def test_a_warning_of_a_metric_stands_beside_its_value():
    warned = {
        "value": 3.0,
        "standard_error": 0.1,
        "how": "by 10 codes; WARNING: R > ln N - 2, so it is about R - ln N",
    }
    columns = {"a": {"kl": warned}, "b": {"kl": {**warned, "how": "by 10 codes"}}}
    drawn = comparison_table(columns)
    assert str(drawn.caption) == "! kl of a: R > ln N - 2, so it is about R - ln N"
    assert [str(cell) for column in drawn.columns[1:] for cell in column.cells] == [
        "3.00 ± 0.10 !",
        "3.00 ± 0.10",
    ]
    runs = [RunView(name=name, metrics=metrics) for name, metrics in columns.items()]
    assert "kl of a: R &gt; ln N - 2" in render(runs)
    assert comparison_table({"b": columns["b"]}).caption is None
