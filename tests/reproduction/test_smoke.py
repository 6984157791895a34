"""Every experiment runs from end to end, at a size that says nothing about its claims."""

import json

import pytest

from distmatch.reproduction.framework.experiment import Results, from_json
from distmatch.reproduction.framework.runner import reproduce
from distmatch.reproduction.registry import EXPERIMENTS
from distmatch.revision import revision

QUICK = (
    "E1",
    "E2",
    "E5",
    "E8",
    "E10",
    "E12",
    "E14",
    "E22",
    "inverse-cdf",
)  # of each document; the others: `make slow`


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in EXPERIMENTS]
)
def test_an_experiment_runs_and_its_claims_find_their_numbers(name, tmp_path):
    told = []
    written = reproduce(
        name,
        "smoke",
        work=tmp_path / "work",
        out=tmp_path / "out",
        told=lambda done, total, run: told.append((done, total)),
    )
    assert told[-1][0] == told[-1][1] == len(written["runs"])
    assert json.loads((tmp_path / "out" / name / "smoke.json").read_text()) == written
    made_with = [r["revision"] for r in (written["environment"], *written["runs"])]
    assert made_with == [revision()] * len(made_with)
    results = Results([from_json(r) for r in written["runs"]])
    diverged = any(r.numbers.values.get("diverged") for r in results.records)
    for claim in EXPERIMENTS[name].claims:
        assert diverged or len(claim.value(results)) == 1, claim.sentence
    for stem in written["figures"]:
        assert (tmp_path / "out" / name / f"{stem}.svg").stat().st_size > 500
    again = reproduce(name, "smoke", work=tmp_path / "work", out=tmp_path / "out")
    assert again["runs"] == written["runs"]  # nothing was run twice
