"""Generated images and scenes: what lies where in them, and that they repeat."""

import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from deconvlib import data


def test_shapes_are_images_with_masks_that_repeat_from_a_seed(shapes):
    assert shapes.image_shape == (32, 32, 3) and shapes.num_classes == 10
    assert np.bincount(shapes.y_train).tolist() == [200] * 10
    again = data.shapes(2000, 500)
    np.testing.assert_array_equal(shapes.x_train, again.x_train)
    few = data.shapes(10, 500)
    np.testing.assert_array_equal(few.x_test, shapes.x_test)  # streams are independent
    assert not np.array_equal(few.x_train, data.shapes(10, 1, seed=1).x_train)


def test_shapes_are_drawn_once_for_a_seed(cache, monkeypatch):
    drawn, module = [], sys.modules["deconvlib.data.shapes"]
    draw = data.shapes
    monkeypatch.setattr(module, "shapes", lambda seed: drawn.append(seed) or draw(20, 10, seed))
    first, again, other = data.load("shapes"), data.load("shapes"), data.load("shapes", seed=1)
    assert drawn == [0, 1]
    for name, value in vars(draw(20, 10)).items():
        np.testing.assert_array_equal(getattr(first, name), value)
        np.testing.assert_array_equal(getattr(again, name), value)
    assert (other.x_train != first.x_train).any()
    for file in cache.iterdir():
        file.write_bytes(file.read_bytes()[:-50])  # cut short
    np.testing.assert_array_equal(data.load("shapes").masks_test, first.masks_test)
    assert drawn == [0, 1, 0] and len(list(cache.iterdir())) == 2


def test_masks_lie_on_the_object(shapes):
    share = shapes.masks_train.mean(axis=(1, 2))
    assert share.min() > 0.02 and share.max() < 0.6
    pixels = shapes.x_train[0].astype(float)
    inside, outside = pixels[shapes.masks_train[0]].mean(axis=0), pixels[~shapes.masks_train[0]].mean(axis=0)
    assert np.linalg.norm(inside - outside) > 50


@pytest.mark.filterwarnings(
    "ignore:lbfgs failed to converge"
)  # twenty steps find a planted leak: a corner tinted by class tests at 0.66
def test_shapes_are_hard_for_a_linear_model(shapes):
    # measured with all 10,000 training images and 100 steps: 0.18 on the test images, 0.33 on the training images
    flat = [images.reshape(len(images), -1) / np.float32(255) for images in (shapes.x_train, shapes.x_test)]
    linear = LogisticRegression(max_iter=20, C=0.01).fit(flat[0], shapes.y_train)
    assert linear.score(flat[1], shapes.y_test) < 0.6


def test_scenes_know_what_is_at_each_pixel():
    scenery = data.scenes(60, 20, objects=2, side=40)
    assert repr(scenery) == "scenes: 60 training and 20 test images of 40 × 40 × 3, 11 classes of pixels"
    assert scenery.class_names == ("ground", *data.SHAPES)
    counts = [len(np.unique(mask)) - 1 for mask in scenery.y_train]
    assert set(counts) <= {1, 2} and np.mean(counts) > 1.5
    assert 0.1 < (scenery.y_train > 0).mean() < 0.5
    # an object's pixels differ from the ground's by more than the ground's do among themselves
    image, mask = scenery.x_train[0].astype(float), scenery.y_train[0]
    ground = image[mask == 0]
    assert np.linalg.norm(image[mask > 0].mean(axis=0) - ground.mean(axis=0)) > 2 * ground.std(axis=0).max()


def test_scenes_repeat_from_their_seed_and_their_parts_differ():
    one, same, other = data.scenes(10, 10, seed=3), data.scenes(10, 5, seed=3), data.scenes(10, 10, seed=4)
    np.testing.assert_array_equal(one.x_train, same.x_train)
    assert (one.x_train != other.x_train).any() and (one.x_train != one.x_test).any()
    with pytest.raises(ValueError, match="sides from 16 work"):
        data.scenes(10, 10, side=8)
