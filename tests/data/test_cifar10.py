import pytest
import torch

from data.fakes import batches, picture, records, write_archive, write_parquet
from distmatch.data import load
from distmatch.errors import BadInput

ARCHIVE = "cifar-10-binary.tar.gz"


def sizes(data):
    return [len(s) for s in (data.train, data.validation, data.test)]


def write_unpacked(folder, files):
    folder.mkdir(parents=True)
    for name, body in files.items():
        (folder / name).write_bytes(body)


@pytest.mark.parametrize("where", ["cifar10", "."])
def test_archive_and_unpacked_files_agree(where, tmp_path):
    (tmp_path / "a" / where).mkdir(parents=True, exist_ok=True)
    write_archive(tmp_path / "a" / where / ARCHIVE, batches())
    write_unpacked(tmp_path / "b" / where / "cifar-10-batches-bin", batches())
    one, two = load("cifar10", tmp_path / "a"), load("cifar10", tmp_path / "b")
    assert sizes(one) == sizes(two) == [18, 2, 4]
    assert torch.equal(one.train.x, two.train.x)
    assert one.shape == (3, 32, 32)
    assert torch.equal(one.test.x.flatten(1), torch.from_numpy(records(4, 5)[:, 1:]))
    assert one.test.y.tolist() == [0, 1, 2, 3]
    assert "checksum differs" in one.bits
    assert "not checked" in two.bits
    assert load("cifar10", tmp_path / "b" / where / "cifar-10-batches-bin").num_classes == 10


def test_damaged_archive(tmp_path, sentence):
    path = tmp_path / ARCHIVE
    write_archive(path, batches())
    whole = path.read_bytes()
    for body in (
        whole[:-2000],
        whole[:5000],
        b"",
        b"no archive at all",
        whole[:3000] + b"\0" * 500 + whole[3500:],
    ):
        path.write_bytes(body)
        with pytest.raises(BadInput) as caught:
            load("cifar10", tmp_path)
        sentence(caught, path, "fetch it again")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "truncated"),
        (records(2).tobytes()[:-1], "truncated"),
        (bytes([77]) * 3073, "the label 77"),
        (None, "holds no"),
    ],
)
def test_damaged_batches(body, words, tmp_path, sentence):
    files = batches()
    files["data_batch_3.bin"] = body
    if body is None:
        del files["data_batch_3.bin"]
    write_archive(tmp_path / ARCHIVE, files)
    with pytest.raises(BadInput) as caught:
        load("cifar10", tmp_path)
    sentence(caught, "data_batch_3.bin", tmp_path / ARCHIVE, words)


def write_pair(folder, kind="PNG", column="image"):
    folder.mkdir(exist_ok=True)
    for split, n in (("train", 20), ("test", 6)):
        bodies = [picture(colour=(10 * i, 0, 200), kind=kind) for i in range(n)]
        write_parquet(folder / f"{split}.parquet", bodies, [i % 10 for i in range(n)], column)


@pytest.mark.parametrize("column", ["image", "img"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_parquet(kind, column, tmp_path, cache):
    write_pair(tmp_path / "d", kind, column)
    data = load("cifar10", tmp_path / "d")
    assert sizes(data) == [18, 2, 6]
    assert data.bits.startswith(
        "CIFAR-10 (JPEG), not" if kind == "JPEG" else "CIFAR-10 in Parquet, not checked"
    )
    kept = {p: p.stat().st_mtime_ns for p in cache.rglob("*")}
    assert torch.equal(load("cifar10", tmp_path / "d").train.x, data.train.x)
    assert {p: p.stat().st_mtime_ns for p in cache.rglob("*")} == kept
    assert not list(cache.rglob("*.tmp"))
    if kind == "PNG":
        for split in (data.train, data.test):
            red = split.x[:, 0, 0, 0].int() // 10
            assert torch.equal(red % 10, split.y.int())
            assert (split.x[:, 2] == 200).all()
    part = load("cifar10", tmp_path / "d", limit=4)
    assert sizes(part) == [4, 2, 4]
    assert torch.equal(part.train.x, data.train.x[:4])
    assert torch.equal(part.train.y, data.train.y[:4])


def test_damaged_parquet(tmp_path, sentence):
    write_pair(tmp_path)
    path = tmp_path / "train.parquet"
    whole = path.read_bytes()
    for body in (whole[:-40], whole[:100], b"", b"PAR1 but nothing of it"):
        path.write_bytes(body)
        with pytest.raises(BadInput) as caught:
            load("cifar10", tmp_path)
        sentence(caught, path, "fetch it again")


@pytest.mark.parametrize(
    ("bodies", "labels", "column", "words"),
    [
        ([picture(), b"no picture"], [0, 1], "image", "damaged or not an image"),
        ([picture(), picture(kind="JPEG")[:-300]], [0, 1], "image", "damaged or not an image"),
        ([picture(), picture((31, 32))], [0, 1], "image", "31×32"),
        ([picture(), picture()], [0, 10], "image", "label 10"),
        ([picture(), picture()], [0, None], "image", "label None"),
        ([picture(), None], [0, 1], "image", "no encoded picture"),
        ([picture(), picture()], [0, 1], "photo", "photo, label"),
        ([picture()], [0], "image", "at least 2"),
    ],
)
def test_foreign_rows(bodies, labels, column, words, tmp_path, cache, sentence):
    write_pair(tmp_path)
    write_parquet(tmp_path / "train.parquet", bodies, labels, column)
    with pytest.raises(BadInput) as caught:
        load("cifar10", tmp_path)
    sentence(caught, tmp_path / "train.parquet", words)
    assert not list(cache.rglob("*.tmp"))


def test_one_parquet_is_missing(tmp_path, sentence):
    write_pair(tmp_path)
    (tmp_path / "test.parquet").unlink()
    with pytest.raises(BadInput) as caught:
        load("cifar10", tmp_path)
    sentence(caught, tmp_path, "lacks test.parquet")


def test_real_jpegs(shared_data):
    data = load("cifar10", shared_data / "cifar10-jpeg", limit=300)
    assert data.bits == "CIFAR-10 (JPEG), not the original bits"
    assert sizes(data) == [300, 300, 300]
    assert len(data.train.y.unique()) == 10
    assert abs(data.train.x.float().mean() - 121) < 6
