"""Pixels of the grids, and files that are whole or absent."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from distmatch.errors import BadInput
from distmatch.reports import grids


def test_every_pixel_is_where_it_belongs():
    x = torch.rand(5, 1, 4, 3, generator=torch.Generator().manual_seed(0))
    image = np.asarray(grids.image_grid(x, columns=3, scale=2, gap=1))
    assert image.shape == (2 * (2 * 4 + 1), 2 * (3 * 3 + 2))
    for i in range(5):
        top, left = 2 * (i // 3) * 5, 2 * (i % 3) * 4
        tile = image[top : top + 8, left : left + 6]
        expected = np.rint(x[i, 0].double().numpy() * 255).repeat(2, 0).repeat(2, 1)
        np.testing.assert_array_equal(tile, expected)
    assert (image[8:10] == 255).all()  # the gap between the rows
    assert (image[10:, 16:] == 255).all()  # the empty place at the end


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "L"), (3, "RGB"), (5, "RGB")])
def test_channels(channels, mode):
    assert grids.image_grid(np.full((1, channels, 2, 2), 0.5)).mode == mode


@pytest.mark.parametrize(("side", "enlarged"), [(8, 56), (28, 56), (64, 64), (128, 128)])
def test_small_images_are_enlarged(side, enlarged):
    assert grids.image_grid(np.zeros((1, 1, side, side))).size == (enlarged, enlarged)


def test_reconstructions_stand_under_their_originals():
    x = np.arange(6).reshape(6, 1, 1, 1) / 10
    image = np.asarray(grids.reconstruction_grid(x, x + 0.4, columns=4, scale=1, gap=1))
    assert image.shape == (1 + 1 + 1 + 4 + 1 + 1 + 1, 7)
    np.testing.assert_array_equal(image[0, ::2], np.rint(25.5 * np.arange(4)))
    np.testing.assert_array_equal(image[2, ::2], np.rint(25.5 * (np.arange(4) + 4)))
    np.testing.assert_array_equal(image[7, :3:2], np.rint(25.5 * np.array([4, 5])))
    np.testing.assert_array_equal(image[9, :3:2], np.rint(25.5 * np.array([8, 9])))


def test_broken_pixels_are_shown_and_outliers_clipped():
    x = np.array([[[[np.nan, -0.5, 1.5, 0.0]]]])
    image = np.asarray(grids.image_grid(x, scale=1))
    np.testing.assert_array_equal(image[0], [grids.NOT_A_NUMBER, (0,) * 3, (255,) * 3, (0,) * 3])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((3, 28, 28)), "channels, height, width"),
        (np.zeros((0, 1, 2, 2)), "at least one"),
        (np.full((1, 1, 2, 2), 200, dtype=np.uint8), "divide by 255"),
    ],
)
def test_bad_images(images, message):
    with pytest.raises(BadInput, match=message):
        grids.image_grid(images)
    with pytest.raises(BadInput, match="differ in shape"):
        grids.reconstruction_grid(np.zeros((2, 1, 2, 2)), np.zeros((3, 1, 2, 2)))
    with pytest.raises(BadInput, match="columns is 0"):
        grids.image_grid(np.zeros((2, 1, 2, 2)), columns=0)


def test_save_png(tmp_path):
    grids.save_png(grids.image_grid(np.zeros((1, 1, 2, 2))), tmp_path / "deep" / "a.png")
    assert Image.open(io.BytesIO((tmp_path / "deep" / "a.png").read_bytes())).size == (56, 56)
