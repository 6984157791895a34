import errno
import json
import os

import pytest
import torch

from distmatch.errors import BadInput
from distmatch.files import put
from distmatch.training import checkpoint

TENSORS = {"params/a": torch.arange(3.0), "generator": torch.arange(5, dtype=torch.uint8)}


def keep(folder, *steps):
    folder.mkdir(exist_ok=True)
    for step in steps:
        checkpoint.write(folder, step, TENSORS, {"steps_done": step})
    return folder


def test_round_trip(tmp_path):
    folder = keep(tmp_path / "c", 5)
    tensors, info, notes = checkpoint.read_latest(folder)
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[k], TENSORS[k]) for k in TENSORS)
    assert (info["step"], info["steps_done"], notes) == (5, 5, [])


def test_two_are_kept(tmp_path):
    folder = keep(tmp_path / "c", 1, 2, 3, 100_000_000)
    assert checkpoint.steps(folder) == [3, 100_000_000]
    assert len(list(folder.iterdir())) == 4


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_any_damaged_byte_is_noticed(suffix, tmp_path):
    """Or makes no difference: white space in the JSON."""
    folder = keep(tmp_path / "c", 1, 2)
    path = folder / f"step-00000002{suffix}"
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        tensors, info, notes = checkpoint.read_latest(folder)
        if not notes:
            assert suffix == ".json"
            assert info == json.loads(content)
        else:
            assert info["step"] == 1
            assert notes[0].startswith("checkpoint step-00000002 is damaged")
            assert notes[0].endswith("; the one of step 1 is used")
        assert all(torch.equal(tensors[k], TENSORS[k]) for k in TENSORS)


@pytest.mark.parametrize("suffix", [".json", ".safetensors"])
def test_cut_short_or_gone(suffix, tmp_path):
    folder = keep(tmp_path / "c", 1, 2)
    path = folder / f"step-00000002{suffix}"
    path.write_bytes(path.read_bytes()[:9])
    assert checkpoint.read_latest(folder)[1]["step"] == 1
    path.unlink()
    assert checkpoint.read_latest(folder)[1]["step"] == 1


def test_none_left(tmp_path):
    with pytest.raises(BadInput, match="holds no finished checkpoint"):
        checkpoint.read_latest(tmp_path)
    folder = keep(tmp_path / "c", 1, 2)
    for path in folder.glob("*.safetensors"):
        path.write_bytes(b"")
    with pytest.raises(BadInput, match=r"no checkpoint in .* can be used: .*00000002.*00000001"):
        checkpoint.read_latest(folder)


def test_what_came_later_is_dropped(tmp_path):
    folder = keep(tmp_path / "c", 1, 2)
    (folder / "step-00000009.safetensors").write_bytes(b"never finished")
    (folder / "notes.txt").write_text("mine")
    checkpoint.drop_after(folder, 1)
    assert sorted(p.name for p in folder.iterdir()) == [
        "notes.txt",
        "step-00000001.json",
        "step-00000001.safetensors",
    ]


def test_a_failed_write_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    put(path, b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInput, match=r"a\.json \(No space left on device\); free some space"):
        put(path, b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert path.read_bytes() == b"old"


def test_an_interrupted_write_leaves_what_was_there(tmp_path, monkeypatch):
    def stop(handle):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        put(tmp_path / "a.json", b"new")
    assert not list(tmp_path.iterdir())


def test_nowhere_to_write(tmp_path):
    with pytest.raises(BadInput, match="check that its folder exists"):
        put(tmp_path / "no" / "a.json", b"")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot write"):
        checkpoint.write(tmp_path / "file", 1, TENSORS, {})
