"""Subsets of data sets, and arrays that are refused."""

import dataclasses

import numpy as np
import pytest

from deconvlib import data


def test_few_labels(shapes, capsys):
    few = shapes.take_per_class(7, seed=1)
    assert np.bincount(few.y_train).tolist() == [7] * 10 and few.masks_train.shape == (70, 32, 32)
    assert len(few.x_test) == 500
    np.testing.assert_array_equal(few.x_train, shapes.take_per_class(7, seed=1).x_train)
    assert np.bincount(shapes.take_per_class(201).y_train).tolist() == [200] * 10
    said = "201 training images a class asked; fewer in 10 of 10 classes, down to 200 of 'disk': all of theirs are taken"
    assert capsys.readouterr().out == f"shapes: {said}\n"
    with pytest.raises(ValueError, match="0 training images of each class asked"):
        shapes.take_per_class(0)


def test_long_tail_by_hand(shapes):
    # 200 · 100^(-k/9)
    sizes = [200, 119, 71, 43, 25, 15, 9, 5, 3, 2]
    assert np.bincount(shapes.long_tail(100).y_train).tolist() == sizes
    for wrong in (0.5, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="1 or more"):
            shapes.long_tail(wrong)
    assert len(shapes.long_tail(100).x_test) == 500
    # the last class is a 49th: 98 / 49 is 2, where 98 · 49^-1 in floating point falls short of it
    full = data.Dataset("two", *[np.zeros((196, 1, 1, 1), np.uint8), np.arange(196) % 2] * 2, ("a", "b"))
    assert np.bincount(full.long_tail(49).y_train).tolist() == [98, 2]


def test_masks_and_labels_follow_their_images(shapes, capsys):
    subset = shapes.take(50, 20, seed=3)
    for image, label, mask in zip(subset.x_train, subset.y_train, subset.masks_train, strict=True):
        (index,) = np.flatnonzero((shapes.x_train == image).all(axis=(1, 2, 3)))
        assert shapes.y_train[index] == label
        np.testing.assert_array_equal(shapes.masks_train[index], mask)
    assert len(shapes.take(3000, 10).x_train) == 2000
    assert capsys.readouterr().out == "shapes: 3000 training images asked, all 2000 taken\n"
    with pytest.raises(ValueError, match="0 test images asked of shapes: ask for 1 or more"):
        shapes.take(test=0)


def test_take_keeps_what_is_not_asked_about(shapes):
    assert shapes.take(train=50).x_test is shapes.x_test
    assert shapes.take(test=20).x_train is shapes.x_train
    np.testing.assert_array_equal(shapes.take(train=50, test=20).x_train, shapes.take(train=50).x_train)
    assert not np.array_equal(shapes.take(50, seed=0).y_train, shapes.take(50, seed=1).y_train)


def test_held_out_images_are_a_share_of_every_class(shapes):
    parts = shapes.hold_out(0.25, seed=1)
    few = np.bincount(shapes.y_train)
    np.testing.assert_allclose(np.bincount(parts.y_test), few / 4, atol=1)
    seen = {image.tobytes() for image in parts.x_train}
    assert not seen & {image.tobytes() for image in parts.x_test}
    assert len(parts.x_train) + len(parts.x_test) == len(shapes.x_train)
    (index,) = np.flatnonzero((shapes.x_train == parts.x_test[-1]).all(axis=(1, 2, 3)))
    np.testing.assert_array_equal(parts.masks_test[-1], shapes.masks_train[index])
    with pytest.raises(ValueError, match="share must lie between 0 and 1"):
        shapes.hold_out(1.5)
    with pytest.raises(ValueError, match=r"0.2 of 20 training images are 4, fewer than the 9 classes: a share of 0.45 or more"):
        shapes.take(train=20, seed=1).hold_out(0.2)


@pytest.mark.parametrize("subset", [lambda d: d.long_tail(10), lambda d: d.take_per_class(3), lambda d: d.take(test=9)])
def test_masks_follow_in_every_subset(shapes, subset):
    small = subset(shapes)
    for part in ("train", "test"):
        images, masks = getattr(small, f"x_{part}"), getattr(small, f"masks_{part}")
        whole, whole_masks = getattr(shapes, f"x_{part}"), getattr(shapes, f"masks_{part}")
        (index,) = np.flatnonzero((whole == images[-1]).all(axis=(1, 2, 3)))
        np.testing.assert_array_equal(whole_masks[index], masks[-1])
        assert len(masks) == len(images)


def test_refuses_labels_out_of_range():
    images, names = np.zeros((3, 4, 4, 1), np.uint8), ("a", "b")
    with pytest.raises(ValueError, match="training label 1 is 2; the 2 classes have the numbers 0 to 1"):
        data.Dataset("own", images, np.array([0, 2, 1]), images, np.array([0, 1, 1]), names)
    with pytest.raises(ValueError, match="must be uint8"):
        data.Dataset("own", images / 255, np.zeros(3, int), images, np.zeros(3, int), names)


def test_refuses_masks_that_do_not_fit():
    images, labels = np.zeros((3, 4, 4, 1), np.uint8), np.array([0, 1, 1])
    with pytest.raises(ValueError, match=r"test masks must be bool \(3, 4, 4\).*not bool of shape \(2, 4, 4\)"):
        data.Dataset("own", images, labels, images, labels, ("a", "b"), masks_test=np.zeros((2, 4, 4), bool))


def test_scenes_that_disagree_are_refused():
    scenery = data.scenes(4, 4, side=16)
    with pytest.raises(ValueError, match="training masks must be uint8"):
        dataclasses.replace(scenery, y_train=scenery.y_train[:, :8])
    with pytest.raises(ValueError, match="test label 0, 0, 0 is 11; the 11 classes"):
        dataclasses.replace(scenery, y_test=np.full_like(scenery.y_test, 11))


@pytest.mark.parametrize(
    ("classes", "class_names", "names", "labels"),
    [
        (2, (), ["a", "b"], [1, 0]),
        (2, ("b", "a"), ["b", "a"], [0, 1]),
        (3, ("c", "a", "b"), ["c", "a", "b"], [2, 1]),
        (3, (), ["class 0", "class 1", "class 2"], None),
        (2, ("x", "y"), ["x", "y"], None),
    ],
)
def test_labels_are_told_as_a_model_numbers_them(classes, class_names, names, labels):
    sample = data.Sample(np.zeros((2, 4, 4, 1), np.uint8), np.array([1, 0]), ("a", "b"), ("1", "2"))
    found = sample.in_classes_of(classes, class_names)
    assert found[0] == names and (found[1] if labels is None else found[1].tolist()) == labels
    assert sample._replace(labels=None, class_names=()).in_classes_of(classes, class_names)[1] is None


def test_some_classes_are_numbered_anew(shapes):
    names = [shapes.class_names[7], shapes.class_names[2]]
    two = shapes.take_classes(names)
    assert two.class_names == tuple(names) and two.class_counts().tolist() == [200, 200]
    np.testing.assert_array_equal(two.x_train[two.y_train == 0], shapes.x_train[shapes.y_train == 7])
    np.testing.assert_array_equal(two.masks_test[two.y_test == 1], shapes.masks_test[shapes.y_test == 2])
    with pytest.raises(ValueError, match="class 'dog' is not known"):
        shapes.take_classes(["dog", names[0]])
    for few in (names[:1], [names[0], names[0]]):
        with pytest.raises(ValueError, match="two or more different classes"):
            shapes.take_classes(few)
