"""Grad-CAM against maps worked out by hand, of classes and of hidden units, and what it computes once."""

import numpy as np
import pytest

from deconvlib import progress
from deconvlib.backend import keras
from deconvlib.deconvnet import activations, projection
from deconvlib.experiments import grad_cam, gradients, targets

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (5, 16, 16, 3), np.uint8)
MAPS = RNG.random((3, 4, 4, 2)).astype(np.float32)  # of a first layer that changes nothing


def two_layers(between=lambda maps: maps):
    """Two maps, which are the image; two scores of the mean of each of them: 3 a - 2 b, and b."""
    images = keras.Input((4, 4, 2))
    maps = keras.layers.Conv2D(2, 1, activation="relu", name="maps")(images)
    x = keras.layers.GlobalAveragePooling2D()(between(maps))
    model = keras.Model(images, keras.layers.Softmax()(keras.layers.Dense(2, name="logits")(x)))
    model.get_layer("maps").set_weights([np.eye(2)[None, None], np.zeros(2)])
    model.get_layer("logits").set_weights([np.array([[3.0, 0], [-2, 1]]), np.zeros(2)])
    return model


def test_maps_are_weighted_by_their_mean_gradient():
    """The first score rises with the first map and falls with the second."""
    model = two_layers()
    found = grad_cam.grad_cam(model, MAPS, targets.of_classes(model, MAPS, np.array([[0] * 3, [1] * 3])), "maps")
    expected = np.maximum([3 * MAPS[..., 0] - 2 * MAPS[..., 1], MAPS[..., 1]], 0) / 16
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_a_hidden_unit_by_hand():
    """A unit of a convolution of 1 × 1: it depends on one place of the 16."""
    high = keras.layers.Conv2D(2, 1, name="high")
    model = two_layers(high)
    high.set_weights([np.array([[[[3.0, 0], [-2, 1]]]]), np.zeros(2)])
    unit = targets.of_channels(model, MAPS, "high", 0)
    expected = np.maximum(3 * MAPS[..., 0] - 2 * MAPS[..., 1], 0) / 16
    np.testing.assert_allclose(grad_cam.grad_cam(model, MAPS, unit, "maps"), expected, rtol=1e-5, atol=1e-7)


def test_what_is_read_beside_the_layer_counts():
    """A branch that another multiplies: the mean gradient of a map is that of the other branch, and of the score."""

    def gated(maps):
        first, second = keras.ops.split(maps, 2, axis=-1)
        branch = keras.layers.ReLU(name="branch")(maps)
        return keras.layers.Multiply()([branch, keras.layers.Concatenate()([second, first])])

    model = two_layers(gated)
    found = grad_cam.grad_cam(model, MAPS, targets.of_classes(model, MAPS, np.zeros(3, int)), "branch")
    a, b = MAPS[..., 0], MAPS[..., 1]
    mean_a, mean_b = (one.mean(axis=(1, 2), keepdims=True) for one in (a, b))
    np.testing.assert_allclose(found, np.maximum(3 * mean_b * a - 2 * mean_a * b, 0) / 16, rtol=1e-5, atol=1e-7)


def test_a_smaller_map_is_enlarged():
    pool = keras.layers.AveragePooling2D(2, name="pool")
    model = two_layers(pool)
    found = grad_cam.grad_cam(model, MAPS, targets.of_classes(model, MAPS, np.ones(3, int)), "pool")
    corner = MAPS[:, :2, :2, 1].mean(axis=(1, 2)) / 4
    np.testing.assert_allclose(found[:, 0, 0], corner, rtol=1e-5)  # bilinear: outside the middles of the corners nothing varies
    assert found.shape == (3, 4, 4)


def test_guided_grad_cam_is_the_product(network):
    target = targets.of_classes(network, IMAGES, np.arange(5) % 4)
    found = grad_cam.guided(network, IMAGES, target, "relu2")
    where, what = grad_cam.grad_cam(network, IMAGES, target, "relu2"), gradients.projected(network, IMAGES, target, "guided")
    assert found.any()
    np.testing.assert_array_equal(found, where[..., None] * what)


@pytest.mark.parametrize("activation", ["gelu", "silu"])
def test_networks_without_a_rectifier(activation):
    model = two_layers(keras.layers.Activation(activation, name="smooth"))
    target = targets.of_classes(model, MAPS, np.zeros(3, int))
    kept = getattr(keras.activations, activation)(MAPS)
    expected = np.maximum(3 * kept[..., 0] - 2 * kept[..., 1], 0) / 16
    np.testing.assert_allclose(grad_cam.grad_cam(model, MAPS, target, "smooth"), expected, rtol=1e-5, atol=1e-7)
    with pytest.raises(ValueError, match="rule 'guided' is not defined"):
        grad_cam.guided(model, MAPS, target, "smooth")


def test_all_classes_of_an_image_share_its_maps(monkeypatch):
    """Units of several images in any order, more of one than of another; the images go through the lower layers once."""
    model, read, made = two_layers(), [], activations.reader

    def counting(*arguments, **keywords):
        read_maps = made(*arguments, **keywords)
        return lambda images: read.append(len(images)) or read_maps(images)

    monkeypatch.setattr(activations, "reader", counting)
    monkeypatch.setattr(projection, "MEMORY", 2 * 8 * sum((32, 2, 2)))  # two images a batch, by their maps
    image, score = np.array([2, 0, 2, 1, 0, 2]), np.array([0, 1, 1, 0, 0, 0])
    nothing, told = np.zeros(6, int), []
    target = targets.Target("logits", activations.Units(image, nothing, nothing, score, nothing))
    with progress.to(lambda *step: told.append(step)):
        found = grad_cam.grad_cam(model, MAPS, target, "maps")
    both = np.maximum([3 * MAPS[..., 0] - 2 * MAPS[..., 1], MAPS[..., 1]], 0) / 16
    np.testing.assert_allclose(found, both[score, image], rtol=1e-5, atol=1e-7)
    assert read == [2, 1]
    assert told == [("Grad-CAM of maps", 0, 2), ("Grad-CAM of maps", 1, 2)]


def test_the_last_maps_are_those_that_a_units_own_weights_read(network):
    last = grad_cam.last_maps
    assert [last(network, layer) for layer in ("softmax", "relu2", "norm2", "conv2")] == ["pool2"] + 3 * ["pool1"]
    assert last(network, "relu1") is None and last(network, "rescale") is None
    images = keras.Input((8, 8, 3))
    maps = keras.layers.Conv2D(4, 3, name="maps")(images)
    pooled = keras.layers.GlobalAveragePooling2D(keepdims=True)(maps)
    gate = keras.layers.Conv2D(4, 1, activation="sigmoid", name="gate")(pooled)  # whose maps have one place
    x = keras.layers.Multiply(name="gated")([maps, gate])
    x = keras.layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
    model = keras.Model(images, keras.layers.Flatten(name="scores")(keras.layers.Conv2D(2, 1, name="head")(x)))
    assert last(model, "scores") == last(model, "head") == "gated" and last(model, "gated") == last(model, "gate") == "maps"
    with pytest.raises(ValueError, match="layer 'relu9' is not in this model"):
        last(network, "relu9")


def test_without_a_layer_it_is_made_of_the_last_maps(network):
    target = targets.of_classes(network, IMAGES, np.arange(5) % 4)
    for kind in (grad_cam.grad_cam, grad_cam.guided):
        np.testing.assert_array_equal(kind(network, IMAGES, target), kind(network, IMAGES, target, "pool2"))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda m, t: grad_cam.grad_cam(m, IMAGES, t, "relu9"), "layer 'relu9' is not in this model; did you mean"),
        (lambda m, t: grad_cam.grad_cam(m, IMAGES, t, "logits"), r"outputs of shape \(4,\); the last that fits is '"),
        (lambda m, t: grad_cam.grad_cam(m, IMAGES, t, "softmax"), "'softmax' is the target's own"),
        (lambda m, t: grad_cam.grad_cam(m, IMAGES, targets.of_channels(m, IMAGES, "relu1", 0), "relu2"), "not on the way"),
        (lambda m, t: grad_cam.grad_cam(m, IMAGES, targets.of_channels(m, IMAGES, "relu1", 0)), "'relu1', and there is none"),
        (lambda m, t: grad_cam.grad_cam(m, IMAGES, np.arange(5) % 4), "target must be made by targets.of_classes or"),
        (lambda m, t: grad_cam.grad_cam(m, IMAGES[0], t, "relu2"), "of one image give image\\[None\\]"),
        (lambda m, t: grad_cam.grad_cam(m, IMAGES[:4], t, "relu2"), "image 4 is not given"),
    ],
)
def test_refuses(network, call, said):
    with pytest.raises(ValueError, match=said):
        call(network, targets.of_classes(network, IMAGES, np.arange(5) % 4))
