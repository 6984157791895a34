import json

import numpy as np
import pytest
import torch

from distmatch import cli
from distmatch.data import load
from distmatch.errors import BadInput
from distmatch.revision import revision
from distmatch.runs.external import diagnose, model_of, read_samples

DIGITS = load("digits")
BYTES = DIGITS.train.x[:400]
UNIT = BYTES.float().numpy() / 255


@pytest.fixture
def saved(tmp_path):
    def save(array, name="images.npy"):
        np.save(tmp_path / name, array)
        return tmp_path / name

    return save


@pytest.mark.parametrize(
    "array",
    [
        BYTES.numpy(),
        BYTES[:, 0].numpy(),
        BYTES.movedim(1, -1).numpy(),
        UNIT,
        UNIT.astype(np.float64),
        2 * UNIT - 1,
    ],
    ids=["bytes", "no channel", "channels last", "unit", "float64", "symmetric"],
)
def test_every_usual_layout_and_range_is_read_as_the_same_images(saved, array):
    x, note = read_samples(saved(array), DIGITS)
    assert torch.allclose(x, torch.from_numpy(UNIT), atol=1e-6)
    assert ("[-1, 1]" in note) == (array.min() < 0)


def test_an_archive_with_one_array_is_read_and_one_with_two_is_refused(tmp_path):
    np.savez(tmp_path / "one.npz", images=BYTES.numpy())
    assert len(read_samples(tmp_path / "one.npz", DIGITS)[0]) == 400
    np.savez(tmp_path / "two.npz", a=BYTES.numpy(), b=BYTES.numpy())
    with pytest.raises(BadInput, match="2 arrays"):
        read_samples(tmp_path / "two.npz", DIGITS)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (255 * UNIT, "values from 0 to 255"),
        (np.full_like(UNIT, np.nan), "NaN"),
        (UNIT[:1], "holds 1 samples"),
        (np.zeros((5, 1, 9, 9)), "needs \\(n, 1, 8, 8\\)"),
        (np.array(["a", "b"]), "give numbers"),
        (np.array([{}, {}]), "no .npy or .npz file of numbers"),
    ],
)
def test_what_cannot_be_samples_is_refused_in_a_sentence(saved, array, words):
    with pytest.raises(BadInput, match=words):
        read_samples(saved(array), DIGITS)


def test_a_text_file_is_refused(tmp_path):
    (tmp_path / "images.npy").write_text("hello")
    with pytest.raises(BadInput, match=r"no \.npy or \.npz file"):
        read_samples(tmp_path / "images.npy", DIGITS)


def test_more_samples_than_there_are_cannot_be_had():
    sample = model_of(torch.rand(10, 1, 8, 8), DIGITS).sample
    assert sorted(sample(10, 3).flatten(1).sum(1).tolist()) != sample(10, 3).flatten(1).sum(1).tolist()
    with pytest.raises(BadInput, match="needs 11 samples; the file holds 10"):
        sample(11, 0)


def test_points_of_a_known_mixture_are_measured(saved, tmp_path):
    points = load("ring").train.x[:3000].numpy()
    results, notes = diagnose(
        saved(points), "ring", None, tmp_path / "out", only=["mode_coverage"], samples=3000
    )
    assert results.metrics["modes"].value == 8
    assert notes == []
    kept = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert kept["metrics"]["modes"]["value"] == 8
    assert (kept["n"], kept["revision"]) == (3000, revision())


def test_the_command_prints_the_numbers_and_writes_the_page(saved, tmp_path, capsys):
    path = saved(BYTES.numpy())
    words = ["diagnose", "--samples", str(path), "--data", "digits", "--only", "ms_ssim_diversity"]
    assert cli.run([*words, "--out", str(tmp_path / "out")]) == 0
    assert "ms_ssim_diversity_fixed" in capsys.readouterr().out
    page = (tmp_path / "out" / "report.html").read_text()
    assert "ms_ssim_diversity_rescaled" in page
    assert "data:image/png" in page


def test_bad_samples_leave_nothing_behind(saved, tmp_path):
    with pytest.raises(BadInput):
        diagnose(saved(UNIT[:, :, 1:]), "digits", None, tmp_path / "out")
    assert not (tmp_path / "out").exists()
