"""The log arrives in TensorBoard's files as it was."""

import sys
import warnings

import numpy as np
import pytest

from distmatch.errors import BadInput
from distmatch.reports import grids
from distmatch.reports.tensorboard import write_events

LOG = [
    {"step": 0, "epoch": 0, "nll": 3.0, "match(x_gen, x)": 0.5, "note": "word"},
    {"step": 10, "epoch": 0, "nll": float("nan"), "critic/data/target": 0.25},
]


def read(folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    events = EventAccumulator(str(folder))
    events.Reload()
    return events


def test_scalars_and_pictures(tmp_path):
    pytest.importorskip("tensorboard")
    write_events(LOG, tmp_path)
    picture = grids.png_bytes(grids.image_grid(np.zeros((2, 1, 4, 4))))
    write_events(LOG, tmp_path, pictures={"samples": picture})  # replaces, not doubles
    assert len(list(tmp_path.iterdir())) == 1
    events = read(tmp_path)
    assert [(e.step, e.value) for e in events.Scalars("critic/data/target")] == [(10, 0.25)]
    assert [e.step for e in events.Scalars("nll")] == [0, 10]
    assert np.isnan(events.Scalars("nll")[1].value)
    [image] = events.Images("samples")
    assert (image.step, image.width) == (10, grids.image_grid(np.zeros((2, 1, 4, 4))).size[0])


def test_files_of_others_stay(tmp_path):
    pytest.importorskip("tensorboard")
    (tmp_path / "events.out.tfevents.1.other").write_bytes(b"")
    write_events(LOG, tmp_path)
    write_events(LOG, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2


def test_without_tensorboard(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(BadInput, match=r"pip install"):
        write_events(LOG, tmp_path)
