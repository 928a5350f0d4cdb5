"""Layers read in batches: what comes out is what the layers give, with the weights of the moment."""

import numpy as np
import pytest

from deconvlib import deconvnet
from deconvlib.backend import keras

RNG = np.random.default_rng(0)


def network():
    inner = keras.Sequential([keras.Input((6, 6, 4)), keras.layers.Conv2D(3, 3, activation="relu", name="conv2")], name="inner")
    images = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, name="conv1")(images)
    return keras.Model(images, keras.layers.Flatten(name="flat")(inner(x)))


def test_reads_layers_of_nested_models_with_the_weights_of_the_moment():
    model, images = network(), RNG.random((5, 8, 8, 3)).astype(np.float32)
    read = deconvnet.activations.reader(model, ["inner/conv2", "conv1"], deconvnet.activations.maps, (8, 8, 3))
    for _ in range(2):
        conv2, conv1 = read(images)
        np.testing.assert_allclose(conv1, model.get_layer("conv1")(images), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(conv2.reshape(5, -1), model(images), rtol=1e-5, atol=1e-6)
        model.set_weights([weight + 0.1 for weight in model.get_weights()])


def test_is_compiled_once():
    model = network()
    assert deconvnet.activations.reader(
        model, ["conv1"], deconvnet.activations.maps, (8, 8, 3)
    ) is deconvnet.activations.reader(model, ["conv1"], deconvnet.activations.maps, (8, 8, 3))


def test_batches_hold_every_image_once(monkeypatch):
    model, images = network(), RNG.integers(0, 256, (11, 8, 8, 3), np.uint8)
    monkeypatch.setattr(features, "BATCH", 4)
    starts, parts = zip(*deconvnet.activations.batches(model, images, ""), strict=True)
    assert starts == (0, 4, 8)
    np.testing.assert_array_equal(np.concatenate(parts), images.astype(np.float32) / 255)


def test_a_batch_of_large_maps_is_small(monkeypatch):
    model = network()  # its largest map has 6 · 6 · 4 values of 4 bytes
    monkeypatch.setattr(features, "MEMORY", 6 * 6 * 4 * 4 * 3)
    assert deconvnet.activations.batch_size(model, (8, 8, 3)) == 3
    monkeypatch.setattr(features, "MEMORY", 1)
    assert deconvnet.activations.batch_size(model, (8, 8, 3)) == 1


def test_refuses():
    model = network()
    with pytest.raises(ValueError, match="'conv9' is not in this model"):
        deconvnet.activations.reader(model, ["conv9"], deconvnet.activations.maps, (8, 8, 3))
    two = keras.Model(model.inputs, [model.layers[1].output, model.outputs[0]], name="two")
    with pytest.raises(ValueError, match="'two' has 2 outputs"):
        deconvnet.activations.reader(two, ["conv1"], deconvnet.activations.maps, (8, 8, 3))
    images = np.zeros((deconvnet.activations.BATCH + 3, 8, 8, 3), np.float32)
    images[-1] = np.nan
    with pytest.raises(ValueError, match=f"image {len(images) - 1} holds NaN"):
        list(deconvnet.activations.batches(model, images, ""))
