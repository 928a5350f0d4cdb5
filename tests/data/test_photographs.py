"""Photographs of packages and of files, and the data set of their tiles."""

import numpy as np
import pytest
from PIL import Image

from deconvlib import data


def test_a_photograph_is_cut_to_its_proportions():
    whole = data.photograph("coffee")
    assert whole.shape == (400, 600, 3) and whole.dtype == np.uint8
    square = data.photograph("coffee", (400, 400))
    np.testing.assert_array_equal(square, whole[:, 100:500])
    assert data.photograph("coffee", (20, 50)).shape == (20, 50, 3)


def test_a_file_stands_upright_and_opaque(tmp_path):
    pixels = np.zeros((4, 6, 4), np.uint8)
    pixels[0, 0] = (255, 0, 0, 255)  # the rest is transparent
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    Image.fromarray(pixels).save(tmp_path / "one.png", exif=exif)
    found = data.photograph(tmp_path / "one.png")
    assert found.shape == (6, 4, 3) and found[0, 3].tolist() == [255, 0, 0] and found[5, 0].tolist() == [255, 255, 255]
    Image.fromarray(np.full((5, 5), 7, np.uint8)).save(tmp_path / "grey.bmp")
    assert (data.photograph(tmp_path / "grey.bmp", (2, 2)) == 7).all()


def test_what_is_no_photograph_is_told(tmp_path):
    with pytest.raises(ValueError, match=r"there is no file cofee, and photograph 'cofee' is not known; did you mean 'coffee'"):
        data.photograph("cofee")
    (tmp_path / "one.jpg").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"one\.jpg is not a readable image"):
        data.photograph(tmp_path / "one.jpg")


def test_tiles_of_the_left_train_and_those_of_the_right_test():
    dataset = data.load("photographs", image_size=32)
    assert dataset.image_shape == (32, 32, 3) and dataset.class_names == tuple(data.PHOTOGRAPHS)
    assert set(dataset.class_counts()) == {100} and set(np.bincount(dataset.y_test)) <= {33, 34}
    again, other = data.load("photographs", image_size=32), data.load("photographs", image_size=32, seed=1)
    np.testing.assert_array_equal(again.x_train, dataset.x_train)
    assert (other.x_train != dataset.x_train).any()
    assert data.load("photographs").image_shape == (96, 96, 3)


def test_no_pixel_is_in_both_parts(monkeypatch):
    """Of a photograph whose values are its columns."""
    ramp = np.repeat(np.broadcast_to(np.arange(200, dtype=np.uint8), (100, 200))[..., None], 3, axis=2)
    monkeypatch.setattr("deconvlib.data.photographs.photograph", lambda name: ramp)
    dataset = data.load("photographs", image_size=16)
    assert dataset.x_train.max() < 120 <= dataset.x_test.min()
