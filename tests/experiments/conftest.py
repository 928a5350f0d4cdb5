"""Networks that several experiments are tried on."""

import numpy as np
import pytest

from deconvlib import networks
from deconvlib.backend import keras


@pytest.fixture(scope="session")
def small():
    """Two convolutions, with the weights that Keras gives them."""
    return keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            keras.layers.Conv2D(4, 3, activation="relu", padding="same", name="conv1"),
            keras.layers.MaxPooling2D(2, name="pool1"),
            keras.layers.Conv2D(6, 3, activation="relu", name="conv2"),
            keras.layers.GlobalAveragePooling2D(name="pooled"),
            keras.layers.Dense(5, activation="softmax", name="softmax"),
        ]
    )


@pytest.fixture(scope="session")
def network():
    """With weights as after a training: away from those that its initializers gave."""
    model = networks.classifier((16, 16, 3), 4, filters=(6, 8), dense_units=8, normalization="batch")
    rng = np.random.default_rng(1)
    model.set_weights(
        [np.abs(w + rng.normal(scale=0.3, size=w.shape)) * rng.choice([-1, 1], w.shape) for w in model.get_weights()]
    )
    for layer in model.layers:
        if layer.name.startswith("norm"):
            layer.moving_variance.assign(np.abs(layer.moving_variance) + 0.1)
    return model
