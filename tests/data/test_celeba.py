import pytest
import torch
from PIL import Image

from distmatch.data import load
from distmatch.errors import BadInput

NAMES = ["5_o_Clock_Shadow", "Smiling", "Young"]


def write_celeba(folder, n=8, attributes=True):
    (folder / "img_align_celeba").mkdir(parents=True)
    files = [f"{i:06d}.jpg" for i in range(1, n + 1)]
    for f in files:
        image = Image.new("RGB", (178, 218), (0, 0, 0))
        image.paste((255, 255, 255), (15, 35, 163, 183))  # the centre 148×148
        image.save(folder / "img_align_celeba" / f, quality=95)
    splits = [0] * (n - 4) + [1, 1, 2, 2]
    (folder / "list_eval_partition.txt").write_text(
        "".join(f"{f} {s}\n" for f, s in zip(files, splits, strict=True))
    )
    if attributes:
        lines = [str(n), " ".join(NAMES), *(f"{f}  1 {1 if i % 2 else -1} -1" for i, f in enumerate(files))]
        (folder / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize("where", ["celeba", "."])
def test_partition_crop_and_labels(where, tmp_path):
    write_celeba(tmp_path / "d" / where)
    data = load("celeba", tmp_path / "d")
    assert [len(s) for s in (data.train, data.validation, data.test)] == [4, 2, 2]
    assert data.shape == (3, 64, 64)
    assert (data.train.x.float().mean(dim=(1, 2, 3)) > 250).all()  # nothing of the black border
    assert data.train.y.tolist() == [0, 1, 0, 1]
    assert data.classes == ("not smiling", "smiling")
    assert "148×148" in data.bits
    small = load("celeba", tmp_path / "d", size=32, limit=1)
    assert small.test.x.shape == (1, 3, 32, 32)


def test_without_attributes_there_are_no_labels(tmp_path):
    data = load("celeba", write_celeba(tmp_path / "d", attributes=False))
    assert data.train.y is None
    assert data.num_classes == 0
    assert data.train.x.dtype == torch.uint8


def test_it_is_never_downloaded(cache, sentence):
    with pytest.raises(BadInput) as caught:
        load("celeba")
    sentence(caught, "img_align_celeba", "list_eval_partition.txt", cache / "celeba")


@pytest.mark.parametrize(
    ("file", "text", "words"),
    [
        ("list_eval_partition.txt", None, "does not exist"),
        ("list_eval_partition.txt", "", "names no picture"),
        ("list_eval_partition.txt", "000001.jpg 3\n", "000001.jpg 3"),
        ("list_eval_partition.txt", "../../secret.jpg 0\n", "secret"),
        ("list_eval_partition.txt", "000001.jpg 0\n000002.jpg 1\n999999.jpg 2\n", "does not exist"),
        ("list_attr_celeba.txt", "8\nBald Young\n000001.jpg 1 1\n", "Smiling"),
        ("list_attr_celeba.txt", "8\nBald Smiling\n000001.jpg 1\n", "broken line"),
        ("list_attr_celeba.txt", "8\nBald Smiling\n000001.jpg 1 1\n", "no line for"),
    ],
)
def test_damaged_lists(file, text, words, tmp_path, sentence):
    path = write_celeba(tmp_path / "d") / file
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(BadInput) as caught:
        load("celeba", tmp_path / "d")
    sentence(caught, tmp_path / "d", words)


def test_picture_that_is_too_small(tmp_path, sentence):
    root = write_celeba(tmp_path / "d")
    Image.new("RGB", (64, 64)).save(root / "img_align_celeba" / "000002.jpg")
    with pytest.raises(BadInput) as caught:
        load("celeba", root)
    sentence(caught, "000002.jpg", "too small")
