import pytest
import torch

from distmatch.data import PREPARATIONS, binarise, dequantise, to_unit
from distmatch.errors import BadInput


def test_to_unit_covers_zero_to_one():
    x = torch.arange(256, dtype=torch.uint8)
    unit = to_unit(x)
    assert unit.dtype == torch.float32
    assert (unit[0], unit[-1]) == (0, 1)
    assert torch.equal((unit * 255).round().to(torch.uint8), x)


def test_to_unit_refuses_what_is_already_prepared():
    with pytest.raises(BadInput, match="uint8"):
        to_unit(torch.zeros(3))


def test_dynamic_binarisation_is_a_bernoulli_draw():
    noise = torch.rand(200_000, generator=torch.Generator().manual_seed(0))
    for p in (0.0, 0.1, 0.7, 1.0):
        x = torch.full((200_000,), p)
        mean = binarise(x, "dynamic", noise).mean().item()
        assert abs(mean - p) <= 5 * (p * (1 - p) / 200_000) ** 0.5


def test_threshold_and_none():
    x = to_unit(torch.tensor([0, 127, 128, 255], dtype=torch.uint8))
    assert binarise(x, "threshold").tolist() == [0, 0, 1, 1]
    assert binarise(x) is x


def test_unknown_word_and_missing_noise():
    x = torch.rand(2, 3)
    with pytest.raises(BadInput, match="dynamic"):
        binarise(x, "dinamic")
    with pytest.raises(BadInput, match="none was given"):
        binarise(x, "dynamic")
    with pytest.raises(BadInput, match=r"\(3, 2\)"):
        dequantise(x, torch.rand(3, 2))


def test_dequantised_bytes_can_be_recovered_and_cover_the_unit_interval():
    x = torch.arange(256, dtype=torch.uint8).repeat(100)
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)).clamp(max=0.999)
    v = dequantise(to_unit(x), noise)
    assert 0 <= v.min() < 0.001
    assert 0.999 < v.max() <= 1
    assert torch.equal((v * 256).floor().to(torch.uint8), x)
    assert abs(v.mean() - 0.5) < 0.01


@pytest.mark.parametrize("name", PREPARATIONS)
def test_every_preparation_keeps_shape_and_range(name):
    entry = PREPARATIONS[name]
    x = to_unit(torch.randint(256, (4, 1, 3, 3), dtype=torch.uint8))
    out = entry.apply(x, torch.rand(x.shape) if entry.needs_noise else None)
    assert out.shape == x.shape
    assert out.dtype == torch.float32
    assert 0 <= out.min() <= out.max() <= 1
    assert entry.description
    if entry.needs_noise:
        with pytest.raises(BadInput, match="noise"):
            entry.apply(x, None)
