import os

import pytest
import torch
from PIL import Image

from data.fakes import picture
from distmatch.data import load
from distmatch.errors import BadInput


def write_pictures(folder, n=20, sub=("cats", "dogs"), size=(40, 30)):
    for i in range(n):
        inner = folder / sub[i % len(sub)] if sub else folder
        inner.mkdir(parents=True, exist_ok=True)
        (inner / f"{i}.png").write_bytes(picture(size, (10 * i, 100, 200)))
    return folder


def sizes(data):
    return [len(s) for s in (data.train, data.validation, data.test)]


def test_sub_folders_are_classes(tmp_path):
    root = write_pictures(tmp_path / "d")
    data = load("folder", root)
    assert sizes(data) == [18, 1, 1]
    assert data.shape == (3, 64, 64)
    assert data.classes == ("cats", "dogs")
    colours = []
    for split in (data.train, data.validation, data.test):
        i = split.x[:, 0, 0, 0].int() // 10
        colours += i.tolist()
        assert torch.equal(i % 2, split.y.int())
        assert (split.x[:, 1] == 100).all()
    assert sorted(colours) == list(range(20))


def test_no_classes_if_a_picture_lies_at_the_top(tmp_path):
    root = write_pictures(tmp_path / "d")
    (root / "top.JPG").write_bytes(picture(kind="JPEG"))
    (root / ".hidden.png").write_bytes(b"not looked at")
    (root / "notes.txt").write_text("not looked at")
    data = load("folder", root, size=16)
    assert sum(sizes(data)) == 21
    assert data.classes == ()
    assert data.train.y is None
    assert data.shape == (3, 16, 16)


def test_centre_square_and_modes(tmp_path):
    for i, mode in enumerate(("RGB", "L", "RGBA", "P", "CMYK")):
        image = Image.new("RGB", (60, 20), (0, 255, 0))
        image.paste((255, 0, 0), (20, 0, 40, 20))
        image.convert(mode).save(tmp_path / f"{i}.tiff")
    data = load("folder", tmp_path, size=8)
    x = torch.cat([data.train.x, data.validation.x, data.test.x])
    red = (x[:, 0] > 200).all(dim=(1, 2)) & (x[:, 1] < 30).all(dim=(1, 2))
    assert red.sum() == 4  # all but the grey one: nothing of the green sides is left
    assert (x.flatten(2).float().std(dim=2) == 0).all()


def test_a_photograph_is_turned_upright(tmp_path):
    image = Image.new("RGB", (8, 8), (255, 255, 255))
    image.paste((0, 0, 0), (0, 0, 8, 4))
    exif = Image.Exif()
    exif[0x0112] = 3  # taken upside down
    for i in range(3):
        image.save(tmp_path / f"{i}.png", exif=exif)
    x = load("folder", tmp_path, size=8).train.x
    assert x[0, :, 1].min() > 200
    assert x[0, :, 6].max() < 50


def test_cache_is_used_and_renewed(tmp_path, cache):
    root = write_pictures(tmp_path / "d")
    first = load("folder", root, size=8).train.x.clone()
    kept = {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy")}
    assert len(kept) == 3
    again = load("folder", root, size=8)
    assert torch.equal(again.train.x, first)
    assert {p: p.stat().st_mtime_ns for p in cache.rglob("*.npy")} == kept
    again.train.x.zero_()  # a private copy of the map: the cache must not change
    assert torch.equal(load("folder", root, size=8).train.x, first)
    for path in kept:
        path.write_bytes(path.read_bytes()[:-5])  # a cache damaged by somebody is made anew
    assert torch.equal(load("folder", root, size=8).train.x, first)
    for i in range(20):
        path = root / ("cats", "dogs")[i % 2] / f"{i}.png"
        path.write_bytes(picture((40, 30), (1, 2, 3)))
        os.utime(path, (1, 1))
    assert (load("folder", root, size=8).train.x[:, 0] == 1).all()
    assert not list(cache.rglob("*.tmp"))


def test_limit_decodes_no_more_than_it_keeps(tmp_path, cache):
    root = write_pictures(tmp_path / "d", n=60)
    data = load("folder", root, size=8, limit=2)
    assert sizes(data) == [2, 2, 2]
    assert torch.equal(data.train.x, load("folder", root, size=8).train.x[:2])


@pytest.mark.parametrize(
    ("name", "body", "words"),
    [
        ("a.jpg", picture((50, 50), kind="JPEG")[:-400], "damaged"),
        ("a.png", picture((50, 50))[:60], "damaged"),
        ("a.jpg", b"text", "not a picture"),
        ("a.jpg", b"", "not a picture"),
        ("a.gif", b"GIF89a", "damaged"),
        ("a.jpg", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture"),
        ("a.tif", picture((9, 9), 70_000, "TIFF", "I"), "more than 8 bits"),
    ],
)
def test_what_is_no_picture_is_named(name, body, words, tmp_path, cache, sentence):
    root = write_pictures(tmp_path / "d", sub=())
    (root / name).write_bytes(body)
    with pytest.raises(BadInput) as caught:
        load("folder", root)
    sentence(caught, root / name, words)
    assert not list(cache.rglob("*.tmp"))


def test_too_few_pictures(tmp_path, sentence):
    for n in (0, 2):
        root = write_pictures(tmp_path / str(n), n=n)
        root.mkdir(exist_ok=True)
        with pytest.raises(BadInput) as caught:
            load("folder", root)
        sentence(caught, root, f"holds {n} pictures")


def test_no_folder_is_named(sentence):
    with pytest.raises(BadInput) as caught:
        load("folder")
    sentence(caught, "--data-dir")


def test_cache_that_cannot_be_written(tmp_path, cache, sentence):
    root = write_pictures(tmp_path / "d")
    cache.write_text("a file where the cache's folder should be")
    with pytest.raises(BadInput) as caught:
        load("folder", root)
    sentence(caught, "cannot write", cache, "DISTMATCH_DATA")
