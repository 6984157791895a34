import pytest
import torch

from distmatch.data import load

MIXTURES = {"ring": (8, 0.01), "grid": (25, 0.05), "gaussians": (5, 0.2)}


@pytest.mark.parametrize("name", [*MIXTURES, "lines"])
def test_sizes_types_and_seeds(name):
    before = torch.get_rng_state()
    data = load(name)
    assert torch.equal(torch.get_rng_state(), before)
    assert [len(s) for s in (data.train, data.validation, data.test)] == [50_000, 5_000, 10_000]
    assert data.train.x.dtype == torch.float32
    assert data.train.y.dtype == torch.int64
    assert not data.is_image
    assert data.shape == (2,)
    assert torch.equal(data.train.x, load(name).train.x)
    assert not torch.equal(data.train.x, load(name, seed=1).train.x)
    assert not torch.equal(data.train.x[:5_000], data.validation.x)
    assert torch.equal(data.train.x[:7], load(name, limit=7).train.x)


@pytest.mark.parametrize(("name", "k", "sigma"), [(n, *v) for n, v in MIXTURES.items()])
def test_mixture_has_its_modes_weights_and_width(name, k, sigma):
    data = load(name)
    assert data.modes.shape == (k, 2)
    assert data.mode_scale == sigma
    assert data.num_classes == k
    assert len({tuple(c) for c in data.modes.tolist()}) == k
    residual = (data.train.x - data.modes[data.train.y]) / sigma
    assert abs(residual.mean()) < 0.02
    assert abs(residual.std() - 1) < 0.02
    counts = data.train.y.bincount(minlength=k)
    assert ((counts - 50_000 / k).abs() < 5 * (50_000 / k) ** 0.5).all()
    high_quality = (torch.cdist(data.train.x, data.modes).min(dim=1).values < 3 * sigma).double().mean()
    assert abs(high_quality - 0.98889) < 0.003  # 1 - exp(-9/2), the ceiling of every sampler


def test_centres():
    assert torch.allclose(load("ring").modes.norm(dim=1), torch.ones(8))
    assert sorted(set(load("grid").modes.flatten().tolist())) == [-4, -2, 0, 2, 4]
    assert {tuple(c) for c in load("gaussians").modes.tolist()} == {
        (0, 0),
        (2, 2),
        (2, -2),
        (-2, 2),
        (-2, -2),
    }


def test_lines_are_disjoint_and_without_width():
    data = load("lines")
    x, y = data.train.x, data.train.y
    assert torch.equal(x[:, 0], 2.0 * y - 1)
    assert x[:, 1].abs().max() <= 1
    assert data.modes is None
    assert data.num_classes == 2
