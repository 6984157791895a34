"""A cache of its own for every test, and the real data where it is at hand."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("DISTMATCH_DATA", str(folder))
    return folder


@pytest.fixture
def shared_data():
    if not SHARED.is_dir():
        pytest.skip(f"the real data is not at {SHARED.name}/ beside the repository's folder")
    return SHARED


@pytest.fixture
def sentence():
    """What every `BadInput` of this room must be: one sentence with a remedy, which holds these words."""

    def check(caught, *words):
        text = str(caught.value)
        assert "\n" not in text
        assert ";" in text, f"no remedy in {text!r}"
        for word in words:
            assert str(word) in text, f"{word!r} is not in {text!r}"

    return check
