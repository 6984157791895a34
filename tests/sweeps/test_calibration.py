"""How many lanes a structure gets, by what a step of them takes."""

import pytest

from distmatch.sweeps import calibration
from distmatch.sweeps.calibration import Cost, calibrate
from distmatch.sweeps.file import parse
from distmatch.sweeps.plan import planned
from distmatch.training.lanes.lanes import Lanes
from sweeps.small import BASE


@pytest.fixture
def clocked(monkeypatch):
    """Runs whose steps take what is said: alone, to be lanes at all, and each lane; and the packs that were timed."""

    def calibrated(alone, start, each, runs=16, most=None):
        timed = []

        def seconds(pack, steps):
            timed.append(len(pack.trainers) if isinstance(pack, Lanes) else "alone")
            return start + each * len(pack.trainers) if isinstance(pack, Lanes) else alone

        monkeypatch.setattr(calibration, "seconds", seconds)
        found = calibrate(planned(parse({"seeds": runs, "base": {**BASE, "system": "vae"}})), 1, most)
        return found, timed

    return calibrated


def test_few_lanes_that_are_slower_than_a_run_alone_do_not_hide_many_that_are_faster(clocked):
    found, timed = clocked(alone=2.0, start=3.0, each=1.0)
    assert found.step[2] / 2 > found.step[1]
    assert timed == ["alone", 1, 2, 4, 8, 16]
    assert found.best == 16


def test_lanes_whose_throughput_does_not_grow_are_left_at_once(clocked):
    found, timed = clocked(alone=10.0, start=0.0, each=11.0)
    assert timed == ["alone", 1, 2]
    assert found.best == 1


def test_no_more_lanes_than_runs_or_than_asked(clocked):
    assert clocked(alone=2.0, start=3.0, each=1.0, runs=5)[1] == ["alone", 1, 2, 4]
    assert clocked(alone=2.0, start=3.0, each=1.0, most=2)[1] == ["alone", 1, 2]
    assert clocked(alone=2.0, start=3.0, each=1.0, runs=1)[1] == ["alone"]


def test_what_was_not_measured_is_told_by_the_nearest():
    cost = Cost({1: 1.0, 2: 1.5, 8: 4.0}, memory=1, fits=8)
    assert cost.seconds(7) == pytest.approx(3.5)
    assert cost.best == 8
