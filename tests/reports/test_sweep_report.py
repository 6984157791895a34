"""The page of a sweep: what is best, what diverged, and what each setting does, from its table."""

import itertools
import json
import math
import re
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest

from distmatch import cli
from distmatch.errors import BadInput
from distmatch.metrics import BETTER
from distmatch.reports.sweep_figures import boxes, sensitivity
from distmatch.reports.sweep_numbers import (
    Effect,
    Level,
    Metric,
    best_of,
    diverged_by_value,
    effect,
    labels,
    metrics_of,
    second_grouping,
    settings_of,
)
from distmatch.reports.sweeps import read_table, render_sweep

LRS, LATENTS, SEEDS = (1e-4, 1e-3, 1e-2), (2, 8), (0, 1, 2)
ELBO = Metric("elbo", -1)


def measured(value, better):
    return {"value": value, "standard_error": 0.1, "n": 9, "unit": "nats", "better": better}


def row(system, settings, seed, metrics=None, losses=None, **changes):
    name = ",".join(map(str, (system, *settings.values(), f"seed={seed}")))
    return {
        "name": name,
        "settings": {"system": system, **settings, "seed": seed},
        "config": {},
        "system": system,
        "seed": seed,
        "state": "finished",
        "status": "finished",
        "step": 100,
        "steps": 100,
        "why": None,
        "losses": losses or {"nll": 2.0},
        "metrics": {k: measured(v, BETTER.get(k, "")) for k, v in (metrics or {}).items()},
        "not_measured": {},
        "seconds": 1.0,
    } | changes  # fmt: skip


def sweep(diverge=True):
    """Two systems; the ELBO grows by 10 with each power of ten of the learning rate, and by 3 with the latent size."""
    runs = []
    for system, lr, latent, seed in itertools.product(("vae", "vgh++"), LRS, LATENTS, SEEDS):
        value = 10 * math.log10(lr) + 3 * (latent == 8) + 5 * (system == "vae") + 0.1 * seed - 100
        settings = {"training.lr": lr, "network.latent": latent}
        found = row(system, settings, seed, {"elbo": value, "mystery": -value, "frechet_distance_data": 1.0})
        if diverge and lr == 1e-2 and latent == 8:
            status = "diverged at step 37: nll is nan"
            found |= {"state": "diverged", "status": status, "why": "nll is nan", "metrics": {}}
        runs.append(found)
    return {
        "format": 1,
        "sweep": "s",
        "varied": ["system", "training.lr", "network.latent", "seed"],
        "metrics": ["elbo", "mystery", "frechet_distance_data"],
        "losses": ["nll"],
        "halving": None,
        "optuna": None,
        "runs": runs,
    }


def test_settings_hold_their_seeds():
    settings = settings_of(sweep())
    assert len(settings) == 2 * len(LRS) * len(LATENTS)
    assert all([r["seed"] for r in s.rows] == list(SEEDS) for s in settings)


def test_metrics_have_a_direction_where_one_is_known():
    shown, left_out = metrics_of(sweep())
    assert [(m.name, m.sign, m.assumed) for m in shown] == [("elbo", -1, True), ("mystery", 0, True)]
    assert left_out == []
    judged = {**sweep(), "optuna": {"metric": "mystery", "direction": "maximise"}}
    assert next((m.name, m.sign, m.assumed) for m in metrics_of(judged)[0]) == ("mystery", -1, False)


def test_losses_of_validation_come_first_where_nothing_was_measured():
    losses = {"critic/data/model": 1.0, "nll": 2.0, "validation/nll": 3.0}
    runs = [row("vae", {}, 0, losses=losses)]
    table = {**sweep(), "metrics": [], "losses": list(losses), "runs": runs}
    assert [m.name for m in metrics_of(table)[0]] == ["validation/nll", "nll", "critic/data/model"]


def test_the_best_setting_of_a_system():
    best = best_of([s for s in settings_of(sweep()) if s.system == "vae"], ELBO)
    assert best is not None
    assert best.setting.settings == {"system": "vae", "training.lr": 1e-2, "network.latent": 2}
    assert best.tried == 5  # of six, one had a seed that diverged
    assert best_of(settings_of(sweep()), Metric("mystery", 0)) is None


def test_a_setting_that_lost_a_seed_is_no_best():
    table = sweep(diverge=False)
    for found in table["runs"]:
        if found["settings"]["training.lr"] == 1e-2 and found["seed"] == 1:
            found["state"] = "diverged"
    best = best_of(settings_of(table), ELBO)
    assert best is not None
    assert best.setting.settings["training.lr"] == 1e-3


def test_a_setting_of_which_a_seed_diverged_has_no_mean_and_is_no_best():
    """The seeds that are left would say 9 and 8; which are left is no chance."""
    runs = [row("vae", {"training.lr": 0.1}, seed, {"elbo": 9.0 - seed}) for seed in (0, 1)]
    runs += [row("vae", {"training.lr": 0.1}, 2, state="diverged")]
    (setting,) = settings_of({"runs": runs})
    assert setting.mean(ELBO) is None
    assert setting.without(ELBO) == ["seed 2 diverged"]
    assert best_of([setting], ELBO) is None
    text = render_sweep({**sweep(), "runs": runs}, read_from())
    assert "No setting is named for vae" in text
    assert "1 of the settings had a seed that diverged" in text


def test_a_best_setting_that_lacks_seeds_names_them_and_has_no_interval():
    runs = [row("vae", {}, seed, {"elbo": 9.0 - seed}) for seed in (0, 1)]
    runs += [row("vae", {}, 2, state="stopped")]
    best = best_of(settings_of({"runs": runs}), ELBO)
    assert best is not None
    assert math.isinf(best.reach)
    assert "2 of 3: seed 2 stopped" in render_sweep({**sweep(), "runs": runs}, read_from())


def chosen(generator, settings, seeds):
    """Settings that all have the mean 0."""
    values = generator.normal(size=(settings, seeds))
    return settings_of(
        {
            "runs": [
                row("vae", {"k": k}, s, {"elbo": values[k, s]}) for k in range(settings) for s in range(seeds)
            ]
        }
    )


@pytest.mark.parametrize(("settings", "seeds"), [(2, 3), (2, 10), (10, 3), (10, 5), (50, 3), (50, 10)])
def test_the_interval_of_the_best_covers_its_mean(settings, seeds):
    """An ordinary interval covers it in 62 to 87 % of cases."""
    generator, covered, times = np.random.default_rng(settings + seeds), 0, 4_000 // (settings * seeds) + 150
    for _ in range(times):
        best = best_of(chosen(generator, settings, seeds), ELBO)
        assert best.tried == settings
        covered += abs(fmean(best.values)) <= best.reach
    assert covered / times >= 0.93


@pytest.mark.parametrize("levels", [2, 4, 7])
@pytest.mark.parametrize("seeds", [3, 5])
def test_the_largest_effect_of_what_does_nothing_is_seldom_found(levels, seeds):
    """An ordinary interval excludes 0 in 14 to 30 % of cases."""
    generator, found, times = np.random.default_rng(levels), 0, 800
    for _ in range(times):
        level = generator.normal(size=(levels, seeds)) + 3 * generator.normal(size=seeds)
        every = [Level(str(k), dict(enumerate(values)), seeds) for k, values in enumerate(level.tolist())]
        largest = Effect("path", every, True, True).largest()
        assert largest.difference == pytest.approx(np.ptp(level.mean(1)))
        found += largest.difference > largest.reach
    assert found / times <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / times)


def test_the_largest_effect_is_over_the_seeds_of_both():
    """The means of all differ by 6, since seed 2 is bad for everybody; seed by seed the values differ by 1 and 2."""
    low, high = Level("a", {0: 1.0, 1: 2.0, 2: -9.0}, 3), Level("b", {0: 2.0, 1: 4.0}, 2)
    found = Effect("path", [low, high], False, True).largest()
    assert (found.low.label, found.high.label, sorted(found.differences)) == ("a", "b", [1.0, 2.0])
    assert found.difference == 1.5
    assert found.reach == pytest.approx(12.706 * stdev([1.0, 2.0]) / math.sqrt(2), rel=1e-4)


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [
        ({0: 1.0, 1: 2.0, 2: 3.0}, {3: 7.0, 4: 9.0}, "6 (no seed in common: no interval)"),
        ({0: 1.0, 1: 2.0}, {0: 7.0, 2: 9.0}, "6 (one seed in common: no interval)"),
        ({0: 1.0, 1: 2.0, 2: 3.0}, {0: 7.0, 1: 8.0, 2: 9.0}, "6 (most seeds agree exactly: no interval)"),
    ],
)
def test_where_seeds_give_no_interval_a_difference_says_why(low, high, text):
    runs = [
        row("vae", {"training.lr": lr}, seed, {"elbo": value})
        for lr, values in ((0.1, low), (0.2, high))
        for seed, value in values.items()
    ]
    page = render_sweep({**sweep(), "varied": ["training.lr", "seed"], "runs": runs}, read_from())
    assert f"<td>{text}</td>" in page


def test_an_effect_is_over_the_same_others():
    """Without balance the largest learning rate, whose better half diverged, would lose 1.5."""
    found = effect(settings_of(sweep()), "training.lr", ELBO)
    assert found is not None
    assert found.balanced
    assert [level.label for level in found.levels] == ["0.0001", "0.001", "0.01"]
    means = [level.mean for level in found.levels]
    assert means[1] - means[0] == pytest.approx(10)
    assert means[2] - means[1] == pytest.approx(10)
    largest = found.largest()
    assert (largest.low.label, largest.high.label) == ("0.0001", "0.01")
    assert largest.differences == pytest.approx([20, 20, 20])  # paired by seed
    assert math.isinf(largest.reach)  # seeds that agree exactly do not say how others would differ
    assert found.diverged == 6


def test_an_effect_of_numbers_drawn_at_random_is_by_ranges():
    runs = [row("vae", {"training.lr": 0.001 * k}, 0, {"elbo": float(k)}) for k in range(1, 41)]
    found = effect(settings_of({**sweep(), "runs": runs}), "training.lr", ELBO)
    assert found is not None
    assert not found.balanced
    assert len(found.levels) == 4
    means = [level.mean for level in found.levels]
    assert means == sorted(means)
    assert sum(level.runs for level in found.levels) == 40
    assert "one seed in common: no interval" in render_sweep({**sweep(), "runs": runs}, read_from())


def test_where_runs_diverged():
    found = diverged_by_value(sweep())
    assert ("training.lr", "0.01", 6, 12) in found
    assert ("training.lr", "0.001", 0, 12) in found
    assert ("network.latent", "8", 6, 18) in found
    assert diverged_by_value(sweep(diverge=False)) == []


def test_boxes_are_by_latent_size_where_it_varies():
    assert second_grouping(sweep()) == "network.latent"
    alone = {**sweep(), "varied": ["system", "seed"]}
    assert second_grouping(alone) is None


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "a b"
    return render_sweep(sweep(), folder), folder


def test_the_page_is_self_contained_and_small(page):
    text, _ = page
    assert "<script" not in text
    assert set(re.findall(r'src="([a-z]+:)', text)) == {"data:"}
    assert "http" not in re.sub(r'src="[^"]*"', "", text)
    assert len(text) < 400_000


def test_the_page_says_what_diverged_why_and_how_to_train_again(page):
    text, folder = page
    assert "diverged at step" not in text
    assert text.count("<td>nll is nan</td>") == 6
    assert text.count("<td>37</td>") == 6
    assert "36 runs: 12 settings of 2 systems, 3 seeds; 30 finished, 6 diverged." in text
    run = folder / "runs" / "vae,0.01,2,seed=2"
    assert f"distmatch train --config &#39;{run / 'config.json'}&#39; --out &#39;{run}-again&#39;" in text
    assert "for seed in 3 4 5; do distmatch train --config" in text  # 0, 1 and 2 have chosen
    assert "-fresh&#39;-&#34;$seed&#34; &amp;&amp; distmatch evaluate" in text
    assert "without 6 that diverged" in text
    assert "more is better" in text
    assert "no direction is known" in text


@pytest.mark.parametrize("state", ["waiting", "diverged"])
def test_a_sweep_of_which_nothing_finished_has_a_page(state):
    runs = [row("vae", {"training.lr": lr}, 0, state=state, losses={}) for lr in LRS]
    table = {**sweep(), "metrics": [], "losses": [], "runs": runs}
    assert "No run has finished yet" in render_sweep(table, read_from())


def read_from():
    return Path("runs/s")


def test_systems_with_settings_of_their_own_and_words_as_values():
    runs = [row("vae", {"network.family": f}, 0, {"elbo": v}) for f, v in (("mlp", -9.0), ("dcgan", -8.0))]
    runs += [row("<b>", {"system.weight": w}, 0, {"elbo": -float(w)}) for w in (1, 10)]
    varied = ["system", "network.family", "system.weight", "seed"]
    text = render_sweep({**sweep(), "varied": varied, "runs": runs}, read_from())
    assert "<b>" not in text
    assert "&lt;b&gt;" in text


def test_the_command_writes_the_page_of_a_sweep(tmp_path, capfd):
    (tmp_path / "sweep.json").write_text("{}")
    assert cli.run(["report", str(tmp_path)]) == 2
    assert "has no table.json yet" in capfd.readouterr().err
    (tmp_path / "table.json").write_text(json.dumps(sweep()), encoding="utf-8")
    assert cli.run(["report", str(tmp_path)]) == 0
    assert "page:" in capfd.readouterr().out
    assert "What diverged, and why" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert cli.run(["report", str(tmp_path), str(tmp_path)]) == 2
    assert "name it alone" in capfd.readouterr().err


def test_a_damaged_table_is_refused(tmp_path):
    (tmp_path / "table.json").write_text("{")
    with pytest.raises(BadInput, match="damaged"):
        read_table(tmp_path)


def whiskers(figure):
    """Half the height of every interval of a figure's first axes."""
    bars = [c for c in figure.axes[0].collections if hasattr(c, "get_segments")]
    return [abs(float(s[1][1] - s[0][1])) / 2 for c in bars for s in c.get_segments()]


def test_whiskers_of_what_is_compared_or_chosen_hold_at_once():
    """Three values at once need Student's t at 1 - 0.05/3 = 0.9833: 7.649 with two degrees of freedom."""
    values = {0.1: (1.0, 2.0, 3.0), 0.2: (3.0, 4.0, 5.0), 0.3: (5.0, 6.0, 7.0)}
    runs = [row("vae", {"lr": lr}, s, {"elbo": v}) for lr, vs in values.items() for s, v in enumerate(vs)]
    settings = settings_of({"runs": runs})
    found = effect(settings, "lr", ELBO)
    half = pytest.approx(7.649 / math.sqrt(3), rel=1e-3)
    assert whiskers(sensitivity([found], ELBO)) == [half] * 3
    assert whiskers(boxes(settings, ELBO, None)) == [half]  # the best of three


@pytest.mark.parametrize(
    ("name", "sign"),
    [("frechet_distance_unbiased", 1), ("population_marginal_kl", 1), ("inception_score", -1), ("elbo", -1)],
)
def test_headline_metrics_have_their_direction(name, sign):
    runs = [row("vae", {}, 0, {name: 1.0})]
    (metric,), _ = metrics_of({**sweep(), "metrics": [name], "runs": runs})
    assert metric.sign == sign


def test_the_largest_effect_is_among_levels_that_share_two_seeds():
    """The third level is far from both, but shares one seed with the first, and with the second none."""
    levels = [
        Level("a", {0: 1.0, 1: 2.0}, 2),
        Level("b", {0: 0.0, 1: 0.5}, 2),
        Level("c", {1: 60.0, 5: 80.0}, 2),
    ]
    found = Effect("path", levels, False, True).largest()
    assert (found.low.label, found.high.label) == ("b", "a")
    assert found.differences == [1.0, 1.5]
    assert found.reach == pytest.approx(38.1885 * 0.25, rel=1e-3)  # Student's t at 1 - 0.05/6, one degree


def test_a_number_on_an_edge_belongs_to_the_range_that_it_begins():
    range_of = labels(list(range(101)))
    assert [range_of(v) for v in (0, 24, 25, 50, 100)] == [
        "0 to 25",
        "0 to 25",
        "25 to 50",
        "50 to 75",
        "75 to 100",
    ]


def best_rows(page):
    return re.findall(r"runs/s/runs/([^/]+)/config", page)


def test_the_run_to_train_again_is_the_best_of_the_winners_seeds():
    """More ELBO and less MSE are better; each system has its own winner."""
    runs = [
        row(name, {"lr": lr}, seed, {"elbo": off + 10 * lr + seed % 2, "mse": off + lr + seed % 2})
        for name, off in (("vae", 0.0), ("gan", 100.0))
        for lr in (1.0, 2.0)
        for seed in (0, 1)
    ]
    table = {**sweep(), "varied": ["system", "lr", "seed"], "metrics": ["elbo", "mse"], "runs": runs}
    text = render_sweep(table, read_from())
    assert list(dict.fromkeys(best_rows(text))) == [
        "vae,2.0,seed=1",
        "gan,2.0,seed=1",
        "vae,1.0,seed=0",
        "gan,1.0,seed=0",
    ]
    assert "for seed in 2 3 4; do" in text
    assert "less is better" in text


def test_an_effect_is_told_from_its_least_mean_to_its_greatest():
    runs = [row("vae", {"lr": lr}, s, {"elbo": -3 * lr + s * lr / 9}) for lr in (1.0, 2.0) for s in (0, 1)]
    text = render_sweep({**sweep(), "varied": ["lr", "seed"], "metrics": ["elbo"], "runs": runs}, read_from())
    cells = re.findall(r"<td[^>]*>([12] \([^<]*\))</td>", text)
    assert cells == ["2 (-5.889)", "1 (-2.944)"]
