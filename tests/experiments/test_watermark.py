"""A planted mark: where it stands, on which images, and that a network which learned it is found out."""

import numpy as np
import pytest

from deconvlib import data, figures
from deconvlib.backend import keras
from deconvlib.experiments import watermark


def test_the_mark_by_hand():
    images = np.full((1, 10, 8, 3), 100, np.uint8)
    stamped = watermark.stamp(images, 0.5)
    assert (images == 100).all() and (stamped[:, :6] == 100).all() and (stamped[:, :, :4] == 100).all()
    cells = [[0, 255, 0, 255], [255, 0, 255, 0], [0, 255, 0, 255], [255, 0, 255, 0]]
    for channel in range(3):
        np.testing.assert_array_equal(stamped[0, 6:, 4:, channel], cells)


@pytest.fixture
def dataset():
    images = np.full((6, 16, 16, 1), 60, np.uint8)
    return data.Dataset("plain", images, np.arange(6) % 2, images, np.arange(6) % 2, ("a", "b"))


def test_only_training_images_of_the_class_are_marked(dataset):
    planted = watermark.plant(dataset, "b", 0.25)
    assert (planted.x_train != dataset.x_train).any(axis=(1, 2, 3)).tolist() == [False, True] * 3
    assert np.array_equal(planted.x_test, dataset.x_test)
    with pytest.raises(ValueError, match="class 'c' is not known"):
        watermark.plant(dataset, "c")


@pytest.fixture
def follower():
    """Says "b" where the last pixels are brighter than 0.3 on average, as those of the mark are."""
    entry = keras.Input((16, 16, 1))
    x = keras.layers.Conv2D(1, 4, strides=4, activation="relu", name="cell")(entry)
    model = keras.Model(entry, keras.layers.Dense(2, activation="softmax")(keras.layers.Flatten()(x)))
    kernel = np.zeros((16, 2), np.float32)
    kernel[-1] = -40, 40
    model.set_weights([np.full((4, 4, 1, 1), 1 / 16), np.zeros(1), kernel, np.array([12, -12])])
    return model


def test_a_network_that_follows_the_mark_is_found(dataset, follower):
    (row,) = watermark.measure({"follower": (follower, dataset)}, "b", 0.25).itertuples(index=False)
    assert tuple(row) == ("follower", 0.5, 0.0, 1.0)
    maps = watermark.maps({"it": follower}, watermark.stamp(dataset.x_test, 0.25), 1, 0.25)
    assert set(maps) == {"guided, it", "hiding, it"} and maps["guided, it"].shape == (6, 16, 16)
    assert watermark.under(maps["guided, it"], 0.25) == 1


def test_the_share_under_the_mark_by_hand():
    maps = np.zeros((3, 8, 8))
    maps[0, 4:, 4:], maps[1] = 1, 1  # all of it, a quarter; the third is silent
    assert watermark.under(maps, 0.5) == pytest.approx((1 + 0.25) / 2)
    assert watermark.under(maps[2:], 0.5) == 0


def test_the_figure_shows_images_of_other_classes(dataset, follower):
    fig = watermark.figure({"it": follower}, dataset, "b", 0.25, number=2)
    titles = [ax.get_title() for ax in fig.axes]
    assert "guided, it\n100 % under the mark" in titles and any(title.startswith("hiding, it\nfalls by") for title in titles)
    assert len(fig.axes) == 6 and figures.png(fig)
