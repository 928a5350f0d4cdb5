"""What is measured: networks with random weights, images, units."""

import numpy as np

from deconvlib import deconvnet, networks
from deconvlib.backend import keras


def vgg16() -> keras.Model:
    """The convolutional part of VGG16, for images of 224 × 224."""
    keras.utils.set_random_seed(0)
    return _trained(keras.applications.VGG16(weights=None, include_top=False, input_shape=(224, 224, 3)))


def recommended() -> keras.Model:
    """The classifier that the project recommends for images of 32 × 32."""
    settings = {"convolutions": 2, "normalization": "batch", "dropout": 0.3, "dense_units": 128}
    return _trained(networks.classifier((32, 32, 3), 10, **settings))


def residual() -> keras.Model:
    """Two residual blocks, the second with stride 2, after a convolution and an overlapping pooling."""
    keras.utils.set_random_seed(0)
    layers = keras.layers

    def normalized(name, x, filters, size=3, strides=1):
        x = layers.Conv2D(filters, size, strides, padding="same", use_bias=False, name=f"{name}_conv")(x)
        return layers.BatchNormalization(name=f"{name}_norm")(x)

    images = keras.Input((49, 49, 3), name="images")
    x = layers.ReLU(name="stem_relu")(normalized("stem", images, 16))
    x = layers.MaxPooling2D(3, 2, name="pool")(x)
    y = layers.ReLU(name="block1_relu")(normalized("block1_1", x, 16))
    x = layers.ReLU(name="block1_out")(layers.Add(name="add1")([normalized("block1_2", y, 16), x]))
    y = layers.ReLU(name="block2_relu")(normalized("block2_1", x, 32, strides=2))
    x = layers.Add(name="add2")([normalized("block2_2", y, 32), normalized("block2_0", x, 32, 1, 2)])
    return _trained(keras.Model(images, layers.ReLU(name="block2_out")(x)))


def with_classes(model: keras.Model, last: str) -> keras.Model:
    """The model up to its layer `last`, then ten classes of the means of the maps."""
    pooled = keras.layers.GlobalAveragePooling2D(name="mean")(model.get_layer(last).output)
    scores = keras.layers.Dense(10, name="logits")(pooled)
    return keras.Model(model.inputs, keras.layers.Softmax(name="softmax")(scores))


def noise(count: int, size: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, size, size, 3), np.float32)


def active_units(maps: np.ndarray, count: int) -> deconvnet.Units:
    """For each image `count` random units whose activation is above zero: Units of shape (count, images)."""
    rng = np.random.default_rng(0)
    chosen = np.stack([rng.choice(np.flatnonzero(one > 0), count, replace=False) for one in maps], axis=1)
    number = np.broadcast_to(np.arange(len(maps)), chosen.shape)
    place = np.unravel_index(chosen, maps.shape[1:])
    return deconvnet.Units(number, *place, maps[number, *place])


def _trained(model):
    """The model with what only training gives: biases, moving statistics, and some scales below zero."""
    rng = np.random.default_rng(0)
    ranges = {"bias": (-0.1, 0.1), "beta": (-0.5, 0.5), "gamma": (-0.5, 1.5)}
    ranges |= {"moving_mean": (-0.5, 0.5), "moving_variance": (0.5, 2.0)}
    for weight in model.weights:
        if weight.name in ranges:
            weight.assign(rng.uniform(*ranges[weight.name], weight.shape))
    return model
