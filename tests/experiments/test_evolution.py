"""Snapshots of a training, and what they say where the weights were written by hand."""

import numpy as np
import pandas as pd
import pytest

from deconvlib import data, networks, training
from deconvlib.backend import keras
from deconvlib.experiments import evolution

RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def digits():
    return data.load("digits").take(train=200, test=50)


def small(dataset):
    return networks.classifier(dataset.image_shape, dataset.num_classes, filters=(4,), dense_units=0)


def test_a_training_leaves_copies_of_the_weights(digits):
    model = small(digits)
    first = model.get_weights()
    snapshots = evolution.Snapshots((0, 2, 9))
    training.fit(model, digits, epochs=3, augmentation=training.augmentation(), callbacks=(snapshots,))
    assert list(snapshots.weights) == [0, 2, 3]  # the last, although not asked for
    for epoch, expected in ((0, first), (3, model.get_weights())):
        for one, other in zip(snapshots.weights[epoch], expected, strict=True):
            np.testing.assert_array_equal(one, other)
    assert not np.array_equal(snapshots.weights[2][0], snapshots.weights[3][0])


def test_a_resumed_training_counts_its_epochs_on_and_a_new_one_anew(digits):
    model = small(digits)
    model.compile("adam", "sparse_categorical_crossentropy")
    images, snapshots = digits.x_train / np.float32(255), evolution.Snapshots((0, 1, 2, 5))
    for initial, final, expected in ((2, 3, [2, 3]), (0, 1, [0, 1])):
        model.fit(images, digits.y_train, initial_epoch=initial, epochs=final, callbacks=[snapshots], verbose=0)
        assert sorted(snapshots.weights) == expected


@pytest.fixture
def colours():
    """A convolution of two channels; the first image is red, the second green, the third gray."""
    images = np.full((3, 8, 8, 3), 0.2, np.float32)
    images[0, 2:4, 2:4, 0] = images[1, 5:7, 4:6, 1] = images[2, 0, 0] = 1
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(2, 1, activation="relu", name="conv1")])
    red, green = np.array([1, -1, 0.0]), np.array([-1, 1, 0.0])
    snapshots = {
        epoch: [np.stack(filters, axis=1)[None, None].astype(np.float32), np.zeros(2, np.float32)]
        for epoch, filters in ((5, (green, green)), (0, (red, green)), (1, (green, green)))  # in any order
    }
    return model, images, snapshots


def test_evolution_follows_the_strongest_image(colours):
    model, images, snapshots = colours
    before = model.get_weights()
    found = evolution.measure(model, snapshots, images, "conv1", [0, 1])
    assert found.epochs.tolist() == [0, 1, 5]
    assert found.image.tolist() == [[0, 1], [1, 1], [1, 1]]
    np.testing.assert_allclose(found.pixels[:, 0, 0, 0], [[1, 0.2, 0.2], [0.2, 1, 0.2], [0.2, 1, 0.2]])
    # the activation of 0.8 through the filter of the epoch
    np.testing.assert_allclose(found.projections[:2, 0, 0, 0], [[0.8, -0.8, 0], [-0.8, 0.8, 0]], rtol=1e-6)
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_weights_come_back_after_an_error(colours):
    model, images, snapshots = colours
    before = model.get_weights()
    with pytest.raises(ValueError, match="channel 2 is not in layer 'conv1'; its channels are 0 to 1"):
        evolution.measure(model, snapshots, images, "conv1", [2])
    with pytest.raises(ValueError, match="NaN"):
        evolution.settling(model, snapshots, images * np.nan, ["conv1"])
    for one, other in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_layers_settle_when_their_weights_do():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            keras.layers.Conv2D(4, 3, activation="relu", name="conv1"),
            keras.layers.Conv2D(4, 3, activation="relu", name="conv2"),
            keras.layers.Flatten(name="flat"),
            keras.layers.Dense(3, name="logits"),
        ]
    )
    draw = {epoch: [RNG.normal(size=w.shape).astype(np.float32) for w in model.get_weights()] for epoch in (1, 2, 4, 8)}
    for epoch in (2, 4):  # the first layer has its last weights from epoch 2 on, up to a scale that a correlation forgives
        draw[epoch][:2] = [3 * w for w in draw[8][:2]]
    draw[4][2:4] = draw[8][2], 3 * draw[8][3]  # so has the second from 4 on
    images = RNG.random((20, 8, 8, 3)).astype(np.float32)
    correlation, settled = evolution.settling(model, draw, images, ["conv1", "conv2", "logits"])
    assert settled == {"conv1": 2, "conv2": 4, "logits": 8}
    assert correlation.index.tolist() == ["conv1", "conv2", "logits"] and correlation.columns.tolist() == [1, 2, 4, 8]
    np.testing.assert_allclose(correlation[8], 1)
    np.testing.assert_allclose(correlation.loc["conv1", [2, 4]], 1, rtol=1e-5)


def test_settling_is_the_mean_correlation_of_living_channels(monkeypatch):
    monkeypatch.setattr("deconvlib.deconvnet.activations.BATCH", 3)
    model = keras.Sequential([keras.Input((4, 4, 2)), keras.layers.Conv2D(3, 1, activation="relu", name="conv1")])
    now = [np.array([[1, 0, 1], [0, 1, 1]], np.float32)[None, None], np.array([0, 0, -9], np.float32)]  # the third is dead
    then = [np.array([[1, 1, 1], [1, 0, 1]], np.float32)[None, None], np.array([0, -9, 0], np.float32)]  # the second was
    images = RNG.random((7, 4, 4, 2)).astype(np.float32)
    correlation, settled = evolution.settling(model, {0: then, 3: now}, images, ["conv1"])
    first = np.corrcoef(images.sum(axis=3).ravel(), images[..., 0].ravel())[0, 1]
    np.testing.assert_allclose(correlation.loc["conv1"], [(first + 0) / 2, 1], rtol=1e-5)
    assert settled == {"conv1": 3}


def test_an_evolution_has_channels_below_and_epochs_beside_one_another_and_frames_what_changed(drawn):
    patches, projections = np.zeros((3, 2, 32, 32, 1)), np.zeros((3, 2, 32, 32, 1))
    patches[1, 0] = 0.25
    projections[2, 1] = 1.0
    strongest = np.array([[4, 4], [4, 4], [4, 9]])
    grown = evolution.Evolution([0, 5, 7], strongest, patches, projections)
    fig = drawn(evolution.figure(grown, ["a", "b"]))
    (ax,) = fig.axes
    shown, tile = ax.images[0].get_array(), 32 + 2
    assert shown[5, tile + 5] == 0.25 and shown[5, 5] == 0 and shown[tile + 5, 5] == 0.5
    assert shown[3 * tile + 5, 2 * tile + 5] == 1 and shown[3 * tile + 5, 5] == 0.5
    (frame,) = ax.patches
    assert frame.contains_point(ax.transData.transform((2 * tile + 16, 2 * tile + 16)))
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "5", "7"]


def test_a_layer_has_a_ring_where_it_settles(drawn):
    correlation = pd.DataFrame({0: [0.5, np.nan], 4: [1.0, 1.0]}, ["conv1", "conv2"])
    fig = drawn(evolution.settling_figure(evolution.Settling(correlation, {"conv1": 4, "conv2": 4})))
    line, ring, *_ = fig.axes[0].lines
    assert line.get_xydata().tolist() == [[0, 0.5], [4, 1]] and ring.get_xydata().tolist() == [[4, 1]]


def test_refuses(colours):
    model, images, snapshots = colours
    with pytest.raises(ValueError, match=r"whole numbers from 0, before training, on; not \(0, -1\)"):
        evolution.Snapshots((0, -1))
    with pytest.raises(ValueError, match="there is no snapshot"):
        evolution.measure(model, {}, images, "conv1", [0])
    other = {0: snapshots[0], 3: [np.zeros((3, 3, 3, 2)), np.zeros(2)]}
    with pytest.raises(ValueError, match="the snapshot of epoch 3 has weights of another model"):
        evolution.settling(model, other, images, ["conv1"])
    with pytest.raises(ValueError, match="'conv9' is not in this model"):
        evolution.settling(model, snapshots, images, ["conv9"])
