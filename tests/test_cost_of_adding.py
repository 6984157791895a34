"""What somebody writes who adds a member of a registry: one file, or one line; nothing else is touched."""

import sys
from pathlib import Path

import pytest
import torch

from distmatch.data.splits import Entry
from distmatch.declared import declared
from distmatch.metrics.declaration import Metric
from distmatch.metrics.model import Model, Options
from distmatch.networks.families.family import Family
from distmatch.objectives.comparisons import Comparison
from distmatch.systems.system import System

FILES = {
    "metric": (
        Metric,
        "length",
        """
from distmatch.metrics import Estimate, metric
from distmatch.metrics.model import Model, Options, Result


@metric(
    "length", question="How long are samples?", needs=("sample",), reference="ours", better={"mean_length": "lower"}
)
def measure(model: Model, options: Options) -> Result:
    x = model.sample(options.samples, options.seed)
    return Result({"mean_length": Estimate.mean(x.norm(dim=1))})
""",
    ),
    "comparison": (
        Comparison,
        "absolute",
        """
from distmatch.objectives.comparisons import Comparison, Sides

ABSOLUTE = Comparison(
    "absolute",
    "A",
    critic=Sides(lambda s: (s - 1).abs(), lambda s: (s + 1).abs()),
    generator=Sides(lambda s: s, lambda s: -s),
    log_ratio=None,
    reference="ours",
)
""",
    ),
    "system": (
        System,
        "critic-only",
        """
from distmatch.objectives.objective import Objective
from distmatch.objectives.terms.match import Match
from distmatch.objectives.variables import X, X_GEN
from distmatch.systems.system import System


def critic_only() -> Objective:
    return Objective(Match(X_GEN, X, critic="data"))


SYSTEMS = (System("critic-only", critic_only, "A GAN.", "ours"),)
""",
    ),
    "network": (
        Family,
        "linear",
        """
from dataclasses import dataclass

from torch import nn

from distmatch.networks.families.family import Family


@dataclass(frozen=True)
class LinearOptions:
    bias: bool = True


LINEAR = Family("linear", "one layer", "ours", LinearOptions, nn.Linear, nn.Linear, nn.Linear)
""",
    ),
    "data": (
        Entry,
        "ones",
        """
import torch

from distmatch.data.splits import DataSet, Entry, Request, Split


def load_ones(request: Request) -> DataSet:
    ones = Split(torch.ones(10, 2))
    return DataSet("ones", ones, ones, ones, source="made here", licence="none needed")


ONES = Entry("ones", load_ones, "ten ones", "2", "none needed")
""",
    ),
}


@pytest.mark.parametrize("what", FILES)
def test_a_file_of_its_own_is_all(what, tmp_path: Path, monkeypatch):
    kind, name, text = FILES[what]
    package = tmp_path / f"scratch_{what}"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "added.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    found = declared(package.name, kind)
    assert list(found) == [name]
    assert isinstance(found[name], kind)
    for module in [m for m in sys.modules if m.startswith(package.name)]:
        del sys.modules[module]


def test_a_metric_that_was_added_measures(tmp_path, monkeypatch):
    (tmp_path / "scratch_room").mkdir()
    (tmp_path / "scratch_room" / "__init__.py").touch()
    (tmp_path / "scratch_room" / "added.py").write_text(FILES["metric"][2])
    monkeypatch.syspath_prepend(tmp_path)
    (metric,) = declared("scratch_room", Metric).values()
    found = metric(Model(sample=lambda n, seed: torch.ones(n, 4)), Options(samples=3))
    assert found.metrics["mean_length"].value == 2
    assert metric.missing(Model()) == "needs samples; this system cannot be sampled"
