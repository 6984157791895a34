"""Splits have no example in common, labels stay with their examples, and what is fixed stays fixed."""

import itertools

import numpy as np
import pytest
import torch

from data.fakes import picture, write_idx
from distmatch.data import PREPARATIONS, binarise, load
from distmatch.data.idx import FILES, read_idx

SPLITS = ("train", "validation", "test")


def rows(x):
    return {row.numpy().tobytes() for row in x}


@pytest.mark.parametrize("name", ["ring", "grid", "gaussians", "lines"])
def test_the_splits_of_a_toy_share_no_point(name):
    data = load(name, seed=3)
    found = [rows(getattr(data, split).x) for split in SPLITS]
    assert all(len(points) > 0.99 * n for points, n in zip(found, (50_000, 5_000, 10_000), strict=True))
    for a, b in itertools.combinations(found, 2):
        assert len(a & b) < 0.01 * len(b)  # by chance: float32 has few numbers on a line


def test_a_toys_label_is_the_mode_that_is_nearest():
    data = load("ring")
    for split in SPLITS:
        part = getattr(data, split)
        assert torch.equal(torch.cdist(part.x, data.modes).argmin(1), part.y)


def test_the_digits_are_split_without_overlap_and_keep_their_labels():
    from sklearn import datasets

    images, labels = datasets.load_digits(return_X_y=True)
    known = {
        np.rint(i * 255 / 16).astype(np.uint8).tobytes(): int(y) for i, y in zip(images, labels, strict=True)
    }
    data = load("digits")
    seen = []
    for split in SPLITS:
        part = getattr(data, split)
        found = [image.numpy().tobytes() for image in part.x]
        assert [known[image] for image in found] == part.y.tolist()
        seen += found
    assert sorted(seen) == sorted(np.rint(i * 255 / 16).astype(np.uint8).tobytes() for i in images)
    assert data.validation.y[:8].tolist() == [3, 0, 7, 1, 3, 8, 3, 4]
    assert data.test.y[:8].tolist() == [3, 7, 8, 5, 7, 4, 5, 9]


def test_idx_files_give_the_last_twelfth_for_validation(tmp_path):
    paths = write_idx(tmp_path, n=(60, 10))
    images, labels, held_images, held_labels = (
        read_idx(p, 3 if i % 2 == 0 else 1)[0] for i, p in enumerate(paths)
    )
    assert len(paths) == len(FILES)
    data = load("mnist", tmp_path)
    assert torch.equal(data.train.x[:, 0], images[:55])
    assert torch.equal(data.validation.x[:, 0], images[55:])
    assert torch.equal(data.test.x[:, 0], held_images)
    assert data.train.y.tolist() == labels[:55].tolist()
    assert data.validation.y.tolist() == labels[55:].tolist()
    assert data.test.y.tolist() == held_labels.tolist()


def test_pictures_of_a_folder_are_each_in_one_split_under_its_own_label(tmp_path):
    for i in range(100):
        folder = tmp_path / ("a" if i < 50 else "b")
        folder.mkdir(exist_ok=True)
        (folder / f"{i:03d}.png").write_bytes(picture((8, 8), (2 * i, 0, 0)))
    data = load("folder", tmp_path, size=8)
    found = {split: getattr(data, split).x[:, 0, 0, 0].int() // 2 for split in SPLITS}
    assert sorted(torch.cat(list(found.values())).tolist()) == list(range(100))
    for split, numbers in found.items():
        assert torch.equal((numbers >= 50).long(), getattr(data, split).y)
    order = found["train"].tolist()
    assert order != sorted(order)  # the classes are mixed, in all three


def colours(split):
    """The colour of each picture, its largest channel 1."""
    bright = split.x.flatten(2).amax(2).float()
    return bright / bright.amax(1, keepdim=True)


def test_the_colours_of_each_split_are_its_own(tmp_path):
    write_idx(tmp_path)
    data, grey = load("color-mnist", tmp_path), load("mnist", tmp_path)
    for split in SPLITS:
        part, digits = getattr(data, split), getattr(grey, split)
        assert torch.equal(part.x.amax(1), digits.x[:, 0])
        assert torch.equal(part.y, digits.y)
    for a, b in itertools.combinations(SPLITS, 2):
        first, second = (colours(getattr(data, split))[:2] for split in (a, b))
        assert ((first - second).abs().amax(1) > 0.02).all()


def test_stacked_digits_come_from_the_same_split(tmp_path):
    write_idx(tmp_path, n=(240, 30))
    data, grey = load("stacked-mnist", tmp_path, limit=300), load("mnist", tmp_path)
    for split in SPLITS:
        digits = getattr(grey, split)
        label = {x[0].numpy().tobytes(): int(y) for x, y in zip(digits.x, digits.y, strict=True)}
        stacked = getattr(data, split)
        made = [[label[channel.numpy().tobytes()] for channel in x] for x in stacked.x]
        assert [100 * a + 10 * b + c for a, b, c in made] == stacked.y.tolist()


def test_a_limit_is_of_each_split_by_itself():
    whole, part = load("gaussians"), load("gaussians", limit=9)
    for split in SPLITS:
        assert torch.equal(getattr(part, split).x, getattr(whole, split).x[:9])
        assert torch.equal(getattr(part, split).y, getattr(whole, split).y[:9])


def test_ties_of_binarisation():
    """One half is below the threshold, and black stays black whatever the noise."""
    assert binarise(torch.tensor([0.5, 0.50001]), "threshold").tolist() == [0, 1]
    black = torch.zeros(3)
    assert binarise(black, "dynamic", torch.zeros(3)).tolist() == [0, 0, 0]
    assert binarise(black + 1, "dynamic", torch.full((3,), 0.999999)).tolist() == [1, 1, 1]


def test_preparations_by_their_names():
    x, noise = torch.tensor([0.4, 0.6, 1.0]), torch.tensor([0.1, 0.9, 0.5])
    made = {name: p.apply(x, noise if p.needs_noise else None).tolist() for name, p in PREPARATIONS.items()}
    assert made["none"] == x.tolist()
    assert made["threshold"] == [0, 1, 1]
    assert made["dynamic"] == [1, 0, 1]
    assert made["dequantise"] == pytest.approx([(102 + 0.1) / 256, (153 + 0.9) / 256, 255.5 / 256])
