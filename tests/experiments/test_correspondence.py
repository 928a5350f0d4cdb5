"""Correspondence, on networks whose answers are known by construction."""

import numpy as np
import pandas as pd
import pytest

from deconvlib import data
from deconvlib.backend import keras
from deconvlib.experiments import correspondence

RNG = np.random.default_rng(0)
IMAGES = np.zeros((2, 12, 12, 3), np.uint8)


@pytest.fixture(scope="module")
def linear():
    images = keras.Input((16, 16, 1))
    x = keras.layers.Flatten()(images)
    x = keras.layers.Dense(400, name="features", kernel_initializer=keras.initializers.RandomNormal(seed=0))(x)
    return keras.Model(images, keras.layers.Dense(3, activation="softmax", name="softmax")(x))


def test_the_same_part_changes_a_linear_layer_alike_and_random_parts_do_not(linear):
    images = RNG.random((6, 16, 16, 1)).astype(np.float32)
    images[:, 3:8, 5:9] = RNG.random((5, 4, 1))  # the same part in all
    mask = np.zeros((6, 16, 16), bool)
    mask[:, 3:8, 5:9] = True
    table = correspondence.measure(linear, images, {"part": mask, "box": np.tile([3, 5, 8, 9], (6, 1))}, ["features"])
    assert table["part"].tolist() == ["part", "box"] and table["layer"].tolist() == ["features"] * 2
    assert (table["delta"] == 0).all() and (table["deviation"] == 0).all()
    # signs of independent changes differ in half of the units; places drawn at random overlap now and then
    assert table["random"].between(0.4, 0.52).all() and (table["random_deviation"] > 0).all()


def test_delta_of_changes_written_by_hand():
    images = keras.Input((2, 2, 1))
    flat = keras.layers.Flatten(name="flat")(images)
    model = keras.Model(images, keras.layers.Dense(2, activation="softmax")(flat))
    pixels = np.array([[0.9, 0.9, 0.9, 0.9], [0.1, 0.9, 0.5, 0.9], [0.9, 0.1, 0.9, 0.9]], np.float32).reshape(3, 2, 2, 1)
    upper = np.tile([0, 0, 1, 2], (3, 1))
    # signs of the changes: ++00, -+00, +-00: one, one and two of four differ
    row = correspondence.measure(model, pixels, {"upper": upper}, ["flat"], draws=1).loc[0]
    np.testing.assert_allclose([row["delta"], row["deviation"]], [1 / 3, np.std([0.25, 0.25, 0.5])])


def test_a_random_part_keeps_its_form():
    masks = np.zeros((1, 10, 12), bool)
    masks[0, 2:5, 4:6] = [[True, False], [True, True], [False, True]]
    rng = np.random.default_rng(0)
    places = set()
    for _ in range(300):
        (moved,) = correspondence._moved(masks, rng)
        row, column = np.nonzero(moved.any(axis=1))[0][0], np.nonzero(moved.any(axis=0))[0][0]
        np.testing.assert_array_equal(moved[row : row + 3, column : column + 2], masks[0, 2:5, 4:6])
        assert moved.sum() == 4
        places.add((row, column))
    assert {row for row, _ in places} == set(range(8)) and {column for _, column in places} == set(range(11))


def test_the_figure_has_each_part_beside_its_random_one(drawn):
    table = pd.DataFrame({"part": ["eye", "eye", "nose", "nose"], "layer": ["conv1", "dense1"] * 2})
    fig = drawn(
        correspondence.figure(table.assign(delta=[0.1, 0.2, 0.3, 0.4], deviation=0.1, random=0.5, random_deviation=0.1))
    )
    eye, moved, nose, _ = (bars.lines[0] for bars in fig.axes[0].containers)
    assert eye.get_xdata().tolist() == [0.1, 0.2] and nose.get_xdata().tolist() == [0.3, 0.4]
    assert moved.get_xdata().tolist() == [0.5, 0.5] and moved.get_fillstyle() == "none"


def part(model, masks):
    return correspondence.measure(model, IMAGES, {"p": masks}, ["conv1"])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m: correspondence.measure(m, IMAGES[:1], {}, ["conv1"]), "pairs of images; 1 image has none"),
        (lambda m: part(m, np.zeros((2, 12, 12), bool)), "part 'p' is empty in image 0"),
        (lambda m: part(m, np.zeros((2, 12, 11), bool)), r"part 'p' must be booleans \(2, 12, 12\) or integers \(2, 4\)"),
        (lambda m: part(m, np.array([[0, 0, 2, 2], [0, 0, 2, 13]])), r"part 'p' of image 1, \[0, 0, 2, 13\], reaches out"),
        (lambda m: part(m, np.array([[0, 0, 2, 2], [4, 0, 2, 8]])), "part 'p' is empty in image 1"),
    ],
)
def test_refuses(small, call, said):
    with pytest.raises(ValueError, match=said):
        call(small)


def test_parts_are_the_halves_of_the_objects_that_lie_most_alike():
    masks = np.zeros((3, 6, 6), bool)
    masks[0, 1:5, 1:5] = masks[1, 1:5, 1:5] = masks[2, 4:, 4:] = True
    assert correspondence.aligned(masks, 2).tolist() == [0, 1]
    parts = correspondence.halves(masks[:1])
    assert np.argwhere(parts["upper half"][0]).max(axis=0).tolist() == [2, 4]
    assert np.argwhere(parts["right half"][0]).min(axis=0).tolist() == [1, 3]
    assert all(part.sum() == 8 for part in parts.values())


def test_objects_are_the_masks_or_the_middle_of_the_image():
    shapes = data.load("shapes").take(train=1, test=3)
    assert correspondence.objects(shapes) is shapes.masks_test
    digits = data.load("digits").take(train=1, test=3)
    (height, width), found = digits.image_shape[:2], correspondence.objects(digits)
    assert found.shape == (3, height, width) and found[:, height // 2, width // 2].all() and not found[:, 0].any()
