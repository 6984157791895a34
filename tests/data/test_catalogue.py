import pytest
import torch

from data.fakes import write_idx
from distmatch.data import DATA_SETS, cache_folder, load
from distmatch.errors import BadInput


def test_every_entry_says_what_it_is():
    for name, entry in DATA_SETS.items():
        assert name == name.lower()
        assert "_" not in name
        assert entry.description
        assert entry.shape
        assert entry.licence


def test_digits():
    data = load("digits")
    assert data.shape == (1, 8, 8)
    assert data.train.x.dtype == torch.uint8
    assert [len(s) for s in (data.train, data.validation, data.test)] == [1297, 200, 300]
    assert (int(data.train.x.min()), int(data.train.x.max())) == (0, 255)
    assert set(data.train.y.tolist()) == set(range(10))
    assert data.classes == tuple("0123456789")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"name": "mnits"}, "did you mean 'mnist'"),
        ({"name": "digits", "limit": 0}, "limit is 0; give"),
        ({"name": "ring", "seed": -1}, "seed is -1; give"),
        ({"name": "digits", "size": 32}, "leave size out"),
        ({"name": "folder", "size": 0}, "size is 0; give"),
    ],
)
def test_impossible_arguments(arguments, words):
    with pytest.raises(BadInput, match=words):
        load(**arguments)


def test_limit_keeps_the_first_of_every_split():
    whole, part = load("digits"), load("digits", limit=250)
    assert [len(s) for s in (part.train, part.validation, part.test)] == [250, 200, 250]
    assert torch.equal(part.test.x, whole.test.x[:250])
    assert torch.equal(part.test.y, whole.test.y[:250])


@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "celeba", "color-mnist", "folder"])
def test_data_folder_that_is_none(name, tmp_path, sentence):
    with pytest.raises(BadInput) as caught:
        load(name, tmp_path / "nowhere")
    sentence(caught, tmp_path / "nowhere", "does not exist", "--data-dir")
    (tmp_path / "file").write_text("x")
    with pytest.raises(BadInput) as caught:
        load(name, tmp_path / "file")
    sentence(caught, tmp_path / "file", "is a file, not a folder")


@pytest.mark.parametrize(
    "name", ["mnist", "fashion-mnist", "cifar10", "celeba", "color-mnist", "stacked-mnist"]
)
def test_empty_folder_says_what_to_put_where(name, tmp_path, sentence):
    with pytest.raises(BadInput) as caught:
        load(name, tmp_path)
    sentence(caught, "no files found", tmp_path, "put ")


def test_cache_folder_is_the_environments_or_the_platforms(cache, monkeypatch):
    assert cache_folder() == cache
    monkeypatch.delenv("DISTMATCH_DATA")
    assert cache_folder().name == "distmatch"


def test_files_put_in_the_cache_by_hand_need_no_download(cache):
    write_idx(cache / "mnist")
    assert len(load("mnist").test) == 10
