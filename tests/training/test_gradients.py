"""The loss' gradient against differences, and the model unchanged."""

import numpy as np
import pytest

from deconvlib import networks, training
from deconvlib.backend import keras


def test_gradients_are_those_of_the_loss():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (6, 8, 8, 1), np.uint8), rng.integers(0, 3, 6)
    model = networks.classifier((8, 8, 1), 3, filters=(4,), activation="tanh", normalization="batch", seed=0)
    before = model.get_weights()
    at_images, at_weights = training.loss_gradients(model, images, labels)
    assert at_images.shape == (6, 8, 8, 1)
    assert {path: at.shape for path, at in at_weights.items()} == {w.path: tuple(w.shape) for w in model.trainable_variables}
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)

    def loss():
        states = [weight.value for weight in model.non_trainable_variables]
        weights = [weight.value for weight in model.trainable_variables]
        said, _ = model.stateless_call(weights, states, images / np.float32(255), training=True)
        return float(keras.ops.mean(keras.losses.sparse_categorical_crossentropy(labels, said)))

    weight = model.trainable_variables[-2]  # the dense layer's kernel
    start, step, place = keras.ops.convert_to_numpy(weight).copy(), 1e-2, (2, 1)
    ends = []
    for sign in (1, -1):
        moved = start.copy()
        moved[place] += sign * step
        weight.assign(moved)
        ends.append(loss())
    weight.assign(start)
    assert at_weights[weight.path][place] == pytest.approx((ends[0] - ends[1]) / (2 * step), rel=0.02, abs=1e-4)
