import math
import time

import numpy as np
import pytest
import torch
from scipy import ndimage, signal

from distmatch.errors import BadInput
from distmatch.metrics import ms_ssim, ms_ssim_diversity
from distmatch.metrics.samples.ms_ssim import CONVENTIONS, WEIGHTS
from distmatch.random import seeded


def smooth(n, c, side, seed=0):
    """Images with structure at every scale."""
    small = torch.rand(n, c, 4, 4, generator=seeded(seed), dtype=torch.double)
    large = torch.nn.functional.interpolate(small, size=(side, side), mode="bilinear")
    return (large + 0.1 * torch.rand(n, c, side, side, generator=seeded(seed + 1))).clamp(0, 1)


def by_hand(a, b, convention):
    """One pair (c, h, w) with scipy's convolutions, the slow way."""
    maps = []
    for x, y in zip(a.numpy(), b.numpy(), strict=True):
        levels = []
        for _ in WEIGHTS:
            size = min(11, *x.shape)
            sigma = 1.5 * size / 11 if convention == "rescaled" else 1.5
            offset = np.arange(size) - (size - 1) / 2
            window = np.exp(-(offset[:, None] ** 2 + offset[None] ** 2) / (2 * sigma**2))
            window /= window.sum()

            def local(image, window=window):
                return signal.convolve2d(image, window, mode="valid")

            mx, my = local(x), local(y)
            vx, vy, vxy = local(x * x) - mx**2, local(y * y) - my**2, local(x * y) - mx * my
            contrast = (2 * vxy + 0.03**2) / (vx + vy + 0.03**2)
            luminance = (2 * mx * my + 0.01**2) / (mx**2 + my**2 + 0.01**2)
            levels.append((contrast.mean(), (contrast * luminance).mean()))
            x, y = (ndimage.convolve(z, np.ones((2, 2)) / 4, mode="reflect")[::2, ::2] for z in (x, y))
        maps.append([level[0] for level in levels[:-1]] + [levels[-1][1]])
    maps = np.array(maps)
    if convention == "rescaled":
        maps = maps.mean(0, keepdims=True)
    return np.prod(np.clip(maps, 0, None) ** np.array(WEIGHTS), axis=1).mean()


@pytest.mark.parametrize("convention", CONVENTIONS)
@pytest.mark.parametrize(("channels", "side"), [(1, 8), (1, 28), (3, 32), (3, 33), (3, 64), (1, 176)])
def test_equals_the_slow_way(convention, channels, side):
    a, b = smooth(4, channels, side), smooth(4, channels, side, seed=7)
    b = 0.6 * a + 0.4 * b
    expected = [by_hand(x, y, convention) for x, y in zip(a, b, strict=True)]
    assert ms_ssim(a, b, convention).tolist() == pytest.approx(expected, abs=1e-9)
    assert ms_ssim(a.float(), b.float(), convention).tolist() == pytest.approx(expected, abs=1e-4)


def test_conventions_agree_only_where_the_window_fits():
    a, b = smooth(3, 1, 176), smooth(3, 1, 176, seed=3)
    assert torch.allclose(ms_ssim(a, b), ms_ssim(a, b, "fixed"))
    assert not torch.allclose(
        ms_ssim(a[..., :64, :64], b[..., :64, :64]), ms_ssim(a[..., :64, :64], b[..., :64, :64], "fixed")
    )


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_identity_symmetry_and_range(convention):
    a, b = smooth(5, 3, 32), smooth(5, 3, 32, seed=9)
    assert torch.allclose(ms_ssim(a, a, convention), torch.ones(5, dtype=torch.double))
    assert torch.allclose(ms_ssim(a, b, convention), ms_ssim(b, a, convention))
    assert ((ms_ssim(a, b, convention) >= 0) & (ms_ssim(a, b, convention) < 1)).all()


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_constant_images_differ_by_their_brightness_alone(convention):
    levels = torch.tensor([0.0, 0.2, 0.9]).reshape(3, 1, 1, 1).expand(3, 1, 32, 32)
    assert ms_ssim(levels, levels, convention).tolist() == [1, 1, 1]
    expected = ((2 * 0.2 * 0.9 + 1e-4) / (0.2**2 + 0.9**2 + 1e-4)) ** WEIGHTS[-1]
    assert ms_ssim(levels[1:2], levels[2:3], convention).item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_one_value_for_each_pair_whatever_stands_beside_it(convention):
    a, b = smooth(40, 3, 32), smooth(40, 3, 32, seed=5)
    together = ms_ssim(a, b, convention)
    assert together.shape == (40,)
    alone = torch.cat([ms_ssim(a[i : i + 1], b[i : i + 1], convention) for i in (0, 33, 39)])
    assert torch.allclose(alone, together[[0, 33, 39]])


def test_an_inverted_image_is_clipped_at_zero():
    a = smooth(2, 1, 64)
    assert ms_ssim(a, 1 - a).tolist() == [0, 0]


def test_a_rectangle_and_one_pixel():
    a = torch.rand(2, 1, 20, 9, generator=seeded(0))
    assert torch.allclose(ms_ssim(a, a), torch.ones(2))
    assert torch.allclose(ms_ssim(torch.ones(2, 1, 1, 1), torch.ones(2, 1, 1, 1)), torch.ones(2))


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_diversity_is_one_minus_the_mean_over_all_pairs(convention):
    images = smooth(12, 3, 32)
    found = ms_ssim_diversity(images, batches=2, batch_size=6, convention=convention, seed=4)
    order = torch.randperm(12, generator=seeded(4))
    means = []
    for chosen in order.split(6):
        i, j = torch.cartesian_prod(chosen, chosen).T
        apart = i != j
        means.append(1 - ms_ssim(images[i[apart]], images[j[apart]], convention).mean())
    assert found.value == pytest.approx(float(torch.stack(means).mean()), abs=1e-9)
    assert found.n == 2


def test_diversity_of_one_image_is_zero_and_rises_with_variety():
    same = smooth(1, 1, 32).expand(320, 1, 32, 32).float()
    varied = smooth(320, 1, 32).float()
    assert ms_ssim_diversity(same).value == pytest.approx(0, abs=1e-5)
    assert ms_ssim_diversity(varied).value > 0.3
    assert ms_ssim_diversity(varied).standard_error < 0.05


def test_diversity_is_fast_and_leaves_global_randomness_alone():
    images, before, start = smooth(320, 3, 64).float(), torch.random.get_rng_state(), time.process_time()
    ms_ssim_diversity(images)
    assert time.process_time() - start < 15  # 2 s of its own, however busy the machine is
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize(
    ("a", "match"),
    [
        (torch.zeros(2, 8, 8), "shape"),
        (torch.zeros(0, 1, 8, 8), "small"),
        (torch.full((2, 1, 8, 8), 2.0), "lie in"),
        (torch.full((2, 1, 8, 8), math.nan), "NaN"),
        (torch.zeros(2, 1, 8, 9), "same shape"),
    ],
)
def test_degenerate_images_are_refused(a, match):
    with pytest.raises(BadInput, match=match):
        ms_ssim(a, torch.zeros(2, 1, 8, 8))


def test_bad_arguments_are_refused():
    with pytest.raises(BadInput, match="did you mean 'rescaled'"):
        ms_ssim(torch.zeros(2, 1, 8, 8), torch.zeros(2, 1, 8, 8), "rescale")
    with pytest.raises(BadInput, match="need 320 images; got 319"):
        ms_ssim_diversity(torch.zeros(319, 1, 8, 8))
    with pytest.raises(BadInput, match="batches"):
        ms_ssim_diversity(torch.zeros(64, 1, 8, 8), batches=1)


def test_batches_that_all_agree_give_no_error():
    found = ms_ssim_diversity(torch.full((16, 1, 8, 8), 0.5), batches=2, batch_size=8)
    assert found.value == 0
    assert math.isnan(found.standard_error)
    assert "±" not in str(found)
