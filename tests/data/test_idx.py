"""The IDX files of MNIST, Fashion-MNIST and what is made from them."""

import gzip
import time

import numpy as np
import pytest
import torch

from data.fakes import idx_bytes, write_idx
from distmatch.data import load
from distmatch.data.idx import FILES, read_idx
from distmatch.errors import BadInput


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_foreign_but_valid_files_are_read_and_not_called_original(name, packed, tmp_path):
    write_idx(tmp_path / name, packed=packed)
    for folder in (tmp_path, tmp_path / name):
        data = load(name, folder)
        assert [len(s) for s in (data.train, data.validation, data.test)] == [22, 2, 10]
        assert data.shape == (1, 5, 5)
        assert data.train.x.dtype == torch.uint8
        assert data.train.y.dtype == torch.int64
        assert "not the original bits" in data.bits
        assert data.licence
        assert len(data.classes) == 10


def test_bytes_arrive_in_order(tmp_path):
    array = np.arange(24).reshape(2, 3, 4)
    (tmp_path / "x").write_bytes(idx_bytes(array))
    assert read_idx(tmp_path / "x", 3)[0].tolist() == array.tolist()
    body = idx_bytes(array)
    (tmp_path / "two").write_bytes(gzip.compress(body[:10]) + gzip.compress(body[10:]))
    assert read_idx(tmp_path / "two", 3)[0].tolist() == array.tolist()


GOOD = gzip.compress(idx_bytes(np.zeros((24, 5, 5))))
DAMAGE = {
    "empty": (b"", "is empty"),
    "truncated gzip": (GOOD[:-12], "damaged"),
    "corrupt gzip": (GOOD[:15] + b"\xff\xff\xff" + GOOD[18:], "damaged"),
    "gzip header alone": (GOOD[:6], "damaged"),
    "garbage after gzip": (GOOD + b"garbage", "damaged"),
    "truncated": (idx_bytes(np.zeros((24, 5, 5)))[:-1], "truncated"),
    "too long": (idx_bytes(np.zeros((24, 5, 5))) + b"x", "too long"),
    "header cut": (bytes([0, 0, 8, 3, 0, 0]), "truncated"),
    "a web page": (b"<html>not found</html>", "not an IDX file"),
    "labels for images": (idx_bytes(np.zeros(24)), "not an IDX file"),
    "floats": (bytes([0, 0, 13, 3]) + bytes(12), "not an IDX file"),
    "no images": (idx_bytes(np.zeros((0, 5, 5))), "no data"),
    "other count": (idx_bytes(np.zeros((23, 5, 5))), "23 images"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_named(name, tmp_path, sentence):
    body, words = DAMAGE[name]
    path = write_idx(tmp_path)[0]
    path.write_bytes(body)
    with pytest.raises(BadInput) as caught:
        load("mnist", tmp_path)
    sentence(caught, path, words, "fetch it again")


def test_labels_out_of_range(tmp_path, sentence):
    path = write_idx(tmp_path)[3]
    path.write_bytes(gzip.compress(idx_bytes(np.full(10, 10))))
    with pytest.raises(BadInput) as caught:
        load("mnist", tmp_path)
    sentence(caught, path, "label 10")


def test_one_file_of_four_is_missing(tmp_path, sentence):
    write_idx(tmp_path)[3].unlink()
    with pytest.raises(BadInput) as caught:
        load("mnist", tmp_path)
    sentence(caught, tmp_path, f"lacks {FILES[3]}.gz", "put it")


def test_no_permission_and_a_folder_for_a_file(tmp_path, monkeypatch, sentence):
    path = write_idx(tmp_path)[0]
    path.unlink()
    path.mkdir()
    with pytest.raises(BadInput) as caught:
        load("mnist", tmp_path)
    sentence(caught, path, "is a folder")

    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)
    with pytest.raises(BadInput) as caught:
        load("mnist", tmp_path)
    sentence(caught, path, "no permission")


@pytest.mark.parametrize("where", ["color-mnist", "mnist", "."])
def test_color_mnist(where, tmp_path):
    write_idx(tmp_path / where)
    grey, data = load("mnist", tmp_path / where), load("color-mnist", tmp_path)
    assert data.shape == (3, 5, 5)
    assert torch.equal(data.test.y, grey.test.y)
    assert torch.equal(
        data.train.x.amax(dim=1, keepdim=True), grey.train.x
    )  # brightest channel: the intensity
    again, other = load("color-mnist", tmp_path), load("color-mnist", tmp_path, seed=1)
    assert torch.equal(data.train.x, again.train.x)
    assert not torch.equal(data.train.x, other.train.x)
    part = load("color-mnist", tmp_path, limit=3)
    assert torch.equal(part.train.x, data.train.x[:3])
    assert torch.equal(part.test.x, data.test.x[:3])


def test_color_is_one_colour_an_image(tmp_path):
    write_idx(tmp_path)
    data, grey = load("color-mnist", tmp_path), load("mnist", tmp_path)
    ratio = data.train.x.float() / grey.train.x.clamp(min=1)
    colours = torch.where(grey.train.x == 255, ratio, 0).amax(dim=(2, 3), keepdim=True)
    has_white = (grey.train.x == 255).flatten(1).any(dim=1)
    error = (data.train.x - grey.train.x * colours).abs()[has_white]
    assert has_white.any()
    assert error.max() <= 0.51


@pytest.mark.parametrize("where", ["stacked-mnist", "mnist", "."])
def test_stacked_mnist(where, tmp_path):
    write_idx(tmp_path / where)
    data = load("stacked-mnist", tmp_path)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [50_000, 5_000, 10_000]
    assert data.shape == (3, 5, 5)
    assert data.num_classes == 1000
    assert data.classes[7] == "007"
    grey = load("mnist", tmp_path / where)
    for split, digits in ((data.train, grey.train), (data.test, grey.test)):
        for x, y in zip(split.x[:20], split.y[:20].tolist(), strict=True):
            for channel, digit in zip(x, f"{y:03d}", strict=True):
                same = (digits.x[:, 0] == channel).all(dim=(1, 2))
                assert int(digit) in digits.y[same].tolist()
    assert torch.equal(data.train.x[:9], load("stacked-mnist", tmp_path, limit=9).train.x)
    assert not torch.equal(data.train.y, load("stacked-mnist", tmp_path, seed=1).train.y)


def test_real_mnist(shared_data):
    began = time.process_time()
    data = load("mnist", shared_data)
    assert time.process_time() - began < 5  # 0.3 s of its own, however busy the machine is
    assert data.bits == "original bits"
    assert [len(s) for s in (data.train, data.validation, data.test)] == [55_000, 5_000, 10_000]
    assert data.shape == (1, 28, 28)
    assert data.train.y[:5].tolist() == [5, 0, 4, 1, 9]
    assert data.test.y[:5].tolist() == [7, 2, 1, 0, 4]
    assert abs(data.train.x.float().mean() / 255 - 0.1307) < 0.001
    assert load("mnist", shared_data / "mnist", limit=8).bits == "original bits"


def test_real_stacked_mnist_has_every_mode(shared_data):
    data = load("stacked-mnist", shared_data)
    assert len(data.train.y.unique()) == 1000
    assert "original bits" in data.bits
