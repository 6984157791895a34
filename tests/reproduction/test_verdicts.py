"""At most one verdict in twenty is false, a tie is no failure, and what is withdrawn is told and not counted."""

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from distmatch.errors import BadInput
from distmatch.reproduction.framework import page
from distmatch.reproduction.framework.experiment import Results, Withdrawn, from_json
from distmatch.reproduction.framework.listing import COLOURS, list_experiments
from distmatch.reproduction.framework.runner import judged
from distmatch.reproduction.framework.verdict import OUTCOMES, Expected, _rank
from distmatch.reproduction.registry import EXPERIMENTS

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results/experiments"
TIMES = 1_500
MOST = 0.05 + 2 * (0.05 * 0.95 / TIMES) ** 0.5  # false verdicts, with the simulation's own error

Draw = Callable[[np.random.Generator, int], np.ndarray]
MEANS: dict[str, tuple[float, Draw]] = {
    "normal": (0.0, lambda g, n: g.normal(size=n)),
    "uniform": (0.5, lambda g, n: g.uniform(size=n)),
    "heavy tails": (0.0, lambda g, n: g.standard_t(3, size=n)),
    "exponential": (1.0, lambda g, n: g.exponential(size=n)),
    "bernoulli 0.7": (0.7, lambda g, n: g.binomial(1, 0.7, size=n)),
    "bernoulli 0.5": (0.5, lambda g, n: g.binomial(1, 0.5, size=n)),
    "bernoulli 0.95": (0.95, lambda g, n: g.binomial(1, 0.95, size=n)),
    "modes of 8": (7.2, lambda g, n: g.binomial(8, 0.9, size=n)),
    "counts": (3.0, lambda g, n: g.poisson(3.0, size=n)),
    "geometric": (1.0, lambda g, n: g.geometric(0.5, size=n) - 1),
    "coarsely rounded": (0.0, lambda g, n: 2 * np.round(g.normal(size=n) / 2)),
    "finely rounded": (0.0, lambda g, n: np.round(g.normal(size=n), 1)),
    "rounded in floating point": (0.8, lambda g, n: 0.1 + 0.2 + g.binomial(1, 0.5, size=n)),
    "three values": (1.4, lambda g, n: g.choice([0.0, 1.0, 5.0], p=[0.4, 0.4, 0.2], size=n)),
}


def shares(claim: Expected, draw: Draw, n: int) -> dict[str, float]:
    """How often each verdict is reached."""
    generator = np.random.default_rng(n)
    verdicts = Counter(claim.judge(draw(generator, n).tolist()).outcome for _ in range(TIMES))
    return {outcome: verdicts[outcome] / TIMES for outcome in OUTCOMES}


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("name", MEANS)
def test_verdicts_on_a_mean_are_seldom_false(name, n):
    """With the mean at the threshold neither side of it may be claimed; nor may a range about it fail."""
    mean, draw = MEANS[name]
    beyond = shares(Expected(low=mean), draw, n)
    assert beyond["holds"] <= MOST
    assert beyond["fails"] <= MOST  # of a mean that is above by next to nothing
    assert shares(Expected(low=mean - 0.05, high=mean + 0.05), draw, n)["fails"] <= MOST


@pytest.mark.parametrize("n", [3, 5, 6, 10])
@pytest.mark.parametrize(
    ("draw", "at"),
    [
        (lambda g, n: g.binomial(1, 0.5, size=n), 0.5),
        (lambda g, n: g.lognormal(0, 2, size=n), 1.0),
        (lambda g, n: g.standard_cauchy(size=n), 0.0),
        (lambda g, n: g.choice([-1.0, 1.0], size=n) + 0.01 * g.normal(size=n), 0.0),
        (lambda g, n: g.choice([7.0, 8.0, 100.0], p=[0.5, 0.4, 0.1], size=n), 7.5),
    ],
    ids=["bernoulli", "lognormal", "cauchy", "two tight clusters", "rare outliers"],
)
def test_verdicts_on_a_median_are_seldom_false_whatever_the_distribution(draw, at, n):
    beyond = shares(Expected(low=at, of="median"), draw, n)
    assert max(beyond["holds"], beyond["fails"]) <= MOST
    about = Expected(low=at - 0.4, high=at + 0.4, of="median")
    assert shares(about, draw, n)["fails"] <= MOST


def test_a_median_is_judged_from_five_seeds_and_in_a_range_from_six():
    above = Expected(low=0, of="median")
    assert [above.judge([1.0] * n).outcome for n in (4, 5)] == ["inconclusive", "holds"]
    within = Expected(low=0, high=2, of="median")
    assert [within.judge([1.0] * n).outcome for n in (5, 6)] == ["inconclusive", "holds"]


def test_ranks_are_those_of_the_binomial_distribution():
    for n in range(1, 60):
        k = _rank(n, 0.05)
        assert binom.cdf(k - 1, n, 0.5) <= 0.05 < binom.cdf(k, n, 0.5)


def test_a_clear_difference_is_still_told_with_three_seeds():
    assert Expected(low=0).judge([5.1, 5.6, 6.3]).outcome == "holds"
    assert Expected(high=0).judge([5.1, 5.6, 6.3]).outcome == "fails"


def test_equal_values_say_nothing_about_a_mean():
    assert Expected(low=7.5).judge([8.0] * 10).outcome == "inconclusive"
    assert Expected(low=7.5).judge([8.0, 8.0, 8.0 + 1e-12]).outcome == "inconclusive"
    assert Expected(low=0).judge([0.0, 0.0, 0.0]).outcome == "inconclusive"  # a tie is no failure


def test_a_tie_within_the_stated_margin_is_neither_success_nor_failure():
    claim = Expected(low=0, margin=0.5)
    assert claim.judge([0.01, -0.02, 0.02]).outcome == "tied"
    assert claim.judge([0.11, 0.12, 0.13]).outcome == "tied"  # above 0, but by less than counts
    assert claim.judge([1.1, 1.2, 1.3]).outcome == "holds"
    assert claim.judge([-1.1, -1.2, -1.3]).outcome == "fails"
    assert Expected(low=0, of="median", margin=0.5).judge([0.0] * 5).outcome == "tied"
    assert Expected(low=0, of="median").judge([0.0] * 5).outcome == "inconclusive"


@pytest.mark.parametrize("n", [3, 5, 10])
@pytest.mark.parametrize("off", [0.5, -0.5])
def test_ties_are_seldom_false(n, off):
    claim = Expected(low=0, margin=0.5)
    assert shares(claim, lambda g, n: off + 0.1 * g.normal(size=n), n)["tied"] <= MOST


def test_what_no_seed_touches_is_judged_by_itself():
    claim = Expected(low=0, exact=True)
    assert [claim.judge([v]).outcome for v in (1e-9, 0.0, -1.0)] == ["holds", "fails", "fails"]
    assert Expected(low=0, exact=True, margin=0.1).judge([0.05]).outcome == "tied"


def test_a_negative_margin_is_refused():
    with pytest.raises(BadInput, match="margin is -1"):
        Expected(low=0, margin=-1)


def test_every_outcome_has_a_colour_and_a_column():
    assert tuple(COLOURS) == OUTCOMES
    assert f"| | {' | '.join(OUTCOMES)} | not run |" in page.page_of(RESULTS, RESULTS.parents[1])


def test_stored_verdicts_are_those_of_the_stored_runs():
    total = Counter()
    for name, experiment in EXPERIMENTS.items():
        for kept in page.kept_results(RESULTS, name):
            runs = Results([from_json(run) for run in kept["runs"]])
            assert judged(experiment, runs, kept["scale"]) == kept["claims"], name
            total += Counter(claim["outcome"] for claim in kept["claims"])
    readme = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    hold, fail, open_ = (total[outcome] for outcome in ("holds", "fails", "inconclusive"))
    assert f"of {total.total()} claims with three seeds, {hold} hold, {fail} fail and {open_} are" in readme
    assert f"{sum(len(e.withdrawn) for e in EXPERIMENTS.values())} more were withdrawn" in readme


def test_old_verdicts_are_judged_anew_when_the_page_is_made(tmp_path):
    stored = json.loads((RESULTS / "E13" / "cpu.json").read_text(encoding="utf-8"))
    old = {**stored, "claims": [{**claim, "outcome": "holds"} for claim in stored["claims"]]}
    file = tmp_path / "results" / "E13" / "cpu.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(old), encoding="utf-8")
    page.write_page(tmp_path / "results", tmp_path / "page.md")
    assert json.loads(file.read_text(encoding="utf-8")) == stored


def test_withdrawn_claims_are_told_with_their_reason_and_counted_nowhere():
    text = page.page_of(RESULTS, RESULTS.parents[1])
    before, after = text.split("\n## Withdrawn\n")
    gone = [claim for experiment in EXPERIMENTS.values() for claim in experiment.withdrawn]
    assert after.count("\n| ") == len(gone) + 1  # and the head
    assert all(claim.reason.replace("|", "\\|") in after for claim in gone)
    columns = [
        map(int, row) for row in re.findall(r"^\| .* \| " + r"(\d+) \| " * 4 + r"(\d+) \|$", before, re.M)
    ]
    assert sum(map(sum, columns)) == sum(len(e.claims) for e in EXPERIMENTS.values())


def test_the_list_names_what_is_withdrawn(monkeypatch):
    gone = Withdrawn("A sentence that is withdrawn.", "seed 9", "a number", "it is an identity")
    one = EXPERIMENTS["E8"]
    monkeypatch.setitem(EXPERIMENTS, "E8", type(one)(**{**vars(one), "withdrawn": (gone,)}))
    cells = [list(column.cells) for column in list_experiments(RESULTS).columns]
    assert str(cells[-1][cells[1].index(gone.sentence)]) == "withdrawn"


@pytest.mark.parametrize("lost", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "claim", [Expected(low=0), Expected(low=0, of="median"), Expected(low=0, exact=True)]
)
def test_a_seed_without_a_finite_value_leaves_a_claim_inconclusive(claim, lost):
    """Without it all three would hold."""
    values = [1.0, 1.2, 0.9, 1.1, 1.05]
    assert claim.judge(values).outcome == "holds"
    found = claim.judge([*values, lost])
    assert (found.outcome, found.low, found.high, found.n) == ("inconclusive", -np.inf, np.inf, 6)
